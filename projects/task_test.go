package projects

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTaskIsCreatedAsDrafted(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	milestone := must[Milestone](t)(s.createMilestone(ctx, m.Staff, m.Project, MilestoneDraft{Name: " Design ", DueOn: ptr(Date("2027-01-31"))}))
	if milestone.Name != "Design" || *milestone.DueOn != "2027-01-31" || milestone.Version != 1 || milestone.ProjectID != m.Project {
		t.Errorf("the milestone is %+v", milestone)
	}
	made := must[Task](t)(s.createTask(ctx, m.Staff, m.Project, TaskDraft{
		Title: " Paint ", Description: "a\r\nb ", MilestoneID: &milestone.ID, AssigneeID: &m.Customer, DueOn: ptr(Date("2027-01-15")),
	}))
	expected := Task{
		ID: made.ID, ProjectID: m.Project, MilestoneID: &milestone.ID, Title: "Paint", Description: "a\nb", Rank: rankStep,
		AssigneeID: &m.Customer, DueOn: ptr(Date("2027-01-15")), CreatedAt: made.CreatedAt, Version: 1,
	}
	if diff := cmp.Diff(expected, made); diff != "" {
		t.Errorf("the task (-want +got):\n%s", diff)
	}
	// The same as everybody reads and is told.
	p := must[Project](t)(s.Project(ctx, m.Customer, m.Project))
	if diff := cmp.Diff([]Task{made}, p.Tasks); diff != "" {
		t.Errorf("as it is read (-want +got):\n%s", diff)
	}
	pushed := published(t, s.pool, topic("project", m.Project))
	push := decode[struct {
		Type string `json:"type"`
		Task Task   `json:"task"`
	}](t, pushed[len(pushed)-1])
	if diff := cmp.Diff(made, push.Task); diff != "" {
		t.Errorf("as it is pushed (-want +got):\n%s", diff)
	}
	wantNotified(t, s, &m, "customer task.assigned "+topic("project", m.Project)+" "+topic("task", made.ID))
	wantTrail(t, s, &m, m.Project, "staff milestone.created "+topic("milestone", milestone.ID), "staff task.created "+topic("task", made.ID))
}

func TestTasksThatCantBe(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	elsewhere := newProject(t, s.pool, m.Organisation, "Elsewhere")
	foreign := scan[int64](t, s.pool, `INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'Foreign', 1) RETURNING id`, elsewhere)
	foreignTask, task := newTask(t, s.pool, elsewhere, "Foreign"), newTask(t, s.pool, m.Project, "Paint")
	retired := newPerson(t, s.pool, m.Organisation, "Rita")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'staff')`, m.Project, retired)
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, retired)
	for name, test := range map[string]struct {
		draft  TaskDraft
		change TaskChange
		field  string
		says   string
	}{
		"empty title":       {TaskDraft{Title: " "}, TaskChange{Title: Some(" ")}, "title", "empty"},
		"long title":        {TaskDraft{Title: strings.Repeat("x", 201)}, TaskChange{Title: Some(strings.Repeat("x", 201))}, "title", "201 characters, and may have 200"},
		"long description":  {TaskDraft{Title: "T", Description: strings.Repeat("x", 10_001)}, TaskChange{Description: Some(strings.Repeat("x", 10_001))}, "description", "10,001"},
		"no date":           {TaskDraft{Title: "T", DueOn: ptr(Date("tomorrow"))}, TaskChange{DueOn: Some(ptr(Date("tomorrow")))}, "due_on", "“tomorrow”"},
		"foreign milestone": {TaskDraft{Title: "T", MilestoneID: &foreign}, TaskChange{MilestoneID: Some(&foreign)}, "milestone_id", "no milestone"},
		"outsider":          {TaskDraft{Title: "T", AssigneeID: &m.Outsider}, TaskChange{AssigneeID: Some(&m.Outsider)}, "assignee_id", "doesn't take part"},
		"admin, no member":  {TaskDraft{Title: "T", AssigneeID: &m.Admin}, TaskChange{AssigneeID: Some(&m.Admin)}, "assignee_id", "doesn't take part"},
		"retired":           {TaskDraft{Title: "T", AssigneeID: &retired}, TaskChange{AssigneeID: Some(&retired)}, "assignee_id", "doesn't take part"},
		"behind a foreign":  {TaskDraft{Title: "T", After: &foreignTask}, TaskChange{After: Some(foreignTask)}, "after", "moved or deleted"},
		"negative":          {TaskDraft{Title: "T", After: ptr[int64](-1)}, TaskChange{After: Some[int64](-1)}, "after", "moved or deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.createTask(ctx, m.Lead, m.Project, test.draft)
			want(t, err, "invalid "+test.field, test.says)
			_, err = s.EditTask(ctx, m.Lead, task, test.change)
			want(t, err, "invalid "+test.field, test.says)
		})
	}
	_, err := s.EditTask(ctx, m.Lead, task, TaskChange{After: Some(task)})
	want(t, err, "invalid after", "behind itself")
	if version := scan[int64](t, s.pool, `SELECT version FROM projects.task WHERE id = $1`, task); version != 1 {
		t.Errorf("something has changed: version %d", version)
	}
	wantTrail(t, s, &m, m.Project)
}

func TestLimitOfTasks(t *testing.T) {
	s := newStore(t)
	s.limits.Tasks = 2
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	for range 2 {
		must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "T"}))
	}
	_, err := s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "T"})
	want(t, err, "limit", "has 2 tasks")
	second := newProject(t, s.pool, m.Organisation, "Second")
	_, err = s.EditTask(ctx, m.Admin, newTask(t, s.pool, second, "T"), TaskChange{ProjectID: Some(m.Project)})
	want(t, err, "limit", "“Website” has 2 tasks")
}

func TestEditChangesWhatIsGiven(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	made := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Paint", Description: "Red", DueOn: ptr(Date("2027-01-15")), AssigneeID: &m.Staff}))
	edit := func(change TaskChange) Task {
		t.Helper()
		return must[Task](t)(s.EditTask(ctx, m.Lead, made.ID, change))
	}

	expected := made
	if diff := cmp.Diff(expected, edit(TaskChange{})); diff != "" {
		t.Errorf("no change (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(expected, edit(TaskChange{Title: Some(" Paint "), AssigneeID: Some(&m.Staff), Version: Some[int64](1)})); diff != "" {
		t.Errorf("the same again (-want +got):\n%s", diff)
	}
	expected.Title, expected.Version = "Paint it", 2
	if diff := cmp.Diff(expected, edit(TaskChange{Title: Some("Paint it"), Version: Some[int64](1)})); diff != "" {
		t.Errorf("a title (-want +got):\n%s", diff)
	}
	expected.DueOn, expected.AssigneeID, expected.Description, expected.Version = nil, nil, "", 3
	if diff := cmp.Diff(expected, edit(TaskChange{DueOn: Some[*Date](nil), AssigneeID: Some[*int64](nil), Description: Some("")})); diff != "" {
		t.Errorf("cleared (-want +got):\n%s", diff)
	}
	_, err := s.EditTask(ctx, m.Lead, made.ID, TaskChange{Title: Some("Old"), Version: Some[int64](2)})
	want(t, err, "conflict", "“Paint it” has changed since")
	if err := s.DeleteTask(ctx, m.Staff, made.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.EditTask(ctx, m.Lead, made.ID, TaskChange{Title: Some("Gone"), Version: Some[int64](3)})
	want(t, err, "not found")
	subject := topic("task", made.ID)
	wantTrail(t, s, &m, m.Project, "lead task.created "+subject, "lead task.edited "+subject, "lead task.edited "+subject, "staff task.deleted "+subject)
	detail := scan[string](t, s.pool, `SELECT detail::text FROM projects.audit WHERE action = 'task.edited' ORDER BY id LIMIT 1`)
	if detail != `{"title": "Paint it", "changed": {"title": {"to": "Paint it", "from": "Paint"}}}` {
		t.Errorf("the detail is %s", detail)
	}
}

// Two edits of the same version at once: one of them is told.
func TestOneOfTwoEditsIsStale(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	m := newTeam(t, stores[0].pool)
	for range 10 {
		task := newTask(t, stores[0].pool, m.Project, "Paint")
		outcomes := atOnce(
			func() error {
				_, err := stores[0].EditTask(ctx, m.Lead, task, TaskChange{Title: Some("A"), Version: Some[int64](1)})
				return err
			},
			func() error {
				_, err := stores[1].EditTask(ctx, m.Staff, task, TaskChange{Title: Some("B"), Version: Some[int64](1)})
				return err
			},
		)
		if outcomes["done"] != 1 || outcomes["conflict"] != 1 {
			t.Fatalf("the outcomes are %v", outcomes)
		}
	}
}

// A task that is deleted while somebody edits it is gone for them, whoever comes first.
func TestDeletedWhileEdited(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	m := newTeam(t, stores[0].pool)
	tasks := map[int64]bool{}
	for range 10 {
		task := newTask(t, stores[0].pool, m.Project, "Paint")
		tasks[task] = true
		outcomes := atOnce(
			func() error {
				_, err := stores[0].EditTask(ctx, m.Lead, task, TaskChange{Title: Some("A"), Version: Some[int64](1)})
				return err
			},
			func() error { return stores[1].DeleteTask(ctx, m.Staff, task) },
		)
		if outcomes["done"] < 1 || outcomes["done"]+outcomes["not found"] != 2 {
			t.Fatalf("the outcomes are %v", outcomes)
		}
	}
	if left := scan[int](t, stores[0].pool, `SELECT count(*) FROM projects.task`); left != 0 {
		t.Errorf("%d of %d tasks are left", left, len(tasks))
	}
}

// atOnce starts all at the same moment, and counts what they end with.
func atOnce(do ...func() error) map[string]int {
	start, ends := make(chan struct{}), make(chan string)
	for _, f := range do {
		go func() {
			<-start
			ends <- outcome(f())
		}()
	}
	close(start)
	outcomes := map[string]int{}
	for range do {
		outcomes[<-ends]++
	}
	return outcomes
}

func TestReassigningTellsTheNewOneAndTakesItBackFromTheOld(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	task := newTask(t, s.pool, m.Project, "Paint")
	group, cause := topic("project", m.Project), topic("task", task)
	assign := func(by int64, to *int64) {
		t.Helper()
		must[Task](t)(s.EditTask(ctx, by, task, TaskChange{AssigneeID: Some(to)}))
	}
	assign(m.Lead, &m.Lead)
	wantNotified(t, s, &m)
	assign(m.Lead, &m.Staff)
	wantNotified(t, s, &m, "staff task.assigned "+group+" "+cause)
	assign(m.Lead, &m.Customer)
	wantNotified(t, s, &m, "customer task.assigned "+group+" "+cause)
	assign(m.Lead, &m.Customer)
	wantNotified(t, s, &m, "customer task.assigned "+group+" "+cause)
	assign(m.Admin, nil)
	wantNotified(t, s, &m)
	assign(m.Admin, &m.Staff)
	wantNotified(t, s, &m, "staff task.assigned "+group+" "+cause)
	if err := s.DeleteTask(ctx, m.Lead, task); err != nil {
		t.Fatal(err)
	}
	wantNotified(t, s, &m)
}

func TestMoveToAnotherProject(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	target := newProject(t, s.pool, m.Organisation, "Target")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'staff'), ($1, $3, 'customer')`, target, m.Staff, m.Customer)
	hidden := newProject(t, s.pool, m.Organisation, "Hidden")
	milestone := must[Milestone](t)(s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "Here"}))
	there := must[Milestone](t)(s.createMilestone(ctx, m.Staff, target, MilestoneDraft{Name: "There"}))
	draft := TaskDraft{Title: "Paint", MilestoneID: &milestone.ID, AssigneeID: &m.Customer}
	member := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, draft))
	draft.AssigneeID = &m.Lead
	other := must[Task](t)(s.createTask(ctx, m.Staff, m.Project, draft))
	conversation := newConversation(t, s.pool, m.Project, "About it")
	exec(t, s.pool, `UPDATE projects.conversation SET task_id = $2 WHERE id = $1`, conversation, member.ID)
	move := func(by, task int64, change TaskChange) (Task, error) { return s.EditTask(ctx, by, task, change) }

	_, err := move(m.Lead, member.ID, TaskChange{ProjectID: Some(target)})
	want(t, err, "not found") // no member there, which doesn't show that it is there
	_, err = move(m.Staff, member.ID, TaskChange{ProjectID: Some(hidden)})
	want(t, err, "not found")
	_, err = move(m.Staff, member.ID, TaskChange{ProjectID: Some[int64](99_999)})
	want(t, err, "not found")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer')`, hidden, m.Staff)
	_, err = move(m.Staff, member.ID, TaskChange{ProjectID: Some(hidden)})
	want(t, err, "forbidden", "“Hidden”")
	_, err = move(m.Staff, member.ID, TaskChange{ProjectID: Some(target), MilestoneID: Some(&milestone.ID)})
	want(t, err, "invalid milestone_id", "“Target”")
	_, err = move(m.Staff, member.ID, TaskChange{ProjectID: Some(target), AssigneeID: Some(&m.Lead)})
	want(t, err, "invalid assignee_id", "“Target”")

	moved := must[Task](t)(move(m.Staff, member.ID, TaskChange{ProjectID: Some(target)}))
	if moved.ProjectID != target || moved.MilestoneID != nil || !same(moved.AssigneeID, &m.Customer) || moved.ConversationID != nil {
		t.Errorf("it became %+v", moved)
	}
	moved = must[Task](t)(move(m.Staff, other.ID, TaskChange{ProjectID: Some(target), MilestoneID: Some(&there.ID)}))
	if moved.ProjectID != target || !same(moved.MilestoneID, &there.ID) || moved.AssigneeID != nil {
		t.Errorf("it became %+v", moved)
	}
	if in := scan[string](t, s.pool, `SELECT project_id || ' ' || coalesce(task_id::text, 'none') FROM projects.conversation WHERE id = $1`, conversation); in != user(m.Project)+" none" {
		t.Errorf("the conversation is in %s", in)
	}
	wantNotified(t, s, &m) // links into the old project lead nowhere
	subject, second := topic("task", member.ID), topic("task", other.ID)
	wantTrail(t, s, &m, target, "staff milestone.created "+topic("milestone", there.ID), "staff task.moved "+subject, "staff task.moved "+second)
	wantTrail(t, s, &m, m.Project, "lead milestone.created "+topic("milestone", milestone.ID), "lead task.created "+subject, "staff task.created "+second,
		"staff task.moved "+subject, "staff task.moved "+second)
	if done := scan[string](t, s.pool, `SELECT string_agg(project_id || ':' || total, ' ' ORDER BY project_id) FROM projects.progress WHERE total > 0`); done != topic(user(target), 2) {
		t.Errorf("progress: %s", done)
	}
}

// Tasks that pass each other between two projects, with completions of the same: nobody loses, and the counters are right.
func TestMovesInOppositeOrder(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	m := newTeam(t, stores[0].pool)
	ends := []int64{m.Project, newProject(t, stores[0].pool, m.Organisation, "Second")}
	var tasks []int64
	for i := range 4 {
		tasks = append(tasks, newTask(t, stores[0].pool, ends[i%2], "Paint"))
	}
	const rounds = 8
	var do []func() error
	for i, task := range tasks {
		s := stores[i%2]
		do = append(do, func() error {
			for round := range rounds {
				if _, err := s.EditTask(ctx, m.Admin, task, TaskChange{ProjectID: Some(ends[(i+round+1)%2])}); err != nil {
					return err
				}
			}
			return nil
		}, func() error {
			for range rounds {
				if err := turnBoth(ctx, stores[(i+1)%2], m.Admin, task); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if outcomes := atOnce(do...); outcomes["done"] != len(do) {
		t.Fatalf("the outcomes are %v", outcomes)
	}
	for _, end := range ends {
		kept := scan[string](t, stores[0].pool, `SELECT done || '/' || total FROM projects.progress WHERE project_id = $1`, end)
		counted := scan[string](t, stores[0].pool, `SELECT count(completed_at) || '/' || count(*) FROM projects.task WHERE project_id = $1`, end)
		if kept != counted {
			t.Errorf("project %d: %s is kept, %s counted", end, kept, counted)
		}
	}
}

func turnBoth(ctx context.Context, s *Store, person, task int64) error {
	if _, err := s.CompleteTask(ctx, person, task); err != nil {
		return err
	}
	_, err := s.ReopenTask(ctx, person, task)
	return err
}
