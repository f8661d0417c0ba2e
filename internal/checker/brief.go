package checker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// What is kept only for a moment: channels of a namespace with a short retention, while all else goes on. Their readers are away
// for longer than that now and then. They may miss messages, but never without being told.

const (
	briefNamespace = "brief"
	briefRetention = "2 s"
	briefChannels  = 3
)

func briefChannel(i int) string { return fmt.Sprintf("%s:%d", briefNamespace, i) }

// startBrief makes the namespace.
func (r *runner) startBrief(ctx context.Context) error {
	conn, err := connectTo(ctx, r.options.URL)
	if err != nil {
		return err
	}
	defer closeNow(ctx, conn)
	_, err = conn.Exec(ctx, "INSERT INTO trunkline.namespace (name, retention) VALUES ($1, $2::text::interval)", briefNamespace, briefRetention)
	return err
}

// publishBrief publishes to those channels until ctx ends, however often the database goes away.
func (r *runner) publishBrief(ctx context.Context) {
	random := rand.New(rand.NewPCG(r.options.Seed, 1<<34))
	for ctx.Err() == nil {
		conn, err := connectTo(ctx, r.options.URL)
		for err == nil && ctx.Err() == nil {
			_, err = conn.Exec(ctx, "SELECT trunkline.publish($1, '1') FROM generate_series(1, $2::integer)", briefChannel(random.IntN(briefChannels)), 1+random.IntN(20))
			retry.Sleep(ctx, time.Duration(random.IntN(60))*time.Millisecond)
		}
		if conn != nil {
			closeNow(ctx, conn)
		}
		retry.Sleep(ctx, 50*time.Millisecond)
	}
}

// awaitBrief waits until retention has removed everything of those channels.
func (r *runner) awaitBrief(ctx context.Context, conn *pgx.Conn) error {
	for deadline := time.Now().Add(patience); ; retry.Sleep(ctx, 50*time.Millisecond) {
		var left int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM trunkline.message WHERE channel LIKE $1", briefNamespace+":%").Scan(&left)
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			r.problem("%d messages that should have been kept for %s are still there after %v", left, briefRetention, patience)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// visitBrief reads one of those channels for a while, is away for another, and so on. Every message it gets has the seq that it
// expects: the next one, or the one that an error named.
func (n *node) visitBrief(ctx context.Context, channel string, random *rand.Rand) {
	from, expected := trunkline.FromBeginning(), int64(0) // 0: anything
	var last *trunkline.Message
	for ctx.Err() == nil {
		err := n.readBrief(ctx, channel, from, 20+random.IntN(200), func(m *trunkline.Message) {
			if expected != 0 && m.Seq != expected {
				n.fail("silently short: of %q seq %d of epoch %s came, expected was %d", channel, m.Seq, m.Epoch, expected)
			}
			expected, last = m.Seq+1, m
		})
		if last != nil {
			from = trunkline.FromOffset(trunkline.Offset{Epoch: last.Epoch, Seq: expected - 1})
			if random.IntN(2) == 0 && last.Seq == expected-1 {
				from = trunkline.Since(last.LogPosition())
			}
		}
		var gone *trunkline.TrimmedError
		var ended *trunkline.EpochError
		var beyond *trunkline.BeyondLogError
		switch {
		case errors.As(err, &gone):
			if gone.First <= expected && expected != 0 {
				n.fail("of %q seq %d is said to be removed, but the oldest kept would be %d", channel, expected, gone.First)
			}
			n.emit(&line{Kind: lineEnded, Text: "trimmed"})
			expected = gone.First
			if last != nil {
				from = trunkline.FromOffset(trunkline.Offset{Epoch: last.Epoch, Seq: expected - 1})
			}
		case errors.As(err, &ended):
			from, expected, last = trunkline.FromBeginning(), 0, nil
		case errors.As(err, &beyond), errors.Is(err, context.DeadlineExceeded):
		case err != nil:
			n.fail("%q ended: %v", channel, err)
		}
		retry.Sleep(ctx, time.Duration(random.IntN(4000))*time.Millisecond)
	}
}

// readBrief receives some messages; a while without one ends it, too.
func (n *node) readBrief(ctx context.Context, channel string, from trunkline.Start, most int, received func(*trunkline.Message)) error {
	sub, err := n.engine.Subscribe(ctx, []string{channel}, trunkline.SubscribeOptions{From: from, QueueMessages: 10_000})
	if err != nil {
		return err
	}
	defer sub.Close()
	for range most {
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		m, err := sub.Next(waiting)
		cancel()
		if err != nil {
			return err
		}
		received(&m)
	}
	return nil
}
