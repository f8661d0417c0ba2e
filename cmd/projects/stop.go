package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/server"
)

// stopTime is how long the rest may take once clients have left.
var stopTime = 5 * time.Second

const (
	// drainTime is how long clients may take to leave.
	drainTime = 2 * time.Second
	// maxHeader is room for the longest stream request: 100 channels of 255 bytes, escaped.
	maxHeader = 128 << 10
)

// running is what serve has started so far.
type running struct {
	log     *slog.Logger
	force   <-chan os.Signal
	lost    chan error // why it can't go on
	private *localpg.Server
	engine  *trunkline.Engine
	server  *server.Server
	handler http.Handler
	http    *http.Server

	background sync.WaitGroup
	life       context.Context // of what runs in the background
	endLife    context.CancelFunc
}

// lifetime runs do in the background, until clients have left. An error of it ends the program.
func (r *running) lifetime(ctx context.Context, do func(context.Context) error) {
	if r.life == nil {
		r.life, r.endLife = context.WithCancel(context.WithoutCancel(ctx))
	}
	r.background.Go(func() {
		if err := do(r.life); err != nil && r.life.Err() == nil {
			select {
			case r.lost <- err:
			default: // it ends for another reason already
			}
		}
	})
}

// serve begins to answer. There is no timeout for whole requests: a stream has no end, and each of its writes has a deadline of its own.
func (r *running) serve(listener net.Listener) {
	r.http = &http.Server{
		Handler: r.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		ConnState: r.server.ConnState, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := r.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.lost <- fmt.Errorf("serve HTTP: %w", err)
		}
	}()
}

// stop ends everything in turn, or at once after a second signal, and returns why it ended.
func (r *running) stop(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime+stopTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.stopAll(ctx) }()
	// The first signal is the one that has ended it, if one has.
	for signals := 0; ; {
		select {
		case err := <-done:
			if err == nil && why == nil {
				r.log.Info("stopped")
			}
			return errors.Join(why, err)
		case <-r.force:
			if signals++; signals < 2 {
				continue
			}
			cancel()
			select {
			case err := <-done:
				r.log.Debug("stopped", "error", err)
			case <-time.After(time.Second):
			}
			return errors.Join(why, errors.New("stopped at once, after a second signal"))
		}
	}
}

func (r *running) stopAll(ctx context.Context) error {
	var errs []error
	if r.http != nil {
		r.server.Retire()
		drain, cancel := context.WithTimeout(ctx, drainTime)
		closed := make(chan struct{})
		go func() { // closes the port at once, and waits for requests under way
			defer close(closed)
			_ = r.http.Shutdown(drain)
		}()
		if err := r.server.Drain(drain, drainTime/2); err != nil {
			r.log.Warn("some clients did not leave in time, and are cut off", "error", err)
		}
		<-closed
		cancel()
		_ = r.http.Close()
	}
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
	if r.private != nil {
		if err := r.private.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop PostgreSQL: %w", err))
		}
	}
	return errors.Join(errs...)
}

// greet says where it is.
func (c *serveCmd) greet(a *app, r *running, public *url.URL) {
	var b strings.Builder
	fmt.Fprintf(&b, "Projects is running: %s\n\n", public)
	line := func(what, how string) { fmt.Fprintf(&b, "  %-6s  %s\n", what, how) }
	line("open", public.String())
	if strings.Contains(public.Host, "127.0.0.1") && r.private != nil {
		line("mail", public.String()+"/dev/mail")
	}
	line("API", public.String()+"/api/docs")
	if r.private != nil {
		if dir, err := a.dataDir(); err == nil {
			line("SQL", `psql "$(cat `+dir+`/url)"`)
		}
	}
	line("stop", "Ctrl-C")
	_, _ = fmt.Fprintln(a.stdout, b.String())
}
