package bench

import (
	"context"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
)

// missed is how many messages there are to catch up with, together how many subscribers do so at once. Tests make do with fewer.
var missed, together = 10_000, 1000

// catchUpSuite measures how fast those who were away get what they missed.
func catchUpSuite(ctx context.Context, l *lab) error {
	if _, err := l.pool.Exec(ctx, "SELECT trunkline.publish('catchup', $1::json) FROM generate_series(1, $2::int)", payload200, missed); err != nil {
		return err
	}
	resume := func(subscribers int) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			engine, err := l.engine(ctx)
			if err != nil {
				return 0, err
			}
			defer stop(engine)
			if err := l.sequenced(ctx); err != nil {
				return 0, err
			}
			page, err := engine.History(ctx, "catchup", 0, 1)
			if err != nil {
				return 0, err
			}
			from := trunkline.FromOffset(trunkline.Offset{Epoch: page.Epoch, Seq: page.LastSeq - int64(missed)})
			before := engine.Stats().HistoryQueries
			began := time.Now()
			var wg sync.WaitGroup
			errs := make(chan error, subscribers)
			for range subscribers {
				wg.Go(func() { errs <- readMissed(ctx, engine, from) })
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					return 0, err
				}
			}
			elapsed := time.Since(began)
			l.printf("  %d subscribers: %.0f ms, %d queries\n", subscribers, ms(elapsed), engine.Stats().HistoryQueries-before)
			return float64(subscribers*missed) / elapsed.Seconds(), nil
		}
	}
	return l.compete(ctx, "messages/s",
		&contestant{name: "1 subscriber", turn: resume(1)},
		&contestant{name: "1,000 subscribers together", turn: resume(together)},
	)
}

func readMissed(ctx context.Context, engine *trunkline.Engine, from trunkline.Start) error {
	sub, err := engine.Subscribe(ctx, []string{"catchup"}, trunkline.SubscribeOptions{From: from})
	if err != nil {
		return err
	}
	defer sub.Close()
	for range missed {
		if _, err := sub.Next(ctx); err != nil {
			return err
		}
	}
	return nil
}
