package digest

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHalfOfTheBouncesIsForgottenInThirtyDays(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 5, 13, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		bounces float64
		ago     time.Duration
		score   float64
	}{
		{4, 0, 4},
		{4, 30 * oneDay, 2},
		{4, 60 * oneDay, 1},
		{4, 15 * oneDay, 4 / math.Sqrt2},
		{4, -oneDay, 4}, // another machine's clock is ahead
		{0, oneDay, 0},
		{-1, oneDay, 0},
		{math.NaN(), oneDay, 0},
		{math.Inf(1), oneDay, math.Inf(1)},
	} {
		if score := BounceScore(c.bounces, at.Add(-c.ago), at); score != c.score && !(math.Abs(score-c.score) < 1e-9) {
			t.Errorf("%g bounces %s ago are %g, want %g", c.bounces, c.ago, score, c.score)
		}
	}
	if score := BounceScore(4, time.Time{}, at); score != 4 {
		t.Errorf("4 bounces of nobody knows when are %g", score)
	}
}

func TestItIsKnownWhenEnoughBouncesAreForgotten(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 5, 13, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Float64Range(0.5, 100).Draw(t, "limit")
		bounces := limit * rapid.Float64Range(1, 1e6).Draw(t, "times as many")
		until := bouncesUntil(bounces, at, limit)
		if BounceScore(bounces, at, until) >= limit {
			t.Fatalf("%g at %s isn't below %g", bounces, until, limit)
		}
		if early := until.Add(-2 * time.Second); early.After(at) && BounceScore(bounces, at, early) < limit {
			t.Fatalf("%g was below %g before %s", bounces, limit, until)
		}
	})
	for _, until := range []time.Time{
		bouncesUntil(4, time.Time{}, 3), bouncesUntil(math.Inf(1), at, 3), bouncesUntil(math.MaxFloat64, at, 0.5),
	} {
		if !until.IsZero() {
			t.Errorf("nobody can know, but it is said to be %s", until)
		}
	}
}
