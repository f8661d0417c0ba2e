package trunkline

import (
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

const (
	backoffBase = 50 * time.Millisecond
	backoffMost = 5 * time.Second
)

// backoff returns how long to wait before connecting again, for the attempt with this number (0, 1, 2 …).
func backoff(attempt int) time.Duration { return retry.Wait(backoffBase, backoffMost, attempt) }
