package trunkline

import "time"

// A row is a message as queries return it, beside columns of their own. Where it was joined from the left every column of it
// may be NULL; scan into a fresh one for each row.
type row struct {
	position, seq, id    *int64
	size                 *int
	channel, sender, key *string
	payload              []byte // NULL where the payload wasn't fetched along
	createdAt            *time.Time
}

// message returns the message, in an epoch of the log, of a row that has one.
func (r *row) message(epoch string) *Message {
	return &Message{
		ID: *r.id, Channel: *r.channel, Epoch: epoch, Seq: *r.seq, Position: *r.position, Payload: r.payload, size: *r.size,
		Sender: deref(r.sender), Key: deref(r.key), CreatedAt: deref(r.createdAt),
	}
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}
