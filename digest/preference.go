package digest

import (
	"fmt"
	"time"
)

// A Mode says when notifications of a kind are mailed.
type Mode string

// Modes, as trunkline.mail_preference has them.
const (
	AtOnce    Mode = "at_once"
	After     Mode = "after"
	Daily     Mode = "daily"
	NeverMail Mode = "never"
)

// A Preference is what a user prefers for a kind of notification, or for all.
type Preference struct {
	Mode  Mode
	Delay *time.Duration // of After
	At    *Clock         // of Daily
}

// makesSense tells whether a preference says when to mail. One that doesn't counts as if it weren't there.
func (p Preference) makesSense() bool {
	switch p.Mode {
	case AtOnce, NeverMail:
		return true
	case After:
		return p.Delay != nil
	case Daily:
		return p.At != nil
	default:
		return false
	}
}

// A timing is when items of a kind are mailed, and who says so.
type timing struct {
	mode   Mode
	delay  time.Duration
	at     Clock
	origin string
}

// timingOf asks the user's preference for the kind, the one for all kinds, the kind's delay and the default, in this order.
// Preferences that make no sense are given to note.
func (c *Candidate) timingOf(item *Item, note func(kind string, p Preference)) timing {
	for _, row := range []struct{ kind, origin string }{
		{item.Kind, "the user's preference for this kind"},
		{"", "the user's preference for all kinds"},
	} {
		p, ok := c.Preferences[row.kind]
		if ok && p.makesSense() {
			t := timing{mode: p.Mode, origin: row.origin}
			switch p.Mode {
			case After:
				t.delay = max(*p.Delay, 0)
			case Daily:
				t.at = *p.At
			}
			return t
		}
		if ok {
			note(row.kind, p)
		}
	}
	if item.KindDelay != nil {
		return timing{mode: After, delay: max(*item.KindDelay, 0), origin: "the delay of this kind"}
	}
	return timing{mode: After, delay: DefaultDelay, origin: "the default"}
}

// due returns when an item that was created at a moment is due, unless it is never.
func (t timing) due(created time.Time, zone *time.Location) time.Time {
	if t.mode == Daily {
		return nextDaily(created, t.at, zone)
	}
	return created.Add(t.delay)
}

func (t timing) String() string {
	switch t.mode {
	case Daily:
		return fmt.Sprintf("daily at %s (%s)", t.at, t.origin)
	case AtOnce:
		return fmt.Sprintf("at once (%s)", t.origin)
	default:
		return fmt.Sprintf("after %s (%s)", spell(t.delay), t.origin)
	}
}
