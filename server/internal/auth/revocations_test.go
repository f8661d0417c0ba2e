package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
)

func TestRevokingAUser(t *testing.T) {
	g, pool, _ := online(t)
	iat := func(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }
	before := time.Now().Add(-time.Minute)
	caps := []any{map[string]any{"channels": []string{"*"}, "match": "wildcard", "allow": []string{"sub"}}}
	old := token(t, jwt.MapClaims{"sub": "ann", "iat": iat(before), "caps": caps})
	undated := token(t, jwt.MapClaims{"sub": "ann", "caps": caps})
	id, undatedID := connect(t, g, old), connect(t, g, undated)
	bob := connect(t, g, token(t, jwt.MapClaims{"sub": "bob", "iat": iat(before), "caps": caps}))

	exec(t, pool, "SELECT trunkline.revoke('ann')")
	if err := g.Check(testContext(t), id); err != nil {
		t.Fatalf("before Load: %v", err)
	}
	reload(t, g)
	for _, id := range []*Identity{id, undatedID} {
		wantRefusal(t, g.Check(testContext(t), id), Expired, "revoked")
		wantRefusal(t, g.Allow(testContext(t), id, "room:1", Subscribe), Expired, "revoked")
	}
	for _, text := range []string{old, undated} {
		_, err := g.Connect(testContext(t), text)
		wantRefusal(t, err, Expired, "revoked")
	}
	if err := g.Allow(testContext(t), bob, "room:1", Subscribe); err != nil {
		t.Errorf("another user: %v", err)
	}
	// A token made since then counts.
	var now time.Time
	if err := pool.QueryRow(testContext(t), "SELECT clock_timestamp()").Scan(&now); err != nil {
		t.Fatal(err)
	}
	fresh := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "iat": iat(now.Add(time.Millisecond)), "caps": caps}))
	if err := g.Allow(testContext(t), fresh, "room:1", Subscribe); err != nil {
		t.Error(err)
	}
}

func TestRevokingAUserFromAChannel(t *testing.T) {
	g, pool, namespaces := online(t)
	exec(t, pool, may)
	then := time.Now().Add(-time.Minute).Unix()
	claims := jwt.MapClaims{
		"sub": "ann", "iat": then, "channels": []string{"room:1", "room:2"},
		"caps": []any{map[string]any{"channels": []string{"room:*"}, "match": "wildcard", "allow": []string{"sub"}}},
	}
	id := connect(t, g, token(t, claims))
	if len(id.Subscriptions) != 2 {
		t.Fatalf("subscriptions %v", id.Subscriptions)
	}
	subscription := token(t, jwt.MapClaims{"sub": "ann", "iat": then, "channel": "room:1"})
	if _, err := g.Subscription(testContext(t), id, "room:1", subscription); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, "SELECT trunkline.revoke('ann', 'room:1')")
	reload(t, g)
	wantRefusal(t, g.Allow(testContext(t), id, "room:1", Subscribe), Denied, "")
	_, err := g.Subscription(testContext(t), id, "room:1", subscription)
	wantRefusal(t, err, Expired, "revoked")
	if err := g.Allow(testContext(t), id, "room:2", Subscribe); err != nil {
		t.Errorf("another channel: %v", err)
	}
	if err := g.Check(testContext(t), id); err != nil {
		t.Errorf("the connection: %v", err)
	}
	again := connect(t, g, token(t, claims))
	if _, ok := again.Subscriptions["room:1"]; ok || len(again.Subscriptions) != 1 {
		t.Errorf("subscriptions after the revocation: %v", again.Subscriptions)
	}
	// What the application allows stays allowed.
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may"})
	if err := g.Allow(testContext(t), id, "room:1", Subscribe); err != nil {
		t.Error(err)
	}
}

func TestRevokingAToken(t *testing.T) {
	g, pool, _ := online(t)
	one := token(t, jwt.MapClaims{"sub": "ann", "jti": "one"})
	two := token(t, jwt.MapClaims{"sub": "ann", "jti": "two"})
	id := connect(t, g, one)
	subscription := token(t, jwt.MapClaims{"sub": "ann", "jti": "sub", "channel": "room:1"})
	exec(t, pool, "SELECT trunkline.revoke_token('one'), trunkline.revoke_token('sub')")
	reload(t, g)
	wantRefusal(t, g.Check(testContext(t), id), Expired, "revoked")
	_, err := g.Connect(testContext(t), one)
	wantRefusal(t, err, Expired, "revoked")
	other := connect(t, g, two)
	_, err = g.Subscription(testContext(t), other, "room:1", subscription)
	wantRefusal(t, err, Expired, "revoked")
}

func TestNothingIsDecidedBeforeLoad(t *testing.T) {
	g := offline(t, Config{Secret: testSecret})
	g.state.Store(nil)
	_, err := g.Connect(testContext(t), token(t, jwt.MapClaims{"sub": "ann"}))
	wantRefusal(t, err, Unavailable, "starting")
	id := &Identity{User: "ann", Caps: []Capability{{Channels: []string{"a"}, Allow: []string{"sub"}}}}
	wantRefusal(t, g.Allow(testContext(t), id, "a", Subscribe), Unavailable, "starting")
	wantRefusal(t, g.Check(testContext(t), id), Unavailable, "starting")
	wantRefusal(t, g.Admin(id), Unavailable, "starting")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Load(ctx); err == nil {
		t.Error("Load succeeded without a database")
	}
	wantRefusal(t, g.Check(testContext(t), id), Unavailable, "starting")
}

func TestLoadsShareAndMissNothing(t *testing.T) {
	g, pool, _ := online(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				user := rand.Text()
				id := &Identity{User: user}
				if _, err := pool.Exec(context.Background(), "SELECT trunkline.revoke($1)", user); err != nil {
					t.Error(err)
				}
				if err := g.Load(context.Background()); err != nil {
					t.Error(err)
				}
				if err := g.Check(context.Background(), id); err == nil {
					t.Errorf("%s is not revoked after Load", user)
				}
			}
		})
	}
	group.Wait()
	if n := g.Stats().Revocations; n != 80 {
		t.Errorf("%d revocations, want 80", n)
	}
}

// newKey makes an API key in the database.
func newKey(t testing.TB, pool *pgxpool.Pool, name string, expires *time.Time, scopes ...string) string {
	t.Helper()
	secret := keyPrefix + rand.Text() + rand.Text()
	hash := sha256.Sum256([]byte(secret))
	exec(t, pool, "SELECT trunkline.create_apikey($1, $2, $3, $4, $5)", name, secret[:11], hash[:], scopes, expires)
	return secret
}

func TestAPIKeys(t *testing.T) {
	g, pool, namespaces := online(t)
	no := false
	namespaces.set(trunkline.Namespace{Name: "quiet", Publish: &no})
	soon := time.Now().Add(time.Hour)
	secrets := map[string]string{
		"publisher": newKey(t, pool, "publisher", nil, "publish"),
		"reader":    newKey(t, pool, "reader", &soon, "read"),
		"admin":     newKey(t, pool, "admin", nil, "admin"),
	}
	_, err := g.Connect(testContext(t), secrets["admin"])
	wantRefusal(t, err, BadToken, "unknown")
	reload(t, g)
	for _, test := range []struct {
		key     string
		channel string
		allowed map[Action]bool
		admin   bool
	}{
		{"publisher", "room:1", map[Action]bool{Publish: true}, false},
		{"publisher", "quiet:1", map[Action]bool{Publish: true}, false}, // a server is no client
		{"publisher", "trunkline:control", nil, false},
		{"reader", "room:1", map[Action]bool{Subscribe: true, History: true, Presence: true}, false},
		{"reader", "trunkline:control", nil, false},
		{"admin", "room:1", map[Action]bool{Subscribe: true, Publish: true, History: true, Presence: true}, true},
		{"admin", "trunkline:control", map[Action]bool{Subscribe: true, Publish: true, History: true, Presence: true}, true},
	} {
		id := connect(t, g, secrets[test.key])
		if id.Key != test.key || id.User != "" {
			t.Errorf("identity %+v", id)
		}
		for _, action := range []Action{Subscribe, Publish, History, Presence} {
			err := g.Allow(testContext(t), id, test.channel, action)
			if test.allowed[action] && err != nil {
				t.Errorf("%s: %v", test.key, err)
			}
			if !test.allowed[action] {
				wantRefusal(t, err, Denied, "")
			}
		}
		if err := g.Admin(id); (err == nil) != test.admin {
			t.Errorf("%s: admin: %v", test.key, err)
		}
	}
	wantRefusal(t, g.Admin(&Identity{User: "ann", Scopes: []Scope{ScopeAdmin}}), Denied, "administrators")

	for _, text := range []string{keyPrefix, secrets["admin"] + "x", secrets["admin"][:20], keyPrefix + string(make([]byte, maxKey))} {
		_, err := g.Connect(testContext(t), text)
		wantRefusal(t, err, BadToken, "API key")
	}
	reader := connect(t, g, secrets["reader"])
	admin := connect(t, g, secrets["admin"])
	g.now = func() time.Time { return soon }
	wantRefusal(t, g.Check(testContext(t), reader), Expired, `"reader" expired`)
	_, err = g.Connect(testContext(t), secrets["reader"])
	wantRefusal(t, err, Expired, `"reader" expired`)

	exec(t, pool, "SELECT trunkline.revoke_apikey('admin')")
	reload(t, g)
	wantRefusal(t, g.Check(testContext(t), admin), BadToken, `"admin" was revoked`)
	wantRefusal(t, g.Admin(admin), BadToken, `"admin" was revoked`)
	wantRefusal(t, g.Allow(testContext(t), admin, "room:1", Publish), BadToken, `"admin" was revoked`)
	// A key of the same name is another one.
	newKey(t, pool, "admin", nil, "admin")
	reload(t, g)
	wantRefusal(t, g.Check(testContext(t), admin), BadToken, `"admin" was revoked`)
}

func TestOpenMode(t *testing.T) {
	g := offline(t, Config{Open: true})
	reload(t, g)
	for _, text := range []string{"", "whatever", token(t, jwt.MapClaims{"sub": "ann"})} {
		id := connect(t, g, text)
		for _, action := range []Action{Subscribe, Publish, History, Presence} {
			if err := g.Allow(testContext(t), id, "trunkline:control", action); err != nil {
				t.Error(err)
			}
		}
		if err := g.Admin(id); err != nil {
			t.Error(err)
		}
		if err := g.Check(testContext(t), id); err != nil {
			t.Error(err)
		}
		if _, err := g.Subscription(testContext(t), id, "a", "b"); err != nil {
			t.Error(err)
		}
	}
}

func TestLoadGivesUpOnADatabaseThatHangs(t *testing.T) {
	g, pool, _ := online(t)
	g.patience = 50 * time.Millisecond
	conn, err := pool.Acquire(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{"BEGIN", "LOCK TABLE trunkline.revocation IN ACCESS EXCLUSIVE MODE", "SELECT trunkline.revoke('ann')"} {
		if _, err := conn.Exec(testContext(t), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Load(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Load returned %v", err)
	}
	if _, err := conn.Exec(testContext(t), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	g.patience = patience
	reload(t, g)
	if n := g.Stats().Revocations; n != 1 {
		t.Errorf("%d revocations are known", n)
	}
}
