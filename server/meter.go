package server

import (
	"container/list"
	"sync"
	"time"
)

// maxMetered is how many keys one meter remembers. At about 200 bytes each a flood of addresses costs a few megabytes.
const maxMetered = 16_384

// A meter allows each key a rate of events, and a burst of them at once. It remembers the keys used last; one that it forgot
// because too many others came has its full burst again.
type meter[K comparable] struct {
	rate  float64 // per second
	burst float64
	now   func() time.Time

	mu      sync.Mutex
	entries map[K]*list.Element
	recent  list.List // of *metered[K], the one used last in front
}

type metered[K comparable] struct {
	key  K
	left float64 // of the burst
	at   time.Time
}

func newMeter[K comparable](rate, burst float64) *meter[K] {
	return &meter[K]{rate: rate, burst: max(burst, 1), now: time.Now, entries: map[K]*list.Element{}}
}

// take counts n events of a key and returns 0, or counts nothing and returns how long to wait until they fit. More than the
// burst fit once all of it is there, and are paid off later.
func (m *meter[K]) take(key K, n float64) time.Duration { return m.takeAt(key, n, m.rate, m.burst) }

// takeAt is take for a key with a rate of its own.
func (m *meter[K]) takeAt(key K, n, rate, burst float64) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(key, rate, burst)
	if need := min(n, burst); e.left < need {
		return max(time.Duration((need-e.left)/rate*float64(time.Second)), time.Millisecond)
	}
	e.left -= n
	return 0
}

// wait returns how long to wait until one event fits, without counting it.
func (m *meter[K]) wait(key K) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.entries[key]; !known {
		return 0
	}
	e := m.entry(key, m.rate, m.burst)
	if e.left >= 1 {
		return 0
	}
	return max(time.Duration((1-e.left)/m.rate*float64(time.Second)), time.Millisecond)
}

// entry finds a key, filled up to this moment. Under mu.
func (m *meter[K]) entry(key K, rate, burst float64) *metered[K] {
	now := m.now()
	if element, ok := m.entries[key]; ok {
		e := element.Value.(*metered[K])
		e.left = min(burst, e.left+now.Sub(e.at).Seconds()*rate)
		e.at = now
		m.recent.MoveToFront(element)
		return e
	}
	if m.recent.Len() >= maxMetered {
		oldest := m.recent.Back()
		delete(m.entries, m.recent.Remove(oldest).(*metered[K]).key)
	}
	e := &metered[K]{key: key, left: burst, at: now}
	m.entries[key] = m.recent.PushFront(e)
	return e
}
