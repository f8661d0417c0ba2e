package inbox

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	backoffBase = 20 * time.Millisecond
	backoffMost = 2 * time.Second
)

// backoff returns how long to wait before retry number attempt (0, 1, 2 …): full jitter, that is anything between nothing and an
// exponentially growing bound, so that the nodes of a database that was away don't come back in step.
func backoff(attempt int) time.Duration { return jitter(backoffBase, backoffMost, attempt) }

func jitter(base, most time.Duration, attempt int) time.Duration {
	bound := most
	if attempt < 16 {
		bound = min(base<<attempt, most)
	}
	return rand.N(bound)
}

// An outage keeps the log readable while something fails: one line when it begins, one every half minute, one when it is over. Not
// safe for concurrent use.
type outage struct {
	log    *slog.Logger
	what   string
	since  time.Time // zero: it works
	logged time.Time
}

func (o *outage) failed(err error, attempt int) {
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	if now.Sub(o.logged) < 30*time.Second {
		o.log.Debug(o.what+" fails; trying again", "error", err, "attempt", attempt)
		return
	}
	o.logged = now
	o.log.Warn(o.what+" fails; trying again until it succeeds", "error", err, "attempt", attempt)
}

func (o *outage) over() {
	if !o.since.IsZero() {
		o.log.Info(o.what+" succeeds again", "failed_for", time.Since(o.since).Round(time.Millisecond))
	}
	o.since, o.logged = time.Time{}, time.Time{}
}

// sleep waits, and tells whether it did (false: ctx ended).
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tell wakes whoever waits on a channel that holds one such call.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
