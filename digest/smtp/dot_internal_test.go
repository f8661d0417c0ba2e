package smtp

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// breaks is a network that takes nothing any more once it is broken.
type breaks struct {
	net.Conn
	broken bool
}

func (b *breaks) Write(p []byte) (int, error) {
	if b.broken {
		return 0, syscall.EPIPE
	}
	return b.Conn.Write(p)
}

// A dot of which not a byte left this machine leaves nothing uncertain.
func TestADotThatIsntOut(t *testing.T) {
	for _, mode := range []smtptest.TLS{smtptest.Plain, smtptest.StartTLS} {
		server := smtptest.Start(t, smtptest.Config{TLS: mode})
		s, err := FromURL(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Address())
		if err != nil {
			t.Fatal(err)
		}
		network := &breaks{Conn: raw}
		c := &conn{sender: s, wire: &wire{Conn: network}}
		if fault := c.open(t.Context()); fault != nil {
			t.Fatal(fault)
		}
		l, fault := inspect(mail.Envelope{To: "anna@example.com", Data: []byte("Subject: x\r\n\r\n")})
		if fault != nil {
			t.Fatal(fault)
		}
		whole, err := c.deliver(t.Context(), l, func(context.Context) error {
			network.broken = true
			// Else the answer would be waited for.
			return raw.Close()
		})
		if whole || !errors.As(err, &fault) || fault.Step != stepDot || fault.Blame != mail.BlameServer || fault.Uncertain {
			t.Errorf("%v, the connection is whole: %v", err, whole)
		}
		if len(server.Mails()) != 0 {
			t.Error("the server has the mail")
		}
	}
}
