package trunkline_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestNewAPIKey(t *testing.T) {
	form := regexp.MustCompile(`^tk_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}$`)
	seen := map[string]bool{}
	letters := map[rune]bool{}
	for range 500 {
		secret, key := trunkline.NewAPIKey()
		sum := sha256.Sum256([]byte(secret))
		if !form.MatchString(secret) || key.Prefix != secret[:11] || !bytes.Equal(key.Hash, sum[:]) || seen[secret] {
			t.Fatalf("key %s with %+v", secret, key)
		}
		seen[secret] = true
		for _, r := range secret[12:] {
			letters[r] = true
		}
	}
	if len(letters) != 62 {
		t.Errorf("keys are made of %d different letters", len(letters))
	}
}

func TestAPIKeysAreStored(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ctx := testContext(t)
	create := func(name string, ttl time.Duration, scopes ...string) (trunkline.APIKey, error) {
		_, key := trunkline.NewAPIKey()
		key.Name, key.Scopes = name, scopes
		if ttl != 0 {
			key.ExpiresAt = time.Now().Add(ttl)
		}
		return key, trunkline.CreateAPIKey(ctx, conn, key)
	}
	for name, do := range map[string]func() error{
		"no name":          func() error { return second(create("", 0, "read")) },
		"a long name":      func() error { return second(create(string(make([]byte, 65)), 0, "read")) },
		"no scope":         func() error { return second(create("k", 0)) },
		"an unknown scope": func() error { return second(create("k", 0, "read", "write")) },
		"expired":          func() error { return second(create("k", -time.Second, "read")) },
		"nothing but names": func() error {
			return trunkline.CreateAPIKey(ctx, conn, trunkline.APIKey{Name: "k", Scopes: []string{"read"}})
		},
	} {
		var argument *trunkline.ArgumentError
		if err := do(); !errors.As(err, &argument) || argument.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	first, err := create("k", 0, "read", "admin")
	if err != nil {
		t.Fatal(err)
	}
	var argument *trunkline.ArgumentError
	if _, err := create("k", 0, "read"); !errors.As(err, &argument) || argument.Argument != "name" {
		t.Errorf("the same name again: %v", err)
	}
	brief, err := create("brief", time.Hour, "publish")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := trunkline.ReadAPIKeys(ctx, conn)
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[0].Hash, brief.Hash) || !bytes.Equal(keys[1].Hash, first.Hash) {
		t.Fatalf("%+v, %v", keys, err)
	}
	if k := keys[0]; k.Name != "brief" || k.Prefix != brief.Prefix || k.Scopes[0] != "publish" || k.ExpiresAt.Sub(brief.ExpiresAt).Abs() > time.Millisecond ||
		!k.Good(time.Now()) || k.Good(k.ExpiresAt) || !k.RevokedAt.IsZero() || k.CreatedAt.IsZero() {
		t.Errorf("%+v", k)
	}
	// Those that are over are no server's business any more.
	exec(t, conn, "UPDATE trunkline.apikey SET expires_at = now() WHERE name = 'brief'")
	if err := trunkline.RevokeAPIKey(ctx, conn, "k"); err != nil {
		t.Fatal(err)
	}
	if keys, err := trunkline.ReadAPIKeys(ctx, conn); err != nil || len(keys) != 0 {
		t.Errorf("%+v, %v", keys, err)
	}
	if err := trunkline.RevokeAPIKey(ctx, conn, "k"); !errors.Is(err, trunkline.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	if _, err := create("k", 0, "read"); err != nil {
		t.Errorf("the name of a revoked key: %v", err)
	}
	listed, err := trunkline.ListAPIKeys(ctx, conn)
	if err != nil || len(listed) != 3 || listed[1].RevokedAt.IsZero() || listed[1].Good(time.Now()) || listed[2].Hash != nil {
		t.Errorf("%+v, %v", listed, err)
	}
}
