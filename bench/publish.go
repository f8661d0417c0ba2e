package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

const writers = 32

// publishSuite measures what publishing costs writers, with somebody receiving everything.
func publishSuite(ctx context.Context, l *lab) error {
	return l.compete(ctx, "commits/s",
		&contestant{name: "bare INSERT", turn: l.bare},
		&contestant{name: "row trigger with pg_notify, 1 listener", turn: l.article},
		&contestant{name: "trunkline.publish, 1 channel", turn: func(ctx context.Context) (float64, error) { return l.published(ctx, 1) }},
		&contestant{name: "trunkline.publish, 100 channels", turn: func(ctx context.Context) (float64, error) { return l.published(ctx, 100) }},
	)
}

func (l *lab) bare(ctx context.Context) (float64, error) {
	t, err := l.write(ctx, writers, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, _, _ int) error {
		_, err := conn.Exec(ctx, bareInsert, "c", payload200)
		return err
	})
	return t.perSecond(), err
}

func (l *lab) article(ctx context.Context) (float64, error) {
	listening, err := listen(ctx, l.URL, "c")
	if err != nil {
		return 0, err
	}
	defer listening.close()
	t, err := l.write(ctx, writers, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, _, _ int) error {
		_, err := conn.Exec(ctx, articleInsert, "c", payload200)
		return err
	})
	if err != nil {
		return 0, err
	}
	return t.perSecond(), listening.await(ctx, t.count)
}

func (l *lab) published(ctx context.Context, channels int) (float64, error) {
	engine, err := l.engine(ctx)
	if err != nil {
		return 0, err
	}
	defer stop(engine)
	names := make([]string, channels)
	for i := range names {
		names[i] = "bench:" + strconv.Itoa(i)
	}
	received, err := receive(ctx, engine, names)
	if err != nil {
		return 0, err
	}
	defer received.close()
	t, err := l.write(ctx, writers, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, w, n int) error {
		_, err := conn.Exec(ctx, "SELECT trunkline.publish($1, $2)", names[(w+n)%channels], payload200)
		return err
	})
	if err != nil {
		return 0, err
	}
	if os.Getenv("DBG") != "" {
		l.printf("%+v\n", engine.Stats())
	}
	return t.perSecond(), received.await(ctx, t.count)
}

// coalescedSuite measures publishing without a transaction of one's own.
func coalescedSuite(ctx context.Context, l *lab) error {
	return l.compete(ctx, "acknowledged/s",
		&contestant{name: "bare INSERT, 32 connections", turn: l.bare},
		&contestant{name: "Publish, 32 goroutines", turn: func(ctx context.Context) (float64, error) {
			engine, err := l.engine(ctx)
			if err != nil {
				return 0, err
			}
			defer stop(engine)
			received, err := receive(ctx, engine, []string{"c"})
			if err != nil {
				return 0, err
			}
			defer received.close()
			t, err := l.write(ctx, writers, l.turnLength(), func(ctx context.Context, _ *pgx.Conn, _, _ int) error {
				_, err := engine.Publish(ctx, trunkline.Publication{Channel: "c", Payload: []byte(payload200)})
				return err
			})
			if err != nil {
				return 0, err
			}
			return t.perSecond(), received.await(ctx, t.count)
		}},
	)
}

// A receiver counts what arrives, on a goroutine of its own.
type receiver struct {
	cancel context.CancelFunc
	counts chan int64 // how many so far, the newest only
	done   chan struct{}
	err    error
}

// count calls next until it fails, and onEach with every answer.
func count(ctx context.Context, next func(context.Context) error) *receiver {
	ctx, cancel := context.WithCancel(ctx)
	r := &receiver{cancel: cancel, counts: make(chan int64, 1), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for n := int64(1); ; n++ {
			if err := next(ctx); err != nil {
				r.err = err
				return
			}
			select {
			case <-r.counts:
			default:
			}
			r.counts <- n
		}
	}()
	return r
}

func (r *receiver) close() {
	r.cancel()
	<-r.done
}

// await waits until all have arrived: what is measured delivers everything, or the measurement fails.
func (r *receiver) await(ctx context.Context, all int64) error {
	timeout := time.After(time.Minute)
	got := int64(0)
	for got < all {
		select {
		case got = <-r.counts:
		case <-r.done:
			return fmt.Errorf("after %d of %d messages: %w", got, all, r.err)
		case <-timeout:
			return fmt.Errorf("only %d of %d messages arrived within a minute", got, all)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func receive(ctx context.Context, engine *trunkline.Engine, channels []string) (*receiver, error) {
	sub, err := engine.Subscribe(ctx, channels, trunkline.SubscribeOptions{QueueMessages: 100_000})
	if err != nil {
		return nil, err
	}
	return count(ctx, func(ctx context.Context) error {
		_, err := sub.Next(ctx)
		return err
	}), nil
}

// listen receives as the article does.
func listen(ctx context.Context, url, channel string) (*receiver, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return nil, err
	}
	r := count(ctx, func(ctx context.Context) error {
		_, err := conn.WaitForNotification(ctx)
		return err
	})
	go func() {
		<-r.done
		_ = conn.Close(context.WithoutCancel(ctx))
	}()
	return r, nil
}
