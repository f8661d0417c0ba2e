package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/trunkline/trunkline/digest/mail"
)

// The steps of a SendError.
const (
	stepConnect = "connect"
	stepTLS     = "tls"
	stepAuth    = "auth"
	stepMail    = "mail"
	stepRcpt    = "rcpt"
	stepData    = "data"
	stepBody    = "body"
	stepDot     = "dot"
)

// A conn is a connection on which the server has let us in. One goroutine uses it at a time.
type conn struct {
	sender *Sender
	wire   *wire
	client *smtp.Client
	to     string      // the recipient, while a mail is under way
	used   int         // mails
	idle   *time.Timer // closes it if it is idle for too long
}

// connect makes a connection: TCP, TLS, greetings, authentication. It ends when ctx does.
func (s *Sender) connect(ctx context.Context) (*conn, *mail.SendError) {
	dialer := net.Dialer{Timeout: s.options.Timeouts.Connect}
	raw, err := dialer.DialContext(ctx, "tcp", s.options.Address())
	if err != nil {
		return nil, s.broken(ctx, stepConnect, err)
	}
	c := &conn{sender: s, wire: &wire{Conn: raw}}
	release := interrupt(ctx, func() { c.expire() })
	fault := c.open(ctx)
	release()
	if fault != nil {
		c.abort()
		return nil, fault
	}
	return c, nil
}

// open is what follows on the TCP connection.
func (c *conn) open(ctx context.Context) *mail.SendError {
	s, o := c.sender, &c.sender.options
	if o.TLS == None && !o.AllowPlainText && !c.local() {
		return &mail.SendError{Step: stepTLS, Blame: mail.BlameServer, Err: fmt.Errorf(
			"%s is not this machine but %s, and mail isn't sent there in plain text", o.Host, c.wire.RemoteAddr())}
	}
	var below net.Conn = c.wire
	if o.TLS == Implicit {
		secure := tls.Client(c.wire, s.tls)
		if fault := c.phase(ctx, stepTLS, o.Timeouts.Connect, func() error { return secure.HandshakeContext(ctx) }); fault != nil {
			return fault
		}
		below = secure
	}
	fault := c.phase(ctx, stepConnect, o.Timeouts.Command, func() (err error) {
		c.client, err = smtp.NewClient(below, o.Host)
		return err
	})
	if fault != nil {
		return fault
	}
	if fault := c.phase(ctx, stepConnect, o.Timeouts.Command, func() error { return c.client.Hello(c.hello()) }); fault != nil {
		return fault
	}
	if o.TLS == StartTLS {
		if offered, _ := c.client.Extension("STARTTLS"); !offered {
			return &mail.SendError{Step: stepTLS, Blame: mail.BlameServer, Err: fmt.Errorf("%s doesn't offer STARTTLS, "+
				"so that mail would go in plain text: use smtps:// if it speaks TLS from the start", o.Address())}
		}
		// The command, the handshake, and EHLO once more.
		limit := o.Timeouts.Connect + o.Timeouts.Command
		if fault := c.phase(ctx, stepTLS, limit, func() error { return c.client.StartTLS(s.tls) }); fault != nil {
			return fault
		}
	}
	return c.authenticate(ctx)
}

func (c *conn) authenticate(ctx context.Context) *mail.SendError {
	o := &c.sender.options
	if o.Username == "" {
		return nil
	}
	refuse := func(format string, args ...any) *mail.SendError {
		return &mail.SendError{Step: stepAuth, Blame: mail.BlameServer, Err: fmt.Errorf(format, args...)}
	}
	secure := o.TLS != None
	if !secure && !c.local() {
		return refuse("the password would go to %s in plain text", c.wire.RemoteAddr())
	}
	_, offer := c.client.Extension("AUTH")
	offered := strings.Fields(offer)
	mechanism := o.Auth.choose(offered, secure)
	if mechanism == "" {
		want := "none of the mechanisms we know"
		if o.Auth != Auto {
			want = "not " + string(o.Auth)
		}
		return refuse("%s offers %q to authenticate, %s", o.Address(), offered, want)
	}
	var state *tls.ConnectionState
	if secure {
		var err error
		if state, err = c.client.GetTLSConnectionState(); err != nil {
			return refuse("the state of TLS isn't known: %w", err)
		}
	}
	return c.phase(ctx, stepAuth, o.Timeouts.Command, func() error { return c.client.Auth(mechanism.auth(o, state)) })
}

// hello is the name we give.
func (c *conn) hello() string {
	if c.sender.options.Hello != "" {
		return c.sender.options.Hello
	}
	if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") && isHost(name) {
		return name
	}
	local, ok := c.wire.LocalAddr().(*net.TCPAddr)
	switch {
	case !ok:
		return "localhost"
	case local.IP.To4() == nil:
		return "[IPv6:" + local.IP.String() + "]"
	default:
		return "[" + local.IP.String() + "]"
	}
}

// local tells whether the other end is on this machine.
func (c *conn) local() bool {
	remote, ok := c.wire.RemoteAddr().(*net.TCPAddr)
	return ok && remote.IP.IsLoopback()
}

// phase does something with the server that must come to an end in time.
func (c *conn) phase(ctx context.Context, step string, limit time.Duration, do func() error) *mail.SendError {
	c.wire.budget.Store(maxAnswer)
	_ = c.wire.SetDeadline(time.Now().Add(limit)) // of a closed connection; doing something will tell
	// In this order: whoever ends ctx now sets a deadline after ours.
	if ctx.Err() != nil {
		return c.sender.broken(ctx, step, ctx.Err())
	}
	err := do()
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", limit, os.ErrDeadlineExceeded)
	}
	if r, ok := c.sender.replyIn(err); ok {
		return r.fault(step, c.to, c.sender.options.Address())
	}
	return c.sender.broken(ctx, step, err)
}

// broken is for what is wrong without an answer of the server's.
func (s *Sender) broken(ctx context.Context, step string, err error) *mail.SendError {
	server := s.options.Address()
	var protocol textproto.ProtocolError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var dialing *net.OpError
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: given up: %w", server, context.Cause(ctx))
	case errors.As(err, &protocol):
		err = fmt.Errorf("%s doesn't speak SMTP, or not yet: %s", server, s.readable(err.Error()))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%s closed the connection: %w", server, err)
	case errors.As(err, &certificate):
		err = fmt.Errorf("the certificate of %s can't be trusted: %w (if it is right, name its authority with ca=FILE, "+
			"or the name in it with server_name=NAME)", server, err)
	case errors.As(err, &plain):
		err = fmt.Errorf("%s doesn't speak TLS from the start: use smtp:// if it offers STARTTLS", server)
	case errors.As(err, &dialing) && dialing.Op == "dial":
		err = fmt.Errorf("%s can't be reached: %w", server, err)
	default:
		err = fmt.Errorf("%s: %w", server, err)
	}
	return &mail.SendError{Step: step, Blame: mail.BlameServer, Err: err}
}

// expire makes whatever reads or writes end.
func (c *conn) expire() { _ = c.wire.SetDeadline(time.Unix(1, 0)) }

// abort closes the connection at once. Nothing that is in a buffer is sent any more, least of all a final dot.
func (c *conn) abort() { _ = c.wire.Close() }

// quitTime is how long a server may take to answer QUIT.
const quitTime = 2 * time.Second

// quit takes leave of a server that has nothing of ours unfinished.
func (c *conn) quit() {
	c.wire.budget.Store(maxAnswer)
	_ = c.wire.SetDeadline(time.Now().Add(quitTime))
	_ = c.client.Quit() // a server that doesn't answer is left as well
	c.abort()
}

// interrupt calls stop when ctx ends, until it is released; after that, stop is neither running nor called any more.
func interrupt(ctx context.Context, stop func()) (release func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		stop()
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}
