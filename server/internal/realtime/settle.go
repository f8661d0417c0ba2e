package realtime

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline"
)

// A client that recovers may have had more, by another connection or another node, than this node has handed to the library yet.
// The library would add what is handed on from then on to what the client recovers, and the client would have it twice. So before a
// client is subscribed this node delivers what was in the log by then.

// settle returns once everything that is in the log has been handed on to the clients that follow a channel here.
func (b *broker) settle(ctx context.Context, channel string) error {
	if err := b.node.engine.Sync(ctx); err != nil {
		return b.unavailable(channel, err)
	}
	f := b.feed(channel)
	if f == nil {
		return nil // one that is made now begins behind all that
	}
	if err := f.turns.wait(ctx, f, b.node.engine.State().Log); err != nil {
		return b.unavailable(channel, err)
	}
	return nil
}

// turns lets others wait for a feed to have handed on what lies up to a position. Only the feed's own goroutine knows that no
// message is on its way between the subscription and the library.
type turns struct {
	waiters atomic.Int32

	mu        sync.Mutex
	ctx       context.Context //nolint:containedctx // of the feed's wait for a message, until somebody interrupts it
	interrupt context.CancelFunc
	waiting   []turn
}

// settlePoll is how often somebody who waits looks whether a feed has become silent.
const settlePoll = 10 * time.Millisecond

type turn struct {
	position int64
	reached  chan struct{}
}

func (t *turns) wait(ctx context.Context, f *feed, until trunkline.Position) error {
	mine := turn{until.Position, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, mine)
	t.waiters.Store(int32(len(t.waiting)))
	t.mu.Unlock()
	look := time.NewTicker(settlePoll)
	defer look.Stop()
	for {
		// A feed that is behind comes by on its way, and isn't to be interrupted while it reads the database.
		switch at := f.position(); {
		case at.Epoch != until.Epoch:
			return nil // the clients are about to subscribe again
		case at.Position >= until.Position:
			t.mu.Lock()
			if t.interrupt != nil {
				t.interrupt()
			}
			t.mu.Unlock()
		}
		select {
		case <-mine.reached:
			return nil
		case <-look.C:
		case <-f.ctx.Done():
			return nil // whoever subscribes next makes another feed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next is called by the feed between two messages. It tells those whose position is reached, and returns a context for the wait
// for the next message, which ends when somebody else begins to wait.
func (t *turns) next(f *feed) context.Context {
	if t.waiters.Load() == 0 && t.ctx != nil && t.ctx.Err() == nil {
		return t.ctx
	}
	at := f.sub.Position().Position
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.waiting[:0]
	for _, w := range t.waiting {
		if w.position <= at {
			close(w.reached)
		} else {
			kept = append(kept, w)
		}
	}
	clear(t.waiting[len(kept):])
	t.waiting = kept
	t.waiters.Store(int32(len(kept)))
	if t.ctx == nil || t.ctx.Err() != nil {
		t.ctx, t.interrupt = context.WithCancel(f.ctx)
	}
	return t.ctx
}

// release lets everybody go: the positions are of an epoch that has ended, and clients are made to subscribe again.
func (t *turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.waiting {
		close(w.reached)
	}
	t.waiting = nil
	t.waiters.Store(0)
}
