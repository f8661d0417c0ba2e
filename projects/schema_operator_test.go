package projects

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What only somebody with psql does, the program never: pages follow all the same.

func TestMessageRemovedBySQLLooksDeleted(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	stays := newConversation(t, s.pool, m.Project, "Other")
	for _, conversation := range []int64{talk, stays} {
		say(t, s.pool, conversation, m.Customer, "A secret")
	}
	exec(t, s.pool, "DELETE FROM projects.message WHERE conversation_id = $1", talk)
	all := published(t, s.pool, topic("chat", talk))
	last := decode[struct {
		Type    string  `json:"type"`
		Message Message `json:"message"`
	}](t, all[len(all)-1])
	if got := last.Message; got.Seq != 1 || got.Version != 2 || got.Body != "" || got.HTML != "" || got.DeletedAt == nil || len(got.Attachments) != 0 {
		t.Errorf("pushed: %+v", got)
	}
	// With its conversation it goes unsaid: the page reads anew which there are.
	before := len(published(t, s.pool, topic("chat", stays)))
	exec(t, s.pool, "DELETE FROM projects.conversation WHERE id = $1", stays)
	if after := len(published(t, s.pool, topic("chat", stays))); after != before {
		t.Errorf("%d messages of a conversation that is gone", after-before)
	}
}

func TestWhatSQLMovesLeavesThePageItWasOn(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	other := newProject(t, s.pool, m.Organisation, "Other")
	stage := scan[int64](t, s.pool, "INSERT INTO projects.milestone (project_id, name, rank) VALUES ($1, 'Stage', 1) RETURNING id", m.Project)
	exec(t, s.pool, "UPDATE projects.milestone SET project_id = $2 WHERE id = $1", stage, other)
	for _, project := range []int64{m.Project, other} {
		if page := pageOf(t, s.pool, project); len(page.Milestones) != map[int64]int{m.Project: 0, other: 1}[project] {
			t.Errorf("project %d has %v", project, page.Milestones)
		}
	}
	talk := newConversation(t, s.pool, m.Project, "General")
	exec(t, s.pool, "UPDATE projects.conversation SET project_id = $2 WHERE id = $1", talk, other)
	wantReload(t, s.pool, m.Project)
}

func wantReload(t *testing.T, db database, project int64) {
	t.Helper()
	all := published(t, db, topic("project", project))
	if len(all) == 0 || !strings.Contains(strings.Join(all, "\n"), `"reload"`) {
		t.Errorf("project %d isn't told to read anew: %s", project, all)
	}
}

func TestTruncatingReachesPages(t *testing.T) {
	for _, table := range []string{"membership", "conversation", "task"} {
		t.Run(table, func(t *testing.T) {
			s := newStore(t)
			m := newTeam(t, s.pool)
			newConversation(t, s.pool, m.Project, "General")
			newTask(t, s.pool, m.Project, "Task")
			exec(t, s.pool, "DELETE FROM trunkline.message")
			exec(t, s.pool, "TRUNCATE projects."+table+" CASCADE")
			wantReload(t, s.pool, m.Project)
			cut := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.message WHERE channel = 'trunkline:control'")
			if (cut > 0) != (table == "membership") {
				t.Errorf("%d connections are ended", cut)
			}
		})
	}
}

func TestOrganisationRenamedReachesPages(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	exec(t, s.pool, "DELETE FROM trunkline.message")
	exec(t, s.pool, "UPDATE projects.organisation SET name = name")
	if n := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.message"); n != 0 {
		t.Errorf("%d messages where nothing has changed", n)
	}
	exec(t, s.pool, "UPDATE projects.organisation SET name = 'Acme & Co'")
	wantReload(t, s.pool, m.Project)
	if got := published(t, s.pool, topic("person", m.Customer)); len(got) != 1 {
		t.Errorf("the first page is told %s", got)
	}
}

func TestWhoIsDeactivatedIsSignedOut(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	for _, person := range []int64{m.Customer, m.Staff} {
		exec(t, s.pool, `INSERT INTO projects.session (person_id, token_hash, expires_at) VALUES ($1, convert_to($1::bigint::text, 'UTF8'), now() + interval '1 day')`, person)
	}
	exec(t, s.pool, "UPDATE projects.person SET deactivated_at = now() WHERE id = $1", m.Customer)
	exec(t, s.pool, "UPDATE projects.person SET deactivated_at = NULL WHERE id = $1", m.Customer)
	if diff := cmp.Diff([]int64{m.Staff}, collect[int64](t, s.pool, "SELECT person_id FROM projects.session")); diff != "" {
		t.Errorf("who has a session (-want +got):\n%s", diff)
	}
}

// What has left the tables isn't kept for ever in what was pushed.
func TestPushedTextsOfTheChatAreNotKept(t *testing.T) {
	s := newStore(t)
	keep := scan[*time.Duration](t, s.pool, "SELECT retention FROM trunkline.namespace WHERE name = 'chat'")
	if keep == nil || *keep > 24*time.Hour {
		t.Errorf("for %v", keep)
	}
}

// An id is a bigint, whatever it is compared with.
func TestAuditPagesBeyondSmallNumbers(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	must[Task](t)(s.createTask(testContext(t), m.Lead, m.Project, TaskDraft{Title: "T"}))
	for _, before := range []int64{0, 1 << 31, 1 << 62} {
		page := must[AuditPage](t)(s.Audit(testContext(t), m.Lead, m.Project, before, 10))
		if len(page.Entries) != 1 {
			t.Errorf("before %d: %v", before, page.Entries)
		}
	}
}

func TestInvitationsThatEndTakeTheirNotificationsBack(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	address := func(person int64) string {
		return scan[string](t, s.pool, "SELECT email FROM projects.person WHERE id = $1", person)
	}
	first := must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: address(m.Outsider), Role: Customer}))
	exec(t, s.pool, "UPDATE projects.invitation SET expires_at = now() WHERE id = $1", first.ID)
	exec(t, s.pool, "UPDATE projects.letter SET created_at = now() - interval '1 hour'")
	second := must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: address(m.Outsider), Role: Customer}))
	wantNotified(t, s, &m, "outsider invitation "+topic("project", m.Project)+" "+topic("invitation", second.ID))

	colleague := newPerson(t, s.pool, m.Organisation, "Cora")
	must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: address(colleague), Role: Staff}))
	must[Member](t)(s.AddMember(ctx, m.Lead, m.Project, colleague, Staff))
	if open := must[People](t)(s.People(ctx, m.Lead, m.Project)).Invitations; len(open) != 1 || open[0].ID != second.ID {
		t.Errorf("open are %v", open)
	}
	left := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.notification WHERE user_id = $1", fmt.Sprint(colleague))
	if left != 0 {
		t.Errorf("%d notifications of what needs no answer", left)
	}
}
