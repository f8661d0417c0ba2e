package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// A conn is what the server takes for the network. It reads the client line by line, lets faults happen, speaks TLS, and hands
// on what is left. The server reads and writes it in one goroutine; Close may come from any.
type conn struct {
	net.Conn // what the network gave; only its addresses and deadlines are used
	server   *Server
	number   int
	wire     net.Conn // Conn, or TLS on it
	lines    *bufio.Reader
	ready    []byte // what the server may read
	mode     mode
	greeted  bool
	secure   bool
	held     []byte // an answer to EHLO that isn't complete

	session *session
	body    []byte
	begins  bool   // the next byte of the body begins a line
	verdict *Fault // what happens when the server answers the dot

	once sync.Once
	done chan struct{}
}

// mode is what the next line of the client is.
type mode int

const (
	command mode = iota
	hello        // the same, and the answer to EHLO is to be changed
	challenge
	content
)

func newConn(s *Server, raw net.Conn) *conn {
	c := &conn{Conn: raw, server: s, wire: raw, done: make(chan struct{})}
	if s.config.TLS == Implicit {
		c.wire, c.secure = tls.Server(raw, s.tls), true
	}
	c.lines = bufio.NewReader(c.wire)
	s.change(func() {
		s.accepted++
		c.number = s.accepted
		s.conns[c] = true
	})
	return c
}

// Close breaks the connection.
func (c *conn) Close() error {
	c.once.Do(func() {
		_ = c.Conn.Close() // first: whoever is woken by done says something to nobody
		close(c.done)
		c.server.change(func() { delete(c.server.conns, c) })
	})
	return nil
}

// Read is where the server gets the client's bytes.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		line, err := c.lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			_ = c.Close()
			return 0, io.EOF
		}
		switch c.mode {
		case content:
			err = c.content(line)
		case challenge:
			c.note(line)
			c.mode, c.ready, err = command, line, nil
		default:
			err = c.command(line)
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func (c *conn) note(line []byte) {
	text := strings.TrimRight(string(line), "\r\n")
	c.server.change(func() { c.server.commands = append(c.server.commands, text) })
}

func (c *conn) command(line []byte) error {
	c.note(line)
	verb, argument, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
	verb = strings.ToUpper(verb)
	to := c.recipients()
	if verb == "RCPT" {
		_, path, _ := strings.Cut(argument, "<")
		path, _, _ = strings.Cut(path, ">")
		to = []string{path}
	}
	if step, known := steps[verb]; known {
		if fault, struck := c.server.strike(step, to); struck {
			if over, err := c.happen(fault); over {
				return err
			}
		}
	}
	switch {
	case verb == "STARTTLS" && c.server.config.TLS == StartTLS && !c.secure:
		return c.startTLS()
	case verb == "EHLO":
		c.mode = hello
	}
	c.ready = line
	return nil
}

func (c *conn) recipients() []string {
	if c.session == nil {
		return nil
	}
	return c.session.to
}

func (c *conn) startTLS() error {
	if _, err := io.WriteString(c.wire, "220 2.0.0 go ahead\r\n"); err != nil {
		return io.EOF
	}
	secure := tls.Server(c.Conn, c.server.tls)
	if secure.Handshake() != nil { //nolint:noctx // ends with the connection
		_ = c.Close()
		return io.EOF
	}
	c.wire, c.secure = secure, true
	c.lines.Reset(secure) // and with it goes what somebody may have sent ahead in plain text
	return nil
}

// content takes a line of a mail, or a piece of a long one.
func (c *conn) content(line []byte) error {
	if c.begins && string(line) == ".\r\n" {
		c.mode = command
		if fault, struck := c.server.strike(Dot, c.recipients()); struck {
			c.verdict = &fault
		}
		c.ready = line
		return nil
	}
	c.begins = bytes.HasSuffix(line, []byte("\r\n"))
	c.body = append(c.body, line...)
	if fault, struck := c.server.strikeBody(Body, c.recipients(), len(c.body)); struck {
		switch fault.kind {
		case stalls:
			<-c.done
			return io.EOF
		case answers:
			c.tell(fault)
			c.drain()
			_ = c.Close()
			return io.EOF
		default:
			if over, err := c.happen(fault); over {
				return err
			}
		}
	}
	c.ready = line
	return nil
}

// drain reads until the final dot.
func (c *conn) drain() {
	for {
		line, err := c.lines.ReadSlice('\n')
		if (err != nil && !errors.Is(err, bufio.ErrBufferFull)) || (c.begins && string(line) == ".\r\n") {
			return
		}
		c.begins = bytes.HasSuffix(line, []byte("\r\n"))
	}
}

// happen does a fault, and tells whether it came instead of what would have happened.
func (c *conn) happen(f Fault) (over bool, err error) {
	switch f.kind {
	case answers:
		c.tell(f)
		if strings.HasPrefix(f.reply, "421") {
			_ = c.Close()
			return true, io.EOF
		}
		return true, nil
	case closes:
		_ = c.Close()
		return true, io.EOF
	case stalls:
		// Until the client, or the test, closes it.
		_, _ = io.Copy(io.Discard, c.lines)
		_ = c.Close()
		return true, io.EOF
	default:
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			return false, nil
		case <-c.done:
			return true, io.EOF
		}
	}
}

// tell gives the answer of a fault.
func (c *conn) tell(f Fault) {
	c.answer(f.reply)
	c.server.change(func() { f.of.told++ })
}

func (c *conn) answer(reply string) {
	_, _ = io.WriteString(c.wire, strings.ReplaceAll(reply, "\n", "\r\n")+"\r\n") // to a client that went away
}

// Write is where the server's answers come, line by line.
func (c *conn) Write(p []byte) (int, error) {
	if !c.greeted {
		c.greeted = true
		return len(p), c.greet(p)
	}
	if c.verdict != nil {
		fault := *c.verdict
		c.verdict = nil
		if over, _ := c.happen(fault); over {
			return len(p), nil
		}
	}
	if c.mode == hello {
		c.held = append(c.held, p...)
		lines := strings.Split(strings.TrimSuffix(string(c.held), "\r\n"), "\r\n")
		if last := lines[len(lines)-1]; !bytes.HasSuffix(c.held, []byte("\r\n")) || len(last) < 4 || last[3] == '-' {
			return len(p), nil
		}
		c.mode, c.held = command, nil
		c.offer(lines)
		return len(p), nil
	}
	switch {
	case bytes.HasPrefix(p, []byte("354")):
		c.mode, c.begins, c.body = content, true, nil
	case bytes.HasPrefix(p, []byte("334")):
		c.mode = challenge
	}
	return c.wire.Write(p)
}

func (c *conn) greet(p []byte) error {
	if c.server.config.TLS == Implicit {
		if fault, struck := c.server.strike(Handshake, nil); struck {
			if over, err := c.happen(fault); over {
				return err
			}
		}
	}
	if fault, struck := c.server.strike(Connect, nil); struck {
		if over, err := c.happen(fault); over {
			return err
		}
	}
	_, err := c.wire.Write(p)
	return err
}

// offer answers EHLO with the extensions that the test wants.
func (c *conn) offer(lines []string) {
	if lines[0][0] != '2' {
		c.answer(strings.Join(lines, "\n"))
		return
	}
	offered := []string{lines[0][4:]}
	plain := c.server.config.TLS == StartTLS && !c.secure
	if plain {
		offered = append(offered, "STARTTLS")
	}
	for _, line := range lines[1:] {
		name, _, _ := strings.Cut(line[4:], " ")
		if !slices.Contains(c.server.config.Hide, name) && (name != "AUTH" || !plain) {
			offered = append(offered, line[4:])
		}
	}
	offered = slices.DeleteFunc(offered, func(o string) bool { return slices.Contains(c.server.config.Hide, o) })
	for i := range offered {
		separator := "-"
		if i == len(offered)-1 {
			separator = " "
		}
		offered[i] = "250" + separator + offered[i]
	}
	c.answer(strings.Join(offered, "\n"))
}
