// Package retry holds what trying again takes: how long to wait, the waiting, and a log that stays readable meanwhile.
package retry

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Wait returns how long to wait before retry number attempt (0, 1, 2 …): full jitter, that is anything between nothing and a bound
// that begins with base and doubles up to most, so that those whom a restarted server has sent away don't come back in step.
// base and most are positive.
func Wait(base, most time.Duration, attempt int) time.Duration {
	bound := most
	if attempt < 16 {
		bound = min(base<<attempt, most)
	}
	return rand.N(bound)
}

// Sleep waits, and tells whether it did (false: ctx ended).
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// every is how often an outage that goes on is logged.
const every = 30 * time.Second

// An Outage keeps the log readable while something fails: one line when it begins, one every half minute, one when it is over.
// Not safe for concurrent use.
type Outage struct {
	log    *slog.Logger
	what   string
	since  time.Time // zero: it works
	logged time.Time
}

// NewOutage returns one that has not begun. what stands at the beginning of the lines: "what fails", "what works again".
func NewOutage(log *slog.Logger, what string) Outage { return Outage{log: log, what: what} }

// Failed says that another attempt has failed.
func (o *Outage) Failed(err error, attempt int) {
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	if now.Sub(o.logged) < every {
		o.log.Debug(o.what+" fails; trying again", "error", err, "attempt", attempt)
		return
	}
	o.logged = now
	o.log.Warn(o.what+" fails; trying again until it works", "error", err, "attempt", attempt)
}

// Over says that it works. It does nothing where there is no outage.
func (o *Outage) Over() {
	if !o.since.IsZero() {
		o.log.Info(o.what+" works again", "failed_for", time.Since(o.since).Round(time.Millisecond))
	}
	o.since, o.logged = time.Time{}, time.Time{}
}
