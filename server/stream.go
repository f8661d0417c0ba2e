package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

const (
	// maxPending is how much may gather before it is written although more is there to be sent, in bytes.
	maxPending = 64 << 10
	// bridgeWait is how long a stream waits for its bridged channels to be listened to.
	bridgeWait = 5 * time.Second
)

// stream serves /v1/stream.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, "GET", http.MethodGet) {
		return
	}
	if began, err := s.serveStream(w, r); began && s.ended != nil {
		s.ended(err)
	}
}

// serveStream lets a client in and serves it. It tells whether the stream began, and why it ended.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) (began bool, err error) {
	query, err := parseStreamRequest(r.URL.RawQuery, r.Header.Get("Last-Event-ID"))
	if err != nil {
		s.refuse(w, r, problemOf(http.StatusBadRequest, "%s", err))
		return false, nil
	}
	leave, refusal := s.web.occupancy.connect(s.web.proxies.client(r))
	if refusal != nil {
		s.refuse(w, r, refusal)
		return false, nil
	}
	defer leave()
	identity, refusal := s.identify(r)
	if refusal != nil {
		s.refuse(w, r, refusal)
		return false, nil
	}
	if leave, refusal = s.web.occupancy.identify(identity.User); refusal != nil {
		s.refuse(w, r, refusal)
		return false, nil
	}
	defer leave()

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.closing.of(r), func() { cancel(errDrained) })()
	defer context.AfterFunc(s.life, func() { cancel(errDrained) })()
	l := &listener{id: requestID(r.Context()), identity: identity, channels: query.channels, cancel: cancel}
	if !identity.ExpiresAt.IsZero() {
		expiry := time.AfterFunc(time.Until(identity.ExpiresAt), func() {
			cancel(&ending{"expired", "the token has expired: connect again with a new one"})
		})
		defer expiry.Stop()
	}
	// In this order: what is revoked from here on ends the stream, what was revoked before is known.
	s.web.streams.add(l)
	defer s.web.streams.remove(l)
	if refusal := s.permit(ctx, l, &query); refusal != nil {
		s.refuse(w, r, refusal)
		return false, nil
	}

	s.streams.Add(1)
	defer s.streams.Add(-1)
	log := s.log.With("request_id", l.id, "user", identity.User)
	log.Debug("a stream begins", "channels", len(query.channels))
	out := &stream{server: s, w: w, control: http.NewResponseController(w), whole: query.whole}
	err = out.run(ctx, &query)
	log.Debug("a stream ended", "reason", err)
	var slow *trunkline.SlowConsumerError
	if errors.As(err, &slow) || errors.Is(err, os.ErrDeadlineExceeded) {
		s.web.onSlow()
	}
	return true, err
}

// permit asks whether somebody may have the stream: follow each of its channels, and read their history if it begins before
// what a client of it could have seen.
func (s *Server) permit(ctx context.Context, l *listener, query *streamRequest) *problem {
	if err := s.gate.Check(ctx, l.identity); err != nil {
		return asProblem(asRefusal(err))
	}
	denied, refusal := allowAll(ctx, s.gate, l.identity, l.channels, auth.Subscribe)
	if refusal == nil && query.whole {
		denied, refusal = allowAll(ctx, s.gate, l.identity, l.channels, auth.History)
	}
	if refusal == nil {
		return nil
	}
	p := asProblem(refusal)
	p.Channels = denied
	return p
}

// A stream is one response under way. Its handler's goroutine alone uses it.
type stream struct {
	server  *Server
	w       http.ResponseWriter
	control *http.ResponseController
	sub     *trunkline.Subscription
	whole   bool   // it began at the beginning
	pending []byte // to be written
	count   int    // of messages in it
	// conflated is set once a message came from a channel that is conflated.
	conflated bool
}

// run sends the stream until the client goes, ctx ends, the engine stops, or the position can't be resumed.
func (s *stream) run(ctx context.Context, query *streamRequest) error {
	subscribeCtx, cancel := context.WithTimeout(ctx, bridgeWait)
	defer cancel()
	sub, err := s.server.engine.Subscribe(subscribeCtx, query.channels,
		trunkline.SubscribeOptions{From: query.start(), Signals: true, Conflate: true})
	var argument *trunkline.ArgumentError
	switch {
	case err == nil:
		defer sub.Close()
		s.sub = sub
	case errors.As(err, &argument):
		problemf(s.w, http.StatusBadRequest, "%s", err)
		return err
	case errors.Is(err, trunkline.ErrClosed), errors.Is(err, trunkline.ErrNotStarted):
		s.w.Header().Set("Retry-After", "5")
		problemf(s.w, http.StatusServiceUnavailable, "the server is starting or stopping: try again later")
		return err
	}
	// Whatever else is wrong is told in the stream: after any status but 200 an EventSource never comes back.

	s.begin()
	defer func() { _ = s.control.SetWriteDeadline(time.Time{}) }() // the connection may serve other requests
	if err != nil {
		return s.end(err)
	}
	s.resumePoint()
	if err := s.flush(); err != nil {
		return err
	}
	return s.end(s.deliver(ctx))
}

func (s *stream) begin() {
	header := s.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no") // nginx would gather it
	s.w.WriteHeader(http.StatusOK)
	retry := s.server.options.Retry
	s.pending = appendRetry(s.pending, retry/2+rand.N(retry))
}

// deliver sends messages as they come, until the subscription or ctx ends. What is there at once leaves in one write.
func (s *stream) deliver(ctx context.Context) error {
	beat, cancel := s.untilHeartbeat(ctx)
	defer func() { cancel() }()
	for ctx.Err() == nil { // whoever may no longer listen gets nothing more, be it there already
		m, err := s.sub.Next(beat)
		switch {
		case err == nil:
			s.pending = appendEvent(s.pending, &m, s.positionOf(&m))
			s.count++
			if len(s.pending) >= maxPending || !s.sub.Ready() {
				if err := s.flush(); err != nil {
					return err
				}
			}
		case ctx.Err() != nil:
		case beat.Err() == nil:
			return err
		default:
			if err := s.heartbeat(); err != nil {
				return err
			}
			cancel()
			beat, cancel = s.untilHeartbeat(ctx)
		}
	}
	return context.Cause(ctx)
}

// positionOf is the place from where the stream resumes after a message: the message's own, unless messages are left out or
// delayed on their way, so that it isn't where the others are.
func (s *stream) positionOf(m *trunkline.Message) trunkline.Position {
	if s.conflated = s.conflated || s.server.engine.Namespace(m.Channel).Conflate > 0; s.conflated {
		return s.sub.Position()
	}
	return m.LogPosition()
}

func (s *stream) untilHeartbeat(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.server.options.Heartbeat)
}

// heartbeat proves that the stream is alive, and moves the client's resume point on: the log may have grown although its
// channels were silent.
func (s *stream) heartbeat() error {
	s.pending = append(s.pending, ": heartbeat\n"...)
	s.resumePoint()
	return s.flush()
}

// resumePoint tells the client from where it can resume, and ends the block. A stream from the beginning that hasn't got
// anywhere yet tells nothing, so that it begins again with the oldest message that is kept by then.
func (s *stream) resumePoint() {
	position := s.sub.Position()
	if s.whole && position.Position == 0 {
		s.pending = append(s.pending, '\n')
		return
	}
	s.pending = appendResumePoint(s.pending, position)
}

// end writes what the client has to know of why the stream ends.
func (s *stream) end(cause error) error {
	var epoch *trunkline.EpochError
	var beyond *trunkline.BeyondLogError
	var trimmed *trunkline.TrimmedError
	var final *ending
	reason := ""
	switch {
	case errors.As(cause, &final):
		s.pending = appendEnd(s.pending, final)
	case errors.As(cause, &epoch):
		reason = "epoch"
	case errors.As(cause, &beyond):
		reason = "beyond"
	case errors.As(cause, &trimmed):
		reason = "trimmed"
	case errors.Is(cause, errWrite):
		return cause
	}
	if reason != "" {
		s.pending = appendReset(s.pending, reason, s.server.engine.State().Log, cause)
	}
	if err := s.flush(); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// errWrite means that the client is gone, or too slow.
var errWrite = errors.New("write to the client")

// flush writes what is pending and sees that it leaves.
func (s *stream) flush() error {
	if len(s.pending) == 0 {
		return nil
	}
	err := s.control.SetWriteDeadline(time.Now().Add(s.server.options.WriteTimeout))
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		_, err = s.w.Write(s.pending)
	}
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	s.server.web.onSent(s.count)
	s.count = 0
	if s.pending = s.pending[:0]; cap(s.pending) > 2*maxPending {
		s.pending = nil // after a large message
	}
	return nil
}
