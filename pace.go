package trunkline

import "time"

// Pacing of the sequencer. Asleep, writers ring it: at low rates a message costs one notification and is delivered at
// once. Awake, it looks by itself each millisecond or two: at high rates nobody rings, so commits share their flushes.
const (
	awakeInterval = time.Millisecond
	busyInterval  = 2 * time.Millisecond
	busyMessages  = 8 // in one step: look a little later, and take more at once

	paceWindow = 50 * time.Millisecond
	wakeSteps  = 15 // steps that found messages within a window: from 300 a second on, stay awake
	calmAfter  = 250 * time.Millisecond

	unrungInterval = 10 * time.Millisecond // calm, but a ring could not be sent or heard

	drainAtFirst = 2 * time.Millisecond
	drainSlowest = 50 * time.Millisecond // while open transactions may not ring
)

// A pace decides whether the sequencer should be awake, from what its steps find.
type pace struct {
	windowEnds time.Time
	found      int       // steps with messages in this window
	busyAt     time.Time // when a window was last busy
	last       int       // messages of the last step
}

// step records how many messages a step found.
func (p *pace) step(now time.Time, messages int) {
	if !now.Before(p.windowEnds) {
		p.windowEnds, p.found = now.Add(paceWindow), 0
	}
	p.last = messages
	if messages > 0 {
		p.found++
		if p.found >= wakeSteps {
			p.busyAt = now
		}
	}
}

// busy tells whether staying awake pays.
func (p *pace) busy(now time.Time) bool { return now.Sub(p.busyAt) < calmAfter }

// interval is how long an awake sequencer waits before the next step.
func (p *pace) interval() time.Duration {
	if p.last >= busyMessages {
		return busyInterval
	}
	return awakeInterval
}
