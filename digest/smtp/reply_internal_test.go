package smtp

import (
	"net"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
)

// Answers as servers give them, and whose fault they mean.
func TestBlame(t *testing.T) {
	const server, recipient, message = mail.BlameServer, mail.BlameRecipient, mail.BlameMessage
	for _, c := range []struct {
		step, answer string
		want         mail.Blame
	}{
		{stepRcpt, "550 5.1.1 <anna@example.com>: Recipient address rejected: User unknown in virtual mailbox table", recipient},
		{stepRcpt, "550-5.1.1 The email account that you tried to reach does not exist.", recipient},
		{stepRcpt, "550 5.4.1 Recipient address rejected: Access denied", recipient},
		{stepRcpt, "550 5.4.4 Unable to route", recipient},
		{stepRcpt, "556 5.1.10 recipient's domain takes no mail", recipient},
		{stepRcpt, "552 5.2.2 mailbox full", recipient},
		{stepRcpt, "501 5.1.3 Bad recipient address syntax", recipient},
		{stepRcpt, "501 <anna>: recipient address must contain a domain", recipient},
		{stepRcpt, "555 5.5.2 Syntax error, cannot decode response", recipient},
		{stepRcpt, "553 sorry, that domain isn't in my list", recipient},
		{stepRcpt, "550 No such user here", recipient},
		{stepRcpt, "550 anna@example.com: no such user", recipient},
		{stepRcpt, "550 mailbox unavailable", recipient},
		{stepRcpt, "551 user has moved to another relay", recipient},
		{stepRcpt, "450 4.2.0 <anna@example.com>: Recipient address rejected: Greylisted", recipient},
		{stepRcpt, "451 4.7.1 Greylisting in action, please come back later", recipient},
		{stepRcpt, "452 4.2.2 mailbox full", recipient},
		{stepRcpt, "421 4.7.0 too many errors", server},
		{stepRcpt, "554 5.7.1 <anna@example.com>: Relay access denied", server},
		{stepRcpt, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked", server},
		{stepRcpt, "550 5.7.1 Unable to relay", server},
		{stepRcpt, "550 5.7.26 This mail is unauthenticated", server},
		{stepRcpt, "530 5.7.0 Must issue a STARTTLS command first", server},
		{stepRcpt, "550 relay not permitted", server},
		{stepRcpt, "550 Relaying denied", server},
		{stepRcpt, "553 We do not relay without RFC2554 authentication", server},
		{stepRcpt, "550 Authentication required", server},
		{stepRcpt, "550 5.1.8 <digest@example.com>: Sender address rejected: Domain not found", server},
		{stepRcpt, "553 5.1.7 bad sender", server},
		{stepRcpt, "504 5.5.2 <app>: Helo command rejected: need fully-qualified hostname", server},
		{stepRcpt, "503 5.5.1 Error: need MAIL command", server},
		{stepRcpt, "535 authentication failed", server},
		{stepRcpt, "250 fine", server},
		{stepRcpt, "354 what", server},
		{stepMail, "553 5.1.7 bad sender", server},
		{stepMail, "452 4.3.1 Insufficient system storage", server},
		{stepMail, "552 5.3.4 Message size exceeds fixed limit", message},
		{stepMail, "552 too large", message},
		{stepData, "503 5.5.1 need RCPT", server},
		{stepData, "554 5.5.1 Error: no valid recipients", message},
		{stepData, "530 authenticate", server},
		{stepDot, "550 5.7.1 looks like spam", message},
		{stepDot, "554 5.7.1 looks like spam", message},
		{stepDot, "550 5.1.1 no such user", recipient},
		{stepDot, "550 5.1.8 bad sender", message},
		{stepDot, "552 5.2.2 over quota", recipient},
		{stepDot, "552 5.2.3 message too long for the mailbox", message},
		{stepDot, "552 5.3.4 too large", message},
		{stepDot, "451 4.3.0 queue file write error", server},
		{stepDot, "452 out of storage", server},
		{stepDot, "451 4.7.1 try again", message},
		{stepDot, "450 try again", message},
		{stepDot, "500 what", server},
		{stepDot, "535 no", server},
		{stepDot, "571 rejected by policy", message},
		{stepConnect, "554 blocked", server},
		{stepTLS, "454 no", server},
		{stepAuth, "535 no", server},
	} {
		code := 0
		for _, digit := range c.answer[:3] {
			code = code*10 + int(digit-'0')
		}
		r := new(Sender).reply(code, c.answer[4:])
		fault := r.fault(c.step, "anna@example.com", "mail.example.com:587")
		if fault.Blame != c.want {
			t.Errorf("%s at %s is blamed on the %s, want %s", c.answer, c.step, fault.Blame, c.want)
		}
		if fault.Permanent != (code/100 == 5) || fault.Code != code || fault.Uncertain {
			t.Errorf("%s: %+v", c.answer, fault)
		}
	}
}

// A recipient's name doesn't make it a matter of relaying.
func TestARecipientCalledRelaying(t *testing.T) {
	r := reply{code: 550, text: "<Relaying@example.com> no such user"}
	if got := r.blame(stepRcpt, "relaying@example.com"); got != mail.BlameRecipient {
		t.Errorf("it is blamed on the %s", got)
	}
}

func TestReadable(t *testing.T) {
	s := &Sender{secrets: []string{"hunter2"}}
	for text, want := range map[string]string{
		"a\nb\r\n c\x1b[31m":      "a b c [31m",
		"no hunter2, no":          "no …, no",
		strings.Repeat("é", 1000): strings.Repeat("é", maxReply/2) + "…",
	} {
		if got := s.readable(text); got != want {
			t.Errorf("%q reads as %q", text, got)
		}
	}
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

// A name that means another machine in spite of its looks gets neither mail nor password in plain text.
func TestLocalhostThatIsElsewhere(t *testing.T) {
	for _, o := range []Options{
		{Host: "localhost", TLS: None},
		{Host: "localhost", TLS: None, AllowPlainText: true, Username: "u", Password: "hunter2"},
	} {
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{sender: s, wire: &wire{Conn: elsewhere{}}}
		fault := c.authenticate
		if !o.AllowPlainText {
			fault = c.open
		}
		if f := fault(t.Context()); f == nil || f.Blame != mail.BlameServer || !strings.Contains(f.Error(), "plain text") {
			t.Errorf("%v: %v", o, f)
		}
	}
}
