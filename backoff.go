package trunkline

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	backoffBase = 50 * time.Millisecond
	backoffMost = 5 * time.Second
)

// backoff returns how long to wait before retry number attempt (0, 1, 2 …): full jitter, that is anything between nothing
// and an exponentially growing bound, so that a thousand clients of a restarted server don't come back in step.
func backoff(attempt int) time.Duration {
	bound := backoffMost
	if attempt < 7 {
		bound = min(backoffBase<<attempt, backoffMost)
	}
	return rand.N(bound)
}

// An outage keeps the log readable while something is down: one line when it begins, one every half minute, one when it is
// over. Not safe for concurrent use.
type outage struct {
	log    *slog.Logger
	what   string
	since  time.Time // zero: it is up
	logged time.Time
}

func (o *outage) failed(err error, attempt int) {
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	if now.Sub(o.logged) < 30*time.Second {
		o.log.Debug(o.what+" is down; connecting again", "error", err, "attempt", attempt)
		return
	}
	o.logged = now
	o.log.Warn(o.what+" is down; connecting again until it succeeds", "error", err, "attempt", attempt)
}

func (o *outage) over() {
	if !o.since.IsZero() {
		o.log.Info(o.what+" is up again", "down_for", time.Since(o.since).Round(time.Millisecond))
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
