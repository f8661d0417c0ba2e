package digest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sentences are what decisions are explained with, for people: times are shown in the user's zone. A reason mentions nothing
// that changes from look to look, such as how long ago something was, so that the same one is known again.
type sentences struct {
	zone  *time.Location
	notes []string
}

func (s *sentences) noteZone(name string) {
	s.note(fmt.Sprintf("Time zone %s isn't known, so %s is used.", quote(name), s.zone))
}

func (s *sentences) notePreference(kind string, p Preference) {
	what := "all kinds"
	if kind != "" {
		what = "kind " + quote(kind)
	}
	lacks := ""
	switch p.Mode {
	case After:
		lacks = " without a delay"
	case Daily:
		lacks = " without a time of day"
	}
	s.note(fmt.Sprintf("The user's preference for %s isn't understood and doesn't count: %s%s.",
		what, quote(string(p.Mode)), lacks))
}

func (s *sentences) note(sentence string) {
	for _, n := range s.notes {
		if n == sentence {
			return
		}
	}
	s.notes = append(s.notes, sentence)
}

// reason puts a reason together: the sentences that are given, then what is left out, then the notes.
func (s *sentences) reason(left string, first ...string) string {
	all := first
	if left != "" {
		all = append(all, left)
	}
	return strings.Join(append(all, s.notes...), " ")
}

func (s *sentences) mailed(p *plan, d Decision) string {
	if d.Kind == Ask {
		return s.reason(leftOut(p, d.Left), notifications(len(d.Items), "is", "are")+
			" mailed, if the user may still see the groups.", s.wasDue(p))
	}
	return s.reason(leftOut(p, d.Left), notifications(len(d.Items), "is", "are")+" mailed.", s.wasDue(p))
}

func (s *sentences) nothing(p *plan) string {
	if len(p.items) == 0 {
		return s.reason("", "No unread notification is left to mail.")
	}
	return s.reason(leftOut(p, nil), "No unread notification is left to mail.")
}

func (s *sentences) waiting(p *plan) string {
	return s.waits(p, false, "none is due yet", fmt.Sprintf("Kind %s is mailed %s, so the first is due on %s.",
		quote(p.first.Kind), p.first.timing, s.date(p.first.due)))
}

func (s *sentences) noAddress(p *plan) string {
	return s.waits(p, true, "the user has no e-mail address", s.wasDue(p))
}

func (s *sentences) badAddress(p *plan, problem string) string {
	return s.waits(p, true, fmt.Sprintf("%s can't be an e-mail address, since %s", quote(p.Email), problem), s.wasDue(p))
}

func (s *sentences) bouncing(p *plan, until time.Time) string {
	forgotten := "Nothing is mailed to it until the address changes."
	if !until.IsZero() {
		forgotten = "Nothing is mailed to it until enough of that is forgotten, on " + s.date(until) + ", or the address changes."
	}
	return s.waits(p, true, fmt.Sprintf("the e-mail address %s refused mail too often", quote(p.Email)), forgotten, s.wasDue(p))
}

func (s *sentences) vacation(p *plan) string {
	return s.waits(p, true, "the user is on vacation until "+s.date(p.VacationUntil), s.wasDue(p))
}

func (s *sentences) quiet(p *plan) string {
	return s.waits(p, true, fmt.Sprintf("the user's quiet hours are %s (%s)", p.Quiet, s.zone), s.wasDue(p))
}

func (s *sentences) capped(p *plan, sent int) string {
	why := fmt.Sprintf("the user got %d mails within 24 hours, and %d is the most", sent, p.rules.DailyCap)
	return s.waits(p, true, why, s.wasDue(p))
}

func (s *sentences) postponed(p *plan, limit time.Time) string {
	why := fmt.Sprintf("the user is active, and may be reading now. The mail goes out when nothing was heard of the user for %s, "+
		"at the latest on %s", spell(p.rules.ActiveWindow), s.date(limit))
	return s.waits(p, true, why, s.wasDue(p))
}

func (s *sentences) membershipUnknown(p *plan, item *planned) string {
	return s.waits(p, true, fmt.Sprintf("the authorize function of kind %s didn't say whether the user may still see group %s, "+
		"and until it does nothing is mailed to the user", quote(item.Kind), quote(item.Group)), s.wasDue(p))
}

// waits is the form of all reasons for not mailing what could be mailed. Due says that only what would be mailed now counts.
func (s *sentences) waits(p *plan, due bool, why string, more ...string) string {
	n := 0
	for i := range p.items {
		if item := &p.items[i]; item.why == "" && (!due || p.later(item) == "") {
			n++
		}
	}
	return s.reason(leftOut(p, nil), append([]string{notifications(n, "waits", "wait") + ": " + why + "."}, more...)...)
}

func (s *sentences) wasDue(p *plan) string {
	return fmt.Sprintf("Kind %s is mailed %s, so the first was due on %s.", quote(p.first.Kind), p.first.timing, s.date(p.first.due))
}

// date shows a moment as the user's clock does.
func (s *sentences) date(t time.Time) string {
	t = t.In(s.zone)
	text := t.Format("Mon 2 Jan 2006 15:04 MST")
	if s.zone == time.UTC {
		return text
	}
	return text + " (" + s.zone.String() + ")"
}

// leftOut says how many items were left out, and why. Without a list it is those that are left out of every mail now.
func leftOut(p *plan, left []Left) string {
	counts := map[Why]int{}
	for _, l := range left {
		counts[l.Why]++
	}
	if left == nil {
		for i := range p.items {
			counts[p.items[i].why]++
		}
	}
	var parts []string
	for _, w := range []struct {
		why  Why
		what string
	}{
		{Never, "of a kind that the user wants no mail of"},
		{Muted, "of a group that the user has muted"},
		{NoMember, "of a group that the user may no longer see"},
		{Expired, "that expired"},
		{TooOld, "that should have been mailed more than " + spell(p.rules.MaxAge) + " ago"},
		{OwnHour, "to be mailed at another hour, daily"},
		{NotYet, "from a later time"},
		{NextMail, "for which this mail has no room"},
	} {
		if n := counts[w.why]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+w.what)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "Left out: " + strings.Join(parts, ", ") + "."
}

func notifications(n int, one, many string) string {
	if n == 1 {
		return "1 unread notification " + one
	}
	return fmt.Sprintf("%d unread notifications %s", n, many)
}

// quote shows what came from elsewhere, so that it can't pass for a part of the sentence, nor go on for pages.
func quote(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}

// spell writes a duration as people say it: 30 days, 4h, 1h30m.
func spell(d time.Duration) string {
	if d >= 2*oneDay && d%oneDay == 0 {
		return fmt.Sprintf("%d days", d/oneDay)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
