package trunkline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// recentBytes bounds what Recent returns, in bytes of memory: about half of what a client's queue holds.
const recentBytes = 8 << 20

// Recent returns what a reader that has seen a channel up to the seq after has missed, oldest first and without a gap: limit
// messages at most, or with -1 as many as there are, but never more than 8 MiB (the page's More says that it was cut). With
// limit 0 it returns no messages and ignores after: only Epoch, FirstSeq and LastSeq. The page's epoch is the one that this
// node delivers.
//
// It is made for crowds that come back together, each with a subscription of its own or sharing one that began before: LastSeq
// is at least what this node had delivered when Recent was called, so nothing lies between the page and what the subscription
// brings; what both have carries the same seq. While the channel has a subscription it is mostly answered from memory, which is
// filled from the database once; what is older is read for many callers at once. FirstSeq is then as of that read, 0 if there
// was none.
//
// Errors: a *[TrimmedError] if retention has removed messages after that seq, a *[BeyondLogError] if the channel never came so
// far, [ErrNotStarted], [ErrClosed], ctx's. A failing database is asked again until ctx ends.
func (e *Engine) Recent(ctx context.Context, channel string, after int64, limit int) (HistoryPage, error) {
	if err := CheckChannel(channel); err != nil {
		return HistoryPage{}, err
	}
	if after < 0 || limit < -1 {
		return HistoryPage{}, &ArgumentError{
			Argument: "limit", Problem: fmt.Sprintf("after %d with limit %d can't be read", after, limit),
			Fix: "after is 0 or a seq, limit 0 or more, or -1 for as many as there are",
		}
	}
	for attempt := 0; ; attempt++ {
		r := &recentRead{engine: e, channel: channel, after: after, limit: limit}
		err := r.read(ctx)
		switch {
		case err == nil:
			return r.page(), nil
		case errors.Is(err, errNotYet):
		case ctx.Err() != nil || !retryable(err):
			return HistoryPage{}, withRole(ctx, e.pool, needsRead(explain(err)))
		default:
			e.log.Warn("reading recent messages failed; trying again", "error", err, "attempt", attempt+1)
		}
		select {
		case <-time.After(max(backoff(attempt), deafInterval)):
		case <-ctx.Done():
			return HistoryPage{}, context.Cause(ctx)
		case <-e.stopping:
			return HistoryPage{}, ErrClosed
		}
	}
}

// errNotYet says that the database is in another epoch than this node, or that a crash may have taken what the reader has
// seen: soon this node will know.
var errNotYet = errors.New("the epoch is about to change")

// A recentRead gathers the messages of one call of Recent.
type recentRead struct {
	engine  *Engine
	channel string
	after   int64
	limit   int

	epoch    string
	messages []*Message
	bytes    int
	first    int64
	last     int64
	waits    int // for the ring to be filled
}

func (r *recentRead) page() HistoryPage {
	p := HistoryPage{Epoch: r.epoch, FirstSeq: r.first, LastSeq: r.last, More: r.limit != 0 && r.cursor() < r.last}
	if len(r.messages) > 0 {
		p.Messages = make([]Message, len(r.messages))
		for i, m := range r.messages {
			p.Messages[i] = *m
		}
	}
	return p
}

// cursor is the seq up to which messages have been gathered.
func (r *recentRead) cursor() int64 { return r.after + int64(len(r.messages)) }

// take gathers the next messages, as many as fit. False: there is one that doesn't.
func (r *recentRead) take(messages []*Message) bool {
	for _, m := range messages {
		if r.limit >= 0 && len(r.messages) >= r.limit || len(r.messages) > 0 && r.bytes+m.footprint() > recentBytes {
			return false
		}
		r.messages = append(r.messages, m)
		r.bytes += m.footprint()
	}
	return true
}

// read gathers from memory where that covers what is missing, else from the database.
func (r *recentRead) read(ctx context.Context) error {
	for {
		view, err := r.look()
		if err != nil {
			return err
		}
		switch {
		case view.known && (r.limit == 0 || view.covers):
			if r.limit != 0 {
				r.take(view.messages)
			}
			r.first, r.last = view.first, view.last
			return nil
		case view.filling != nil:
			if err := r.fill(ctx, view.filling); err != nil {
				return err
			}
		case r.limit == 0:
			return r.readEnd(ctx)
		default:
			if done, err := r.readPage(ctx); done || err != nil {
				return err
			}
		}
	}
}

// fill fills the ring, or waits while somebody else does.
func (r *recentRead) fill(ctx context.Context, f *filling) error {
	r.waits++
	if f.reader != r {
		select {
		case <-f.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r.waits = mostWaits // once is enough
	p, err := r.readNewest(ctx, f.count)
	r.engine.hub.filled(r.channel, f, p)
	return err
}

// mostWaits is how often a caller waits for others before it asks by itself.
const mostWaits = 2

// look returns what the hub has behind the cursor.
func (r *recentRead) look() (recentView, error) {
	view, err := r.engine.hub.recent(r)
	if err != nil {
		return view, err
	}
	if r.epoch != "" && r.epoch != view.epoch {
		return view, errNotYet
	}
	r.epoch = view.epoch
	return view, nil
}

// readNewest reads the newest messages of the channel.
func (r *recentRead) readNewest(ctx context.Context, count int) (*page, error) {
	p, err := r.engine.newest.read(ctx, pageKey{epoch: r.epoch, channel: r.channel, newest: count})
	if err != nil {
		return nil, err
	}
	if p.epoch != r.epoch {
		return nil, errNotYet
	}
	return p, nil
}

// readEnd asks the database where the channel ends.
func (r *recentRead) readEnd(ctx context.Context) error {
	p, err := r.readNewest(ctx, 0)
	if err != nil {
		return err
	}
	r.first, r.last = p.trimmedSeq+1, p.lastSeq
	return nil
}

// readPage gathers the next page from the database, and tells whether that was the last.
func (r *recentRead) readPage(ctx context.Context) (done bool, err error) {
	p, err := r.engine.historian.read(ctx, pageKey{epoch: r.epoch, channel: r.channel, seq: r.cursor()})
	if err != nil {
		return false, err
	}
	switch {
	case p.epoch != r.epoch:
		return false, errNotYet
	case p.hole:
		// Somebody deleted messages by hand.
		return false, &TrimmedError{Channel: r.channel, First: p.lastSeq + 1}
	case p.afterSeq > p.lastSeq && !p.alive:
		return false, errNotYet
	case p.afterSeq > p.lastSeq:
		return false, &BeyondLogError{Channel: r.channel, Given: p.afterSeq, Last: p.lastSeq}
	case p.afterSeq < p.trimmedSeq:
		return false, &TrimmedError{Channel: r.channel, First: p.trimmedSeq + 1}
	}
	fits := r.take(p.messages)
	r.first, r.last = p.trimmedSeq+1, p.lastSeq
	if !p.more {
		return true, nil
	}
	if fits && (r.limit < 0 || len(r.messages) < r.limit) {
		return false, nil
	}
	// Cut. Full pages are kept for the next reader, so this one may be old: where the channel ends now is another question.
	view, err := r.look()
	if err != nil || view.known {
		r.last = max(r.last, view.last)
		return true, err
	}
	return true, r.readEnd(ctx)
}

// A recentView is what the hub has in memory of a channel.
type recentView struct {
	epoch       string
	known       bool  // first and last are
	first, last int64 // seqs
	covers      bool  // messages are all after the seq that was asked for
	messages    []*Message
	filling     *filling // fill the ring, or wait for it; nil where that would be no use
}

// A filling of a ring is under way: one reader does it, others wait until done is closed.
type filling struct {
	reader *recentRead
	count  int // of messages
	done   chan struct{}
}

// recent returns what the ring has behind a reader's cursor.
func (h *hub) recent(r *recentRead) (recentView, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return recentView{}, ErrClosed
	case h.epoch == "":
		return recentView{}, ErrNotStarted
	}
	view := recentView{epoch: h.epoch}
	t := h.topics[r.channel]
	if t == nil {
		return view, nil
	}
	view.last, view.known = t.ring.lastSeq()
	if t.read {
		view.first = t.trimmed + 1
	}
	view.messages, view.covers = t.ring.sinceSeq(r.cursor())
	// After a seq that the ring hasn't come to the log may be ahead of this node: filling wouldn't tell.
	beyond := view.known && r.cursor() > view.last
	if view.covers || t.filled || t.ring.count >= t.limit || beyond || r.waits >= mostWaits {
		return view, nil
	}
	if r.limit == 0 && view.known {
		return view, nil
	}
	if t.filling == nil {
		t.filling = &filling{reader: r, count: t.limit, done: make(chan struct{})}
		if r.limit == 0 {
			t.filling.count = 0 // only where the channel ends
		}
	}
	view.filling = t.filling
	return view, nil
}

// filled ends a filling: it puts the newest messages of a channel, as read from the database, before what its ring holds. What
// the log has beyond the hub's position is left out, deliver brings it: under the hub's lock, so there is neither a gap nor a
// double. A page nil: reading failed.
func (h *hub) filled(channel string, f *filling, p *page) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(f.done)
	t := h.topics[channel]
	if t == nil || t.filling != f {
		return
	}
	t.filling = nil
	if p == nil || h.epoch != p.epoch || t.filled || p.logEnd < t.ring.after || p.hole {
		return // the ring begins behind what was read
	}
	t.trimmed, t.read = max(t.trimmed, p.trimmedSeq), true
	if len(p.messages) == 0 {
		// Where the channel ends is known now if that is where the ring begins.
		if !t.ring.known && p.channelEnd <= t.ring.after {
			t.ring.afterSeq, t.ring.known = p.lastSeq, true
		}
		if t.ring.known && t.ring.afterSeq == p.trimmedSeq {
			t.ring.after = min(t.ring.after, p.trimmedPos)
			t.filled = true // there is nothing older
		}
		return
	}
	older := p.messages
	for len(older) > 0 && older[len(older)-1].Position > t.ring.after {
		older = older[:len(older)-1]
	}
	older = older[max(0, len(older)-max(0, t.limit-t.ring.count)):]
	if len(older) == 0 || t.ring.known && older[len(older)-1].Seq != t.ring.afterSeq {
		// All of it came after the ring began, or doesn't meet it.
		t.filled = t.ring.known
		return
	}
	after, afterSeq := older[0].Position-1, older[0].Seq-1
	if afterSeq == p.trimmedSeq {
		after = p.trimmedPos
	}
	h.tick++
	t.active = h.tick
	h.bytes += t.ring.prepend(older, after, afterSeq)
	t.filled = true
	if h.bytes > h.ringBytes {
		h.shrink()
	}
}
