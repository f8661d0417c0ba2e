package auth

import (
	"crypto/elliptic"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

func TestWhatIsSignedIsTaken(t *testing.T) {
	p256, p384, p521, ed := ecKey(elliptic.P256()), ecKey(elliptic.P384()), ecKey(elliptic.P521()), edKey()
	for name, test := range map[string]struct {
		key SigningKey
		cfg Config
	}{
		"HS256": {SecretKey(testSecret), Config{Secret: testSecret}},
		"RS256": {must(ParseSigningKey(privatePEM(t, rsaKey()))), Config{PublicKeys: publicPEM(t, rsaKey().Public())}},
		"ES256": {must(ParseSigningKey(privatePEM(t, p256))), Config{PublicKeys: publicPEM(t, p256.Public())}},
		"ES384": {must(ParseSigningKey(privatePEM(t, p384))), Config{PublicKeys: publicPEM(t, p384.Public())}},
		"ES512": {must(ParseSigningKey(privatePEM(t, p521))), Config{PublicKeys: publicPEM(t, p521.Public())}},
		"EdDSA": {must(ParseSigningKey(privatePEM(t, ed))), Config{PublicKeys: publicPEM(t, ed.Public())}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.key.method.Alg(); got != name {
				t.Errorf("signs with %s", got)
			}
			text, err := Sign(map[string]any{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}, test.key, "k1")
			if err != nil {
				t.Fatal(err)
			}
			if id := connect(t, offline(t, test.cfg), text); id.User != "ann" {
				t.Errorf("user %q", id.User)
			}
		})
	}
}

func TestWhatIsNotSigned(t *testing.T) {
	for _, test := range []struct {
		claims map[string]any
		key    SigningKey
		words  string
	}{
		{map[string]any{"sub": 7}, SecretKey(testSecret), "not a string"},
		{map[string]any{"channel": "trunkline:control"}, SecretKey(testSecret), "Trunkline's own"},
		{map[string]any{"caps": []any{map[string]any{"channels": []string{"a"}, "allow": []string{"x"}}}}, SecretKey(testSecret), `allow has "x"`},
		{map[string]any{"info": strings.Repeat("x", maxToken)}, SecretKey(testSecret), "more than 16384"},
		{map[string]any{"sub": "ann"}, SecretKey(nil), "secret is empty"},
		{map[string]any{"sub": "ann"}, SigningKey{}, "no key"},
	} {
		if _, err := Sign(test.claims, test.key, ""); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%v: %v, want …%s…", test.claims, err, test.words)
		}
	}
	for _, test := range []struct {
		text  []byte
		words string
	}{
		{nil, "no private key"},
		{[]byte("secret"), "no private key"},
		{publicPEM(t, edKey().Public()), "it is a public key"},
		{pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY"}), "encrypted"},
		{pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "can't be read"},
		{pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY"}), "isn't understood"},
		{privatePEM(t, ecKey(elliptic.P224())), "P-224"},
	} {
		if _, err := ParseSigningKey(test.text); err == nil || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%.40s: %v, want …%s…", test.text, err, test.words)
		}
	}
}
