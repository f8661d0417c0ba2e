package server

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// closing ends the requests that don't end by themselves, such as streams: when the http.Server that serves them is shut down,
// which waits for requests under way, or in turn when this server is drained.
type closing struct {
	retired atomic.Bool // clients are to go elsewhere

	mu       sync.Mutex
	servers  map[*http.Server]bool // that tell when they are shut down
	open     map[*departure]struct{}
	leaving  time.Time // by then the last has to leave; zero: not draining
	requests int       // under way, of all kinds
	idle     chan struct{}
}

// departure is the end of one request, to come.
type departure struct {
	server *http.Server // nil in a test, or in a server of another kind
	leave  context.CancelFunc
	timer  *time.Timer // of its turn, if it was given one
}

// enter counts a request until the returned function is called.
func (c *closing) enter() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.requests--; c.requests == 0 && c.idle != nil {
			close(c.idle)
			c.idle = nil
		}
	}
}

// underWay is how many requests are.
func (c *closing) underWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// of returns a context that ends when the request has to leave.
func (c *closing) of(r *http.Request) context.Context {
	ctx, leave := context.WithCancel(context.WithoutCancel(r.Context())) // its end says that, and nothing else
	d := &departure{leave: leave}
	d.server, _ = r.Context().Value(http.ServerContextKey).(*http.Server)
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.server != nil && !c.servers[d.server] {
		if c.servers == nil {
			c.servers = map[*http.Server]bool{}
		}
		c.servers[d.server] = true
		d.server.RegisterOnShutdown(func() { c.shutdown(d.server) })
	}
	if c.open == nil {
		c.open = map[*departure]struct{}{}
	}
	c.open[d] = struct{}{}
	if !c.leaving.IsZero() {
		c.giveTurn(d)
	}
	context.AfterFunc(r.Context(), func() { c.forget(d) })
	return ctx
}

func (c *closing) forget(d *departure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	delete(c.open, d)
}

// shutdown ends the requests of an http.Server at once, unless they have their turns.
func (c *closing) shutdown(server *http.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.servers, server)
	if !c.leaving.IsZero() {
		return
	}
	for d := range c.open {
		if d.server == server {
			d.leave()
		}
	}
}

// spread gives every request that doesn't end by itself its turn to leave within a time, at random. It tells how many there are.
func (c *closing) spread(over time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = time.Now().Add(over)
	for d := range c.open {
		c.giveTurn(d)
	}
	return len(c.open)
}

// draining tells whether requests that don't end by themselves have their turns to leave.
func (c *closing) draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.leaving.IsZero()
}

// giveTurn is called with mu held.
func (c *closing) giveTurn(d *departure) {
	left := time.Until(c.leaving)
	if left <= 0 {
		d.leave()
		return
	}
	d.timer = time.AfterFunc(rand.N(left), d.leave)
}

// wait returns once no request is under way.
func (c *closing) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.requests == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
