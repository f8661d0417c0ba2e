package checker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

// RunCalm lets writers write in rounds, while nothing fails, and verifies. A round begins when everything before is in the
// log: so the last message of each meets a sequencer that is about to sleep, and nothing after it could make up for a ring
// that was missed, save the look once a second, which counts what it heals.
func RunCalm(ctx context.Context, o Options) (*Report, error) {
	r := newRunner(o)
	defer r.killAll()
	random := rand.New(rand.NewPCG(o.Seed, 1<<33))
	if err := r.migrate(ctx); err != nil {
		return r.report(), err
	}
	if err := r.startNodes(ctx, random); err != nil {
		return r.report(), err
	}
	conn, err := connectTo(ctx, o.URL)
	if err != nil {
		return r.report(), err
	}
	defer closeNow(ctx, conn)
	writers := make([]*writer, o.Writers)
	for i := range writers {
		writers[i] = &writer{run: r, index: i, random: rand.New(rand.NewPCG(o.Seed, uint64(i)))}
		defer writers[i].disconnect(ctx)
	}
	round, straggler := 0, &writer{run: r, index: o.Writers, random: rand.New(rand.NewPCG(o.Seed, uint64(o.Writers)))}
	defer straggler.disconnect(ctx)
	for deadline := time.Now().Add(o.Duration); time.Now().Before(deadline); round++ {
		// One writer, a few, or all; once each or some times.
		busy, times := []int{1, 2, 5, len(writers)}[random.IntN(4)], 1+random.IntN(4)
		var writing sync.WaitGroup
		if round%3 == 0 && straggler.connect(ctx) {
			r.storm(ctx, writers, straggler)
			busy = 0
		}
		for _, i := range random.Perm(len(writers))[:min(busy, len(writers))] {
			w := writers[i]
			writing.Go(func() {
				for range times {
					if w.connect(ctx) {
						w.transaction(ctx)
					}
				}
			})
		}
		writing.Wait()
		if err := r.awaitLog(ctx, conn); err != nil {
			return r.report(), err
		}
		retry.Sleep(ctx, time.Duration(random.IntN(400))*time.Millisecond)
	}
	r.note(fmt.Sprintf("writing ended after %d rounds", round))
	return r.judge(ctx)
}

// storm makes all writers publish as fast as they can, so that the sequencer stays awake, and one more that publishes amid
// them, when nobody has to ring, but commits after the sequencer would have gone to sleep.
func (r *runner) storm(ctx context.Context, writers []*writer, straggler *writer) {
	var writing sync.WaitGroup
	for _, w := range writers {
		writing.Go(func() {
			for range 25 {
				if w.connect(ctx) {
					w.short(ctx, func() {})
				}
			}
		})
	}
	retry.Sleep(ctx, time.Duration(20+straggler.random.IntN(100))*time.Millisecond)
	straggler.short(ctx, func() {
		writing.Wait()
		retry.Sleep(ctx, time.Duration(100+straggler.random.IntN(900))*time.Millisecond)
	})
	writing.Wait()
}

// short is a transaction of one message, which waits before it commits.
func (w *writer) short(ctx context.Context, wait func()) {
	w.number++
	s := &script{name: fmt.Sprintf("%d.%d", w.index, w.number)}
	s.tx = w.run.ledger.Begin(s.name)
	outcome := RolledBack
	if _, err := w.conn.Exec(ctx, "BEGIN"); err == nil && w.publish(ctx, s, "") == nil {
		wait()
		outcome = w.commit(ctx, "COMMIT", "COMMIT")
	}
	w.run.ledger.End(s.tx, outcome)
}
