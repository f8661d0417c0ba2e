package digest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// ringChannel is where the database rings the inbox's keeper. What it rings for may be due at once.
const ringChannel = "trunkline:inbox"

const (
	// afterRing is how long after a ring is looked when the next mail is due: by then the keeper has placed what was notified. Also,
	// a site on which notifications never pause costs no more than one such look in this time.
	afterRing = 2 * time.Second
	// leastSleep keeps workers from spinning where others are at what is due.
	leastSleep = time.Second
	// forgetEvery is how often what is too old is removed.
	forgetEvery = time.Hour
	// keepTokens is how long links in mails unsubscribe.
	keepTokens = 400 * oneDay
)

// A sleeper sleeps until there may be something to do: the database knows when the next user or mail is due, and rings when that
// may have become sooner.
type sleeper struct {
	worker    *Worker
	rung      chan struct{} // holds one ring
	listening sync.WaitGroup
	forgetAt  time.Time
}

func newSleeper(w *Worker) *sleeper { return &sleeper{worker: w, rung: make(chan struct{}, 1)} }

func (s *sleeper) close() { s.listening.Wait() }

// sleep waits until something is due, or the breaker lets a mail through. When ctx ends it returns.
func (s *sleeper) sleep(ctx context.Context) error {
	w := s.worker
	if err := s.forget(ctx); err != nil {
		return err
	}
	for first := true; ; first = false {
		now := w.opts.Now()
		wait := w.opts.Fallback + rand.N(w.opts.Fallback/4)
		if open, until, _ := w.breaker.state(); open {
			wait = min(wait, max(until.Sub(now), leastSleep))
			if !first && !until.After(now) {
				return nil
			}
		} else {
			next, err := w.next(ctx, now)
			if err != nil {
				return err
			}
			due := next != nil && !next.After(now)
			if due && !first {
				return nil
			}
			if next != nil {
				wait = min(wait, next.Sub(now))
			}
			wait = max(wait, leastSleep)
		}
		if !s.wait(ctx, wait) {
			return nil
		}
	}
}

// wait waits, or until a while after a ring. It tells whether it did (false: ctx ended).
func (s *sleeper) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.rung:
		if !retry.Sleep(ctx, min(afterRing, d)) {
			return false
		}
		select {
		case <-s.rung: // what it announces is seen by the look that follows
		default:
		}
		return true
	case <-ctx.Done():
		return false
	}
}

// next asks when there is something to do.
func (w *Worker) next(ctx context.Context, now time.Time) (*time.Time, error) {
	var next *time.Time
	if err := w.pool.QueryRow(ctx, "SELECT trunkline.digest_next($1)", now).Scan(&next); err != nil {
		return nil, fmt.Errorf("find out when the next mail is due: %w", err)
	}
	return next, nil
}

// listen hears rings until ctx ends, if there is an engine.
func (s *sleeper) listen(ctx context.Context) {
	engine := s.worker.opts.Engine
	if engine == nil {
		return
	}
	s.listening.Go(func() {
		for attempt := 0; ; attempt++ {
			sub, err := engine.Subscribe(ctx, []string{ringChannel}, trunkline.SubscribeOptions{})
			if err == nil {
				for err == nil {
					attempt = 0
					select {
					case s.rung <- struct{}{}:
					default:
					}
					_, err = sub.Next(ctx)
				}
				sub.Close()
			}
			if ctx.Err() != nil || errors.Is(err, trunkline.ErrClosed) || !retry.Sleep(ctx, reconnectWait(attempt)) {
				return
			}
		}
	})
}

// forget removes what is too old, now and then.
func (s *sleeper) forget(ctx context.Context) error {
	w := s.worker
	now := w.opts.Now()
	if now.Before(s.forgetAt) {
		return nil
	}
	const some = 1000
	for _, f := range []struct {
		what, sql string
		before    time.Time
	}{
		{"old mails", "SELECT trunkline.digest_forget($1, $2)", now.Add(-w.opts.Keep)},
		{"old links", "SELECT trunkline.forget_tokens($1, $2)", now.Add(-keepTokens)},
	} {
		for removed := int64(some); removed >= some; {
			if err := w.pool.QueryRow(ctx, f.sql, f.before, some).Scan(&removed); err != nil {
				return fmt.Errorf("remove %s: %w", f.what, err)
			}
			if removed >= some && !retry.Sleep(ctx, 50*time.Millisecond) {
				return nil
			}
		}
	}
	s.forgetAt = now.Add(forgetEvery/2 + rand.N(forgetEvery))
	return nil
}
