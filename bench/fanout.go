package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	crowdChannel = "bench:crowd"
	crowdInsert  = "SELECT trunkline.publish($1, $2)"
	// fanoutWriters publish one message per transaction.
	fanoutWriters = 8
	// fanoutAhead is how many messages may be published that not all clients have yet. It decides how long a message waits
	// when clients are served slower than publishers publish, which is what is measured.
	fanoutAhead = 64
	// fanoutTimed is how many deliveries there are to each that is timed.
	fanoutTimed = 16
)

// A rival serves WebSocket clients.
type rival struct {
	name, kind, sql string
}

var rivals = []rival{
	{"LISTEN, each message a write to each client", articleKind, articleInsert},
	{"trunkline", oursKind, crowdInsert},
}

// fanoutSuite measures how fast many clients are served, how long messages take meanwhile, and what a client costs.
func fanoutSuite(ctx context.Context, l *lab) error {
	for _, clients := range l.Subscribers {
		if err := enoughFiles(clients); err != nil {
			return err
		}
	}
	for _, clients := range l.Subscribers {
		figures := make([][]fanout, len(rivals))
		for range l.Rounds {
			for i, r := range rivals {
				f, err := l.fanOut(ctx, r, clients)
				if err != nil {
					return fmt.Errorf("%s, %d subscribers: %w", r.name, clients, err)
				}
				figures[i] = append(figures[i], f)
			}
		}
		l.printf("  %-46s %13s %19s  %-12s %8s %8s %9s\n", whole(clients)+" subscribers", "deliveries/s", "lowest to highest",
			"to the first", "p50 ms", "p99 ms", "kB, idle")
		for i, r := range rivals {
			rates := gather(figures[i], func(f fanout) float64 { return f.rate })
			l.printf("  %-46s %13s %19s  %-12.2f %8.1f %8.1f %9.1f\n", r.name, number(median(rates)),
				number(slices.Min(rates))+" – "+number(slices.Max(rates)),
				medianRatio(rates, gather(figures[0], func(f fanout) float64 { return f.rate })),
				median(gather(figures[i], func(f fanout) float64 { return f.p50 })),
				median(gather(figures[i], func(f fanout) float64 { return f.p99 })),
				median(gather(figures[i], func(f fanout) float64 { return f.idle })))
		}
	}
	return nil
}

// A fanout is what one turn measured.
type fanout struct {
	rate     float64 // deliveries per second
	p50, p99 float64 // ms from publishing to a client
	idle     float64 // kB of the server's resident memory per connection before anything was published
}

func (l *lab) fanOut(ctx context.Context, r rival, clients int) (f fanout, err error) {
	p, err := l.start(ctx, order{Kind: r.kind, Address: "127.0.0.1:0", Clients: clients})
	if err != nil {
		return f, err
	}
	defer p.stop()
	empty, err := p.resident()
	if err != nil {
		return f, err
	}
	c, err := l.gatherCrowd(ctx, p, r, clients, fanoutTimed, fanoutAhead)
	if err != nil {
		return f, p.because(err)
	}
	defer c.close()
	// What connecting took is over by then.
	if err := pause(ctx, min(time.Second, l.turnLength())); err != nil {
		return f, err
	}
	full, err := p.resident()
	if err != nil {
		return f, err
	}
	f.idle = float64(full-empty) / float64(clients) / 1000

	s := &schedule{}
	began := time.Now()
	t, err := l.write(ctx, fanoutWriters, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, _, _ int) error {
		if err := c.wait(ctx); err != nil {
			return err
		}
		n := s.begin()
		_, err := conn.Exec(ctx, r.sql, crowdChannel, numbered(n))
		return err
	})
	if err == nil {
		err = c.await(ctx, t.count*int64(clients), int(t.count))
	}
	if err != nil {
		return f, p.because(err)
	}
	f.rate = float64(t.count) * float64(clients) / time.Since(began).Seconds()
	c.close() // nothing more is timed
	fromCall, _ := s.latencies(c.arrivals)
	f.p50, f.p99 = percentile(fromCall, 50), percentile(fromCall, 99)
	return f, nil
}

// gatherCrowd connects clients to a contestant. Close the crowd when done.
func (l *lab) gatherCrowd(ctx context.Context, p *process, r rival, clients, every, ahead int) (*crowd, error) {
	c, err := newCrowd(newMembers(clients), r.kind == articleKind, every, ahead)
	if err != nil {
		return nil, err
	}
	_, err = c.join(ctx, p.address, crowdChannel, 0)
	if err == nil && c.plain {
		err = p.followed(ctx, clients)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func gather[T any](all []T, figure func(T) float64) (figures []float64) {
	for _, one := range all {
		figures = append(figures, figure(one))
	}
	return figures
}

// medianRatio is taken round by round.
func medianRatio(figures, to []float64) float64 {
	var ratios []float64
	for i := range figures {
		ratios = append(ratios, figures[i]/to[i])
	}
	return median(ratios)
}
