package realtime

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// burst is how many may come at once where so many per second may: ten times as many.
func burst(perSecond float64) int {
	return int(math.Max(1, math.Min(math.Ceil(10*perSecond), 1e6)))
}

// rates bounds what each of many may do per second. What it remembers is bounded by who was active lately.
type rates struct {
	mu     sync.Mutex
	by     map[rateKey]*rate.Limiter
	tidyAt int // look for idle ones when there are so many
	now    func() time.Time
}

// A rateKey is whose messages are counted, per namespace.
type rateKey struct{ namespace, payer string }

const minTidy = 1024

func newRates() *rates {
	return &rates{by: map[rateKey]*rate.Limiter{}, tidyAt: minTidy, now: time.Now}
}

func (r *rates) allow(key rateKey, perSecond float64) bool {
	r.mu.Lock()
	limiter := r.by[key]
	if limiter == nil {
		if len(r.by) >= r.tidyAt {
			r.tidy()
		}
		limiter = rate.NewLimiter(rate.Limit(perSecond), burst(perSecond))
		r.by[key] = limiter
	}
	r.mu.Unlock()
	if limiter.Limit() != rate.Limit(perSecond) { // the namespace has changed
		now := r.now()
		limiter.SetLimitAt(now, rate.Limit(perSecond))
		limiter.SetBurstAt(now, burst(perSecond))
	}
	return limiter.AllowN(r.now(), 1)
}

// tidy forgets those who have done nothing for so long that they may do everything again.
func (r *rates) tidy() {
	now := r.now()
	for key, limiter := range r.by {
		if limiter.TokensAt(now) >= float64(limiter.Burst()) {
			delete(r.by, key)
		}
	}
	r.tidyAt = max(minTidy, 2*len(r.by))
}
