// Package smtptest is a mail server for tests, that takes mails, and fails where it is told to.
//
//	server := smtptest.Start(t, smtptest.Config{})
//	server.On(smtptest.Rule{Step: smtptest.Rcpt, To: "nobody@example.com"}, smtptest.Answer("550 5.1.1 no such user"))
//	server.On(smtptest.Rule{Step: smtptest.Dot, Skip: 2, Times: 1}, smtptest.Close().Kept())
//	…
//	mails := server.Wait(t, 3)
//
// It listens on a free port of 127.0.0.1 and ends with the test. What waits fails the test when it has waited too long, so it is
// to be called by the test's own goroutine. The server proper is github.com/emersion/go-smtp; between it and the client sits a
// connection that breaks the rules.
package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// patience bounds what a test waits for: long, since it only ends what hangs.
const patience = 60 * time.Second

// TLS is how a server speaks TLS.
type TLS int

const (
	// Plain speaks none.
	Plain TLS = iota
	// StartTLS offers it, and offers to authenticate only then.
	StartTLS
	// Implicit speaks it from the start.
	Implicit
)

// Config is what a server is like when nothing goes wrong. The zero value takes all mail in plain text.
type Config struct {
	TLS         TLS
	Certificate Certificate
	// MaxTLS is the newest version it speaks; 0: whatever Go does.
	MaxTLS uint16
	// Users may authenticate, with these passwords. If there are any, nobody else may send.
	Users map[string]string
	// Mechanisms it offers to Users; nil: PLAIN and LOGIN.
	Mechanisms []string
	// SMTPUTF8 is offered, and internationalized addresses are taken.
	SMTPUTF8 bool
	// MaxBytes a mail may have, 0: any number.
	MaxBytes int64
	// Hide extensions that it would offer otherwise, such as 8BITMIME.
	Hide []string
}

// A Server takes mails.
type Server struct {
	config  Config
	address string
	tls     *tls.Config
	ca      string

	mu       sync.Mutex
	changed  chan struct{} // closed, and made anew, when something below changes
	rules    []*Handle
	mails    []Mail
	commands []string
	conns    map[*conn]bool
	accepted int
	up       *running // nil: it is down
}

// running is a server between Up and Down.
type running struct {
	smtp     *smtp.Server
	listener net.Listener
	serve    chan error
}

// A Mail is one that the server took responsibility for.
type Mail struct {
	From string
	To   []string
	UTF8 bool   // it was announced with SMTPUTF8
	Data []byte // without dot-stuffing
	Wire []byte // what came between the 354 and the final dot, byte for byte
	User string // who had authenticated, "" if nobody had
	TLS  bool
	// Hello is the client's name, Connection counts the server's connections from 1.
	Hello      string
	Connection int
}

// Start starts a server, and stops it when the test ends.
func Start(t testing.TB, config Config) *Server {
	t.Helper()
	if config.Mechanisms == nil {
		config.Mechanisms = []string{"PLAIN", "LOGIN"}
	}
	keys, err := certificates()
	if err != nil {
		t.Fatalf("certificates: %v", err)
	}
	s := &Server{
		config: config, conns: map[*conn]bool{}, changed: make(chan struct{}),
		tls: &tls.Config{
			Certificates: []tls.Certificate{keys.chain[config.Certificate]}, MinVersion: tls.VersionTLS12, MaxVersion: config.MaxTLS,
		},
		ca: filepath.Join(t.TempDir(), "ca.pem"),
	}
	if err := os.WriteFile(s.ca, keys.authority, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("mail server: %v", err)
	}
	s.address = listener.Addr().String()
	s.serve(listener)
	t.Cleanup(func() {
		if err := s.Down(); err != nil {
			t.Errorf("mail server: %v", err)
		}
	})
	return s
}

// Address is host:port; it stays the same over Down and Up.
func (s *Server) Address() string { return s.address }

// Port is that of Address.
func (s *Server) Port() int {
	at, err := net.ResolveTCPAddr("tcp", s.address)
	if err != nil {
		panic(err) // it came from a listener
	}
	return at.Port
}

// CAFile is the PEM file of the authority that signed the server's certificate, unless that is self-signed.
func (s *Server) CAFile() string { return s.ca }

// URL is that of the server, with the TLS mode and the authority it needs, and with user and password if there is one.
func (s *Server) URL() string {
	u := url.URL{Scheme: "smtp", Host: s.address}
	switch s.config.TLS {
	case Plain:
		u.RawQuery = "tls=none"
	case StartTLS:
		u.RawQuery = "tls=starttls&ca=" + url.QueryEscape(s.ca)
	case Implicit:
		u.Scheme, u.RawQuery = "smtps", "ca="+url.QueryEscape(s.ca)
	}
	for user, password := range s.config.Users {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// Down breaks all connections and refuses new ones, as a server does whose process was killed. Twice is once.
func (s *Server) Down() error {
	s.mu.Lock()
	up := s.up
	s.up = nil
	s.mu.Unlock()
	if up == nil {
		return nil
	}
	// Once the listener is closed and Serve has returned there are no new connections, and Shutdown waits for the end of those
	// that Disconnect broke.
	_ = up.listener.Close()
	err := <-up.serve
	s.Disconnect()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, e := range []error{err, up.smtp.Shutdown(ctx)} {
		if e != nil && !errors.Is(e, net.ErrClosed) {
			return e
		}
	}
	return nil
}

// Up is what comes after Down: the server is there again at the same address, with its rules and mails.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", s.address)
		if err == nil {
			s.serve(listener)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("mail server: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // somebody's outgoing connection may have got the port
	}
}

func (s *Server) serve(listener net.Listener) {
	server := smtp.NewServer(smtp.BackendFunc(s.session))
	server.Domain = "mail.test"
	server.AllowInsecureAuth = true // what is plain text to it may be TLS to the client
	server.EnableSMTPUTF8 = s.config.SMTPUTF8
	server.MaxMessageBytes = s.config.MaxBytes
	server.MaxLineLength = 0
	server.ErrorLog = log.New(io.Discard, "", 0)
	up := &running{smtp: server, listener: listener, serve: make(chan error, 1)}
	s.mu.Lock()
	s.up = up
	s.mu.Unlock()
	go func() { up.serve <- server.Serve(acceptor{listener, s}) }()
}

// Disconnect breaks the connections there are, as a network does: without a word.
func (s *Server) Disconnect() {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// Mails are those the server has taken, in the order it took them.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// MailsTo are those of Mails that have this recipient.
func (s *Server) MailsTo(address string) []Mail {
	return slices.DeleteFunc(s.Mails(), func(m Mail) bool { return !slices.Contains(m.To, address) })
}

// Wait waits until the server has taken n mails in all, and returns them, and any that came beyond.
func (s *Server) Wait(t testing.TB, n int) []Mail {
	t.Helper()
	s.await(t, fmt.Sprintf("%d mails", n), func() bool { return len(s.mails) >= n })
	return s.Mails()
}

// Connections is how many there have ever been.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Open is how many connections there are.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// WaitOpen waits until there are exactly n connections.
func (s *Server) WaitOpen(t testing.TB, n int) {
	t.Helper()
	s.await(t, fmt.Sprintf("%d open connections", n), func() bool { return len(s.conns) == n })
}

// Commands are the lines that clients have sent outside of mails, without CRLF.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// await waits until a condition holds, which is judged under the lock.
func (s *Server) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		holds, changed := condition(), s.changed
		s.mu.Unlock()
		if holds {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("mail server: still not: %s; it has %d mails and %d connections", what, len(s.Mails()), s.Open())
		}
	}
}

// change does something to what await looks at.
func (s *Server) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// acceptor hands the server our connections instead of the network's.
type acceptor struct {
	net.Listener
	server *Server
}

func (a acceptor) Accept() (net.Conn, error) {
	raw, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		// So that a few megabytes are certain not to fit in between when the server doesn't read.
		_ = tcp.SetReadBuffer(64 << 10)
	}
	return newConn(a.server, raw), nil
}
