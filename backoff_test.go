package trunkline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Full jitter: anything between nothing and a bound that doubles up to a limit.
func TestBackoffHasFullJitter(t *testing.T) {
	t.Parallel()
	for attempt, bound := range []time.Duration{
		50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
		800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, 5 * time.Second, 5 * time.Second,
	} {
		const draws = 4000
		low, high, sum := time.Hour, time.Duration(0), time.Duration(0)
		for range draws {
			d := backoff(attempt)
			low, high, sum = min(low, d), max(high, d), sum+d
		}
		// Each bound is missed by chance less than once in 10⁸ runs.
		if low < 0 || high >= bound || low > bound/100 || high < bound/100*99 || sum/draws < bound/100*45 || sum/draws > bound/100*55 {
			t.Errorf("attempt %d: from %v to %v, mean %v; the bound is %v", attempt, low, high, sum/draws, bound)
		}
	}
	for _, attempt := range []int{63, 64, 1 << 30} {
		if d := backoff(attempt); d < 0 || d >= backoffMost {
			t.Errorf("attempt %d: %v", attempt, d)
		}
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("it slept %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if began := time.Now(); sleep(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("after its context had ended it slept %v", time.Since(began))
		}
	})
}

// The heartbeat of the LISTEN connection: when it is due, and when one that doesn't arrive is overdue.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := heartbeat{interval: 10 * time.Second, patience: 5 * time.Second}
		send := func(mark string) {
			b.began = time.Now()
			b.await(mark)
		}
		check := func(what string, due, overdue bool) {
			t.Helper()
			if now := time.Now(); b.due(now) != due || b.overdue(now) != overdue {
				t.Errorf("%s: due %v, overdue %v", what, b.due(now), b.overdue(now))
			}
		}
		check("at first", true, false)
		send("a")
		check("sent", false, false)
		if wait := time.Until(b.next()); wait != 5*time.Second {
			t.Errorf("looks again after %v", wait)
		}
		time.Sleep(4 * time.Second)
		b.arrived("somebody else's")
		check("another arrived", false, false)
		b.arrived("a")
		time.Sleep(2 * time.Second)
		check("arrived in time", false, false)
		if wait := time.Until(b.next()); wait != 4*time.Second {
			t.Errorf("looks again after %v", wait)
		}
		time.Sleep(4 * time.Second)
		check("the interval is over", true, false)
		send("b")
		time.Sleep(5 * time.Second)
		check("it didn't arrive", false, true)

		// One that arrives before its sending is known to have succeeded.
		b = heartbeat{interval: 10 * time.Second, patience: 5 * time.Second, began: time.Now()}
		b.arrived("c")
		b.await("c")
		time.Sleep(6 * time.Second)
		check("arrived before it was awaited", false, false)
	})
}
