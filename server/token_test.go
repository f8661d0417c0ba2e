package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// claimsOf returns the header and claims of a token, which somebody else has verified.
func claimsOf(t *testing.T, token string) (header, claims string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	for i, to := range []*string{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		*to = string(text)
	}
	return header, claims
}

func TestSignTokenWritesWhatIsGiven(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 250_000_000, time.UTC)
	token, err := SignToken(TokenClaims{
		Subject: "ann", ID: "t1", Issuer: "shop", Audience: []string{"live"}, IssuedAt: at, NotBefore: at, ExpiresAt: at.Add(time.Hour),
		Info: json.RawMessage(`{"name":"Ann"}`), Meta: json.RawMessage(`1`), Channels: []string{"news"}, KeyID: "k1",
		Caps: []TokenCapability{{Channels: []string{"room:*"}, Match: "wildcard", Allow: []string{"sub"}}},
	}, TokenSecret([]byte("a secret of thirty-two bytes, ok")))
	if err != nil {
		t.Fatal(err)
	}
	header, claims := claimsOf(t, token)
	if want := `{"alg":"HS256","kid":"k1","typ":"JWT"}`; header != want {
		t.Errorf("header %s, want %s", header, want)
	}
	want := `{"aud":["live"],"caps":[{"channels":["room:*"],"match":"wildcard","allow":["sub"]}],"channels":["news"],"exp":1769864400,` +
		`"iat":1769860800.25,"info":{"name":"Ann"},"iss":"shop","jti":"t1","meta":1,"nbf":1769860800,"sub":"ann"}`
	if claims != want {
		t.Errorf("claims %s\nwant   %s", claims, want)
	}
}

func TestSignTokenWithAKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ParseTokenKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	token, err := SignToken(TokenClaims{Subject: "ann", Channel: "room:1"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if header, claims := claimsOf(t, token); header != `{"alg":"ES256","typ":"JWT"}` || claims != `{"channel":"room:1","sub":"ann"}` {
		t.Errorf("%s %s", header, claims)
	}
	if _, err := SignToken(TokenClaims{Subject: "ann", Channels: []string{""}}, signer); err == nil {
		t.Error("an empty channel was signed")
	}
}
