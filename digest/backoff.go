package digest

import (
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

// Bounds of the wait before a mail is tried again.
const (
	retryBase = time.Minute
	retryMost = 2 * time.Hour
)

// retryWait is how long to wait after so many tries: full jitter, that is anything up to a bound that doubles with each try, but
// not less than half a minute, since what a server couldn't do a moment ago it can't do now.
func retryWait(attempt int) time.Duration {
	return max(retry.Wait(retryBase, retryMost, max(attempt-1, 0)), retryBase/2)
}

const (
	reconnectBase = 50 * time.Millisecond
	reconnectMost = 10 * time.Second
)

// reconnectWait is the same for the database: that is back within seconds, mostly.
func reconnectWait(attempt int) time.Duration {
	return retry.Wait(reconnectBase, reconnectMost, attempt)
}
