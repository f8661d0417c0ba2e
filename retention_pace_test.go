package trunkline

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

// scriptedRetention makes a retention whose batches are answered by a function, and starts it. It counts the batches.
func scriptedRetention(t *testing.T, keep time.Duration, answer func(n int) (trimResult, error)) (r *retention, asked func() int) {
	t.Helper()
	c := &counters{}
	var n atomic.Int64
	r = &retention{
		hub: newHub(&Config{RingMessages: 1, RingBytes: 1 << 20}, c), member: &member{}, log: slog.New(slog.DiscardHandler), counters: c,
		namespaces: func() []Namespace {
			return []Namespace{{Name: "ever"}, {Name: "c", Retention: keep}, {Name: "d", Retention: keep}}
		},
		changed: make(chan struct{}, 1), next: map[time.Duration]*trimming{},
		batch: func(_ context.Context, given time.Duration) (trimResult, error) {
			if given != keep {
				t.Errorf("asked for retention %v", given)
			}
			return answer(int(n.Add(1)))
		},
	}
	r.outage = retry.NewOutage(r.log, "")
	r.hub.begin("epoch", 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return r, func() int { synctest.Wait(); return int(n.Load()) }
}

func trimmedSome(removed int64, done bool, upto int64, wait time.Duration) trimResult {
	result := trimResult{removed: &removed, done: &done, upto: &upto, unfloored: new(bool)}
	if wait >= 0 {
		result.wait = &wait
	}
	return result
}

func TestRetentionAsksOnlyWhenThereMayBeSomething(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log atomic.Int64
		log.Store(100)
		r, asked := scriptedRetention(t, time.Hour, func(n int) (trimResult, error) {
			switch n {
			case 1, 2:
				return trimmedSome(500, false, 0, -1), nil
			case 3:
				return trimmedSome(7, true, 90, 20*time.Minute), nil
			}
			return trimmedSome(1, true, log.Load(), -1), nil
		})
		time.Sleep(time.Hour)
		if n := asked(); n != 0 {
			t.Errorf("asked %d times while another node sequences", n)
		}
		r.member.sequencing.Store(true)
		time.Sleep(10 * time.Second)
		if n := asked(); n != 3 {
			t.Errorf("asked %d times, want until all is removed", n)
		}
		time.Sleep(19 * time.Minute)
		if n := asked(); n != 3 {
			t.Errorf("asked %d times before the next is too old", n)
		}
		time.Sleep(2 * time.Minute)
		if n := asked(); n != 4 {
			t.Errorf("asked %d times when the next is too old", n)
		}
		time.Sleep(10 * time.Hour)
		if n := asked(); n != 4 {
			t.Errorf("asked %d times while nothing is published", n)
		}
		log.Store(101)
		r.hub.jump(101)
		time.Sleep(10 * time.Hour)
		if n := asked(); n != 5 {
			t.Errorf("asked %d times after something was published", n)
		}
		tell(r.changed)
		time.Sleep(10 * time.Hour)
		if n := asked(); n != 6 {
			t.Errorf("asked %d times after the settings changed", n)
		}
		if n := r.counters.trimmed.Load(); n != 1010 {
			t.Errorf("%d are said to be removed", n)
		}
	})
}

func TestRetentionWaitsForTheFloorForAnotherNodeAndAfterFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, asked := scriptedRetention(t, time.Second, func(n int) (trimResult, error) {
			switch n {
			case 1:
				return trimResult{}, errors.New("the database is away")
			case 2:
				return trimResult{}, nil // another node is at it
			case 3:
				result := trimmedSome(0, true, 50, -1)
				*result.unfloored = true
				return result, nil
			}
			return trimmedSome(1, true, 100, -1), nil
		})
		r.member.sequencing.Store(true)
		for i, wait := range []time.Duration{5 * time.Second / 2, trimRetry, trimRetry} {
			time.Sleep(wait)
			if n := asked(); n != i+1 {
				t.Errorf("asked %d times, want %d", n, i+1)
			}
		}
		if !r.member.wantFloor.Load() {
			t.Error("the sequencer isn't told that a higher floor is wanted")
		}
		time.Sleep(3 * time.Second)
		if n := asked(); n != 4 {
			t.Errorf("asked %d times", n)
		}
		if n := r.counters.trimFailures.Load(); n != 1 {
			t.Errorf("%d failures are counted", n)
		}
	})
}
