package trunkline

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"
)

// SubscribeOptions says from where and what a subscription receives.
type SubscribeOptions struct {
	// From is where it begins. Default: FromNow.
	From Start
	// Signals asks for the channels' signals too, those of bridged raw channels included.
	Signals bool
	// Conflate applies the intervals of conflating namespaces: of such a channel the newest message comes first, wherever the
	// subscription begins, then at most one in each interval, and always the last. Message.Skipped counts what was left out. What
	// comes is in order within its channel, but not among channels; [Message.LogPosition] knows that. After resuming the newest may
	// come a second time. Changes of an interval take effect at once.
	Conflate bool
	// QueueMessages and QueueBytes override the engine's Config if positive.
	QueueMessages, QueueBytes int
}

// A Subscription delivers the messages of its channels in the order of the log: each exactly once, first those it missed,
// then live ones as they commit. Read it from one goroutine, by [Subscription.Next], [Subscription.All] or
// [Subscription.Chan]; the other methods are safe for concurrent use. It holds no goroutine and no connection of its own.
type Subscription struct {
	engine    *Engine
	channels  []string
	start     Start
	signals   bool
	maxCount  int
	maxBytes  int
	conflates bool

	// Belong to the reader, and are changed by others only under mu while attached is false.
	cursors  map[string]int64 // per channel, the seq up to which catching up has read
	unread   map[string]*page // per channel, what was read beyond the others
	checked  bool             // the database has been asked about the start
	caughtUp int              // the shape that cursors and unread are of
	fetching fetching

	mu         sync.Mutex
	epoch      string
	through    int64 // everything of these channels up to here was delivered, is pending, or queued; -1: not known yet
	delivered  int64 // everything up to here was returned by Next
	attached   bool  // live: the hub pushes
	pending    []*Message
	queue      []*Message // from head on
	head       int
	bytes      int
	conflators map[string]*conflator // of all channels, if it conflates
	holding    []*conflator          // those that hold a message
	shape      int                   // changes whenever other channels are conflated
	batch      int64                 // the hub's batch that was pushed last, and how many were waiting when it began
	waiting    int
	err        error // why it ended; returned once the queue is empty
	sending    bool  // Chan holds a message that nobody has received; sent is the position before it
	sent       int64
	wake       chan struct{}
	closed     chan struct{}
	closeOnce  sync.Once
}

// Subscribe begins to receive the messages of the channels. It returns once the subscription is in place: whatever commits
// afterwards will be delivered.
//
// A position is checked when the subscription is first read: an *[EpochError], *[BeyondLogError] or *[TrimmedError] then
// says why it can't be resumed. Close the subscription when done. ctx bounds only this call.
func (e *Engine) Subscribe(ctx context.Context, channels []string, opts SubscribeOptions) (*Subscription, error) {
	unique := make([]string, 0, len(channels))
	seen := make(map[string]bool, len(channels))
	for _, channel := range channels {
		if err := CheckChannel(channel); err != nil {
			return nil, err
		}
		if !seen[channel] {
			seen[channel] = true
			unique = append(unique, channel)
		}
	}
	if len(unique) == 0 {
		return nil, &ArgumentError{Argument: "channels", Problem: "no channel is given", Fix: "Name at least one to subscribe to"}
	}
	if err := opts.From.check(); err != nil {
		return nil, err
	}
	if opts.From.kind == startOffset && len(unique) > 1 {
		return nil, &ArgumentError{
			Argument: "from",
			Problem:  "an offset belongs to one channel, but several are given",
			Fix:      "Resume several channels since a position of the log (EPOCH:POSITION)",
		}
	}
	s := &Subscription{
		engine:    e,
		channels:  unique,
		start:     opts.From,
		signals:   opts.Signals,
		conflates: opts.Conflate,
		maxCount:  defaultTo(max(opts.QueueMessages, 0), e.cfg.QueueMessages),
		maxBytes:  defaultTo(max(opts.QueueBytes, 0), e.cfg.QueueBytes),
		through:   -1,
		wake:      make(chan struct{}, 1),
		closed:    make(chan struct{}),
	}
	switch s.start.kind {
	case startPosition:
		s.through, s.delivered = s.start.position.Position, s.start.position.Position
	case startBeginning:
		s.through = 0
	case startNow, startOffset:
	}
	if err := e.hub.add(s); err != nil {
		return nil, err
	}
	if opts.Signals {
		if err := e.bridgeReady(ctx, unique); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Next returns the next message, waiting for one if need be. The error is ctx's, [ErrClosed], or what ended the
// subscription: an *[EpochError], *[BeyondLogError], *[TrimmedError] or *[SlowConsumerError]; after such an error every
// call returns it. A failing database does not end a subscription: Next waits and tries again until ctx ends. While it
// catches up a call may take a query's time: a ctx that always ends sooner gets nowhere.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	for {
		m, err, ok := s.take()
		if ok {
			s.engine.counters.delivered.Add(1)
			return m, nil
		}
		if err != nil {
			return Message{}, err
		}
		if fetched, err := s.fetchNewest(ctx); fetched || err != nil {
			if err != nil {
				return Message{}, err
			}
			continue
		}
		s.mu.Lock()
		attached := s.attached
		s.mu.Unlock()
		if !attached {
			if err := s.catchUp(ctx); err != nil {
				return Message{}, err
			}
			continue
		}
		if err := s.wait(ctx); err != nil {
			return Message{}, err
		}
	}
}

// wait waits until there may be something to take.
func (s *Subscription) wait(ctx context.Context) error {
	var due <-chan time.Time
	if at, ok := s.nextDue(); ok {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-s.wake:
	case <-due:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// All iterates over the messages until ctx ends, the loop breaks, or the subscription ends; the last pair then carries the
// error (none after Close or a break).
func (s *Subscription) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.Next(ctx)
			if errors.Is(err, ErrClosed) {
				return
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Chan returns a channel of the messages, unbuffered, which is closed when ctx ends or the subscription does;
// [Subscription.Err] then says why. Call it once; its goroutine ends with ctx or Close.
func (s *Subscription) Chan(ctx context.Context) <-chan Message {
	out := make(chan Message)
	go func() {
		defer close(out)
		for {
			s.setSending(true)
			m, err := s.Next(ctx)
			if err != nil {
				s.mu.Lock()
				if s.err == nil {
					s.err = err
				}
				s.mu.Unlock()
				s.setSending(false)
				return
			}
			select {
			case out <- m:
				s.setSending(false)
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			}
		}
	}()
	return out
}

// setSending holds Position where it is while Chan has a message in its hand, which its reader may never receive.
func (s *Subscription) setSending(sending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending, s.sent = sending, s.delivered
}

// Ready tells whether Next would return at once: a message, or why the subscription ended. While it catches up it is not
// ready, though its next message may be in the database already.
func (s *Subscription) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0 || s.queued() > 0 || s.err != nil || s.due(time.Now()) >= 0
}

// Err returns why the subscription ended, nil while it goes on.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Position is where another subscription to the same channels continues: behind everything that Next has returned. It
// advances with the log while the channels are silent. Its Position is 0 until a subscription by offset has begun.
func (s *Subscription) Position() Position {
	return Position{Epoch: s.epoch, Position: s.engine.hub.settled(s)}
}

// Channels returns what it is subscribed to.
func (s *Subscription) Channels() []string { return s.channels }

// Close ends the subscription. A waiting Next returns [ErrClosed].
func (s *Subscription) Close() {
	s.closeOnce.Do(func() {
		s.engine.hub.remove(s)
		s.end(ErrClosed, true)
		close(s.closed)
	})
}

// queued is how many messages wait. Under mu.
func (s *Subscription) queued() int { return len(s.queue) - s.head }

// take returns what can be returned at once: a message, or the error once there is none left.
func (s *Subscription) take() (Message, error, bool) { //nolint:revive // the error is a state here, not a failure
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.takeHeld(); ok {
		return m, nil, true
	}
	for {
		var m *Message
		switch {
		case len(s.pending) > 0:
			m, s.pending = s.pending[0], s.pending[1:]
		case s.queued() > 0:
			m = s.queue[s.head]
			s.queue[s.head] = nil
			s.head++
			s.bytes -= m.footprint()
			if s.head == len(s.queue) {
				s.queue, s.head = s.queue[:0], 0
			}
		default:
			return Message{}, s.err, false
		}
		if m.Signal {
			return *m, nil, true
		}
		s.delivered = m.Position
		if c := s.conflators[m.Channel]; c == nil || c.passes(m) {
			return *m, nil, true
		}
	}
}

// push queues a message for a live subscription. Called by the hub under its lock, with the number of its batch.
func (s *Subscription) push(m *Message, batch int64, c *counters) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || !m.Signal && s.holds(m) || (!m.Signal && (!s.attached || m.Position <= s.through)) {
		return
	}
	waiting := s.queued()
	if s.batch != batch {
		s.batch, s.waiting = batch, waiting
	}
	if waiting >= s.maxCount || (waiting > 0 && s.bytes+m.footprint() > s.maxBytes) {
		s.overflow(m, c)
		return
	}
	if s.head > 0 && len(s.queue) == cap(s.queue) {
		// Make room at the front instead of growing.
		s.queue = s.queue[:copy(s.queue, s.queue[s.head:])]
		s.head = 0
	}
	s.queue = append(s.queue, m)
	s.bytes += m.footprint()
	if !m.Signal {
		s.through = m.Position
	}
	s.signalWake()
}

// overflow decides what becomes of a subscription whose queue is full. Where one batch alone filled it (a transaction of
// thousands of messages), the reader wasn't slow: it goes on from the database behind what is queued. Where much was
// waiting already, it was. Under mu.
func (s *Subscription) overflow(m *Message, c *counters) {
	switch {
	case m.Signal:
		c.droppedSignals.Add(1)
	case s.waiting <= s.maxCount/2:
		s.attached, s.cursors = false, nil
	default:
		c.slowConsumers.Add(1)
		s.attached = false
		s.err = &SlowConsumerError{Resume: Position{Epoch: s.epoch, Position: s.through}}
	}
}

// lack makes a live subscription read on from the database before a message whose payload wasn't fetched along.
func (s *Subscription) lack(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conflators[m.Channel]; c != nil && c.interval > 0 {
		c.fetch = true
		s.signalWake()
		return
	}
	position := m.Position - 1
	if !s.attached || s.through > position {
		return
	}
	s.attached = false
	s.through = position
	s.cursors = nil
	s.signalWake()
}

// detachBefore makes a live subscription read on from the database if the hub is about to leave out, between two positions,
// what it hasn't had.
func (s *Subscription) detachBefore(from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refetch()
	if !s.attached || s.through >= to {
		return
	}
	s.attached, s.cursors = false, nil
	s.through = max(s.through, from)
	s.signalWake()
}

// end ends the subscription with an error, after what is queued or, if at once, instead of it.
func (s *Subscription) end(err error, atOnce bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if atOnce {
		s.pending, s.queue, s.head, s.bytes = nil, nil, 0, 0
		s.letGo()
	}
	if s.err == nil {
		s.err = err
	}
	s.attached = false
	s.signalWake()
}

func (s *Subscription) signalWake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
