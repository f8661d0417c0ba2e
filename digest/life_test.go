package digest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/internal/smtptest"
)

// A life is all that a worker can act through: its connections to the database and to the mail server. Killed, it has none any more,
// as a process has after kill -9: whatever the worker still does, nobody hears of it.
type life struct {
	name  string // of its sessions
	mu    sync.Mutex
	dead  bool
	conns map[net.Conn]bool
	ended chan struct{}
}

var lives atomic.Int64

func newLife() *life {
	return &life{name: fmt.Sprintf("life %d", lives.Add(1)), conns: map[net.Conn]bool{}, ended: make(chan struct{})}
}

var errDead = errors.New("this process was killed")

func (l *life) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	for c := range l.conns {
		_ = c.Close()
	}
	close(l.ended)
}

// keep makes a connection one of this life. A dead one gets none.
func (l *life) keep(c net.Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		_ = c.Close()
		return errDead
	}
	l.conns[c] = true
	return nil
}

// cut breaks all connections; new ones can be made.
func (l *life) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

func (l *life) forget(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *life) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, l.keep(c)
}

// pool is a connection pool of this life.
func (l *life) pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DialFunc = l.dial
	config.ConnConfig.RuntimeParams["application_name"] = l.name
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// A stage of a conversation with a mail server, at which a worker can be killed from outside.
type stage string

const (
	onConnect   stage = "connected"
	onMail      stage = "MAIL"
	onRcpt      stage = "RCPT"
	onData      stage = "DATA"
	onText      stage = "text"       // within the mail
	onDot       stage = "dot"        // the server doesn't get it
	behindDot   stage = "behind dot" // the server gets it, and we don't get its answer
	onAnswer    stage = "answer"     // we have got the answer
	afterAnswer stage = "RSET"       // or whatever comes next
)

// through forwards connections to a mail server until the life ends. At each stage of each conversation it calls at, which may
// kill: what hasn't been forwarded by then never is.
func (l *life) through(t testing.TB, server string, at func(stage)) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			if l.keep(client) != nil {
				continue
			}
			upstream, err := l.dial(context.Background(), "tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			running.Go(func() { l.forward(client, upstream, at) })
		}
	})
	t.Cleanup(func() {
		l.kill()
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func (l *life) forward(client, upstream net.Conn, at func(stage)) {
	var both sync.WaitGroup
	stop := func() {
		_ = client.Close()
		_ = upstream.Close()
		l.forget(client)
		l.forget(upstream)
	}
	var mu sync.Mutex
	dotted := false
	both.Go(func() { // answers
		defer stop()
		r := bufio.NewReader(upstream)
		at(onConnect)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			mu.Lock()
			answer := dotted && len(line) > 3 && line[3] == ' '
			if answer {
				dotted = false
			}
			mu.Unlock()
			if answer {
				at(behindDot)
			}
			if _, err := io.WriteString(client, line); err != nil {
				return
			}
			if answer {
				at(onAnswer)
			}
		}
	})
	both.Go(func() { // commands
		defer stop()
		r := bufio.NewReader(client)
		text, lines := false, 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch {
			case text && line == ".\r\n":
				at(onDot)
				text = false
				mu.Lock()
				dotted = true
				mu.Unlock()
			case text:
				if lines++; lines == 3 {
					at(onText)
				}
			case strings.HasPrefix(line, "MAIL"):
				at(onMail)
			case strings.HasPrefix(line, "RCPT"):
				at(onRcpt)
			case strings.HasPrefix(line, "DATA"):
				at(onData)
				text, lines = true, 0
			case strings.HasPrefix(line, "RSET"), strings.HasPrefix(line, "QUIT"), strings.HasPrefix(line, "NOOP"):
				at(afterAnswer)
			}
			if _, err := io.WriteString(upstream, line); err != nil {
				return
			}
		}
	})
	both.Wait()
}

// sender sends by SMTP through a life.
func (l *life) sender(t testing.TB, server *smtptest.Server, connections int, at func(stage)) mail.Sender {
	t.Helper()
	if at == nil {
		at = func(stage) {}
	}
	options, err := smtp.ParseURL("smtp://" + l.through(t, server.Address(), at) + "?tls=none")
	if err != nil {
		t.Fatal(err)
	}
	options.Connections = connections
	options.Timeouts = smtp.Timeouts{Command: 2 * time.Second, Body: 2 * time.Second, Dot: 2 * time.Second, Grace: 100 * time.Millisecond}
	s, err := smtp.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
