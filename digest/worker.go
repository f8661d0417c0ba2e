package digest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A Worker finds out who is to be mailed, and mails. Any number of them, in any number of processes, share the work: what one is
// at, the others leave alone. All methods are safe for concurrent use, but only one Run or Once at a time.
type Worker struct {
	pool     *pgxpool.Pool
	opts     Options
	group    *group
	breaker  breaker
	counters counters
	perGroup int // items that mails show
	most     int
	hook     func(ctx context.Context, point string, digest int64) // of tests; nil: none

	running   atomic.Bool
	closing   atomic.Bool // Run is to end: nothing is waited for that can be had later
	unsettled atomic.Bool // a mail has left something to be done
}

// New makes a worker that uses a pool of connections, three of them at most at a time. It checks the options and doesn't connect.
// Neither the pool nor the sender is closed by it. Errors: *[trunkline.ArgumentError].
func New(pool *pgxpool.Pool, opts Options) (*Worker, error) {
	opts = opts.withDefaults()
	if err := opts.validate(pool); err != nil {
		return nil, err
	}
	w := &Worker{pool: pool, opts: opts, group: &group{pool: pool}}
	w.perGroup, w.most = shown(opts.Renderer)
	return w, nil
}

var errRunning = errors.New("digest: the worker is running already")

// Run mails until ctx ends, and then returns nil, once the mails that are under way have ended: they are given Options.Grace for
// that, and what is cut off then is tried again by whoever runs next. Losing the database or the mail server is no error: it goes
// on for as long as that takes, and nothing is lost meanwhile.
func (w *Worker) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer w.running.Store(false)
	w.closing.Store(false)
	s := newSleeper(w)
	defer s.close()
	s.listen(ctx)
	w.unsettled.Store(true)
	down := outage{log: w.opts.Logger, what: "mailing"}
	for attempt := 0; ctx.Err() == nil; {
		err := w.pass(ctx, w.opts.Now, nil)
		if err == nil && ctx.Err() == nil {
			err = s.sleep(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			down.over()
			attempt = 0
			continue
		}
		w.counters.failures.Add(1)
		down.failed(explain(ctx, w.pool, err), attempt)
		if !sleep(ctx, reconnectWait(attempt)) {
			break
		}
		attempt++
	}
	return nil
}

// Once does what there is to do as of a moment, which may lie in the future or the past, until nothing is left: every user who is due
// by then is looked at, and every mail whose time has come is tried once. What is postponed to a later moment stays. It tells what it
// did; with an error, what it did before.
//
// Whatever it writes carries that moment: after a pass as of next year, a mail that failed is tried again next year. Errors: ctx's,
// *[trunkline.PrivilegeError], the database's.
func (w *Worker) Once(ctx context.Context, at time.Time) (*Report, error) {
	at = storable(at)
	report := &recorder{report: Report{At: at, Decisions: []Looked{}, Mails: []Tried{}}}
	if !w.running.CompareAndSwap(false, true) {
		return &report.report, errRunning
	}
	defer w.running.Store(false)
	w.closing.Store(false)
	w.unsettled.Store(true)
	err := w.pass(ctx, func() time.Time { return at }, report)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return &report.report, fmt.Errorf("mail what is unread: %w", explain(context.WithoutCancel(ctx), w.pool, err))
	}
	return &report.report, nil
}

// point is a named point on the way of a mail (0: of none), at which tests kill workers.
func (w *Worker) point(ctx context.Context, name string, digest int64) {
	if w.hook != nil {
		w.hook(ctx, name, digest)
	}
}
