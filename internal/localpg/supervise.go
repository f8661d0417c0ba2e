package localpg

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

const (
	// checkInterval is how often Supervise looks whether the server runs, calm how long that has to run to count as steady.
	checkInterval = time.Second
	calm          = time.Minute
)

// reviveDelays follow the attempts to bring a dead server back, the last one each that comes after.
var reviveDelays = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// reviveDelay is the pause after that many attempts.
func reviveDelay(attempts int) time.Duration { return reviveDelays[min(attempts, len(reviveDelays))-1] }

// Supervise brings the server back whenever it dies, until ctx ends, and then returns nil. It tells each attempt in one sentence.
// The error that it may return earlier says that another process has brought it back with other connection data, where whoever was
// told the old ones would look for it in vain.
func (s *Server) Supervise(ctx context.Context, log *slog.Logger) error {
	url := s.URL()
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	attempts := 0 // since it last was steady
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.Runs() {
			if time.Since(last) > calm {
				attempts = 0
			}
			continue
		}
		if attempts > 0 && time.Since(last) < reviveDelay(attempts) {
			continue
		}
		attempts++
		s.reviveOnce(ctx, log, attempts)
		last = time.Now()
		if s.URL() != url {
			return fmt.Errorf("PostgreSQL was started by another process with other connection data (port %d): start this program again", s.Port())
		}
	}
}

// reviveOnce is one attempt.
func (s *Server) reviveOnce(ctx context.Context, log *slog.Logger, attempt int) {
	old := s.PID()
	started, err := s.Revive(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		log.Error("PostgreSQL died and could not be started: trying again", "attempt", attempt, "in", reviveDelay(attempt), "error", err)
	case started:
		log.Warn("PostgreSQL died and was started again", "attempt", attempt, "old_pid", old, "pid", s.PID())
	default:
		log.Warn("PostgreSQL died and another process started it again", "attempt", attempt, "old_pid", old, "pid", s.PID())
	}
}
