package trunkline

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// A hub hands what the log says, in its order, to this process's subscriptions, and keeps the rings.
//
// Lock order: hub.mu, then Subscription.mu. Whoever delivers holds hub.mu, so a subscription that registers sees either
// the position before a batch or the one after it, never one in between.
type hub struct {
	ringMessages int
	ringBytes    int
	counters     *counters
	namespace    func(channel string) Namespace // never blocks

	mu       sync.Mutex
	epoch    string
	position int64 // everything up to here has been delivered
	topics   map[string]*topic
	idle     int   // topics without subscriptions
	bytes    int   // of all rings
	tick     int64 // counts deliveries, to know which topic was active longest ago
	batch    int64 // counts calls of deliver
	closed   bool

	// onInterest is told, under mu, when a channel gets its first subscription with signals and when it loses its last.
	onInterest func(channel string, interested bool)
}

// A topic is what the hub knows of one channel: its ring and who is subscribed.
type topic struct {
	ring      ring
	limit     int      // messages that the ring holds
	filled    bool     // the ring has been filled from the database: what it lacks is not there, or doesn't fit
	read      bool     // the database has been read, and trimmed is of then
	filling   *filling // under way; nil: none
	trimmed   int64    // the seq up to which retention had removed messages
	subs      map[*Subscription]struct{}
	listeners int   // subscriptions that want signals
	active    int64 // the hub's tick when it last had a message or a subscription
}

// maxIdleTopics is how many channels without subscriptions keep their ring: those left most recently. A page that is
// reloaded, or a fleet that reconnects, then finds it still there.
const maxIdleTopics = 4096

func newHub(cfg *Config, c *counters) *hub {
	return &hub{
		ringMessages: cfg.RingMessages, ringBytes: cfg.RingBytes, counters: c, topics: map[string]*topic{},
		namespace: func(channel string) Namespace { return Namespace{Name: NamespaceOf(channel)} },
	}
}

// begin makes the hub continue at a position of an epoch. If the epoch is another one than before, every subscription
// ends at once and the rings are emptied: what they hold may not be in the log any more.
func (h *hub) begin(epoch string, position int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.epoch == epoch {
		return
	}
	ended := h.epoch
	h.epoch, h.position = epoch, position
	for name, t := range h.topics {
		h.empty(t)
		t.ring.reset(position)
		for s := range t.subs {
			s.end(&EpochError{Given: ended, Current: epoch}, true)
		}
		if len(t.subs) == 0 {
			h.idle--
			delete(h.topics, name)
		}
	}
}

// close ends every subscription.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, t := range h.topics {
		for s := range t.subs {
			s.end(ErrClosed, false)
		}
	}
}

// now returns the epoch and the position up to which messages have been delivered.
func (h *hub) now() Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Position{Epoch: h.epoch, Position: h.position}
}

// deliver hands on the next messages of the log. They must follow the hub's position without a gap.
func (h *hub) deliver(batch []*Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batch++
	for _, m := range batch {
		if m.Position <= h.position {
			continue
		}
		h.position = m.Position
		t := h.topics[m.Channel]
		if t == nil {
			continue
		}
		h.tick++
		t.active = h.tick
		if m.Payload == nil {
			// Too much was new to be fetched along. Who is subscribed reads it from the database, in order.
			h.empty(t)
			t.ring.after, t.ring.afterSeq, t.ring.known = m.Position, m.Seq, true
			for s := range t.subs {
				s.lack(m)
			}
			continue
		}
		h.bytes += t.ring.push(m, t.limit)
		for s := range t.subs {
			s.push(m, h.batch, h.counters)
		}
	}
	if h.bytes > h.ringBytes {
		h.shrink()
	}
}

// jump moves on to a position without delivering what lies between: who is subscribed reads it from the database.
func (h *hub) jump(position int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if position <= h.position {
		return
	}
	for _, t := range h.topics {
		h.empty(t)
		t.ring.reset(position)
		for s := range t.subs {
			s.detachBefore(h.position, position)
		}
	}
	h.position = position
}

// shrink empties rings until they fit, those of the channels active longest ago first.
func (h *hub) shrink() {
	byActivity := make([]*topic, 0, len(h.topics))
	for _, t := range h.topics {
		if t.ring.count > 0 {
			byActivity = append(byActivity, t)
		}
	}
	slices.SortFunc(byActivity, func(a, b *topic) int { return cmp.Compare(a.active, b.active) })
	for _, t := range byActivity {
		// Down to seven eighths, so that this isn't done for every message.
		if h.bytes <= h.ringBytes/8*7 {
			return
		}
		h.empty(t)
	}
}

// empty takes the messages out of a channel's ring.
func (h *hub) empty(t *topic) {
	h.bytes -= t.ring.bytes
	t.ring.clear(h.position)
	t.filled = false
}

// signal hands an ephemeral message to whoever is subscribed to its channel with signals.
func (h *hub) signal(m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m.Epoch = h.epoch
	if t := h.topics[m.Channel]; t != nil {
		for s := range t.subs {
			if s.signals {
				s.push(m, h.batch, h.counters)
			}
		}
	}
}

// add registers a subscription, so that the rings of its channels exist and cover everything from now on, and fixes its
// starting position if it begins now.
func (h *hub) add(s *Subscription) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if h.epoch == "" {
		return ErrNotStarted
	}
	if given := s.start.epoch(); given != "" && given != h.epoch {
		return &EpochError{Given: given, Current: h.epoch}
	}
	s.epoch = h.epoch
	for _, channel := range s.channels {
		t := h.topics[channel]
		if t == nil {
			t = &topic{ring: ring{after: h.position}, limit: h.limit(channel), subs: map[*Subscription]struct{}{}}
			h.topics[channel] = t
		} else if len(t.subs) == 0 {
			h.idle--
		}
		h.tick++
		t.active = h.tick
		t.subs[s] = struct{}{}
		s.conflate(channel, h.namespace(channel).Conflate)
		if s.signals {
			t.listeners++
			if t.listeners == 1 && h.onInterest != nil {
				h.onInterest(channel, true)
			}
		}
	}
	if s.start.kind == startNow {
		s.through, s.delivered, s.attached = h.position, h.position, true
	}
	return nil
}

// limit is how many messages the ring of a channel holds.
func (h *hub) limit(channel string) int {
	return defaultTo(h.namespace(channel).Ring, h.ringMessages)
}

// reconfigure takes on changed settings of namespaces. Rings that are to be smaller shrink as messages come.
func (h *hub) reconfigure() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for channel, t := range h.topics {
		if limit := h.limit(channel); limit != t.limit {
			t.limit, t.filled = limit, false
		}
		for s := range t.subs {
			s.reconflate(channel, h.namespace(channel).Conflate)
		}
	}
}

// remove forgets a subscription. Its channels keep their rings for a while.
func (h *hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, channel := range s.channels {
		t := h.topics[channel]
		if t == nil {
			continue
		}
		if _, ok := t.subs[s]; !ok {
			continue
		}
		delete(t.subs, s)
		if len(t.subs) == 0 {
			h.idle++
		}
		h.tick++
		t.active = h.tick
		if s.signals {
			t.listeners--
			if t.listeners == 0 && h.onInterest != nil {
				h.onInterest(channel, false)
			}
		}
	}
	if h.idle > maxIdleTopics {
		h.forgetIdle()
	}
}

// forgetIdle drops the older half of the channels that nobody is subscribed to, if they are too many.
func (h *hub) forgetIdle() {
	idle := make([]string, 0, h.idle)
	for name, t := range h.topics {
		if len(t.subs) == 0 {
			idle = append(idle, name)
		}
	}
	slices.SortFunc(idle, func(a, b string) int { return cmp.Compare(h.topics[a].active, h.topics[b].active) })
	for _, name := range idle[:len(idle)/2] {
		h.bytes -= h.topics[name].ring.bytes
		h.idle--
		delete(h.topics, name)
	}
}

// attach makes a subscription live if the rings cover what it has not had yet, which becomes pending: from here on deliver
// pushes to it. Nothing can fall between, because both happen under the hub's lock.
func (h *hub) attach(s *Subscription) (ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	channels := s.plain()
	s.mu.Unlock()
	if s.through > h.position && !s.checked && len(channels) > 0 {
		return false // a position that somebody gave us: the database knows whether there is such a one
	}
	var missed []*Message
	for _, channel := range channels {
		t := h.topics[channel]
		if t == nil {
			return false
		}
		var recent []*Message
		if s.start.kind == startOffset && s.through < 0 {
			recent, ok = t.ring.sinceSeq(s.start.offset.Seq)
		} else {
			recent, ok = t.ring.since(s.through)
		}
		if !ok {
			return false
		}
		missed = append(missed, recent...)
	}
	if len(channels) > 1 {
		slices.SortFunc(missed, func(a, b *Message) int { return cmp.Compare(a.Position, b.Position) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.attached = true
	// Where the database was read ahead of the hub, push leaves out what the hub is about to deliver again.
	s.through = max(s.through, h.position)
	s.pending = missed
	return true
}

// settled returns the position up to which an attached subscription with an empty queue has had everything.
func (h *hub) settled(s *Subscription) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sending {
		return s.sent
	}
	if s.attached && s.queued() == 0 && len(s.pending) == 0 && s.err == nil {
		s.delivered = max(s.delivered, h.position)
	}
	return s.delivered
}

// counters are what the engine counts about itself. All are totals since it was made.
type counters struct {
	steps, emptySteps, sequenced, healed, rings, wakes, dozes           atomic.Int64
	unsure                                                              atomic.Int64 // steps whose outcome never came
	takeovers, epochs, followerRings, followerRingErrors, relayed       atomic.Int64
	queries, delivered, slowConsumers, droppedSignals, listenReconnects atomic.Int64
	published, publishBatches, heartbeats, trimmed                      atomic.Int64
	trimBatches, trimFailures                                           atomic.Int64
}
