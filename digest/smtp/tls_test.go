package smtp_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/internal/smtptest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, mode := range []smtptest.TLS{smtptest.StartTLS, smtptest.Implicit} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := smtptest.Start(t, smtptest.Config{TLS: mode, MaxTLS: version})
			sender := newSender(t, s)
			for range 2 {
				send(t, sender, "anna@example.com")
			}
			for _, m := range s.Wait(t, 2) {
				if !m.TLS {
					t.Error("it came in plain text")
				}
			}
			if n := s.Connections(); n != 1 {
				t.Errorf("%d connections", n)
			}
		}
	}
}

// A server that isn't proven to be the right one gets nothing.
func TestCertificates(t *testing.T) {
	t.Parallel()
	for _, mode := range []smtptest.TLS{smtptest.StartTLS, smtptest.Implicit} {
		for _, c := range []struct {
			certificate smtptest.Certificate
			change      func(*smtp.Options)
			says        string // "": it works
		}{
			{smtptest.Good, nil, ""},
			{smtptest.Good, func(o *smtp.Options) { o.ServerName = "localhost" }, ""},
			{smtptest.Good, func(o *smtp.Options) { o.ServerName = "mail.example" }, "not mail.example"},
			{smtptest.Good, func(o *smtp.Options) { o.CAFile = "" }, "unknown authority"},
			{smtptest.Expired, nil, "expired"},
			{smtptest.SelfSigned, nil, "unknown authority"},
			{smtptest.WrongName, nil, "127.0.0.1"},
			{smtptest.WrongName, func(o *smtp.Options) { o.ServerName = "mail.example" }, ""},
		} {
			s := smtptest.Start(t, smtptest.Config{TLS: mode, Certificate: c.certificate, Users: map[string]string{"u": "p"}})
			sender := newSender(t, s, func(o *smtp.Options) {
				if c.change != nil {
					c.change(o)
				}
			})
			err := sender.Send(testContext(t), letter("anna@example.com"), agree)
			if c.says == "" {
				if err != nil {
					t.Errorf("mode %d, certificate %d: %v", mode, c.certificate, err)
				}
				continue
			}
			text := wantFault(t, err, mail.SendError{Step: "tls", Blame: mail.BlameServer})
			if !strings.Contains(text, c.says) || !strings.Contains(text, "can't be trusted") {
				t.Errorf("mode %d, certificate %d: %s", mode, c.certificate, text)
			}
			s.WaitOpen(t, 0)
			if n := count(s.Commands(), "AUTH") + count(s.Commands(), "MAIL"); n != 0 {
				t.Errorf("it was told %q", s.Commands())
			}
		}
	}
}

func TestTLSFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config smtptest.Config
		fault  *smtptest.Fault
		scheme string
		want   mail.SendError
		says   string
	}{
		{
			name: "missing", config: smtptest.Config{TLS: smtptest.StartTLS, Hide: []string{"STARTTLS"}},
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer}, says: "doesn't offer STARTTLS",
		},
		{
			name: "4xx", config: smtptest.Config{TLS: smtptest.StartTLS}, fault: new(smtptest.Answer("454 4.7.0 not now")),
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer, Code: 454, Enhanced: "4.7.0"},
		},
		{
			name: "5xx", config: smtptest.Config{TLS: smtptest.StartTLS}, fault: new(smtptest.Answer("502 no")),
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer, Permanent: true, Code: 502},
		},
		{
			name: "no TLS after all", config: smtptest.Config{TLS: smtptest.StartTLS}, fault: new(smtptest.Answer("220 go ahead")),
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer},
		},
		{
			name: "close", config: smtptest.Config{TLS: smtptest.StartTLS}, fault: new(smtptest.Close()),
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer},
		},
		{
			name: "close before the handshake", config: smtptest.Config{TLS: smtptest.Implicit}, fault: new(smtptest.Close()),
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer},
		},
		{
			name: "plain text where TLS is expected", scheme: "smtps",
			want: mail.SendError{Step: "tls", Blame: mail.BlameServer}, says: "doesn't speak TLS from the start",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, c.config)
			if c.fault != nil {
				s.On(smtptest.Rule{Step: smtptest.Handshake}, *c.fault)
			}
			sender := newSender(t, s, func(o *smtp.Options) {
				if c.scheme == "smtps" {
					o.TLS = smtp.Implicit
				}
			})
			text := wantFault(t, sender.Send(testContext(t), letter("anna@example.com"), agree), c.want)
			if !strings.Contains(text, c.says) {
				t.Error(text)
			}
			if n := count(s.Commands(), "MAIL"); n != 0 {
				t.Errorf("it was told %q", s.Commands())
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	all := []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"}
	for _, c := range []struct {
		offers    []string
		mechanism smtp.Mechanism
		tls       smtptest.TLS
		want      string // the command, "" for none
	}{
		{all, smtp.Auto, smtptest.StartTLS, "AUTH SCRAM-SHA-256"},
		{all, smtp.Auto, smtptest.Implicit, "AUTH SCRAM-SHA-256"},
		{all, smtp.Auto, smtptest.Plain, "AUTH SCRAM-SHA-256"},
		{[]string{"LOGIN", "PLAIN", "CRAM-MD5"}, smtp.Auto, smtptest.StartTLS, "AUTH PLAIN "},
		{[]string{"LOGIN", "PLAIN", "CRAM-MD5"}, smtp.Auto, smtptest.Plain, "AUTH CRAM-MD5"},
		{[]string{"LOGIN", "CRAM-MD5"}, smtp.Auto, smtptest.Implicit, "AUTH LOGIN"},
		{[]string{"CRAM-MD5", "XOAUTH2"}, smtp.Auto, smtptest.Implicit, "AUTH CRAM-MD5"},
		{all, smtp.Plain, smtptest.StartTLS, "AUTH PLAIN "},
		{all, smtp.Login, smtptest.StartTLS, "AUTH LOGIN"},
		{all, smtp.CRAMMD5, smtptest.StartTLS, "AUTH CRAM-MD5"},
		{all, smtp.SCRAMSHA256, smtptest.StartTLS, "AUTH SCRAM-SHA-256"},
		{[]string{"PLAIN"}, smtp.Login, smtptest.StartTLS, ""},
		{[]string{"XOAUTH2"}, smtp.Auto, smtptest.StartTLS, ""},
		{[]string{}, smtp.Auto, smtptest.StartTLS, ""},
	} {
		const user, password = "anna@example.com", "pa,ss=wörd %20"
		t.Run(fmt.Sprintf("%s/%s/%d", c.offers, c.mechanism, c.tls), func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, smtptest.Config{TLS: c.tls, Mechanisms: c.offers, Users: map[string]string{user: password}})
			set := func(o *smtp.Options) { o.Auth = c.mechanism }
			sender := newSender(t, s, set)
			if c.want == "" {
				err := sender.Send(testContext(t), letter("b@example.com"), agree)
				wantFault(t, err, mail.SendError{Step: "auth", Blame: mail.BlameServer})
				return
			}
			send(t, sender, "b@example.com")
			if m := s.Wait(t, 1)[0]; m.User != user {
				t.Errorf("it came from user %q", m.User)
			}
			found := false
			for _, command := range s.Commands() {
				found = found || strings.HasPrefix(command, c.want)
			}
			if !found {
				t.Errorf("it authenticated by %q, want %q", s.Commands(), c.want)
			}
			wrong := newSender(t, s, set, func(o *smtp.Options) { o.Password = "wrong" })
			wantFault(t, wrong.Send(testContext(t), letter("b@example.com"), agree),
				mail.SendError{Step: "auth", Blame: mail.BlameServer, Permanent: true, Code: 535, Enhanced: "5.7.8"})
			s.WaitOpen(t, 1)
		})
	}
}

func TestAuthenticationFaults(t *testing.T) {
	t.Parallel()
	const password = "hunter2-secret"
	said := func(code int, enhanced string) mail.SendError {
		return mail.SendError{Step: "auth", Blame: mail.BlameServer, Permanent: code >= 500, Code: code, Enhanced: enhanced}
	}
	for _, c := range []struct {
		fault smtptest.Fault
		want  mail.SendError
		says  string
	}{
		{smtptest.Answer("535 5.7.8 no"), said(535, "5.7.8"), "5.7.8 no"},
		{smtptest.Answer("454 4.7.0 later"), said(454, "4.7.0"), ""},
		{smtptest.Answer("421 bye"), said(421, ""), ""},
		{smtptest.Close(), said(0, ""), "closed the connection"},
		// Some quote what they were told.
		{smtptest.Answer("500 unknown: AUTH PLAIN AHUAaHVudGVyMi1zZWNyZXQ="), said(500, ""), "unknown: AUTH PLAIN …"},
		{smtptest.Answer("535 u/" + password + " is wrong"), said(535, ""), "u/… is wrong"},
	} {
		s := smtptest.Start(t, smtptest.Config{TLS: smtptest.StartTLS, Users: map[string]string{"u": password}})
		s.On(smtptest.Rule{Step: smtptest.Auth}, c.fault)
		sender := newSender(t, s)
		err := sender.Send(testContext(t), letter("b@example.com"), agree)
		text := wantFault(t, err, c.want)
		if !strings.Contains(text, c.says) {
			t.Error(text)
		}
		for _, shown := range []string{fmt.Sprintf("%v %+v %#v", err, err, err), fmt.Sprintf("%+v %#v %s", sender, sender, sender)} {
			if strings.Contains(shown, password) || strings.Contains(shown, "aHVudGVyMi1zZWNyZXQ") {
				t.Errorf("the password shows in %s", shown)
			}
		}
		s.WaitOpen(t, 0)
	}
}
