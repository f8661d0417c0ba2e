package account

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects"
)

// gone expects an error that says, in a sentence, that something is over.
func gone(t *testing.T, err error, said string) {
	t.Helper()
	var over *projects.GoneError
	if !errors.As(err, &over) || !strings.Contains(over.Sentence, said) {
		t.Errorf("%v, which should say %q", err, said)
	}
}

// resetLink makes the secret of a link for cleo.
func (s *site) resetLink() (secret string) {
	s.t.Helper()
	s.tx(func(tx pgx.Tx) (err error) {
		secret, err = NewResetToken(testContext(s.t), tx, s.cleo)
		return err
	})
	return secret
}

func TestAskReset(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	gone := s.person(0, "gone@example.com")
	s.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", gone)
	for _, email := range []string{"CLEO@example.com", "cleo@example.com ", "nobody@example.com", "gone@example.com", "", "\x00", "\xff", "no address"} {
		if err := s.AskReset(ctx, email, here); err != nil {
			t.Errorf("%q: %v", email, err)
		}
	}
	if to := scan[int64](t, s.pool, "SELECT person_id FROM projects.letter WHERE purpose = 'reset'"); to != s.cleo {
		t.Errorf("a letter goes to %d", to)
	}
	// As often as one asks, three letters go out in a quarter of an hour.
	for range 5 {
		s.exec("UPDATE projects.letter SET sent_at = now()")
		if err := s.AskReset(ctx, "cleo@example.com", here); err != nil {
			t.Fatal(err)
		}
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.letter"); n != 2 {
		t.Errorf("%d letters after seven requests, of which the first two came at once", n)
	}
	s.exec("UPDATE projects.letter SET sent_at = now()")
	s.forward(window)
	if err := s.AskReset(ctx, "cleo@example.com", here); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.letter WHERE sent_at IS NULL"); n != 1 {
		t.Errorf("a quarter of an hour later %d letters are to be sent", n)
	}
}

func TestAskResetIsThrottledByAddress(t *testing.T) {
	s := newSite(t)
	for i := range 20 {
		if err := s.AskReset(testContext(t), strings.Repeat("x", i)+"@example.com", here); err != nil {
			t.Fatal(err)
		}
	}
	var limit *projects.LimitError
	if err := s.AskReset(testContext(t), "cleo@example.com", here); !errors.As(err, &limit) || limit.RetryAfter <= 0 {
		t.Errorf("the 21st: %v", err)
	}
}

func TestReset(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	session := s.in()
	first, second := s.resetLink(), s.resetLink()
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.token WHERE hash = convert_to($1, 'UTF8')", first); n != 0 {
		t.Error("the secret itself is kept")
	}
	for range 2 { // looking doesn't use it up
		if email, err := s.ResetFor(ctx, first, here); err != nil || email != "cleo@example.com" {
			t.Errorf("%q, %v", email, err)
		}
	}
	var invalid *projects.InvalidError
	if _, err := s.Reset(ctx, first, "short", here); !errors.As(err, &invalid) || invalid.Field != "password" {
		t.Errorf("to a short password: %v", err)
	}
	for range 10 {
		fails(t, s.Accounts, "cleo@example.com", here)
	}
	fresh, err := s.Reset(ctx, first, "another password", here)
	if err != nil || fresh.Me.ID != s.cleo {
		t.Fatalf("%+v, %v", fresh.Me, err)
	}
	if _, err := s.Authenticate(ctx, fresh.Cookie); err != nil {
		t.Errorf("the new session: %v", err)
	}
	if _, err := s.Authenticate(ctx, session.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("the old session: %v", err)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.revocation WHERE jti = $1", session.ID); n != 1 {
		t.Error("its live connections stay")
	}
	for _, used := range []string{first, second} {
		_, err := s.Reset(ctx, used, "a third password", here)
		gone(t, err, "used already")
		_, err = s.ResetFor(ctx, used, here)
		gone(t, err, "used already")
	}
	if _, err := s.SignIn(ctx, "cleo@example.com", "another password", here); err != nil {
		t.Errorf("signing in after too many failures and a reset: %v", err)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.audit WHERE action = 'password.reset' AND person_id = $1", s.cleo); n != 1 {
		t.Errorf("%d lines in the audit trail", n)
	}
}

func TestResetLinksThatAreOver(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	link := s.resetLink()
	_, invitation := s.invite("new@example.com", projects.Customer)
	for _, unknown := range []string{"", "x", link[:20], link + "A", invitation, strings.Repeat("x", 10_000), "\x00\xff"} {
		_, err := s.ResetFor(ctx, unknown, here)
		gone(t, err, "no such link")
	}
	s.forward(2 * resetTTL) // well beyond it: links expire by the clock of the database, which goes on
	_, err := s.ResetFor(ctx, link, here)
	gone(t, err, "an hour")
	_, err = s.Reset(ctx, link, "another password", here)
	gone(t, err, "an hour")
	link = s.resetLink()
	s.exec("UPDATE projects.token SET expires_at = expires_at + interval '1 day'")
	s.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", s.cleo)
	_, err = s.Reset(ctx, link, "another password", here)
	gone(t, err, "no such link")
}

func TestGuessingLinksIsThrottled(t *testing.T) {
	s := newSite(t)
	for range 50 {
		_, err := s.ResetFor(testContext(t), "guessed", here)
		gone(t, err, "no such link")
	}
	var limit *projects.LimitError
	if _, err := s.ResetFor(testContext(t), "guessed", here); !errors.As(err, &limit) {
		t.Errorf("the 51st guess: %v", err)
	}
	if _, err := s.InvitedBy(testContext(t), "guessed", here); !errors.As(err, &limit) {
		t.Errorf("guessing an invitation: %v", err)
	}
}

// A link that is opened twice at once changes the password once.
func TestResetTwiceAtOnce(t *testing.T) {
	s := newSite(t)
	nodes := []*Accounts{s.Accounts, s.node()}
	link := s.resetLink()
	var worked atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, err := nodes[i%2].Reset(testContext(t), link, "another password", here); err == nil {
				worked.Add(1)
			} else {
				gone(t, err, "used already")
			}
		})
	}
	all.Wait()
	if worked.Load() != 1 {
		t.Errorf("it worked %d times", worked.Load())
	}
}
