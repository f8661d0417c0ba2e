package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const tokenSecret = "a secret of thirty-two bytes, ok"

func withSecret() surroundings {
	return surroundings{env: map[string]string{"TRUNKLINE_JWT_SECRET": tokenSecret}}
}

// decode verifies a token as another program would, and returns its claims.
func decode(t *testing.T, text string, key any, method string) map[string]any {
	t.Helper()
	token, ok := strings.CutSuffix(text, "\n")
	if !ok || strings.ContainsAny(token, " \n") {
		t.Fatalf("stdout is more than a token: %q", text)
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{method})); err != nil {
		t.Fatal(err)
	}
	return claims
}

// wantClaims compares claims with JSON, apart from those that differ each time.
func wantClaims(t *testing.T, claims map[string]any, want string) {
	t.Helper()
	for _, name := range []string{"iat", "jti", "exp"} {
		if claims[name] == nil {
			t.Errorf("claim %q is missing", name)
		}
		delete(claims, name)
	}
	got, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("claims %s\nwant   %s", got, want)
	}
}

func TestToken(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"user alone": {nil, `{"sub":"ann"}`},
		"channels": {
			[]string{"--channel", "news", "--channel", "a,b", "--channel", "room:*"},
			`{"caps":[{"allow":["sub","hst","prs"],"channels":["news","a,b"]},{"allow":["sub","hst","prs"],"channels":["room:*"],"match":"wildcard"}],"sub":"ann"}`,
		},
		"allow": {
			[]string{"--channel", "news", "--allow", "sub,pub"},
			`{"caps":[{"allow":["sub","pub"],"channels":["news"]}],"sub":"ann"}`,
		},
		"subscribe and info": {
			[]string{"--subscribe", "news", "--subscribe", "room:1", "--info", `{"name":"Ann"}`},
			`{"channels":["news","room:1"],"info":{"name":"Ann"},"sub":"ann"}`,
		},
		"subscription":        {[]string{"--subscription", "room:1"}, `{"channel":"room:1","sub":"ann"}`},
		"issuer and audience": {[]string{"--jwt-issuer", "shop", "--jwt-audience", "live"}, `{"aud":["live"],"iss":"shop","sub":"ann"}`},
	} {
		t.Run(name, func(t *testing.T) {
			text := succeed(t, withSecret(), append([]string{"token", "--sub", "ann"}, test.args...)...)
			wantClaims(t, decode(t, text, []byte(tokenSecret), "HS256"), test.want)
		})
	}
}

func TestTokenTimesAndID(t *testing.T) {
	before := time.Now().Truncate(time.Second)
	claims := decode(t, succeed(t, withSecret(), "token", "--sub", "ann", "--ttl", "90m", "--jti", "mine"), []byte(tokenSecret), "HS256")
	iat, exp := claims["iat"].(float64), claims["exp"].(float64)
	if iat < float64(before.Unix()) || exp < iat+90*60-1 || exp > iat+90*60 {
		t.Errorf("iat %v, exp %v", iat, exp)
	}
	if claims["jti"] != "mine" {
		t.Errorf("jti %v", claims["jti"])
	}
	one := decode(t, succeed(t, withSecret(), "token", "--sub", "ann"), []byte(tokenSecret), "HS256")
	two := decode(t, succeed(t, withSecret(), "token", "--sub", "ann"), []byte(tokenSecret), "HS256")
	if one["jti"] == two["jti"] {
		t.Error("two tokens have the same jti")
	}
}

func TestTokenWithAKeyFile(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	text := succeed(t, surroundings{}, "token", "--sub", "ann", "--jwt-key", file, "--jwt-kid", "k1")
	wantClaims(t, decode(t, text, public, "EdDSA"), `{"sub":"ann"}`)
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[0])
	if err != nil || !strings.Contains(string(header), `"kid":"k1"`) {
		t.Errorf("header %s, %v", header, err)
	}
}

func TestTokenWarnsOfAShortSecret(t *testing.T) {
	code, stdout, stderr := do(t, surroundings{}, "token", "--sub", "ann", "--jwt-secret", "short")
	if code != exitOK || !strings.Contains(stderr, "5 bytes long") || strings.Contains(stderr, "short:") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	decode(t, stdout, []byte("short"), "HS256")
	if _, _, stderr := do(t, withSecret(), "token", "--sub", "ann"); stderr != "" {
		t.Errorf("with a long secret it says %q", stderr)
	}
}

func TestTokenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		s     surroundings
		args  []string
		words string
	}{
		"no user":                      {withSecret(), nil, "--sub"},
		"no secret":                    {surroundings{}, []string{"--sub", "ann"}, "TRUNKLINE_JWT_SECRET"},
		"allow without channel":        {withSecret(), []string{"--sub", "ann", "--allow", "sub"}, "--channel"},
		"an unknown allow":             {withSecret(), []string{"--sub", "ann", "--channel", "a", "--allow", "all"}, `"all"`},
		"a subscription with channels": {withSecret(), []string{"--sub", "ann", "--channel", "a", "--subscription", "b"}, "that channel alone"},
		"info that is no JSON":         {withSecret(), []string{"--sub", "ann", "--info", "Ann"}, "--info is not JSON"},
		"no time":                      {withSecret(), []string{"--sub", "ann", "--ttl", "0s"}, "--ttl 0s"},
		"Trunkline's own channel":      {withSecret(), []string{"--sub", "ann", "--subscribe", "trunkline:control"}, "Trunkline's own"},
		"no such file":                 {surroundings{}, []string{"--sub", "ann", "--jwt-key", file + "x"}, "no such file"},
		"a file without a key":         {surroundings{}, []string{"--sub", "ann", "--jwt-key", file}, "no private key"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := do(t, test.s, append([]string{"token"}, test.args...)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, test.words) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want …%s…", code, stdout, stderr, test.words)
			}
			if strings.Contains(stderr, tokenSecret) {
				t.Errorf("stderr shows the secret: %s", stderr)
			}
		})
	}
}
