package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/trunkline/trunkline/server/internal/realtime"
)

// live is what the server knows of its realtime clients.
type live struct {
	*realtime.Node
	server *Server
	forget func() // ends what the engine tells of namespaces
}

func newLive(s *Server) (*live, error) {
	l := &live{server: s}
	o := s.options
	config := realtime.Config{
		Engine: s.engine, Gate: s.gate, Logger: s.log, Registry: o.Registry,
		CheckOrigin:  func(*http.Request) bool { return true }, // asked of every request already
		BadToken:     l.badToken,
		WriteTimeout: o.WriteTimeout,
		Limits: realtime.Limits{
			Connections: o.Limits.Connections, ConnectionsPerUser: o.Limits.ConnectionsPerUser, Channels: o.Limits.Channels,
			FrameBytes: o.Limits.FrameBytes, QueueBytes: o.Limits.QueueBytes, CommandRate: o.Limits.CommandRate,
			PublishRate: o.Limits.PublishRate, HistoryMessages: o.Limits.HistoryMessages,
		},
	}
	if o.RPC != nil {
		config.RPC = func(ctx context.Context, r realtime.RPCRequest) (json.RawMessage, error) {
			answer, err := o.RPC(ctx, RPCRequest(r))
			if told := (*RPCError)(nil); errors.As(err, &told) {
				return nil, (*realtime.RPCError)(told)
			}
			return answer, err
		}
	}
	var err error
	if l.Node, err = realtime.New(config); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	l.Node.Register(mux)
	s.mux.Handle("/connection/", l.counted(mux))
	s.mux.Handle("/emulation", worded(mux))
	l.forget = s.engine.OnNamespaces(func() {
		s.gate.ForgetAll()
		l.NamespacesChanged()
	})
	return l, nil
}

// Drain sends the clients away; see [Server.Drain].
func (l *live) Drain(ctx context.Context, spread time.Duration) {
	if err := l.Node.Drain(ctx, spread); err != nil {
		l.server.log.Warn("not all clients have left", "error", err)
	}
}

// Close disconnects whoever is left.
func (l *live) Close(ctx context.Context) error {
	l.forget()
	return l.Node.Close(ctx)
}

type addressKey struct{}

// badToken counts against the address of whoever presented the token.
func (l *live) badToken(ctx context.Context) {
	if from, ok := ctx.Value(addressKey{}).(netip.Prefix); ok {
		l.server.web.failures.take(from, 1)
	}
}

// counted lets a connection in if neither its address nor all of them have too many, and counts it until it ends, whoever it
// turns out to be: one that never says so is a connection as well. An address that keeps presenting bad tokens is turned away
// before it can present another.
func (l *live) counted(next http.Handler) http.Handler {
	s := l.server
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := s.web.proxies.client(r)
		if wait := s.web.failures.wait(network(from)); wait > 0 {
			s.refuse(w, r, limited(http.StatusTooManyRequests, limitFailureRate, wait,
				"too many bad tokens or keys came from this address: try again later, with a good one"))
			return
		}
		leave, refusal := s.web.occupancy.connect(from)
		if refusal != nil {
			s.refuse(w, r, refusal)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), addressKey{}, network(from)))
		hijacker, ok := w.(http.Hijacker)
		if !ok || r.URL.Path != "/connection/websocket" {
			defer leave() // it lasts as long as the request
			ctx, end := context.WithCancel(r.Context())
			defer end()
			defer context.AfterFunc(s.closing.of(r), func() {
				if !s.closing.draining() { // then its client is told to come again, and ends it
					end()
				}
			})()
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		u := &upgrade{ResponseWriter: w, hijacker: hijacker, leave: leave}
		defer func() {
			if !u.taken {
				leave()
			}
		}()
		next.ServeHTTP(u, r)
	})
}

// An upgrade tells when a connection that leaves HTTP behind is closed.
type upgrade struct {
	http.ResponseWriter
	hijacker http.Hijacker
	leave    func()
	taken    bool
}

func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := u.hijacker.Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.taken = true
	return &upgraded{Conn: conn, leave: sync.OnceFunc(u.leave)}, buffered, nil
}

type upgraded struct {
	net.Conn
	leave func()
}

func (c *upgraded) Close() error {
	c.leave()
	return c.Conn.Close()
}

// worded gives a reason to what the library's emulation endpoint refuses without one.
func worded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&wordless{w}, r) })
}

type wordless struct{ http.ResponseWriter }

func (w *wordless) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	problemf(w.ResponseWriter, status, "the command can't be taken: it needs the session and node that the stream was told, and at most one frame of data")
}

func (w *wordless) Unwrap() http.ResponseWriter { return w.ResponseWriter }
