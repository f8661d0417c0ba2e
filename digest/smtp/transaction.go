package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"strconv"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
)

// deliver sends a mail. It returns what commit returned, or a *mail.SendError. The connection can carry another mail afterwards
// if whole is true. Commit is called when everything but the final dot is out.
func (c *conn) deliver(ctx context.Context, l letter, commit func(context.Context) error) (whole bool, err error) {
	parameter, fault := c.fits(l)
	if fault != nil {
		return true, fault
	}
	release := interrupt(ctx, c.expire)
	// Whatever happens, and be it a panic of commit's, nobody interrupts the connection's next mail.
	defer func() { release() }()
	c.to = l.To
	text, fault := c.announce(ctx, l, parameter)
	if fault != nil {
		return fault.Code/100 >= 4 && fault.Code != 421, fault
	}
	if fault := c.body(ctx, l, text); fault != nil {
		return false, fault
	}
	if err := commit(ctx); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, c.sender.broken(ctx, stepBody, ctx.Err())
	}
	// The commit may have taken a while: this is the last moment to see that there is nobody to send the dot to.
	if fault := c.objection(ctx); fault != nil {
		return false, fault
	}
	release()
	release = func() {}
	return c.dot(ctx, text)
}

// announce is MAIL, RCPT and DATA. Nothing of the mail's text has been sent when it returns.
func (c *conn) announce(ctx context.Context, l letter, parameter string) (text io.WriteCloser, fault *mail.SendError) {
	limit := c.sender.options.Timeouts.Command
	c.client.SkipSMTPUTF8(!l.utf8)
	for _, command := range []struct {
		step string
		do   func() error
	}{
		{stepMail, func() error { return c.client.Mail("<" + l.From + ">" + parameter) }},
		{stepRcpt, func() error { return c.client.Rcpt("<" + l.To + ">") }},
		{stepData, func() (err error) {
			text, err = c.client.Data()
			return err
		}},
	} {
		if fault := c.phase(ctx, command.step, limit, command.do); fault != nil {
			return nil, fault
		}
	}
	return text, nil
}

// fits finds out whether the server can take such a mail, by what it said of itself, and returns what is said to it of the size.
func (c *conn) fits(l letter) (parameter string, fault *mail.SendError) {
	server := c.sender.options.Address()
	refuse := func(step string, blame mail.Blame, format string, args ...any) (string, *mail.SendError) {
		return "", &mail.SendError{Step: step, Blame: blame, Permanent: true, Err: fmt.Errorf(format, args...)}
	}
	if offered, most := c.client.Extension("SIZE"); offered {
		limit, err := strconv.ParseInt(most, 10, 64)
		if err == nil && limit > 0 && int64(len(l.Data)) > limit {
			return refuse(stepMail, mail.BlameMessage, "the mail has %d bytes, and %s takes at most %d", len(l.Data), server, limit)
		}
		parameter = " SIZE=" + strconv.Itoa(len(l.Data))
	}
	if offered, _ := c.client.Extension("SMTPUTF8"); l.utf8 && !offered {
		if !isASCII(l.To) {
			return refuse(stepRcpt, mail.BlameRecipient, "the address %q isn't ASCII, and %s takes no other", clip(l.To), server)
		}
		return refuse(stepMail, mail.BlameMessage, "the sender's address or a header isn't ASCII, and %s takes no other", server)
	}
	if offered, _ := c.client.Extension("8BITMIME"); l.eight && !offered {
		return refuse(stepMail, mail.BlameMessage, "the mail isn't ASCII, and %s takes no other", server)
	}
	return parameter, nil
}

// body sends everything but the final dot, and looks whether the server objects.
func (c *conn) body(ctx context.Context, l letter, text io.WriteCloser) *mail.SendError {
	fault := c.phase(ctx, stepBody, c.sender.options.Timeouts.Body, func() error {
		if _, err := text.Write(l.Data); err != nil {
			return err
		}
		// With the last line's end, closing the writer writes the dot and nothing else.
		if l.Data[len(l.Data)-1] != '\n' {
			if _, err := io.WriteString(text, "\r\n"); err != nil {
				return err
			}
		}
		// What the writer got lies in the buffer below it.
		return c.client.Text.W.Flush()
	})
	if fault == nil {
		return c.objection(ctx)
	}
	// A server that closes amid the text has often said why.
	if ctx.Err() == nil {
		if said, err := c.spoken(); err == nil && said.code/100 >= 4 {
			return said.fault(stepBody, l.To, c.sender.options.Address())
		}
	}
	return fault
}

// objection is what the server says before the mail has ended, without having been asked, or that it has gone. It doesn't wait.
func (c *conn) objection(ctx context.Context) *mail.SendError {
	if c.client.Text.R.Buffered() == 0 && !c.wire.pending() {
		return nil
	}
	said, err := c.spoken()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil // with TLS there is more on the wire than answers
	case err != nil:
		return c.sender.broken(ctx, stepBody, err)
	default:
		return said.fault(stepBody, c.to, c.sender.options.Address())
	}
}

// lookTime is how long it may take to read what has arrived already.
const lookTime = 200 * time.Millisecond

// spoken reads an answer that has arrived.
func (c *conn) spoken() (reply, error) {
	for {
		c.wire.budget.Store(maxAnswer)
		_ = c.wire.SetReadDeadline(time.Now().Add(lookTime))
		code, text, err := c.client.Text.ReadResponse(0)
		switch {
		case err == nil:
			return c.sender.reply(code, text), nil
		case errors.Is(err, os.ErrDeadlineExceeded) && c.wire.budget.Load() == maxAnswer && c.unread():
			// This process was stopped for a while: time was over before it looked.
		default:
			return reply{}, err
		}
	}
}

// unread tells whether something has arrived that nobody has read, though the time to read is over.
func (c *conn) unread() bool {
	_ = c.wire.SetReadDeadline(time.Now().Add(lookTime)) // else pending would say so in any case
	return c.wire.pending()
}

// dot ends the mail and waits for the answer. From here on the end of ctx doesn't help any more: it only shortens the wait.
func (c *conn) dot(ctx context.Context, text io.WriteCloser) (whole bool, err error) {
	s := c.sender
	limit := s.options.Timeouts.Dot
	c.wire.budget.Store(maxAnswer)
	_ = c.wire.SetDeadline(time.Now().Add(limit))
	release := interrupt(ctx, func() { _ = c.wire.SetDeadline(time.Now().Add(s.options.Timeouts.Grace)) })
	before := c.wire.written.Load()
	err = text.Close()
	release()
	if err == nil {
		return true, nil
	}
	if r, ok := s.replyIn(err); ok {
		switch r.code / 100 {
		case 2:
			return true, nil // any of them is a yes
		case 4, 5:
			return r.code != 421, r.fault(stepDot, c.to, s.options.Address())
		}
		err = textproto.ProtocolError(fmt.Sprintf("%d %s", r.code, r.text))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", limit, os.ErrDeadlineExceeded)
	}
	fault := s.broken(ctx, stepDot, err)
	// If not a byte left this machine, the dot didn't either.
	fault.Uncertain = c.wire.written.Load() != before
	return false, fault
}
