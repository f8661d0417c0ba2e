package trunkline

import (
	"testing"
	"time"
)

// steps feeds a pace for a while with steps that find a message each, a second's share of them, and tells whether it was
// ever busy.
func (p *pace) steps(now *time.Time, perSecond int, during time.Duration, snapshot string) (busy bool) {
	for end := now.Add(during); now.Before(end); *now = now.Add(time.Second / time.Duration(perSecond)) {
		p.step(*now, 1, snapshot)
		busy = busy || p.busy(*now)
	}
	return busy
}

func TestPace(t *testing.T) {
	t.Parallel()
	const alone = "100:100:" // no transaction runs beside
	now := time.Now()
	var p pace
	if p.busy(now) {
		t.Error("busy before anything has happened")
	}
	if p.steps(&now, 100, 2*time.Second, alone) {
		t.Error("busy at 100 a second")
	}
	if !p.steps(&now, 1000, time.Second, alone) {
		t.Error("calm at 1,000 a second")
	}
	if !p.busy(now) {
		t.Error("calm at once")
	}
	// Steps that find nothing don't keep it awake.
	for range 100 {
		p.step(now, 0, alone)
		now = now.Add(10 * time.Millisecond)
	}
	if p.busy(now) {
		t.Error("busy although nothing came for a second")
	}
}

func TestPaceInterval(t *testing.T) {
	t.Parallel()
	var p pace
	now := time.Now()
	for _, test := range []struct {
		found int
		want  time.Duration
	}{{1, awakeInterval}, {busyMessages, busyInterval}, {floodedMessages, floodedInterval}, {0, busyInterval}} {
		p.step(now, test.found, "1:1:")
		if got := p.interval(); got != test.want {
			t.Errorf("after a step that found %d it waits %v, want %v", test.found, got, test.want)
		}
	}
}

// Snapshots are PostgreSQL's, xmin:xmax:xip,….
func TestSnapshotText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		snapshot   string
		xmin       string
		xmax       uint64
		old        uint64
		youngerOld int
	}{
		{"10:10:", "10", 10, 0, 0},
		{"10:20:10,14,15", "10", 20, 0, 3},
		{"10:20:10,14,15", "10", 20, 14, 2},
		{"10:20:10,14,15", "10", 20, 16, 0},
		{"4294967300:8589934600:4294967300", "4294967300", 8589934600, 4294967296, 1},
	} {
		if got := snapshotXmin(test.snapshot); got != test.xmin {
			t.Errorf("xmin of %s: %s", test.snapshot, got)
		}
		if got := snapshotXmax(test.snapshot); got != test.xmax {
			t.Errorf("xmax of %s: %d", test.snapshot, got)
		}
		if got := youngerThan(test.snapshot, test.old); got != test.youngerOld {
			t.Errorf("%s has %d running from %d on", test.snapshot, got, test.old)
		}
	}
}
