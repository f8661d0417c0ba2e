package projects

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/inbox"
)

func TestPeopleAsEachRoleSeesThem(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	exec(t, s.pool, `UPDATE projects.person SET company = 'Beta' WHERE id = $1`, m.Customer)
	must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	colleague := newPerson(t, s.pool, m.Organisation, "Colin")
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, newPerson(t, s.pool, m.Organisation, "Rita"))
	type seen struct {
		Members     []string
		Invitations int
		Colleagues  []int64
	}
	emails := []string{emailOf(t, s, m.Customer), emailOf(t, s, m.Lead), emailOf(t, s, m.Staff)}
	for person, expected := range map[int64]seen{
		m.Customer: {[]string{"Cleo Beta customer ", "Lea Acme lead ", "Stan Acme staff "}, 0, []int64{}},
		m.Staff:    {[]string{"Cleo Beta customer " + emails[0], "Lea Acme lead " + emails[1], "Stan Acme staff " + emails[2]}, 1, []int64{}},
		m.Lead:     {[]string{"Cleo Beta customer " + emails[0], "Lea Acme lead " + emails[1], "Stan Acme staff " + emails[2]}, 1, []int64{m.Admin, colleague}},
	} {
		people := must[People](t)(s.People(ctx, person, m.Project))
		got := seen{Invitations: len(people.Invitations), Colleagues: []int64{}}
		for _, p := range people.Members {
			got.Members = append(got.Members, p.Name+" "+p.Company+" "+string(p.Role)+" "+p.Email)
		}
		for _, p := range people.Colleagues {
			got.Colleagues = append(got.Colleagues, p.ID)
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%d sees (-want +got):\n%s", person, diff)
		}
		if people.Invitations == nil || people.Colleagues == nil {
			t.Errorf("%d sees null", person)
		}
	}
}

func TestAddingColleagues(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	colleague := newPerson(t, s.pool, m.Organisation, "Colin")
	retired := newPerson(t, s.pool, m.Organisation, "Rita")
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, retired)
	added := must[Member](t)(s.AddMember(ctx, m.Lead, m.Project, colleague, Lead))
	expected := Member{Person: Person{ID: colleague, Name: "Colin", Company: "Acme", Staff: true}, Role: Lead, JoinedAt: added.JoinedAt}
	if diff := cmp.Diff(expected, added); diff != "" || added.JoinedAt.Location() != time.UTC {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err := s.AddMember(ctx, m.Lead, m.Project, colleague, Staff)
	want(t, err, "conflict", "Colin takes part")
	for _, person := range []int64{m.Outsider, retired, 999_999} {
		_, err := s.AddMember(ctx, m.Lead, m.Project, person, Staff)
		want(t, err, "invalid person_id", "no colleague")
	}
	for _, role := range []Role{Customer, "", "owner"} {
		_, err := s.AddMember(ctx, m.Lead, m.Project, newPerson(t, s.pool, m.Organisation, "New"), role)
		want(t, err, "invalid role")
	}
	must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	s.limits.Members = 5 // four, and one who is invited
	_, err = s.AddMember(ctx, m.Lead, m.Project, m.Admin, Staff)
	want(t, err, "limit", "5 members")
	_, err = s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "max@example.com", Role: Customer})
	want(t, err, "limit", "5 members")
	if lines := trail(t, s, &m, m.Project); lines[0] != "lead member.added "+topic("person", colleague) || len(lines) != 2 {
		t.Errorf("the audit trail is %v", lines)
	}
}

func TestRoles(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	_, err := s.ChangeRole(ctx, m.Lead, m.Project, m.Lead, Staff)
	want(t, err, "conflict", "Lea is the only lead of “Website”")
	_, err = s.ChangeRole(ctx, m.Admin, m.Project, m.Lead, Staff)
	want(t, err, "conflict", "only lead")
	want(t, s.RemoveMember(ctx, m.Lead, m.Project, m.Lead), "conflict", "only lead")
	want(t, s.RemoveMember(ctx, m.Admin, m.Project, m.Lead), "conflict", "only lead")
	_, err = s.ChangeRole(ctx, m.Lead, m.Project, m.Customer, Staff)
	want(t, err, "invalid role", "Cleo is a customer")
	_, err = s.ChangeRole(ctx, m.Lead, m.Project, m.Staff, Customer)
	want(t, err, "invalid role")
	// A lead who is deactivated is no reason to leave it without one.
	retired := newPerson(t, s.pool, m.Organisation, "Rita")
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')`, m.Project, retired)
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, retired)
	want(t, s.RemoveMember(ctx, m.Lead, m.Project, m.Lead), "conflict", "only lead")

	if got := must[Member](t)(s.ChangeRole(ctx, m.Lead, m.Project, m.Staff, Lead)); got.Role != Lead || got.ID != m.Staff {
		t.Errorf("it became %+v", got)
	}
	must[Member](t)(s.ChangeRole(ctx, m.Lead, m.Project, m.Staff, Lead))
	must[Member](t)(s.ChangeRole(ctx, m.Lead, m.Project, m.Lead, Staff))
	_, err = s.ChangeRole(ctx, m.Lead, m.Project, m.Lead, Lead)
	want(t, err, "forbidden")
	if err := s.RemoveMember(ctx, m.Lead, m.Project, m.Lead); err != nil {
		t.Fatal(err)
	}
	_, err = s.Project(ctx, m.Lead, m.Project)
	want(t, err, "not found")
	wantTrail(t, s, &m, m.Project, "lead member.role "+topic("person", m.Staff), "lead member.role "+topic("person", m.Lead), "lead member.left "+topic("person", m.Lead))
}

// Two leads who leave at once: one stays.
func TestLastTwoLeadsLeaveAtOnce(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	for range 8 {
		m := newTeam(t, stores[0].pool)
		must[Member](t)(stores[0].ChangeRole(ctx, m.Lead, m.Project, m.Staff, Lead))
		outcomes := atOnce(
			func() error { return stores[0].RemoveMember(ctx, m.Lead, m.Project, m.Lead) },
			func() error { _, err := stores[1].ChangeRole(ctx, m.Staff, m.Project, m.Staff, Staff); return err },
		)
		if outcomes["done"] != 1 || outcomes["conflict"] != 1 {
			t.Fatalf("the outcomes are %v", outcomes)
		}
	}
}

// Who is removed keeps no task, no notification and no channel of the project, and all of another one.
func TestRemovedMemberKeepsNothing(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	other := newTeam(t, s.pool)
	exec(t, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer')`, other.Project, m.Customer)
	general := newConversation(t, s.pool, m.Project, "General")
	for _, group := range []string{topic("project", m.Project), topic("chat", general), topic("project", other.Project)} {
		for _, person := range []int64{m.Customer, m.Staff} {
			if _, err := inbox.NotifyTx(ctx, s.pool, inbox.Notification{Users: []string{user(person)}, Kind: KindMention, Group: group}); err != nil {
				t.Fatal(err)
			}
		}
	}
	assigned := func(project int64, done bool) int64 {
		id := newTask(t, s.pool, project, "T")
		exec(t, s.pool, `UPDATE projects.task SET assignee_id = $2, completed_at = CASE WHEN $3 THEN now() END WHERE id = $1`, id, m.Customer, done)
		return id
	}
	open, done, elsewhere := assigned(m.Project, false), assigned(m.Project, true), assigned(other.Project, false)
	if err := s.RemoveMember(ctx, m.Staff, m.Project, m.Customer); err != nil {
		t.Fatal(err)
	}
	if got := collect[int64](t, s.pool, `SELECT id FROM projects.task WHERE assignee_id = $1 ORDER BY id`, m.Customer); !slices.Equal(got, []int64{done, elsewhere}) {
		t.Errorf("they keep %v of %v", got, []int64{open, done, elsewhere})
	}
	if got := collect[string](t, s.pool, `SELECT "group" FROM trunkline.notification WHERE user_id = $1`, user(m.Customer)); !slices.Equal(got, []string{topic("project", other.Project)}) {
		t.Errorf("they are notified of %v", got)
	}
	if got := scan[int](t, s.pool, `SELECT count(*) FROM trunkline.notification WHERE user_id = $1`, user(m.Staff)); got != 3 {
		t.Errorf("others have %d notifications", got)
	}
	expected := []string{topic("chat", general), topic("progress", m.Project), topic("project", m.Project)}
	if got := collect[string](t, s.pool, `SELECT channel FROM trunkline.revocation WHERE user_id = $1 ORDER BY channel`, user(m.Customer)); !slices.Equal(got, expected) {
		t.Errorf("revoked are %v", got)
	}
	wantTrail(t, s, &m, m.Project, "staff member.removed "+topic("person", m.Customer))
	want(t, s.RemoveMember(ctx, m.Staff, m.Project, m.Customer), "not found")
	want(t, s.RemoveMember(ctx, m.Staff, m.Project, m.Lead), "forbidden")
}

// Somebody who is removed while a task is assigned to them doesn't end up with it.
func TestAssignedWhileRemoved(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	for range 8 {
		m := newTeam(t, stores[0].pool)
		task := newTask(t, stores[0].pool, m.Project, "T")
		outcomes := atOnce(
			func() error { return stores[0].RemoveMember(ctx, m.Lead, m.Project, m.Customer) },
			func() error {
				_, err := stores[1].EditTask(ctx, m.Staff, task, TaskChange{AssigneeID: Some(&m.Customer)})
				return err
			},
		)
		if outcomes["done"]+outcomes["invalid assignee_id"] != 2 {
			t.Fatalf("the outcomes are %v", outcomes)
		}
		if scan[bool](t, stores[0].pool, `SELECT assignee_id IS NOT NULL FROM projects.task WHERE id = $1`, task) {
			t.Error("the task is assigned to somebody who isn't there")
		}
		if left := scan[int](t, stores[0].pool, `SELECT count(*) FROM trunkline.notification WHERE user_id = $1`, user(m.Customer)); left != 0 {
			t.Errorf("they have %d notifications", left)
		}
	}
}
