package projects

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCompletingAndReopening(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	exec(t, s.pool, `UPDATE projects.person SET time_zone = 'Asia/Tokyo' WHERE id = $1`, m.Staff)
	made := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Paint"}))
	subject := topic("task", made.ID)

	_, err := s.ReopenTask(ctx, m.Customer, made.ID)
	want(t, err, "conflict", "“Paint” isn't complete")
	completed := must[Task](t)(s.CompleteTask(ctx, m.Customer, made.ID))
	if completed.CompletedAt == nil || !same(completed.CompletedBy, &m.Customer) || completed.Version != 2 || completed.CompletedAt.Location() != time.UTC {
		t.Errorf("it became %+v", completed)
	}
	if diff := cmp.Diff(completed, must[Task](t)(s.CompleteTask(ctx, m.Customer, made.ID))); diff != "" {
		t.Errorf("repeating it changed something:\n%s", diff)
	}
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.CompleteTask(ctx, m.Staff, made.ID)
	want(t, err, "conflict", "Cleo completed “Paint” already, on "+completed.CompletedAt.In(tokyo).Format("2 January 2006 at 15:04")+" JST.")
	_, err = s.CompleteTask(ctx, m.Lead, made.ID)
	want(t, err, "conflict", completed.CompletedAt.Format("15:04")+" UTC.")

	reopened := must[Task](t)(s.ReopenTask(ctx, m.Staff, made.ID))
	if reopened.CompletedAt != nil || reopened.CompletedBy != nil || reopened.ReopenedAt == nil || !same(reopened.ReopenedBy, &m.Staff) || reopened.Version != 3 {
		t.Errorf("it became %+v", reopened)
	}
	if diff := cmp.Diff(reopened, must[Task](t)(s.ReopenTask(ctx, m.Staff, made.ID))); diff != "" {
		t.Errorf("repeating it changed something:\n%s", diff)
	}
	_, err = s.ReopenTask(ctx, m.Customer, made.ID)
	want(t, err, "conflict", "Stan reopened “Paint” already, on ")
	wantTrail(t, s, &m, m.Project, "lead task.created "+subject, "customer task.completed "+subject, "staff task.reopened "+subject)
}

// Whoever completes it: one is first, the others hear who that was, and everybody is notified once.
func TestManyCompleteTheSameTaskAtOnce(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	m := newTeam(t, stores[0].pool)
	names := map[int64]string{m.Lead: "Lea", m.Staff: "Stan", m.Customer: "Cleo"}
	for range 10 {
		task := newTask(t, stores[0].pool, m.Project, "Paint")
		var do []func() error
		sentences := make(chan string, 6)
		for person := range names {
			for _, s := range stores { // the same person on two nodes: a double click
				do = append(do, func() error {
					_, err := s.CompleteTask(ctx, person, task)
					var conflict *ConflictError
					if errors.As(err, &conflict) {
						sentences <- conflict.Sentence
					}
					return err
				})
			}
		}
		outcomes := atOnce(do...)
		if outcomes["done"] != 2 || outcomes["conflict"] != 4 {
			t.Fatalf("the outcomes are %v", outcomes)
		}
		by := scan[int64](t, stores[0].pool, `SELECT completed_by FROM projects.task WHERE id = $1`, task)
		close(sentences)
		for sentence := range sentences {
			if !strings.HasPrefix(sentence, names[by]+" completed “Paint” already, on ") {
				t.Errorf("%s completed it, but: %s", names[by], sentence)
			}
		}
		expected := []int64{m.Customer}
		if by == m.Customer {
			expected = []int64{m.Lead, m.Staff}
		}
		got := collect[int64](t, stores[0].pool, `SELECT user_id::bigint FROM trunkline.notification WHERE cause = $1 ORDER BY 1`, topic("task", task))
		if !slices.Equal(got, expected) {
			t.Errorf("%s completed it, and %v are notified, not %v", names[by], got, expected)
		}
		if version := scan[int64](t, stores[0].pool, `SELECT version FROM projects.task WHERE id = $1`, task); version != 2 {
			t.Errorf("its version is %d", version)
		}
	}
}

// Who is notified of each thing that can happen to a task, by who does it and whom it is assigned to.
func TestWhoIsNotifiedOfATask(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	second := newPerson(t, s.pool, 0, "Carl")
	retired := newPerson(t, s.pool, 0, "Rita")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer'), ($1, $3, 'customer')`, m.Project, second, retired)
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, retired)
	who := m.names()
	who[second], who[retired] = "second", "retired"
	ids := map[string]int64{}
	for id, name := range who {
		ids[name] = id
	}
	for _, test := range []struct{ by, assignee, completed, reopenedBy, reopened string }{
		{"customer", "", "lead staff", "customer", ""},
		{"customer", "customer", "lead staff", "staff", "customer"},
		{"customer", "second", "lead staff second", "lead", "customer second"},
		{"customer", "staff", "lead staff", "second", "staff customer"},
		{"second", "lead", "lead staff", "lead", "second"},
		{"staff", "", "customer second", "customer", "staff"},
		{"staff", "lead", "lead customer second", "staff", "lead"},
		{"lead", "customer", "customer second", "second", "lead customer"},
		{"admin", "", "customer second", "staff", "admin"},
		{"admin", "staff", "staff customer second", "admin", "staff"},
	} {
		t.Run(fmt.Sprintf("%s completes %s's", test.by, test.assignee), func(t *testing.T) {
			draft := TaskDraft{Title: "Paint"}
			if test.assignee != "" {
				draft.AssigneeID = ptr(ids[test.assignee])
			}
			// Assigned by the assignee, so that nobody is told of that; customers can't.
			task := must[Task](t)(s.createTask(ctx, m.Admin, m.Project, draft)).ID
			exec(t, s.pool, `DELETE FROM trunkline.notification`)
			has := func(expected, kind string) {
				t.Helper()
				got := collect[string](t, s.pool, `SELECT user_id || ' ' || kind || ' ' || link FROM trunkline.notification ORDER BY 1`)
				var wanted []string
				for name := range strings.FieldsSeq(expected) {
					wanted = append(wanted, fmt.Sprintf("%d %s /projects/%d?task=%d", ids[name], kind, m.Project, task))
				}
				slices.Sort(wanted)
				if !slices.Equal(got, wanted) {
					t.Errorf("%v, not %v", got, wanted)
				}
			}
			must[Task](t)(s.CompleteTask(ctx, ids[test.by], task))
			has(test.completed, KindCompleted)
			must[Task](t)(s.CompleteTask(ctx, ids[test.by], task))
			has(test.completed, KindCompleted)
			// What was completed is taken back from everybody.
			must[Task](t)(s.ReopenTask(ctx, ids[test.reopenedBy], task))
			has(test.reopened, KindReopened)
			// And the other way round.
			must[Task](t)(s.CompleteTask(ctx, ids[test.by], task))
			has(test.completed, KindCompleted)
			if err := s.DeleteTask(ctx, m.Lead, task); err != nil {
				t.Fatal(err)
			}
			has("", "")
		})
	}
}

// Whoever completed a task and has left since isn't told of what happens to it.
func TestFormerMembersAreNotNotified(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	task := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Paint", AssigneeID: &m.Customer})).ID
	must[Task](t)(s.CompleteTask(ctx, m.Customer, task))
	if err := s.RemoveMember(ctx, m.Customer, m.Project, m.Customer); err != nil {
		t.Fatal(err)
	}
	must[Task](t)(s.ReopenTask(ctx, m.Staff, task))
	wantNotified(t, s, &m)
}

func TestDataOfANotification(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	task := newTask(t, s.pool, m.Project, "Paint")
	must[Task](t)(s.CompleteTask(ctx, m.Customer, task))
	got := scan[string](t, s.pool, `SELECT data::text FROM trunkline.notification WHERE user_id = $1`, user(m.Lead))
	expected := fmt.Sprintf(`{"actor":"Cleo","actor_id":%d,"project":"Website","project_id":%d,"task":"Paint","group_title":"Website"}`, m.Customer, m.Project)
	if got != expected {
		t.Errorf("%s, not %s", got, expected)
	}
}
