package trunkline

import (
	"testing"
	"testing/synctest"
	"time"
)

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
