package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, minRSA)) })

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func ecKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func edKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

func TestEveryAlgorithm(t *testing.T) {
	p256, p384, p521, ed := ecKey(elliptic.P256()), ecKey(elliptic.P384()), ecKey(elliptic.P521()), edKey()
	g := offline(t, Config{Secret: testSecret, PublicKeys: bytes.Join([][]byte{
		publicPEM(t, rsaKey().Public()), publicPEM(t, p256.Public()), publicPEM(t, p384.Public()), publicPEM(t, p521.Public()),
		publicPEM(t, ed.Public()),
	}, nil)})
	for _, test := range []struct {
		algorithm string
		key       any
	}{
		{"HS256", testSecret},
		{"HS384", testSecret},
		{"HS512", testSecret},
		{"RS256", rsaKey()},
		{"RS384", rsaKey()},
		{"RS512", rsaKey()},
		{"PS256", rsaKey()},
		{"PS384", rsaKey()},
		{"PS512", rsaKey()},
		{"ES256", p256},
		{"ES384", p384},
		{"ES512", p521},
		{"EdDSA", ed},
	} {
		t.Run(test.algorithm, func(t *testing.T) {
			method := jwt.GetSigningMethod(test.algorithm)
			good := signed(t, method, test.key, jwt.MapClaims{"sub": "ann"}, "any kid")
			if id := connect(t, g, good); id.User != "ann" {
				t.Errorf("user %q, want ann", id.User)
			}
			// The same signature under other claims.
			parts := strings.Split(good, ".")
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"bob"}`))
			_, err := g.Connect(testContext(t), strings.Join(parts, "."))
			wantRefusal(t, err, BadToken, "signature doesn't fit")
		})
	}
}

// TestNoAlgorithmIsConfused signs with what a stranger knows.
func TestNoAlgorithmIsConfused(t *testing.T) {
	public := publicPEM(t, rsaKey().Public())
	der, _ := json.Marshal(rsaKey().PublicKey.N)
	claims := jwt.MapClaims{"sub": "root"}
	keys := Config{PublicKeys: public}
	both := Config{PublicKeys: public, Secret: testSecret}
	secret := Config{Secret: testSecret}
	none := signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims, "")
	header := func(text string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`)) + "."
	}
	for name, test := range map[string]struct {
		cfg   Config
		token string
		words string
	}{
		"none, of keys":                  {keys, none, "signature doesn't fit"},
		"none, of a secret":              {secret, none, "signature doesn't fit"},
		"None":                           {secret, header(`{"alg":"None"}`), "no algorithm that is known"},
		"no algorithm":                   {secret, header(`{"typ":"JWT"}`), "no algorithm that is known"},
		"an algorithm that is no string": {secret, header(`{"alg":["HS256"]}`), "no algorithm that is known"},
		"HMAC with the public key":       {keys, signed(t, jwt.SigningMethodHS256, public, claims, ""), "signature doesn't fit"},
		"HMAC with the modulus":          {keys, signed(t, jwt.SigningMethodHS256, der, claims, ""), "signature doesn't fit"},
		"HMAC with the public key where there is a secret too": {both, signed(t, jwt.SigningMethodHS256, public, claims, ""), "signature doesn't fit"},
		"HMAC with nothing":          {keys, signed(t, jwt.SigningMethodHS256, []byte{}, claims, ""), "signature doesn't fit"},
		"RSA where there's a secret": {secret, signed(t, jwt.SigningMethodRS256, rsaKey(), claims, ""), "signature doesn't fit"},
		"another RSA key":            {keys, signed(t, jwt.SigningMethodRS256, must(rsa.GenerateKey(rand.Reader, minRSA)), claims, ""), "signature doesn't fit"},
		"ECDSA where there's RSA":    {keys, signed(t, jwt.SigningMethodES256, ecKey(elliptic.P256()), claims, ""), "signature doesn't fit"},
		"a key within the token":     {keys, header(`{"alg":"RS256","jwk":{"kty":"RSA"}}`), "signature doesn't fit"},
		"crit":                       {secret, header(`{"alg":"HS256","crit":["b64"],"b64":false}`), "crit"},
		"no keys at all":             {Config{}, token(t, claims), "verifies no tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := offline(t, test.cfg).Connect(testContext(t), test.token)
			wantRefusal(t, err, BadToken, test.words)
		})
	}
}

func TestClaims(t *testing.T) {
	g := offline(t, Config{Secret: testSecret})
	now := time.Now().Truncate(time.Second)
	id := connect(t, g, token(t, jwt.MapClaims{
		"sub": "ann", "jti": "t1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "aud": []string{"x"}, "SUB": "bob",
		"info": map[string]any{"name": "Ann"}, "meta": 7,
		"channels": []string{"news", "room:1"},
		"subs":     map[string]any{"room:1": map[string]any{"info": "x", "data": []int{1}, "override": map[string]any{"presence": true}}},
		"caps":     []map[string]any{{"channels": []string{"room:*"}, "match": "wildcard", "allow": []string{"sub"}}},
	}))
	if id.User != "ann" || id.TokenID != "t1" || !id.IssuedAt.Equal(now) || string(id.Info) != `{"name":"Ann"}` || string(id.Meta) != "7" {
		t.Errorf("identity %+v", id)
	}
	if want := now.Add(time.Hour + defaultSkew); !id.ExpiresAt.Equal(want) {
		t.Errorf("expires at %s, want %s", id.ExpiresAt, want)
	}
	want := map[string]Subscription{"news": {}, "room:1": {Info: json.RawMessage(`"x"`), Data: json.RawMessage(`[1]`)}}
	if diff := cmp.Diff(want, id.Subscriptions); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if id := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "exp": now.Add(time.Hour).Unix(), "expire_at": 0})); !id.ExpiresAt.IsZero() {
		t.Errorf("with expire_at 0 it expires at %s, want never", id.ExpiresAt)
	}
	end := now.Add(time.Minute)
	if id := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "expire_at": end.Unix()})); !id.ExpiresAt.Equal(end.Add(defaultSkew)) {
		t.Errorf("with expire_at it expires at %s, want %s", id.ExpiresAt, end.Add(defaultSkew))
	}
}

func TestClaimsThatCantBeTaken(t *testing.T) {
	g := offline(t, Config{Secret: testSecret})
	list := func(n int, format string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return all
	}
	capability := func(fields map[string]any) []any { return []any{fields} }
	for name, test := range map[string]struct {
		claims jwt.MapClaims
		words  string
	}{
		"a number as user":              {jwt.MapClaims{"sub": 42}, `"sub" is not a string`},
		"a long user":                   {jwt.MapClaims{"sub": strings.Repeat("u", 256)}, "256 bytes long"},
		"a NUL in the user":             {jwt.MapClaims{"sub": "a\x00"}, "control character"},
		"a time as text":                {jwt.MapClaims{"exp": "tomorrow"}, `"exp" is not a time`},
		"a time beyond all":             {jwt.MapClaims{"exp": 1e300}, `"exp" is not a time`},
		"a negative time":               {jwt.MapClaims{"iat": -1}, `"iat" is not a time`},
		"an audience of numbers":        {jwt.MapClaims{"aud": []int{1}}, `"aud" is neither`},
		"Trunkline's own channel":       {jwt.MapClaims{"channels": []string{"trunkline:control"}}, "Trunkline's own"},
		"an empty channel":              {jwt.MapClaims{"subs": map[string]any{"": nil}}, "names no channel"},
		"too many channels":             {jwt.MapClaims{"channels": list(maxSubscriptions+1, "c%d")}, "more than 128 subscriptions"},
		"channels that are no list":     {jwt.MapClaims{"channels": "news"}, "not an array of strings"},
		"caps that are no list":         {jwt.MapClaims{"caps": map[string]any{}}, `"caps" is not an array`},
		"an unknown allow":              {jwt.MapClaims{"caps": capability(map[string]any{"channels": []string{"a"}, "allow": []string{"sub", "all"}})}, `allow has "all"`},
		"an empty allow":                {jwt.MapClaims{"caps": capability(map[string]any{"channels": []string{"a"}})}, "allow is empty"},
		"caps without channels":         {jwt.MapClaims{"caps": capability(map[string]any{"allow": []string{"sub"}})}, "channels is empty"},
		"an unknown match":              {jwt.MapClaims{"caps": capability(map[string]any{"channels": []string{"a"}, "match": "glob", "allow": []string{"sub"}})}, `match is "glob"`},
		"an expression that is none":    {jwt.MapClaims{"caps": capability(map[string]any{"channels": []string{"a("}, "match": "regex", "allow": []string{"sub"}})}, "regular expression"},
		"an expression that breaks out": {jwt.MapClaims{"caps": capability(map[string]any{"channels": []string{"a)|(?:b"}, "match": "regex", "allow": []string{"sub"}})}, "regular expression"},
		"an expression that grows":      {jwt.MapClaims{"caps": capability(map[string]any{"channels": []string{"(room:[0-9]{30}){30}", "x{900}"}, "match": "regex", "allow": []string{"sub"}})}, "too long"},
		"too many patterns":             {jwt.MapClaims{"caps": capability(map[string]any{"channels": list(maxPatterns+1, "c%d"), "allow": []string{"sub"}})}, "more than 500 channels"},
		"a subscription token":          {jwt.MapClaims{"sub": "ann", "channel": "news"}, `has the claim "channel"`},
		"deep":                          {jwt.MapClaims{"info": json.RawMessage(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth))}, "nested more than"},
		"long":                          {jwt.MapClaims{"info": strings.Repeat("x", maxToken)}, "bytes long, more than 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.Connect(testContext(t), token(t, test.claims))
			wantRefusal(t, err, BadToken, test.words)
		})
	}
}

func TestWhatIsNoToken(t *testing.T) {
	g := offline(t, Config{Secret: testSecret})
	good := token(t, jwt.MapClaims{"sub": "ann"})
	for _, text := range []string{
		".", "..", "...", "a.b.c", "a.b", good + ".", good + "\n", good[:len(good)-3], " " + good, "undefined", "\x00", strings.Repeat(".", 100),
		base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + ".bnVsbA.AAAA",
	} {
		_, err := g.Connect(testContext(t), text)
		wantRefusal(t, err, BadToken, "token")
		if len(text) > 3 && strings.Contains(err.Error(), text) {
			t.Errorf("the refusal of %q echoes it: %s", text, err)
		}
	}
}

func TestTimesAndSkew(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		claim  string
		offset time.Duration // from now
		code   Code          // 0: taken
	}{
		"expired within the skew":    {"exp", -29 * time.Second, 0},
		"expired":                    {"exp", -30 * time.Second, Expired},
		"not yet, within the skew":   {"nbf", 30 * time.Second, 0},
		"not yet":                    {"nbf", 31 * time.Second, BadToken},
		"from a clock that is ahead": {"iat", 30 * time.Second, 0},
		"from the future":            {"iat", 31 * time.Second, BadToken},
		"issued long ago, for ever":  {"iat", -10000 * time.Hour, 0},
		"expires long after":         {"exp", 10000 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := offline(t, Config{Secret: testSecret, Skew: 30 * time.Second})
			g.tokens.now = func() time.Time { return now }
			_, err := g.Connect(testContext(t), token(t, jwt.MapClaims{"sub": "ann", test.claim: now.Add(test.offset).Unix()}))
			if test.code == 0 && err != nil {
				t.Fatal(err)
			}
			if test.code != 0 {
				wantRefusal(t, err, test.code, "the token")
			}
		})
	}
}

func TestAnIdentityExpires(t *testing.T) {
	g := offline(t, Config{Secret: testSecret, Skew: -1})
	now := time.Now().Truncate(time.Second)
	id := connect(t, g, token(t, jwt.MapClaims{
		"sub": "ann", "exp": now.Add(time.Hour).Unix(), "caps": []any{map[string]any{"channels": []string{"a"}, "allow": []string{"sub"}}},
	}))
	g.now = func() time.Time { return now.Add(time.Hour - 1) }
	if err := g.Check(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	if err := g.Allow(testContext(t), id, "a", Subscribe); err != nil {
		t.Fatal(err)
	}
	g.now = func() time.Time { return now.Add(time.Hour) }
	wantRefusal(t, g.Check(testContext(t), id), Expired, "expired at")
	wantRefusal(t, g.Allow(testContext(t), id, "a", Subscribe), Expired, "expired at")
}

func TestIssuerAndAudience(t *testing.T) {
	g := offline(t, Config{Secret: testSecret, Issuer: "https://id.example.com", Audience: "live"})
	for name, test := range map[string]struct {
		claims jwt.MapClaims
		words  string // "": taken
	}{
		"both":             {jwt.MapClaims{"iss": "https://id.example.com", "aud": "live"}, ""},
		"one of several":   {jwt.MapClaims{"iss": "https://id.example.com", "aud": []string{"shop", "live"}}, ""},
		"another issuer":   {jwt.MapClaims{"iss": "https://evil.example.com", "aud": "live"}, `"iss"`},
		"no issuer":        {jwt.MapClaims{"aud": "live"}, `"iss"`},
		"another audience": {jwt.MapClaims{"iss": "https://id.example.com", "aud": "liv"}, `"aud"`},
		"no audience":      {jwt.MapClaims{"iss": "https://id.example.com"}, `"aud"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.Connect(testContext(t), token(t, test.claims))
			if test.words == "" && err != nil {
				t.Fatal(err)
			}
			if test.words != "" {
				wantRefusal(t, err, BadToken, test.words)
			}
		})
	}
}

func TestSubscriptionTokens(t *testing.T) {
	g := offline(t, Config{Secret: testSecret})
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	ann := connect(t, g, token(t, jwt.MapClaims{"sub": "ann"}))
	subscription, err := g.Subscription(testContext(t), ann, "room:1", token(t, jwt.MapClaims{
		"sub": "ann", "channel": "room:1", "info": "x", "exp": end.Unix(),
	}))
	if err != nil {
		t.Fatal(err)
	}
	if string(subscription.Info) != `"x"` || !subscription.ExpiresAt.Equal(end.Add(defaultSkew)) {
		t.Errorf("subscription %+v", subscription)
	}
	for name, test := range map[string]struct {
		channel string
		claims  jwt.MapClaims
		code    Code
		words   string
	}{
		"another channel":         {"room:2", jwt.MapClaims{"sub": "ann", "channel": "room:1"}, BadToken, "another channel"},
		"another user":            {"room:1", jwt.MapClaims{"sub": "bob", "channel": "room:1"}, BadToken, "another user"},
		"no user":                 {"room:1", jwt.MapClaims{"channel": "room:1"}, BadToken, "another user"},
		"a connection token":      {"room:1", jwt.MapClaims{"sub": "ann"}, BadToken, `no claim "channel"`},
		"expired":                 {"room:1", jwt.MapClaims{"sub": "ann", "channel": "room:1", "exp": 1}, Expired, "expired at"},
		"Trunkline's own channel": {"trunkline:control", jwt.MapClaims{"sub": "ann", "channel": "trunkline:control"}, Denied, "Trunkline's own"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.Subscription(testContext(t), ann, test.channel, token(t, test.claims))
			wantRefusal(t, err, test.code, test.words)
		})
	}
}

func TestWhatNewRefuses(t *testing.T) {
	small := &rsa.PublicKey{N: must(rsa.GenerateKey(rand.Reader, 1024)).N, E: 65537}
	for name, test := range map[string]struct {
		cfg   Config
		words string
	}{
		"open with a secret":        {Config{Open: true, Secret: testSecret}, "open mode"},
		"a private key":             {Config{PublicKeys: privatePEM(t, edKey())}, "private key"},
		"no PEM":                    {Config{PublicKeys: []byte("ssh-ed25519 AAAA")}, "none in PEM"},
		"a small RSA key":           {Config{PublicKeys: publicPEM(t, small)}, "1024 bits"},
		"a curve without algorithm": {Config{PublicKeys: publicPEM(t, ecKey(elliptic.P224()).Public())}, "P-224"},
		"a JWKS from a file":        {Config{JWKSURL: "file:///etc/jwks.json"}, "neither https nor http"},
		"a JWKS without a host":     {Config{JWKSURL: "https:/jwks.json"}, "neither https nor http"},
		"no database":               {Config{Secret: testSecret}, "no pool"},
		"clocks of another planet":  {Config{Open: true, Skew: time.Hour}, "at most 5m"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := test.cfg
			if name != "no database" {
				cfg.Pool = offline(t, Config{}).pool
			}
			g, err := New(cfg)
			if err == nil {
				g.Close()
				t.Fatal("taken")
			}
			if !strings.Contains(err.Error(), test.words) {
				t.Fatalf("%s\nwant …%s…", err, test.words)
			}
		})
	}
}
