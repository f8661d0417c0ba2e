package bench

import (
	"context"
	"fmt"
	"time"
)

const (
	// fewClients is what all clients are compared to: whether the work of the database grows with their number.
	fewClients = 50
	// liveBefore and liveAfter are messages that arrive before the server is killed, and after the clients are back.
	liveBefore = 10
	liveAfter  = 10
)

// reconnectSuite measures how long it takes until clients that come back at once have what they missed.
func reconnectSuite(ctx context.Context, l *lab) error {
	if err := enoughFiles(l.Clients); err != nil {
		return err
	}
	sizes := []int{min(fewClients, l.Clients), l.Clients}
	figures := make([][]comeback, len(sizes))
	for range l.Rounds {
		for i, clients := range sizes {
			f, err := l.comeBack(ctx, clients)
			if err != nil {
				return fmt.Errorf("%d clients: %w", clients, err)
			}
			figures[i] = append(figures[i], f)
		}
	}
	l.printf("  %-46s %14s %14s\n", "medians", whole(sizes[0])+" clients", whole(sizes[1])+" clients")
	for _, row := range []struct {
		name   string
		figure func(comeback) float64
	}{
		{"server started until it serves, ms", func(f comeback) float64 { return ms(f.start) }},
		{"first connects until half have all, ms", func(f comeback) float64 { return ms(f.half) }},
		{"first connects until all have all, ms", func(f comeback) float64 { return ms(f.all) }},
		{"queries for history", func(f comeback) float64 { return float64(f.queries) }},
		{"lost", func(f comeback) float64 { return float64(f.lost) }},
		{"doubled", func(f comeback) float64 { return float64(f.doubled) }},
	} {
		l.printf("  %-46s %14.0f %14.0f\n", row.name, median(gather(figures[0], row.figure)), median(gather(figures[1], row.figure)))
	}
	return nil
}

// A comeback is what one turn measured.
type comeback struct {
	start     time.Duration // from the new process to its first answer
	half, all time.Duration // from the first connection to when so many clients had what they missed
	queries   int64
	lost      int
	doubled   int
}

func (l *lab) comeBack(ctx context.Context, clients int) (f comeback, err error) {
	members := newMembers(clients)
	address, err := l.liveAndKill(ctx, members)
	if err != nil {
		return f, err
	}
	if err := l.publishNumbered(ctx, liveBefore, l.Missed); err != nil {
		return f, err
	}
	began := time.Now()
	p, err := l.start(ctx, order{Kind: oursKind, Address: address, Clients: clients})
	if err != nil {
		return f, err
	}
	defer p.stop()
	f.start = time.Since(began)
	before, err := p.account(ctx)
	if err != nil {
		return f, p.because(err)
	}
	c, err := newCrowd(members, false, maxNumber, 0)
	if err != nil {
		return f, err
	}
	defer c.close()
	took, err := c.join(ctx, p.address, crowdChannel, l.Missed)
	if err != nil {
		return f, p.because(err)
	}
	f.half, f.all = took[len(took)/2], took[len(took)-1]
	after, err := p.account(ctx)
	if err != nil {
		return f, p.because(err)
	}
	f.queries = after.HistoryQueries - before.HistoryQueries
	// They are live again, or have nothing to be back for.
	if err := l.publishNumbered(ctx, liveBefore+l.Missed, liveAfter); err != nil {
		return f, err
	}
	published := liveBefore + l.Missed + liveAfter
	if err := c.await(ctx, int64(clients*(l.Missed+liveAfter)), published); err != nil {
		return f, p.because(err)
	}
	f.lost, f.doubled = c.tally(published)
	return f, nil
}

// liveAndKill lets the members follow a server for a while, kills it, and returns where it was.
func (l *lab) liveAndKill(ctx context.Context, members []*member) (address string, err error) {
	p, err := l.start(ctx, order{Kind: oursKind, Address: "127.0.0.1:0", Clients: len(members)})
	if err != nil {
		return "", err
	}
	defer p.kill()
	c, err := newCrowd(members, false, maxNumber, 0)
	if err != nil {
		return "", err
	}
	defer c.close()
	if _, err := c.join(ctx, p.address, crowdChannel, 0); err != nil {
		return "", p.because(err)
	}
	if err := l.publishNumbered(ctx, 0, liveBefore); err != nil {
		return "", err
	}
	if err := c.await(ctx, int64(len(members)*liveBefore), liveBefore); err != nil {
		return "", p.because(err)
	}
	p.kill() // before the clients leave of their own accord
	return p.address, nil
}

// publishNumbered publishes messages from a number on, each in a transaction of its own.
func (l *lab) publishNumbered(ctx context.Context, from, count int) error {
	for n := range count {
		if _, err := l.pool.Exec(ctx, crowdInsert, crowdChannel, numbered(from+n)); err != nil {
			return err
		}
	}
	return nil
}
