package auth

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/trunkline/trunkline"
)

// Connect verifies a connection token, or an API key; "" is somebody anonymous. An error is a *Refusal.
func (g *Gate) Connect(ctx context.Context, token string) (*Identity, error) {
	if g.open {
		return &Identity{Open: true}, nil
	}
	now := g.state.Load()
	switch {
	case now == nil:
		return nil, errNotLoaded
	case token == "":
		return g.anonymous()
	case looksLikeKey(token):
		return g.withKey(now, token)
	}
	c, err := g.tokens.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	if c.channel != "" {
		return nil, refuse(BadToken, `the token has the claim "channel", so it is for subscribing to it: connect with one without`)
	}
	if now = g.state.Load(); now.revoked.token(c.subject, c.id, c.issuedAt) {
		return nil, errRevoked
	}
	rules, err := compileCaps(c.caps)
	if err != nil {
		return nil, refuse(BadToken, "the token can't be taken: claim %s", err)
	}
	for channel := range c.subscriptions {
		if now.revoked.channel(c.subject, channel, c.issuedAt) {
			delete(c.subscriptions, channel)
		}
	}
	return &Identity{
		User: c.subject, TokenID: c.id, IssuedAt: c.issuedAt, ExpiresAt: g.tokens.end(c), Info: c.info, Meta: c.meta,
		Caps: c.caps, Subscriptions: c.subscriptions, rules: rules,
	}, nil
}

// errRevoked asks for a new token: whoever makes them decides whether there is one.
var errRevoked = refuse(Expired, "the token was revoked: get a new one")

func (g *Gate) anonymous() (*Identity, error) {
	if slices.ContainsFunc(g.namespaces(), func(ns trunkline.Namespace) bool { return ns.Anonymous }) {
		return &Identity{anonymous: true}, nil
	}
	return nil, refuse(BadToken, "a token is needed: none was given, and no namespace is open to anonymous users")
}

func (g *Gate) withKey(s *state, secret string) (*Identity, error) {
	if len(secret) > maxKey {
		return nil, refuse(BadToken, "the API key is %d bytes long, more than %d", len(secret), maxKey)
	}
	key := s.keys.find(secret)
	if key == nil {
		return nil, refuse(BadToken, "the API key is unknown: it was mistyped, was revoked or has expired")
	}
	if err := s.keys.live(key, g.now()); err != nil {
		return nil, err
	}
	return &Identity{Key: key.name, Scopes: key.scopes, ExpiresAt: key.expiresAt, key: key}, nil
}

// Subscription verifies a subscription token: it must be for this channel and of the same user. An error is a *Refusal.
func (g *Gate) Subscription(ctx context.Context, id *Identity, channel, token string) (*Subscription, error) {
	if g.open || id.Open {
		return &Subscription{}, nil
	}
	if g.state.Load() == nil {
		return nil, errNotLoaded
	}
	if problem := channelProblem(channel); problem != "" {
		return nil, refuse(Denied, "the subscription %s", problem)
	}
	c, err := g.tokens.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	switch {
	case c.channel == "":
		return nil, refuse(BadToken, `the subscription token has no claim "channel"`)
	case c.channel != channel:
		return nil, refuse(BadToken, "the subscription token is for another channel than %q", clip(channel))
	case c.subject != id.User:
		return nil, refuse(BadToken, "the subscription token is another user's")
	}
	now := g.state.Load()
	if now.revoked.token(c.subject, c.id, c.issuedAt) || now.revoked.channel(c.subject, channel, c.issuedAt) {
		return nil, errRevoked
	}
	// Nothing is allowed to somebody whose connection isn't good any more.
	if err := g.Check(ctx, id); err != nil {
		if r := (*Refusal)(nil); errors.As(err, &r) && r.Code == Expired {
			// Not of the subscription's token: to be told that it has expired would end the subscription for good.
			return nil, refuse(Unavailable, "the connection's token has expired: try again with the next one")
		}
		return nil, err
	}
	return &Subscription{Info: c.info, Data: c.data, ExpiresAt: g.tokens.end(c), TokenID: c.id}, nil
}

// Check tells whether an identity is still good: nil, or a *Refusal if it expired or was revoked since.
func (g *Gate) Check(_ context.Context, id *Identity) error {
	if g.open || id.Open {
		return nil
	}
	now := g.state.Load()
	if now == nil {
		return errNotLoaded
	}
	if err := g.check(now, id, g.now()); err != nil {
		return err
	}
	if id.anonymous {
		_, err := g.anonymous()
		return err
	}
	return nil
}

// check returns nil or a *Refusal, of which there is no nil one.
func (g *Gate) check(s *state, id *Identity, now time.Time) error {
	if id.key != nil {
		return s.keys.live(id.key, now)
	}
	if !id.ExpiresAt.IsZero() && !now.Before(id.ExpiresAt) {
		return refuse(Expired, "the token expired at %s: get a new one", stamp(id.ExpiresAt))
	}
	if s.revoked.token(id.User, id.TokenID, id.IssuedAt) {
		return errRevoked
	}
	return nil
}

// Admin tells whether an identity may administer: nil or a *Refusal.
func (g *Gate) Admin(id *Identity) error {
	if g.open || id.Open {
		return nil
	}
	now := g.state.Load()
	if now == nil {
		return errNotLoaded
	}
	if !isAdmin(id) {
		return refuse(Denied, "this is for administrators: use an API key with the scope admin")
	}
	return g.check(now, id, g.now())
}
