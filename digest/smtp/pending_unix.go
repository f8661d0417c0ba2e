//go:build unix

package smtp

import (
	"errors"
	"syscall"
)

// pending tells whether there is something to read: the server has spoken out of turn, or has closed. It never waits.
func (w *wire) pending() bool {
	c, ok := w.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	there := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		there = !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
		return true
	})
	return there || err != nil
}
