package auth

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
)

// Config says what a Gate decides by.
type Config struct {
	Pool       *pgxpool.Pool
	Logger     *slog.Logger // nil: slog.Default
	Open       bool         // anyone may do all
	Secret     []byte       // verifies HS256, HS384 and HS512
	PublicKeys []byte       // PEM, one or more: verifies RS, PS, ES and EdDSA
	JWKSURL    string       // a JSON Web Key Set: the same algorithms
	Issuer     string       // iss that tokens must carry, "" accepts any
	Audience   string       // aud that tokens must carry, "" accepts any
	Skew       time.Duration
	Namespace  func(channel string) trunkline.Namespace
	Namespaces func() []trunkline.Namespace
}

// A Gate decides. Its methods may be called concurrently.
type Gate struct{ cfg Config }

// New makes a Gate.
func New(cfg Config) (*Gate, error) { return &Gate{cfg: cfg}, nil }

// Load reads what was revoked and the API keys.
func (g *Gate) Load(ctx context.Context) error { return nil }

// Close stops what the Gate does in the background and waits for it.
func (g *Gate) Close() {}

// Connect verifies a connection token; "" is somebody anonymous. An error is a *Refusal.
func (g *Gate) Connect(ctx context.Context, token string) (*Identity, error) {
	return nil, refuse(Unavailable, "not yet")
}

// Subscription verifies a subscription token.
func (g *Gate) Subscription(ctx context.Context, id *Identity, channel, token string) (*Subscription, error) {
	return nil, refuse(Unavailable, "not yet")
}

// Allow tells whether an identity may do something with a channel: nil or a *Refusal.
func (g *Gate) Allow(ctx context.Context, id *Identity, channel string, action Action) error {
	return refuse(Unavailable, "not yet")
}

// Check tells whether an identity is still good.
func (g *Gate) Check(ctx context.Context, id *Identity) error {
	return refuse(Unavailable, "not yet")
}

// Bearer finds out who sent a request.
func (g *Gate) Bearer(ctx context.Context, r *http.Request) (*Identity, error) {
	return nil, refuse(Unavailable, "not yet")
}

// Admin tells whether an identity may administer: nil or a *Refusal.
func (g *Gate) Admin(id *Identity) error { return refuse(Unavailable, "not yet") }

// Forget drops cached answers about a user and a channel; channel "" means all of the user's.
func (g *Gate) Forget(user, channel string) {}
