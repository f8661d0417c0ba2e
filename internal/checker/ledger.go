package checker

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync"
)

// Outcome is what a writer knows of its transaction's end.
type Outcome int

// Outcomes. An unknown one is settled by the table: all of it is there, or nothing.
const (
	Unknown Outcome = iota
	Committed
	RolledBack
)

// A Transaction is one of a writer's.
type Transaction struct {
	name    string
	outcome Outcome
	doubted bool  // it ended unknown, at first
	ended   int64 // the clock after the commit had returned; never, if it isn't known to have
}

// never is later than every reading of the clock.
const never = math.MaxInt64

// An Attempt is one call that publishes.
type Attempt struct {
	tx    *Transaction
	began int64 // the clock before the call was sent
	id    int64 // what it returned, 0 if it didn't
	dead  bool  // a savepoint before it was rolled back, or the call failed
}

// A publication is one message that should be there at most once: that of one call, or of all with the same key.
type publication struct {
	channel  string
	attempts []*Attempt
}

// A Ledger is what the writers know about what they published. Its clock is logical: if one reading is smaller than
// another, it was taken before.
type Ledger struct {
	mu           sync.Mutex
	clock        int64
	publications map[string]*publication // by label
	committed    int                     // transactions
	rolledBack   int
	unknown      int
}

// NewLedger makes an empty one.
func NewLedger() *Ledger { return &Ledger{publications: map[string]*publication{}} }

// Begin notes a transaction. Its outcome is unknown until End.
func (l *Ledger) Begin(name string) *Transaction { return &Transaction{name: name, ended: never} }

// Publish notes a call that is about to be sent.
func (l *Ledger) Publish(tx *Transaction, label, channel string) *Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	a := &Attempt{tx: tx, began: l.clock}
	p := l.publications[label]
	if p == nil {
		p = &publication{channel: channel}
		l.publications[label] = p
	}
	p.attempts = append(p.attempts, a)
	return a
}

// Returned notes the id that a call returned.
func (l *Ledger) Returned(a *Attempt, id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.id = id
}

// Undo notes that attempts were undone within their transaction.
func (l *Ledger) Undo(attempts ...*Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range attempts {
		a.dead = true
	}
}

// End notes how a transaction ended. One that ended unknown may still be ended better, not the other way round.
func (l *Ledger) End(tx *Transaction, outcome Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	if tx.outcome != Unknown {
		return
	}
	if tx.doubted {
		l.unknown--
	}
	tx.outcome = outcome
	switch outcome {
	case Committed:
		tx.ended = l.clock
		l.committed++
	case RolledBack:
		l.rolledBack++
	case Unknown:
		tx.doubted = true
		l.unknown++
	}
}

// Counts returns how many transactions committed, rolled back, and ended unknown, and how many messages were tried.
func (l *Ledger) Counts() (committed, rolledBack, unknown, messages int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.committed, l.rolledBack, l.unknown, len(l.publications)
}

// A Stored message is a row of trunkline.message.
type Stored struct {
	ID      int64
	Channel string
	Payload []byte
}

// A Fact is what is true of a message, for the verifier.
type Fact struct {
	Label       string
	Channel     string
	Hash        uint64
	Began       int64  // its publish began then, or later
	Committed   int64  // its commit had returned by then
	Transaction string // "" if several tried
}

// Settle compares what the writers know with what the table holds, and returns what is true of each message by its id.
func (l *Ledger) Settle(table []Stored) (facts map[int64]Fact, violations []Violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	report := func(kind, format string, args ...any) {
		violations = append(violations, Violation{Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
	facts = make(map[int64]Fact, len(table))
	stored := make(map[string]int64, len(table))
	for _, row := range table {
		label := LabelOf(row.Payload)
		p := l.publications[label]
		switch {
		case p == nil:
			report(Invented, "message %d of %q was never published: %.80s", row.ID, row.Channel, row.Payload)
			continue
		case stored[label] != 0:
			report(Doubled, "%s is stored twice, as messages %d and %d", label, stored[label], row.ID)
		case string(row.Payload) != string(Payload(label)) || row.Channel != p.channel:
			report(Altered, "%s was published to %q as %.80s, stored is message %d of %q: %.80s",
				label, p.channel, Payload(label), row.ID, row.Channel, row.Payload)
		}
		stored[label] = row.ID
		fact := Fact{Label: label, Channel: row.Channel, Hash: Hash(row.Payload), Began: never, Committed: never}
		for _, a := range p.attempts {
			if a.dead || a.tx.outcome == RolledBack {
				continue
			}
			fact.Began, fact.Committed = min(fact.Began, a.began), min(fact.Committed, a.tx.ended)
		}
		if len(p.attempts) == 1 {
			fact.Transaction = p.attempts[0].tx.name
		}
		facts[row.ID] = fact
	}

	// Of an unknown transaction that published alone: is the first message there?
	unknown := map[*Transaction]bool{}
	for label, p := range l.publications {
		id := stored[label]
		possible, certain := false, false
		for _, a := range p.attempts {
			if a.dead || a.tx.outcome == RolledBack {
				continue
			}
			possible = true
			if a.tx.outcome == Committed {
				certain = true
				if id != 0 && a.id != id {
					report(Altered, "publishing %s returned id %d, stored is %d", label, a.id, id)
				}
			}
		}
		switch {
		case certain && id == 0:
			report(Lost, "%s of the committed transaction %s is not stored", label, p.attempts[0].tx.name)
		case !possible && id != 0:
			report(Invented, "message %d is %s, which was rolled back with %s", id, label, p.attempts[0].tx.name)
		case len(p.attempts) == 1 && possible && !certain:
			tx := p.attempts[0].tx
			if there, ok := unknown[tx]; ok && there != (id != 0) {
				report(Lost, "only a part of transaction %s is stored", tx.name)
			}
			unknown[tx] = id != 0
		}
	}
	return facts, violations
}

// Payload makes the payload of a label: the same for the same label, with bytes that a parser would have changed. A label
// that ends in "b" is a big one.
func Payload(label string) []byte {
	h := Hash([]byte(label))
	pad := int(h % 160)
	switch {
	case strings.HasSuffix(label, "b"):
		pad = 300_000
	case h%211 == 0:
		pad = 8_000 + int(h%12_000) // more than fits a notification
	}
	return fmt.Appendf(nil, `{"label":  "%s", "n": 1.50, "n": 1e2,"pad":"%s"}`, label, strings.Repeat("ä", pad/2))
}

// LabelOf reads the label back, "" if there is none.
func LabelOf(payload []byte) string {
	_, rest, _ := strings.Cut(string(payload), `"label":  "`)
	label, _, _ := strings.Cut(rest, `"`)
	return label
}

// Hash of a payload.
func Hash(payload []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(payload)
	return h.Sum64()
}
