package checker

import (
	"fmt"
	"maps"
	"slices"
)

// Behind tells how many messages the complete streams lack of the final log, without judging.
func (v *Verifier) Behind(truth *Truth) (lacking int, example string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ends := lastSeqs(truth.Log)
	for _, name := range truth.Complete {
		s := v.streams[name]
		if s == nil || (s.current.epoch != truth.Epoch && len(truth.Log) > 0) {
			lacking++
			example = name + " is not in the final epoch"
			continue
		}
		starts := s.current.startSeqs(truth.Log)
		for channel := range s.channels {
			had := max(starts[channel], s.current.seqs[channel])
			if n := int(ends[channel] - had); n > 0 {
				lacking += n
				example = fmt.Sprintf("%s had %d of %d in %q", name, had, ends[channel], channel)
			}
		}
	}
	return lacking, example
}

// startSeqs returns the seq of each channel at the run's start.
func (r *run) startSeqs(log []LogRow) map[string]int64 {
	end, _ := slices.BinarySearchFunc(log, r.start+1, func(row LogRow, position int64) int { return int(row.Position - position) })
	return lastSeqs(log[:end])
}

func lastSeqs(log []LogRow) map[string]int64 {
	last := map[string]int64{}
	for _, row := range log {
		last[row.Channel] = max(last[row.Channel], row.Seq)
	}
	return last
}

// Finish checks everything against the truth.
func (v *Verifier) Finish(truth *Truth) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.finishLog(truth)
	for _, epoch := range slices.Sorted(maps.Keys(v.epochs)) {
		v.finishEpoch(epoch, truth)
	}
	v.finishRuns(truth)
	ends := lastSeqs(truth.Log)
	for _, name := range truth.Complete {
		s := v.streams[name]
		if s == nil || (s.current.epoch != truth.Epoch && len(truth.Log) > 0) {
			v.report(Lost, "%s never came to the final epoch %s", name, truth.Epoch)
			continue
		}
		starts := s.current.startSeqs(truth.Log)
		for channel := range s.channels {
			if had := max(starts[channel], s.current.seqs[channel]); had != ends[channel] {
				v.report(Lost, "%s had seq %d of %q in the end, the log has %d", name, had, channel, ends[channel])
			}
		}
	}
}

// finishLog checks the final log by itself: every message once, seq without gaps, nothing else.
func (v *Verifier) finishLog(truth *Truth) {
	seqs, ids := map[string]int64{}, make(map[int64]bool, len(truth.Log))
	var last int64
	for _, row := range truth.Log {
		if row.Position <= last {
			v.report(Reused, "the log has position %d after %d", row.Position, last)
		}
		last = row.Position
		switch want := seqs[row.Channel] + 1; {
		case row.Seq > want:
			v.report(Lost, "the log has a gap in %q before %+v", row.Channel, row)
		case row.Seq < want:
			v.report(Doubled, "the log has a seq twice in %q: %+v", row.Channel, row)
		}
		seqs[row.Channel] = row.Seq
		if ids[row.ID] {
			v.report(Doubled, "the log has message %d twice", row.ID)
		}
		ids[row.ID] = true
	}
	for id, fact := range truth.Messages {
		if !ids[id] {
			v.report(Lost, "message %d (%s) is not in the log", id, fact.Label)
		}
	}
}

// finishEpoch checks what was told of an epoch: only what is stored, once, and in an order that may be.
func (v *Verifier) finishEpoch(epoch string, truth *Truth) {
	rows := v.epochs[epoch].rows
	if epoch == truth.Epoch {
		// The whole log counts, also what nobody was told.
		full := make(map[int64]LogRow, len(truth.Log))
		for _, row := range truth.Log {
			full[row.Position] = row
		}
		for i, row := range rows {
			log, ok := full[int64(i+1)]
			if _, stored := truth.Messages[row.id]; row.id != 0 && !stored {
				v.report(Invented, "position %d of epoch %s was message %d, which is not stored: %+v", i+1, epoch, row.id, row)
			} else if row.id != 0 && (!ok || log.ID != row.id || log.Seq != row.seq || log.Channel != row.channel) {
				v.report(Reused, "position %d of epoch %s was delivered as %+v, the log has %+v", i+1, epoch, row, log)
			}
		}
		rows = make([]seenRow, 0, len(truth.Log))
		for _, row := range truth.Log {
			fact := truth.Messages[row.ID]
			told := seenRow{id: row.ID, seq: row.Seq, hash: fact.Hash, channel: row.Channel}
			if i := int(row.Position) - 1; i < len(v.epochs[epoch].rows) && v.epochs[epoch].rows[i].id != 0 {
				told = v.epochs[epoch].rows[i]
			}
			rows = append(rows, told)
		}
	}
	ids := make(map[int64]bool, len(rows))
	inTransaction := map[string]int64{}
	var latest int64 // beginning of a publish so far
	var effect string
	for i, row := range rows {
		if row.id == 0 {
			continue
		}
		if ids[row.id] {
			v.report(Doubled, "epoch %s has message %d twice, again at %d", epoch, row.id, i+1)
		}
		ids[row.id] = true
		fact, ok := truth.Messages[row.id]
		if !ok {
			v.report(Invented, "position %d of epoch %s was message %d, which is not stored: %+v", i+1, epoch, row.id, row)
			continue
		}
		if fact.Channel != row.channel || fact.Hash != row.hash {
			v.report(Altered, "%s was delivered as %+v, stored is %+v", fact.Label, row, fact)
		}
		if fact.Committed < latest {
			v.report(Swapped, "epoch %s has %s behind %s, which was published after the former had committed", epoch, fact.Label, effect)
		}
		if fact.Began != never && fact.Began > latest {
			latest, effect = fact.Began, fact.Label
		}
		if tx := fact.Transaction; tx != "" {
			if row.id < inTransaction[tx] {
				v.report(Swapped, "epoch %s has message %d of transaction %s behind %d", epoch, row.id, tx, inTransaction[tx])
			}
			inTransaction[tx] = row.id
		}
	}
}

// finishRuns checks that no run left out what others were told of its channels.
func (v *Verifier) finishRuns(truth *Truth) {
	type place struct{ position, seq int64 }
	places := map[string]map[string][]place{} // by epoch and channel
	for epoch, log := range v.epochs {
		byChannel := map[string][]place{}
		if epoch == truth.Epoch {
			for _, row := range truth.Log {
				byChannel[row.Channel] = append(byChannel[row.Channel], place{row.Position, row.Seq})
			}
		} else {
			for i, row := range log.rows {
				if row.id != 0 {
					byChannel[row.channel] = append(byChannel[row.channel], place{int64(i + 1), row.seq})
				}
			}
		}
		places[epoch] = byChannel
	}
	for _, r := range v.runs {
		for channel := range r.stream.channels {
			list := places[r.epoch][channel]
			from, _ := slices.BinarySearchFunc(list, r.start+1, func(p place, position int64) int { return int(p.position - position) })
			to, _ := slices.BinarySearchFunc(list, r.last+1, func(p place, position int64) int { return int(p.position - position) })
			if from >= to {
				continue
			}
			first, last := list[from], list[to-1]
			switch had, ok := r.seqs[channel]; {
			case !ok:
				v.report(Lost, "%s had everything of epoch %s between %d and %d, but nothing of %q: seq %d to %d are there",
					r.stream.name, r.epoch, r.start, r.last, channel, first.seq, last.seq)
			case r.first[channel] > first.seq || had < last.seq:
				v.report(Lost, "%s had seq %d to %d of %q in epoch %s between %d and %d, there are %d to %d",
					r.stream.name, r.first[channel], had, channel, r.epoch, r.start, r.last, first.seq, last.seq)
			}
		}
	}
}
