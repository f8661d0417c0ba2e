package checker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/trunkline/trunkline/internal/checker"
)

// A story is what a small run recorded: two transactions of a writer and one of another, in two channels, followed by two
// subscribers, of whom the second resumed once.
type story struct {
	ledger *checker.Ledger
	table  []checker.Stored
	log    []checker.LogRow
	first  []checker.Delivery
	second []checker.Delivery
}

const epoch = "0123456789ab"

func tell() *story {
	s := &story{ledger: checker.NewLedger()}
	publish := func(tx *checker.Transaction, label, channel string, id int64) *checker.Attempt {
		a := s.ledger.Publish(tx, label, channel)
		s.ledger.Returned(a, id)
		return a
	}
	store := func(label, channel string, id int64) {
		s.table = append(s.table, checker.Stored{ID: id, Channel: channel, Payload: checker.Payload(label)})
	}
	one := s.ledger.Begin("0.1")
	publish(one, "0.1.1", "a", 1)
	s.ledger.Undo(publish(one, "0.1.2", "a", 2))
	publish(one, "0.1.3", "b", 3)
	publish(one, "key1", "a", 4)
	s.ledger.End(one, checker.Committed)
	two := s.ledger.Begin("0.2")
	publish(two, "0.2.1", "b", 5)
	s.ledger.End(two, checker.RolledBack)
	three := s.ledger.Begin("1.1")
	publish(three, "1.1.1", "a", 6)
	publish(three, "1.1.2", "b", 7)
	publish(three, "key1", "a", 4)
	s.ledger.End(three, checker.Unknown)
	four := s.ledger.Begin("1.2")
	publish(four, "1.2.1", "a", 8)
	s.ledger.End(four, checker.Committed)

	store("0.1.1", "a", 1)
	store("0.1.3", "b", 3)
	store("key1", "a", 4)
	store("1.1.1", "a", 6)
	store("1.1.2", "b", 7)
	store("1.2.1", "a", 8)
	seqs := map[string]int64{}
	for i, row := range s.table {
		seqs[row.Channel]++
		s.log = append(s.log, checker.LogRow{Position: int64(i + 1), Seq: seqs[row.Channel], ID: row.ID, Channel: row.Channel})
		d := checker.Delivery{
			Epoch: epoch, Position: int64(i + 1), Seq: seqs[row.Channel], ID: row.ID, Channel: row.Channel, Hash: checker.Hash(row.Payload),
		}
		s.first = append(s.first, d)
		if row.Channel == "a" {
			s.second = append(s.second, d)
		}
	}
	return s
}

func (s *story) violations() []checker.Violation {
	facts, violations := s.ledger.Settle(s.table)
	v := checker.NewVerifier()
	v.Begin("first", []string{"a", "b"}, "", 0)
	v.Begin("second", []string{"a"}, "", 0)
	for _, d := range s.first {
		v.Receive("first", d)
	}
	for i, d := range s.second {
		if i == 2 {
			v.Settled("second", epoch, s.second[i-1].Position)
		}
		v.Receive("second", d)
	}
	v.Finish(&checker.Truth{Epoch: epoch, Log: s.log, Messages: facts, Complete: []string{"first", "second"}})
	more, _ := v.Violations()
	return append(violations, more...)
}

func TestVerifierAcceptsWhatIsRight(t *testing.T) {
	if violations := tell().violations(); len(violations) > 0 {
		t.Error(violations)
	}
}

func TestVerifierFindsWhatIsWrong(t *testing.T) {
	swapIDs := func(s *story, i, j int) {
		s.log[i].ID, s.log[j].ID = s.log[j].ID, s.log[i].ID
		for _, list := range [][]checker.Delivery{s.first, s.second} {
			at := func(n int) *checker.Delivery {
				k := slices.IndexFunc(list, func(d checker.Delivery) bool { return d.Position == int64(n+1) })
				if k < 0 {
					return &checker.Delivery{}
				}
				return &list[k]
			}
			a, b := at(i), at(j)
			a.ID, b.ID, a.Hash, b.Hash = b.ID, a.ID, b.Hash, a.Hash
		}
	}
	tests := []struct {
		name    string
		want    string
		corrupt func(*story)
	}{
		{"a delivery left out in the middle", checker.Lost, func(s *story) { s.first = slices.Delete(s.first, 2, 3) }},
		{"the first left out", checker.Lost, func(s *story) { s.second = s.second[1:] }},
		{"the last left out", checker.Lost, func(s *story) { s.first = s.first[:5] }},
		{"nothing received", checker.Lost, func(s *story) { s.second = nil }},
		{"a delivery twice", checker.Doubled, func(s *story) { s.first = slices.Insert(s.first, 3, s.first[2]) }},
		{"all twice", checker.Doubled, func(s *story) { s.second = append(s.second, s.second...) }},
		{"one message at two positions", checker.Doubled, func(s *story) {
			s.first[5].ID, s.first[5].Hash, s.log[5].ID = s.first[3].ID, s.first[3].Hash, s.log[3].ID
			s.second[3].ID, s.second[3].Hash = s.first[3].ID, s.first[3].Hash
		}},
		{"two deliveries swapped between channels", checker.Swapped, func(s *story) { s.first[0], s.first[1] = s.first[1], s.first[0] }},
		{"a transaction's messages swapped", checker.Swapped, func(s *story) { swapIDs(s, 0, 2) }},
		{"an effect before its cause", checker.Swapped, func(s *story) { swapIDs(s, 2, 5) }},
		{"a delivery of what was rolled back", checker.Invented, func(s *story) {
			s.first = append(s.first, checker.Delivery{
				Epoch: epoch, Position: 7, Seq: 3, ID: 5, Channel: "b", Hash: checker.Hash(checker.Payload("0.2.1")),
			})
		}},
		{"a rolled-back transaction stored", checker.Invented, func(s *story) {
			s.table = append(s.table, checker.Stored{ID: 5, Channel: "b", Payload: checker.Payload("0.2.1")})
		}},
		{"a rolled-back savepoint stored", checker.Invented, func(s *story) {
			s.table = append(s.table, checker.Stored{ID: 2, Channel: "a", Payload: checker.Payload("0.1.2")})
		}},
		{"a message that nobody published", checker.Invented, func(s *story) {
			s.table = append(s.table, checker.Stored{ID: 9, Channel: "b", Payload: checker.Payload("9.9.9")})
		}},
		{"a committed message not stored", checker.Lost, func(s *story) { s.table = slices.Delete(s.table, 1, 2) }},
		{"a half of an unknown transaction stored", checker.Lost, func(s *story) { s.table = slices.Delete(s.table, 3, 4) }},
		{"a message stored twice", checker.Doubled, func(s *story) {
			s.table = append(s.table, checker.Stored{ID: 10, Channel: "a", Payload: checker.Payload("0.1.1")})
		}},
		{"a stored payload altered", checker.Altered, func(s *story) { s.table[0].Payload = append(s.table[0].Payload, ' ') }},
		{"another id returned than stored", checker.Altered, func(s *story) { s.table[5].ID = 11 }},
		{"a delivered payload altered", checker.Altered, func(s *story) { s.first[1].Hash++ }},
		{"a position reused", checker.Reused, func(s *story) { s.second[1].ID = 7 }},
		{"a position that the log names otherwise", checker.Reused, func(s *story) { s.log[4].ID, s.log[1].ID = s.log[1].ID, s.log[4].ID }},
		{"a gap in the log's seq", checker.Lost, func(s *story) { s.log[5].Seq++ }},
		{"a log row missing", checker.Lost, func(s *story) { s.log = s.log[:5] }},
		{"a log row twice", checker.Doubled, func(s *story) {
			s.log = append(s.log, checker.LogRow{Position: 7, Seq: 5, ID: 8, Channel: "a"})
		}},
		{"another channel than subscribed", checker.Misplaced, func(s *story) { s.second[2].Channel = "b" }},
		{"another epoch in the middle", checker.Misplaced, func(s *story) { s.first[3].Epoch = "other" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := tell()
			test.corrupt(s)
			violations := s.violations()
			if !slices.ContainsFunc(violations, func(v checker.Violation) bool { return v.Kind == test.want }) {
				t.Errorf("want %q among %v", test.want, violations)
			}
		})
	}
}

// What only the comparison of subscribers can find: each alone looks right.
func TestVerifierComparesSubscribers(t *testing.T) {
	const before = "fedcba987654"
	s := tell()
	facts, _ := s.ledger.Settle(s.table)
	delivery := func(position, seq int64, row int) checker.Delivery {
		return checker.Delivery{
			Epoch: before, Position: position, Seq: seq, ID: s.table[row].ID, Channel: s.table[row].Channel, Hash: checker.Hash(s.table[row].Payload),
		}
	}
	tests := []struct {
		name  string
		want  string
		since int64
		got   []checker.Delivery
	}{
		{"the same", "", 0, []checker.Delivery{delivery(1, 1, 0), delivery(3, 2, 2), delivery(4, 3, 3)}},
		{"from later", "", 1, []checker.Delivery{delivery(3, 2, 2), delivery(4, 3, 3)}},
		{"from later, with a gap behind the start", checker.Lost, 1, []checker.Delivery{delivery(4, 3, 3)}},
		{"an end that was settled too early", checker.Lost, 0, []checker.Delivery{delivery(1, 1, 0), delivery(3, 2, 2)}},
		{"another message at a position", checker.Reused, 0, []checker.Delivery{delivery(1, 1, 0), delivery(3, 2, 3), delivery(4, 3, 2)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := checker.NewVerifier()
			v.Begin("all", []string{"a", "b"}, "", 0)
			for _, d := range []checker.Delivery{delivery(1, 1, 0), delivery(2, 1, 1), delivery(3, 2, 2), delivery(4, 3, 3)} {
				v.Receive("all", d)
			}
			from := ""
			if test.since > 0 {
				from = before
			}
			v.Begin("other", []string{"a"}, from, test.since)
			for _, d := range test.got {
				v.Receive("other", d)
			}
			v.Settled("other", before, 4)
			v.Finish(&checker.Truth{Epoch: epoch, Log: s.log, Messages: facts})
			violations, _ := v.Violations()
			kinds := map[string]bool{}
			for _, found := range violations {
				kinds[found.Kind] = true
			}
			if test.want == "" && len(kinds) > 0 || test.want != "" && !kinds[test.want] {
				t.Error(fmt.Sprintf("want %q among", test.want), violations)
			}
		})
	}
}

func TestVerifierKeepsResumptionHonest(t *testing.T) {
	d := tell().first[0]
	for name, resume := range map[string]func(*checker.Verifier){
		"before what was had":  func(v *checker.Verifier) { v.Settled("s", epoch, 0) },
		"in another epoch":     func(v *checker.Verifier) { v.Settled("s", "other", 9) },
		"without a beginning":  func(v *checker.Verifier) { v.Settled("nobody", epoch, 1) },
		"and receives the old": func(v *checker.Verifier) { v.Settled("s", epoch, 1); v.Receive("s", d) },
	} {
		t.Run(name, func(t *testing.T) {
			v := checker.NewVerifier()
			v.Begin("s", []string{"a"}, "", 0)
			v.Receive("s", d)
			resume(v)
			if violations, _ := v.Violations(); len(violations) == 0 {
				t.Error("found nothing")
			}
		})
	}
}
