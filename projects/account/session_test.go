package account

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline/projects"
)

func TestSignIn(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	s.exec("INSERT INTO projects.person (email, name) VALUES ('without@example.com', 'No password')")
	gone := s.person(0, "gone@example.com")
	s.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", gone)
	session, err := s.SignIn(ctx, " CLEO@Example.com\n", password, Client{UserAgent: "a\x00b\n" + strings.Repeat("x", 1000)})
	if err != nil {
		t.Fatal(err)
	}
	if session.Me.ID != s.cleo || session.Me.Email != "cleo@example.com" || !session.Me.HasPassword || len(session.Cookie) != 43 {
		t.Errorf("signed in as %+v", session.Me)
	}
	if kept := scan[string](t, s.pool, "SELECT user_agent FROM projects.session"); len(kept) > 300 || strings.ContainsAny(kept, "\n\x00") {
		t.Errorf("the browser is %q", kept)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.session WHERE token_hash = convert_to($1, 'UTF8')", session.Cookie); n != 0 {
		t.Error("the secret itself is kept")
	}
	said := map[string]bool{}
	for _, try := range []struct{ email, password string }{
		{"cleo@example.com", "wrong"},
		{"cleo@example.com", ""},
		{"nobody@example.com", password},
		{"", ""},
		{"\x00", password},
		{"\xff", password},
		{"without@example.com", ""},
		{"gone@example.com", password},
		{"' OR true --", password},
		{strings.Repeat("x", 60_000), strings.Repeat("x", 60_000)},
	} {
		_, err := s.SignIn(ctx, try.email, try.password, here)
		var wrong *CredentialsError
		if !errors.As(err, &wrong) {
			t.Errorf("%.40q with %.40q: %v", try.email, try.password, err)
			continue
		}
		said[wrong.Sentence] = true
	}
	if len(said) != 1 {
		t.Errorf("strangers can tell why: %v", said)
	}
}

func TestSessions(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	first, second := s.in(), s.in()
	id, err := s.Authenticate(ctx, first.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Sessions(ctx, id)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, entry := range all {
		if entry.Current != (entry.ID == first.ID) || entry.UserAgent != "Firefox" || entry.Address != "192.0.2.7" {
			t.Errorf("session %+v", entry)
		}
	}
	for _, foreign := range []string{"", "x", "00000000-0000-0000-0000-000000000000", second.ID + "0", "' OR true --", "\x00"} {
		if err := s.SignOut(ctx, s.cleo, foreign); !errors.Is(err, projects.ErrNotFound) {
			t.Errorf("signing out %q: %v", foreign, err)
		}
	}
	if err := s.SignOut(ctx, s.stan, second.ID); !errors.Is(err, projects.ErrNotFound) {
		t.Errorf("somebody else signs her out: %v", err)
	}
	if err := s.SignOut(ctx, s.cleo, second.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, second.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("after signing out: %v", err)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.revocation WHERE jti = $1", second.ID); n != 1 {
		t.Errorf("its connection tokens are revoked %d times", n)
	}
	if _, err := s.Authenticate(ctx, first.Cookie); err != nil {
		t.Errorf("the other session: %v", err)
	}
	if err := s.SignOutEverywhere(ctx, s.cleo); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, first.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("after signing out everywhere: %v", err)
	}
}

func TestCookiesThatDontCount(t *testing.T) {
	s := newSite(t)
	good := s.in().Cookie
	foreign := newSite(t).in().Cookie
	swapped := "A"
	if good[0] == 'A' {
		swapped = "B"
	}
	for name, cookie := range map[string]string{
		"none": "", "of another site": foreign, "cut off": good[:42], "longer": good + "A", "changed": swapped + good[1:],
		"made up": strings.Repeat("A", 43), "bytes": strings.Repeat("\xff", 43), "SQL": "' OR true --" + good[12:],
	} {
		if id, err := s.Authenticate(testContext(t), cookie); !errors.Is(err, ErrNoSession) || id.Person.ID != 0 {
			t.Errorf("a cookie that is %s: %+v, %v", name, id, err)
		}
	}
}

func TestSessionsExpireUnlessUsed(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	used, left := s.in(), s.in()
	cookie := used.Cookie
	for range 4 {
		s.forward(20 * 24 * time.Hour)
		id, err := s.Authenticate(ctx, cookie)
		if err != nil {
			t.Fatal(err)
		}
		if id.NewCookie != "" {
			cookie = id.NewCookie
		}
	}
	if _, err := s.Authenticate(ctx, left.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("one that nobody used for 80 days: %v", err)
	}
	s.forward(30*24*time.Hour + time.Second)
	if _, err := s.Authenticate(ctx, cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("one that nobody used for 30 days: %v", err)
	}
}

func TestRotation(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	former := s.in()
	// authenticate expects a session, or none.
	authenticate := func(what, cookie string, good bool) Identity {
		t.Helper()
		id, err := s.Authenticate(ctx, cookie)
		if good && (err != nil || id.SessionID != former.ID) || !good && !errors.Is(err, ErrNoSession) {
			t.Fatalf("%s: %+v, %v", what, id, err)
		}
		return id
	}
	if id := authenticate("at once", former.Cookie, true); id.NewCookie != "" {
		t.Error("the secret changes at once")
	}
	s.forward(13 * time.Hour)
	if id, err := s.Recognize(ctx, former.Cookie); err != nil || id.NewCookie != "" {
		t.Errorf("recognized as %+v, %v", id, err)
	}
	fresh := authenticate("after 13 hours", former.Cookie, true).NewCookie
	if fresh == "" || fresh == former.Cookie {
		t.Fatalf("the new secret is %q", fresh)
	}
	if id := authenticate("a request under way", former.Cookie, true); id.NewCookie != "" {
		t.Error("a request under way changes it again")
	}
	authenticate("the new one", fresh, true)
	authenticate("another request under way", former.Cookie, true)
	s.forward(grace + time.Second)
	authenticate("the former one, a minute later", former.Cookie, false)
	authenticate("the new one, a minute later", fresh, true)
}

// The answer that carried a new secret may be lost: who never got it goes on with the former one, and gets another.
func TestRotationWhoseAnswerIsLost(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	session := s.in()
	s.forward(13 * time.Hour)
	lost, err := s.Authenticate(ctx, session.Cookie)
	if err != nil || lost.NewCookie == "" {
		t.Fatalf("%+v, %v", lost, err)
	}
	s.forward(time.Hour)
	id, err := s.Authenticate(ctx, session.Cookie)
	if err != nil || id.NewCookie == "" || id.NewCookie == lost.NewCookie {
		t.Fatalf("an hour later: %+v, %v", id, err)
	}
	if _, err := s.Authenticate(ctx, lost.NewCookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("the one that was lost: %v", err)
	}
	if _, err := s.Authenticate(ctx, id.NewCookie); err != nil {
		t.Errorf("the one that arrived: %v", err)
	}
	s.forward(grace + time.Second)
	if _, err := s.Authenticate(ctx, session.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("the former one once the new one has come back: %v", err)
	}
}

// Many requests at once, on two nodes, meet a session that is to be rotated: one gets the new secret, and all are let in.
func TestRotationOnTwoNodesAtOnce(t *testing.T) {
	s := newSite(t)
	nodes := []*Accounts{s.Accounts, s.node()}
	session := s.in()
	s.forward(13 * time.Hour)
	const requests = 20
	var fresh, errs [requests]string
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range requests {
		all.Go(func() {
			<-start
			id, err := nodes[i%2].Authenticate(testContext(t), session.Cookie)
			if err != nil {
				errs[i] = err.Error()
			}
			fresh[i] = id.NewCookie
		})
	}
	close(start)
	all.Wait()
	given := ""
	for i := range requests {
		if errs[i] != "" {
			t.Errorf("request %d: %s", i, errs[i])
		}
		if fresh[i] != "" {
			if given != "" {
				t.Error("two were given a new secret")
			}
			given = fresh[i]
		}
	}
	if _, err := s.Authenticate(testContext(t), given); err != nil {
		t.Errorf("the new secret %q: %v", given, err)
	}
}

func TestDeactivatedPeopleAreOut(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	session := s.in()
	s.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", s.cleo)
	if _, err := s.Authenticate(ctx, session.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("a session of somebody deactivated: %v", err)
	}
}

func TestOldestSessionsEnd(t *testing.T) {
	s := newSite(t)
	first := s.in()
	for range mostSessions {
		s.forward(time.Second)
		s.in()
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.session WHERE person_id = $1", s.cleo); n != mostSessions {
		t.Errorf("%d sessions", n)
	}
	if _, err := s.Authenticate(testContext(t), first.Cookie); !errors.Is(err, ErrNoSession) {
		t.Errorf("the oldest: %v", err)
	}
}

func TestTokenSecretIsMadeOnce(t *testing.T) {
	s := newSite(t)
	var secrets [8]string
	var all sync.WaitGroup
	for i := range secrets {
		all.Go(func() {
			secret, err := TokenSecret(testContext(t), s.pool)
			if err != nil {
				t.Error(err)
			}
			secrets[i] = string(secret)
		})
	}
	all.Wait()
	for _, secret := range secrets {
		if secret != secrets[0] || len(secret) != 32 {
			t.Errorf("secrets differ, or have %d bytes", len(secret))
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	a := New(nil, Options{Secure: true, SessionTTL: time.Hour})
	if got := a.Cookie("x").String(); got != "__Host-session=x; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("the cookie is %s", got)
	}
	if got := a.Cookie("").String(); got != "__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("the cookie that takes it away is %s", got)
	}
}
