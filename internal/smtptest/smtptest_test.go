package smtptest_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/internal/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client speaks with a server by hand.
type client struct {
	*textproto.Conn
	t   *testing.T
	net net.Conn
}

func dial(t *testing.T, s *smtptest.Server) *client {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	return talk(t, conn)
}

func talk(t *testing.T, conn net.Conn) *client {
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{Conn: textproto.NewConn(conn), t: t, net: conn}
}

// read returns an answer, "EOF" if the connection is closed.
func (c *client) read() string {
	code, text, err := c.ReadResponse(0)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return "EOF"
	}
	if code == 0 && err != nil {
		if strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken") {
			return "EOF"
		}
		c.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", code, text)
}

func (c *client) say(line string) string {
	if err := c.PrintfLine("%s", line); err != nil {
		return "EOF"
	}
	return c.read()
}

func (c *client) want(answer, prefix string) {
	c.t.Helper()
	if !strings.HasPrefix(answer, prefix) {
		c.t.Fatalf("the server says %q, want %q", answer, prefix)
	}
}

// conversation sends a mail until something goes wrong, and returns the answers.
func conversation(c *client, to, body string) []string {
	answers := []string{c.read()}
	for _, line := range []string{"EHLO me.test", "MAIL FROM:<a@example.com>", "RCPT TO:<" + to + ">", "DATA", body + "\r\n."} {
		if last := answers[len(answers)-1][0]; last != '2' && last != '3' {
			return answers
		}
		answers = append(answers, c.say(line))
	}
	return answers
}

func TestAMailIsKept(t *testing.T) {
	s := smtptest.Start(t, smtptest.Config{})
	c := dial(t, s)
	answers := conversation(c, "b@example.com", "Subject: x\r\n\r\n..dot\r\nend")
	c.want(answers[len(answers)-1], "250")
	got := s.Wait(t, 1)
	want := []smtptest.Mail{{
		From: "a@example.com", To: []string{"b@example.com"}, Hello: "me.test", Connection: 1,
		Data: []byte("Subject: x\r\n\r\n.dot\r\nend\r\n"), Wire: []byte("Subject: x\r\n\r\n..dot\r\nend\r\n"),
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(s.MailsTo("c@example.com")) != 0 || len(s.MailsTo("b@example.com")) != 1 {
		t.Error("MailsTo doesn't tell recipients apart")
	}
	c.want(c.say("RSET"), "250")
	c.want(c.say("QUIT"), "221")
	s.WaitOpen(t, 0)
	commands := []string{"EHLO me.test", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA", "RSET", "QUIT"}
	if d := cmp.Diff(commands, s.Commands()); d != "" {
		t.Error(d)
	}
}

// Each fault at each step: what the client is told last, and whether the server has the mail.
func TestFaults(t *testing.T) {
	faults := map[string]smtptest.Fault{
		"answer": smtptest.Answer("451 4.7.1 later"), "lines": smtptest.Answer("550-5.1.1 no\n550 5.1.1 never"),
		"421": smtptest.Answer("421 4.3.2 down"), "close": smtptest.Close(), "slow": smtptest.Slow(time.Millisecond),
		"kept": smtptest.Close().Kept(), "garbage": smtptest.Answer("999 what"),
	}
	steps := []smtptest.Step{
		smtptest.Connect, smtptest.Hello, smtptest.MailFrom, smtptest.Rcpt, smtptest.Data, smtptest.Body, smtptest.Dot,
	}
	last := map[string]string{
		"answer": "451 4.7.1 later", "lines": "550 5.1.1 no\n5.1.1 never", "421": "421 4.3.2 down", "close": "EOF", "slow": "250 ",
		"kept": "EOF", "garbage": "999 what",
	}
	after := map[smtptest.Step]int{smtptest.Body: 16 << 10}
	for i, step := range steps {
		for name, fault := range faults {
			t.Run(string(step)+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := smtptest.Start(t, smtptest.Config{})
				h := s.On(smtptest.Rule{Step: step, Times: 1, After: after[step]}, fault)
				c := dial(t, s)
				answers := conversation(c, "b@example.com", strings.Repeat(strings.Repeat("x", 78)+"\r\n", 400))
				if got := answers[len(answers)-1]; !strings.HasPrefix(got, last[name]) {
					t.Errorf("the answers are %q, want %q in the end", answers, last[name])
				}
				if name != "slow" && len(answers) != min(i+1, 6) {
					t.Errorf("it ended after %d answers, not at %s: %q", len(answers), step, answers)
				}
				if h.Struck() != 1 {
					t.Errorf("the fault happened %d times", h.Struck())
				}
				kept := name == "slow" || (name == "kept" && step == smtptest.Dot)
				if (len(s.Mails()) == 1) != kept {
					t.Errorf("%d mails are kept, answers %q", len(s.Mails()), answers)
				}
				if name == "421" {
					c.want(c.say("NOOP"), "EOF")
				}
			})
		}
	}
}

func TestStalls(t *testing.T) {
	for _, step := range []smtptest.Step{
		smtptest.Connect, smtptest.Hello, smtptest.MailFrom, smtptest.Rcpt, smtptest.Data, smtptest.Body, smtptest.Dot,
	} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, smtptest.Config{})
			h := s.On(smtptest.Rule{Step: step}, smtptest.Stall())
			c := dial(t, s)
			over := make(chan []string)
			go func() { over <- conversation(c, "b@example.com", "x") }()
			h.Wait(t, 1)
			select {
			case answers := <-over:
				t.Fatalf("the conversation went on: %q", answers)
			default:
			}
			s.Disconnect()
			if answers := <-over; answers[len(answers)-1] != "EOF" {
				t.Errorf("got %q", answers)
			}
			s.WaitOpen(t, 0)
			if len(s.Mails()) != 0 {
				t.Error("a mail is kept")
			}
		})
	}
}

// A client that gives up frees the connection that stalls it.
func TestStallEndsWithTheClient(t *testing.T) {
	s := smtptest.Start(t, smtptest.Config{})
	s.On(smtptest.Rule{Step: smtptest.Connect}, smtptest.Stall())
	c := dial(t, s)
	s.WaitOpen(t, 1)
	_ = c.net.Close()
	s.WaitOpen(t, 0)
}

func TestRulesOfRecipientsAndCounts(t *testing.T) {
	s := smtptest.Start(t, smtptest.Config{})
	s.On(smtptest.Rule{Step: smtptest.Rcpt, To: "bad@example.com"}, smtptest.Answer("550 5.1.1 no"))
	second := s.On(smtptest.Rule{Step: smtptest.MailFrom, Skip: 1, Times: 1}, smtptest.Answer("451 later"))
	s.On(smtptest.Rule{Step: smtptest.Dot, To: "Late@example.com"}, smtptest.Answer("552 5.3.4 too large"))
	c := dial(t, s)
	c.want(c.read(), "220")
	c.want(c.say("EHLO me"), "250")
	c.want(c.say("MAIL FROM:<>"), "250")
	c.want(c.say("RSET"), "250")
	c.want(c.say("MAIL FROM:<>"), "451")
	c.want(c.say("MAIL FROM:<>"), "250")
	c.want(c.say("RCPT TO:<bad@example.com>"), "550")
	c.want(c.say("RCPT TO:<late@example.com>"), "250")
	c.want(c.say("DATA"), "354")
	c.want(c.say("x\r\n."), "552")
	c.want(c.say("MAIL FROM:<>"), "250")
	c.want(c.say("RCPT TO:<good@example.com>"), "250")
	c.want(c.say("DATA"), "354")
	c.want(c.say("x\r\n."), "250")
	if n := len(s.Wait(t, 1)); n != 1 {
		t.Errorf("%d mails", n)
	}
	if second.Struck() != 1 {
		t.Errorf("the second MAIL was refused %d times", second.Struck())
	}
	s.Clear()
	c.want(c.say("MAIL FROM:<>"), "250")
	c.want(c.say("RCPT TO:<bad@example.com>"), "250")
}

func TestTLS(t *testing.T) {
	for _, mode := range []smtptest.TLS{smtptest.StartTLS, smtptest.Implicit} {
		for _, certificate := range []smtptest.Certificate{smtptest.Good, smtptest.Expired, smtptest.WrongName, smtptest.SelfSigned} {
			t.Run(fmt.Sprintf("%d/%d", mode, certificate), func(t *testing.T) {
				t.Parallel()
				s := smtptest.Start(t, smtptest.Config{TLS: mode, Certificate: certificate, Users: map[string]string{"u": "p"}})
				c := dial(t, s)
				if mode == smtptest.StartTLS {
					c.want(c.read(), "220")
					if offer := c.say("EHLO me"); !strings.Contains(offer, "\nSTARTTLS") || strings.Contains(offer, "AUTH") {
						t.Errorf("it offers %q", offer)
					}
					c.want(c.say("STARTTLS"), "220")
				}
				pem, err := os.ReadFile(s.CAFile())
				if err != nil {
					t.Fatal(err)
				}
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(pem)
				secure := tls.Client(c.net, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
				err = secure.HandshakeContext(t.Context())
				if (err == nil) != (certificate == smtptest.Good) {
					t.Fatalf("handshake: %v", err)
				}
				if err != nil {
					s.WaitOpen(t, 0)
					return
				}
				c = talk(t, secure)
				if mode == smtptest.Implicit {
					c.want(c.read(), "220")
				}
				if offer := c.say("EHLO me"); strings.Contains(offer, "STARTTLS") || !strings.Contains(offer, "\nAUTH PLAIN LOGIN") {
					t.Errorf("it offers %q", offer)
				}
				c.want(c.say("MAIL FROM:<>"), "530")
				c.want(c.say("AUTH PLAIN AHUAeA=="), "535")
				c.want(c.say("AUTH PLAIN AHUAcA=="), "235")
				c.want(c.say("MAIL FROM:<>"), "250")
				c.want(c.say("RCPT TO:<b@example.com>"), "250")
				c.want(c.say("DATA"), "354")
				c.want(c.say("x\r\n."), "250")
				if m := s.Wait(t, 1)[0]; !m.TLS || m.User != "u" {
					t.Errorf("it came as %+v", m)
				}
			})
		}
	}
}

func TestHiddenExtensions(t *testing.T) {
	s := smtptest.Start(t, smtptest.Config{TLS: smtptest.StartTLS, MaxBytes: 1000, Hide: []string{"STARTTLS", "8BITMIME"}})
	c := dial(t, s)
	c.want(c.read(), "220")
	if offer := c.say("EHLO me"); strings.Contains(offer, "8BITMIME") || strings.Contains(offer, "STARTTLS") ||
		!strings.Contains(offer, "\nSIZE 1000") {
		t.Errorf("it offers %q", offer)
	}
}

func TestDownAndUp(t *testing.T) {
	s := smtptest.Start(t, smtptest.Config{})
	c := dial(t, s)
	c.want(c.read(), "220")
	for range 2 {
		if err := s.Down(); err != nil {
			t.Fatal(err)
		}
	}
	if answer := c.say("EHLO me"); answer != "EOF" {
		t.Errorf("a broken connection answers %q", answer)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Address()); err == nil {
		_ = conn.Close()
		t.Error("a server that is down takes connections")
	}
	s.Up(t)
	c = dial(t, s)
	c.want(c.read(), "220")
	if n := s.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}
