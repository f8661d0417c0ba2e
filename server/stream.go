package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/trunkline/trunkline"
)

const (
	// maxPending is how much may gather before it is written although more is there to be sent, in bytes.
	maxPending = 64 << 10
	// maxDelay is how long something written may wait for the company of what is being read from the database.
	maxDelay = 20 * time.Millisecond
	// bridgeWait is how long a stream waits for its bridged channels to be listened to.
	bridgeWait = 5 * time.Second
)

// stream serves /v1/stream.
func (h *Server) stream(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, "GET", http.MethodGet) {
		return
	}
	query, err := parseStreamRequest(r.URL.RawQuery, r.Header.Get("Last-Event-ID"))
	if err != nil {
		problemf(w, http.StatusBadRequest, "%s", err)
		return
	}
	if h.streams.Add(1) > int64(h.options.Limits.Connections) {
		h.streams.Add(-1)
		w.Header().Set("Retry-After", "5")
		problemf(w, http.StatusServiceUnavailable, "%d streams are open, which is the most: try again later", h.options.Limits.Connections)
		return
	}

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.closing.of(r), cancel)() // the server's, which outlives this request

	s := &stream{server: h, w: w, control: http.NewResponseController(w), whole: query.whole && query.since.IsZero()}
	err = func() error {
		defer h.streams.Add(-1) // also if it panics
		return s.run(ctx, query)
	}()
	if err != nil && ctx.Err() == nil {
		h.log.Debug("a stream ended", "error", err, "peer", r.RemoteAddr)
	}
	if h.ended != nil {
		h.ended(err)
	}
}

// A stream is one response under way. Its handler's goroutine alone uses it.
type stream struct {
	server  *Server
	w       http.ResponseWriter
	control *http.ResponseController
	sub     *trunkline.Subscription
	whole   bool   // it began at the beginning
	pending []byte // to be written
}

// run sends the stream until the client goes, the engine or the server stops, or the position can't be resumed.
func (s *stream) run(ctx context.Context, query streamRequest) error {
	subscribeCtx, cancel := context.WithTimeout(ctx, bridgeWait)
	defer cancel()
	sub, err := s.server.engine.Subscribe(subscribeCtx, query.channels, trunkline.SubscribeOptions{From: query.start(), Signals: true})
	var argument *trunkline.ArgumentError
	switch {
	case err == nil:
		defer sub.Close()
		s.sub = sub
	case errors.As(err, &argument):
		problemf(s.w, http.StatusBadRequest, "%s", err)
		return err
	case errors.Is(err, trunkline.ErrClosed):
		s.w.Header().Set("Retry-After", "5")
		problemf(s.w, http.StatusServiceUnavailable, "the server is stopping: try again later")
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
	header.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
	retry := s.server.options.Retry
	s.pending = appendRetry(s.pending, retry/2+rand.N(retry))
}

// deliver sends messages as they come, until the subscription or ctx ends.
func (s *stream) deliver(ctx context.Context) error {
	beat, cancel := s.untilHeartbeat(ctx)
	defer func() { cancel() }()
	for {
		m, err := s.next(ctx, beat)
		switch {
		case err == nil:
			s.pending = appendEvent(s.pending, &m)
			if !s.more() || len(s.pending) >= maxPending {
				if err := s.flush(); err != nil {
					return err
				}
			}
		case beat.Err() == nil || ctx.Err() != nil:
			return err
		default:
			if err := s.heartbeat(); err != nil {
				return err
			}
			cancel()
			beat, cancel = s.untilHeartbeat(ctx)
		}
	}
}

func (s *stream) untilHeartbeat(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.server.options.Heartbeat)
}

// next returns the next message. What is pending does not wait for it longer than a moment.
func (s *stream) next(ctx, beat context.Context) (trunkline.Message, error) {
	if len(s.pending) > 0 {
		soon, cancel := context.WithTimeout(beat, maxDelay)
		defer cancel()
		m, err := s.sub.Next(soon)
		if err == nil || soon.Err() == nil || ctx.Err() != nil {
			return m, err
		}
		if err := s.flush(); err != nil {
			return m, err
		}
	}
	return s.sub.Next(beat)
}

// more tells whether the next message is there already, or being read, so that this one need not be written by itself.
func (s *stream) more() bool {
	// In this order: the subscription has had everything up to where the log was just before, or lacks some of it.
	end := s.server.engine.State().Log.Position
	return s.sub.Position().Position < end
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
	reason := ""
	switch {
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
	if s.pending = s.pending[:0]; cap(s.pending) > 2*maxPending {
		s.pending = nil // after a large message
	}
	return nil
}
