package auth

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxToken is how long a token may be, in bytes: more than proxies let through in a header, and little enough to be decoded
// before its signature is known to be good.
const maxToken = 16 << 10

// defaultSkew is by how much clocks may differ. Servers that keep time differ by milliseconds; this forgives one that has just been
// resumed, and is little beside the lifetime of a token.
const defaultSkew = 10 * time.Second

// tokens verifies JSON Web Tokens.
type tokens struct {
	keys             *keyring
	parser           *jwt.Parser
	issuer, audience string
	skew             time.Duration
	now              func() time.Time
}

func newTokens(keys *keyring, cfg *Config) *tokens {
	return &tokens{
		keys: keys,
		// Claims are read and judged below, once the signature is known to be good.
		parser: jwt.NewParser(jwt.WithValidMethods(keys.algorithms()), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()),
		issuer: cfg.Issuer, audience: cfg.Audience, skew: cfg.Skew, now: time.Now,
	}
}

// sealed holds a payload as it came, until its signature is verified.
type sealed struct {
	jwt.RegisteredClaims
	payload []byte
}

func (s *sealed) UnmarshalJSON(payload []byte) error {
	s.payload = slices.Clone(payload)
	return nil
}

// verify returns what a token says if it counts now. An error is a *Refusal, which doesn't echo the token.
func (t *tokens) verify(ctx context.Context, text string) (*claims, error) {
	if len(text) > maxToken {
		return nil, refuse(BadToken, "the token is %d bytes long, more than %d: say less in it", len(text), maxToken)
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, refuse(BadToken, "the token contains a line end, which base64url has not") // Go's decoder would skip it
	}
	if t.keys.empty() {
		return nil, refuse(BadToken, "this server verifies no tokens: it was started without a secret or keys for them")
	}
	var raw sealed
	var doubt error
	_, err := t.parser.ParseWithClaims(text, &raw, func(token *jwt.Token) (keys any, err error) {
		// RFC 7515: what is marked as critical must be understood, and nothing here is.
		if _, ok := token.Header["crit"]; ok {
			return nil, refuse(BadToken, `the token's header has "crit", which isn't understood`)
		}
		keys, doubt, err = t.keys.find(ctx, token)
		return keys, err
	})
	if doubt != nil && errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return nil, doubt
	}
	if err != nil {
		return nil, tokenRefusal(err)
	}
	c, err := readClaims(raw.payload)
	if err != nil {
		return nil, refuse(BadToken, "the token can't be taken: %s", err)
	}
	if err := t.judge(c); err != nil {
		return nil, err
	}
	return c, nil
}

// tokenRefusal says what is wrong with a token that couldn't be verified.
func tokenRefusal(err error) error {
	var refusal *Refusal
	var syntax *json.SyntaxError
	reason := "the token is no JSON Web Token: three parts of base64url with dots between are needed"
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		reason = "the token's header names no algorithm that is known"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		reason = "the token's signature doesn't fit: it was made with another key or algorithm than this server is set up for"
	case errors.As(err, &syntax):
		reason = "the token's header or claims are no JSON"
	}
	return &Refusal{Code: BadToken, Reason: reason, err: err}
}

// judge tells whether claims count here and now.
func (t *tokens) judge(c *claims) error {
	now := t.now()
	switch {
	case t.issuer != "" && c.issuer != t.issuer:
		return refuse(BadToken, `the token's claim "iss" is not the issuer that this server is set up for`)
	case t.audience != "" && !slices.Contains(c.audience, t.audience):
		return refuse(BadToken, `the token's claim "aud" does not name the audience that this server is set up for`)
	case c.notBefore.After(now.Add(t.skew)):
		return refuse(BadToken, `the token counts only from %s on, by its claim "nbf"`, stamp(c.notBefore))
	case c.issuedAt.After(now.Add(t.skew)):
		// A token from the future would outlive its revocation.
		return refuse(BadToken, `the token was issued at %s, by its claim "iat", which is in the future: compare the clocks`, stamp(c.issuedAt))
	case !c.expiresAt.IsZero() && !now.Before(c.expiresAt.Add(t.skew)):
		return refuse(Expired, "the token expired at %s: get a new one", stamp(c.expiresAt))
	}
	return nil
}

// end is when what was granted with a token ends: never if zero. What was accepted in spite of the clocks' skew must not end at
// once because of it.
func (t *tokens) end(c *claims) time.Time {
	end := c.expiresAt
	if c.connectionEnd != nil {
		end = *c.connectionEnd
	}
	if end.IsZero() {
		return end
	}
	return end.Add(t.skew)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
