package digest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/internal/retry"
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
	clock    func() time.Time                                      // of this process, by which tries end
	hook     func(ctx context.Context, point string, digest int64) // of tests; nil: none

	forget    func(context.Context) error // while it runs: removes what is too old
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
	w := &Worker{pool: pool, opts: opts, group: &group{pool: pool}, clock: time.Now}
	w.perGroup, w.most = shown(opts.Renderer)
	return w, nil
}

var errRunning = errors.New("digest: the worker is running already")

// Run mails until ctx ends, and then returns nil, once the mails that are under way have ended: they are given Options.Grace for
// that, and what is cut off then is tried again by whoever runs next. Losing the database or the mail server is no error: it goes
// on for as long as that takes, and nothing is lost meanwhile. It returns [ErrKept] once a worker with a mail server has mailed from
// this database, if this one only keeps mails.
func (w *Worker) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer w.running.Store(false)
	w.closing.Store(false)
	s := newSleeper(w)
	defer s.close()
	ctx, end := context.WithCancel(ctx)
	defer end() // what listens ends with it, which close waits for
	s.listen(ctx)
	w.forget = s.forget
	defer func() { w.forget = nil }()
	down := retry.NewOutage(w.opts.Logger, "mailing")
	for attempt := 0; ctx.Err() == nil; {
		err := w.pass(ctx, w.opts.Now, nil)
		if err == nil && ctx.Err() == nil {
			err = s.sleep(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			down.Over()
			attempt = 0
			continue
		}
		if errors.Is(err, ErrKept) {
			return err
		}
		w.counters.failures.Add(1)
		down.Failed(explain(ctx, w.pool, err), attempt)
		if !retry.Sleep(ctx, reconnectWait(attempt)) {
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
// Whatever it writes about mails carries that moment: after a pass as of next year, one that failed is tried again next year. Users
// that it looked at are looked at again as if it hadn't. Errors: ctx's, *[trunkline.PrivilegeError], [ErrKept], the database's.
func (w *Worker) Once(ctx context.Context, at time.Time) (*Report, error) {
	at = storable(at)
	report := &recorder{report: Report{At: at, Decisions: []Looked{}, Mails: []Tried{}}}
	if !w.running.CompareAndSwap(false, true) {
		return &report.report, errRunning
	}
	defer w.running.Store(false)
	w.closing.Store(false)
	err := w.pass(ctx, func() time.Time { return at }, report)
	if err == nil {
		err = ctx.Err()
	}
	if now := w.opts.Now(); at.After(now) {
		// As of then they needn't be looked at for a while: now that doesn't hold.
		if lookErr := w.lookAgain(context.WithoutCancel(ctx), report, now); err == nil {
			err = lookErr
		}
	}
	if err != nil {
		return &report.report, fmt.Errorf("mail what is unread: %w", explain(context.WithoutCancel(ctx), w.pool, err))
	}
	return &report.report, nil
}

// lookAgain has users who were looked at as of a later moment looked at as of now.
func (w *Worker) lookAgain(ctx context.Context, report *recorder, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var users []string
	for i := range report.report.Decisions {
		users = append(users, report.report.Decisions[i].User)
	}
	slices.Sort(users)
	for some := range slices.Chunk(slices.Compact(users), 1000) {
		if _, err := w.pool.Exec(ctx, "SELECT trunkline.digest_look_again($1, $2)", some, now); err != nil {
			return fmt.Errorf("have users looked at as of now: %w", err)
		}
	}
	return nil
}

// ErrKept says that a worker that keeps mails has nothing to do on a database whose mails are sent.
var ErrKept = errors.New("mails of this database are sent by a worker with a mail server: one that only keeps them would take them away from their recipients")

// admitted tells whether this worker may mail, and notes that mails are sent if it sends them.
func (w *Worker) admitted(ctx context.Context) error {
	var may bool
	if err := w.pool.QueryRow(ctx, "SELECT trunkline.digest_admit($1)", w.opts.Kept).Scan(&may); err != nil {
		return fmt.Errorf("begin to mail: %w", err)
	}
	if !may {
		return ErrKept
	}
	return nil
}

// point is a named point on the way of a mail (0: of none), at which tests kill workers.
func (w *Worker) point(ctx context.Context, name string, digest int64) {
	if w.hook != nil {
		w.hook(ctx, name, digest)
	}
}
