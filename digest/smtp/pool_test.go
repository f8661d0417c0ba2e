package smtp_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/internal/smtptest"
)

func count(commands []string, verb string) (n int) {
	for _, c := range commands {
		if strings.HasPrefix(c, verb) {
			n++
		}
	}
	return n
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{TLS: smtptest.StartTLS, Users: map[string]string{"u": "p"}})
	sender := newSender(t, s)
	for i := range 5 {
		send(t, sender, fmt.Sprintf("user%d@example.com", i))
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("5 mails took %d connections", n)
	}
	if n := count(s.Commands(), "RSET"); n != 4 {
		t.Errorf("%d RSET in %q", n, s.Commands())
	}
	if err := sender.Close(); err != nil {
		t.Fatal(err)
	}
	s.WaitOpen(t, 0)
	if commands := s.Commands(); commands[len(commands)-1] != "QUIT" {
		t.Errorf("it leaves without a word: %q", commands)
	}
}

func TestAConnectionCarriesSoManyMails(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s, func(o *smtp.Options) { o.MailsPerConnection = 3 })
	for range 7 {
		send(t, sender, "anna@example.com")
	}
	s.WaitOpen(t, 1)
	if n := s.Connections(); n != 3 {
		t.Errorf("7 mails took %d connections", n)
	}
	if n := count(s.Commands(), "QUIT"); n != 2 {
		t.Errorf("%d QUIT", n)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s, func(o *smtp.Options) { o.IdleTimeout = 20 * time.Millisecond })
	send(t, sender, "anna@example.com")
	s.WaitOpen(t, 0)
	if n := count(s.Commands(), "QUIT"); n != 1 {
		t.Errorf("%d QUIT", n)
	}
	send(t, sender, "anna@example.com")
}

// What happens to a connection while nobody uses it is no failure of the next mail.
func TestDeadIdleConnections(t *testing.T) {
	for name, die := range map[string]func(*testing.T, *smtptest.Server){
		"broken":    func(t *testing.T, s *smtptest.Server) { s.Disconnect() },
		"restarted": func(t *testing.T, s *smtptest.Server) { _ = s.Down(); s.Up(t) },
		"closes at RSET": func(_ *testing.T, s *smtptest.Server) {
			s.On(smtptest.Rule{Step: smtptest.Reset}, smtptest.Close())
		},
		"421 at RSET": func(_ *testing.T, s *smtptest.Server) {
			s.On(smtptest.Rule{Step: smtptest.Reset}, smtptest.Answer("421 4.4.2 idle for too long"))
		},
		"stalls at RSET": func(_ *testing.T, s *smtptest.Server) {
			s.On(smtptest.Rule{Step: smtptest.Reset}, smtptest.Stall())
		},
		"closes at MAIL": func(_ *testing.T, s *smtptest.Server) {
			s.On(smtptest.Rule{Step: smtptest.MailFrom, Times: 1}, smtptest.Close())
		},
		"421 at MAIL": func(_ *testing.T, s *smtptest.Server) {
			s.On(smtptest.Rule{Step: smtptest.MailFrom, Times: 1}, smtptest.Answer("421 4.7.0 too many mails"))
		},
	} {
		for _, tls := range []smtptest.TLS{smtptest.Plain, smtptest.StartTLS, smtptest.Implicit} {
			t.Run(fmt.Sprintf("%s/%d", name, tls), func(t *testing.T) {
				t.Parallel()
				s := smtptest.Start(t, smtptest.Config{TLS: tls})
				sender := newSender(t, s)
				send(t, sender, "anna@example.com")
				die(t, s)
				var committed commits
				if err := sender.Send(testContext(t), letter("berta@example.com"), committed.commit); err != nil {
					t.Fatal(err)
				}
				if committed.n != 1 || len(s.MailsTo("berta@example.com")) != 1 {
					t.Errorf("%d commits, mails %d", committed.n, len(s.MailsTo("berta@example.com")))
				}
				if n := s.Connections(); n != 2 {
					t.Errorf("%d connections", n)
				}
			})
		}
	}
}

// But a server that closes new connections as well fails, and once is enough to try.
func TestAConnectionIsReplacedOnce(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s)
	send(t, sender, "anna@example.com")
	s.On(smtptest.Rule{Step: smtptest.MailFrom}, smtptest.Close())
	err := sender.Send(testContext(t), letter("berta@example.com"), agree)
	wantFault(t, err, mail.SendError{Step: "mail", Blame: mail.BlameServer})
	if n := s.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// A mail that was refused leaves its connection to the next.
func TestRefusedMailsKeepTheConnection(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{MaxBytes: 1000})
	s.On(smtptest.Rule{Step: smtptest.Rcpt, To: "nobody@example.com"}, smtptest.Answer("550 5.1.1 no such user"))
	s.On(smtptest.Rule{Step: smtptest.Dot, To: "spam@example.com"}, smtptest.Answer("554 5.7.1 spam"))
	sender := newSender(t, s)
	for range 3 {
		wantFault(t, sender.Send(testContext(t), letter("nobody@example.com"), agree),
			mail.SendError{Step: "rcpt", Blame: mail.BlameRecipient, Permanent: true, Code: 550, Enhanced: "5.1.1"})
		wantFault(t, sender.Send(testContext(t), letter("spam@example.com"), agree),
			mail.SendError{Step: "dot", Blame: mail.BlameMessage, Permanent: true, Code: 554, Enhanced: "5.7.1"})
		e := letter("anna@example.com")
		e.Data = []byte("Subject: long\r\n\r\n" + strings.Repeat("x\r\n", 400))
		wantFault(t, sender.Send(testContext(t), e, agree), mail.SendError{Step: "mail", Blame: mail.BlameMessage, Permanent: true})
		send(t, sender, "anna@example.com")
	}
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for _, m := range s.Wait(t, 3) {
		if !slices.Equal(m.To, []string{"anna@example.com"}) {
			t.Errorf("a mail went to %q", m.To)
		}
	}
}

// Many at once: each mail once, and never more connections than allowed; some mails fail in ways that cost the connection.
func TestConcurrentSends(t *testing.T) {
	t.Parallel()
	const workers, each, most = 8, 30, 3
	s := smtptest.Start(t, smtptest.Config{TLS: smtptest.StartTLS})
	s.On(smtptest.Rule{Step: smtptest.Data, Skip: 20, Times: 5}, smtptest.Close())
	s.On(smtptest.Rule{Step: smtptest.Rcpt, Skip: 30, Times: 5}, smtptest.Answer("450 4.2.0 greylisted"))
	s.On(smtptest.Rule{Step: smtptest.MailFrom, Skip: 90, Times: 2}, smtptest.Answer("421 4.3.2 restarting"))
	sender := newSender(t, s, func(o *smtp.Options) { o.Connections, o.MailsPerConnection = most, 20 })
	// A mail has its connection to itself when it commits. How many the server knows of, those included that it hasn't seen go, says less.
	var under atomic.Int64
	commit := func(context.Context) error {
		defer under.Add(-1)
		if n := under.Add(1); n > most {
			t.Errorf("%d mails at once", n)
		}
		runtime.Gosched()
		return nil
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				to := fmt.Sprintf("user%d.%d@example.com", w, i)
				err := sender.Send(testContext(t), letter(to), commit)
				for err != nil {
					err = sender.Send(testContext(t), letter(to), commit)
				}
			}
		})
	}
	wg.Wait()
	got := map[string]int{}
	for _, m := range s.Mails() {
		got[m.To[0]]++
	}
	if len(got) != workers*each || len(s.Mails()) != workers*each {
		t.Errorf("%d mails to %d recipients, want %d each", len(s.Mails()), len(got), workers*each)
	}
}

// No more mails are under way than there may be connections, and who waits for one can give up.
func TestWaitingForAConnection(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	h := s.On(smtptest.Rule{Step: smtptest.Data, Times: 1}, smtptest.Stall())
	sender := newSender(t, s, func(o *smtp.Options) { o.Connections = 1 })
	stalled, cancel := context.WithCancel(testContext(t))
	defer cancel()
	first := make(chan error, 1)
	go func() { first <- sender.Send(stalled, letter("anna@example.com"), agree) }()
	h.Wait(t, 1)
	waiting, giveUp := context.WithCancel(testContext(t))
	second := make(chan error, 1)
	go func() { second <- sender.Send(waiting, letter("berta@example.com"), agree) }()
	giveUp()
	wantFault(t, <-second, mail.SendError{Step: "connect", Blame: mail.BlameServer})
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	cancel()
	if err := <-first; err == nil {
		t.Error("the stalled mail was sent")
	}
	send(t, sender, "carla@example.com")
}

func TestRate(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	sender := newSender(t, s, func(o *smtp.Options) { o.Rate = 50 })
	begin := time.Now()
	for range 11 {
		send(t, sender, "anna@example.com")
	}
	if took := time.Since(begin); took < 190*time.Millisecond {
		t.Errorf("11 mails took %s, at 50 a second they take 200 ms", took)
	}
	// A turn isn't waited for beyond the end of ctx, and is the next one's then.
	slow := newSender(t, s, func(o *smtp.Options) { o.Rate, o.Connections = 0.1, 1 })
	send(t, slow, "anna@example.com")
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() { ended <- slow.Send(ctx, letter("berta@example.com"), agree) }()
	cancel()
	wantFault(t, <-ended, mail.SendError{Step: "connect", Blame: mail.BlameServer})
	if len(s.MailsTo("berta@example.com")) != 0 {
		t.Error("the mail was sent")
	}
	send(t, slow, "carla@example.com")
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	h := s.On(smtptest.Rule{Step: smtptest.Dot, To: "berta@example.com"}, smtptest.Slow(100*time.Millisecond))
	sender := newSender(t, s, func(o *smtp.Options) { o.IdleTimeout = time.Hour })
	send(t, sender, "anna@example.com")
	under := make(chan error, 1)
	go func() { under <- sender.Send(testContext(t), letter("berta@example.com"), agree) }()
	h.Wait(t, 1)
	for range 2 {
		if err := sender.Close(); err != nil {
			t.Fatal(err)
		}
	}
	err := sender.Send(testContext(t), letter("carla@example.com"), agree)
	text := wantFault(t, err, mail.SendError{Step: "connect", Blame: mail.BlameServer})
	if !strings.Contains(text, "the sender was closed") {
		t.Error(text)
	}
	if err := <-under; err != nil {
		t.Errorf("the mail under way: %v", err)
	}
	s.WaitOpen(t, 0)
}

// A server that doesn't answer QUIT doesn't keep the program from ending.
func TestCloseWithAServerThatStalls(t *testing.T) {
	t.Parallel()
	s := smtptest.Start(t, smtptest.Config{})
	s.On(smtptest.Rule{Step: smtptest.Quit}, smtptest.Stall())
	sender := newSender(t, s)
	send(t, sender, "anna@example.com")
	if err := sender.Close(); err != nil {
		t.Fatal(err)
	}
	s.WaitOpen(t, 0)
}
