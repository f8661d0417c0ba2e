package projects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outcome is what sort of error something ended with.
func outcome(err error) string {
	var (
		forbidden *ForbiddenError
		invalid   *InvalidError
		conflict  *ConflictError
		gone      *GoneError
		limit     *LimitError
	)
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, ErrNotFound):
		return "not found"
	case errors.As(err, &forbidden):
		return "forbidden"
	case errors.As(err, &invalid):
		return "invalid " + invalid.Field
	case errors.As(err, &conflict):
		return "conflict"
	case errors.As(err, &gone):
		return "gone"
	case errors.As(err, &limit):
		return "limit"
	}
	return "failed: " + err.Error()
}

// want compares an outcome, and what the error says where that is given.
func want(t testing.TB, err error, expected string, says ...string) {
	t.Helper()
	if got := outcome(err); got != expected {
		t.Errorf("the outcome is %s (%v), not %s", got, err, expected)
		return
	}
	for _, part := range says {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("“%v” doesn't say “%s”", err, part)
		}
	}
}

// must ends the test if something failed.
func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// names calls the people of a team by what they are.
func (m *team) names() map[int64]string {
	return map[int64]string{m.Admin: "admin", m.Lead: "lead", m.Staff: "staff", m.Customer: "customer", m.Outsider: "outsider"}
}

// notified lists who has which notification, by what people are in the team.
func notified(t testing.TB, s *Store, m *team) []string {
	t.Helper()
	list := collect[string](t, s.pool, `SELECT concat_ws(' ', user_id, kind, "group", cause) FROM trunkline.notification ORDER BY kind, user_id::bigint, id`)
	for i, entry := range list {
		id, rest, _ := strings.Cut(entry, " ")
		for person, name := range m.names() {
			if id == user(person) {
				list[i] = name + " " + rest
			}
		}
	}
	return list
}

func wantNotified(t testing.TB, s *Store, m *team, expected ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, expected...), notified(t, s, m)); diff != "" {
		t.Errorf("notifications (-want +got):\n%s", diff)
	}
}

// trail is a project's audit trail, oldest first.
func trail(t testing.TB, s *Store, m *team, project int64) []string {
	t.Helper()
	list := collect[string](t, s.pool, `SELECT concat_ws(' ', person_id, action, subject) FROM projects.audit WHERE project_id = $1 ORDER BY id`, project)
	for i, entry := range list {
		id, rest, _ := strings.Cut(entry, " ")
		for person, name := range m.names() {
			if id == user(person) {
				list[i] = name + " " + rest
			}
		}
	}
	return list
}

func wantTrail(t testing.TB, s *Store, m *team, project int64, expected ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, expected...), trail(t, s, m, project)); diff != "" {
		t.Errorf("audit trail (-want +got):\n%s", diff)
	}
}

// Every method, by everybody: whoever is nothing in the project can't tell it from one that isn't there.
func TestWhoMayDoWhat(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	other := scan[int64](t, s.pool, `INSERT INTO projects.organisation (name) VALUES ('Other') RETURNING id`)
	stranger := newPerson(t, s.pool, other, "Strange admin")
	exec(t, s.pool, `UPDATE projects.person SET admin = true WHERE id = $1`, stranger)
	colleague := newPerson(t, s.pool, m.Organisation, "Colin")
	retired := newPerson(t, s.pool, m.Organisation, "Rita")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')`, m.Project, retired)
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, retired)

	number := 0
	fresh := func() string { number++; return fmt.Sprintf("%d", number) }
	task := func() int64 { return newTask(t, s.pool, m.Project, fresh()) }
	milestone := func() int64 {
		return scan[int64](t, s.pool, `INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'M', 1) RETURNING id`, m.Project)
	}
	join := func(organisation int64, role Role) int64 {
		id := newPerson(t, s.pool, organisation, "Nobody")
		exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, $3)`, m.Project, id, role)
		return id
	}
	invitation := func(role Role) int64 {
		return scan[int64](t, s.pool, `INSERT INTO projects.invitation (project_id, email, role) VALUES ($1, $2, $3) RETURNING id`,
			m.Project, fresh()+"@example.com", role)
	}
	err := func(_ any, err error) error { return err }
	type try func(ctx context.Context, person int64) error
	const all, guides, leads = "admin lead staff customer", "admin lead staff", "admin lead"
	for name, test := range map[string]struct {
		may string // the others who see the project are forbidden to
		do  try
	}{
		"overview":      {all, func(ctx context.Context, p int64) error { return err(s.Overview(ctx, p, &m.Project)) }},
		"project":       {all, func(ctx context.Context, p int64) error { return err(s.Project(ctx, p, m.Project)) }},
		"people":        {all, func(ctx context.Context, p int64) error { return err(s.People(ctx, p, m.Project)) }},
		"complete task": {all, func(ctx context.Context, p int64) error { return err(s.CompleteTask(ctx, p, task())) }},
		"audit":         {guides, func(ctx context.Context, p int64) error { return err(s.Audit(ctx, p, m.Project, 0, 50)) }},
		"create task": {guides, func(ctx context.Context, p int64) error {
			return err(s.createTask(ctx, p, m.Project, TaskDraft{Title: "T"}))
		}},
		"edit task": {guides, func(ctx context.Context, p int64) error {
			return err(s.EditTask(ctx, p, task(), TaskChange{Title: Some("T")}))
		}},
		"delete task": {guides, func(ctx context.Context, p int64) error { return s.DeleteTask(ctx, p, task()) }},
		"create milestone": {guides, func(ctx context.Context, p int64) error {
			return err(s.createMilestone(ctx, p, m.Project, MilestoneDraft{Name: "M"}))
		}},
		"edit milestone": {guides, func(ctx context.Context, p int64) error {
			return err(s.EditMilestone(ctx, p, milestone(), MilestoneChange{Name: Some("N")}))
		}},
		"delete milestone": {guides, func(ctx context.Context, p int64) error { return s.DeleteMilestone(ctx, p, milestone()) }},
		"edit summary": {guides, func(ctx context.Context, p int64) error {
			return err(s.EditProject(ctx, p, m.Project, ProjectChange{Summary: Some(fresh())}))
		}},
		"rename project": {leads, func(ctx context.Context, p int64) error {
			return err(s.EditProject(ctx, p, m.Project, ProjectChange{Name: Some(fresh())}))
		}},
		"add member": {leads, func(ctx context.Context, p int64) error {
			return err(s.AddMember(ctx, p, m.Project, newPerson(t, s.pool, m.Organisation, "New"), Staff))
		}},
		"change role": {leads, func(ctx context.Context, p int64) error {
			return err(s.ChangeRole(ctx, p, m.Project, join(m.Organisation, Staff), Lead))
		}},
		"remove staff": {leads, func(ctx context.Context, p int64) error {
			return s.RemoveMember(ctx, p, m.Project, join(m.Organisation, Staff))
		}},
		"remove customer": {guides, func(ctx context.Context, p int64) error { return s.RemoveMember(ctx, p, m.Project, join(0, Customer)) }},
		"invite customer": {guides, func(ctx context.Context, p int64) error {
			return err(s.Invite(ctx, p, m.Project, InvitationDraft{Email: fresh() + "@example.com", Role: Customer}))
		}},
		"invite staff": {leads, func(ctx context.Context, p int64) error {
			return err(s.Invite(ctx, p, m.Project, InvitationDraft{Email: fresh() + "@example.com", Role: Staff}))
		}},
		"resend customer's": {guides, func(ctx context.Context, p int64) error {
			return err(s.Resend(ctx, p, m.Project, invitation(Customer)))
		}},
		"resend staff's":    {leads, func(ctx context.Context, p int64) error { return err(s.Resend(ctx, p, m.Project, invitation(Staff))) }},
		"revoke customer's": {guides, func(ctx context.Context, p int64) error { return s.Revoke(ctx, p, m.Project, invitation(Customer)) }},
		"revoke staff's":    {leads, func(ctx context.Context, p int64) error { return s.Revoke(ctx, p, m.Project, invitation(Staff)) }},
	} {
		t.Run(name, func(t *testing.T) {
			for who, person := range map[string]int64{"admin": m.Admin, "lead": m.Lead, "staff": m.Staff, "customer": m.Customer} {
				expected := "forbidden"
				if strings.Contains(test.may, who) {
					expected = "done"
				}
				if got := outcome(test.do(ctx, person)); got != expected {
					t.Errorf("%s: %s, not %s", who, got, expected)
				}
			}
			for who, person := range map[string]int64{"outsider": m.Outsider, "stranger": stranger, "colleague": colleague, "retired": retired, "nobody": 999_999} {
				if got := outcome(test.do(ctx, person)); got != "not found" {
					t.Errorf("%s: %s", who, got)
				}
			}
		})
	}
	for name, err := range map[string]error{
		"overview": err(s.Overview(ctx, m.Lead, ptr[int64](999))), "project": err(s.Project(ctx, m.Lead, 999)), "people": err(s.People(ctx, m.Lead, 999)),
		"complete": err(s.CompleteTask(ctx, m.Lead, 99_999)), "reopen": err(s.ReopenTask(ctx, m.Lead, 99_999)), "delete": s.DeleteTask(ctx, m.Lead, 99_999),
		"task": err(s.EditTask(ctx, m.Lead, 99_999, TaskChange{})), "milestone": err(s.EditMilestone(ctx, m.Lead, 99_999, MilestoneChange{})),
		"edit": err(s.EditProject(ctx, m.Lead, 999, ProjectChange{})), "resend": err(s.Resend(ctx, m.Lead, m.Project, 99_999)),
		"role": err(s.ChangeRole(ctx, m.Lead, m.Project, m.Outsider, Lead)), "remove": s.RemoveMember(ctx, m.Lead, m.Project, m.Outsider),
		"leave": s.RemoveMember(ctx, m.Admin, m.Project, m.Admin), "delete project": s.DeleteProject(ctx, m.Lead, 999),
	} {
		if got := outcome(err); got != "not found" {
			t.Errorf("%s of what isn't there: %s", name, got)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// What is archived doesn't change, and what is finished keeps its tasks as they are.
func TestStatusOfAProjectForbidsChanges(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	open, completed := newTask(t, s.pool, m.Project, "Open"), newTask(t, s.pool, m.Project, "Completed")
	must[Task](t)(s.CompleteTask(ctx, m.Lead, completed))
	milestone := must[Milestone](t)(s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "M"})).ID
	invitation := must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer})).ID
	colleague := newPerson(t, s.pool, m.Organisation, "Colin")
	elsewhere := newProject(t, s.pool, m.Organisation, "Elsewhere")
	movable := newTask(t, s.pool, elsewhere, "Movable")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')`, elsewhere, m.Lead)

	err := func(_ any, err error) error { return err }
	work := map[string]func() error{
		"create task":      func() error { return err(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "T"})) },
		"edit task":        func() error { return err(s.EditTask(ctx, m.Lead, open, TaskChange{Title: Some("T")})) },
		"move task out":    func() error { return err(s.EditTask(ctx, m.Lead, open, TaskChange{ProjectID: Some(elsewhere)})) },
		"move task in":     func() error { return err(s.EditTask(ctx, m.Lead, movable, TaskChange{ProjectID: Some(m.Project)})) },
		"delete task":      func() error { return s.DeleteTask(ctx, m.Lead, open) },
		"complete task":    func() error { return err(s.CompleteTask(ctx, m.Lead, open)) },
		"complete again":   func() error { return err(s.CompleteTask(ctx, m.Lead, completed)) },
		"reopen task":      func() error { return err(s.ReopenTask(ctx, m.Lead, completed)) },
		"create milestone": func() error { return err(s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "M"})) },
		"edit milestone":   func() error { return err(s.EditMilestone(ctx, m.Lead, milestone, MilestoneChange{Name: Some("N")})) },
		"delete milestone": func() error { return s.DeleteMilestone(ctx, m.Lead, milestone) },
	}
	rest := map[string]func() error{
		"rename": func() error { return err(s.EditProject(ctx, m.Lead, m.Project, ProjectChange{Name: Some("New")})) },
		"invite": func() error {
			return err(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "x@example.com", Role: Customer}))
		},
		"revoke":      func() error { return s.Revoke(ctx, m.Lead, m.Project, invitation) },
		"add member":  func() error { return err(s.AddMember(ctx, m.Lead, m.Project, colleague, Staff)) },
		"change role": func() error { return err(s.ChangeRole(ctx, m.Lead, m.Project, m.Staff, Lead)) },
		"leave":       func() error { return s.RemoveMember(ctx, m.Customer, m.Project, m.Customer) },
		"delete":      func() error { return s.DeleteProject(ctx, m.Lead, m.Project) },
	}
	before := len(trail(t, s, &m, m.Project))
	must[ProjectHead](t)(s.EditProject(ctx, m.Staff, m.Project, ProjectChange{Status: Some("finished")}))
	for name, do := range work {
		if err := do(); outcome(err) != "forbidden" || !strings.Contains(err.Error(), "finished") {
			t.Errorf("finished, %s: %v", name, err)
		}
	}
	must[ProjectHead](t)(s.EditProject(ctx, m.Lead, m.Project, ProjectChange{Status: Some("archived")}))
	for _, list := range []map[string]func() error{work, rest} {
		for name, do := range list {
			if err := do(); outcome(err) != "forbidden" || !strings.Contains(err.Error(), "archived") {
				t.Errorf("archived, %s: %v", name, err)
			}
		}
	}
	want(t, err(s.EditProject(ctx, m.Staff, m.Project, ProjectChange{Status: Some("active")})), "forbidden", "lead")
	if p := must[Project](t)(s.Project(ctx, m.Customer, m.Project)); p.Status != "archived" {
		t.Errorf("it is %s", p.Status)
	}
	must[ProjectHead](t)(s.EditProject(ctx, m.Lead, m.Project, ProjectChange{Status: Some("active")}))
	want(t, work["edit task"](), "done")
	if got := len(trail(t, s, &m, m.Project)) - before; got != 4 {
		t.Errorf("%d lines in the audit trail, not those of three changes of status and an edit", got)
	}
}
