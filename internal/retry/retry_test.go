package retry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

// Full jitter: anything between nothing and a bound that doubles up to a limit.
func TestWaitHasFullJitter(t *testing.T) {
	t.Parallel()
	const base, most = 50 * time.Millisecond, 5 * time.Second
	for attempt, bound := range []time.Duration{
		50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
		800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond, most, most,
	} {
		const draws = 4000
		low, high, sum := time.Hour, time.Duration(0), time.Duration(0)
		for range draws {
			d := retry.Wait(base, most, attempt)
			low, high, sum = min(low, d), max(high, d), sum+d
		}
		// Each bound is missed by chance less than once in 10⁸ runs.
		if low < 0 || high >= bound || low > bound/100 || high < bound/100*99 || sum/draws < bound/100*45 || sum/draws > bound/100*55 {
			t.Errorf("attempt %d: from %v to %v, mean %v; the bound is %v", attempt, low, high, sum/draws, bound)
		}
	}
	for _, attempt := range []int{15, 16, 63, 64, 1 << 30} {
		if d := retry.Wait(base, most, attempt); d < 0 || d >= most {
			t.Errorf("attempt %d: %v", attempt, d)
		}
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !retry.Sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("it slept %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if began := time.Now(); retry.Sleep(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("after its context had ended it slept %v", time.Since(began))
		}
	})
}

// An outage is one line when it begins, one every half minute, and one when it is over.
func TestOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var written bytes.Buffer
		o := retry.NewOutage(slog.New(slog.NewTextHandler(&written, nil)), "it")
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
		o.Over()
		lines(0, "")
		for n := range 29 {
			o.Failed(errors.New("gone"), n)
			time.Sleep(time.Second)
		}
		lines(1, "gone")
		time.Sleep(time.Second)
		o.Failed(errors.New("still gone"), 30)
		lines(2, "still gone")
		o.Over()
		lines(3, "failed_for=30s")
		o.Over()
		lines(3, "failed_for=30s")
		o.Failed(errors.New("gone again"), 0)
		lines(4, "gone again")
	})
}
