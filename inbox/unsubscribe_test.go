package inbox_test

import (
	"crypto/sha256"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestNewUnsubscribeToken(t *testing.T) {
	form := regexp.MustCompile(`^[0-9A-Za-z_-]{32}$`)
	seen := map[string]bool{}
	for range 1000 {
		token, hash := inbox.NewUnsubscribeToken()
		sum := sha256.Sum256([]byte(token))
		if !form.MatchString(token) || !slices.Equal(hash, sum[:]) || seen[token] {
			t.Fatalf("token %s with hash %x", token, hash)
		}
		seen[token] = true
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	in := newInbox(t, newEngine(t, url))
	ctx := testContext(t)
	if err := inbox.SetKind(ctx, conn, inbox.Kind{Name: "mention", Title: "You were mentioned"}); err != nil {
		t.Fatal(err)
	}
	token, hash := inbox.NewUnsubscribeToken()
	if err := inbox.AddUnsubscribeToken(ctx, conn, hash, "ann", "mention", "task.done"); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.unsubscribe_token t WHERE t::text LIKE '%' || $1 || '%'", token); n != 0 {
		t.Error("the token itself is stored")
	}

	offer, found, err := in.UnsubscribeOffer(ctx, token)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	want := inbox.Offer{User: "ann", Kinds: []inbox.OfferedKind{{Name: "mention", Title: "You were mentioned"}, {Name: "task.done", Title: "task.done"}}}
	if diff := cmp.Diff(want, offer); diff != "" {
		t.Error(diff)
	}
	never := func(user string) string {
		return scan[string](t, conn, "SELECT coalesce(string_agg(kind || ' ' || mail, ', ' ORDER BY kind), '') FROM trunkline.mail_preference WHERE user_id = $1", user)
	}
	if got := never("ann"); got != "" {
		t.Errorf("looking has changed something: %s", got)
	}

	// Forged ones, and what was never one.
	other, _ := inbox.NewUnsubscribeToken()
	for _, forged := range []string{other, "", "ann", token[:31], token + "A", token[:31] + "=", token[:31] + "+", token[:30] + "é", strings.Repeat("A", 1<<20), "\x00" + token[1:], " " + token[1:], strings.ToUpper(token)} {
		if _, found, err := in.UnsubscribeOffer(ctx, forged); found || err != nil {
			t.Errorf("%.40q: %v, %v", forged, found, err)
		}
		if found, err := in.Unsubscribe(ctx, forged, ""); found || err != nil {
			t.Errorf("%.40q: %v, %v", forged, found, err)
		}
	}
	for _, kind := range []string{"other", "\xff", "a\x00", strings.Repeat("x", 1000)} {
		var argument *trunkline.ArgumentError
		if _, err := in.Unsubscribe(ctx, token, kind); !errors.As(err, &argument) || argument.Argument != "kind" {
			t.Errorf("%.20q: %v", kind, err)
		}
	}
	if got := never("ann"); got != "" {
		t.Errorf("forged ones have changed something: %s", got)
	}

	for _, step := range []struct{ kind, want string }{
		{"mention", "mention never"},
		{"mention", "mention never"},
		{"task.done", "mention never, task.done never"},
		{"", " never"},
		{"", " never"},
	} {
		if found, err := in.Unsubscribe(ctx, token, step.kind); !found || err != nil {
			t.Errorf("%q: %v, %v", step.kind, found, err)
		}
		if got := never("ann"); got != step.want {
			t.Errorf("%q: %q, want %q", step.kind, got, step.want)
		}
	}

	// After the user is gone.
	if _, err := inbox.ForgetRecipient(ctx, conn, "ann"); err != nil {
		t.Fatal(err)
	}
	want.User = ""
	offer, found, err = in.UnsubscribeOffer(ctx, token)
	if diff := cmp.Diff(want, offer); diff != "" || !found || err != nil {
		t.Error(found, err, diff)
	}
	if found, err := in.Unsubscribe(ctx, token, ""); !found || err != nil {
		t.Error(found, err)
	}
	if got := never("ann") + never(""); got != "" {
		t.Errorf("something is kept of who is gone: %s", got)
	}

	for what, do := range map[string]func() error{
		"no user":     func() error { return inbox.AddUnsubscribeToken(ctx, conn, hash, "") },
		"no kind":     func() error { return inbox.AddUnsubscribeToken(ctx, conn, hash, "ann", "") },
		"a short sum": func() error { return inbox.AddUnsubscribeToken(ctx, conn, hash[:31], "ann") },
		"no sum":      func() error { return inbox.AddUnsubscribeToken(ctx, conn, nil, "ann") },
	} {
		var argument *trunkline.ArgumentError
		if err := do(); !errors.As(err, &argument) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
