package server

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestMeterAllowsARateAndABurst(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newMeter[string](2, 4)
	m.now = func() time.Time { return now }
	for i := range 4 {
		if wait := m.take("a", 1); wait != 0 {
			t.Fatalf("event %d of the burst waits %v", i, wait)
		}
	}
	if wait := m.take("a", 1); wait != 500*time.Millisecond {
		t.Errorf("the next waits %v, want 500ms", wait)
	}
	if wait := m.wait("a"); wait != 500*time.Millisecond {
		t.Errorf("wait says %v", wait)
	}
	if m.take("b", 1) != 0 || m.wait("c") != 0 {
		t.Error("one key holds up another")
	}
	now = now.Add(time.Second)
	if m.take("a", 2) != 0 || m.take("a", 1) == 0 {
		t.Error("after a second there is room for two, no more")
	}
	now = now.Add(time.Hour)
	if m.take("a", 4) != 0 || m.take("a", 1) == 0 {
		t.Error("after an hour there is room for the burst, no more")
	}
	// More than the burst fits once, and is paid off.
	now = now.Add(time.Hour)
	if m.take("a", 10) != 0 {
		t.Error("more than the burst never fits")
	}
	now = now.Add(2 * time.Second)
	if wait := m.take("a", 1); wait != 1500*time.Millisecond {
		t.Errorf("paying off takes %v more, want 1.5s", wait)
	}
}

func TestMeterForgetsWhatWasUsedLeastRecently(t *testing.T) {
	m := newMeter[int](1, 1)
	for i := range 2 * maxMetered {
		m.take(i, 1)
		m.take(0, 1) // stays in use
	}
	if len(m.entries) != maxMetered || m.recent.Len() != maxMetered {
		t.Errorf("%d and %d keys are remembered, want %d", len(m.entries), m.recent.Len(), maxMetered)
	}
	if m.entries[0] == nil || m.entries[1] != nil {
		t.Error("what is in use was forgotten, or what isn't was not")
	}
}

func TestOccupancy(t *testing.T) {
	o := newOccupancy(Limits{Connections: 4, ConnectionsPerUser: 1, ConnectionsPerAddress: 2}, false)
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	leave, refusal := o.connect(here)
	if refusal != nil {
		t.Fatal(refusal)
	}
	_, _ = o.connect(here)
	if _, refusal = o.connect(here); refusal == nil || refusal.Status != http.StatusTooManyRequests || refusal.Limit != limitConnectionsPerAddress {
		t.Errorf("a third from one address: %+v", refusal)
	}
	_, _ = o.connect(there)
	if _, refusal = o.connect(netip.MustParseAddr("2001:db8::2")); refusal != nil {
		t.Errorf("a second from one network: %v", refusal)
	}
	if _, refusal = o.connect(netip.MustParseAddr("192.0.2.2")); refusal == nil || refusal.Status != http.StatusServiceUnavailable || refusal.Limit != limitConnections {
		t.Errorf("a fifth: %+v", refusal)
	}
	leave()
	if leave, refusal = o.connect(here); refusal != nil {
		t.Errorf("after one left: %v", refusal)
	}
	leave()
	bye, _ := o.identify("ann")
	if _, refusal = o.identify("ann"); refusal == nil || refusal.Limit != limitConnectionsPerUser {
		t.Errorf("a second of one user: %+v", refusal)
	}
	bye()
	if _, refusal = o.identify("ann"); refusal != nil {
		t.Errorf("after it left: %v", refusal)
	}
	for range 3 {
		if _, refusal = o.identify(""); refusal != nil {
			t.Errorf("nobody in particular: %v", refusal)
		}
	}
	if len(o.users) != 1 || len(o.addresses) != 2 {
		t.Errorf("%d users and %d addresses are remembered", len(o.users), len(o.addresses))
	}
}

func TestOpenModeHasNoLimitByAddress(t *testing.T) {
	o := newOccupancy(Limits{Connections: 4, ConnectionsPerUser: 1, ConnectionsPerAddress: 1}, true)
	for i := range 4 {
		if _, refusal := o.connect(netip.MustParseAddr("127.0.0.1")); refusal != nil {
			t.Errorf("connection %d: %v", i, refusal)
		}
	}
}
