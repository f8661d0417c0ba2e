package trunkline

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A ring agrees with a plain list of everything it was ever given.
func TestRing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		position := rapid.Int64Range(0, 5).Draw(t, "first position")
		r := ring{after: position}
		var all []*Message // since the last clear
		cleared, bytes := position, 0
		seq := rapid.Int64Range(0, 3).Draw(t, "first seq")
		lowest, known := int64(0), false // the seq behind which the ring has everything
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				position += rapid.Int64Range(1, 3).Draw(t, "gap") // other channels' messages lie between
				seq++
				m := &Message{Position: position, Seq: seq, size: rapid.IntRange(0, 9).Draw(t, "size")}
				if !known {
					lowest, known = seq-1, true
				}
				bytes += r.push(m, limit)
				all = append(all, m)
			},
			"prepend": func(t *rapid.T) {
				if len(all) > limit || !known {
					t.Skip("full, or seqs not known")
				}
				n := min(rapid.Int64Range(0, int64(limit-len(all))).Draw(t, "older"), lowest, cleared)
				older := make([]*Message, n)
				for i := range older {
					older[i] = &Message{Position: cleared - n + int64(i) + 1, Seq: lowest - n + int64(i) + 1}
				}
				cleared, lowest = cleared-n, lowest-n
				bytes += r.prepend(older, cleared, lowest)
				all = append(older, all...)
			},
			"reset": func(*rapid.T) {
				bytes -= r.bytes
				r.reset(position)
				all, cleared, known = nil, position, false
			},
			"clear": func(*rapid.T) {
				bytes -= r.bytes
				r.clear(position)
				all, cleared, lowest = nil, position, seq
			},
			"": func(t *rapid.T) {
				kept := all[max(0, len(all)-limit):]
				after, afterSeq := cleared, lowest
				if len(all) > limit {
					after, afterSeq = all[len(all)-limit-1].Position, all[len(all)-limit-1].Seq
				}
				if last, ok := r.lastSeq(); ok != known || known && last != seq {
					t.Fatalf("last seq %d (known: %v), want %d (%v)", last, ok, seq, known)
				}
				size := 0
				for _, m := range kept {
					size += m.footprint()
				}
				if r.count != len(kept) || r.bytes != size || bytes != size || r.after != after {
					t.Fatalf("%d messages of %d bytes (%d told) after %d; want %d of %d after %d", r.count, r.bytes, bytes, r.after, len(kept), size, after)
				}
				for since := cleared - 1; since <= position+1; since++ {
					got, ok := r.since(since)
					if ok != (since >= after) {
						t.Fatalf("since %d: covered %v, after %d", since, ok, after)
					}
					want := []int64{}
					for _, m := range kept {
						if ok && m.Position > since {
							want = append(want, m.Position)
						}
					}
					if diff := cmp.Diff(want, positions(got)); diff != "" {
						t.Fatalf("since %d: %s", since, diff)
					}
				}
				for since := int64(0); since <= seq+1; since++ {
					got, ok := r.sinceSeq(since)
					covered := known && afterSeq <= since && since <= seq
					if ok != covered {
						t.Fatalf("since seq %d: covered %v, want %v", since, ok, covered)
					}
					want := []int64{}
					for _, m := range kept {
						if ok && m.Seq > since {
							want = append(want, m.Position)
						}
					}
					if diff := cmp.Diff(want, positions(got)); diff != "" {
						t.Fatalf("since seq %d: %s", since, diff)
					}
				}
			},
		})
	})
}

func positions(messages []*Message) []int64 {
	all := make([]int64, len(messages))
	for i, m := range messages {
		all[i] = m.Position
	}
	return all
}

// What left the ring can be collected.
func TestRingLetsGo(t *testing.T) {
	t.Parallel()
	r := ring{}
	for i := range 10 {
		r.push(&Message{Position: int64(i + 1)}, 4)
	}
	held := 0
	for _, m := range r.messages {
		if m != nil {
			held++
		}
	}
	if held != 4 || len(r.messages) != 4 {
		t.Errorf("%d messages are held in %d places", held, len(r.messages))
	}
	r.dropOldest()
	if r.messages[(r.start+3)%4] != nil {
		t.Error("what was dropped is still held")
	}
}
