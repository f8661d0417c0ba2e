package account

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/projects"
)

// invite invites an address in stan's name, and makes the secret of its link.
func (s *site) invite(email string, role projects.Role) (id int64, secret string) {
	s.t.Helper()
	id = scan[int64](s.t, s.pool, `INSERT INTO projects.invitation (project_id, email, name, role, invited_by)
		VALUES ($1, $2, 'Nina', $3, $4) RETURNING id`, s.project, email, role, s.stan)
	s.tx(func(tx pgx.Tx) (err error) {
		secret, err = NewInvitationToken(testContext(s.t), tx, id)
		return err
	})
	return id, secret
}

func (s *site) role(person int64) string {
	s.t.Helper()
	return scan[string](s.t, s.pool, "SELECT coalesce(projects.role($1, $2), '')", person, s.project)
}

func TestAcceptAsANewcomer(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	_, link := s.invite("nina@example.com", projects.Customer)
	invited, err := s.InvitedBy(ctx, link, here)
	want := Invited{ProjectID: s.project, ProjectName: "Website", Inviter: "stan", Email: "nina@example.com", Name: "Nina", Role: projects.Customer}
	if err != nil || invited != want {
		t.Errorf("%+v, %v", invited, err)
	}
	for field, n := range map[string]Newcomer{
		"name":      {Name: " ", Password: password},
		"password":  {Name: "Nina", Password: "short"},
		"time_zone": {Name: "Nina", Password: password, TimeZone: "Mars/Olympus"},
	} {
		var invalid *projects.InvalidError
		if _, err := s.AcceptBy(ctx, link, projects.Me{}, n, here); !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%+v: %v", n, err)
		}
	}
	session, err := s.AcceptBy(ctx, link, projects.Me{}, Newcomer{Name: " Nina Berg ", Password: password, TimeZone: "Europe/Oslo"}, here)
	if err != nil {
		t.Fatal(err)
	}
	if me := session.Me; me.Name != "Nina Berg" || me.Email != "nina@example.com" || me.Staff || me.TimeZone != "Europe/Oslo" || me.Company != "" {
		t.Errorf("the account is %+v", me)
	}
	if role := s.role(session.Me.ID); role != "customer" {
		t.Errorf("in the project they are %q", role)
	}
	if _, err := s.Authenticate(ctx, session.Cookie); err != nil {
		t.Errorf("the session: %v", err)
	}
	if _, err := s.SignIn(ctx, "NINA@example.com", password, here); err != nil {
		t.Errorf("signing in: %v", err)
	}
	_, err = s.AcceptBy(ctx, link, projects.Me{}, Newcomer{Name: "Eve", Password: password}, here)
	gone(t, err, "used already")
	_, err = s.InvitedBy(ctx, link, here)
	gone(t, err, "used already")
	audit := scan[string](t, s.pool, "SELECT string_agg(action, ' ' ORDER BY id) FROM projects.audit WHERE person_id = $1", session.Me.ID)
	if audit != "account.created member.joined" {
		t.Errorf("the audit trail says %q", audit)
	}
}

// Whoever is invited as staff belongs to the organisation from then on; whoever has another account doesn't come to.
func TestAcceptAsStaff(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	_, link := s.invite("nina@example.com", projects.Staff)
	session, err := s.AcceptBy(ctx, link, projects.Me{}, Newcomer{Name: "Nina", Password: password}, here)
	if err != nil || !session.Me.Staff || session.Me.Company != "Acme" || *session.Me.OrganisationID != s.organisation || session.Me.Admin {
		t.Fatalf("%+v, %v", session.Me, err)
	}
	if role := s.role(session.Me.ID); role != "staff" {
		t.Errorf("in the project they are %q", role)
	}
	south := scan[int64](t, s.pool, "INSERT INTO projects.organisation (name) VALUES ('South') RETURNING id")
	foreign := s.person(south, "sue@example.com")
	for email, person := range map[string]int64{"sue@example.com": foreign, "cleo@example.com": s.cleo} {
		id, _ := s.invite(email, projects.Staff)
		var forbidden *projects.ForbiddenError
		if _, err := s.Accept(ctx, person, id); !errors.As(err, &forbidden) || !strings.Contains(forbidden.Sentence, "staff of Acme") {
			t.Errorf("%s: %v", email, err)
		}
		if role := s.role(person); role != "" {
			t.Errorf("%s is %q", email, role)
		}
	}
}

func TestAcceptSignedIn(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	id, link := s.invite("CLEO@example.com", projects.Customer)
	s.tx(func(tx pgx.Tx) error {
		if err := projects.SetKinds(ctx, tx, nil); err != nil {
			return err
		}
		_, err := inbox.NotifyTx(ctx, tx, inbox.Notification{Users: []string{fmt.Sprint(s.cleo)}, Kind: projects.KindInvitation, Cause: fmt.Sprintf("invitation:%d", id)})
		return err
	})
	invited, err := s.InvitedBy(ctx, link, here)
	if err != nil || !invited.HasAccount {
		t.Errorf("%+v, %v", invited, err)
	}
	var wrong *CredentialsError
	if _, err := s.AcceptBy(ctx, link, projects.Me{}, Newcomer{Name: "Eve", Password: password}, here); !errors.As(err, &wrong) || !strings.Contains(wrong.Sentence, "CLEO@example.com") {
		t.Errorf("by a stranger: %v", err)
	}
	other := projects.Me{Person: projects.Person{ID: s.stan}, Email: "stan@example.com"}
	var forbidden *projects.ForbiddenError
	if _, err := s.AcceptBy(ctx, link, other, Newcomer{}, here); !errors.As(err, &forbidden) || !strings.Contains(forbidden.Sentence, "stan@example.com") {
		t.Errorf("by somebody else: %v", err)
	}
	if _, err := s.Accept(ctx, s.stan, id); !errors.Is(err, projects.ErrNotFound) {
		t.Errorf("by somebody else who guesses its id: %v", err)
	}
	mine, err := s.Invitations(ctx, s.cleo)
	if err != nil || len(mine) != 1 || mine[0].ID != id || mine[0].ProjectName != "Website" || mine[0].Inviter != "stan" {
		t.Errorf("%+v, %v", mine, err)
	}
	if theirs, err := s.Invitations(ctx, s.stan); err != nil || len(theirs) != 0 || theirs == nil {
		t.Errorf("somebody else's: %#v, %v", theirs, err)
	}
	project, err := s.Accept(ctx, s.cleo, id)
	if err != nil || project != s.project || s.role(s.cleo) != "customer" {
		t.Errorf("project %d, %v", project, err)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.notification"); n != 0 {
		t.Errorf("%d notifications of it stay", n)
	}
	if mine, err := s.Invitations(ctx, s.cleo); err != nil || len(mine) != 0 {
		t.Errorf("after accepting: %+v, %v", mine, err)
	}
	_, err = s.Accept(ctx, s.cleo, id)
	gone(t, err, "used already")
	_, link = s.invite("cleo@example.com", projects.Customer)
	me := projects.Me{Person: projects.Person{ID: s.cleo}, Email: "cleo@example.com"}
	if session, err := s.AcceptBy(ctx, link, me, Newcomer{}, here); err != nil || session.ID != "" {
		t.Errorf("a member accepts by a link: %+v, %v", session, err)
	}
}

func TestInvitationsThatAreOver(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	for said, change := range map[string]string{
		"used already":                    "UPDATE projects.invitation SET accepted_at = now() WHERE id = $1",
		"withdrawn. Ask stan":             "UPDATE projects.invitation SET revoked_at = now() WHERE id = $1",
		"until 1 February 2020. Ask stan": "UPDATE projects.invitation SET expires_at = '2020-02-01' WHERE id = $1",
		"archived":                        "UPDATE projects.project SET status = 'archived' WHERE id = (SELECT project_id FROM projects.invitation WHERE id = $1)",
		"no such invitation":              "DELETE FROM projects.invitation WHERE id = $1",
	} {
		s.exec("DELETE FROM projects.invitation")
		s.exec("UPDATE projects.project SET status = 'active'")
		id, link := s.invite("cleo@example.com", projects.Customer)
		s.exec(change, id)
		_, err := s.InvitedBy(ctx, link, here)
		gone(t, err, said)
		_, err = s.AcceptBy(ctx, link, projects.Me{Person: projects.Person{ID: s.cleo}}, Newcomer{}, here)
		gone(t, err, said)
		if _, err = s.Accept(ctx, s.cleo, id); said == "no such invitation" {
			if !errors.Is(err, projects.ErrNotFound) {
				t.Error(err)
			}
		} else {
			gone(t, err, said)
		}
		if mine, err := s.Invitations(ctx, s.cleo); err != nil || len(mine) != 0 {
			t.Errorf("%s: it is listed: %+v, %v", said, mine, err)
		}
		if role := s.role(s.cleo); role != "" {
			t.Errorf("%s: they are %q", said, role)
		}
	}
	link := s.resetLink()
	for _, unknown := range []string{"", link, "\x00"} {
		_, err := s.InvitedBy(ctx, unknown, here)
		gone(t, err, "no such invitation")
	}
	s.tx(func(tx pgx.Tx) error {
		if _, err := NewInvitationToken(ctx, tx, 99999); !errors.Is(err, projects.ErrNotFound) {
			t.Errorf("a link for no invitation: %v", err)
		}
		return nil
	})
}

// A link that is opened by several at once lets one in.
func TestAcceptTwiceAtOnce(t *testing.T) {
	s := newSite(t)
	nodes := []*Accounts{s.Accounts, s.node()}
	_, link := s.invite("nina@example.com", projects.Customer)
	var worked atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, err := nodes[i%2].AcceptBy(testContext(t), link, projects.Me{}, Newcomer{Name: "Nina", Password: password}, here); err == nil {
				worked.Add(1)
			} else {
				gone(t, err, "used already")
			}
		})
	}
	all.Wait()
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.person WHERE email = 'nina@example.com'"); worked.Load() != 1 || n != 1 {
		t.Errorf("it worked %d times, and made %d accounts", worked.Load(), n)
	}
}
