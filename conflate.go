package trunkline

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A conflator thins out the messages of one channel for one subscription: it holds the newest until the interval since the last
// one that was returned is over. The subscription's lock guards it.
//
// Nothing needs to be known about positions to resume such a channel: whoever subscribes gets its newest message. So what is held
// doesn't hold back the subscription's position, and what is returned advances it only if all else up to there was.
type conflator struct {
	channel  string
	interval time.Duration // 0: the channel is no longer conflated
	held     *Message
	pushed   bool      // held came live: everything before it of the other channels has come, too
	last     time.Time // when one was returned
	fetch    bool      // the newest message is to be found: nothing has come yet, or something was left out
	base     int64     // seq of the last one that was returned
	based    bool      // whether there is one
}

// fetching is what the reader remembers of attempts to find newest messages.
type fetching struct {
	failures int
	notUntil time.Time
}

// plain returns the channels of which every message is delivered. Under mu.
func (s *Subscription) plain() []string {
	if len(s.conflators) == 0 {
		return s.channels
	}
	channels := make([]string, 0, len(s.channels))
	for _, channel := range s.channels {
		if c := s.conflators[channel]; c == nil || c.interval == 0 {
			channels = append(channels, channel)
		}
	}
	return channels
}

// conflate begins to conflate a channel, if it is to be: one whose interval is 0 may be later. Called by the hub under its lock
// when the subscription begins.
func (s *Subscription) conflate(channel string, interval time.Duration) {
	if !s.conflates {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &conflator{channel: channel, interval: max(interval, 0), fetch: interval > 0}
	switch s.start.kind {
	case startBeginning:
		c.based = true
	case startOffset:
		c.base, c.based = s.start.offset.Seq, true
	case startNow, startPosition:
	}
	if s.conflators == nil {
		s.conflators = map[string]*conflator{}
	}
	s.conflators[channel] = c
}

// reconflate takes on a changed interval. Called by the hub under its lock.
func (s *Subscription) reconflate(channel string, interval time.Duration) {
	if !s.conflates {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conflators[channel]
	if c.interval == interval || s.err != nil {
		return
	}
	if (c.interval == 0) != (interval <= 0) {
		s.shape++
		if !s.attached {
			c.fetch = true // what it was about to catch up with, or what was held and had not been read
		}
	}
	c.interval = max(interval, 0)
	s.signalWake()
}

// holds takes a message of a conflated channel. Called by push, under mu.
func (s *Subscription) holds(m *Message) bool {
	c := s.conflators[m.Channel]
	if c == nil || c.interval == 0 {
		return false
	}
	if c.held == nil {
		s.signalWake() // else the reader waits for its time already
	}
	s.hold(c, m, s.attached)
	return true
}

// hold keeps a message unless it has a newer one. Under mu.
func (s *Subscription) hold(c *conflator, m *Message, pushed bool) {
	if c.held == nil {
		s.holding = append(s.holding, c)
	} else if c.held.Seq >= m.Seq {
		return
	}
	c.held, c.pushed = m, pushed
}

// refetch has the newest message of every conflated channel looked for: some were left out. Under mu.
func (s *Subscription) refetch() {
	for _, c := range s.conflators {
		if c.interval > 0 {
			c.fetch = true
		}
	}
	if len(s.conflators) > 0 {
		s.signalWake()
	}
}

// letGo forgets what is held. Under mu.
func (s *Subscription) letGo() {
	for _, c := range s.holding {
		c.held = nil
	}
	s.holding = nil
}

// passes tells whether a message of a channel that was conflated has not been returned yet, and notes that it is. Under mu.
func (c *conflator) passes(m *Message) bool {
	if c.based && m.Seq <= c.base {
		return false
	}
	c.base, c.based = m.Seq, true
	return true
}

// due returns the index in holding of one whose interval is over, -1 if there is none. A subscription that has ended returns at
// once what it holds. Under mu.
func (s *Subscription) due(now time.Time) int {
	return slices.IndexFunc(s.holding, func(c *conflator) bool { return s.err != nil || now.Sub(c.last) >= c.interval })
}

// takeHeld returns a held message whose time has come. Under mu.
func (s *Subscription) takeHeld() (Message, bool) {
	if len(s.holding) == 0 {
		return Message{}, false
	}
	now := time.Now()
	for i := s.due(now); i >= 0; i = s.due(now) {
		c := s.holding[i]
		s.holding = slices.Delete(s.holding, i, i+1)
		m := *c.held
		c.held = nil
		base, based := c.base, c.based
		if !c.passes(&m) {
			continue
		}
		if based {
			m.Skipped = m.Seq - base - 1
		}
		if s.attached && len(s.pending) == 0 && s.queued() == 0 && c.pushed || len(s.plain()) == 0 {
			s.delivered = max(s.delivered, m.Position)
		}
		m.conflated, m.resume = true, s.delivered
		c.last = now
		return m, true
	}
	return Message{}, false
}

// nextDue returns when the reader has to look again although nobody wakes it.
func (s *Subscription) nextDue() (at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.holding {
		if next := c.last.Add(c.interval); !ok || next.Before(at) {
			at, ok = next, true
		}
	}
	if len(s.toFetch()) > 0 && (!ok || s.fetching.notUntil.Before(at)) {
		at, ok = s.fetching.notUntil, true
	}
	return at, ok
}

// toFetch returns those whose newest message is to be found. Under mu.
func (s *Subscription) toFetch() (all []*conflator) {
	for _, c := range s.conflators {
		if c.fetch {
			all = append(all, c)
		}
	}
	return all
}

// fetchNewest finds the newest messages of the channels that lack them, in memory or in the database, and tells whether it did
// anything. If the database fails, what is live isn't held up: it is asked again later. Called by the reader alone.
func (s *Subscription) fetchNewest(ctx context.Context) (bool, error) {
	if !s.conflates || time.Now().Before(s.fetching.notUntil) {
		return false, nil
	}
	s.mu.Lock()
	wanted := s.toFetch()
	bases := make([]int64, len(wanted))
	for i, c := range wanted {
		c.fetch = false // and true again if something is left out while this is under way
		bases[i] = c.base
	}
	s.mu.Unlock()
	if len(wanted) == 0 {
		return false, nil
	}
	pages, errs := make([]*page, len(wanted)), make([]error, len(wanted))
	var reading sync.WaitGroup
	for i, c := range wanted {
		// This node may be behind what the reader has seen elsewhere.
		if p := s.engine.hub.newest(c.channel, s.epoch); p != nil && p.lastSeq >= bases[i] {
			pages[i] = p
			continue
		}
		// Together, so that one query answers all channels, and other readers.
		reading.Go(func() {
			pages[i], errs[i] = s.engine.newest.read(ctx, pageKey{epoch: s.epoch, channel: c.channel, newest: 1})
		})
	}
	reading.Wait()
	return true, s.fetched(ctx, wanted, pages, errs)
}

// fetched takes in what was found.
func (s *Subscription) fetched(ctx context.Context, wanted []*conflator, pages []*page, errs []error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for i, c := range wanted {
		p, err := pages[i], errs[i]
		switch {
		case s.err != nil:
		case err != nil:
			c.fetch, failed = true, err
		case p.epoch != s.epoch:
			s.err = &EpochError{Given: s.epoch, Current: p.epoch}
			s.pending, s.queue, s.head, s.bytes = nil, nil, 0, 0
			s.letGo()
		case c.base > p.lastSeq && p.alive && s.start.kind == startOffset && c.base == s.start.offset.Seq:
			s.err = &BeyondLogError{Channel: c.channel, Given: c.base, Last: p.lastSeq}
		case c.base > p.lastSeq: // a crash may have taken what the reader has seen
			c.fetch, failed = true, errNotYet
		case len(p.messages) > 0:
			s.hold(c, p.messages[len(p.messages)-1], false)
		}
	}
	switch {
	case s.err != nil || failed == nil:
		s.fetching = fetching{}
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case failed != errNotYet && !retryable(failed): //nolint:errorlint // our own, bare
		return failed
	}
	s.engine.log.Warn("reading newest messages failed; trying again", "error", failed, "attempt", s.fetching.failures+1)
	s.fetching.notUntil = time.Now().Add(max(backoff(s.fetching.failures), deafInterval))
	s.fetching.failures++
	return nil
}

// newest returns the newest message of a channel if it, or that there is none, is in memory.
func (h *hub) newest(channel, epoch string) *page {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[channel]
	if t == nil || h.epoch != epoch {
		return nil
	}
	last, known := t.ring.lastSeq()
	p := &page{channel: channel, epoch: epoch, lastSeq: last, alive: true}
	switch {
	case t.ring.count > 0:
		p.messages = []*Message{t.ring.at(t.ring.count - 1)}
		return p
	case known && last == 0:
		return p
	}
	return nil
}
