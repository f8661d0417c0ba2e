package api

import "testing"

func TestPlaces(t *testing.T) {
	p := newPlaces(3, 2)
	leave := func(person int64) func() {
		t.Helper()
		leave, ok := p.take(person)
		if !ok {
			t.Fatalf("there is no place for %d", person)
		}
		return leave
	}
	full := func(person int64) {
		t.Helper()
		if _, ok := p.take(person); ok {
			t.Fatalf("there is a place too many for %d", person)
		}
	}
	first, second := leave(1), leave(1)
	full(1)
	third := leave(2)
	full(2)
	first()
	leave(2)()
	leave(3)()
	second()
	third()
	if p.taken != 0 || len(p.of) != 0 {
		t.Errorf("%d are taken, by %v", p.taken, p.of)
	}
}

func TestUploadsAtOnceAreBounded(t *testing.T) {
	c := newCast(t)
	w := c.newWorld()
	h, ok := c.handler.(*api)
	if !ok {
		t.Fatal("another handler")
	}
	upload := func(who string) *reply {
		return c.callers[who].do("POST", w.fill("/api/conversations/{conversation}/attachments?name=a.txt"), []byte("a"))
	}
	var lead struct {
		ID int64 `json:"id"`
	}
	c.callers["lead"].do("GET", "/api/me", nil).is(200).into(&lead)
	var leaves []func()
	for range uploadsOfOne {
		leave, ok := h.files.take(lead.ID)
		if !ok {
			t.Fatal("no place")
		}
		leaves = append(leaves, leave)
	}
	got := upload("lead")
	if got.problem(429); got.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", got.header)
	}
	upload("customer").is(201)
	for _, leave := range leaves {
		leave()
	}
	upload("lead").is(201)
}
