package digest

import (
	"math/rand/v2"
	"sync"
	"time"
)

// The circuit breaker's measures.
const (
	// breakAfter is how many failures in a row open it: of a server that is up, one connection may break.
	breakAfter = 3
	openFirst  = 30 * time.Second
	openMost   = 10 * time.Minute
)

// A breaker keeps the worker from working for a mail server that is down: nothing is claimed, and so nothing frozen, and no mail
// uses up its tries. Closed, it lets all pass; open, nothing; half-open, when its time is over, one mail, whose fate decides.
type breaker struct {
	mu       sync.Mutex
	failures int // in a row
	openings int // without a success in between; above 0: not closed
	until    time.Time
	probing  bool // half-open, and the one mail is under way
	last     error
}

// free tells how many mails may go out now, at most so many.
func (b *breaker) free(now time.Time, most int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.openings == 0:
		return most
	case b.probing || now.Before(b.until):
		return 0
	default:
		return min(1, most)
	}
}

// begin notes that a mail is under way, for which free had room.
func (b *breaker) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openings > 0 {
		b.probing = true
	}
}

// answered notes that the server did what servers do, if only to refuse a mail. It tells whether that closed the breaker.
func (b *breaker) answered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	closed := b.openings > 0
	b.failures, b.openings, b.probing, b.last = 0, 0, false, nil
	return closed
}

// unknown notes that a mail ended without saying anything about the server.
func (b *breaker) unknown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// failed notes that the server failed, and returns for how long the breaker opened for that, 0 if it didn't.
func (b *breaker) failed(now time.Time, err error) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	b.last = err
	probed := b.probing
	b.probing = false
	if b.openings > 0 && !probed || b.openings == 0 && b.failures < breakAfter {
		return 0 // open already, when this one was under way; or still closed
	}
	wait := openMost
	if b.openings < 5 {
		wait = min(openFirst<<b.openings, openMost)
	}
	b.openings++
	// Up to a quarter less, so that nodes don't come back in step.
	wait -= rand.N(wait / 4)
	b.until = now.Add(wait)
	return wait
}

// state tells whether the breaker isn't closed, when it lets a mail through, and why it opened.
func (b *breaker) state() (open bool, until time.Time, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openings > 0, b.until, b.last
}
