package realtime

import (
	"context"
	"errors"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline/server/internal/auth"
)

// Clients is how many are connected.
func (n *Node) Clients() int { return n.lib.Hub().NumClients() }

// Recheck is for when revocations or other commands may have been missed: connections whose token isn't accepted any more are
// closed, and all subscriptions of the others are asked for again.
func (n *Node) Recheck(ctx context.Context) {
	for _, c := range n.lib.Hub().Connections() {
		if ctx.Err() != nil {
			return
		}
		s := sessionOf(c)
		if s == nil || s.who().Open {
			continue
		}
		var refusal *auth.Refusal
		if err := n.gate.Check(ctx, s.who()); errors.As(err, &refusal) && refusal.Code != auth.Unavailable {
			c.Disconnect(centrifuge.Disconnect{Code: centrifuge.DisconnectInvalidToken.Code, Reason: clip(refusal.Reason, maxReason)})
			continue
		}
		for _, channel := range c.Channels() {
			again(c, channel, accessChanged)
		}
	}
}
