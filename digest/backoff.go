package digest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Bounds of the wait before a mail is tried again.
const (
	retryBase = time.Minute
	retryMost = 2 * time.Hour
)

// retryWait is how long to wait after so many tries: full jitter, that is anything up to a bound that doubles with each try, but
// not less than half a minute, since what a server couldn't do a moment ago it can't do now.
func retryWait(attempt int) time.Duration {
	bound := retryMost
	if attempt < 8 {
		bound = min(retryBase<<max(attempt-1, 0), retryMost)
	}
	return max(rand.N(bound), retryBase/2)
}

const (
	reconnectBase = 50 * time.Millisecond
	reconnectMost = 10 * time.Second
)

// reconnectWait is the same for the database: that is back within seconds, mostly.
func reconnectWait(attempt int) time.Duration {
	bound := reconnectMost
	if attempt < 8 {
		bound = min(reconnectBase<<attempt, reconnectMost)
	}
	return rand.N(bound)
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

// An outage keeps the log readable while something is down: one line when it begins, one every half minute, one when it is over.
// Not safe for concurrent use.
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
		o.log.Debug(o.what+" doesn't work; trying again", "error", err, "attempt", attempt)
		return
	}
	o.logged = now
	o.log.Warn(o.what+" doesn't work; trying again until it does", "error", err, "attempt", attempt)
}

func (o *outage) over() {
	if !o.since.IsZero() {
		o.log.Info(o.what+" works again", "after", time.Since(o.since).Round(time.Millisecond))
	}
	o.since, o.logged = time.Time{}, time.Time{}
}
