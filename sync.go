package trunkline

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// syncTimeout bounds one wait for the log; whoever still waits then is told that it failed.
const syncTimeout = 10 * time.Second

// syncPoll is how often a wait looks how far the hub is: it waits for a read of the log that is on its way.
const syncPoll = 2 * time.Millisecond

// Sync returns once this node has delivered all that was in the log when it was called. A client that comes from another node may
// have had more than this one has delivered yet; what is delivered after Sync, it hasn't had.
//
// The node that sequences is always there; others ask the database, all who call at the same time together. An error is ctx's,
// [ErrClosed], or the database's.
func (e *Engine) Sync(ctx context.Context) error {
	if e.member.sequencing.Load() {
		return nil
	}
	return e.syncer.wait(ctx)
}

// A syncer lets those wait together who call Sync while one wait is under way: they wait for the next one.
type syncer struct {
	engine  *Engine
	most    time.Duration // see syncTimeout
	working sync.WaitGroup

	mu     sync.Mutex
	closed bool
	busy   bool
	next   *syncWait // of those who wait for the next round
}

type syncWait struct {
	done chan struct{} // closed when err is set
	err  error
}

func (s *syncer) wait(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	if s.next == nil {
		s.next = &syncWait{done: make(chan struct{})}
	}
	w := s.next
	if !s.busy {
		s.busy = true
		s.working.Go(s.work)
	}
	s.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// work goes round until nobody waits.
func (s *syncer) work() {
	for {
		s.mu.Lock()
		w := s.next
		s.next = nil
		if w == nil {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		w.err = s.reach()
		close(w.done)
	}
}

// reach asks where the log ends and waits for the hub to get there.
func (s *syncer) reach() error {
	ctx, cancel := context.WithTimeout(s.engine.life, s.most)
	defer cancel()
	var end Position
	err := s.engine.pool.QueryRow(ctx, "SELECT s.epoch, e.last_position FROM trunkline.state s, trunkline.log_end e").Scan(&end.Epoch, &end.Position)
	if err != nil {
		return fmt.Errorf("ask where the log ends: %w", explain(err))
	}
	tell(s.engine.member.logRing) // it need not wait to be rung
	tick := time.NewTicker(syncPoll)
	defer tick.Stop()
	for {
		// In another epoch positions can't be compared: this node is about to hear of that, and ends its subscriptions.
		if now := s.engine.hub.now(); now.Epoch != end.Epoch || now.Position >= end.Position {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if s.engine.life.Err() != nil {
				return ErrClosed
			}
			return fmt.Errorf("this node has not read the log up to position %d within %v", end.Position, s.most)
		}
	}
}

// close lets nobody else wait, and waits for what is under way, which ends with the engine's life.
func (s *syncer) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.working.Wait()
}
