package digest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A group writes the steps of mails that are under way: those that come while it writes share the next transaction, so that
// thousands a second cost some hundred commits, on one connection. Nobody waits for company.
type group struct {
	pool    *pgxpool.Pool
	working sync.WaitGroup

	mu      sync.Mutex
	waiting []*step
	busy    bool
}

// A step is what one mail waits to have written: that the final dot follows, or how its try ended.
type step struct {
	id      int64
	attempt int
	outcome *outcome // nil: the final dot follows
	at      time.Time
	current bool // whether it was news: the attempt is the current one
	whole   bool // of a final dot: all that the mail holds is still to be mailed
	err     error
	done    chan struct{}
}

const (
	groupMost    = 1000
	groupTimeout = 10 * time.Second
)

// write has a step written and committed, and tells whether its attempt is the current one. If ctx ends first nobody knows.
func (g *group) write(ctx context.Context, s *step) (current bool, err error) {
	s.done = make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, s)
	if !g.busy {
		g.busy = true
		g.working.Go(g.work)
	}
	g.mu.Unlock()
	select {
	case <-s.done:
		return s.current, s.err
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// work writes what waits until nothing does.
func (g *group) work() {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), groupMost)
		batch := g.waiting[:n:n]
		if g.waiting = g.waiting[n:]; len(g.waiting) == 0 {
			g.waiting = nil
		}
		g.busy = n > 0
		g.mu.Unlock()
		if n == 0 {
			return
		}
		err := g.flush(batch)
		for _, s := range batch {
			s.err = err
			close(s.done)
		}
	}
}

// flush writes steps in one transaction.
func (g *group) flush(batch []*step) error {
	// Of its own: no one of those that share it may cancel it.
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	var dots []*step
	var ends [2][]*step // of one mail at most one each: two tries at it may end at the same time
	seen := map[int64]bool{}
	for _, s := range batch {
		switch {
		case s.outcome == nil:
			dots = append(dots, s)
		case !seen[s.id]:
			seen[s.id] = true
			ends[0] = append(ends[0], s)
		default:
			ends[1] = append(ends[1], s)
		}
	}
	var b pgx.Batch
	if len(dots) > 0 {
		ids, attempts := make([]int64, len(dots)), make([]int32, len(dots))
		for i, s := range dots {
			ids[i], attempts[i] = s.id, int32(s.attempt)
		}
		b.Queue("SELECT id, whole FROM trunkline.digest_commit($1, $2)", ids, attempts).Query(mark(dots))
	}
	for _, list := range ends {
		if len(list) > 0 {
			queueEnds(&b, list)
		}
	}
	if err := g.pool.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("write what became of mails: %w", err)
	}
	return nil
}

func queueEnds(b *pgx.Batch, list []*step) {
	n := len(list)
	ids, attempts, phases, uncertain, replies := make([]int64, n), make([]int32, n), make([]string, n), make([]bool, n), make([]*string, n)
	nextAts, againAts, ats := make([]*time.Time, n), make([]*time.Time, n), make([]time.Time, n)
	for i, s := range list {
		o := s.outcome
		ids[i], attempts[i], phases[i], uncertain[i], ats[i] = s.id, int32(s.attempt), string(o.phase), o.uncertain, s.at
		replies[i] = orNull(clip(storableText(o.reply), 1000))
		if !o.nextAt.IsZero() {
			nextAts[i] = &o.nextAt
		}
		if !o.againAt.IsZero() {
			againAts[i] = &o.againAt
		}
	}
	b.Queue("SELECT f.id, true FROM trunkline.digest_finish($1, $2, $3, $4, $5, $6, $7, $8) f(id)", ids, attempts, phases, uncertain, replies, nextAts, againAts, ats).
		Query(mark(list))
}

// mark notes which steps were news, and of those which mails are whole.
func mark(list []*step) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		byID := make(map[int64]*step, len(list))
		for _, s := range list {
			byID[s.id] = s
		}
		var id int64
		var whole bool
		_, err := pgx.ForEachRow(rows, []any{&id, &whole}, func() error {
			if s := byID[id]; s != nil {
				s.current, s.whole = true, whole
			}
			return nil
		})
		return err
	}
}

// wait waits until nothing is being written.
func (g *group) wait() { g.working.Wait() }
