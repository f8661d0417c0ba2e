package mail

import (
	"context"
	"fmt"
)

// An Envelope is a mail as it goes over the wire.
type Envelope struct {
	From string // the address that bounces go to
	To   string // one address
	Data []byte // header and body, lines end with CRLF, signed if it is to be
}

// A Sender takes mails to where they are delivered from.
type Sender interface {
	// Send delivers one mail. Once the server has taken all of it but the final dot, and before the dot is sent, it calls
	// commit; an error of that abandons the mail, which the server then hasn't got, and is returned as it is. Any other error
	// is a *[SendError]. It may be called by several goroutines at once.
	Send(ctx context.Context, e Envelope, commit func(context.Context) error) error
	// Close ends idle connections. Sends that are under way end by their contexts.
	Close() error
}

// Blame is whose fault a failed mail is.
type Blame string

const (
	// BlameServer says that the server can't be reached, refuses us, or fails: other mails would fare no better now.
	BlameServer Blame = "server"
	// BlameRecipient says that it refuses the address.
	BlameRecipient Blame = "recipient"
	// BlameMessage says that it refuses this mail.
	BlameMessage Blame = "message"
)

// A SendError says why a mail wasn't sent, or may not have been.
type SendError struct {
	Step      string // connect, tls, auth, mail, rcpt, data, body, dot
	Blame     Blame
	Permanent bool   // 5xx: trying again won't help
	Uncertain bool   // the dot was sent, and no answer came: the server may have taken it
	Code      int    // of the server's answer, 0 if there was none
	Enhanced  string // enhanced status code of the answer, such as 5.1.1
	Err       error
}

func (e *SendError) Error() string { return fmt.Sprintf("send mail (%s): %v", e.Step, e.Err) }

func (e *SendError) Unwrap() error { return e.Err }
