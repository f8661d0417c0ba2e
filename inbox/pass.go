package inbox

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/retry"
)

// How much is placed, woken, removed and folded in one transaction, at most; the least is for a database that can't do so much in
// passTimeout.
const (
	batchMost  = 500
	batchLeast = 1
)

// passTimeout bounds one pass; a server or a network that stalls longer is given up. What the server does by itself, it gives up
// sooner.
const passTimeout = 15 * time.Second

// beginPass opens the transaction of a pass. Who waits for a lock gives way after a while, and should this process hang, the server
// ends it: other keepers wait for it. It is flushed, even where the role or the database chose otherwise: a seq that clients have
// seen must not be given to something else after a crash.
const beginPass = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s';
SET LOCAL idle_in_transaction_session_timeout = '5s';
SELECT pg_catalog.set_config('synchronous_commit', 'on', true) WHERE pg_catalog.current_setting('synchronous_commit') = 'off'`

// A passResult is what a pass has done.
type passResult struct {
	busy   bool // nothing: another keeper is at work
	placed int64
	users  int64
	more   bool           // there is more to do at once
	next   *time.Duration // until there is more to do; nil: nothing is known to come
}

// pass does what there is to do as of a moment (zero: the database's now), in a short transaction of its own.
func (i *Inbox) pass(ctx context.Context, most int, at time.Time) (passResult, error) {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	var asOf *time.Time
	if !at.IsZero() {
		asOf = &at
	}
	var placed, users *int64
	var more *bool
	var next *float64
	err := pgx.BeginTxFunc(ctx, i.pool, pgx.TxOptions{BeginQuery: beginPass}, func(tx pgx.Tx) error {
		const sql = `SELECT placed, users, more, extract(epoch FROM next_at)::float8 - extract(epoch FROM clock_timestamp())::float8
			FROM trunkline.inbox_keep($1, coalesce($2::timestamptz, clock_timestamp()))`
		return tx.QueryRow(ctx, sql, most, asOf).Scan(&placed, &users, &more, &next)
	})
	if err != nil {
		return passResult{}, fmt.Errorf("keep the inboxes: %w", explain(err, "at", grantInbox))
	}
	if placed == nil {
		return passResult{busy: true}, nil
	}
	result := passResult{placed: *placed, users: *users, more: *more}
	if next != nil && *next < math.MaxInt32 { // decades are never
		wait := time.Duration(*next * float64(time.Second))
		result.next = &wait
	}
	return result, nil
}

// Keep does once, until nothing is left but what open transactions hold, what [Inbox.Run] does all the time: as of a moment, which
// may lie in the future, or now (by the database's clock) if at is zero. It is for tests and for programs that run now and then;
// any number may do so at once.
//
// Errors: ctx's; *[trunkline.PrivilegeError] if the database's role may not keep inboxes; the database's.
func (i *Inbox) Keep(ctx context.Context, at time.Time) error {
	for busy := 0; ; {
		result, err := i.pass(ctx, batchMost, at)
		switch {
		case err != nil:
			return i.withRole(ctx, err)
		case result.busy:
			busy++
			if !retry.Sleep(ctx, retry.Wait(time.Millisecond, busyMost, busy)) {
				return fmt.Errorf("wait for another keeper: %w", context.Cause(ctx))
			}
		case !result.more:
			return nil
		default:
			busy = 0
		}
	}
}
