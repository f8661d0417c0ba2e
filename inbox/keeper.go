package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// keeperChannel is where the database rings: there is something to place or to fold. Being a channel like any other, nothing on it
// is lost while a node or the database is away.
const keeperChannel = "trunkline:inbox"

const (
	// asideWait is how long a node that doesn't sequence leaves it to the one that does, and half as much again by chance.
	asideWait = 800 * time.Millisecond
	// actingTime is how long such a node acts at once after it found that nobody else had.
	actingTime = 10 * time.Second
	// fallbackWait is how often is looked without having been rung, and half as much again by chance.
	fallbackWait = 10 * time.Second
	// deniedWait is how often a role that may not keep inboxes tries again: nothing tells it of a grant.
	deniedWait = time.Minute
	// notStartedWait is how often is asked whether the engine has been started.
	notStartedWait = 50 * time.Millisecond
	// busyMost bounds the wait for another keeper: it works in short transactions.
	busyMost = 100 * time.Millisecond
)

// A keeper is this node's part in keeping the inboxes. What is done is SQL's (trunkline.inbox_keep); when, is decided here.
//
// Its invariants:
//   - it subscribes to the rings before it first looks, and whenever it subscribes anew it looks: what committed before is seen by
//     that look, what commits later rings;
//   - a ring that comes while it looks makes it look again;
//   - only a look that found nothing left ends the matter. One that failed, or was kept out by another keeper, is repeated.
type keeper struct {
	inbox *Inbox
	rung  chan struct{} // holds one ring
	down  retry.Outage
	waits waits

	// Belong to run.
	most    int       // how much is asked of one look
	failed  int       // looks in a row
	busy    int       // looks in a row that another keeper was in the way of
	acting  time.Time // until then this node acts at once although it doesn't sequence
	denied  bool      // the role lacks a grant, and that was said
	running atomic.Bool

	ready     chan struct{} // closed after the first look
	readyOnce sync.Once
	barred    chan struct{} // closed once the role turned out not to be allowed to keep inboxes
	lacks     error         // set before barred is closed

	placed, users, batches, empty, collisions, failures atomic.Int64
	pendingSince                                        atomic.Int64 // Unix nanoseconds; 0: nothing is
}

// waits are how long a keeper waits for what. Tests choose others before it runs.
type waits struct{ aside, acting, fallback time.Duration }

func newKeeper(i *Inbox) *keeper {
	return &keeper{
		waits: waits{aside: asideWait, acting: actingTime, fallback: fallbackWait},
		inbox: i, rung: make(chan struct{}, 1), down: retry.NewOutage(i.log, "keeping the inboxes"), most: batchMost,
		ready: make(chan struct{}), barred: make(chan struct{}),
	}
}

// Stats are totals since the Inbox was made, of this node's keeper alone.
type Stats struct {
	Placed   int64 // notifications, those that came back from the archive or a snooze included
	Users    int64 // users whose counts it changed and published, counted in each batch
	Batches  int64 // transactions that found something to do
	Empty    int64 // transactions that found nothing to do
	Busy     int64 // times that another keeper was at work
	Failures int64 // times that it failed, to be tried again
	// PendingSince is when this node first heard of what isn't worked off yet; zero: there is nothing. On a node that doesn't
	// sequence a second is nothing unusual.
	PendingSince time.Time
}

// Stats returns what this node's keeper has done.
func (i *Inbox) Stats() Stats {
	k := i.keeper
	s := Stats{
		Placed: k.placed.Load(), Users: k.users.Load(), Batches: k.batches.Load(), Empty: k.empty.Load(),
		Busy: k.collisions.Load(), Failures: k.failures.Load(),
	}
	if since := k.pendingSince.Load(); since != 0 {
		s.PendingSince = time.Unix(0, since)
	}
	return s
}

// run listens and keeps until ctx ends or the engine is stopped.
func (k *keeper) run(ctx context.Context) error {
	if !k.running.CompareAndSwap(false, true) {
		return errors.New("the inboxes are kept already: this Inbox's Run hasn't returned yet")
	}
	defer k.running.Store(false)
	ctx, end := context.WithCancelCause(ctx)
	var listening sync.WaitGroup
	listening.Go(func() { end(k.listen(ctx)) })
	defer listening.Wait()
	k.keep(ctx)
	end(nil)
	if errors.Is(context.Cause(ctx), trunkline.ErrClosed) {
		return trunkline.ErrClosed
	}
	return nil
}

// wait returns once the first look is over.
func (k *keeper) wait(ctx context.Context) error {
	select {
	case <-k.ready:
		return nil
	case <-k.barred:
		select {
		case <-k.ready: // it was granted since
			return nil
		default:
			return k.lacks
		}
	case <-ctx.Done():
		return fmt.Errorf("keep the inboxes: %w", context.Cause(ctx))
	}
}

// listen hears rings until ctx ends or the engine is stopped, and returns why.
func (k *keeper) listen(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		sub, err := k.inbox.engine.Subscribe(ctx, []string{keeperChannel}, trunkline.SubscribeOptions{})
		if err == nil {
			attempt = 0
			err = k.hear(ctx, sub)
			sub.Close()
		}
		if ctx.Err() != nil || errors.Is(err, trunkline.ErrClosed) {
			return err
		}
		wait := backoff(attempt)
		if errors.Is(err, trunkline.ErrNotStarted) {
			wait = notStartedWait
		} else {
			k.inbox.log.Debug("listening for notifications anew", "error", err)
		}
		if !retry.Sleep(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// hear passes on rings until the subscription ends, the first one for what was there before it.
func (k *keeper) hear(ctx context.Context, sub *trunkline.Subscription) error {
	for {
		k.pendingSince.CompareAndSwap(0, time.Now().UnixNano())
		tell(k.rung)
		if _, err := sub.Next(ctx); err != nil {
			return err
		}
	}
}

// keep looks whenever it is time to, until ctx ends. The first ring says that the engine runs.
func (k *keeper) keep(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-k.rung:
	}
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			due = time.Now().Add(k.look(ctx))
		case <-k.rung:
			if k.failed == 0 && k.busy == 0 && !k.denied { // else it looks by itself, and not more often for being rung
				due = earliest(due, time.Now().Add(k.aside()))
			}
		}
	}
}

// aside is how long to leave something to others: nothing, if this node sequences.
func (k *keeper) aside() time.Duration {
	if k.acts() {
		return 0
	}
	return k.waits.aside + rand.N(k.waits.aside/2)
}

// acts tells whether this node acts at once. One that doesn't sequence does so while it finds that nobody else acts.
func (k *keeper) acts() bool {
	return time.Now().Before(k.acting) || k.inbox.engine.State().Sequencing
}

// look does a batch of what there is to do, and returns how long to wait until the next look.
func (k *keeper) look(ctx context.Context) time.Duration {
	select {
	case <-k.rung: // what it announces is visible to this look
	default:
	}
	result, err := k.inbox.pass(ctx, k.most, time.Time{})
	var privilege *trunkline.PrivilegeError
	switch {
	case ctx.Err() != nil:
		return 0
	case errors.As(err, &privilege):
		return k.deny(k.inbox.withRole(ctx, err))
	case err != nil:
		k.failures.Add(1)
		k.down.Failed(err, k.failed)
		k.failed++
		k.most = max(k.most/2, batchLeast) // should it be too much for the time it may take
		return backoff(k.failed)
	}
	k.down.Over()
	k.failed, k.denied = 0, false
	if result.busy {
		// Whoever is at work may have begun before what we were rung for.
		k.collisions.Add(1)
		k.acting = time.Time{}
		k.busy++
		return k.aside() + retry.Wait(time.Millisecond, busyMost, k.busy)
	}
	k.busy = 0
	k.most = min(k.most*2, batchMost)
	return k.looked(result)
}

// looked notes what a look has found, and returns when to look again.
func (k *keeper) looked(result passResult) time.Duration {
	now := time.Now()
	k.placed.Add(result.placed)
	k.users.Add(result.users)
	if result.placed > 0 || result.users > 0 {
		k.batches.Add(1)
		if !k.inbox.engine.State().Sequencing {
			k.acting = now.Add(k.waits.acting)
		}
	} else {
		k.empty.Add(1)
	}
	if result.more {
		return 0
	}
	if len(k.rung) == 0 {
		k.pendingSince.Store(0)
	}
	k.readyOnce.Do(func() { close(k.ready) })
	wait := k.waits.fallback + rand.N(k.waits.fallback/2)
	if result.next != nil {
		wait = min(wait, max(*result.next, 0)+k.aside())
	}
	return wait
}

// deny says once that the role lacks a grant, and that it will be tried again.
func (k *keeper) deny(err error) time.Duration {
	k.failures.Add(1)
	if !k.denied {
		k.inbox.log.Warn("the inboxes can't be kept by this node", "error", err)
	}
	k.denied = true
	if k.lacks == nil {
		k.lacks = err
		close(k.barred)
	}
	return deniedWait
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
