package api

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/trunkline/trunkline/projects"
)

func TestPaceOfOneIsNobodyElses(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := newPaces(2, func() time.Time { return now })
	for range 2 * changesAtOnce {
		if _, ok := p.take(1); !ok {
			t.Fatal("refused before there was too much")
		}
	}
	if wait, ok := p.take(1); ok || wait != 1 {
		t.Errorf("too much: %t, wait %d s", ok, wait)
	}
	if _, ok := p.take(2); !ok {
		t.Error("somebody else was refused")
	}
	now = now.Add(time.Second)
	for i, want := range []bool{true, true, false} {
		if _, ok := p.take(1); ok != want {
			t.Errorf("change %d after a second: %t", i, ok)
		}
	}
}

// Whoever was quiet is forgotten, and whoever has used up what they may isn't.
func TestPacesDoNotPileUp(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := newPaces(1, func() time.Time { return now })
	for person := range int64(pacesKept) {
		p.take(person)
	}
	now = now.Add(changesAtOnce * time.Second)
	for range changesAtOnce {
		p.take(0)
	}
	p.take(pacesKept)
	if len(p.of) != 2 {
		t.Errorf("%d people are remembered", len(p.of))
	}
	if _, ok := p.take(0); ok {
		t.Error("being forgotten gave somebody more")
	}
}

func TestTooManyChanges(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.handle(Options{ChangesPerSecond: 1})
	h, ok := n.handler.(*api)
	if !ok {
		t.Fatal("another handler")
	}
	now := time.Now()
	h.paces.now = func() time.Time { return now } // however long the changes take
	organisation := n.organisation("North")
	guide := n.person(organisation, "gail@example.com", "")
	project := n.project(organisation, "Move")
	n.member(project, guide, projects.Lead)
	gail := n.as(guide)
	path := "/api/projects/" + strconv.FormatInt(project, 10)
	var refused *reply
	for range 100 * changesAtOnce {
		if r := gail.do(http.MethodPatch, path, map[string]string{"name": "Move"}); r.status == http.StatusTooManyRequests {
			refused = r
			break
		}
	}
	if refused == nil {
		t.Fatal("nothing was refused")
	}
	if p := refused.problem(http.StatusTooManyRequests); refused.header.Get("Retry-After") != "1" {
		t.Errorf("refused with Retry-After %q: %s", refused.header.Get("Retry-After"), p.Detail)
	}
	// Reading goes on, and so does what the page reports by itself.
	gail.do(http.MethodGet, path, nil).is(http.StatusOK)
}
