package bench

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A loop reads the sockets of a crowd on one thread: a goroutine for each would cost the machine, which is the server's as
// well, a second system call and two switches for every read.
type loop struct {
	crowd   *crowd
	epoll   int
	closing atomic.Bool
	done    chan struct{}
	sockets []atomic.Int32 // of each member, +1; 0: none
}

func newLoop(c *crowd) (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch sockets: %w", err)
	}
	l := &loop{crowd: c, epoll: epoll, done: make(chan struct{}), sockets: make([]atomic.Int32, len(c.members))}
	go l.run()
	return l, nil
}

// add takes a member's connection over.
func (l *loop) add(m *member, conn *net.TCPConn) error {
	socket, err := take(conn)
	if err != nil {
		return fmt.Errorf("take a socket over: %w", err)
	}
	l.sockets[m.index].Store(int32(socket) + 1)
	m.mu.Lock()
	m.send = func(frame []byte) { _, _ = syscall.Write(socket, frame) } // if it doesn't arrive, the server closes
	m.mu.Unlock()
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(m.index)}
	if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, socket, &event); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// take returns a connection's socket, no longer watched by Go's runtime.
func take(conn *net.TCPConn) (socket int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if socket, err = syscall.Dup(int(fd)); err == nil {
			syscall.CloseOnExec(socket)
		}
	})
	return socket, errors.Join(controlErr, err, conn.Close())
}

func (l *loop) run() {
	defer close(l.done)
	events := make([]syscall.EpollEvent, 256)
	buffer := make([]byte, 256<<10)
	for !l.closing.Load() {
		n, err := syscall.EpollWait(l.epoll, events, 50)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			l.crowd.fail(fmt.Errorf("watch sockets: %w", err))
			return
		}
		for i := range max(n, 0) {
			l.read(l.crowd.members[events[i].Fd], buffer)
		}
	}
}

func (l *loop) read(m *member, buffer []byte) {
	socket := int(l.sockets[m.index].Load()) - 1
	if socket < 0 {
		return
	}
	n, err := syscall.Read(socket, buffer)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return
	case err == nil && n == 0:
		err = errClosed
	case err == nil:
		err = m.feed(l.crowd, buffer[:n], time.Now())
	}
	if err != nil {
		l.crowd.fail(fmt.Errorf("client %d: %w", m.index+1, err))
		l.drop(m)
	}
}

func (l *loop) drop(m *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send = nil
	if socket := l.sockets[m.index].Swap(0); socket > 0 {
		_ = syscall.Close(int(socket) - 1)
	}
}

// close closes all connections. Nothing may be added at the same time.
func (l *loop) close() {
	l.closing.Store(true)
	<-l.done
	for _, m := range l.crowd.members {
		l.drop(m)
	}
	_ = syscall.Close(l.epoll)
}
