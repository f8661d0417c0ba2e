package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/server"
)

// serveStop bounds the end of serve after its clients have left: with what follows the deadline it stays under 5 s.
var serveStop = 4500 * time.Millisecond

const (
	// httpStop bounds the end of HTTP requests within that: one of them takes a round trip to the database.
	httpStop = time.Second
	// forcedStop is how long it still takes after a second signal.
	forcedStop = time.Second
)

// running is what serve has started so far.
type running struct {
	log      *slog.Logger
	begun    <-chan os.Signal // every signal since serve began: the first is the one that ends it
	delay    time.Duration    // between saying that it isn't ready and turning clients away
	spread   time.Duration    // how long clients may take to leave
	timeouts timeoutFlags
	dir      string
	postgres *localpg.Server
	engine   *trunkline.Engine
	server   *server.Server
	registry *prometheus.Registry
	mailing  *mailing       // nil: nothing is mailed
	http     []*http.Server // the first is the clients'

	background sync.WaitGroup
	life       context.Context // of what runs in the background; see lifetime
	endLife    context.CancelFunc

	unpublish func()        // takes back where it serves; nil: that isn't written anywhere
	lost      chan error    // why serve can't go on with its PostgreSQL
	unwatch   func()        // ends the supervision of PostgreSQL; nil if there is none
	unwatched chan struct{} // closed when that has ended
}

// stop ends everything in turn, at once after a second signal.
func (r *running) stop(ctx context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.stopAll(ctx) }()
	for signals := 0; ; {
		select {
		case err := <-done:
			return err
		case <-r.begun:
			if signals++; signals < 2 {
				continue
			}
			r.log.Warn("stopping at once")
			cancel()
			select {
			case err := <-done:
				r.log.Debug("stopped", "error", err)
			case <-time.After(forcedStop):
			}
			return errors.New("stopped at once, after a second signal")
		}
	}
}

func (r *running) stopAll(ctx context.Context) error {
	var errs []error
	if r.unpublish != nil {
		r.unpublish()
	}
	if r.unwatch != nil {
		r.unwatch() // first: what it is starting has to be called off
	}
	r.drain(ctx)
	ctx, cancel := context.WithTimeout(ctx, serveStop)
	defer cancel()
	r.shutdown(ctx)
	if r.endLife != nil {
		r.endLife()
	}
	r.background.Wait()
	if r.server != nil {
		r.server.Close()
	}
	if r.engine != nil {
		if err := r.engine.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop the engine: %w", err))
		}
	}
	if r.unwatched != nil {
		<-r.unwatched // a start that was called off ends within about a second
	}
	if r.postgres != nil {
		if err := r.postgres.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop PostgreSQL: %w", err))
		}
	}
	return errors.Join(errs...)
}

// drain lets whoever sends clients here look elsewhere, takes no more of them, and tells those who are here to leave.
func (r *running) drain(ctx context.Context) {
	if len(r.http) == 0 || r.server == nil {
		return
	}
	r.server.Retire()
	if r.delay > 0 {
		r.log.Info("not ready any more: waiting for those who send clients here to see it", "for", r.delay)
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.spread+httpStop)
	defer cancel()
	// Shutdown closes the port at once, and then waits for the requests that are under way, streams among them.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = r.http[0].Shutdown(ctx) // what it leaves is closed by shutdown
	}()
	if err := r.server.Drain(ctx, r.spread); err != nil {
		r.log.Warn("some clients did not leave in time, and are cut off", "error", err)
	}
	select {
	case <-closed:
	case <-time.After(httpStop):
	}
}

// shutdown ends HTTP: politely what is idle, by force what isn't.
func (r *running) shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, httpStop)
	defer cancel()
	for i, s := range r.http {
		if i == 0 {
			_ = s.Close() // drain has waited for its requests
			continue
		}
		if err := s.Shutdown(ctx); err != nil {
			_ = s.Close()
		}
	}
}
