//go:build !linux

package bench

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A loop reads the sockets of a crowd, with a goroutine for each.
type loop struct {
	crowd   *crowd
	closing atomic.Bool
	readers sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
}

func newLoop(c *crowd) (*loop, error) { return &loop{crowd: c}, nil }

// add takes a member's connection over.
func (l *loop) add(m *member, conn *net.TCPConn) error {
	l.mu.Lock()
	l.conns = append(l.conns, conn)
	l.mu.Unlock()
	m.mu.Lock()
	m.send = func(frame []byte) { _, _ = conn.Write(frame) } // if it doesn't arrive, the server closes
	m.mu.Unlock()
	l.readers.Go(func() {
		buffer := make([]byte, 16<<10)
		for {
			n, err := conn.Read(buffer)
			if err == nil {
				err = m.feed(l.crowd, buffer[:n], time.Now())
			}
			if err != nil {
				if !l.closing.Load() {
					l.crowd.fail(fmt.Errorf("client %d: %w", m.index+1, err))
				}
				return
			}
		}
	})
	return nil
}

// close closes all connections. Nothing may be added at the same time.
func (l *loop) close() {
	l.closing.Store(true)
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.readers.Wait()
}
