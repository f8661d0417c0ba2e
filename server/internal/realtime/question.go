package realtime

import (
	"context"
	"sync"
)

// A question is put to the database about channels, for many askers at once: what is asked while one query is under way goes
// with the next. An answer is therefore never older than the asking, and one query at a time is all that any number of clients
// cause.
type question[V any] struct {
	node  *Node
	query func(ctx context.Context, channels []string) (map[string]V, error)

	mu      sync.Mutex
	waiting map[string]*answer[V]
	busy    bool
}

type answer[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// maxAsked is how many channels one query is about, at most.
const maxAsked = 500

func newQuestion[V any](n *Node, query func(ctx context.Context, channels []string) (map[string]V, error)) *question[V] {
	return &question[V]{node: n, query: query, waiting: map[string]*answer[V]{}}
}

// ask returns the answer about one channel, the zero value if there is nothing to say of it. Answers are shared: they must not be
// changed.
func (q *question[V]) ask(ctx context.Context, channel string) (V, error) {
	q.mu.Lock()
	a := q.waiting[channel]
	if a == nil {
		a = &answer[V]{done: make(chan struct{})}
		q.waiting[channel] = a
	}
	begin := !q.busy
	q.busy = true
	q.mu.Unlock()
	if begin {
		q.node.goRun(q.run)
	}
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var zero V
		return zero, context.Cause(ctx)
	}
}

// run asks until nobody waits.
func (q *question[V]) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		taken := make(map[string]*answer[V], min(len(q.waiting), maxAsked))
		channels := make([]string, 0, min(len(q.waiting), maxAsked))
		for channel, a := range q.waiting {
			if len(channels) == maxAsked {
				break
			}
			taken[channel] = a
			channels = append(channels, channel)
			delete(q.waiting, channel)
		}
		q.mu.Unlock()
		ctx, cancel := context.WithTimeout(q.node.life, patience)
		values, err := q.query(ctx, channels)
		cancel()
		for channel, a := range taken {
			a.value, a.err = values[channel], err
			close(a.done)
		}
	}
}
