package realtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline/internal/retry"
)

// Drain lets nobody else connect, and disconnects those who are, spread over a duration and in no order, with code 3001: they connect
// again, elsewhere if something routes them there. It returns when all are gone, or ctx ends.
func (n *Node) Drain(ctx context.Context, spread time.Duration) error {
	n.draining.Store(true)
	clients := make([]*centrifuge.Client, 0, n.connected.Load())
	for _, client := range n.lib.Hub().Connections() {
		clients = append(clients, client)
	}
	rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	const step = 20 * time.Millisecond
	begun := time.Now()
	for sent := 0; sent < len(clients); {
		due := len(clients)
		if passed := time.Since(begun); passed < spread {
			due = int(float64(len(clients)) * float64(passed) / float64(spread))
		}
		for ; sent < due; sent++ {
			clients[sent].Disconnect(centrifuge.DisconnectShutdown)
		}
		if sent < len(clients) && !retry.Sleep(ctx, step) {
			break // the rest is Close's
		}
	}
	for n.lib.Hub().NumClients() > 0 {
		// Those who were connecting when draining began, too.
		if !retry.Sleep(ctx, step) {
			return fmt.Errorf("%d clients are still connected: %w", n.lib.Hub().NumClients(), context.Cause(ctx))
		}
		for _, client := range n.lib.Hub().Connections() {
			client.Disconnect(centrifuge.DisconnectShutdown)
		}
	}
	return nil
}
