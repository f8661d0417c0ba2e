// Package account is how people get into Projects: passwords, sessions, invitations, and what they say of themselves.
package account

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of Accounts. The zero value is a good default, except that Secure should be set wherever people come over https.
type Options struct {
	// SessionTTL is how long somebody stays signed in who doesn't come. Default 30 days.
	SessionTTL time.Duration
	// Secure has browsers send the session over https alone.
	Secure bool
	// Demo lets anybody in as one of the demo people.
	Demo   bool
	Now    func() time.Time // nil: the clock
	Logger *slog.Logger     // nil: discarded
}

// Accounts let people in. All methods are safe for concurrent use, by several nodes as well.
type Accounts struct {
	pool   *pgxpool.Pool
	opts   Options
	now    func() time.Time
	log    *slog.Logger
	hasher *hasher
}

// New returns the accounts of a database that projects.Migrate has made ready. It doesn't connect.
func New(pool *pgxpool.Pool, opts Options) *Accounts {
	if opts.SessionTTL <= 0 {
		opts.SessionTTL = 30 * 24 * time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Accounts{pool: pool, opts: opts, now: opts.Now, log: opts.Logger, hasher: newHasher(defaultParameters, 2*runtime.NumCPU())}
}

// TokenSecret is the key that connection tokens are signed with. All nodes of a site have the same one: whichever comes first
// makes it.
func TokenSecret(ctx context.Context, pool *pgxpool.Pool) ([]byte, error) {
	made := make([]byte, 32)
	_, _ = rand.Read(made) // never fails
	var secret []byte
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO projects.secret (name, value) VALUES ('jwt', $1) ON CONFLICT DO NOTHING", made); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT value FROM projects.secret WHERE name = 'jwt'").Scan(&secret)
	})
	if err != nil {
		return nil, fmt.Errorf("the key of connection tokens: %w", err)
	}
	return secret, nil
}
