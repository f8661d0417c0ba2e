package server

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/trunkline/trunkline"
)

// appendEvent appends a message, or a signal, as a block of an event stream. A message's id says from where to resume.
func appendEvent(b []byte, m *trunkline.Message, resume trunkline.Position) []byte {
	if m.Signal {
		b = append(b, "event: signal\n"...)
	} else {
		b = append(b, "id: "...)
		b = appendPosition(b, resume)
		b = append(b, "\nevent: message\n"...)
	}
	b = append(b, `data: {"channel":`...)
	b = appendString(b, m.Channel)
	if !m.Signal {
		b = append(b, `,"seq":`...)
		b = strconv.AppendInt(b, m.Seq, 10)
		b = append(b, `,"id":`...)
		b = strconv.AppendInt(b, m.ID, 10)
		if m.Skipped > 0 {
			b = append(b, `,"skipped":`...)
			b = strconv.AppendInt(b, m.Skipped, 10)
		}
	}
	b = append(b, `,"at":"`...)
	b = appendTime(b, m.CreatedAt)
	b = append(b, `","sender":`...)
	b = appendSender(b, m.Sender)
	b = append(b, `,"payload":`...)
	b = appendOneLine(b, m.Payload)
	return append(b, "}\n\n"...)
}

// appendOneLine appends JSON byte for byte, except that CR and LF become spaces: either would end the line, and JSON allows
// them only between tokens, where a space means the same.
func appendOneLine(b, payload []byte) []byte {
	at := len(b)
	b = append(b, payload...)
	for line := b[at:]; ; {
		i := bytes.IndexAny(line, "\r\n")
		if i < 0 {
			return b
		}
		line[i] = ' '
		line = line[i+1:]
	}
}

// appendResumePoint appends a block that has an id and no data: a client takes the id as its Last-Event-ID, and is told
// of no event.
func appendResumePoint(b []byte, p trunkline.Position) []byte {
	b = append(b, "id: "...)
	b = appendPosition(b, p)
	return append(b, "\n\n"...)
}

// reset tells a client that the position it has can't be resumed. Where the log is by now is its id, so that an EventSource
// which connects again by itself goes on from there, and misses nothing that comes after what it reads anew.
type reset struct {
	Reason   string `json:"reason"` // epoch, beyond or trimmed
	Epoch    string `json:"epoch"`
	Position string `json:"position"`
	Detail   string `json:"detail"`
}

func appendReset(b []byte, reason string, now trunkline.Position, cause error) []byte {
	data, err := json.Marshal(reset{Reason: reason, Epoch: now.Epoch, Position: now.String(), Detail: cause.Error()})
	if err != nil {
		return b // strings always marshal
	}
	b = append(b, "id: "...)
	b = appendPosition(b, now)
	b = append(b, "\nevent: reset\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// appendEnd tells a client that it isn't to come back.
func appendEnd(b []byte, why *ending) []byte {
	b = append(b, "event: end\ndata: "...)
	b = append(b, bytes.TrimSuffix(jsonOf(why), []byte("\n"))...)
	return append(b, "\n\n"...)
}

func appendRetry(b []byte, d time.Duration) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, d.Milliseconds(), 10)
	return append(b, '\n')
}

func appendPosition(b []byte, p trunkline.Position) []byte {
	b = append(b, p.Epoch...)
	b = append(b, ':')
	return strconv.AppendInt(b, p.Position, 10)
}

// appendString appends a text as JSON. Most are names, which stand for themselves.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return append(b, bytes.TrimSuffix(jsonOf(s), []byte("\n"))...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
}

func appendSender(b []byte, sender string) []byte {
	if sender == "" {
		return append(b, "null"...)
	}
	return appendString(b, sender)
}
