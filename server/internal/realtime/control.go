package realtime

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// Disconnect closes the connections of a user to this node, or only the one with an id. They aren't made again by themselves
// (code 3503).
func (n *Node) Disconnect(user, client string) {
	for id, c := range n.lib.Hub().UserConnections(user) {
		if client == "" || client == id {
			c.Disconnect(forceDisconnect)
		}
	}
}

// Unsubscribe ends a user's subscriptions to a channel, for good as far as the client's side is concerned (code 2000): the
// application has to subscribe anew.
func (n *Node) Unsubscribe(user, channel string) {
	for _, c := range n.lib.Hub().UserConnections(user) {
		s := sessionOf(c)
		s.unsubscribing.Lock()
		if c.IsSubscribed(channel) {
			c.Unsubscribe(channel, serverUnsubscribe)
		}
		s.unsubscribing.Unlock()
	}
}

// Revoked acts on a revocation that the gate has already taken in. For a channel, the user's subscriptions to it are ended with code
// 2601, upon which clients ask again: the gate decides anew, by what is left of the token and by the application's function, and
// who may not is refused with error 103, for good. For a token's id the same becomes of subscriptions that it allowed. Else connections whose token the gate no longer accepts are closed with code
// 3500; those made with a later token stay.
func (n *Node) Revoked(user, channel, jti string) {
	n.revocations.Add(1) // before looking for those it concerns: who isn't found yet finds out by this
	if channel != "" {
		for _, c := range n.lib.Hub().UserConnections(user) {
			if !sessionOf(c).who().Open {
				endAccess(c, channel)
			}
		}
		return
	}
	connections := n.lib.Hub().UserConnections(user)
	if jti != "" {
		connections = n.lib.Hub().Connections()
	}
	for _, c := range connections {
		s := sessionOf(c)
		id := s.who()
		if jti != "" && id.TokenID != jti {
			for _, channel := range s.grantedBy(jti) {
				endAccess(c, channel)
			}
			continue
		}
		n.dismissed(n.life, c, id)
	}
}

// dismissed closes a connection whose token isn't accepted any more, and tells whether it did. One that has only expired is made
// again with the next token.
func (n *Node) dismissed(ctx context.Context, c *centrifuge.Client, id *auth.Identity) bool {
	var refusal *auth.Refusal
	if err := n.gate.Check(ctx, id); !errors.As(err, &refusal) || refusal.Code == auth.Unavailable {
		return false
	}
	if refusal.Code == auth.Expired && !id.ExpiresAt.IsZero() && !time.Now().Before(id.ExpiresAt) {
		c.Disconnect(centrifuge.DisconnectExpired)
		return true
	}
	c.Disconnect(centrifuge.Disconnect{Code: centrifuge.DisconnectInvalidToken.Code, Reason: clip(refusal.Reason, maxReason)})
	return true
}

// endAccess ends one subscription. One that the server made ends for good.
func endAccess(c *centrifuge.Client, channel string) {
	s := sessionOf(c)
	s.unsubscribing.Lock()
	defer s.unsubscribing.Unlock()
	if c.IsSubscribed(channel) {
		c.Unsubscribe(channel, accessChanged)
	}
}

// settings are the namespaces as they were when clients were last told.
type settings struct {
	mu   sync.Mutex
	last map[string]trunkline.Namespace
}

func byName(namespaces []trunkline.Namespace) map[string]trunkline.Namespace {
	named := make(map[string]trunkline.Namespace, len(namespaces))
	for _, ns := range namespaces {
		named[ns.Name] = ns
	}
	return named
}

// NamespacesChanged acts on changes that the engine has already taken in: where conflation, presence or joins and leaves of a
// namespace have changed, clients subscribe again to its channels (code 2600), under the new settings.
func (n *Node) NamespacesChanged() {
	n.settings.mu.Lock()
	defer n.settings.mu.Unlock()
	before, now := n.settings.last, byName(n.engine.Namespaces())
	n.settings.last = now
	for _, name := range slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(now))) {
		if was, is := before[name], now[name]; conflationChanged(&was, &is) || crowdChanged(&was, &is) {
			n.broker.resets.Add(1) // before looking for those it concerns: who is just subscribing finds out by this
			break
		}
	}
	n.broker.mu.RLock()
	feeds := make([]*feed, 0, len(n.broker.feeds))
	for _, f := range n.broker.feeds {
		feeds = append(feeds, f)
	}
	n.broker.mu.RUnlock()
	var again []string
	for _, f := range feeds {
		name := trunkline.NamespaceOf(f.channel)
		was, is := before[name], now[name]
		switch {
		case conflationChanged(&was, &is):
			f.restart()
		case crowdChanged(&was, &is):
			again = append(again, f.channel)
		}
	}
	if len(again) > 0 {
		n.broker.doubt(settingsChanged, again...)
	}
}

// conflationChanged tells whether messages have to be delivered in the other way. The engine follows other intervals by itself.
func conflationChanged(was, is *trunkline.Namespace) bool {
	return (was.Conflate > 0) != (is.Conflate > 0)
}

// crowdChanged tells whether others are to be shown, or not any more.
func crowdChanged(was, is *trunkline.Namespace) bool {
	return !equal(was.Presence, is.Presence) || !equal(was.JoinLeave, is.JoinLeave)
}

func equal(a, b *bool) bool { return a == b || (a != nil && b != nil && *a == *b) }
