package trunkline

import (
	"sync/atomic"
	"time"
)

// Lag is how far a node is behind, as far as it knows without asking.
type Lag struct {
	// Messages is how many messages the log had, when this node last saw its end, beyond what this node has delivered.
	Messages int64
	// Heard is when the log last gave this node a sign: it made a step of the sequencer, or read where the log ends. A node that
	// works does so each second, so an old time means that the database, or the session with it, is away or hangs. Zero before the
	// first time.
	Heard time.Time
	// Unsequenced is since when nobody has been sequencing: what is published is stored, but delivered nowhere. Zero while
	// somebody does. A node that may sequence does so itself; only one that may not has to wait.
	Unsequenced time.Time
}

// A pulse is what a member notes about the log in passing. Safe for concurrent use.
type pulse struct {
	end         atomic.Int64 // of the log, as last seen
	heard       atomic.Int64 // when, in Unix ns
	unsequenced atomic.Int64 // since when nobody sequences, in Unix ns; 0: somebody does
}

// beat notes a sign of the log's life; end -1: its end was not part of it.
func (p *pulse) beat(end int64) {
	if end >= 0 {
		p.end.Store(end)
	}
	p.heard.Store(time.Now().UnixNano())
}

// lonely notes whether nobody sequences, and returns since when.
func (p *pulse) lonely(lonely bool) time.Time {
	if !lonely {
		p.unsequenced.Store(0)
	} else if p.unsequenced.Load() == 0 {
		p.unsequenced.Store(time.Now().UnixNano())
	}
	return unixNano(p.unsequenced.Load())
}

// lag returns it for a node that has delivered up to a position.
func (p *pulse) lag(position int64) Lag {
	return Lag{
		Messages: max(0, p.end.Load()-position), Heard: unixNano(p.heard.Load()), Unsequenced: unixNano(p.unsequenced.Load()),
	}
}

func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
