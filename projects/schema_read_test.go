package projects

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOverviewAtAGlance(t *testing.T) {
	s := newStore(t)
	db := s.pool
	m := newTeam(t, db)
	join := func(project, person int64, role string) {
		t.Helper()
		exec(t, db, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, $3)", project, person, role)
	}
	// In the order they are to be shown; made in another one.
	var ids [6]int64
	names := [6]string{"Waits long", "Waits", "Alpha", "Beta", "Finished", "Archived"}
	for _, i := range []int{5, 3, 1, 4, 2, 0} {
		ids[i] = newProject(t, db, m.Organisation, names[i])
		join(ids[i], m.Customer, "customer")
		join(ids[i], m.Staff, "staff")
	}
	exec(t, db, "DELETE FROM projects.membership WHERE project_id = $1 AND person_id = $2", m.Project, m.Customer)
	exec(t, db, "UPDATE projects.project SET status = lower(name) WHERE id IN ($1, $2)", ids[4], ids[5])
	first, second := newConversation(t, db, ids[0], "General"), newConversation(t, db, ids[1], "General")
	since := time.Date(2030, 1, 2, 3, 4, 5, 678000, time.UTC)
	exec(t, db, "UPDATE projects.conversation SET last_seq = 9, awaiting_since = $2 WHERE id = $1", first, since)
	exec(t, db, "UPDATE projects.conversation SET last_seq = 4, awaiting_since = $2::timestamptz + interval '1 h' WHERE id = $1", second, since)
	exec(t, db, "INSERT INTO projects.reader (conversation_id, person_id, read_seq) VALUES ($1, $2, 7), ($1, $3, 9)", first, m.Customer, m.Staff)

	// Milestones are shown by rank and not by id, tasks without one last, eight in all.
	later := scan[int64](t, db, "INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'Later', 2) RETURNING id", ids[0])
	sooner := scan[int64](t, db, "INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'Sooner', 1) RETURNING id", ids[0])
	exec(t, db, `INSERT INTO projects.task (project_id, milestone_id, title, description, rank, completed_at)
		SELECT $1, nullif(s, 0), 'Task ' || r || ' of ' || s, 'Much to say.', r, CASE WHEN r % 2 = 0 THEN now() END
		FROM unnest(ARRAY[0, $2, $3]::bigint[]) s, generate_series(6, 1, -1) r`, ids[0], later, sooner)
	var titles []string
	for _, stage := range []int64{sooner, later, 0} {
		for rank := 1; rank <= 5; rank += 2 {
			titles = append(titles, fmt.Sprintf("Task %d of %d", rank, stage))
		}
	}
	titles = titles[:8]
	for i := range 7 {
		join(ids[0], newPerson(t, db, 0, fmt.Sprintf("Customer %d", 7-i)), "customer")
	}

	overview := func(person int64) []Summary {
		t.Helper()
		return decode[[]Summary](t, scan[string](t, db, "SELECT projects.overview($1)", person))
	}
	customer := overview(m.Customer)
	var order []string
	for _, one := range customer {
		order = append(order, one.Name)
	}
	if diff := cmp.Diff(names[:], order); diff != "" {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
	one := customer[0]
	var shown []string
	for _, task := range one.Outstanding {
		if task.Description != "" {
			t.Errorf("the description of %q is shown", task.Title)
		}
		shown = append(shown, task.Title)
	}
	if diff := cmp.Diff(titles, shown); diff != "" {
		t.Errorf("outstanding tasks (-want +got):\n%s", diff)
	}
	var people []string
	for _, person := range append(one.Customers, one.Staff...) {
		people = append(people, person.Name+" "+person.Company)
	}
	if diff := cmp.Diff([]string{"Cleo ", "Customer 1 ", "Customer 2 ", "Customer 3 ", "Customer 4 ", "Stan Acme"}, people); diff != "" {
		t.Errorf("people (-want +got):\n%s", diff)
	}
	one.Outstanding, one.Customers, one.Staff = nil, nil, nil
	want := Summary{
		ID: ids[0], Name: names[0], Status: "active", Role: Customer, Progress: Progress{Done: 9, Total: 18, Version: 2},
		Waiting: 1, WaitingSince: &since, Unread: 2,
	}
	if diff := cmp.Diff(want, one); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}

	staff := overview(m.Staff)
	if staff[0].ID != ids[0] || staff[0].Unread != 0 || len(staff[0].Outstanding) != 0 || len(staff) != 7 {
		t.Errorf("the staff's first of %d projects is %+v", len(staff), staff[0])
	}
	if admin := overview(m.Admin); len(admin) != 7 || admin[0].Role != Lead || admin[0].Unread != 9 {
		t.Errorf("the admin's first of %d projects is %+v", len(admin), admin[0])
	}
	if nothing := scan[string](t, db, "SELECT projects.overview($1)", m.Outsider); nothing != "[]" {
		t.Errorf("an outsider is shown %s", nothing)
	}
}
