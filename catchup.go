package trunkline

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed sql/catch_up.sql
var catchUpSQL string

const (
	// pageMessages is how many messages one reader takes from one channel at a time.
	pageMessages = 1000
	// pageBytes bounds the payloads of one reader's page; many readers in one query share batchBytes instead.
	pageBytes  = 4 << 20
	batchBytes = 16 << 20
	// batchRequests bounds the readers of one query.
	batchRequests = 256
	// cachedPages is how many full pages are kept: what a crowd resumes from is mostly the same, and the log never
	// changes behind its end.
	cachedPages = 8
)

// A pageKey names what one reader wants: messages of a channel after a seq, or if that is -1, after a position.
type pageKey struct {
	epoch    string
	channel  string
	seq      int64
	position int64
}

// A page is a piece of a channel's history as of one snapshot.
type page struct {
	channel    string
	epoch      string
	messages   []*Message
	more       bool  // there may be more behind the last
	logEnd     int64 // where the log ended: if not more, the channel has nothing else up to there
	afterSeq   int64 // the seq that the page begins behind
	lastSeq    int64 // of the channel
	trimmedSeq int64 // what retention has removed of the channel
	trimmedPos int64
	hole       bool // a message was deleted without its row in the log
	alive      bool // nothing has crashed since that epoch began
	err        error
	done       chan struct{} // closed when all of the above is set
}

// A historian reads pages for subscriptions that catch up. Requests made while a query is under way wait for the next
// one, which answers all of them; equal ones are asked once. So the number of queries depends on how long catching up
// takes, not on how many do.
type historian struct {
	ctx      context.Context //nolint:containedctx // the engine's life, which answers outlive their askers by
	pool     *pgxpool.Pool
	counters *counters
	working  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting []pageKey
	pages   map[pageKey]*page // of the requests waiting
	busy    bool
	cache   map[pageKey]*page
	recent  []pageKey // of the cache, oldest first
}

func newHistorian(ctx context.Context, pool *pgxpool.Pool, c *counters) *historian {
	return &historian{ctx: ctx, pool: pool, counters: c, pages: map[pageKey]*page{}, cache: map[pageKey]*page{}}
}

// read returns a page. Many may read at once.
func (h *historian) read(ctx context.Context, key pageKey) (*page, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	if p, ok := h.cache[key]; ok {
		h.mu.Unlock()
		return p, nil
	}
	p, ok := h.pages[key]
	if !ok {
		p = &page{channel: key.channel, done: make(chan struct{})}
		h.pages[key] = p
		h.waiting = append(h.waiting, key)
	}
	if !h.busy {
		h.busy = true
		// Not with the caller's context: others wait for the same answer.
		h.working.Go(h.work)
	}
	h.mu.Unlock()
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close lets nobody else ask, and waits for what is under way.
func (h *historian) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.working.Wait()
}

// work answers what waits until nothing does.
func (h *historian) work() {
	for {
		h.mu.Lock()
		n := min(len(h.waiting), batchRequests)
		if n == 0 {
			h.busy = false
			h.mu.Unlock()
			return
		}
		keys := slices.Clone(h.waiting[:n])
		h.waiting = slices.Delete(h.waiting, 0, n)
		pages := make([]*page, n)
		for i, key := range keys {
			pages[i] = h.pages[key]
			delete(h.pages, key)
		}
		h.mu.Unlock()

		err := h.query(keys, pages)
		h.mu.Lock()
		for i, p := range pages {
			p.err = err
			if err == nil && p.more {
				h.keep(keys[i], p)
			}
			close(p.done)
		}
		h.mu.Unlock()
	}
}

// keep caches a full page. Under mu.
func (h *historian) keep(key pageKey, p *page) {
	if len(h.recent) == cachedPages {
		delete(h.cache, h.recent[0])
		h.recent = slices.Delete(h.recent, 0, 1)
	}
	h.cache[key] = p
	h.recent = append(h.recent, key)
}

func (h *historian) query(keys []pageKey, pages []*page) error {
	ctx, cancel := context.WithTimeout(h.ctx, 30*time.Second)
	defer cancel()
	channels, seqs, positions, limits := make([]string, len(keys)), make([]int64, len(keys)), make([]int64, len(keys)), make([]int32, len(keys))
	for i, key := range keys {
		channels[i], seqs[i], positions[i], limits[i] = key.channel, key.seq, key.position, pageMessages
	}
	budget := min(pageBytes, max(batchBytes/len(keys), 64<<10))
	h.counters.queries.Add(1)
	rows, err := h.pool.Query(ctx, catchUpSQL, channels, seqs, positions, limits, budget)
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scanPage(rows, pages); err != nil {
			return fmt.Errorf("read history: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	return nil
}

func scanPage(rows pgx.Rows, pages []*page) error {
	var n int
	var p page
	var more bool
	var r row
	err := rows.Scan(&n, &p.epoch, &p.logEnd, &p.trimmedSeq, &p.trimmedPos, &p.lastSeq, &p.afterSeq, &more, &p.alive,
		&r.position, &r.seq, &r.id, &r.size, &r.payload, &r.sender, &r.key, &r.createdAt)
	if err != nil {
		return err
	}
	to := pages[n-1]
	to.epoch, to.logEnd, to.trimmedSeq, to.trimmedPos, to.lastSeq, to.afterSeq = p.epoch, p.logEnd, p.trimmedSeq, p.trimmedPos, p.lastSeq, p.afterSeq
	to.alive = p.alive
	to.more = to.more || more
	to.hole = to.hole || (r.seq != nil && r.id == nil)
	if r.id != nil {
		r.channel = &to.channel
		to.messages = append(to.messages, r.message(p.epoch))
	}
	return nil
}

// catchUp brings a subscription forward: it attaches it to the live tail if the rings cover what it lacks, else reads the
// next page of its channels from the database. Called by the reader alone, when nothing is pending or queued.
func (s *Subscription) catchUp(ctx context.Context) error {
	if s.engine.hub.attach(s) {
		return nil
	}
	pages, err := s.readPages(ctx)
	if err != nil {
		return err
	}
	for _, p := range pages {
		if err := s.checkPage(p); err != nil {
			var beyond *BeyondLogError
			if errors.As(err, &beyond) && !p.alive {
				// A crash may have taken the log's end. Whoever takes over decides; if so, it begins another epoch,
				// which ends this subscription.
				sleep(ctx, deafInterval)
				return nil
			}
			s.end(err, true)
			return nil // Next returns it as the subscription's end
		}
	}

	// Messages up to the horizon are known of every channel; those beyond are kept for the next call.
	horizon := pages[0].logEnd
	for _, p := range pages {
		horizon = min(horizon, p.logEnd)
		if p.more {
			horizon = min(horizon, p.messages[len(p.messages)-1].Position)
		}
	}
	var batch []*Message
	cursors, unread := make(map[string]int64, len(pages)), map[string]*page{}
	for _, p := range pages {
		cursor, taken := p.afterSeq, 0
		for taken < len(p.messages) && p.messages[taken].Position <= horizon {
			cursor = p.messages[taken].Seq
			taken++
		}
		batch = append(batch, p.messages[:taken]...)
		cursors[p.channel] = cursor
		if taken < len(p.messages) {
			rest := *p
			rest.messages, rest.afterSeq = p.messages[taken:], cursor
			unread[p.channel] = &rest
		}
	}
	if len(pages) > 1 {
		slices.SortFunc(batch, func(a, b *Message) int { return cmp.Compare(a.Position, b.Position) })
	}
	s.cursors, s.unread, s.checked = cursors, unread, true
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.pending = batch
		s.through = max(s.through, horizon)
	}
	return nil
}

// readPages reads the next page of each channel, retrying while the database can't be reached.
func (s *Subscription) readPages(ctx context.Context) ([]*page, error) {
	for attempt := 0; ; attempt++ {
		pages, err := s.tryReadPages(ctx)
		if err == nil {
			return pages, nil
		}
		if ended := s.Err(); ended != nil {
			return nil, ended
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !retryable(err) {
			return nil, err
		}
		s.engine.log.Warn("reading history failed; trying again", "error", err, "attempt", attempt+1)
		select {
		case <-time.After(backoff(attempt)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-s.engine.stopping:
			return nil, ErrClosed
		}
	}
}

func (s *Subscription) tryReadPages(ctx context.Context) ([]*page, error) {
	pages := make([]*page, len(s.channels))
	errs := make([]error, len(s.channels))
	var wg sync.WaitGroup
	for i, channel := range s.channels {
		if rest := s.unread[channel]; rest != nil && s.cursors != nil {
			pages[i] = rest
			continue
		}
		key := pageKey{epoch: s.epoch, channel: channel, seq: -1, position: max(s.through, 0)}
		if cursor, ok := s.cursors[channel]; ok {
			key.seq, key.position = cursor, 0
		} else if s.start.kind == startOffset && s.through < 0 {
			key.seq, key.position = s.start.offset.Seq, 0
		}
		// Together, so that one query answers all channels.
		wg.Go(func() { pages[i], errs[i] = s.engine.historian.read(ctx, key) })
	}
	wg.Wait()
	return pages, cmp.Or(errs...)
}

// checkPage says why a page can't continue the subscription.
func (s *Subscription) checkPage(p *page) error {
	if p.epoch != s.epoch {
		return &EpochError{Given: s.epoch, Current: p.epoch}
	}
	trimmed := &TrimmedError{Channel: p.channel, First: p.trimmedSeq + 1}
	if p.hole {
		// Somebody deleted messages by hand: this reader can't be served without a gap.
		trimmed.First = p.lastSeq + 1
		return trimmed
	}
	if s.cursors != nil || (s.start.kind == startOffset && s.through < 0) {
		// Asked for by seq.
		if p.afterSeq > p.lastSeq {
			return &BeyondLogError{Channel: p.channel, Given: p.afterSeq, Last: p.lastSeq}
		}
		if p.afterSeq < p.trimmedSeq {
			return trimmed
		}
		return nil
	}
	if s.through > p.logEnd {
		return &BeyondLogError{Given: s.through, Last: p.logEnd}
	}
	if beginning := s.start.kind == startBeginning && s.through == 0; !beginning && s.through < p.trimmedPos {
		return trimmed
	}
	return nil
}
