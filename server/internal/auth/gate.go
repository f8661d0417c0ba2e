package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
)

// Config says what a Gate decides by.
type Config struct {
	// Pool reads what was revoked and asks the functions. Nil only in open mode.
	Pool   *pgxpool.Pool
	Logger *slog.Logger // nil: discarded
	// Open lets anyone do all. It excludes keys for tokens, which nobody would need.
	Open bool
	// Secret verifies HS256, HS384 and HS512. PublicKeys, in PEM, and the JSON Web Key Set at JWKSURL verify RS, PS, ES and EdDSA.
	Secret     []byte
	PublicKeys []byte
	JWKSURL    string
	// Issuer and Audience are what iss must be and aud must name; "" accepts any.
	Issuer, Audience string
	// Skew is by how much clocks may differ: 0 stands for 10 s, a negative one for none. At most 5 min.
	Skew time.Duration
	// Namespace and Namespaces return the settings in force. Nil: there are none.
	Namespace  func(channel string) trunkline.Namespace
	Namespaces func() []trunkline.Namespace
}

// readTimeout bounds one reading of what was revoked: a connection that a network swallowed would otherwise hold up, for as long as
// TCP doesn't notice, all that is revoked later.
const readTimeout = 10 * time.Second

// maxSkew keeps a mistaken setting from making tokens immortal.
const maxSkew = 5 * time.Minute

// A Gate decides. Its methods may be called concurrently. Until Load has returned without an error once, it refuses all but what is
// open.
type Gate struct {
	open       bool
	pool       *pgxpool.Pool
	tokens     *tokens
	keySet     *keySet // nil if there is none
	functions  *authorizer
	namespace  func(string) trunkline.Namespace
	namespaces func() []trunkline.Namespace
	now        func() time.Time

	state    atomic.Pointer[state] // nil before Load
	patience time.Duration         // for one reading
	loads    atomic.Int64

	loading sync.Mutex // held while loading
	queue   sync.Mutex
	next    *load // the load that whoever comes now shares, nil if there is none yet
}

// state is what Load read. It doesn't change once made.
type state struct {
	revoked *revocations
	keys    apiKeys
}

type load struct {
	done chan struct{}
	err  error
}

// New makes a Gate. Close it.
func New(cfg Config) (*Gate, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Skew == 0:
		cfg.Skew = defaultSkew
	case cfg.Skew < 0:
		cfg.Skew = 0
	case cfg.Skew > maxSkew:
		return nil, fmt.Errorf("the clock skew is %s: choose at most %s", cfg.Skew, maxSkew)
	}
	keys := &keyring{secret: cfg.Secret}
	if cfg.Open && (len(cfg.Secret) > 0 || len(cfg.PublicKeys) > 0 || cfg.JWKSURL != "") {
		return nil, errors.New("open mode lets anyone do all, so tokens would mean nothing: leave out either it or the keys for tokens")
	}
	if !cfg.Open && cfg.Pool == nil {
		return nil, errors.New("there is no pool to read what was revoked with")
	}
	if len(cfg.PublicKeys) > 0 {
		fixed, err := parsePublicKeys(cfg.PublicKeys)
		if err != nil {
			return nil, err
		}
		keys.fixed = fixed
	}
	if cfg.JWKSURL != "" {
		remote, err := newKeySet(cfg.JWKSURL, cfg.Logger)
		if err != nil {
			return nil, err
		}
		keys.remote = remote
	}
	g := &Gate{
		open: cfg.Open, pool: cfg.Pool, tokens: newTokens(keys, &cfg), keySet: keys.remote,
		functions: newAuthorizer(cfg.Pool, cfg.Logger), namespace: cfg.Namespace, namespaces: cfg.Namespaces, now: time.Now,
		patience: readTimeout,
	}
	if g.namespace == nil {
		g.namespace = func(channel string) trunkline.Namespace {
			return trunkline.Namespace{Name: trunkline.NamespaceOf(channel)}
		}
	}
	if g.namespaces == nil {
		g.namespaces = func() []trunkline.Namespace { return nil }
	}
	return g, nil
}

// Load reads what was revoked and the API keys, which it knows of when it returns if they were committed before it was called;
// answers about what was revoked since the last time are forgotten. It gives up after 10 s. Calls at the same time share one. The first begins to
// fetch the key set, and to keep it fresh.
func (g *Gate) Load(ctx context.Context) error {
	if g.keySet != nil {
		g.keySet.start()
	}
	if g.pool == nil {
		return nil
	}
	for {
		g.queue.Lock()
		l, first := g.next, g.next == nil
		if first {
			l = &load{done: make(chan struct{})}
			g.next = l
		}
		g.queue.Unlock()
		if first {
			return g.lead(ctx, l)
		}
		select {
		case <-l.done:
			if l.err == nil || !errors.Is(l.err, context.Canceled) && !errors.Is(l.err, context.DeadlineExceeded) {
				return l.err
			}
			// Whoever led it gave up, which is no reason for others to.
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// lead does a load for all who share it.
func (g *Gate) lead(ctx context.Context, l *load) error {
	g.loading.Lock()
	defer g.loading.Unlock()
	// Who comes from now on may know of more than the queries below see.
	g.queue.Lock()
	g.next = nil
	g.queue.Unlock()
	l.err = g.read(ctx)
	close(l.done)
	return l.err
}

func (g *Gate) read(ctx context.Context) error {
	g.loads.Add(1)
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	keys, err := readAPIKeys(ctx, g.pool) // first: if the role may do neither, this error names the grant for both
	if err != nil {
		return g.lacking(ctx, err)
	}
	revoked, err := readRevocations(ctx, g.pool)
	if err != nil {
		return fmt.Errorf("read what was revoked: %w", err)
	}
	before := g.state.Swap(&state{revoked, keys})
	if before == nil {
		before = &state{revoked: &revocations{}}
	}
	revoked.since(before.revoked, g.functions.forget)
	return nil
}

// lacking fills the role's name into the grant that a *[trunkline.PrivilegeError] names.
func (g *Gate) lacking(ctx context.Context, err error) error {
	var privilege *trunkline.PrivilegeError
	if !errors.As(err, &privilege) {
		return err
	}
	var role string
	if g.pool.QueryRow(ctx, "SELECT pg_catalog.quote_literal(current_user)").Scan(&role) == nil {
		privilege.Grant = strings.ReplaceAll(privilege.Grant, "'ROLE'", role)
	}
	return privilege // what is wrapped around it would be in the way of its sentence
}

// Close stops what the Gate does in the background and waits for it. Functions are no longer asked.
func (g *Gate) Close() {
	if g.keySet != nil {
		g.keySet.close()
	}
	g.functions.close()
}

// Forget drops what functions said about a user and a channel; channel "" means all of the user's. Load does so by itself for
// what was revoked.
func (g *Gate) Forget(user, channel string) { g.functions.forget(user, channel) }

// ForgetAll drops all that functions said: for when settings of namespaces have changed.
func (g *Gate) ForgetAll() { g.functions.forgetAll() }

// Stats are counts since the Gate was made, and sizes now.
type Stats struct {
	Questions   int64 // asked of functions, answered from the cache or not
	Queries     int64 // that asked functions
	Failures    int64 // questions that a function didn't answer
	Loads       int64 // readings of what was revoked and of API keys
	Revocations int   // users and tokens of which something is revoked
	APIKeys     int   // that aren't revoked
}

// Stats returns counts for metrics.
func (g *Gate) Stats() Stats {
	s := Stats{
		Questions: g.functions.questions.Load(), Queries: g.functions.queries.Load(), Failures: g.functions.failures.Load(),
		Loads: g.loads.Load(),
	}
	if state := g.state.Load(); state != nil {
		s.Revocations, s.APIKeys = len(state.revoked.users)+len(state.revoked.tokens), len(state.keys)
	}
	return s
}

var errNotLoaded = refuse(Unavailable, "the server is starting: try again")
