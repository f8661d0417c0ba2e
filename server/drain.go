package server

import (
	"context"
	"fmt"
	"time"
)

// departureRate is how many clients a second are sent away at most, if there is time for it: the other nodes have to take them.
const departureRate = 1000

// Retire makes /readyz say that this server is to be given no more clients. It goes on serving those it has, and those who come
// nevertheless. There is no way back.
func (s *Server) Retire() {
	if !s.closing.retired.Swap(true) {
		s.log.Info("not ready any more: about to stop")
	}
}

// Drain sends the clients away: WebSockets are told to connect again elsewhere, streams end, in an order left to chance, spread
// over the given time at most, so that the nodes they go to aren't overrun; few clients take less, a thousand a second. It
// returns once they are gone and the requests under way are finished, or with an error when ctx ends before.
//
// Close the port first, or they come back here: call Shutdown of the http.Server at the same time.
func (s *Server) Drain(ctx context.Context, spread time.Duration) error {
	s.Retire()
	began := time.Now()
	clients := s.clients()
	spread = min(spread, time.Duration(clients)*time.Second/departureRate)
	s.closing.spread(spread)
	s.live.Drain(ctx, spread)
	if err := s.closing.wait(ctx); err != nil {
		return fmt.Errorf("%d requests are still under way: %w", s.closing.underWay(), err)
	}
	s.log.Info("clients have left", "clients", clients, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// clients is how many connections are to be sent away.
func (s *Server) clients() int { return int(s.streams.Load()) + s.live.Clients() }
