package realtime

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// sessionKey finds a client's session in its context.
type sessionKey struct{}

func sessionOf(client *centrifuge.Client) *session {
	s, _ := client.Context().Value(sessionKey{}).(*session)
	return s
}

// onConnecting decides whether a client may connect. A connection has one try: after a refusal it can only be closed.
func (n *Node) onConnecting(ctx context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	if n.draining.Load() {
		return centrifuge.ConnectReply{}, centrifuge.DisconnectShutdown
	}
	if n.connected.Load() >= int64(n.cfg.Limits.Connections) {
		n.metrics.refuse(reasonConnections)
		return centrifuge.ConnectReply{}, full
	}
	revocations := n.revocations.Load()
	id, err := n.gate.Connect(ctx, e.Token)
	if err != nil {
		if refusal := (*auth.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == auth.BadToken {
			n.metrics.refuse(reasonToken)
			if n.cfg.BadToken != nil {
				n.cfg.BadToken(ctx)
			}
		}
		return centrifuge.ConnectReply{}, turnedAway(err)
	}
	if id.User != "" && len(n.lib.Hub().UserConnections(id.User)) >= n.cfg.Limits.ConnectionsPerUser {
		n.metrics.refuse(reasonUserConnections)
		return centrifuge.ConnectReply{}, tooManyConnections
	}
	s := newSession(n, e.ClientID, id)
	s.revoked = revocations
	subscriptions, err := s.serverSide(ctx)
	if err != nil {
		return centrifuge.ConnectReply{}, err
	}
	return centrifuge.ConnectReply{
		Context:           context.WithValue(ctx, sessionKey{}, s),
		Credentials:       &centrifuge.Credentials{UserID: id.User, ExpireAt: unixEnd(id.ExpiresAt), Info: oneLine(id.Info)},
		ClientSideRefresh: !id.ExpiresAt.IsZero(),
		Subscriptions:     subscriptions,
	}, nil
}

// serverSide lists the subscriptions that the token asks the server to make.
func (s *session) serverSide(ctx context.Context) (map[string]centrifuge.SubscribeOptions, error) {
	id := s.who()
	if len(id.Subscriptions) == 0 {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if most := s.node.cfg.Limits.Channels; len(id.Subscriptions) > most {
		s.node.metrics.refuse(reasonChannels)
		return nil, centrifuge.DisconnectChannelLimit
	}
	s.resets = s.node.broker.resets.Load()
	subscriptions := make(map[string]centrifuge.SubscribeOptions, len(id.Subscriptions))
	for channel, wanted := range id.Subscriptions {
		if trunkline.CheckChannel(channel) != nil || (trunkline.NamespaceOf(channel) == "trunkline" && !id.Open) {
			s.node.log.Debug("a token asks for a channel that it can't have", "channel", clip(channel, 80), "user", id.User)
			continue
		}
		options := s.options(ctx, id, channel)
		options.PushJoinLeave = options.EmitJoinLeave // these clients have no way to ask for it
		if options.PushJoinLeave {
			s.curious = append(s.curious, channel)
		}
		options.Source = sourceServer
		options.ChannelInfo, options.Data = oneLine(wanted.Info), oneLine(wanted.Data)
		options.ExpireAt = unixEnd(wanted.ExpiresAt)
		subscriptions[channel] = options
	}
	if err := s.node.broker.reachable(ctx, slices.Collect(maps.Keys(subscriptions))); err != nil {
		return nil, err
	}
	for _, channel := range s.curious {
		s.node.broker.wantMoves(channel)
	}
	return subscriptions, nil
}

// onConnect sets up a client that has connected.
func (n *Node) onConnect(client *centrifuge.Client) {
	s := sessionOf(client)
	s.client = client
	n.connected.Add(1)
	n.metrics.connections.Inc()
	client.OnSubscribe(s.onSubscribe)
	client.OnSubRefresh(s.onSubRefresh)
	client.OnPublish(s.onPublish)
	client.OnHistory(s.onHistory)
	client.OnPresence(s.onPresence)
	client.OnPresenceStats(s.onPresenceStats)
	client.OnRPC(s.onRPC)
	client.OnRefresh(s.onRefresh)
	client.OnAlive(s.onAlive)
	client.OnDisconnect(s.onDisconnect)
	if s.revoked != n.revocations.Load() && n.reconsidered(s) {
		return
	}
	if len(s.who().Subscriptions) == 0 {
		return
	}
	if s.resets != n.broker.resets.Load() {
		client.Disconnect(centrifuge.DisconnectInsufficientState)
		return
	}
	for _, channel := range s.curious {
		n.broker.wantMoves(channel) // again: who left the channel meanwhile may have ended it
	}
	for _, channel := range client.Channels() {
		if f := n.broker.feed(channel); f != nil {
			f.greet(client)
		}
	}
}

// reconsidered closes a connection that was let in while something was revoked, if that concerns it or may.
func (n *Node) reconsidered(s *session) bool {
	if n.dismissed(n.life, s.client, s.who()) {
		return true
	}
	if len(s.who().Subscriptions) > 0 && !s.who().Open {
		// What it was subscribed to may be what was revoked: it connects again, and is asked anew.
		s.client.Disconnect(centrifuge.DisconnectForceReconnect)
		return true
	}
	return false
}

// onRefresh takes the next token of a connection whose token ends. It has to be the same user's.
func (s *session) onRefresh(e centrifuge.RefreshEvent, cb centrifuge.RefreshCallback) {
	s.work(func(err error) { cb(centrifuge.RefreshReply{}, err) }, func(ctx context.Context) {
		id, err := s.node.gate.Connect(ctx, e.Token)
		var refusal *auth.Refusal
		switch {
		case errors.As(err, &refusal) && refusal.Code == auth.Expired:
			cb(centrifuge.RefreshReply{Expired: true}, nil)
			return
		case err != nil:
			cb(centrifuge.RefreshReply{}, turnedAway(err))
			return
		case id.User != s.client.UserID():
			cb(centrifuge.RefreshReply{}, centrifuge.Disconnect{Code: centrifuge.DisconnectInvalidToken.Code, Reason: "the new token is another user's"})
			return
		}
		s.mu.Lock()
		s.identity = id
		s.mu.Unlock()
		cb(centrifuge.RefreshReply{ExpireAt: unixEnd(id.ExpiresAt), Info: oneLine(id.Info)}, nil)
		if id.ExpiresAt.IsZero() {
			// The library leaves the old end in place unless it is told so.
			_ = s.client.Refresh(centrifuge.WithRefreshExpireAt(0)) // a client that is gone needs none
		}
	})
}

// onAlive looks from time to time whether the token was revoked, in case word of that didn't arrive.
func (s *session) onAlive() {
	var refusal *auth.Refusal
	if err := s.node.gate.Check(s.node.life, s.who()); errors.As(err, &refusal) && (refusal.Code == auth.BadToken || refusal.Code == auth.Denied) {
		s.client.Disconnect(centrifuge.Disconnect{Code: centrifuge.DisconnectInvalidToken.Code, Reason: clip(refusal.Reason, maxReason)})
	}
}

func (s *session) onDisconnect(e centrifuge.DisconnectEvent) {
	s.node.connected.Add(-1)
	s.node.metrics.connections.Dec()
	switch e.Code {
	case centrifuge.DisconnectSlow.Code:
		s.node.metrics.refuse(reasonSlow)
	case centrifuge.DisconnectWriteError.Code:
		s.node.metrics.refuse(reasonWrite)
	}
}

// unixEnd is a token's end as the library wants it, 0 for never. One that has passed, but within the skew of the clocks that the
// gate allows, ends in a second.
func unixEnd(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.Unix(), time.Now().Unix()+1)
}
