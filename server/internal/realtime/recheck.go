package realtime

import "context"

// Clients is how many are connected.
func (n *Node) Clients() int { return n.lib.Hub().NumClients() }

// Recheck is for when revocations or other commands may have been missed: connections whose token isn't accepted any more are
// closed, and all subscriptions of the others are asked for again.
func (n *Node) Recheck(ctx context.Context) {
	n.revocations.Add(1)
	for _, c := range n.lib.Hub().Connections() {
		if ctx.Err() != nil {
			return
		}
		s := sessionOf(c)
		if s == nil || s.who().Open || n.dismissed(ctx, c, s.who()) {
			continue
		}
		for _, channel := range c.Channels() {
			again(c, channel, accessChanged)
		}
	}
}
