// Package server makes an engine reachable over HTTP:
//
//	GET /v1/stream   messages of channels as text/event-stream, live and from where a client stopped
//	GET /healthz     whether the engine has started, and how it does
//
// docs/stream.md describes the stream.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline"
)

// Options of a server. The zero value of each field is a good default.
type Options struct {
	// Logger gets what goes wrong with single streams. Nil: discarded.
	Logger *slog.Logger
	// Heartbeat is how long a stream may be silent before it says that it is alive. 10 ms to 5 min; default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a client may take to accept what is written to it before it is dropped. 10 ms to 5 min;
	// default 20 s.
	WriteTimeout time.Duration
	// Retry is about how long clients are told to wait before they connect again, in whole milliseconds; each is told a
	// time between a half and one and a half of it, so that they don't come back in step. 10 ms to 5 min; default 2 s.
	Retry time.Duration
	// MaxStreams bounds the streams open at once. 1 to 1,000,000; default 1,024.
	MaxStreams int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 20 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = 2 * time.Second
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 1024
	}
	return o
}

func (o Options) validate() error {
	for _, check := range []struct {
		name  string
		value time.Duration
	}{
		{"Heartbeat", o.Heartbeat}, {"WriteTimeout", o.WriteTimeout}, {"Retry", o.Retry},
	} {
		if check.value < 10*time.Millisecond || check.value > 5*time.Minute {
			return fmt.Errorf("Options.%s is %v: choose between 10 ms and 5 min", check.name, check.value)
		}
	}
	if o.MaxStreams < 1 || o.MaxStreams > 1_000_000 {
		return fmt.Errorf("Options.MaxStreams is %d: choose between 1 and 1,000,000", o.MaxStreams)
	}
	return nil
}

// handler serves one engine.
type handler struct {
	engine  *trunkline.Engine
	options Options
	log     *slog.Logger
	mux     *http.ServeMux
	streams atomic.Int64 // open at this moment
	closing closing

	// ended is told why a stream ended, for tests. Nil otherwise.
	ended func(error)
}

// New returns a handler of an engine that is started, or will be.
//
// Streams end when the engine stops, and when the http.Server that serves them is shut down. That server must have no
// WriteTimeout; a stream sets a deadline of its own for each write.
//
// Who may read what is not decided here yet: streams are given to this machine alone. See docs/stream.md.
func New(engine *trunkline.Engine, opts Options) (http.Handler, error) {
	return newHandler(engine, opts)
}

func newHandler(engine *trunkline.Engine, opts Options) (*handler, error) {
	if engine == nil {
		return nil, errors.New("server.New needs an engine")
	}
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	h := &handler{engine: engine, options: opts, log: opts.Logger, mux: http.NewServeMux()}
	h.mux.HandleFunc("/v1/stream", h.localOnly(h.stream))
	h.mux.HandleFunc("/healthz", h.health)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problemf(w, http.StatusNotFound, "there is nothing at %s: streams are at /v1/stream", clip(r.URL.Path))
	})
	return h, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.mux.ServeHTTP(w, r)
}

// allow refuses other methods than those given.
func allow(w http.ResponseWriter, r *http.Request, allowed string, methods ...string) bool {
	for _, method := range methods {
		if r.Method == method {
			return true
		}
	}
	w.Header().Set("Allow", allowed)
	problemf(w, http.StatusMethodNotAllowed, "%s can't be done here: use GET", clip(r.Method))
	return false
}
