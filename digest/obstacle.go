package digest

import (
	"slices"
	"time"
)

// Obstacles keep what is due from being mailed now. Each says which it is, when to look again, and the reason; an empty kind
// says that it isn't in the way. The order is that of Plan: what the user can do least about comes first.

// address: where there is nobody to write to, somebody has to do something, and perhaps nobody tells us that they did.
func (p *plan) address() (Kind, time.Time, string) {
	daily := p.now.Add(lookDaily)
	switch {
	case p.Email == "":
		return NoAddress, daily, p.say.noAddress(p)
	case addressProblem(p.Email) != "":
		return BadAddress, daily, p.say.badAddress(p, addressProblem(p.Email))
	case BounceScore(p.Bounces, p.BouncedAt, p.now) >= p.rules.BounceLimit:
		until := bouncesUntil(p.Bounces, p.BouncedAt, p.rules.BounceLimit)
		next := daily
		if until.After(p.now) && until.Before(daily) {
			next = until
		}
		return Bouncing, next, p.say.bouncing(p, until)
	}
	return "", time.Time{}, ""
}

func (p *plan) vacation() (Kind, time.Time, string) {
	if !p.VacationUntil.After(p.now) {
		return "", time.Time{}, ""
	}
	return Vacation, p.VacationUntil, p.say.vacation(p)
}

func (p *plan) quiet() (Kind, time.Time, string) {
	end := p.afterQuiet(p.now)
	if !end.After(p.now) {
		return "", time.Time{}, ""
	}
	return QuietHours, end, p.say.quiet(p)
}

func (p *plan) afterQuiet(t time.Time) time.Time {
	if p.Quiet == nil {
		return t
	}
	return p.Quiet.end(t, p.zone)
}

// capped: a mail counts for 24 hours, whatever clocks do.
func (p *plan) capped() (Kind, time.Time, string) {
	if p.rules.DailyCap < 0 {
		return "", time.Time{}, ""
	}
	var leave []time.Time
	for _, sent := range p.Sent {
		if t := sent.Add(24 * time.Hour); t.After(p.now) {
			leave = append(leave, t)
		}
	}
	if len(leave) < p.rules.DailyCap {
		return "", time.Time{}, ""
	}
	slices.SortFunc(leave, time.Time.Compare)
	// All but one less than the most have to leave: there may be too many, if the site has lowered the cap.
	return Capped, leave[len(leave)-p.rules.DailyCap], p.say.capped(p, len(leave))
}

// active: who does something now may be about to read it. That is worth waiting for a little, never for ever.
func (p *plan) active() (Kind, time.Time, string) {
	acted := p.ActiveAt
	if acted.After(p.now) {
		acted = p.now // another machine's clock is ahead
	}
	until := acted.Add(p.rules.ActiveWindow) // which is in the past if the window is negative
	limit := p.mailable().Add(p.rules.MaxPostpone)
	if limit.Before(until) {
		until = limit
	}
	if !until.After(p.now) {
		return "", time.Time{}, ""
	}
	return Postponed, until, p.say.postponed(p, limit)
}

// mailable returns when what is due first might have been mailed at the earliest: vacation and quiet hours move it. Otherwise
// nobody who begins their day as the quiet hours end would have the time to read.
func (p *plan) mailable() time.Time {
	t := p.first.due
	if t.Before(p.VacationUntil) {
		t = p.VacationUntil
	}
	return p.afterQuiet(t)
}
