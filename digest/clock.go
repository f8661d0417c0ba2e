package digest

import (
	"fmt"
	"time"
)

// A Clock is a time of day: what a clock shows, as the duration since midnight, from 0 to 24 h.
type Clock time.Duration

func (c Clock) String() string {
	c = c.ofDay()
	return fmt.Sprintf("%02d:%02d", c/Clock(time.Hour), c%Clock(time.Hour)/Clock(time.Minute))
}

// ofDay makes a clock of what may come from anywhere: 24:00, which PostgreSQL's type time allows, is 00:00.
func (c Clock) ofDay() Clock {
	const day = Clock(24 * time.Hour)
	return (c%day + day) % day
}

// on returns what clocks show at that time on a day.
func (c Clock) on(day time.Time) time.Time { return day.Add(time.Duration(c)) }

// dayOf returns the midnight that a wall time comes after.
func dayOf(wall time.Time) time.Time {
	year, month, day := wall.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// nextDaily returns the first daily hour after an instant. Each date has one: see [firstAt] for what clocks skip and show twice.
// A date that isn't there at all has none (Samoa went from 29 to 31 December 2011).
func nextDaily(after time.Time, at Clock, zone *time.Location) time.Time {
	at = at.ofDay()
	for day := dayOf(wallOf(after, zone)); ; day = day.AddDate(0, 0, 1) {
		next := firstAt(at.on(day), zone)
		if next.After(after) && firstAt(day, zone).Before(firstAt(day.AddDate(0, 0, 1), zone)) {
			return next
		}
	}
}

// Quiet hours are from one time of day to another, which is on the next day unless it is later. None, if both are the same.
//
// There is one such stretch for each date. It begins and ends as [firstAt] says: where clocks show its end twice, it ends with
// the first.
type Quiet struct{ From, To Clock }

func (q Quiet) String() string { return fmt.Sprintf("from %s to %s", q.From, q.To) }

// end returns when the quiet hours end in which t lies: t itself if it lies in none.
func (q Quiet) end(t time.Time, zone *time.Location) time.Time {
	from, to := q.From.ofDay(), q.To.ofDay()
	if from == to {
		return t
	}
	if to < from {
		to += Clock(24 * time.Hour)
	}
	// Yesterday's may still be on, and tomorrow's may have begun, where clocks have been set back since. Where a date was skipped,
	// one begins as the other ends: hence in order.
	today := dayOf(wallOf(t, zone))
	for i := -1; i <= 1; i++ {
		day := today.AddDate(0, 0, i)
		if begin, end := firstAt(from.on(day), zone), firstAt(to.on(day), zone); !t.Before(begin) && t.Before(end) {
			t = end
		}
	}
	return t
}
