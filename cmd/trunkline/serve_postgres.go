package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// pgCheck is how often serve looks whether its PostgreSQL runs, pgCalm how long that has to run to count as steady.
	pgCheck = time.Second
	pgCalm  = time.Minute
)

// pgDelays follow the attempts to bring a dead PostgreSQL back, the last one each that comes after.
var pgDelays = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// supervise brings the private PostgreSQL back whenever it dies, until stopAll or the end of ctx.
func (r *running) supervise(ctx context.Context) {
	ctx, r.unwatch = context.WithCancel(ctx)
	r.unwatched = make(chan struct{})
	go func() {
		defer close(r.unwatched)
		r.keepPostgres(ctx)
	}()
}

func (r *running) keepPostgres(ctx context.Context) {
	url := r.postgres.URL()
	tick := time.NewTicker(pgCheck)
	defer tick.Stop()
	attempts := 0 // since it last was steady
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.postgres.Runs() {
			if time.Since(last) > pgCalm {
				attempts = 0
			}
			continue
		}
		if attempts > 0 && time.Since(last) < retryDelay(attempts) {
			continue
		}
		attempts++
		r.revive(ctx, attempts)
		last = time.Now()
		if r.postgres.URL() != url {
			// The engine, and whoever was told the old URL, would look for it in vain.
			r.lost <- fmt.Errorf("PostgreSQL was started by another process with other connection data (port %d): start `trunkline serve` again", r.postgres.Port())
			return
		}
	}
}

// retryDelay is the pause after that many attempts.
func retryDelay(attempts int) time.Duration { return pgDelays[min(attempts, len(pgDelays))-1] }

// revive is one attempt, told in one sentence.
func (r *running) revive(ctx context.Context, attempt int) {
	old := r.postgres.PID()
	started, err := r.postgres.Revive(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.log.Error("PostgreSQL died and could not be started: trying again", "attempt", attempt, "in", retryDelay(attempt), "error", err)
	case started:
		r.log.Warn("PostgreSQL died and was started again", "attempt", attempt, "old_pid", old, "pid", r.postgres.PID())
	default:
		r.log.Warn("PostgreSQL died and another process started it again", "attempt", attempt, "old_pid", old, "pid", r.postgres.PID())
	}
}
