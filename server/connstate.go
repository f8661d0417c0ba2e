package server

import (
	"net"
	"net/http"
	"sync"
)

// connStates are the connections that have not sent a request yet, or are kept for another one, by the client's address and port.
type connStates struct {
	mu      sync.Mutex
	waiting map[string]http.ConnState // StateNew until a request has arrived, StateIdle between requests
}

// ConnState counts connections that end without a request, as after a timeout of the http.Server that it is given to as its
// ConnState. It is of use for metrics alone.
func (s *Server) ConnState(conn net.Conn, state http.ConnState) {
	if state == http.StateActive {
		return // a byte has arrived, which need not be a request's last
	}
	from := conn.RemoteAddr().String()
	c := &s.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	switch before, waiting := c.waiting[from]; {
	case state == http.StateNew || state == http.StateIdle:
		if c.waiting == nil {
			c.waiting = map[string]http.ConnState{}
		}
		c.waiting[from] = state
		return
	case state != http.StateClosed || !waiting:
	case before == http.StateNew:
		s.metrics.silent.Inc()
	default:
		s.metrics.idled.Inc()
	}
	delete(c.waiting, from)
}

// arrived notes that a request has.
func (c *connStates) arrived(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, r.RemoteAddr)
}
