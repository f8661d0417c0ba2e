package projects

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// letters counts those of an invitation that wait to be sent.
func letters(t testing.TB, s *Store, invitation int64) int {
	t.Helper()
	return scan[int](t, s.pool, `SELECT count(*) FROM projects.letter WHERE invitation_id = $1 AND purpose = 'invitation' AND sent_at IS NULL`, invitation)
}

func TestInvitation(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	made := must[Invitation](t)(s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: " Eve@Example.com ", Name: " Eve ", Role: Customer}))
	expected := Invitation{
		ID: made.ID, ProjectID: m.Project, Email: "eve@example.com", Name: "Eve", Role: Customer, InvitedBy: &m.Staff,
		CreatedAt: made.CreatedAt, ExpiresAt: made.CreatedAt.Add(14 * 24 * time.Hour), Mail: "waiting",
	}
	if diff := cmp.Diff(expected, made); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := letters(t, s, made.ID); n != 1 {
		t.Errorf("%d letters", n)
	}
	wantNotified(t, s, &m) // nobody has that address
	_, err := s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "EVE@example.com", Role: Customer})
	want(t, err, "conflict", "Stan invited eve@example.com on ", "still open")
	elsewhere := newProject(t, s.pool, m.Organisation, "Elsewhere")
	must[Invitation](t)(s.Invite(ctx, m.Admin, elsewhere, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	for mail, state := range map[string]string{"sent": "sent_at", "failed": "failed_at"} {
		exec(t, s.pool, `UPDATE projects.letter SET sent_at = NULL, failed_at = NULL WHERE invitation_id = $1`, made.ID)
		exec(t, s.pool, `UPDATE projects.letter SET `+state+` = now() WHERE invitation_id = $1`, made.ID)
		expected.Mail = mail
		if diff := cmp.Diff([]Invitation{expected}, must[People](t)(s.People(ctx, m.Lead, m.Project)).Invitations); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for field, draft := range map[string]InvitationDraft{
		"email": {Email: "eve", Role: Customer}, "name": {Email: "x@example.com", Name: "a\nb", Role: Customer}, "role": {Email: "x@example.com", Role: Lead},
	} {
		_, err := s.Invite(ctx, m.Lead, m.Project, draft)
		want(t, err, "invalid "+field)
	}
	wantTrail(t, s, &m, m.Project, "staff invitation.created "+topic("invitation", made.ID))
}

func TestInvitingPeopleWhoHaveAnAccount(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	invite := func(person int64, role Role) (Invitation, error) {
		return s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: emailOf(t, s, person), Role: role})
	}
	for _, person := range []int64{m.Staff, m.Customer} {
		_, err := invite(person, Customer)
		want(t, err, "conflict", "takes part in “Website” already")
	}
	colleague := newPerson(t, s.pool, m.Organisation, "Colin")
	_, err := invite(colleague, Customer)
	want(t, err, "invalid role", "Colin is a colleague")
	_, err = invite(m.Outsider, Staff)
	want(t, err, "invalid role", "isn't of your organisation")
	wantNotified(t, s, &m)
	must[Invitation](t)(invite(colleague, Staff))
	exec(t, s.pool, `DELETE FROM trunkline.notification`)

	made := must[Invitation](t)(invite(m.Outsider, Customer))
	wantNotified(t, s, &m, "outsider invitation "+topic("project", m.Project)+" "+topic("invitation", made.ID))
	data := scan[string](t, s.pool, `SELECT data || ' ' || link FROM trunkline.notification`)
	if data != fmt.Sprintf(`{"actor":"Lea","actor_id":%d,"project":"Website","project_id":%d,"group_title":"Website"} /invitations`, m.Lead, m.Project) {
		t.Errorf("it says %s", data)
	}
	// They get the letter, so nothing is mailed to them besides.
	if scan[bool](t, s.pool, `SELECT projects.may($1, $2, 'mail')`, user(m.Outsider), topic("project", m.Project)) {
		t.Error("the notification would be mailed as well")
	}
	if n := letters(t, s, made.ID); n != 1 {
		t.Errorf("%d letters", n)
	}
	if err := s.Revoke(ctx, m.Lead, m.Project, made.ID); err != nil {
		t.Fatal(err)
	}
	wantNotified(t, s, &m)
	retired := newPerson(t, s.pool, 0, "Rita")
	exec(t, s.pool, `UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, retired)
	must[Invitation](t)(invite(retired, Customer))
	wantNotified(t, s, &m)
}

func TestResendingAndRevoking(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	made := must[Invitation](t)(s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	resend := func() (Invitation, error) { return s.Resend(ctx, m.Staff, m.Project, made.ID) }
	_, err := resend()
	want(t, err, "limit", "less than a minute ago")
	var limit *LimitError
	if errors.As(err, &limit); limit.RetryAfter < 1 || limit.RetryAfter > 60 {
		t.Errorf("after %d s", limit.RetryAfter)
	}
	past := func() {
		t.Helper()
		exec(t, s.pool, `UPDATE projects.letter SET created_at = created_at - interval '61 seconds'`)
	}
	past()
	exec(t, s.pool, `UPDATE projects.letter SET sent_at = now()`)
	exec(t, s.pool, `UPDATE projects.invitation SET expires_at = now() - interval '1 day'`)
	again := must[Invitation](t)(resend())
	if again.Mail != "waiting" || time.Until(again.ExpiresAt) < 13*24*time.Hour || letters(t, s, made.ID) != 1 {
		t.Errorf("it became %+v", again)
	}
	_, err = resend()
	want(t, err, "limit")
	if err := s.Revoke(ctx, m.Lead, m.Project, made.ID); err != nil {
		t.Fatal(err)
	}
	_, err = resend()
	want(t, err, "gone", "eve@example.com was revoked")
	want(t, s.Revoke(ctx, m.Staff, m.Project, made.ID), "gone", "revoked")
	if open := must[People](t)(s.People(ctx, m.Lead, m.Project)).Invitations; len(open) != 0 {
		t.Errorf("open are %+v", open)
	}
	// To revoke and invite anew is no way to send more mails.
	_, err = s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer})
	want(t, err, "limit", "less than a minute ago")
	past()
	anew := must[Invitation](t)(s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	exec(t, s.pool, `UPDATE projects.invitation SET accepted_at = now() WHERE id = $1`, anew.ID)
	want(t, s.Revoke(ctx, m.Staff, m.Project, anew.ID), "gone", "accepted")
	other := newProject(t, s.pool, m.Organisation, "Other")
	want(t, s.Revoke(ctx, m.Admin, other, anew.ID), "not found")
	first, second := topic("invitation", made.ID), topic("invitation", anew.ID)
	wantTrail(t, s, &m, m.Project, "staff invitation.created "+first, "staff invitation.resent "+first, "lead invitation.revoked "+first, "staff invitation.created "+second)
}

// An invitation that has expired is no reason not to invite anew.
func TestExpiredInvitationMakesRoom(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	old := must[Invitation](t)(s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	exec(t, s.pool, `UPDATE projects.invitation SET expires_at = now() - interval '1 second'`)
	exec(t, s.pool, `UPDATE projects.letter SET created_at = now() - interval '1 day'`)
	made := must[Invitation](t)(s.Invite(ctx, m.Lead, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	open := must[People](t)(s.People(ctx, m.Lead, m.Project)).Invitations
	if len(open) != 1 || open[0].ID != made.ID || made.ID == old.ID {
		t.Errorf("open are %+v", open)
	}
}

func TestTooManyLettersInAnHour(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	made := must[Invitation](t)(s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: "eve@example.com", Role: Customer}))
	exec(t, s.pool, `INSERT INTO projects.letter (purpose, invitation_id) SELECT 'invitation', $1 FROM generate_series(2, $2)`, made.ID, lettersAnHour)
	_, err := s.Invite(ctx, m.Staff, m.Project, InvitationDraft{Email: "max@example.com", Role: Customer})
	want(t, err, "limit", "200 mails")
}

// The same invitation from two nodes at once: one of them is made.
func TestInvitingAtOnce(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	m := newTeam(t, stores[0].pool)
	for i := range 8 {
		invite := func(s *Store, by int64) func() error {
			return func() error {
				_, err := s.Invite(ctx, by, m.Project, InvitationDraft{Email: fmt.Sprintf("eve%d@example.com", i), Role: Customer})
				return err
			}
		}
		outcomes := atOnce(invite(stores[0], m.Lead), invite(stores[1], m.Staff))
		if outcomes["done"] != 1 || outcomes["conflict"] != 1 {
			t.Fatalf("the outcomes are %v", outcomes)
		}
	}
	if n := scan[int](t, stores[0].pool, `SELECT count(*) FROM projects.letter`); n != 8 {
		t.Errorf("%d letters", n)
	}
}
