package auth

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzToken gives headers and claims of any kind, once with a signature that fits and once with one that doesn't.
func FuzzToken(f *testing.F) {
	f.Add(`{"alg":"HS256","typ":"JWT"}`, `{"sub":"ann","exp":4102444800}`)
	f.Add(`{"alg":"none"}`, `{}`)
	f.Add(`{"alg":"HS256","crit":["x"]}`, `null`)
	f.Add(`{"alg":"RS256","kid":7}`, `[]`)
	f.Add(`{"alg":"HS512"}`, `{"caps":[{"channels":["a*"],"match":"wildcard","allow":["sub"]}],"channels":["a"],"subs":{"b":{"data":1}}}`)
	f.Add(`{"alg":"HS256"}`, `{"iat":1e308,"nbf":-0,"aud":[[]],"expire_at":0.5}`)
	f.Add(`{"alg":"HS256"}`, `{"sub":"\ud800","info":{"a":[[[[]]]]}}`)
	f.Add(`{"alg":"HS256"}`, `{"caps":[{"channels":["(((((a{1000}){1000})"],"match":"regex","allow":["sub"]}]}`)
	g := offline(f, Config{Secret: testSecret, PublicKeys: publicPEM(f, rsaKey().Public())})
	f.Fuzz(func(t *testing.T, header, payload string) {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		signature, err := jwt.SigningMethodHS256.Sign(text, testSecret)
		if err != nil {
			t.Fatal(err)
		}
		id, err := g.Connect(t.Context(), text+"."+base64.RawURLEncoding.EncodeToString(signature))
		var refusal *Refusal
		switch {
		case err == nil:
			if len(id.User) > maxName || len(id.Subscriptions) > maxSubscriptions {
				t.Errorf("taken: %+v", id)
			}
			for channel := range id.Subscriptions {
				if isReserved(channel) {
					t.Errorf("subscribes to %q", channel)
				}
			}
			_ = g.Allow(t.Context(), id, "room:1", Subscribe)
		case !errors.As(err, &refusal) || refusal.Reason == "" || id != nil:
			t.Errorf("%v (%T), identity %v", err, err, id)
		}
		signature[0] ^= 1
		if _, err := g.Connect(t.Context(), text+"."+base64.RawURLEncoding.EncodeToString(signature)); err == nil {
			t.Error("taken with a wrong signature")
		}
		if _, err := g.Connect(t.Context(), text+"."); err == nil {
			t.Error("taken without a signature")
		}
	})
}
