package inbox

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// Options configure an [Inbox]. The zero value is a good default.
type Options struct {
	// Logger gets what the keeper has to say. Nil: discarded.
	Logger *slog.Logger
}

// An Inbox is the inboxes of all users of a database, as one node sees them. Its methods read and change them, each in a
// transaction of its own, through the engine's connection pool; [Inbox.Run] is this node's part in keeping them. All are safe for
// concurrent use.
type Inbox struct {
	engine *trunkline.Engine
	pool   *pgxpool.Pool
	log    *slog.Logger
	keeper *keeper

	touches touches
}

// New returns the inboxes of an engine's database. It doesn't connect. The engine needs to be started for [Inbox.Run], and for
// nothing else here.
func New(engine *trunkline.Engine, opts Options) (*Inbox, error) {
	if engine == nil {
		return nil, &trunkline.ArgumentError{
			Argument: "engine", Problem: "inbox.New needs an engine", Fix: "Give it what trunkline.New has returned",
		}
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	i := &Inbox{engine: engine, pool: engine.Pool(), log: log}
	i.keeper = newKeeper(i)
	return i, nil
}

// Run keeps the inboxes until ctx ends, and then returns nil: it places what was notified, folds what was marked or retracted into
// the counts, wakes what was snoozed, removes what has expired, and publishes all that on the users' channels.
//
// Every node may run it, and one has to, or nothing arrives. The node that sequences the log acts at once; the others look after
// it, and act where it doesn't. Losing the database is no error: it goes on for as long as that takes, and what was notified
// meanwhile is placed then. It returns [trunkline.ErrClosed] when the engine is stopped. One Run at a time.
func (i *Inbox) Run(ctx context.Context) error { return i.keeper.run(ctx) }

// Ready returns once [Inbox.Run] hears what is notified and has worked off what there was. Errors: ctx's; a
// *[trunkline.PrivilegeError], which names the grant, if the database's role may not keep inboxes. Run goes on trying all the same.
func (i *Inbox) Ready(ctx context.Context) error { return i.keeper.wait(ctx) }

// inTx runs what belongs together in a transaction, READ COMMITTED whatever the role's default is.
func (i *Inbox) inTx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return i.repeat(ctx, func() error {
		return pgx.BeginTxFunc(ctx, i.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, do)
	})
}

// repeat does something that is a transaction of its own, and again if another transaction was in its way: then nothing of it has
// happened.
func (i *Inbox) repeat(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt == maxAttempts || !collided(err) {
			return i.withRole(ctx, err)
		}
		if !retry.Sleep(ctx, backoff(attempt)) {
			return fmt.Errorf("wait for another transaction: %w", context.Cause(ctx))
		}
	}
}

// maxAttempts is how often is tried what collides with other transactions.
const maxAttempts = 5
