package projects

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/inbox"
)

func TestProjectIsCreatedWithItsLeadAndAConversation(t *testing.T) {
	s := newLiveStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	made := must[Project](t)(s.createProject(ctx, m.Staff, ProjectDraft{Name: " Kitchen ", Summary: "New\r\nkitchen", DueOn: ptr(Date("2027-03-01"))}))
	if made.Name != "Kitchen" || made.Summary != "New\nkitchen" || made.Status != "active" || *made.DueOn != "2027-03-01" || made.Role != Lead || made.Organisation != "Acme" {
		t.Errorf("the project is %+v", made)
	}
	if len(made.Members) != 1 || made.Members[0].ID != m.Staff || made.Members[0].Role != Lead {
		t.Errorf("its members are %+v", made.Members)
	}
	if len(made.Conversations) != 1 || made.Conversations[0].Subject != "General" {
		t.Errorf("its conversations are %+v", made.Conversations)
	}
	if made.Positions[topic("project", made.ID)].Epoch == "" {
		t.Errorf("it can't be followed from %v", made.Positions)
	}
	read := must[Project](t)(s.Project(ctx, m.Staff, made.ID))
	read.Positions = made.Positions
	if diff := cmp.Diff(made, read); diff != "" {
		t.Errorf("it reads otherwise (-made +read):\n%s", diff)
	}
	for _, person := range []int64{m.Customer, m.Outsider, 999_999} {
		_, err := s.createProject(ctx, person, ProjectDraft{Name: "Mine"})
		want(t, err, "forbidden", "Only staff")
	}
	for field, draft := range map[string]ProjectDraft{
		"name": {Name: " "}, "summary": {Name: "N", Summary: strings.Repeat("x", 2001)}, "due_on": {Name: "N", DueOn: ptr(Date("soon"))},
	} {
		_, err := s.createProject(ctx, m.Staff, draft)
		want(t, err, "invalid "+field)
	}
	_, err := s.createProject(ctx, m.Staff, ProjectDraft{Name: strings.Repeat("x", 121)})
	want(t, err, "invalid name", "121 characters, and may have 120")
	if lines := trail(t, s, &m, made.ID); lines[0] != "staff project.created "+topic("project", made.ID) {
		t.Errorf("the audit trail is %v", lines)
	}
}

func TestEditingAProject(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	edit := func(person int64, change ProjectChange) (ProjectHead, error) {
		return s.EditProject(ctx, person, m.Project, change)
	}
	expected := ProjectHead{ID: m.Project, Name: "Website", Status: "active", Version: 1}
	check := func(got ProjectHead) {
		t.Helper()
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	check(must[ProjectHead](t)(edit(m.Staff, ProjectChange{})))
	check(must[ProjectHead](t)(edit(m.Staff, ProjectChange{Name: Some(" Website "), Status: Some("active")})))
	expected.Summary, expected.DueOn, expected.Version = "All new", ptr(Date("2027-05-01")), 2
	check(must[ProjectHead](t)(edit(m.Staff, ProjectChange{Summary: Some(" All new "), DueOn: Some(ptr(Date("2027-05-01"))), Version: Some[int64](1)})))
	expected.Name, expected.DueOn, expected.Version = "Site", nil, 3
	check(must[ProjectHead](t)(edit(m.Lead, ProjectChange{Name: Some("Site"), DueOn: Some[*Date](nil)})))

	_, err := edit(m.Lead, ProjectChange{Name: Some("Old"), Version: Some[int64](2)})
	want(t, err, "conflict", "“Site” has changed")
	for field, change := range map[string]ProjectChange{
		"name": {Name: Some("")}, "summary": {Summary: Some("\x00")}, "due_on": {DueOn: Some(ptr(Date("")))}, "status": {Status: Some("paused")},
	} {
		_, err := edit(m.Lead, change)
		want(t, err, "invalid "+field)
	}
	subject := topic("project", m.Project)
	wantTrail(t, s, &m, m.Project, "staff project.edited "+subject, "lead project.edited "+subject)
	pushed := published(t, s.pool, subject)
	if last := pushed[len(pushed)-1]; !strings.Contains(last, `"Site"`) || !strings.Contains(last, `"project"`) {
		t.Errorf("the last push is %s", last)
	}
}

// A project that is finished is told to everybody but who finished it; that is taken back when it goes on.
func TestFinishingNotifies(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	about := topic("project", m.Project) + " " + topic("project", m.Project)
	status := func(person int64, status string) {
		t.Helper()
		must[ProjectHead](t)(s.EditProject(ctx, person, m.Project, ProjectChange{Status: Some(status)}))
	}
	status(m.Staff, "finished")
	byStaff := []string{"lead project.finished " + about, "customer project.finished " + about}
	wantNotified(t, s, &m, byStaff...)
	status(m.Lead, "finished")
	wantNotified(t, s, &m, byStaff...)
	status(m.Lead, "archived")
	wantNotified(t, s, &m, byStaff...)
	status(m.Lead, "active")
	wantNotified(t, s, &m)
	status(m.Admin, "finished")
	wantNotified(t, s, &m, "lead project.finished "+about, "staff project.finished "+about, "customer project.finished "+about)
	status(m.Staff, "active")
	status(m.Lead, "archived")
	wantNotified(t, s, &m)
	subject := topic("project", m.Project)
	wantTrail(t, s, &m, m.Project, "staff project.finished "+subject, "lead project.archived "+subject, "lead project.activated "+subject,
		"admin project.finished "+subject, "staff project.activated "+subject, "lead project.archived "+subject)
}

func TestDeletingAProjectLeavesNothingOfIt(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Paint", AssigneeID: &m.Staff}))
	must[Milestone](t)(s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "M"}))
	must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: emailOf(t, s, m.Outsider), Role: Customer}))
	conversation := newConversation(t, s.pool, m.Project, "General")
	if _, err := inbox.NotifyTx(ctx, s.pool, inbox.Notification{Users: []string{user(m.Lead)}, Kind: KindQuestion, Group: topic("chat", conversation)}); err != nil {
		t.Fatal(err)
	}
	if got := len(notified(t, s, &m)); got != 3 {
		t.Fatalf("%d notifications", got)
	}
	want(t, s.DeleteProject(ctx, m.Staff, m.Project), "forbidden", "lead")
	if err := s.DeleteProject(ctx, m.Lead, m.Project); err != nil {
		t.Fatal(err)
	}
	wantNotified(t, s, &m)
	_, err := s.Project(ctx, m.Lead, m.Project)
	want(t, err, "not found")
	for _, table := range []string{"project", "task", "milestone", "membership", "invitation", "letter", "conversation", "progress"} {
		if left := scan[int](t, s.pool, `SELECT count(*) FROM projects.`+table); left != 0 {
			t.Errorf("%d rows of %s are left", left, table)
		}
	}
	if line := scan[string](t, s.pool, `SELECT concat_ws(' ', person_id, project_id, action, subject, detail) FROM projects.audit`); line !=
		user(m.Lead)+" project.deleted "+topic("project", m.Project)+` {"name": "Website"}` {
		t.Errorf("the audit trail says %s", line)
	}
}

func emailOf(t testing.TB, s *Store, person int64) string {
	t.Helper()
	return scan[string](t, s.pool, `SELECT email FROM projects.person WHERE id = $1`, person)
}

func TestOverview(t *testing.T) {
	s := newLiveStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	second := newProject(t, s.pool, m.Organisation, "A second")
	must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Paint"}))
	projects := func(o Overview) []string {
		names := []string{}
		for _, p := range o.Projects {
			names = append(names, p.Name+" "+string(p.Role))
		}
		return names
	}
	for person, expected := range map[int64][]string{
		m.Admin: {"A second lead", "Website lead"}, m.Customer: {"Website customer"}, m.Staff: {"Website staff"}, m.Outsider: {},
	} {
		o := must[Overview](t)(s.Overview(ctx, person, nil))
		if got := projects(o); !slices.Equal(got, expected) {
			t.Errorf("%d sees %v, not %v", person, got, expected)
		}
		if o.Projects == nil || o.Positions[topic("person", person)].Epoch == "" || len(o.Positions) != 1 {
			t.Errorf("%d follows from %v", person, o.Positions)
		}
	}
	one := must[Overview](t)(s.Overview(ctx, m.Customer, &m.Project))
	if len(one.Projects) != 1 || one.Projects[0].Progress.Total != 1 || len(one.Projects[0].Outstanding) != 1 {
		t.Errorf("the one is %+v", one.Projects)
	}
	_, err := s.Overview(ctx, m.Customer, &second)
	want(t, err, "not found")
}

func TestAuditTrailIsReadInPages(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	task := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Paint"})).ID
	for range 3 {
		if err := turnBoth(ctx, s, m.Customer, task); err != nil {
			t.Fatal(err)
		}
	}
	var actions []string
	before, pages := int64(0), 0
	for {
		page := must[AuditPage](t)(s.Audit(ctx, m.Staff, m.Project, before, 3))
		for _, e := range page.Entries {
			actions = append(actions, e.PersonName+" "+e.Action+" "+e.Subject+" "+e.Detail["title"].(string))
		}
		pages++
		if before = page.Next; before == 0 {
			break
		}
	}
	subject := topic("task", task) + " Paint"
	completed, reopened := "Cleo task.completed "+subject, "Cleo task.reopened "+subject
	expected := []string{reopened, completed, reopened, completed, reopened, completed, "Lea task.created " + subject}
	if diff := cmp.Diff(expected, actions); diff != "" || pages != 3 {
		t.Errorf("in %d pages (-want +got):\n%s", pages, diff)
	}
	exec(t, s.pool, `DELETE FROM projects.person WHERE id = $1`, m.Customer)
	page := must[AuditPage](t)(s.Audit(ctx, m.Staff, m.Project, 0, 1000))
	if first := page.Entries[0]; first.PersonID != nil || first.PersonName != "" || len(page.Entries) != 7 || page.Next != 0 {
		t.Errorf("of somebody who is gone: %+v", first)
	}
	other := newProject(t, s.pool, m.Organisation, "Other")
	if page := must[AuditPage](t)(s.Audit(ctx, m.Admin, other, 0, 0)); page.Entries == nil || len(page.Entries) != 0 {
		t.Errorf("of another project: %+v", page)
	}
}

func TestAnOrganisationHasSoManyProjects(t *testing.T) {
	s := newStore(t)
	s.limits.Projects = 2
	m := newTeam(t, s.pool)
	draft := ProjectDraft{Name: "Second", Key: ptr("key")}
	second := must[Project](t)(s.createProject(testContext(t), m.Staff, draft))
	_, err := s.createProject(testContext(t), m.Staff, ProjectDraft{Name: "Third"})
	want(t, err, "limit", "has 2 projects")
	// What was made is found all the same.
	if again := must[Project](t)(s.createProject(testContext(t), m.Staff, draft)); again.ID != second.ID {
		t.Errorf("%d instead of %d", again.ID, second.ID)
	}
}
