package server

import (
	"context"
	"net/http"
	"sync"
)

// closing knows which http.Servers are being shut down. Shutdown waits for requests under way, and a stream is one that
// doesn't end by itself.
type closing struct {
	mu      sync.Mutex
	servers map[*http.Server]context.Context //nolint:containedctx // of each server, until it is shut down
}

// of returns a context that ends when the server that serves this request is shut down.
func (c *closing) of(r *http.Request) context.Context {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return context.Background() // in a test, or in a server of another kind
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx := c.servers[server]
	if ctx == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(context.Background()) // it outlives this request
		server.RegisterOnShutdown(cancel)
		if c.servers == nil {
			c.servers = map[*http.Server]context.Context{}
		}
		c.servers[server] = ctx
	}
	return ctx
}
