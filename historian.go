package trunkline

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed sql/catch_up.sql
var catchUpSQL string

//go:embed sql/newest.sql
var newestSQL string

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

// A pageKey names what one reader wants: messages of a channel after a seq, or if that is -1, after a position. Of a historian
// of what is newest: the last messages of a channel, as many as newest says.
type pageKey struct {
	epoch    string
	channel  string
	seq      int64
	position int64
	newest   int
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
	channelEnd int64 // the position of the channel's last message; only of what is newest
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
	answer   func(keys []pageKey, pages []*page) error // ask, but for tests without a database
	query    func(ctx context.Context, keys []pageKey) (pgx.Rows, error)
	scan     func(rows pgx.Rows, pages []*page) error
	working  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting []pageKey
	pages   map[pageKey]*page // of the requests waiting
	busy    bool
	cache   map[pageKey]*page
	recent  []pageKey // of the cache, oldest first
}

// newHistorian makes one that reads what comes after a place.
func newHistorian(ctx context.Context, pool *pgxpool.Pool, c *counters) *historian {
	h := &historian{ctx: ctx, pool: pool, counters: c, pages: map[pageKey]*page{}, cache: map[pageKey]*page{}}
	h.answer, h.query, h.scan = h.ask, h.queryAfter, scanPage
	return h
}

// newNewestHistorian makes one that reads what is newest of a channel.
func newNewestHistorian(ctx context.Context, pool *pgxpool.Pool, c *counters) *historian {
	h := newHistorian(ctx, pool, c)
	h.query, h.scan = h.queryNewest, scanNewest
	return h
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

		err := h.answer(keys, pages)
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

// ask answers requests with one query.
func (h *historian) ask(keys []pageKey, pages []*page) error {
	ctx, cancel := context.WithTimeout(h.ctx, 30*time.Second)
	defer cancel()
	h.counters.queries.Add(1)
	rows, err := h.query(ctx, keys)
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := h.scan(rows, pages); err != nil {
			return fmt.Errorf("read history: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	return nil
}

// share is how many bytes of payload each of n requests of a query may get.
func share(n int) int { return min(pageBytes, max(batchBytes/n, 64<<10)) }

func (h *historian) queryAfter(ctx context.Context, keys []pageKey) (pgx.Rows, error) {
	channels, seqs, positions, limits := make([]string, len(keys)), make([]int64, len(keys)), make([]int64, len(keys)), make([]int32, len(keys))
	for i, key := range keys {
		channels[i], seqs[i], positions[i], limits[i] = key.channel, key.seq, key.position, pageMessages
	}
	return h.pool.Query(ctx, catchUpSQL, channels, seqs, positions, limits, share(len(keys)))
}

func (h *historian) queryNewest(ctx context.Context, keys []pageKey) (pgx.Rows, error) {
	channels, limits := make([]string, len(keys)), make([]int32, len(keys))
	for i, key := range keys {
		channels[i], limits[i] = key.channel, int32(key.newest)
	}
	return h.pool.Query(ctx, newestSQL, channels, limits, share(len(keys)))
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
	to.add(&r, p.epoch)
	return nil
}

func scanNewest(rows pgx.Rows, pages []*page) error {
	var n int
	var p page
	var r row
	err := rows.Scan(&n, &p.epoch, &p.logEnd, &p.trimmedSeq, &p.trimmedPos, &p.lastSeq, &p.channelEnd, &p.alive,
		&r.position, &r.seq, &r.id, &r.size, &r.payload, &r.sender, &r.key, &r.createdAt)
	if err != nil {
		return err
	}
	to := pages[n-1]
	to.epoch, to.logEnd, to.trimmedSeq, to.trimmedPos, to.lastSeq, to.channelEnd = p.epoch, p.logEnd, p.trimmedSeq, p.trimmedPos, p.lastSeq, p.channelEnd
	to.alive = p.alive
	if len(to.messages) == 0 {
		to.afterSeq = p.lastSeq
		if r.seq != nil {
			to.afterSeq = *r.seq - 1
		}
	}
	to.add(&r, p.epoch)
	return nil
}

// add appends the message of a row that has one, and notes where one is missing that should be there.
func (p *page) add(r *row, epoch string) {
	if r.seq == nil {
		return
	}
	if r.id == nil || *r.seq != max(p.afterSeq, p.trimmedSeq)+int64(len(p.messages))+1 {
		p.hole = true
	}
	if r.id != nil {
		r.channel = &p.channel
		p.messages = append(p.messages, r.message(epoch))
	}
}
