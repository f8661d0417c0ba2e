package trunkline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// publishers is how many connections coalesced publishing uses. With one, all who call while it waits for its commit to
	// be flushed share the next insert; a second one only made the batches smaller.
	publishers = 1
	// batchMessages and batchPayload bound one coalesced insert.
	batchMessages = 512
	batchPayload  = 4 << 20
)

// A publisher coalesces concurrent calls of Publish into multi-row inserts: callers that come while an insert is under way
// share the next one. Nobody waits for company.
type publisher struct {
	ctx      context.Context //nolint:containedctx // the engine's life: an insert is shared, no one caller may cancel it
	pool     *pgxpool.Pool
	counters *counters
	working  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting []*publishCall
	workers int
}

type publishCall struct {
	publication Publication
	id          int64
	err         error
	done        chan struct{}
}

// Publish publishes a message in a transaction of its own, together with those of other callers (unless it has a Key), and
// returns its id once it is committed. See [PublishTx] for errors. If ctx ends or the connection fails first, the outcome is unknown: give the
// message a Key to repeat it safely.
//
// Calls made one after the other are ordered so; concurrent ones in any order.
func (e *Engine) Publish(ctx context.Context, p Publication) (int64, error) {
	if err := p.check(); err != nil {
		return 0, err
	}
	var id int64
	var err error
	if p.Key != "" {
		// By itself: it may have to wait for somebody else's transaction with the same key.
		if e.publisher.isClosed() {
			return 0, ErrClosed
		}
		id, err = PublishTx(ctx, e.pool, p)
	} else {
		id, err = e.publisher.publish(ctx, p)
	}
	return id, withRole(ctx, e.pool, err)
}

func (b *publisher) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// busy tells whether an insert is under way.
func (b *publisher) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.workers > 0
}

// close lets nobody else publish; what is under way goes on.
func (b *publisher) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// forget takes a call back that no insert has taken yet, and tells whether it did.
func (b *publisher) forget(call *publishCall) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, call)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(slices.Clone(b.waiting), i, i+1)
	return true
}

func (b *publisher) publish(ctx context.Context, p Publication) (int64, error) {
	call := &publishCall{publication: p, done: make(chan struct{})}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, ErrClosed
	}
	b.waiting = append(b.waiting, call)
	if b.workers < publishers {
		b.workers++
		b.working.Go(b.work)
	}
	b.mu.Unlock()
	select {
	case <-call.done:
		return call.id, call.err
	case <-ctx.Done():
		if b.forget(call) {
			return 0, fmt.Errorf("publish to %q: nothing was published: %w", clip(p.Channel), context.Cause(ctx))
		}
		return 0, fmt.Errorf("publish to %q: the outcome is unknown: %w", clip(p.Channel), context.Cause(ctx))
	}
}

// work inserts what waits until nothing does.
func (b *publisher) work() {
	for {
		batch := b.next()
		if batch == nil {
			return
		}
		b.insert(batch)
		for _, call := range batch {
			close(call.done)
		}
	}
}

func (b *publisher) next() []*publishCall {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.workers--
		return nil
	}
	n, bytes := 0, 0
	for n < len(b.waiting) && n < batchMessages {
		bytes += len(b.waiting[n].publication.Payload)
		if n > 0 && bytes > batchPayload {
			break
		}
		n++
	}
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil
	}
	return batch
}

// publishTimeout bounds one insert. What became of it is not known then.
const publishTimeout = 30 * time.Second

func (b *publisher) insert(batch []*publishCall) {
	ps := make([]Publication, len(batch))
	for i, call := range batch {
		ps[i] = call.publication
	}
	b.counters.publishBatches.Add(1)
	b.counters.published.Add(int64(len(batch)))
	// A network that swallows everything must not hold those who come after for as long as TCP tries.
	ctx, cancel := context.WithTimeout(b.ctx, publishTimeout)
	defer cancel()
	ids, err := publishMany(ctx, b.pool, ps)
	var pg *pgconn.PgError
	if err != nil && len(batch) > 1 && errors.As(err, &pg) && !retryable(err) {
		// One of them was refused, and with it all: each by itself, so that each gets its own answer.
		for _, call := range batch {
			b.insert([]*publishCall{call})
		}
		return
	}
	for i, call := range batch {
		if err == nil {
			call.id = ids[i]
		} else {
			call.err = err
		}
	}
}
