package api

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// changesPerSecond is what one person may change on a node for as long as they like. Nobody's hands are as fast; a program that
	// works with a session of its own is to slow down rather than keep others waiting.
	changesPerSecond = 10
	// changesAtOnce says how many seconds' worth may come at once: a list that somebody goes through, or what a page held back while
	// it had no network.
	changesAtOnce = 10
	// pacesKept is how many people are remembered before those who have been quiet are looked for, to be forgotten.
	pacesKept = 1000
)

// paces bound how fast each person may change things.
type paces struct {
	perSecond int
	now       func() time.Time

	mu       sync.Mutex
	of       map[int64]*rate.Limiter // by person
	forgetAt int                     // when there are so many
}

func newPaces(perSecond int, now func() time.Time) *paces {
	return &paces{perSecond: perSecond, now: now, of: map[int64]*rate.Limiter{}, forgetAt: pacesKept}
}

// take counts a change of somebody's. If it comes too early, it isn't counted, and wait is how many seconds are to pass, at least 1.
func (p *paces) take(person int64) (wait int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	l := p.of[person]
	if l == nil {
		if len(p.of) >= p.forgetAt {
			p.forget(now)
		}
		l = rate.NewLimiter(rate.Limit(p.perSecond), p.perSecond*changesAtOnce)
		p.of[person] = l
	}
	if l.AllowN(now, 1) {
		return 0, true
	}
	return max(1, int(math.Ceil((1-l.TokensAt(now))/float64(p.perSecond)))), false
}

// forget removes those who may change as much as somebody new. Where most are busy, it isn't worth another look before there are
// twice as many.
func (p *paces) forget(now time.Time) {
	for person, l := range p.of {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(p.of, person)
		}
	}
	p.forgetAt = max(pacesKept, 2*len(p.of))
}
