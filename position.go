package trunkline

import (
	"fmt"
	"strconv"
	"strings"
)

// A Position is a place in the log, over all channels: after the message at Position of that epoch. The zero Position is
// no place at all. It is written EPOCH:POSITION.
type Position struct {
	Epoch    string
	Position int64
}

func (p Position) String() string { return p.Epoch + ":" + strconv.FormatInt(p.Position, 10) }

// IsZero tells whether p is no place.
func (p Position) IsZero() bool { return p == Position{} }

// ParsePosition reads EPOCH:POSITION, as [Position.String] writes it.
func ParsePosition(s string) (Position, error) {
	epoch, number, err := cutEpoch(s, "POSITION")
	return Position{Epoch: epoch, Position: number}, err
}

// An Offset is a place in one channel: after the message with that Seq, 0 for before the first. It is written EPOCH:SEQ.
type Offset struct {
	Epoch string
	Seq   int64
}

func (o Offset) String() string { return o.Epoch + ":" + strconv.FormatInt(o.Seq, 10) }

// ParseOffset reads EPOCH:SEQ, as [Offset.String] writes it.
func ParseOffset(s string) (Offset, error) {
	epoch, number, err := cutEpoch(s, "SEQ")
	return Offset{Epoch: epoch, Seq: number}, err
}

// maxEpoch bounds what is taken for an epoch, in bytes. Ours are 12.
const maxEpoch = 64

func cutEpoch(s, what string) (epoch string, number int64, err error) {
	epoch, digits, ok := strings.Cut(s, ":")
	if ok && epoch != "" && len(epoch) <= maxEpoch && digits != "" && digits[0] >= '0' && digits[0] <= '9' {
		number, err = strconv.ParseInt(digits, 10, 64)
		if err == nil && number >= 0 {
			return epoch, number, nil
		}
	}
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return "", 0, fmt.Errorf("%q is not of the form EPOCH:%s, such as 1f0c6a9b2e44:17, as messages carry it", s, what)
}

// A Start says where a subscription begins. The zero value is [FromNow].
type Start struct {
	kind     startKind
	position Position
	offset   Offset
}

type startKind int

const (
	startNow startKind = iota
	startBeginning
	startOffset
	startPosition
)

// FromNow starts with the messages that commit after [Engine.Subscribe] has returned.
func FromNow() Start { return Start{} }

// FromBeginning starts with the oldest message that is kept.
func FromBeginning() Start { return Start{kind: startBeginning} }

// FromOffset resumes one channel after a seq.
func FromOffset(o Offset) Start { return Start{kind: startOffset, offset: o} }

// Since resumes any number of channels after a position of the log.
func Since(p Position) Start { return Start{kind: startPosition, position: p} }

// check refuses places that no message ever carried.
func (s Start) check() error {
	if s.kind != startPosition && s.kind != startOffset {
		return nil
	}
	if s.epoch() == "" || s.position.Position < 0 || s.offset.Seq < 0 {
		given := s.position.String()
		if s.kind == startOffset {
			given = s.offset.String()
		}
		return &ArgumentError{
			Argument: "from",
			Problem:  fmt.Sprintf("%q is no place to resume from: it has no epoch, or a negative number", given),
			Fix:      "Take it from a message, or start from now or from the beginning",
		}
	}
	return nil
}

// epoch returns the epoch that a start was given for, "" if it needs none.
func (s Start) epoch() string {
	switch s.kind {
	case startPosition:
		return s.position.Epoch
	case startOffset:
		return s.offset.Epoch
	case startNow, startBeginning:
	}
	return ""
}
