package server

import (
	"encoding/json"
	"time"

	"github.com/trunkline/trunkline/server/internal/auth"
)

// TokenClaims are what a token says. docs/tokens.md has all that a server takes from tokens.
type TokenClaims struct {
	// Subject is the user's id, at most 255 bytes. "" makes a token for somebody anonymous.
	Subject string
	// ID names the token, so that it can be revoked by itself. "": it can't.
	ID string
	// Issuer and Audience are needed by servers that are set up to ask for them.
	Issuer   string
	Audience []string
	// IssuedAt decides which revocations include the token; without it all do. ExpiresAt zero: never. NotBefore zero: at once.
	IssuedAt, NotBefore, ExpiresAt time.Time
	// Info is shown to others in presence; Meta is for the server. Both are JSON, or nil.
	Info, Meta json.RawMessage
	// Caps are what the user may do where.
	Caps []TokenCapability
	// Channels are subscribed to by the server when the client connects. At most 128.
	Channels []string
	// Channel makes a subscription token: it lets Subject subscribe to this channel, and can't be connected with.
	Channel string
	// KeyID names the key to verify the token with, for servers that have a key set. It becomes the header's kid.
	KeyID string
}

// A TokenCapability allows something on some channels.
type TokenCapability struct {
	// Channels are names, or patterns if Match says so. 1 to 255 bytes each.
	Channels []string `json:"channels"`
	// Match is "" for exact names, "wildcard" where * stands for any text, or "regex" for RE2 on the whole name.
	Match string `json:"match,omitempty"`
	// Allow holds sub, pub, hst and prs: subscribe, publish, history and presence.
	Allow []string `json:"allow"`
}

// A TokenKey signs tokens. It may be used concurrently.
type TokenKey struct{ key auth.SigningKey }

// TokenSecret signs with HS256, for servers that have the same secret. It should have at least 32 random bytes.
func TokenSecret(secret []byte) TokenKey { return TokenKey{auth.SecretKey(secret)} }

// ParseTokenKey reads a private key from PEM (PKCS #8, PKCS #1 or SEC 1), for servers that have its public key: RSA of at least
// 2,048 bits signs with RS256, ECDSA with ES256, ES384 or ES512 as its curve is, Ed25519 with EdDSA.
func ParseTokenKey(pem []byte) (TokenKey, error) {
	key, err := auth.ParseSigningKey(pem)
	return TokenKey{key}, err
}

// SignToken makes a token. An error says which claim no server would take.
func SignToken(claims TokenClaims, key TokenKey) (string, error) {
	payload := make(map[string]any)
	set(payload, "sub", claims.Subject)
	set(payload, "jti", claims.ID)
	set(payload, "iss", claims.Issuer)
	set(payload, "channel", claims.Channel)
	setTime(payload, "nbf", claims.NotBefore)
	setTime(payload, "exp", claims.ExpiresAt)
	if !claims.IssuedAt.IsZero() {
		// To the millisecond: whoever gets a token in the second in which others were revoked should be able to use it.
		payload["iat"] = float64(claims.IssuedAt.UnixMilli()) / 1000
	}
	setList(payload, "aud", claims.Audience)
	setList(payload, "caps", claims.Caps)
	setList(payload, "channels", claims.Channels)
	setList(payload, "info", claims.Info)
	setList(payload, "meta", claims.Meta)
	return auth.Sign(payload, key.key, claims.KeyID)
}

func set(payload map[string]any, name, value string) {
	if value != "" {
		payload[name] = value
	}
}

func setTime(payload map[string]any, name string, value time.Time) {
	if !value.IsZero() {
		payload[name] = value.Unix()
	}
}

func setList[S ~[]E, E any](payload map[string]any, name string, value S) {
	if len(value) > 0 {
		payload[name] = value
	}
}
