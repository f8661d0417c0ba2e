package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// hangups is what SIGHUP does. It ends the program, as when its terminal is closed, until a command takes it over, as servers
// do to read their files again.
type hangups struct {
	mu    sync.Mutex
	taken chan<- struct{} // nil: it ends the program
}

type hangupsKey struct{}

// withHangups returns a context that SIGHUP ends unless a command takes it over. Under nohup it stays ignored.
func withHangups(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, cancel
	}
	h := &hangups{}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-signals:
				h.happen(cancel)
			case <-ctx.Done():
				return
			}
		}
	}()
	return context.WithValue(ctx, hangupsKey{}, h), func() {
		signal.Stop(signals)
		cancel()
	}
}

func (h *hangups) happen(end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taken == nil {
		end()
		return
	}
	select {
	case h.taken <- struct{}{}:
	default: // one that wasn't looked at yet does for both
	}
}

// takeHangups gives a command the SIGHUPs that come from now on. The channel never gets any where they are ignored.
func takeHangups(ctx context.Context) <-chan struct{} {
	taken := make(chan struct{}, 1)
	if h, ok := ctx.Value(hangupsKey{}).(*hangups); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.taken = taken
	}
	return taken
}
