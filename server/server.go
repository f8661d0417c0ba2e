// Package server makes an engine reachable over HTTP:
//
//	/connection/websocket   the Centrifuge protocol, for its SDKs; also http_stream, sse and /emulation
//	/v1/stream              messages of channels as text/event-stream, live and from where a client stopped
//	/v1/publish, …          REST, described at /v1/openapi.json and /v1/docs
//	/v1/unsubscribe/…       where the links in mails lead
//	/healthz, /readyz       whether this process does its work, and whether it should be given more
//	/metrics                for Prometheus
//
// Who may do what is decided by tokens, API keys and functions of the application's own in SQL: docs/authorization.md.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// A Server serves one engine. It is an http.Handler; all methods are safe for concurrent use.
type Server struct {
	engine      *trunkline.Engine
	inbox       *inbox.Inbox
	gate        *auth.Gate
	live        *live
	options     Options
	log         *slog.Logger
	mux         *http.ServeMux
	closing     closing
	web         *web
	metrics     *metrics
	pings       pings
	connections connStates
	streams     atomic.Int64 // open at this moment
	// connected are the connections that commands reach.
	connected []connected

	life    context.Context //nolint:containedctx // from New to Close
	endLife context.CancelFunc
	running sync.WaitGroup
	loaded  chan struct{}             // closed once it is known who may do what
	barred  chan struct{}             // closed once the role turned out not to be allowed to read that
	lacks   *trunkline.PrivilegeError // set before barred is closed

	// answerTime is how long the database may take for a REST request.
	answerTime time.Duration

	// ended is told why a stream ended, for tests. Nil otherwise.
	ended func(error)
}

// New returns a server of an engine that is started, or will be: until then it answers that it isn't ready. Close it when done.
//
// Connections end when the engine stops, when the http.Server that serves them is shut down, and with Close. That
// http.Server must have no WriteTimeout: a deadline is set for each write.
func New(engine *trunkline.Engine, opts Options) (*Server, error) {
	if engine == nil {
		return nil, errors.New("server.New needs an engine")
	}
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		engine: engine, inbox: opts.Inbox, options: opts, log: opts.Logger, mux: http.NewServeMux(),
		loaded: make(chan struct{}), barred: make(chan struct{}), answerTime: answerTime,
	}
	var err error
	if s.inbox == nil {
		if s.inbox, err = inbox.New(engine, inbox.Options{Logger: s.log}); err != nil {
			return nil, err
		}
	}
	s.gate, err = auth.New(auth.Config{
		Pool: engine.Pool(), Logger: s.log, Open: opts.Open, Secret: opts.JWTSecret, PublicKeys: opts.JWTPublicKeys, JWKSURL: opts.JWKSURL,
		Issuer: opts.JWTIssuer, Audience: opts.JWTAudience, Skew: opts.ClockSkew, Namespace: engine.Namespace, Namespaces: engine.Namespaces,
	})
	if err != nil {
		return nil, err
	}
	s.pings.ping = engine.Pool().Ping
	if s.metrics, err = newMetrics(s); err != nil {
		s.gate.Close()
		return nil, err
	}
	if s.web, err = newWeb(opts, s.gate); err != nil {
		s.gate.Close()
		return nil, err
	}
	s.web.onRefusal = func(limit string) { s.metrics.refused.WithLabelValues(limit).Inc() }
	s.web.onSent = func(messages int) { s.metrics.streamed.Add(float64(messages)) }
	s.web.onSlow = s.metrics.dropped.Inc
	if s.live, err = newLive(s); err != nil {
		s.gate.Close()
		return nil, err
	}
	s.connected = append(s.connected, s.web.streams, s.live)
	s.life, s.endLife = context.WithCancel(context.Background())
	s.mux.HandleFunc(streamPath, s.stream)
	rest := newREST(s)
	s.mux.Handle("/v1/", rest)
	s.mux.HandleFunc(unsubscribePath+"{token...}", s.unsubscribe)
	s.mux.Handle(strings.TrimSuffix(unsubscribePath, "/"), rest) // an operation of that name, which the router would lead to the page
	s.mux.HandleFunc("/healthz", s.health)
	s.mux.HandleFunc("/readyz", s.ready)
	s.mux.HandleFunc("/metrics", s.metricsForInsiders)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problemf(w, http.StatusNotFound, "there is nothing at %s: see /v1/docs", clip(r.URL.Path))
	})
	s.running.Go(func() { s.control(s.life) })
	if !opts.NoKeeper {
		s.running.Go(s.keepInboxes)
	}
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.closing.enter()()
	s.connections.arrived(r)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = timed(w, r.Body)
	}
	if r, ok := s.admit(w, r); ok {
		s.mux.ServeHTTP(w, r)
	}
}

// keepInboxes is this node's part in keeping the inboxes, until Close. What goes wrong with the database it mends by itself.
func (s *Server) keepInboxes() {
	if err := s.inbox.Run(s.life); err != nil && !errors.Is(err, trunkline.ErrClosed) {
		s.log.Error("the inboxes aren't kept by this node", "error", err)
	}
}

// Close ends what is still connected and waits for what runs in the background. Drain first, to let clients leave in turn.
func (s *Server) Close() {
	s.endLife()
	s.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.live.Close(ctx); err != nil {
		s.log.Warn("not all realtime clients could be told that the server stops", "error", err)
	}
	s.gate.Close()
}

// closeTimeout bounds how long clients may take to be told that the server stops.
const closeTimeout = 2 * time.Second

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
