package inbox

import (
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

const (
	backoffBase = 20 * time.Millisecond
	backoffMost = 2 * time.Second
)

// backoff returns how long to wait before the database is asked again, for the attempt with this number (0, 1, 2 …).
func backoff(attempt int) time.Duration { return retry.Wait(backoffBase, backoffMost, attempt) }

// tell wakes whoever waits on a channel that holds one such call.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
