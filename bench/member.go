package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A member is one WebSocket client. It parses no JSON: messages carry {"n":number, and replies are searched for what matters.
type member struct {
	index int
	send  func(frame []byte) // once it is subscribed

	mu       sync.Mutex
	rest     []byte   // the beginning of a frame
	fragment []byte   // the beginning of a message
	seen     []uint64 // which messages came, a bit each
	got      int      // how many
	doubled  int

	replies int // to this connection's commands
	epoch   string
	offset  int64 // of the subscription when it began
	before  int   // what got was then
	resumed bool
}

// maxNumber bounds what a message's number can be, and with it what a member remembers.
const maxNumber = 1 << 24

const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
	final          = 0x80
)

var (
	numberKey = []byte(`"n":`)
	replyKey  = []byte(`{"id":`)
	newline   = []byte("\n")
	endHeader = []byte("\r\n\r\n")
	buffers   = sync.Pool{New: func() any { return new([16 << 10]byte) }}
)

// numbered is a payload of 200 bytes, or a few more, with a number.
func numbered(n int) string {
	head := `{"n":` + strconv.Itoa(n) + `,"text":"`
	return head + strings.Repeat("x", max(0, 200-len(head)-2)) + `"}`
}

// subscribe shakes hands, subscribes, from where this member was if it was subscribed before, and reads until it has been
// told that many missed messages.
func (m *member) subscribe(c *crowd, conn net.Conn, address, channel string, missed int) error {
	m.mu.Lock()
	m.rest, m.fragment, m.replies, m.resumed = nil, nil, 0, false
	m.mu.Unlock()
	_, err := fmt.Fprintf(conn, "GET /connection/websocket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dHJ1bmtsaW5lIGJlbmNoIQ==\r\n\r\n", address)
	if err != nil {
		return err
	}
	buffer := buffers.Get().(*[16 << 10]byte)
	defer buffers.Put(buffer)
	read := 0
	var header, early []byte
	for {
		n, err := conn.Read(buffer[read:])
		if err != nil {
			return fmt.Errorf("shake hands: %w", err)
		}
		read += n
		var whole bool
		if header, early, whole = bytes.Cut(buffer[:read], endHeader); whole {
			break
		} else if read == len(buffer) {
			return errors.New("shake hands: the answer's header has no end")
		}
	}
	if !bytes.HasPrefix(header, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("shake hands: the server answers %q", clipped(buffer[:read]))
	}
	if err := m.feed(c, early, time.Now()); err != nil || c.plain {
		return err
	}
	position, goal, resuming := "", m.got+missed, m.epoch != ""
	if resuming {
		position = fmt.Sprintf(`,"recover":true,"epoch":%q,"offset":%d`, m.epoch, m.offset+int64(m.got-m.before))
	}
	commands := `{"id":1,"connect":{"name":"bench"}}` + "\n" +
		`{"id":2,"subscribe":{"channel":"` + channel + `","positioned":true,"recoverable":true` + position + `}}`
	m.before = goal
	if _, err := conn.Write(clientFrame(opText, commands)); err != nil {
		return err
	}
	for m.replies < 2 || m.got < goal {
		n, err := conn.Read(buffer[:])
		if err != nil {
			return fmt.Errorf("subscribe, after %d replies and %d of %d missed messages: %w", m.replies, m.got-goal+missed, missed, err)
		}
		if err := m.feed(c, buffer[:n], time.Now()); err != nil {
			return err
		}
		if resuming && m.replies == 2 && !m.resumed {
			return errors.New("the server can't tell what this client missed")
		}
	}
	return nil
}

// feed takes what was read. It may be called from one goroutine at a time.
func (m *member) feed(c *crowd, data []byte, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.got
	defer func() { c.count(m.got - got) }()
	if len(m.rest) > 0 {
		m.rest = append(m.rest, data...)
		data = m.rest
	}
	for {
		size, start, whole := frameSize(data)
		if !whole {
			break
		}
		if err := m.frame(c, data[0], data[start:size], now); err != nil {
			return err
		}
		data = data[size:]
	}
	m.rest = append(m.rest[:0], data...)
	return nil
}

// frameSize tells how long the frame at the beginning of data is, and where in it the payload starts. Servers don't mask.
func frameSize(data []byte) (size, start int, whole bool) {
	if len(data) < 2 {
		return 0, 0, false
	}
	size, start = int(data[1]), 2
	switch size {
	case 126:
		if start = 4; len(data) >= start {
			size = int(binary.BigEndian.Uint16(data[2:]))
		}
	case 127:
		if start = 10; len(data) >= start {
			size = int(binary.BigEndian.Uint64(data[2:]) & (1<<40 - 1))
		}
	}
	size += start
	return size, start, len(data) >= size
}

func (m *member) frame(c *crowd, head byte, payload []byte, now time.Time) error {
	switch head & 0xF {
	case opClose:
		return fmt.Errorf("%w: %q", errClosed, clipped(payload[min(2, len(payload)):]))
	case opPing:
		m.answer(clientFrame(opPong, string(payload)))
		return nil
	case opPong:
		return nil
	}
	if head&final == 0 || head&0xF == opContinuation {
		m.fragment = append(m.fragment, payload...)
		if head&final == 0 {
			return nil
		}
		payload, m.fragment = m.fragment, nil
	}
	if c.plain {
		return m.numbers(c, payload, now)
	}
	for len(payload) > 0 {
		var line []byte
		line, payload, _ = bytes.Cut(payload, newline)
		if err := m.line(c, line, now); err != nil {
			return err
		}
	}
	return nil
}

// line takes a reply, a push or a ping.
func (m *member) line(c *crowd, line []byte, now time.Time) error {
	if string(line) == "{}" {
		m.answer(clientFrame(opText, "{}"))
		return nil
	}
	if !bytes.HasPrefix(line, replyKey) {
		return m.numbers(c, line, now)
	}
	if bytes.Contains(line[:min(len(line), 64)], []byte(`"error":`)) {
		return fmt.Errorf("the server refuses: %s", clipped(line))
	}
	m.replies++
	if _, after, found := bytes.Cut(line, []byte(`"epoch":"`)); found {
		epoch, _, _ := bytes.Cut(after, []byte(`"`))
		m.epoch, m.offset = string(epoch), 0
		m.resumed = bytes.Contains(line, []byte(`"recovered":true`))
		// The subscription's own offset comes after those of messages. 0 is left out.
		if i := bytes.LastIndex(line, []byte(`"offset":`)); i >= 0 {
			m.offset = int64(leadingNumber(line[i+len(`"offset":`):]))
		}
		if !bytes.Contains(line, numberKey) {
			return nil
		}
		return m.numbers(c, line, now)
	}
	return nil
}

// numbers notes the messages in a text. One at least has to be there.
func (m *member) numbers(c *crowd, text []byte, now time.Time) error {
	rest := text
	for first := true; ; first = false {
		i := bytes.Index(rest, numberKey)
		if i < 0 && first {
			return fmt.Errorf("the server sends %q, which is no message of this benchmark", clipped(text))
		} else if i < 0 {
			return nil
		}
		rest = rest[i+len(numberKey):]
		n := leadingNumber(rest)
		if n >= maxNumber {
			return fmt.Errorf("the server sends a message %d, which was never published", n)
		}
		m.note(c, n, now)
	}
}

func (m *member) note(c *crowd, n int, now time.Time) {
	word, bit := n/64, uint64(1)<<(n%64)
	for len(m.seen) <= word {
		m.seen = append(m.seen, 0)
	}
	if m.seen[word]&bit != 0 {
		m.doubled++
		return
	}
	m.seen[word] |= bit
	m.got++
	if (n+m.index)%c.every == 0 {
		c.time(n, now)
	}
}

func (m *member) answer(frame []byte) {
	if m.send != nil {
		m.send(frame)
	}
}

// leadingNumber reads digits, up to a number no message has.
func leadingNumber(text []byte) (n int) {
	for _, b := range text {
		if b < '0' || b > '9' || n > 1<<50 {
			break
		}
		n = n*10 + int(b-'0')
	}
	return n
}

// clientFrame is a frame masked with zeroes: clients have to mask, with what is theirs to choose.
func clientFrame(op byte, payload string) []byte {
	frame := []byte{final | op}
	if len(payload) < 126 {
		frame = append(frame, 0x80|byte(len(payload)))
	} else {
		frame = append(frame, 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	}
	frame = append(frame, 0, 0, 0, 0)
	return append(frame, payload...)
}

func clipped(text []byte) []byte { return text[:min(len(text), 300)] }
