package checker

import (
	"fmt"
	"slices"
	"sync"
)

// Kinds of violations.
const (
	Lost      = "lost"      // a message was left out
	Doubled   = "doubled"   // one came twice
	Swapped   = "swapped"   // an order was broken: of positions, of a transaction, of cause and effect
	Invented  = "invented"  // one came that was never committed
	Altered   = "altered"   // another channel, id or payload than published
	Reused    = "reused"    // one position of one epoch named two messages
	Misplaced = "misplaced" // delivered to the wrong subscription or epoch
)

// A Violation of the guarantees.
type Violation struct {
	Kind, Text string
}

func (v Violation) String() string { return v.Kind + ": " + v.Text }

// A Delivery is one message as a subscription received it.
type Delivery struct {
	Epoch             string
	Position, Seq, ID int64
	Channel           string
	Hash              uint64 // of the payload
}

// A LogRow is a row of the final log.
type LogRow struct {
	Position, Seq, ID int64
	Channel           string
}

// Truth is what the database holds in the end, and what the writers know of it.
type Truth struct {
	Epoch    string
	Log      []LogRow // by position
	Messages map[int64]Fact
	// Complete names the streams that must have had everything.
	Complete []string
}

// A Verifier checks deliveries as they come, and in the end against the truth. It is safe for concurrent use.
type Verifier struct {
	mu         sync.Mutex
	streams    map[string]*stream
	runs       []*run
	epochs     map[string]*epochLog
	violations []Violation
	dropped    int
	deliveries int64
}

// maxViolations is how many are kept: one fault of the engine can cause millions.
const maxViolations = 40

// A stream is one subscriber over all its resumptions.
type stream struct {
	name     string
	channels map[string]bool
	current  *run
}

// A run is what a stream receives in one epoch from one start on, across resumptions.
type run struct {
	stream *stream
	epoch  string // "" until the first message of a run from the beginning
	start  int64
	last   int64 // everything up to here has been received
	first  map[string]int64
	seqs   map[string]int64
}

// An epochLog is all that anybody was told of an epoch's log, by position.
type epochLog struct {
	rows []seenRow
}

type seenRow struct {
	id, seq int64
	hash    uint64
	channel string
}

// NewVerifier makes an empty one.
func NewVerifier() *Verifier {
	return &Verifier{streams: map[string]*stream{}, epochs: map[string]*epochLog{}}
}

func (v *Verifier) report(kind, format string, args ...any) {
	if len(v.violations) >= maxViolations {
		v.dropped++
		return
	}
	v.violations = append(v.violations, Violation{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// Violations returns what was found so far, and how many more were found than are kept.
func (v *Verifier) Violations() ([]Violation, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.violations), v.dropped
}

// Deliveries returns how many came, and in how many epochs.
func (v *Verifier) Deliveries() (deliveries int64, epochs int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.deliveries, len(v.epochs)
}

// Begin notes that a stream begins anew behind a position; epoch "" and position 0: from the beginning of whichever epoch
// it meets.
func (v *Verifier) Begin(name string, channels []string, epoch string, position int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.streams[name]
	if s == nil {
		s = &stream{name: name, channels: map[string]bool{}}
		for _, c := range channels {
			s.channels[c] = true
		}
		v.streams[name] = s
	}
	s.current = &run{
		stream: s, epoch: epoch, start: position, last: position, first: map[string]int64{}, seqs: map[string]int64{},
	}
	v.runs = append(v.runs, s.current)
}

// Settled notes that a stream was told to have had everything up to a position, or resumes behind it.
func (v *Verifier) Settled(name, epoch string, position int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.streams[name]
	switch {
	case s == nil:
		v.report(Misplaced, "%s resumes without having begun", name)
	case s.current.epoch == "":
		// Nothing received yet: the subscription may have begun in an epoch that never delivered.
		if position > 0 {
			s.current.epoch, s.current.last = epoch, position
		}
	case s.current.epoch != epoch:
		v.report(Misplaced, "%s resumes in epoch %s, but is in %s", name, epoch, s.current.epoch)
	case position < s.current.last:
		v.report(Doubled, "%s resumes behind %d, but has had %d", name, position, s.current.last)
	default:
		s.current.last = position
	}
}

// Receive checks a delivery against what is known so far.
func (v *Verifier) Receive(name string, d Delivery) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deliveries++
	s := v.streams[name]
	if s == nil {
		v.report(Misplaced, "%s received without having begun", name)
		return
	}
	r := s.current
	if r.epoch == "" {
		r.epoch = d.Epoch
	}
	if d.Epoch != r.epoch {
		v.report(Misplaced, "%s is in epoch %s and received %+v", name, r.epoch, d)
		return
	}
	if !s.channels[d.Channel] {
		v.report(Misplaced, "%s isn't subscribed to what it received: %+v", name, d)
		return
	}
	switch seq, ok := r.seqs[d.Channel]; {
	case !ok && r.start == 0 && d.Seq != 1:
		v.report(Lost, "%s began channel %q with %+v", name, d.Channel, d)
	case ok && d.Seq <= seq:
		v.report(Doubled, "%s had seq %d of %q and received %+v", name, seq, d.Channel, d)
	case ok && d.Seq > seq+1:
		v.report(Lost, "%s had seq %d of %q and received %+v", name, seq, d.Channel, d)
	case !ok:
		r.first[d.Channel] = d.Seq
	}
	if d.Position <= r.last {
		v.report(Swapped, "%s had everything up to %d and received %+v", name, r.last, d)
	}
	r.seqs[d.Channel] = d.Seq
	r.last = max(r.last, d.Position)
	v.remember(name, d)
}

// remember compares a delivery with what others were told of the same position.
func (v *Verifier) remember(name string, d Delivery) {
	if d.Position < 1 {
		v.report(Misplaced, "%s received a position that can't be: %+v", name, d)
		return
	}
	log := v.epochs[d.Epoch]
	if log == nil {
		log = &epochLog{}
		v.epochs[d.Epoch] = log
	}
	if n := int(d.Position) - len(log.rows); n > 0 {
		log.rows = append(log.rows, make([]seenRow, n)...)
	}
	row := seenRow{id: d.ID, seq: d.Seq, hash: d.Hash, channel: d.Channel}
	switch seen := &log.rows[d.Position-1]; {
	case seen.id == 0:
		*seen = row
	case *seen != row:
		v.report(Reused, "position %d of epoch %s was %+v, and %s received %+v", d.Position, d.Epoch, *seen, name, row)
	}
}
