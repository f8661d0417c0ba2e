package checker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
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
	round := 0
	for deadline := time.Now().Add(o.Duration); time.Now().Before(deadline); round++ {
		// One writer, a few, or all; once each or some times.
		busy, times := []int{1, 2, 5, len(writers)}[random.IntN(4)], 1+random.IntN(4)
		var writing sync.WaitGroup
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
		sleep(ctx, time.Duration(random.IntN(400))*time.Millisecond)
	}
	r.note(fmt.Sprintf("writing ended after %d rounds", round))
	return r.judge(ctx)
}
