package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	websocketWriters = 4
	websocketRate    = 100 // messages a second, of all writers
	websocketClients = 100
)

// websocketSuite measures how long a message takes to WebSocket clients that have nothing to wait for.
func websocketSuite(ctx context.Context, l *lab) error {
	if err := enoughFiles(websocketClients); err != nil {
		return err
	}
	figures := make([][]waits, len(rivals))
	for range l.Rounds {
		for i, r := range rivals {
			w, err := l.paced(ctx, r)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			figures[i] = append(figures[i], w)
		}
	}
	l.printf("  %-46s %21s %21s\n", "ms", "from the commit", "from the call")
	l.printf("  %-46s %10s %10s %10s %10s\n", "", "p50", "p99", "p50", "p99")
	for i, r := range rivals {
		l.printf("  %-46s", r.name)
		for column := range figures[i][0] {
			l.printf(" %10.2f", median(gather(figures[i], func(w waits) float64 { return w[column] })))
		}
		l.printf("\n")
	}
	return nil
}

// waits are the p50 and p99 from the commit, then from the call, in ms.
type waits [4]float64

// paced publishes evenly, as long as a turn takes, and times every delivery.
func (l *lab) paced(ctx context.Context, r rival) (w waits, err error) {
	p, err := l.start(ctx, order{Kind: r.kind, Address: "127.0.0.1:0", Clients: websocketClients})
	if err != nil {
		return w, err
	}
	defer p.stop()
	c, err := l.gatherCrowd(ctx, p, r, websocketClients, 1, 0)
	if err != nil {
		return w, p.because(err)
	}
	defer c.close()
	s := &schedule{}
	began := time.Now()
	t, err := l.write(ctx, websocketWriters, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, w, i int) error {
		due := began.Add(time.Duration(i*websocketWriters+w) * time.Second / websocketRate)
		if err := pause(ctx, time.Until(due)); err != nil {
			return err
		}
		n := s.begin()
		if _, err := conn.Exec(ctx, r.sql, crowdChannel, numbered(n)); err != nil {
			return err
		}
		s.commit(n)
		return nil
	})
	if err == nil {
		err = c.await(ctx, t.count*websocketClients, int(t.count))
	}
	if err != nil {
		return w, p.because(err)
	}
	c.close() // nothing more is timed
	fromCall, fromCommit := s.latencies(c.arrivals)
	return waits{percentile(fromCommit, 50), percentile(fromCommit, 99), percentile(fromCall, 50), percentile(fromCall, 99)}, nil
}
