package inbox

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Full jitter: anything between nothing and a bound that doubles up to a limit.
func TestBackoffHasFullJitter(t *testing.T) {
	t.Parallel()
	for attempt, bound := range []time.Duration{
		20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond, 320 * time.Millisecond,
		640 * time.Millisecond, 1280 * time.Millisecond, 2 * time.Second, 2 * time.Second,
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

// An outage is one line when it begins, one every half minute, and one when it is over.
func TestOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written bytes.Buffer
		o := outage{log: slog.New(slog.NewTextHandler(&written, nil)), what: "it"}
		lines := func(want int, last string) {
			t.Helper()
			text := strings.TrimSpace(written.String())
			said := strings.Split(text, "\n")
			if text == "" {
				said = nil
			}
			if len(said) != want || want > 0 && !strings.Contains(said[want-1], last) {
				t.Errorf("%d lines, want %d with %q at the end:\n%s", len(said), want, last, text)
			}
		}
		o.over()
		lines(0, "")
		for n := range 29 {
			o.failed(errors.New("gone"), n)
			time.Sleep(time.Second)
		}
		lines(1, "gone")
		time.Sleep(time.Second)
		o.failed(errors.New("still gone"), 30)
		lines(2, "still gone")
		o.over()
		lines(3, "failed_for=30s")
		o.over()
		lines(3, "failed_for=30s")
		o.failed(errors.New("gone again"), 0)
		lines(4, "gone again")
	})
}
