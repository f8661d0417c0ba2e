package api

import "sync"

// While a file arrives it is in memory: so many may do so at once on a node, and so many of one person, who may choose all files of a
// message at once.
const (
	uploadsAtOnce = 32
	uploadsOfOne  = 12
)

// places bound how many requests of a sort are worked on at once, and how many of one person.
type places struct {
	most, mostOfOne int

	mu    sync.Mutex
	taken int
	of    map[int64]int // by person
}

func newPlaces(most, mostOfOne int) *places {
	return &places{most: most, mostOfOne: mostOfOne, of: map[int64]int{}}
}

// take takes a place, if there is one, until leave is called.
func (p *places) take(person int64) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.most || p.of[person] >= p.mostOfOne {
		return nil, false
	}
	p.taken++
	p.of[person]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.of[person]--; p.of[person] == 0 {
			delete(p.of, person)
		}
	}, true
}
