package trunkline

import (
	"context"
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
