package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

const (
	latencyWriters = 8
	latencyRate    = 200 // messages a second, of all writers
)

// latencySuite measures how long after its commit returned a message reaches a subscriber in another goroutine.
func latencySuite(ctx context.Context, l *lab) error {
	var p50, p99 [2][]float64
	names := []string{"row trigger with pg_notify", "trunkline.publish"}
	for range l.Rounds {
		for i, turn := range []func(context.Context) ([]time.Duration, error){l.articleLatency, l.trunklineLatency} {
			latencies, err := turn(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			slices.Sort(latencies)
			p50[i] = append(p50[i], ms(latencies[len(latencies)/2]))
			p99[i] = append(p99[i], ms(latencies[len(latencies)*99/100]))
		}
	}
	l.printf("  %-46s %10s %10s\n", "ms from commit", "p50", "p99")
	for i, name := range names {
		l.printf("  %-46s %10.2f %10.2f\n", name, median(p50[i]), median(p99[i]))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

// stopwatch pairs when a commit returned with when its message arrived, whichever comes first: delivery may well overtake
// the writer's own acknowledgement. Such a message took no time.
type stopwatch struct {
	mu                 sync.Mutex
	committed, arrived map[string]time.Time
	latencies          []time.Duration
}

func newStopwatch() *stopwatch {
	return &stopwatch{committed: map[string]time.Time{}, arrived: map[string]time.Time{}}
}

func (s *stopwatch) commit(key string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.arrived[key]; ok {
		delete(s.arrived, key)
		s.latencies = append(s.latencies, max(0, at.Sub(now)))
		return
	}
	s.committed[key] = now
}

func (s *stopwatch) arrive(key string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.committed[key]; ok {
		delete(s.committed, key)
		s.latencies = append(s.latencies, now.Sub(at))
		return
	}
	s.arrived[key] = now
}

// writeTimed has writers insert at the rate, each message carrying its key.
func (l *lab) writeTimed(ctx context.Context, s *stopwatch, sql string) (turn, error) {
	interval := time.Second * latencyWriters / latencyRate
	return l.write(ctx, latencyWriters, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, w, n int) error {
		// The writers take turns, so that 200 a second come evenly.
		due := interval
		if n == 0 {
			due = interval * time.Duration(w) / latencyWriters
		}
		key := strconv.Itoa(w) + "-" + strconv.Itoa(n)
		time.Sleep(due)
		payload := `{"key":"` + key + `","text":"` + payload200[9:180] + `"}`
		if _, err := conn.Exec(ctx, sql, "c", payload); err != nil {
			return err
		}
		s.commit(key)
		return nil
	})
}

func (l *lab) articleLatency(ctx context.Context) ([]time.Duration, error) {
	s := newStopwatch()
	conn, err := pgx.Connect(ctx, l.URL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN c"); err != nil {
		return nil, err
	}
	r := count(ctx, func(ctx context.Context) error {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		var row struct{ Payload struct{ Key string } }
		if err := json.Unmarshal([]byte(n.Payload), &row); err != nil {
			return err
		}
		s.arrive(row.Payload.Key)
		return nil
	})
	defer r.close()
	return l.timed(ctx, s, r, articleInsert)
}

func (l *lab) trunklineLatency(ctx context.Context) ([]time.Duration, error) {
	s := newStopwatch()
	engine, err := l.engine(ctx)
	if err != nil {
		return nil, err
	}
	defer stop(engine)
	sub, err := engine.Subscribe(ctx, []string{"c"}, trunkline.SubscribeOptions{})
	if err != nil {
		return nil, err
	}
	r := count(ctx, func(ctx context.Context) error {
		m, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		var payload struct{ Key string }
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			return err
		}
		s.arrive(payload.Key)
		return nil
	})
	defer r.close()
	return l.timed(ctx, s, r, "SELECT trunkline.publish($1, $2)")
}

func (l *lab) timed(ctx context.Context, s *stopwatch, r *receiver, sql string) ([]time.Duration, error) {
	t, err := l.writeTimed(ctx, s, sql)
	if err != nil {
		return nil, err
	}
	if err := r.await(ctx, t.count); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latencies, nil
}
