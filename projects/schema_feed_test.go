package projects

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A page is what somebody has who has followed project:ID from the beginning.
type page struct {
	Head          ProjectHead
	Tasks         map[int64]Task
	Milestones    map[int64]Milestone
	Members       map[int64]Member
	Conversations map[int64]Conversation
	gone          map[int64]int64 // tasks that were deleted: their versions
	reloads       int
	deleted       bool
}

// pageOf applies all that was published of a project, as a page does.
func pageOf(t testing.TB, db database, project int64) page {
	t.Helper()
	p := page{
		Tasks: map[int64]Task{}, Milestones: map[int64]Milestone{}, Members: map[int64]Member{}, Conversations: map[int64]Conversation{},
		gone: map[int64]int64{},
	}
	for _, raw := range published(t, db, topic("project", project)) {
		p.apply(t, raw)
	}
	return p
}

func typeOf(t testing.TB, raw string) string {
	t.Helper()
	var kind struct{ Type string }
	if err := json.Unmarshal([]byte(raw), &kind); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return kind.Type
}

func (p *page) apply(t testing.TB, raw string) {
	t.Helper()
	switch kind := typeOf(t, raw); kind {
	case "task":
		d := decode[struct {
			Type string `json:"type"`
			Task Task   `json:"task"`
		}](t, raw).Task
		if d.Version > p.Tasks[d.ID].Version && d.Version > p.gone[d.ID] {
			p.Tasks[d.ID] = d
		}
	case "task.deleted":
		d := decode[struct {
			Type    string `json:"type"`
			ID      int64  `json:"id"`
			Version int64  `json:"version"`
		}](t, raw)
		if d.Version <= p.Tasks[d.ID].Version {
			t.Errorf("%s: the task's version was %d already", raw, p.Tasks[d.ID].Version)
		}
		delete(p.Tasks, d.ID)
		p.gone[d.ID] = d.Version
	case "milestone":
		d := decode[struct {
			Type      string    `json:"type"`
			Milestone Milestone `json:"milestone"`
		}](t, raw).Milestone
		if d.Version > p.Milestones[d.ID].Version {
			p.Milestones[d.ID] = d
		}
	case "milestone.deleted", "member.removed":
		d := decode[struct {
			Type string `json:"type"`
			ID   int64  `json:"id"`
		}](t, raw)
		if kind == "member.removed" {
			delete(p.Members, d.ID)
		} else {
			delete(p.Milestones, d.ID)
		}
	case "member":
		d := decode[struct {
			Type   string `json:"type"`
			Member Member `json:"member"`
		}](t, raw).Member
		p.Members[d.ID] = d
	case "conversation":
		if strings.Contains(raw, "read_seq") {
			t.Errorf("%s: it says how far somebody has read", raw)
		}
		d := decode[struct {
			Type         string       `json:"type"`
			Conversation Conversation `json:"conversation"`
		}](t, raw).Conversation
		if d.Version > p.Conversations[d.ID].Version {
			p.Conversations[d.ID] = d
		}
	case "project":
		d := decode[struct {
			Type    string      `json:"type"`
			Project ProjectHead `json:"project"`
		}](t, raw).Project
		if d.Version > p.Head.Version {
			p.Head = d
		}
	case "project.deleted":
		p.deleted = decode[struct {
			Type string `json:"type"`
		}](t, raw).Type != ""
	case "reload":
		p.reloads++
	default:
		t.Errorf("unknown delta %s", raw)
	}
}

// shown is the same, read at once. Everybody who may see the project is shown the same of it.
func shown(t testing.TB, db database, person, project int64) page {
	t.Helper()
	raw := scan[string](t, db, "SELECT projects.snapshot($1, $2)", person, project)
	now := decode[Project](t, strings.TrimSuffix(raw, "}")+`,"positions":{}}`)
	p := page{
		Head:  ProjectHead{ID: now.ID, Name: now.Name, Summary: now.Summary, Status: now.Status, DueOn: now.DueOn, Version: now.Version},
		Tasks: map[int64]Task{}, Milestones: map[int64]Milestone{}, Members: map[int64]Member{}, Conversations: map[int64]Conversation{},
	}
	for _, one := range now.Tasks {
		p.Tasks[one.ID] = one
	}
	for _, one := range now.Milestones {
		p.Milestones[one.ID] = one
	}
	for _, one := range now.Members {
		p.Members[one.ID] = one
	}
	for _, one := range now.Conversations {
		one.ReadSeq = nil
		p.Conversations[one.ID] = one
	}
	return p
}

// wantFollowed compares what a page has that followed with what it would read.
func wantFollowed(t testing.TB, db database, person, project int64) {
	t.Helper()
	want, got := shown(t, db, person, project), pageOf(t, db, project)
	if got.Head.Version == 0 { // never changed since it was made
		got.Head = want.Head
	}
	if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool {
		return p.Last().String() == ".gone" || p.Last().String() == ".reloads"
	}, cmp.Ignore()), cmp.AllowUnexported(page{})); diff != "" {
		t.Errorf("a page that follows project %d (-read +followed):\n%s", project, diff)
	}
}

// Whatever happens to the tables, a page that follows has what it would read.
func TestFollowingGivesWhatReadingGives(t *testing.T) {
	s := newStore(t)
	db := s.pool
	m := newTeam(t, db)
	other := newProject(t, db, m.Organisation, "Other")
	talk := newConversation(t, db, m.Project, "General")
	task := newTask(t, db, m.Project, "First")
	newTask(t, db, m.Project, "Second")
	stage := scan[int64](t, db, "INSERT INTO projects.milestone (project_id, name, rank, due_on) VALUES ($1, 'Stage', 1.5, '2030-02-01') RETURNING id", m.Project)
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{`UPDATE projects.task SET milestone_id = $1, assignee_id = $2, due_on = '2030-01-31', description = E'Two\nlines, "quoted" \\ <b>ü</b>'`, []any{stage, m.Staff}},
		{"UPDATE projects.task SET completed_at = now(), completed_by = $1", []any{m.Customer}},
		{"UPDATE projects.task SET completed_at = NULL, completed_by = NULL, reopened_at = now(), reopened_by = $1 WHERE id = $2", []any{m.Staff, task}},
		{"INSERT INTO projects.conversation (project_id, subject, task_id, created_by) VALUES ($1, 'About it', $2, $3)", []any{m.Project, task, m.Customer}},
		{"UPDATE projects.conversation SET subject = 'Renamed' WHERE task_id = $1", []any{task}},
		{"UPDATE projects.conversation SET task_id = NULL WHERE task_id = $1", []any{task}},
		{"UPDATE projects.conversation SET task_id = $1 WHERE subject = 'Renamed'", []any{task}},
		{"UPDATE projects.milestone SET name = 'Stage 1', rank = 0.25", nil},
		{"UPDATE projects.project SET name = 'New name', summary = 'Sum', due_on = '2031-12-31' WHERE id = $1", []any{m.Project}},
		{"UPDATE projects.membership SET role = 'staff' WHERE person_id = $1", []any{m.Lead}},
		{"UPDATE projects.person SET name = 'Cleo Clay', company = 'Clay Ltd' WHERE id = $1", []any{m.Customer}},
		{"DELETE FROM projects.membership WHERE person_id = $1", []any{m.Customer}},
		{"UPDATE projects.person SET deactivated_at = now() WHERE id = $1", []any{m.Staff}},
		{"UPDATE projects.person SET deactivated_at = NULL WHERE id = $1", []any{m.Staff}},
		{"INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer')", []any{m.Project, m.Outsider}},
		{"DELETE FROM projects.milestone", nil},
		{"DELETE FROM projects.task WHERE title = 'Second'", nil},
		{"UPDATE projects.task SET project_id = $1", []any{other}},
		{"UPDATE projects.task SET project_id = $1", []any{m.Project}},
		{"UPDATE projects.project SET status = 'finished' WHERE id = $1", []any{m.Project}},
		{"DELETE FROM projects.person WHERE id = $1", []any{m.Outsider}},
	} {
		exec(t, db, step.sql, step.args...)
		wantFollowed(t, db, m.Admin, m.Project)
		wantFollowed(t, db, m.Admin, other)
		if t.Failed() {
			t.Fatalf("after %s", step.sql)
		}
	}
	say(t, db, talk, m.Customer, "Hello")
	say(t, db, talk, m.Lead, "Hi")
	wantFollowed(t, db, m.Admin, m.Project)

	// Versions are counted, whatever a statement says.
	exec(t, db, "UPDATE projects.task SET version = 1")
	wantFollowed(t, db, m.Admin, m.Project)
}

// A task that moves leaves the conversation about it where those are who wrote it.
func TestAMovedTaskLeavesItsConversation(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	other := newProject(t, s.pool, m.Organisation, "Other")
	task := newTask(t, s.pool, m.Project, "Task")
	talk := scan[int64](t, s.pool, "INSERT INTO projects.conversation (project_id, subject, task_id) VALUES ($1, 'About it', $2) RETURNING id", m.Project, task)
	exec(t, s.pool, "UPDATE projects.task SET project_id = $1", other)
	type place struct {
		Project int64
		Task    *int64
	}
	var got place
	if err := s.pool.QueryRow(testContext(t), "SELECT project_id, task_id FROM projects.conversation WHERE id = $1", talk).Scan(&got.Project, &got.Task); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(place{m.Project, nil}, got); diff != "" {
		t.Errorf("the conversation (-want +got):\n%s", diff)
	}
	wantFollowed(t, s.pool, m.Admin, m.Project)
	wantFollowed(t, s.pool, m.Admin, other)
	// Nor can one be about a task of another project.
	exec(t, s.pool, "INSERT INTO projects.conversation (project_id, subject, task_id) VALUES ($1, 'Crossed', $2)", m.Project, task)
	if got := scan[*int64](t, s.pool, "SELECT task_id FROM projects.conversation WHERE subject = 'Crossed'"); got != nil {
		t.Errorf("a conversation is about task %d of another project", *got)
	}
}

func TestManyTasksReload(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	other := newProject(t, s.pool, m.Organisation, "Other")
	counts := func(project int64) string {
		p := map[string]int{}
		for _, raw := range published(t, s.pool, topic("project", project)) {
			p[typeOf(t, raw)]++
		}
		return fmt.Sprintf("%d tasks %d deleted %d reloads", p["task"], p["task.deleted"], p["reload"])
	}
	insert := "INSERT INTO projects.task (project_id, title, rank) SELECT $1, 'Task', i FROM generate_series(1, $2) i"
	for _, step := range []struct {
		sql         string
		args        []any
		here, there string
	}{
		{insert, []any{m.Project, 500}, "500 tasks 0 deleted 0 reloads", "0 tasks 0 deleted 0 reloads"},
		{insert, []any{other, 501}, "500 tasks 0 deleted 0 reloads", "0 tasks 0 deleted 1 reloads"},
		{"UPDATE projects.task SET completed_at = now() WHERE $1", []any{true}, "1000 tasks 0 deleted 0 reloads", "0 tasks 0 deleted 2 reloads"},
		{"UPDATE projects.task SET project_id = $1 WHERE project_id = $2", []any{other, m.Project}, "1000 tasks 500 deleted 0 reloads", "500 tasks 0 deleted 2 reloads"},
		{"DELETE FROM projects.task WHERE id % 1000 < $1", []any{501}, "1000 tasks 500 deleted 0 reloads", "500 tasks 0 deleted 3 reloads"},
		// It takes conversations with it, which say so as well.
		{"TRUNCATE projects.task CASCADE", nil, "1000 tasks 500 deleted 2 reloads", "500 tasks 0 deleted 5 reloads"},
	} {
		exec(t, s.pool, step.sql, step.args...)
		if here, there := counts(m.Project), counts(other); here != step.here || there != step.there {
			t.Fatalf("after %s %v:\n%s, want %s\n%s, want %s", step.sql, step.args, here, step.here, there, step.there)
		}
	}
}

// A project that is deleted says so once, whatever was in it.
func TestADeletedProjectSaysSoOnce(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	newTask(t, s.pool, m.Project, "One")
	exec(t, s.pool, "INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'Stage', 1)", m.Project)
	exec(t, s.pool, "UPDATE projects.task SET milestone_id = (SELECT id FROM projects.milestone)")
	talk := newConversation(t, s.pool, m.Project, "General")
	exec(t, s.pool, "INSERT INTO projects.conversation (project_id, task_id, subject) SELECT project_id, id, 'About' FROM projects.task")
	say(t, s.pool, talk, m.Customer, "Hello")
	last := scan[int64](t, s.pool, "SELECT max(id) FROM trunkline.message")
	exec(t, s.pool, "DELETE FROM projects.project WHERE id = $1", m.Project)

	got := collect[string](t, s.pool, "SELECT channel || ' ' || (payload ->> 'type') FROM trunkline.message WHERE id > $1 ORDER BY 1", last)
	want := []string{topic("project", m.Project) + " project.deleted"}
	for _, person := range []int64{m.Admin, m.Lead, m.Staff, m.Customer} {
		want = append([]string{topic("person", person) + " summary"}, want...)
	}
	if diff := cmp.Diff(asSet(want), asSet(got)); diff != "" || len(got) != len(want) {
		t.Errorf("published: %q (-want +got):\n%s", got, diff)
	}
}

// First pages are told that a project's summary has changed: those who have access, and whom it is taken from.
func TestSummaries(t *testing.T) {
	s := newStore(t)
	db := s.pool
	m := newTeam(t, db)
	talk := newConversation(t, db, m.Project, "General")
	task := newTask(t, db, m.Project, "Task")
	all := []int64{m.Admin, m.Lead, m.Staff, m.Customer}
	for _, step := range []struct {
		name string
		do   func()
		told []int64
	}{
		{"a task completed", func() { exec(t, db, "UPDATE projects.task SET completed_at = now() WHERE id = $1", task) }, nil},
		{"a message", func() { say(t, db, talk, m.Customer, "Hello") }, all},
		{"reading", func() {
			exec(t, db, "INSERT INTO projects.reader (conversation_id, person_id, read_seq) VALUES ($1, $2, 1)", talk, m.Staff)
		}, []int64{m.Staff}},
		{"another subject", func() { exec(t, db, "UPDATE projects.conversation SET subject = 'Other'") }, nil},
		{"another summary text", func() { exec(t, db, "UPDATE projects.project SET summary = 'Text' WHERE id = $1", m.Project) }, nil},
		{"another name", func() { exec(t, db, "UPDATE projects.project SET name = 'Renamed' WHERE id = $1", m.Project) }, all},
		{"finished", func() { exec(t, db, "UPDATE projects.project SET status = 'finished' WHERE id = $1", m.Project) }, all},
		{"a new member", func() {
			exec(t, db, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer')", m.Project, m.Outsider)
		}, append([]int64{m.Outsider}, all...)},
		{"a member removed", func() { exec(t, db, "DELETE FROM projects.membership WHERE person_id = $1", m.Outsider) }, append([]int64{m.Outsider}, all...)},
	} {
		last := scan[int64](t, db, "SELECT max(id) FROM trunkline.message")
		step.do()
		told := map[string]bool{}
		for _, person := range step.told {
			told[topic("person", person)] = true
		}
		got := collect[string](t, db, "SELECT channel FROM trunkline.message WHERE id > $1 AND channel LIKE 'person:%' AND payload ->> 'project_id' = $2::bigint::text", last, m.Project)
		if diff := cmp.Diff(told, asSet(got)); diff != "" {
			t.Errorf("%s: told (-want +got):\n%s", step.name, diff)
		}
	}
	for _, raw := range published(t, db, topic("person", m.Lead)) {
		wantJSON(t, struct {
			Type    string `json:"type"`
			Project int64  `json:"project_id"`
		}{"summary", m.Project}, raw)
	}
}

func TestChatFeed(t *testing.T) {
	s := newStore(t)
	db := s.pool
	m := newTeam(t, db)
	talk := newConversation(t, db, m.Project, "General")
	id := say(t, db, talk, m.Customer, "Hello <b>")
	exec(t, db, `INSERT INTO projects.attachment (conversation_id, uploaded_by, name, media_type, size, content)
		VALUES ($1, $2, 'photo.png', 'image/png', 3, 'abc'), ($1, $2, 'drawing.svg', 'image/svg+xml', 4, 'abcd')`, talk, m.Staff)
	// Linked in the statement that inserts it, attachments are pushed with their message.
	exec(t, db, `WITH c AS (UPDATE projects.conversation SET last_seq = last_seq + 1 WHERE id = $1 RETURNING last_seq),
		m AS (INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html)
			SELECT $1, last_seq, $2, 'k', 'See', '<p>See</p>' FROM c RETURNING id)
		UPDATE projects.attachment a SET message_id = m.id FROM m`, talk, m.Staff)
	exec(t, db, "UPDATE projects.message SET body = 'Edited', html = 'Edited', edited_at = now() WHERE id = $1", id)
	exec(t, db, "UPDATE projects.message SET body = '', html = '', deleted_at = now(), deleted_by = $2 WHERE id = $1", id, m.Staff)
	exec(t, db, "INSERT INTO projects.reader (conversation_id, person_id, read_seq) VALUES ($1, $2, 1), ($1, $3, 0)", talk, m.Lead, m.Admin)
	exec(t, db, "UPDATE projects.reader SET read_seq = 2 WHERE person_id = $1", m.Lead)

	messages, readers := map[int64]Message{}, map[int64]Reader{}
	var types []string
	for _, raw := range published(t, db, topic("chat", talk)) {
		types = append(types, typeOf(t, raw))
		switch typeOf(t, raw) {
		case "message":
			d := decode[struct {
				Type    string  `json:"type"`
				Message Message `json:"message"`
			}](t, raw).Message
			if d.Version > messages[d.ID].Version {
				messages[d.ID] = d
			}
		case "read":
			d := decode[struct {
				Type   string `json:"type"`
				Reader Reader `json:"reader"`
			}](t, raw).Reader
			readers[d.PersonID] = d
		}
	}
	if diff := cmp.Diff([]string{"message", "message", "message", "message", "read", "read"}, types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	for _, raw := range collect[string](t, db, "SELECT projects.message_json(m) FROM projects.message m") {
		want := decode[Message](t, raw)
		if diff := cmp.Diff(want, messages[want.ID]); diff != "" {
			t.Errorf("message %d (-read +followed):\n%s", want.ID, diff)
		}
	}
	want := []Attachment{{1, "photo.png", "image/png", 3, true}, {2, "drawing.svg", "image/svg+xml", 4, false}}
	if diff := cmp.Diff(want, messages[id+1].Attachments); diff != "" {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	wantJSON(t, readers[m.Lead], scan[string](t, db, "SELECT projects.reader_json(r) FROM projects.reader r WHERE person_id = $1", m.Lead))
}

// Whoever loses access is cut off from what they follow, in the transaction that takes it away.
func TestAccessThatIsTakenAwayIsRevoked(t *testing.T) {
	s := newStore(t)
	db := s.pool
	m := newTeam(t, db)
	talk := newConversation(t, db, m.Project, "General")
	newConversation(t, db, newProject(t, db, m.Organisation, "Other"), "General")
	exec(t, db, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'staff')", m.Project, m.Admin)
	project, chat, progress := topic("project", m.Project), topic("chat", talk), topic("progress", m.Project)
	for _, step := range []struct {
		sql  string
		id   int64
		want []string // channels; "" is all
	}{
		{"DELETE FROM projects.membership WHERE person_id = $1", m.Customer, []string{project, chat, progress}},
		{"DELETE FROM projects.membership WHERE person_id = $1", m.Admin, nil}, // sees it without
		{"UPDATE projects.person SET deactivated_at = now() WHERE id = $1", m.Staff, []string{""}},
		{"UPDATE projects.person SET name = 'Same person' WHERE id = $1", m.Lead, nil},
		{"UPDATE projects.person SET admin = false WHERE id = $1", m.Admin, []string{""}},
		{"DELETE FROM projects.person WHERE id = $1", m.Outsider, []string{""}},
	} {
		last := scan[int64](t, db, "SELECT max(id) FROM trunkline.message")
		exec(t, db, step.sql, step.id)
		got := collect[string](t, db, `SELECT payload ->> 'channel' FROM trunkline.message
			WHERE id > $1 AND channel = 'trunkline:control' AND payload ->> 'type' = 'revoke' AND payload ->> 'user' = $2::bigint::text`, last, step.id)
		if diff := cmp.Diff(asSet(step.want), asSet(got)); diff != "" {
			t.Errorf("%s: revoked (-want +got):\n%s", step.sql, diff)
		}
	}
}

func TestAMembershipDoesntBecomeAnothers(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	_, err := s.pool.Exec(testContext(t), "UPDATE projects.membership SET person_id = $1 WHERE person_id = $2", m.Outsider, m.Staff)
	if err == nil || !strings.Contains(err.Error(), "can't become another's") {
		t.Errorf("got %v, want a refusal", err)
	}
}
