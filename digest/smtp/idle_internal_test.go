package smtp

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// timed is a network that remembers its deadline.
type timed struct {
	*net.TCPConn
	mu       sync.Mutex
	deadline time.Time
}

func (d *timed) SetDeadline(at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deadline = at
	return d.TCPConn.SetDeadline(at)
}

func (d *timed) until() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deadline
}

// What limits a mail's time doesn't limit how long its connection may be idle: one whose deadline is over counts as broken.
func TestIdlenessOutlastsTimeouts(t *testing.T) {
	server := smtptest.Start(t, smtptest.Config{})
	s, err := FromURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Address())
	if err != nil {
		t.Fatal(err)
	}
	network := &timed{TCPConn: raw.(*net.TCPConn)}
	c := &conn{sender: s, wire: &wire{Conn: network}}
	if fault := c.open(t.Context()); fault != nil {
		t.Fatal(fault)
	}
	l, fault := inspect(mail.Envelope{To: "anna@example.com", Data: []byte("Subject: x\r\n\r\n")})
	if fault != nil {
		t.Fatal(fault)
	}
	whole, err := c.deliver(t.Context(), l, func(context.Context) error { return nil })
	if err != nil || !whole {
		t.Fatalf("%v, the connection is whole: %v", err, whole)
	}
	if network.until().IsZero() {
		t.Error("the mail's time wasn't limited")
	}
	s.give(c)
	if at := network.until(); !at.IsZero() {
		t.Errorf("while it is idle, its time is over at %v", at)
	}
	// That is what makes it good for the next mail.
	if again, reused, fault := s.take(t.Context()); again != c || !reused || fault != nil {
		t.Fatalf("another connection: %v", fault)
	}
	_ = network.SetDeadline(time.Unix(1, 0))
	s.idle = append(s.idle, c)
	if again, reused, fault := s.take(t.Context()); again == c || reused || fault != nil {
		t.Errorf("one whose time is over is used: %v", fault)
	} else {
		again.abort()
	}
}
