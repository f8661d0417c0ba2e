package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// issuer serves a key set.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	answer  http.HandlerFunc // nil: the keys
	keys    []json.RawMessage
	fetches int
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		if i.answer != nil {
			i.answer(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) publish(keys ...json.RawMessage) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

func (i *issuer) answerWith(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// jwk writes the public half of a key.
func jwk(t testing.TB, id string, key any, use jwkset.USE) json.RawMessage {
	t.Helper()
	made, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id, USE: use}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func edToken(t testing.TB, key ed25519.PrivateKey, id string) string {
	t.Helper()
	return signed(t, jwt.SigningMethodEdDSA, key, jwt.MapClaims{"sub": "ann"}, id)
}

// impatient fetches at each unknown key.
func impatient(g *Gate) { g.keySet.limit = rate.NewLimiter(rate.Inf, 1) }

func TestKeysRotate(t *testing.T) {
	first, second := edKey(), edKey()
	issuer := newIssuer(t)
	issuer.publish(jwk(t, "1", first.Public(), jwkset.UseSig))
	g := offline(t, Config{JWKSURL: issuer.URL})
	impatient(g)

	// Nobody fetched yet: the first token waits for it.
	connect(t, g, edToken(t, first, "1"))
	if n := issuer.fetched(); n != 1 {
		t.Fatalf("%d fetches, want 1", n)
	}
	for range 10 {
		connect(t, g, edToken(t, first, "1"))
	}
	if n := issuer.fetched(); n != 1 {
		t.Fatalf("%d fetches for tokens of a known key, want 1", n)
	}
	_, err := g.Connect(testContext(t), edToken(t, second, "2"))
	wantRefusal(t, err, BadToken, "key set doesn't have")

	issuer.publish(jwk(t, "1", first.Public(), ""), jwk(t, "2", second.Public(), ""))
	connect(t, g, edToken(t, second, "2"))
	connect(t, g, edToken(t, first, "1"))
	// A kid names the key: another key of the set is of no use.
	_, err = g.Connect(testContext(t), edToken(t, first, "2"))
	wantRefusal(t, err, BadToken, "signature doesn't fit")
	// Without a kid each is tried.
	connect(t, g, edToken(t, second, ""))

	issuer.publish(jwk(t, "2", second.Public(), ""))
	_, _ = g.Connect(testContext(t), edToken(t, first, "3")) // leads to a fetch
	_, err = g.Connect(testContext(t), edToken(t, first, "1"))
	wantRefusal(t, err, BadToken, "key set doesn't have")
}

func TestUnknownKeysFetchSeldom(t *testing.T) {
	key := edKey()
	issuer := newIssuer(t)
	issuer.publish(jwk(t, "1", key.Public(), ""))
	g := offline(t, Config{JWKSURL: issuer.URL})
	g.keySet.limit = rate.NewLimiter(rate.Every(time.Hour), 1)
	connect(t, g, edToken(t, key, "1"))
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			_, err := g.Connect(context.Background(), edToken(t, key, "made up"))
			wantCode(t, err, Unavailable)
		})
	}
	group.Wait()
	if n := issuer.fetched(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func wantCode(t testing.TB, err error, code Code) {
	t.Helper()
	if refusal, ok := err.(*Refusal); !ok || refusal.Code != code { //nolint:errorlint // it is one as it is
		t.Errorf("%v, want a refusal with code %d", err, code)
	}
}

func TestKeysStayWhileTheirSetIsAway(t *testing.T) {
	key := edKey()
	issuer := newIssuer(t)
	issuer.publish(jwk(t, "1", key.Public(), ""))
	g := offline(t, Config{JWKSURL: issuer.URL})
	impatient(g)
	connect(t, g, edToken(t, key, "1"))
	for name, answer := range map[string]http.HandlerFunc{
		"error":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) },
		"long":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxKeySet+1)) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"too many": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[` + strings.Repeat("1,", maxSetKeys) + `1]}`))
		},
		"a file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"a circle": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"keys":`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			issuer.answerWith(answer)
			_, err := g.Connect(testContext(t), edToken(t, key, "2"))
			wantRefusal(t, err, Unavailable, "try again")
			connect(t, g, edToken(t, key, "1"))
		})
	}
}

func TestASetMayHoldWhatIsForOthers(t *testing.T) {
	key, other := edKey(), ecKey(elliptic.P256())
	issuer := newIssuer(t)
	secret := json.RawMessage(`{"kty":"oct","kid":"s","k":"c2VjcmV0"}`)
	issuer.publish(secret, json.RawMessage(`{"kty":"future"}`), json.RawMessage(`7`), jwk(t, "e", other.Public(), jwkset.UseEnc), jwk(t, "1", key.Public(), ""))
	g := offline(t, Config{JWKSURL: issuer.URL})
	impatient(g)
	connect(t, g, edToken(t, key, "1"))
	_, err := g.Connect(testContext(t), signed(t, jwt.SigningMethodHS256, []byte("secret"), jwt.MapClaims{"sub": "ann"}, "s"))
	wantRefusal(t, err, BadToken, "signature doesn't fit")
	_, err = g.Connect(testContext(t), signed(t, jwt.SigningMethodES256, other, jwt.MapClaims{"sub": "ann"}, "e"))
	wantRefusal(t, err, BadToken, "key set doesn't have")
}

func TestLoadFetchesTheKeysAndCloseEndsIt(t *testing.T) {
	issuer := newIssuer(t)
	asked := make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) })
	issuer.answerWith(func(_ http.ResponseWriter, r *http.Request) {
		ask()
		<-r.Context().Done() // it never answers
	})
	g, _, _ := online(t, func(c *Config) { c.JWKSURL = issuer.URL })
	select {
	case <-asked:
	case <-testContext(t).Done():
		t.Fatal("nothing was fetched")
	}
	g.Close()
	_, err := g.Connect(testContext(t), edToken(t, edKey(), "1"))
	wantRefusal(t, err, Unavailable, "try again")
}

func TestRedirectsStayAsSafeAsTheyWere(t *testing.T) {
	from := func(url string) []*http.Request {
		return []*http.Request{httptest.NewRequest(http.MethodGet, url, nil)}
	}
	for _, test := range []struct {
		from, to string
		ok       bool
	}{
		{"https://a.example/keys", "https://b.example/keys", true},
		{"http://a.example/keys", "https://a.example/keys", true},
		{"http://a.example/keys", "http://b.example/keys", true},
		{"https://a.example/keys", "http://a.example/keys", false},
		{"https://a.example/keys", "ftp://a.example/keys", false},
	} {
		err := checkRedirect(httptest.NewRequest(http.MethodGet, test.to, nil), from(test.from))
		if (err == nil) != test.ok {
			t.Errorf("%s → %s: %v", test.from, test.to, err)
		}
	}
}

func TestAFixedKeyBesideASetThatIsAway(t *testing.T) {
	fixed, remote := edKey(), edKey()
	issuer := newIssuer(t)
	issuer.answerWith(http.NotFound)
	g := offline(t, Config{JWKSURL: issuer.URL, PublicKeys: publicPEM(t, fixed.Public())})
	impatient(g)
	connect(t, g, edToken(t, fixed, ""))
	_, err := g.Connect(testContext(t), edToken(t, remote, "1"))
	wantRefusal(t, err, Unavailable, "try again") // it may be the set's
	issuer.answerWith(nil)
	issuer.publish(jwk(t, "1", remote.Public(), ""))
	connect(t, g, edToken(t, remote, "1"))
	_, err = g.Connect(testContext(t), edToken(t, edKey(), "1"))
	wantRefusal(t, err, BadToken, "signature doesn't fit")
}
