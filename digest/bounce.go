package digest

import (
	"math"
	"time"
)

// BounceHalfLife is how long it takes to forget half of an address's bounces. Fixed, since the database adds them up.
const BounceHalfLife = 30 * 24 * time.Hour

// BounceScore is how much is left at a moment of the bounces that an address had: half of them is forgotten every
// [BounceHalfLife]. What isn't a number is none.
func BounceScore(bounces float64, bouncedAt, now time.Time) float64 {
	if math.IsNaN(bounces) || bounces <= 0 {
		return 0
	}
	if bouncedAt.IsZero() || bouncedAt.After(now) {
		return bounces
	}
	return bounces * math.Exp2(-float64(now.Sub(bouncedAt))/float64(BounceHalfLife))
}

// bouncesUntil returns when a score that has reached the limit falls below it; zero, if nobody knows.
func bouncesUntil(bounces float64, bouncedAt time.Time, limit float64) time.Time {
	const longest = 1000 // half-lives: what a duration can hold
	halfLives := math.Log2(bounces / limit)
	if bouncedAt.IsZero() || halfLives > longest {
		return time.Time{}
	}
	// A second more than it takes, for what a floating-point number lacks.
	return bouncedAt.Add(time.Duration(halfLives*float64(BounceHalfLife)) + time.Second)
}
