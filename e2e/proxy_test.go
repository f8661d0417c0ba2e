package e2e

import (
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// link is a TCP connection to a node that can be cut, and laid to another node.
type link struct {
	port     int
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	target string // "" while it is cut
	open   map[net.Conn]struct{}
}

func newLink(t testing.TB, target string) *link {
	t.Helper()
	l := &link{port: freePort(t), target: target, open: make(map[net.Conn]struct{})}
	var err error
	if l.listener, err = net.Listen("tcp", l.address()); err != nil {
		t.Fatal(err)
	}
	l.running.Go(l.accept)
	t.Cleanup(func() {
		l.listener.Close()
		l.lay("")
		l.running.Wait()
	})
	return l
}

func (l *link) address() string { return "127.0.0.1:" + strconv.Itoa(l.port) }
func (l *link) base() string    { return "http://" + l.address() }

// lay breaks off what goes through the link, and lets new connections go to target: nowhere if it is "".
func (l *link) lay(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
	for conn := range l.open {
		conn.Close() //nolint:errcheck // cut
	}
}

// lead lets new connections go to target, and leaves the others.
func (l *link) lead(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
}

func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.carry(conn) })
	}
}

func (l *link) carry(client net.Conn) {
	defer client.Close() //nolint:errcheck // done with it
	l.mu.Lock()
	target := l.target
	l.mu.Unlock()
	if target == "" {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // done with it
	if !l.hold(target, client, server) {
		return
	}
	defer l.release(client, server)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		client.Close() //nolint:errcheck // the other direction ends as well
	})
	_, _ = io.Copy(server, client)
	server.Close() //nolint:errcheck // likewise
	back.Wait()
}

// hold notes connections to be cut, unless the link was laid elsewhere meanwhile.
func (l *link) hold(target string, conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.target != target {
		return false
	}
	for _, conn := range conns {
		l.open[conn] = struct{}{}
	}
	return true
}

func (l *link) release(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		delete(l.open, conn)
	}
}
