package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/trunkline/trunkline"
)

// Names that are easily taken for one another, by people or by programs that fold, trim, split or normalise them.
var lookAlikes = []string{
	"a", "A", "a:b", "b", "a ", " a", "a*", "*", "%", "a%", "a_", "inbox:a", ":a", "a:", ":", "á", "a\u0301", "а" /* Cyrillic */, "ａ",
	"a\u200b", "a/b", `a\`,
	"ß", "ss", "ﬁ", "fi", "null", "undefined", "0", "00", strings.Repeat("x", 248), strings.Repeat("x", 249),
}

func TestOwnInboxIsOnesOwn(t *testing.T) {
	t.Parallel()
	g := offline(t, Config{Secret: testSecret})
	for _, user := range lookAlikes {
		id := connect(t, g, token(t, jwt.MapClaims{"sub": user}))
		for _, owner := range append([]string{""}, lookAlikes...) {
			channel := "inbox:" + owner
			for _, action := range []Action{Subscribe, History, Publish, Presence} {
				err := g.Allow(testContext(t), id, channel, action)
				if may := owner == user && (action == Subscribe || action == History); may != (err == nil) {
					t.Errorf("user %q, %s %q: %v", user, action, channel, err)
				}
			}
		}
		// The inbox's channel, not one that looks like it.
		for _, channel := range []string{"Inbox:" + user, "inbox" + user, " inbox:" + user, "INBOX:" + user, user} {
			if trunkline.CheckChannel(channel) == nil && g.Allow(testContext(t), id, channel, Subscribe) == nil {
				t.Errorf("user %q may follow %q", user, channel)
			}
		}
	}
}

func TestInboxOfALongNameIsNoChannel(t *testing.T) {
	t.Parallel()
	g := offline(t, Config{Secret: testSecret})
	for length, may := range map[int]bool{249: true, 250: false, 255: false} {
		user := strings.Repeat("u", length)
		id := connect(t, g, token(t, jwt.MapClaims{"sub": user}))
		err := g.Allow(testContext(t), id, "inbox:"+user, Subscribe)
		if may != (err == nil) {
			t.Errorf("%d bytes: %v", length, err)
		}
		if !may {
			wantRefusal(t, err, Denied, "more than 255")
		}
		if length > 249 {
			wantRefusal(t, g.Allow(testContext(t), id, "inbox:"+user[:249], Subscribe), Denied, "may not")
		}
	}
}

func TestOthersInboxesByCapsAlone(t *testing.T) {
	t.Parallel()
	g := offline(t, Config{Secret: testSecret})
	boss := connect(t, g, token(t, jwt.MapClaims{"sub": "boss", "caps": []any{
		map[string]any{"channels": []string{"inbox:team-*"}, "match": "wildcard", "allow": []string{"sub", "pub"}},
	}}))
	for channel, may := range map[string]bool{"inbox:team-a": true, "inbox:boss": true, "inbox:ann": false} {
		if err := g.Allow(testContext(t), boss, channel, Subscribe); may != (err == nil) {
			t.Errorf("%s: %v", channel, err)
		}
	}
	if err := g.Allow(testContext(t), boss, "inbox:team-a", Publish); err != nil {
		t.Errorf("caps allow it: %v", err)
	}
	wantRefusal(t, g.Allow(testContext(t), boss, "inbox:boss", Publish), Denied, "may not publish")
}

func TestTheNamespaceTakesNobodysOwnInbox(t *testing.T) {
	t.Parallel()
	g, pool, namespaces := online(t)
	exec(t, pool, "CREATE FUNCTION nobody(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
	no := false
	namespaces.set(trunkline.Namespace{Name: "inbox", Authorize: "public.nobody", Anonymous: true, Publish: &no, Presence: &no})
	ann := connect(t, g, token(t, jwt.MapClaims{"sub": "ann"}))
	if err := g.Allow(testContext(t), ann, "inbox:ann", Subscribe); err != nil {
		t.Error(err)
	}
	wantRefusal(t, g.Allow(testContext(t), ann, "inbox:bob", Subscribe), Denied, "may not")
	wantRefusal(t, g.Allow(testContext(t), ann, "inbox:ann", Publish), Denied, "no client")
	wantRefusal(t, g.Allow(testContext(t), connect(t, g, ""), "inbox:", Subscribe), Denied, "anonymous")
}

func TestRevocationOfAnInbox(t *testing.T) {
	t.Parallel()
	g, pool, _ := online(t)
	issued := time.Now().Add(-time.Minute).Unix()
	old := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "iat": issued}))
	bob := connect(t, g, token(t, jwt.MapClaims{"sub": "bob", "iat": issued}))
	exec(t, pool, "SELECT trunkline.revoke('ann', 'inbox:ann')")
	reload(t, g)
	wantRefusal(t, g.Allow(testContext(t), old, "inbox:ann", Subscribe), Denied, "may not")
	wantRefusal(t, g.Inbox(old, "ann"), Denied, "revoked")
	if err := g.Inbox(bob, "bob"); err != nil {
		t.Error(err)
	}
	g.now = func() time.Time { return time.Now().Add(time.Minute) }
	g.tokens.now = g.now
	later := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "iat": time.Now().Add(30 * time.Second).Unix()}))
	if err := g.Allow(testContext(t), later, "inbox:ann", Subscribe); err != nil {
		t.Errorf("a later token: %v", err)
	}
	if err := g.Inbox(later, "ann"); err != nil {
		t.Errorf("a later token: %v", err)
	}
	exec(t, pool, "SELECT trunkline.revoke('bob')")
	reload(t, g)
	wantRefusal(t, g.Inbox(bob, "bob"), Expired, "revoked")
}

func TestWhoMayUseWhoseInbox(t *testing.T) {
	t.Parallel()
	g, pool, _ := online(t)
	key := func(scopes string) *Identity {
		secret, made := trunkline.NewAPIKey()
		exec(t, pool, "SELECT trunkline.create_apikey($1, $2, $3, $4::text[])", scopes, made.Prefix, made.Hash, scopes)
		reload(t, g)
		return connect(t, g, secret)
	}
	admin, reads, publishes := key("{admin}"), key("{read}"), key("{publish}")
	for _, user := range lookAlikes {
		id := connect(t, g, token(t, jwt.MapClaims{"sub": user}))
		for _, owner := range lookAlikes {
			if err := g.Inbox(id, owner); (owner == user) != (err == nil) {
				t.Errorf("user %q, inbox of %q: %v", user, owner, err)
			}
		}
		wantRefusal(t, g.Notify(id), Denied, "scope publish")
	}
	for _, id := range []*Identity{{anonymous: true}, {}, connect(t, g, token(t, jwt.MapClaims{"sub": ""}))} {
		wantRefusal(t, g.Inbox(id, ""), BadToken, "names one")
		wantRefusal(t, g.Inbox(id, "ann"), BadToken, "names one")
	}
	if err := g.Inbox(admin, "ann"); err != nil {
		t.Error(err)
	}
	for _, id := range []*Identity{reads, publishes} {
		wantRefusal(t, g.Inbox(id, "ann"), Denied, "scope admin")
		wantRefusal(t, g.Inbox(id, ""), Denied, "scope admin")
	}
	wantRefusal(t, g.Notify(reads), Denied, "scope publish")
	for _, id := range []*Identity{publishes, admin} {
		if err := g.Notify(id); err != nil {
			t.Error(err)
		}
	}
	exec(t, pool, "SELECT trunkline.revoke_apikey('{publish}'), trunkline.revoke_apikey('{admin}')")
	reload(t, g)
	wantRefusal(t, g.Notify(publishes), BadToken, "revoked")
	wantRefusal(t, g.Inbox(admin, "ann"), BadToken, "revoked")
	expired := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}))
	g.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	wantRefusal(t, g.Inbox(expired, "ann"), Expired, "expired")
}
