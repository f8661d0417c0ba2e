package digest

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"
)

// How long until a user is looked at again if nothing happens meanwhile.
const (
	lookDaily  = 24 * time.Hour // who can't be reached
	lookSoon   = time.Minute    // what didn't fit into a mail, and a first answer that couldn't be had
	lookHourly = time.Hour      // an answer that still can't be had
)

// Plan decides what is to be done about a user at a moment. It looks at nothing but its arguments, and the same ones give the
// same decision; it doesn't change them.
//
// With Ask, ask the questions, put the answers into the items, and call Plan again. Then do as it says in the transaction that
// has locked the items.
func Plan(c Candidate, rules Rules, now time.Time) Decision {
	p := newPlan(c, rules.withDefaults(), now)
	if p.first == nil {
		return p.end(Nothing, time.Time{}, p.say.nothing(p))
	}
	if p.first.due.After(now) {
		return p.end(Waiting, p.first.due, p.say.waiting(p))
	}
	for _, obstacle := range []func() (Kind, time.Time, string){p.address, p.vacation, p.quiet, p.capped, p.active} {
		if kind, next, reason := obstacle(); kind != "" {
			return p.end(kind, next, reason)
		}
	}
	return p.mail()
}

// A plan is what Plan makes up its mind with.
type plan struct {
	Candidate
	rules Rules
	now   time.Time
	zone  *time.Location
	say   sentences

	items []planned
	first *planned // of those that can be mailed, the one that is due first; nil: there are none
}

// A planned item: when it is due, or why it is out of the question.
type planned struct {
	*Item
	timing timing
	due    time.Time
	why    Why
}

func newPlan(c Candidate, rules Rules, now time.Time) *plan {
	p := &plan{Candidate: c, rules: rules, now: now}
	var unknown []string
	p.zone, unknown = zoneOf(c.Zones)
	p.say = sentences{zone: p.zone}
	for _, name := range unknown {
		p.say.noteZone(name)
	}
	p.items = make([]planned, len(c.Items))
	for i := range c.Items {
		p.items[i].Item = &c.Items[i]
	}
	slices.SortFunc(p.items, func(a, b planned) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.ID, b.ID)) })
	for i := range p.items {
		item := &p.items[i]
		p.judge(item)
		if item.why == "" && (p.first == nil || item.due.Before(p.first.due)) {
			p.first = item
		}
	}
	return p
}

// judge finds out when an item is due, and whether it is to be mailed at all.
func (p *plan) judge(item *planned) {
	item.timing = p.timingOf(item.Item, p.say.notePreference)
	if item.timing.mode == NeverMail {
		item.why = Never
		return
	}
	item.due = item.timing.due(item.CreatedAt, p.zone)
	switch {
	case !item.ExpiresAt.IsZero() && !item.ExpiresAt.After(p.now):
		item.why = Expired
	case item.Group != "" && p.Muted[item.Group]:
		item.why = Muted
	case p.rules.MaxAge > 0 && p.now.Sub(item.due) > p.rules.MaxAge:
		item.why = TooOld
	case item.Asks && item.Access == Denied:
		item.why = NoMember
	}
}

// later says why an item that can be mailed doesn't join a mail now: everything else does, due or not, so that one mail holds
// much. What goes out daily waits for its own hour, though, since that is what the user asked for.
func (p *plan) later(item *planned) Why {
	switch {
	case item.CreatedAt.After(p.now):
		return NotYet
	case item.timing.mode == Daily && item.due.After(p.now):
		return OwnHour
	default:
		return ""
	}
}

// mail decides what the mail holds, if all may be seen.
func (p *plan) mail() Decision {
	d := p.end(Mailed, time.Time{}, "")
	next := func(t time.Time) {
		if d.NextAt.IsZero() || t.Before(d.NextAt) {
			d.NextAt = storable(t)
		}
	}
	var unknown *planned
	d.Left = d.Left[:0]
	for i := range p.items {
		item := &p.items[i]
		why := item.why
		if why == "" {
			if why = p.later(item); why != "" {
				next(item.due)
			} else if len(d.Items) == p.rules.MostItems {
				why = NextMail
				next(p.now.Add(lookSoon))
			}
		}
		if why != "" {
			d.Left = append(d.Left, Left{ID: item.ID, Why: why})
			continue
		}
		d.Items = append(d.Items, item.ID)
		if item.Asks && item.Access == NotAsked {
			d.Ask = append(d.Ask, Question{Kind: item.Kind, Group: item.Group})
		} else if item.Asks && item.Access != Allowed && unknown == nil {
			unknown = item
		}
	}
	switch {
	case unknown != nil:
		// Leaving just these out would tell the user less than is true; mailing them might tell more than is allowed.
		return p.end(MembershipUnknown, p.now.Add(p.patience()), p.say.membershipUnknown(p, unknown))
	case len(d.Ask) > 0:
		slices.SortFunc(d.Ask, func(a, b Question) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group, b.Group)) })
		d.Ask = slices.Compact(d.Ask)
		d.Kind, d.NextAt = Ask, time.Time{}
	}
	d.Reason = p.say.mailed(p, d)
	return d
}

// patience is how long to wait after the authorize function gave no answer: a minute, and twice as long each time, up to an
// hour. Up to half of it is taken away, for each user another part, so that they don't all ask in the same second.
func (p *plan) patience() time.Duration {
	wait := lookHourly
	if p.Unknowns < 6 {
		wait = min(lookSoon<<max(p.Unknowns, 0), lookHourly)
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(p.UserID))
	_, _ = hash.Write([]byte{byte(p.Unknowns)})
	return wait - time.Duration(float64(wait)/2*float64(hash.Sum32())/(1<<32))
}

// end makes a decision, with what is left out in any case.
func (p *plan) end(kind Kind, next time.Time, reason string) Decision {
	d := Decision{Kind: kind, Reason: reason, NextAt: storable(next), Zone: p.zone}
	if p.first != nil {
		d.Due = p.first.due
	}
	for i := range p.items {
		if item := &p.items[i]; item.why != "" {
			d.Left = append(d.Left, Left{ID: item.ID, Why: item.why})
		}
	}
	return d
}

// storable rounds up to microseconds, which is what PostgreSQL keeps of a time: rounded down, the next look would come too early,
// and so would all that follow.
func storable(t time.Time) time.Time {
	if short := t.Truncate(time.Microsecond); short.Before(t) {
		return short.Add(time.Microsecond)
	}
	return t
}
