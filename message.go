package trunkline

import (
	"encoding/json"
	"time"
)

// A Message is one published item as it is delivered. It is shared by all who receive it: do not modify it or its payload.
type Message struct {
	// ID identifies the message for ever, across epochs; 0 for a signal. IDs say nothing about order.
	ID int64
	// Channel it was published to.
	Channel string
	// Epoch of the log that Seq and Position belong to.
	Epoch string
	// Seq counts 1, 2, 3 … within the channel, without gaps; 0 for a signal.
	Seq int64
	// Position counts over all channels of the log; 0 for a signal.
	Position int64
	// Payload is JSON, byte for byte as it was published. A raw notification that isn't JSON arrives as a JSON string.
	Payload json.RawMessage
	// Sender as the publisher gave it, "" if none.
	Sender string
	// Key is the idempotency key, "" if none.
	Key string
	// CreatedAt is when it was published (by the database's clock), not when it committed.
	CreatedAt time.Time
	// Signal tells an ephemeral message, delivered to whoever was there and stored nowhere.
	Signal bool

	// Skipped is how many messages of the channel a subscription that conflates has left out between the previous one that it
	// returned and this one. 0 for the first of a subscription that began now, or since a position.
	Skipped int64

	// notify asks the sequencer to repeat the payload on the raw channel.
	notify bool
	// conflated tells that the message may come before others of a lower position: a subscription continues behind resume then.
	conflated bool
	resume    int64
	// size of the payload in bytes, known even where the payload was too much to be fetched along (then it is nil).
	size int
}

// LogPosition is where a subscription continues after this message, for [Since]. After one of a conflated channel that is behind
// what the subscription has returned of the others.
func (m *Message) LogPosition() Position {
	if m.conflated {
		return Position{Epoch: m.Epoch, Position: m.resume}
	}
	return Position{Epoch: m.Epoch, Position: m.Position}
}

// Offset is where a subscription of this channel alone continues after this message, for [FromOffset].
func (m *Message) Offset() Offset { return Offset{Epoch: m.Epoch, Seq: m.Seq} }

// A Publication is a message to be published.
type Publication struct {
	// Channel is 1 to 255 bytes of UTF-8 without control characters; what stands before the first ":" is its namespace.
	Channel string
	// Payload is a JSON value, by default up to 1 MiB. It is delivered byte for byte.
	Payload []byte
	// Sender is who says so, such as a user's id: up to 255 bytes, "" for none.
	Sender string
	// Key makes publishing idempotent: the same key with the same payload publishes once. Up to 255 bytes, "" for none.
	Key string
}

// footprint is roughly how many bytes of memory the message takes: rings and queues are bounded by it.
func (m *Message) footprint() int {
	const itself = 256 // the struct, its strings, a slot in a ring
	return itself + m.size
}
