package realtime

// Subscribers returns how many clients of this node follow a channel.
func (n *Node) Subscribers(channel string) int { return n.lib.Hub().NumSubscribers(channel) }
