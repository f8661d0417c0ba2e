package smtp_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// large is a mail that no socket buffers hold: a server that stops reading it stops the client.
func large() []byte {
	line := []byte(strings.Repeat("x", 998) + "\r\n")
	return append([]byte("Subject: large\r\n\r\n"), bytes.Repeat(line, (6<<20)/len(line))...)
}

// What the server does at each step, and what is made of it. Each fault happens to the first mail only; the second goes through.
func TestFaults(t *testing.T) {
	const server, recipient, message = mail.BlameServer, mail.BlameRecipient, mail.BlameMessage
	answer, cut := smtptest.Answer, smtptest.Close()
	type fault = mail.SendError
	broke := func(step string) fault { return fault{Step: step, Blame: server} }
	said := func(step string, blame mail.Blame, code int, enhanced string) fault {
		return fault{Step: step, Blame: blame, Permanent: code >= 500, Code: code, Enhanced: enhanced}
	}
	for _, c := range []struct {
		step  smtptest.Step
		does  string
		fault smtptest.Fault
		want  fault
	}{
		{smtptest.Connect, "5xx", answer("554 5.7.1 blocked"), said("connect", server, 554, "5.7.1")},
		{smtptest.Connect, "4xx", answer("450 busy"), said("connect", server, 450, "")},
		{smtptest.Connect, "421", answer("421 4.3.2 down"), said("connect", server, 421, "4.3.2")},
		{smtptest.Connect, "garbage", answer("hello there"), broke("connect")},
		{smtptest.Connect, "close", cut, broke("connect")},
		{smtptest.Hello, "5xx", answer("550 who are you"), said("connect", server, 550, "")},
		{smtptest.Hello, "4xx", answer("451 4.3.0 ill"), said("connect", server, 451, "4.3.0")},
		{smtptest.Hello, "421", answer("421 bye"), said("connect", server, 421, "")},
		{smtptest.Hello, "close", cut, broke("connect")},
		{smtptest.MailFrom, "5xx", answer("550 5.1.8 bad sender"), said("mail", server, 550, "5.1.8")},
		{smtptest.MailFrom, "4xx", answer("450 4.7.1 later"), said("mail", server, 450, "4.7.1")},
		{smtptest.MailFrom, "login", answer("530 5.7.0 log in"), said("mail", server, 530, "5.7.0")},
		{smtptest.MailFrom, "size", answer("552 5.3.4 large"), said("mail", message, 552, "5.3.4")},
		{smtptest.MailFrom, "421", answer("421 bye"), said("mail", server, 421, "")},
		{smtptest.MailFrom, "close", cut, broke("mail")},
		{smtptest.Rcpt, "5xx", answer("550 5.1.1 no such user"), said("rcpt", recipient, 550, "5.1.1")},
		{smtptest.Rcpt, "lines", answer("550-5.1.1 no such user\n550 5.1.1 at all"), said("rcpt", recipient, 550, "5.1.1")},
		{smtptest.Rcpt, "plain", answer("550 no such user"), said("rcpt", recipient, 550, "")},
		{smtptest.Rcpt, "relay", answer("554 5.7.1 relay access denied"), said("rcpt", server, 554, "5.7.1")},
		{smtptest.Rcpt, "policy", answer("550 5.7.26 unauthenticated"), said("rcpt", server, 550, "5.7.26")},
		{smtptest.Rcpt, "login", answer("530 log in"), said("rcpt", server, 530, "")},
		{smtptest.Rcpt, "greylisting", answer("450 4.2.0 greylisted"), said("rcpt", recipient, 450, "4.2.0")},
		{smtptest.Rcpt, "421", answer("421 4.7.0 slow down"), said("rcpt", server, 421, "4.7.0")},
		{smtptest.Rcpt, "garbage", answer("yes"), broke("rcpt")},
		{smtptest.Rcpt, "close", cut, broke("rcpt")},
		{smtptest.Data, "5xx", answer("554 5.6.0 not this"), said("data", message, 554, "5.6.0")},
		{smtptest.Data, "552", answer("552 no"), said("data", message, 552, "")},
		{smtptest.Data, "4xx", answer("451 4.7.1 later"), said("data", message, 451, "4.7.1")},
		{smtptest.Data, "full", answer("452 4.3.1 disk full"), said("data", server, 452, "4.3.1")},
		{smtptest.Data, "250", answer("250 what?"), said("data", server, 250, "")},
		{smtptest.Data, "421", answer("421 bye"), said("data", server, 421, "")},
		{smtptest.Data, "close", cut, broke("data")},
		{smtptest.Body, "5xx", answer("552 5.3.4 too large"), said("body", message, 552, "5.3.4")},
		{smtptest.Body, "552 amid a large mail", answer("552 5.3.4 too large"), said("body", message, 552, "5.3.4")},
		{smtptest.Body, "4xx", answer("451 4.3.0 ill"), said("body", server, 451, "4.3.0")},
		{smtptest.Body, "421", answer("421 bye"), said("body", server, 421, "")},
		{smtptest.Body, "250", answer("250 too early"), said("body", server, 250, "")},
		{smtptest.Body, "close", cut, broke("body")},
		{smtptest.Dot, "552", answer("552 5.3.4 too large"), said("dot", message, 552, "5.3.4")},
		{smtptest.Dot, "554", answer("554 5.7.1 spam"), said("dot", message, 554, "5.7.1")},
		{smtptest.Dot, "plain", answer("554 no"), said("dot", message, 554, "")},
		{smtptest.Dot, "mailbox", answer("552 5.2.2 mailbox full"), said("dot", recipient, 552, "5.2.2")},
		{smtptest.Dot, "4xx", answer("451 4.7.1 later"), said("dot", message, 451, "4.7.1")},
		{smtptest.Dot, "full", answer("452 disk full"), said("dot", server, 452, "")},
		{smtptest.Dot, "421", answer("421 4.3.2 down"), said("dot", server, 421, "4.3.2")},
		{smtptest.Dot, "garbage", answer("taken"), fault{Step: "dot", Blame: server, Uncertain: true}},
		{smtptest.Dot, "354", answer("354 go on"), fault{Step: "dot", Blame: server, Uncertain: true}},
		{smtptest.Dot, "close", cut, fault{Step: "dot", Blame: server, Uncertain: true}},
		{smtptest.Dot, "close and keep", cut.Kept(), fault{Step: "dot", Blame: server, Uncertain: true}},
	} {
		t.Run(string(c.step)+"/"+c.does, func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, smtptest.Config{})
			// EHLO is followed by HELO, and each is refused.
			times := 1
			if c.step == smtptest.Hello && strings.HasSuffix(c.does, "xx") {
				times = 2
			}
			h := s.On(smtptest.Rule{Step: c.step, Times: times, After: 10}, c.fault)
			sender := newSender(t, s)
			e := letter("anna@example.com")
			early := c.step == smtptest.Body && c.does != "close"
			if c.does == "552 amid a large mail" || (c.step == smtptest.Body && c.does == "close") {
				e.Data = large()
			}
			committed := 0
			err := sender.Send(testContext(t), e, func(context.Context) error {
				committed++
				if early {
					h.WaitAnswered(t, 1) // the mail was so small that the answer came after it
				}
				return nil
			})
			wantFault(t, err, c.want)
			if (committed == 1) != (c.step == smtptest.Dot) && (!early || len(e.Data) > 1000) {
				t.Errorf("%d commits", committed)
			}
			kept := 0
			if c.does == "close and keep" {
				kept = 1
			}
			send(t, sender, "berta@example.com")
			if n := len(s.MailsTo("anna@example.com")); n != kept {
				t.Errorf("the server has the mail %d times, want %d", n, kept)
			}
			if n := len(s.MailsTo("berta@example.com")); n != 1 {
				t.Errorf("the server has the second mail %d times", n)
			}
		})
	}
}

// An answer with another code of success is a yes, too.
func TestAnySuccessCounts(t *testing.T) {
	s := smtptest.Start(t, smtptest.Config{})
	s.On(smtptest.Rule{Step: smtptest.Dot}, smtptest.Answer("251 will forward").Kept())
	s.On(smtptest.Rule{Step: smtptest.Rcpt}, smtptest.Slow(time.Millisecond))
	send(t, newSender(t, s), "anna@example.com")
}

// A server that says nothing any more is given up on when its time is over, and when ctx ends; where the dot isn't out, the
// server certainly hasn't got the mail.
func TestStalls(t *testing.T) {
	for _, c := range []struct {
		at   smtptest.Step
		step string
	}{
		{smtptest.Connect, "connect"},
		{smtptest.Hello, "connect"},
		{smtptest.MailFrom, "mail"},
		{smtptest.Rcpt, "rcpt"},
		{smtptest.Data, "data"},
		{smtptest.Body, "body"},
		{smtptest.Dot, "dot"},
	} {
		want := mail.SendError{Step: c.step, Blame: mail.BlameServer, Uncertain: c.at == smtptest.Dot}
		e := letter("anna@example.com")
		if c.at == smtptest.Body {
			e.Data = large()
		}
		t.Run(string(c.at)+"/timeout", func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, smtptest.Config{})
			h := s.On(smtptest.Rule{Step: c.at, After: 1000}, smtptest.Stall())
			sender := newSender(t, s, func(o *smtp.Options) {
				switch c.at {
				case smtptest.Dot:
					o.Timeouts.Dot = 3 * time.Second
				case smtptest.Body:
					o.Timeouts.Body = 500 * time.Millisecond
				default:
					o.Timeouts.Command = 10 * time.Second
				}
			})
			err := sender.Send(testContext(t), e, agree)
			wantFault(t, err, want)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the error doesn't say that time was over: %v", err)
			}
			h.Wait(t, 1) // a busy server gets there only when we are gone
			if c.at != smtptest.Body {
				s.WaitOpen(t, 0) // what doesn't read doesn't see us go
			}
		})
		t.Run(string(c.at)+"/total", func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, smtptest.Config{})
			s.On(smtptest.Rule{Step: c.at, After: 1000}, smtptest.Stall())
			sender := newSender(t, s, func(o *smtp.Options) {
				o.Timeouts.Total, o.Timeouts.Grace = 10*time.Second, time.Millisecond
			})
			text := wantFault(t, sender.Send(testContext(t), e, agree), want)
			if !strings.Contains(text, "longer than 10s in all") {
				t.Error(text)
			}
		})
		t.Run(string(c.at)+"/context", func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, smtptest.Config{})
			h := s.On(smtptest.Rule{Step: c.at, After: 1000}, smtptest.Stall())
			sender := newSender(t, s, func(o *smtp.Options) { o.Timeouts.Grace = 10 * time.Millisecond })
			ctx, cancel := context.WithCancel(testContext(t))
			ended := make(chan error, 1)
			go func() { ended <- sender.Send(ctx, e, agree) }()
			h.Wait(t, 1)
			cancel()
			err := <-ended
			wantFault(t, err, want)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error doesn't say that the context ended: %v", err)
			}
			if len(s.Mails()) != 0 {
				t.Error("the server has the mail")
			}
		})
	}
}

// A program that stops waits a little for the answer to a dot that is out: then it knows.
func TestTheAnswerToTheDotIsWaitedForWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	h := s.On(smtptest.Rule{Step: smtptest.Dot}, smtptest.Slow(300*time.Millisecond))
	sender := newSender(t, s, func(o *smtp.Options) { o.Timeouts.Grace = patience })
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() { ended <- sender.Send(ctx, letter("anna@example.com"), agree) }()
	h.Wait(t, 1)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.Wait(t, 1)
	send(t, sender, "berta@example.com") // and the connection isn't marked by it
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestNothingIsSentAfterCommitRefuses(t *testing.T) {
	t.Parallel()
	for _, tls := range []smtptest.TLS{smtptest.Plain, smtptest.StartTLS} {
		s := smtptest.Start(t, smtptest.Config{TLS: tls})
		sender := newSender(t, s)
		lost := errors.New("somebody else has it")
		err := sender.Send(testContext(t), letter("anna@example.com"), func(context.Context) error { return lost })
		if err != lost { //nolint:errorlint // as it is
			t.Errorf("got %v, want the error of commit itself", err)
		}
		s.WaitOpen(t, 0)
		if err := sender.Close(); err != nil {
			t.Error(err)
		}
		if n := len(s.Mails()); n != 0 {
			t.Errorf("the server has %d mails", n)
		}
	}
}

// When commit is called, the server has all but the dot.
func TestCommitComesRightBeforeTheDot(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{TLS: smtptest.Implicit})
	e := letter("anna@example.com")
	h := s.On(smtptest.Rule{Step: smtptest.Body, After: len(e.Data)}, smtptest.Slow(0))
	err := newSender(t, s).Send(testContext(t), e, func(context.Context) error {
		h.Wait(t, 1)
		if len(s.Mails()) != 0 {
			t.Error("the server took the mail already")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Wait(t, 1)
}

func TestACommitThatPanics(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s, func(o *smtp.Options) { o.Connections = 1 })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = sender.Send(testContext(t), letter("anna@example.com"), func(context.Context) error { panic("oh") })
	}()
	send(t, sender, "berta@example.com")
	if len(s.MailsTo("anna@example.com")) != 0 {
		t.Error("the server has the mail")
	}
}

// A server that goes while the database commits certainly hasn't got the mail.
func TestServerGoesDuringCommit(t *testing.T) {
	t.Parallel()
	for _, tls := range []smtptest.TLS{smtptest.Plain, smtptest.StartTLS} {
		s := smtptest.Start(t, smtptest.Config{TLS: tls})
		err := newSender(t, s).Send(testContext(t), letter("anna@example.com"), func(context.Context) error {
			s.Disconnect()
			return nil
		})
		wantFault(t, err, mail.SendError{Step: "body", Blame: mail.BlameServer})
	}
}

func TestContextEndsDuringCommit(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	ctx, cancel := context.WithCancel(testContext(t))
	err := newSender(t, s).Send(ctx, letter("anna@example.com"), func(context.Context) error {
		cancel()
		return nil
	})
	wantFault(t, err, mail.SendError{Step: "body", Blame: mail.BlameServer})
	s.WaitOpen(t, 0)
	if len(s.Mails()) != 0 {
		t.Error("the server has the mail")
	}
}

func TestServerIsDown(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s)
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	want := mail.SendError{Step: "connect", Blame: mail.BlameServer}
	text := wantFault(t, sender.Send(testContext(t), letter("anna@example.com"), agree), want)
	if !strings.Contains(text, "can't be reached") {
		t.Error(text)
	}
	wantFault(t, sender.Check(testContext(t)), want)
	s.Up(t)
	if err := sender.Check(testContext(t)); err != nil {
		t.Error(err)
	}
	send(t, sender, "anna@example.com")
}

// Whoever talks without an end doesn't fill our memory.
func TestTalkativeServer(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	s.On(smtptest.Rule{Step: smtptest.Rcpt}, smtptest.Answer("250-"+strings.Repeat("x", 8<<20)+"\n250 ok"))
	err := newSender(t, s).Send(testContext(t), letter("anna@example.com"), agree)
	text := wantFault(t, err, mail.SendError{Step: "rcpt", Blame: mail.BlameServer})
	if !strings.Contains(text, "far more than an answer") {
		t.Error(text)
	}
}
