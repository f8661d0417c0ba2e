package digest

import (
	"fmt"
	"time"

	"github.com/trunkline/trunkline"
)

// DefaultDelay is how long an item may stay unread before it is mailed, where neither the user nor its kind says otherwise. Not
// a rule to choose: trunkline.inbox_keep has the same, from which the worker knows when to look at a user first.
const DefaultDelay = 4 * time.Hour

const oneDay = 24 * time.Hour

// Rules are what a site can choose about digests. The zero value of each is a good default.
type Rules struct {
	// ActiveWindow is how long after what they last did users count as active. 1 s to 1 h; default 5 min; negative: nobody is.
	ActiveWindow time.Duration
	// MaxPostpone is how long a mail is postponed at most because its user is active. 1 s to 24 h; default 1 h.
	MaxPostpone time.Duration
	// DailyCap is how many mails a user gets at most in any 24 hours. 1 to 1,000; default 10; negative: no limit.
	DailyCap int
	// MaxAge is how long an item that was due may still be mailed. 1 h to 400 days; default: for ever, so that what a long outage
	// or a wrong address held up is mailed afterwards, too.
	MaxAge time.Duration
	// BounceLimit is the [BounceScore] from which on nothing is mailed to an address. 0.5 to 100; default 3.
	BounceLimit float64
	// MostItems is how many items one mail is for; the oldest go first, the rest a minute later. 1 to 100,000; default 10,000.
	MostItems int
}

func (r Rules) withDefaults() Rules {
	r.ActiveWindow = defaultTo(r.ActiveWindow, 5*time.Minute)
	r.MaxPostpone = defaultTo(r.MaxPostpone, time.Hour)
	r.DailyCap = defaultTo(r.DailyCap, 10)
	r.BounceLimit = defaultTo(r.BounceLimit, 3)
	r.MostItems = defaultTo(r.MostItems, 10_000)
	return r
}

func defaultTo[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Validate says what is wrong with rules, as a *[trunkline.ArgumentError].
func (r Rules) Validate() error {
	r = r.withDefaults()
	durations := []struct {
		name          string
		value, lo, hi time.Duration
		off           bool
	}{
		{"ActiveWindow", r.ActiveWindow, time.Second, time.Hour, true},
		{"MaxPostpone", r.MaxPostpone, time.Second, oneDay, false},
		{"MaxAge", r.MaxAge, time.Hour, 400 * oneDay, false},
	}
	for _, d := range durations {
		if d.value == 0 {
			continue // the default
		}
		if (d.value < d.lo || d.value > d.hi) && (d.value > 0 || !d.off) {
			return outside(d.name, spell(d.value), spell(d.lo), spell(d.hi), d.off)
		}
	}
	if r.DailyCap > 1000 {
		return outside("DailyCap", r.DailyCap, 1, 1000, true)
	}
	// Said so that it refuses what isn't a number, too.
	if !(r.BounceLimit >= 0.5 && r.BounceLimit <= 100) {
		return outside("BounceLimit", r.BounceLimit, 0.5, 100, false)
	}
	if r.MostItems < 1 || r.MostItems > 100_000 {
		return outside("MostItems", r.MostItems, 1, 100_000, false)
	}
	return nil
}

func outside(name string, value, lo, hi any, off bool) error {
	fix := fmt.Sprintf("Choose between %v and %v, or 0 for the default", lo, hi)
	if off {
		fix += ", or a negative one for no such rule"
	}
	return &trunkline.ArgumentError{Argument: name, Problem: fmt.Sprintf("Rules.%s is %v", name, value), Fix: fix}
}
