package smtp

import (
	"errors"
	"net"
	"sync/atomic"
)

// maxAnswer is how many bytes a server may send while one answer is waited for: an answer, or a TLS handshake, is a few
// kilobytes, and whoever sends lines without an end must not fill our memory.
const maxAnswer = 256 << 10

var errTalkative = errors.New("the server sends far more than an answer")

// A wire is the network below TLS.
type wire struct {
	net.Conn
	budget  atomic.Int64 // how much the server may send until an answer ends
	written atomic.Int64 // how much it was sent
}

func (w *wire) Read(p []byte) (int, error) {
	if w.budget.Load() <= 0 {
		return 0, errTalkative
	}
	n, err := w.Conn.Read(p)
	w.budget.Add(int64(-n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	return n, err
}
