package projects

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckFindsAndRepairsDrift(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	for range 3 {
		newTask(t, s.pool, m.Project, "Paint")
	}
	exec(t, s.pool, "UPDATE projects.task SET completed_at = now() WHERE id = (SELECT min(id) FROM projects.task)")
	lost := newProject(t, s.pool, m.Organisation, "Without a row")
	talk := newConversation(t, s.pool, m.Project, "General")
	say(t, s.pool, talk, m.Customer, "When?")
	answered := newConversation(t, s.pool, m.Project, "Answered")
	say(t, s.pool, answered, m.Customer, "Who?")
	say(t, s.pool, answered, m.Staff, "I.")

	check := func(repair bool, want ...Drift) {
		t.Helper()
		got, err := s.Check(testContext(t), repair)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Fatalf("drifts (-want +got):\n%s", diff)
		}
	}
	check(true)

	// Somebody's restore, or an import with triggers switched off.
	exec(t, s.pool, "DELETE FROM projects.progress WHERE project_id = $1", lost)
	exec(t, s.pool, "UPDATE projects.progress SET done = 9, total = 8 WHERE project_id = $1", m.Project)
	exec(t, s.pool, "UPDATE projects.conversation SET last_seq = 7, awaiting_since = NULL WHERE id = $1", talk)
	exec(t, s.pool, "UPDATE projects.conversation SET awaiting_since = now() WHERE id = $1", answered)
	exec(t, s.pool, "INSERT INTO projects.reader (conversation_id, person_id, read_seq) VALUES ($1, $2, 6)", talk, m.Staff)
	planted := []Drift{
		{"awaiting_since", talk, "answered", "waiting"},
		{"awaiting_since", answered, "waiting", "answered"},
		{"last_seq", talk, "7", "1"},
		{"progress", m.Project, "9 of 8", "1 of 3"},
		{"progress", lost, "missing", "0 of 0"},
	}
	check(false, planted...)
	check(true, planted...)
	check(true)

	version := scan[int64](t, s.pool, "SELECT version FROM projects.progress WHERE project_id = $1", m.Project)
	last := published(t, s.pool, topic("progress", m.Project))
	wantJSON(t, Progress{Done: 1, Total: 3, Version: version}, last[len(last)-1])
	if got := scan[int64](t, s.pool, "SELECT read_seq FROM projects.reader WHERE person_id = $1", m.Staff); got != 1 {
		t.Errorf("somebody has read up to %d of a conversation of one message", got)
	}
	if got := scan[int](t, s.pool, "SELECT (projects.overview($1, $2) -> 0 ->> 'waiting')::int", m.Staff, m.Project); got != 1 {
		t.Errorf("%d questions wait, want 1", got)
	}
}

// Who works while it is repaired isn't lost: the count is right whatever comes first.
func TestRepairWhileOthersWork(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	const tasks = 40
	exec(t, s.pool, "INSERT INTO projects.task (project_id, title, rank) SELECT $1, 'Task', i FROM generate_series(1, $2) i", m.Project, tasks)
	exec(t, s.pool, "UPDATE projects.progress SET done = 30 WHERE project_id = $1", m.Project)

	done := make(chan error, 1)
	go func() {
		for id := range tasks {
			if _, err := s.pool.Exec(testContext(t), `UPDATE projects.task SET completed_at = now() WHERE id = (
				SELECT id FROM projects.task ORDER BY id OFFSET $1 LIMIT 1)`, id); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for working := true; working; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			working = false
		default:
		}
		if _, err := s.Check(testContext(t), true); err != nil {
			t.Fatal(err)
		}
	}
	drifts, err := s.Check(testContext(t), false)
	if err != nil || len(drifts) > 0 {
		t.Errorf("left: %v, %v", drifts, err)
	}
}
