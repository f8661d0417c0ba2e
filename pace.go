package trunkline

import (
	"strconv"
	"strings"
	"time"
)

// Pacing of the sequencer. Asleep, writers ring it: at low rates a message costs one notification and is delivered at
// once. Awake, it looks by itself each millisecond or two: at high rates nobody rings, so commits share their flushes.
const (
	awakeInterval = time.Millisecond
	// The more a step finds, the later the next one: it takes more at once, and leaves the processors to the writers.
	busyInterval    = 2 * time.Millisecond
	busyMessages    = 8
	floodedInterval = 4 * time.Millisecond
	floodedMessages = 32                    // 8,000 a second and more: a commit takes such a writer as long
	unrungInterval  = 10 * time.Millisecond // calm, but a ring could not be sent or heard

	paceWindow = 100 * time.Millisecond
	// From 300 steps that find messages a second on, staying awake is cheaper than being rung.
	wakeSteps = 30
	// Rings serialize commits: where a flush is slow, they keep the rate low by themselves. Writers then queue, which
	// shows as transactions that run beside those that a step finds.
	// Or a thousand messages a second, several to each transaction.
	batchSteps   = 5
	manyMessages = 100
	crowdSteps   = 3
	crowdWriters = 2
	calmAfter    = 250 * time.Millisecond

	drainAtFirst = 2 * time.Millisecond
	drainSlowest = 50 * time.Millisecond // while open transactions may not ring
)

// A pace decides whether the sequencer should be awake, from what its steps find.
type pace struct {
	windowEnds time.Time
	found      int       // steps with messages in this window
	messages   int       // that they found
	beside     int       // young transactions that ran beside them
	old        uint64    // xids below are not young: they ran when the window before this one began
	nextOld    uint64    // the same for the next window
	busyAt     time.Time // when a window was last busy
	last       int       // messages of the last step
}

// step records how many messages a step found, and the snapshot that it found them by.
func (p *pace) step(now time.Time, messages int, snapshot string) {
	if !now.Before(p.windowEnds) {
		p.windowEnds, p.found, p.messages, p.beside = now.Add(paceWindow), 0, 0, 0
		p.old, p.nextOld = p.nextOld, snapshotXmax(snapshot)
	}
	p.last = messages
	if messages == 0 {
		return
	}
	p.found++
	p.messages += messages
	p.beside += youngerThan(snapshot, p.old)
	if p.found >= wakeSteps || p.found >= batchSteps && p.messages >= manyMessages || p.found >= crowdSteps && p.beside >= crowdWriters*p.found {
		p.busyAt = now
	}
}

// busy tells whether staying awake pays.
func (p *pace) busy(now time.Time) bool { return now.Sub(p.busyAt) < calmAfter }

// interval is how long an awake sequencer waits before the next step.
func (p *pace) interval() time.Duration {
	switch {
	case p.last >= floodedMessages:
		return floodedInterval
	case p.last >= busyMessages || p.last == 0:
		return busyInterval
	}
	return awakeInterval
}

// A snapshot is written xmin:xmax:xip,xip,….

func snapshotXmin(snapshot string) string {
	xmin, _, _ := strings.Cut(snapshot, ":")
	return xmin
}

func snapshotXmax(snapshot string) uint64 {
	_, rest, _ := strings.Cut(snapshot, ":")
	xmax, _, _ := strings.Cut(rest, ":")
	n, _ := strconv.ParseUint(xmax, 10, 64) // PostgreSQL wrote it; 0 would only make us sleepier
	return n
}

// youngerThan counts the running transactions of a snapshot with an xid of at least old.
func youngerThan(snapshot string, old uint64) (young int) {
	_, rest, _ := strings.Cut(snapshot, ":")
	_, running, _ := strings.Cut(rest, ":")
	for xid := range strings.SplitSeq(running, ",") {
		if n, err := strconv.ParseUint(xid, 10, 64); err == nil && n >= old {
			young++
		}
	}
	return young
}
