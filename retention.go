package trunkline

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/internal/retry"
)

// Of one batch: how many rows of the log it looks at, and how many messages it removes, at most.
const (
	trimLook = 10_000
	trimMost = 500
)

const (
	// A message goes at the latest a hundredth of its retention too late, but not more often than each second is looked, and
	// not less often than each minute.
	trimOften  = time.Second
	trimSeldom = time.Minute
	// trimRetry is how long after a failure, or while another node is at it.
	trimRetry = 10 * time.Second
)

// A retention removes what is older than its namespace keeps it, while this node sequences. It works on a connection of the
// pool, in batches of short transactions with as much rest between them as they took, and asks nothing while there is nothing to
// remove: it remembers when the next message will be too old, or that none will be before the log grows.
type retention struct {
	pool       *pgxpool.Pool
	member     *member
	hub        *hub
	log        *slog.Logger
	counters   *counters
	namespaces func() []Namespace
	batch      func(ctx context.Context, keep time.Duration) (trimResult, error)
	changed    chan struct{} // the settings of namespaces have
	outage     retry.Outage
	epoch      string
	next       map[time.Duration]*trimming // by retention
}

// A trimming is what is known about the messages of one retention.
type trimming struct {
	due  time.Time // when to look again
	upto int64     // there is none up to this position of the log; -1: there is one
}

func newRetention(e *Engine) *retention {
	r := &retention{
		pool: e.pool, member: e.member, hub: e.hub, log: e.log, counters: e.counters, namespaces: e.Namespaces,
		changed: make(chan struct{}, 1), outage: retry.NewOutage(e.log, "removing old messages"),
		next: map[time.Duration]*trimming{},
	}
	r.batch = r.removeSome
	e.OnNamespaces(func() { tell(r.changed) })
	return r
}

// run removes what there is to remove until ctx ends.
func (r *retention) run(ctx context.Context) {
	look := time.NewTicker(trimOften)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
			clear(r.next)
		case <-look.C:
		}
		now := r.hub.now()
		if !r.member.sequencing.Load() || now.Epoch != r.epoch {
			clear(r.next)
			r.epoch = now.Epoch
			continue
		}
		for _, n := range r.namespaces() {
			if n.Retention <= 0 {
				continue
			}
			t := r.next[n.Retention]
			if t == nil {
				t = &trimming{upto: -1}
				r.next[n.Retention] = t
			}
			if time.Now().Before(t.due) || now.Position <= t.upto {
				continue
			}
			if err := r.trim(ctx, n.Retention, t); err != nil && ctx.Err() == nil {
				r.counters.trimFailures.Add(1)
				r.outage.Failed(err, 1)
				t.due, t.upto = time.Now().Add(trimRetry), -1
			}
		}
	}
}

// A trimResult is what trunkline.trim returns, in its order.
type trimResult struct {
	removed   *int64
	done      *bool
	upto      *int64
	wait      *time.Duration
	unfloored *bool
}

// trim removes all that is older than keep now, and notes when to look again.
func (r *retention) trim(ctx context.Context, keep time.Duration, t *trimming) error {
	pause := min(max(keep/100, trimOften), trimSeldom)
	for r.member.sequencing.Load() {
		began := time.Now()
		result, err := r.batch(ctx, keep)
		if err != nil {
			return fmt.Errorf("remove messages older than %v: %w", keep, err)
		}
		r.outage.Over()
		r.counters.trimBatches.Add(1)
		if result.removed == nil {
			t.due, t.upto = time.Now().Add(trimRetry), -1 // another node is at it, and will soon notice that it isn't its turn
			return nil
		}
		r.counters.trimmed.Add(*result.removed)
		if !*result.done {
			if !retry.Sleep(ctx, max(time.Since(began), 5*time.Millisecond)) {
				return context.Cause(ctx)
			}
			continue
		}
		t.due, t.upto = time.Now().Add(max(deref(result.wait), pause)), -1
		switch {
		case *result.unfloored:
			r.member.wantFloor.Store(true)
		case result.wait == nil:
			t.upto = *result.upto
		}
		return nil
	}
	return nil
}

// removeSome removes a batch, in a transaction that holds nobody up: it gives way rather than wait for a lock, and isn't flushed, since
// what a crash takes back is removed again.
func (r *retention) removeSome(ctx context.Context, keep time.Duration) (result trimResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		const settings = "SET LOCAL lock_timeout = '250ms'; SET LOCAL statement_timeout = '5s'; SET LOCAL synchronous_commit = off; " +
			"SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"
		if _, err := tx.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT removed, done, upto, wait, unfloored FROM trunkline.trim($1, $2, $3)", keep, trimLook, trimMost).
			Scan(&result.removed, &result.done, &result.upto, &result.wait, &result.unfloored)
	})
	return result, err
}
