package smtp_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// What arrives is what was given, byte for byte, but for a line end in the end.
func TestTextArrivesAsItIs(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s)
	const header = "Subject: x\r\n\r\n"
	for n, c := range []struct{ text, want, wire string }{
		{"a\r\n", "a\r\n", "a\r\n"},
		{"a", "a\r\n", "a\r\n"},
		{".\r\n", ".\r\n", "..\r\n"},
		{".", ".\r\n", "..\r\n"},
		{"..\r\n", "..\r\n", "...\r\n"},
		{"...", "...\r\n", "....\r\n"},
		{".a\r\n.b\r\n", ".a\r\n.b\r\n", "..a\r\n..b\r\n"},
		{"a\r\n.\r\nMAIL FROM:<x@example.com>\r\nRCPT TO:<y@example.com>\r\nDATA\r\nb\r\n.\r\n", "", ""},
		{"a\r\n.\r\nQUIT\r\n", "", ""},
		{"\r\n\r\n", "\r\n\r\n", "\r\n\r\n"},
		{"\r\n.\r\n\r\n.\r\n", "", ""},
		{"a .\r\nb.\r\n", "a .\r\nb.\r\n", "a .\r\nb.\r\n"},
		{strings.Repeat(".", 5000) + "\r\n", "", ""},
		{strings.Repeat("x", 4096-len(header)-2) + "\r\n.\r\n", "", ""}, // the dot begins the next buffer
	} {
		if c.want == "" {
			c.want = c.text
		}
		if err := sender.Send(testContext(t), mail.Envelope{To: "a@example.com", Data: []byte(header + c.text)}, agree); err != nil {
			t.Fatalf("%q: %v", c.text, err)
		}
		mails := s.Wait(t, n+1)
		if len(mails) != n+1 {
			t.Fatalf("%q became %d mails", c.text, len(mails)-n)
		}
		if got := string(mails[n].Data); got != header+c.want {
			t.Errorf("%q arrives as %q", c.text, got)
		}
		if got := string(mails[n].Wire); c.wire != "" && got != header+c.wire {
			t.Errorf("%q is sent as %q", c.text, got)
		}
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Servers differ in what ends a line. What one of them could take for the end of the mail is not sent at all.
func TestLineEndsThatAreNone(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s)
	const more = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
	for _, text := range []string{
		"a\n", "a\nb\r\n", "a\r", "a\rb\r\n", "\n", "\r", "a\r\r\n", "a\n\r\n", "a\r\n\n", "a\n\nb\r\n", "a\x00\nb\r\n",
		"\n.\n" + more, "\r.\r" + more,
		"\n.\r\n" + more, "\r\n.\n" + more, "\r\n.\r" + more, "\r.\r\n" + more, "\n.\r" + more, "\r\n\x00.\r\n" + more,
		"\r\n.\x00\r\n" + more, "\x00",
	} {
		e := letter("b@example.com")
		e.Data = []byte("Subject: x\r\n\r\n" + text)
		wantFault(t, sender.Send(testContext(t), e, agree), mail.SendError{Step: "data", Blame: mail.BlameMessage, Permanent: true})
	}
	if s.Connections() != 0 {
		t.Error("something was sent")
	}
}

// Whatever is given: one mail with that text arrives, or nothing.
func TestNoTextBreaksOut(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s)
	rapid.Check(t, func(r *rapid.T) {
		piece := rapid.SampledFrom([]string{"\r\n", "\r\n", "\r\n", ".", "..", "a", "\r", "\n", "\x00", "QUIT", "é"})
		pieces := rapid.SliceOfN(piece, 1, 30).Draw(r, "text")
		text := []byte("S: x\r\n\r\n" + strings.Join(pieces, ""))
		before := len(s.Mails())
		err := sender.Send(testContext(t), mail.Envelope{To: "a@example.com", Data: text}, agree)
		bad := bytes.ContainsAny(bytes.ReplaceAll(text, []byte("\r\n"), nil), "\r\n\x00")
		if bad != (err != nil) {
			r.Fatalf("%q: %v", text, err)
		}
		mails := s.Mails()[before:]
		if bad {
			if len(mails) != 0 {
				r.Fatalf("%q is a mail", text)
			}
			return
		}
		want := append(bytes.TrimSuffix(text, []byte("\r\n")), "\r\n"...)
		if len(mails) != 1 || !bytes.Equal(mails[0].Data, want) {
			r.Fatalf("%q arrives as %d mails: %+v", text, len(mails), mails)
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s)
	for _, address := range []string{
		"", "anna", "@example.com", "anna@", "a b@example.com", "a@example.com>\r\nRCPT TO:<b@example.com", "a@example.com\r\nDATA",
		"a@example.com\n", "<a@example.com>", "a@exa\x00mple.com", "a@example.com> SIZE=1", "\xff@example.com",
		strings.Repeat("x", 250) + "@example.com",
	} {
		wantFault(t, sender.Send(testContext(t), letter(address), agree),
			mail.SendError{Step: "rcpt", Blame: mail.BlameRecipient, Permanent: true})
		e := letter("anna@example.com")
		if e.From = address; address != "" {
			wantFault(t, sender.Send(testContext(t), e, agree), mail.SendError{Step: "mail", Blame: mail.BlameMessage, Permanent: true})
		}
	}
	wantFault(t, sender.Send(testContext(t), mail.Envelope{To: "a@example.com"}, agree),
		mail.SendError{Step: "data", Blame: mail.BlameMessage, Permanent: true})
	if s.Connections() != 0 {
		t.Error("something was sent")
	}
	e := letter("anna@example.com")
	e.From = "" // nobody: bounces aren't wanted
	if err := sender.Send(testContext(t), e, agree); err != nil {
		t.Fatal(err)
	}
	if m := s.Wait(t, 1)[0]; m.From != "" {
		t.Errorf("it came from %q", m.From)
	}
}

// What isn't ASCII goes to servers that take it, and isn't tried with others.
func TestExtensions(t *testing.T) {
	t.Parallel()
	ascii, body, header := "Subject: x\r\n\r\nx\r\n", "Subject: x\r\n\r\nü\r\n", "Subject: ü\r\n\r\nx\r\n"
	const utf8, eight, size = "SMTPUTF8", "8BITMIME", "SIZE"
	for _, c := range []struct {
		to, data string
		offers   string
		command  string
		want     *mail.SendError
	}{
		{"a@example.com", ascii, utf8 + eight + size, "MAIL FROM:<digest@example.com> SIZE=17 BODY=8BITMIME", nil},
		{"a@example.com", ascii, "", "MAIL FROM:<digest@example.com>", nil},
		{"a@example.com", body, eight, "MAIL FROM:<digest@example.com> BODY=8BITMIME", nil},
		{"a@example.com", body, size, "", &mail.SendError{Step: "mail", Blame: mail.BlameMessage, Permanent: true}},
		{"a@example.com", header, utf8 + eight, "MAIL FROM:<digest@example.com> BODY=8BITMIME SMTPUTF8", nil},
		{"a@example.com", header, eight, "", &mail.SendError{Step: "mail", Blame: mail.BlameMessage, Permanent: true}},
		{"jürgen@example.com", ascii, utf8 + eight, "MAIL FROM:<digest@example.com> BODY=8BITMIME SMTPUTF8", nil},
		{"jürgen@example.com", ascii, eight, "", &mail.SendError{Step: "rcpt", Blame: mail.BlameRecipient, Permanent: true}},
	} {
		config := smtptest.Config{SMTPUTF8: true}
		for _, extension := range []string{utf8, eight, size} {
			if !strings.Contains(c.offers, extension) {
				config.Hide = append(config.Hide, extension)
			}
		}
		s := smtptest.Start(t, config)
		sender := newSender(t, s)
		e := letter(c.to)
		e.Data = []byte(c.data)
		err := sender.Send(testContext(t), e, agree)
		if c.want != nil {
			wantFault(t, err, *c.want)
			if n := count(s.Commands(), "MAIL"); n != 0 {
				t.Errorf("it was tried: %q", s.Commands())
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %q: %v", c.to, c.data, err)
			continue
		}
		if got := s.Commands()[1]; got != c.command {
			t.Errorf("%s %q: the command is %q, want %q", c.to, c.data, got, c.command)
		}
	}
}

func TestHello(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	send(t, newSender(t, s, func(o *smtp.Options) { o.Hello = "app.example.com" }), "a@example.com")
	send(t, newSender(t, s), "a@example.com")
	mails := s.Wait(t, 2)
	if mails[0].Hello != "app.example.com" {
		t.Errorf("it is called %q", mails[0].Hello)
	}
	// By default a name that a server can look up, or an address.
	if name := mails[1].Hello; !strings.Contains(name, ".") {
		t.Errorf("it is called %q", name)
	}
}
