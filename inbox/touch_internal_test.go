package inbox

import (
	"fmt"
	"testing"
	"time"
)

func TestTouchesAreThrottled(t *testing.T) {
	var seen touches
	start := time.Now()
	take := func(user string, after time.Duration) bool { return seen.take(user, start.Add(after)) }
	for i, step := range []struct {
		user  string
		after time.Duration
		want  bool
	}{
		{"ann", 0, true},
		{"ann", 0, false},
		{"bob", 20 * time.Second, true},
		{"ann", touchInterval - 1, false},
		{"ann", touchInterval, true}, // begins a generation
		{"bob", 40 * time.Second, false},
		{"ann", 59 * time.Second, false},
		{"bob", 50 * time.Second, true},
		{"cat", 2 * touchInterval, true}, // and another
		{"bob", 79 * time.Second, false},
		{"ann", 60 * time.Second, true},
	} {
		if got := take(step.user, step.after); got != step.want {
			t.Errorf("step %d: %s after %v: %v", i, step.user, step.after, got)
		}
	}
	seen.giveBack("ann")
	if !take("ann", 61*time.Second) {
		t.Error("what was given back isn't taken again")
	}
}

func TestTouchesAreBounded(t *testing.T) {
	var seen touches
	now := time.Now()
	for i := range 5 * maxTouches {
		user := fmt.Sprint(i)
		if !seen.take(user, now) {
			t.Fatalf("the first touch of %s isn't taken", user)
		}
		if n := len(seen.newer) + len(seen.older); n > 2*maxTouches {
			t.Fatalf("%d users are remembered", n)
		}
	}
	if seen.take(fmt.Sprint(5*maxTouches-1), now) || seen.take(fmt.Sprint(4*maxTouches-1), now) {
		t.Error("the latest ones are forgotten")
	}
	// Those of long ago don't stay for ever.
	seen.take("ann", now.Add(touchInterval))
	seen.take("bob", now.Add(2*touchInterval))
	if n := len(seen.newer) + len(seen.older); n != 2 {
		t.Errorf("%d users are remembered", n)
	}
}
