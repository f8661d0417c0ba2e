package account

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/projects"
)

func TestHashPassword(t *testing.T) {
	hashed, err := HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hashed, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("a hash is %s", hashed)
	}
	if again, _ := HashPassword(password); again == hashed {
		t.Error("the same password has the same hash twice")
	}
	h := newHasher(defaultParameters, 1)
	for given, want := range map[string]bool{password: true, password + " ": false, "": false, strings.ToUpper(password): false} {
		if ok, stale, err := h.verify(t.Context(), given, hashed); err != nil || ok != want || stale {
			t.Errorf("%q: %v, stale %v, %v", given, ok, stale, err)
		}
	}
	if ok, _, err := h.verify(t.Context(), "nobody's", ""); ok || err != nil {
		t.Errorf("somebody without a password is let in: %v, %v", ok, err)
	}
}

func TestHashesThatCantBeRead(t *testing.T) {
	h := newHasher(cheap, 1)
	sound := cheap.hash(password)
	for _, hashed := range []string{
		"plain", "$2a$10$abcdefghijklmnopqrstuv", strings.Replace(sound, "argon2id", "argon2i", 1), strings.Replace(sound, "v=19", "v=16", 1),
		strings.Replace(sound, "m=8", "m=99999999", 1), strings.Replace(sound, "t=1", "t=0", 1), strings.Replace(sound, "p=1", "p=0", 1),
		strings.Replace(sound, "m=8", "m=-8", 1), sound[:len(sound)-30], sound + "$", "$argon2id$v=19$m=8,t=1,p=1$!!$!!",
	} {
		if ok, _, err := h.verify(t.Context(), password, hashed); ok || err == nil {
			t.Errorf("%s: %v, %v", hashed, ok, err)
		} else if strings.Contains(err.Error(), hashed) {
			t.Errorf("the error tells the hash: %v", err)
		}
	}
}

func TestHashingWaitsForItsTurn(t *testing.T) {
	h := newHasher(cheap, 1)
	leave, err := h.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ended, password); !errors.Is(err, context.Canceled) {
		t.Errorf("a second one at once: %v", err)
	}
	leave()
	if _, err := h.hash(t.Context(), password); err != nil {
		t.Error(err)
	}
}

func TestPasswordsThatSomebodyChooses(t *testing.T) {
	for given, problem := range map[string]string{
		"ninechars":                 "9 characters",
		"x":                         "1 character:",
		"tenletters":                "",
		"zehn Wörte":                "",
		strings.Repeat("ü", 200):    "",
		strings.Repeat("x", 201):    "201 characters",
		"not\xffUTF-8 in the least": "UTF-8",
	} {
		err := checkPassword("new", given)
		var invalid *projects.InvalidError
		switch {
		case problem == "" && err != nil:
			t.Errorf("%q: %v", given, err)
		case problem != "" && (!errors.As(err, &invalid) || invalid.Field != "new" || !strings.Contains(invalid.Problem, problem)):
			t.Errorf("%q: %v", given, err)
		}
	}
}

// A password is hashed anew, unseen, when its person comes and the parameters have changed meanwhile.
func TestRehashOnSignIn(t *testing.T) {
	s := newSite(t)
	s.hasher = newHasher(parameters{memory: 16, passes: 1, threads: 1}, 4)
	s.in()
	kept := scan[string](t, s.pool, "SELECT password_hash FROM projects.person WHERE id = $1", s.cleo)
	if !strings.HasPrefix(kept, "$argon2id$v=19$m=16,t=1,p=1$") {
		t.Errorf("the hash is %s", kept)
	}
	s.in()
	if again := scan[string](t, s.pool, "SELECT password_hash FROM projects.person WHERE id = $1", s.cleo); again != kept {
		t.Error("it is hashed each time")
	}
}

func TestChangePassword(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	mine, other := s.in(), s.in()
	id, err := s.Authenticate(ctx, mine.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	var invalid *projects.InvalidError
	if _, err := s.ChangePassword(ctx, id, "wrong", "another password"); !errors.As(err, &invalid) || invalid.Field != "current" {
		t.Errorf("with a wrong one: %v", err)
	}
	if _, err := s.ChangePassword(ctx, id, password, "short"); !errors.As(err, &invalid) || invalid.Field != "new" {
		t.Errorf("to a short one: %v", err)
	}
	if _, err := s.Authenticate(ctx, other.Cookie); err != nil {
		t.Fatalf("what failed has ended a session: %v", err)
	}
	cookie, err := s.ChangePassword(ctx, id, password, "another password")
	if err != nil {
		t.Fatal(err)
	}
	if now, err := s.Authenticate(ctx, cookie); err != nil || now.SessionID != id.SessionID {
		t.Errorf("the session goes on as %+v, %v", now, err)
	}
	for _, ended := range []string{mine.Cookie, other.Cookie} {
		if _, err := s.Authenticate(ctx, ended); !errors.Is(err, ErrNoSession) {
			t.Errorf("a former secret: %v", err)
		}
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.audit WHERE action = 'password.changed' AND person_id = $1", s.cleo); n != 1 {
		t.Errorf("%d lines in the audit trail", n)
	}
	var wrong *CredentialsError
	if _, err := s.SignIn(ctx, "cleo@example.com", password, here); !errors.As(err, &wrong) {
		t.Errorf("the former password: %v", err)
	}
	if _, err := s.SignIn(ctx, "cleo@example.com", "another password", here); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

// Guessing the current password through a stolen session is throttled, too.
func TestChangePasswordIsThrottled(t *testing.T) {
	s := newSite(t)
	ctx := testContext(t)
	id, err := s.Authenticate(ctx, s.in().Cookie)
	if err != nil {
		t.Fatal(err)
	}
	var invalid *projects.InvalidError
	for range 10 {
		if _, err := s.ChangePassword(ctx, id, "wrong", "another password"); !errors.As(err, &invalid) {
			t.Fatal(err)
		}
	}
	var limit *projects.LimitError
	if _, err := s.ChangePassword(ctx, id, password, "another password"); !errors.As(err, &limit) || limit.RetryAfter != 900 {
		t.Errorf("after ten failures: %v", err)
	}
	s.forward(window)
	if _, err := s.ChangePassword(ctx, id, password, "another password"); err != nil {
		t.Errorf("a quarter of an hour later: %v", err)
	}
}
