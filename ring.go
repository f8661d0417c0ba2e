package trunkline

// A ring keeps a channel's most recent messages in the order of the log. It covers the positions after `after`, up to the
// hub's: whatever the channel got there is in it. Not safe for concurrent use; the hub's lock guards it.
type ring struct {
	messages []*Message // circular: the oldest at start
	start    int
	count    int
	bytes    int
	after    int64 // position up to which the ring no longer, or never, knew
	afterSeq int64 // seq of the channel's last message up to there, 0 if there is none
	known    bool  // whether afterSeq is known
}

// push appends a message and returns how many bytes the ring grew (negative if it shrank).
func (r *ring) push(m *Message, limit int) int {
	before := r.bytes
	if !r.known {
		r.afterSeq, r.known = m.Seq-1, true // the first behind after
	}
	for r.count >= limit {
		r.dropOldest()
	}
	if r.count == len(r.messages) {
		grown := make([]*Message, max(r.count+1, min(limit, max(8, 2*len(r.messages)))))
		for i := range r.count {
			grown[i] = r.at(i)
		}
		r.messages, r.start = grown, 0
	}
	r.messages[(r.start+r.count)%len(r.messages)] = m
	r.count++
	r.bytes += m.footprint()
	return r.bytes - before
}

func (r *ring) at(i int) *Message { return r.messages[(r.start+i)%len(r.messages)] }

func (r *ring) dropOldest() {
	oldest := r.messages[r.start]
	r.messages[r.start] = nil
	r.start = (r.start + 1) % len(r.messages)
	r.count--
	r.bytes -= oldest.footprint()
	r.after, r.afterSeq = oldest.Position, oldest.Seq
}

// prepend puts older messages, up to r.after and of contiguous seqs, before what the ring holds. It then covers what comes
// after a position and its seq. Returns how many bytes the ring grew.
func (r *ring) prepend(older []*Message, after, afterSeq int64) int {
	before := r.bytes
	messages := make([]*Message, 0, len(older)+r.count)
	for _, m := range older {
		messages = append(messages, m)
		r.bytes += m.footprint()
	}
	for i := range r.count {
		messages = append(messages, r.at(i))
	}
	r.messages, r.start, r.count = messages, 0, len(messages)
	r.after, r.afterSeq, r.known = after, afterSeq, true
	return r.bytes - before
}

// clear forgets the messages: the ring, which covered everything up to a position, now covers what comes after it.
func (r *ring) clear(after int64) {
	last, known := r.lastSeq()
	*r = ring{after: after, afterSeq: last, known: known}
}

// reset forgets everything: what the channel got up to a position is not known.
func (r *ring) reset(after int64) {
	*r = ring{after: after}
}

// lastSeq returns the seq of the channel's newest message up to the hub's position, and whether that is known.
func (r *ring) lastSeq() (seq int64, known bool) {
	if r.count > 0 {
		return r.at(r.count - 1).Seq, true
	}
	return r.afterSeq, r.known
}

// since returns the messages after a position, oldest first, and whether the ring covers all of them.
func (r *ring) since(position int64) ([]*Message, bool) {
	if position < r.after {
		return nil, false
	}
	first := r.count
	for first > 0 && r.at(first-1).Position > position {
		first--
	}
	return r.slice(first), true
}

// sinceSeq returns the messages after a seq of the channel, and whether the ring is sure to hold all of them.
func (r *ring) sinceSeq(seq int64) ([]*Message, bool) {
	last, known := r.lastSeq()
	if !known || seq < r.afterSeq || seq > last {
		return nil, false
	}
	return r.slice(int(seq - r.afterSeq)), true
}

func (r *ring) slice(first int) []*Message {
	if first < 0 {
		first = 0
	}
	if first >= r.count {
		return nil
	}
	messages := make([]*Message, 0, r.count-first)
	for i := first; i < r.count; i++ {
		messages = append(messages, r.at(i))
	}
	return messages
}
