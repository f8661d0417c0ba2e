package realtime

import (
	"context"
	"errors"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline/server/internal/auth"
)

// onSubscribe decides whether a client may follow a channel. How many may be under way is bounded by the limit of channels.
func (s *session) onSubscribe(e centrifuge.SubscribeEvent, cb centrifuge.SubscribeCallback) {
	attempt := s.attempt(e.Channel)
	runs := s.node.goRun(func() {
		ctx, cancel := context.WithTimeout(s.client.Context(), patience)
		defer cancel()
		resets, revocations := s.node.broker.resets.Load(), s.node.revocations.Load()
		reply, err := s.subscribe(ctx, e)
		if reply.Options.PushJoinLeave {
			s.node.broker.wantMoves(e.Channel)
		}
		if err == nil && reply.Options.EnableRecovery {
			err = s.node.broker.settle(ctx, e.Channel)
		}
		cb(reply, err) // answers the client once the live tail is attached
		s.attempted(e.Channel, attempt)
		if err != nil || !s.client.IsSubscribed(e.Channel) {
			s.node.broker.unwantMoves(e.Channel)
			return
		}
		if reply.Options.PushJoinLeave {
			s.node.broker.wantMoves(e.Channel) // again: who left the channel meanwhile may have ended it
		}
		if revocations != s.node.revocations.Load() && !s.who().Open {
			endAccess(s.client, e.Channel) // it asks again
			return
		}
		if resets != s.node.broker.resets.Load() {
			again(s.client, e.Channel, insufficientState)
			return
		}
		if f := s.node.broker.feed(e.Channel); f != nil {
			f.greet(s.client)
		}
	})
	if !runs {
		cb(centrifuge.SubscribeReply{}, centrifuge.DisconnectShutdown) // the library would wait for an answer
	}
}

// attempt begins to subscribe to a channel, which no other attempt is under way for, and returns its number.
func (s *session) attempt(channel string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	s.attempting[channel] = s.attempts
	return s.attempts
}

// attempted ends an attempt. If it has failed, halfway perhaps, the client isn't present; unless it is trying again already.
func (s *session) attempted(channel string, attempt int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempting[channel] != attempt {
		return
	}
	delete(s.attempting, channel)
	if !s.client.IsSubscribed(channel) {
		s.node.presence.abandon(channel, s.id)
	}
}

func (s *session) subscribe(ctx context.Context, e centrifuge.SubscribeEvent) (centrifuge.SubscribeReply, error) {
	var reply centrifuge.SubscribeReply
	if err := checkChannel(e.Channel); err != nil {
		return reply, err
	}
	id := s.who()
	var granted *auth.Subscription
	if e.Token != "" {
		var err error
		if granted, err = s.node.gate.Subscription(ctx, id, e.Channel, e.Token); err != nil {
			return reply, refused(err)
		}
	} else if err := s.node.gate.Allow(ctx, id, e.Channel, auth.Subscribe); err != nil {
		return reply, refused(err)
	}
	tokenID := ""
	if granted != nil {
		tokenID = granted.TokenID
	}
	s.grant(e.Channel, tokenID)
	reply.Options = s.options(ctx, id, e.Channel)
	reply.Options.PushJoinLeave = reply.Options.EmitJoinLeave && e.JoinLeave
	if granted != nil {
		reply.Options.ChannelInfo, reply.Options.Data = oneLine(granted.Info), oneLine(granted.Data)
		reply.Options.ExpireAt = unixEnd(granted.ExpiresAt)
		reply.ClientSideRefresh = !granted.ExpiresAt.IsZero()
	}
	return reply, nil
}

// options are those of every subscription to a channel. All are positioned and recoverable, whether the client asks or not, except
// those of conflated channels: these have gaps by nature, and begin with the newest message instead.
func (s *session) options(ctx context.Context, id *auth.Identity, channel string) centrifuge.SubscribeOptions {
	namespace := s.node.engine.Namespace(channel)
	continued := namespace.Conflate <= 0
	return centrifuge.SubscribeOptions{
		EnablePositioning: continued,
		EnableRecovery:    continued,
		EmitPresence:      s.node.participates(ctx, id, channel, namespace.Presence),
		EmitJoinLeave:     s.node.participates(ctx, id, channel, namespace.JoinLeave),
		Source:            sourceClient,
	}
}

// onSubRefresh takes the next token of a subscription whose token ends.
func (s *session) onSubRefresh(e centrifuge.SubRefreshEvent, cb centrifuge.SubRefreshCallback) {
	if !e.ClientSideRefresh {
		// The server made it from the connection's token, and has no other: with the next one it connects again.
		cb(centrifuge.SubRefreshReply{Expired: true}, nil)
		return
	}
	s.work(func(err error) { cb(centrifuge.SubRefreshReply{}, err) }, func(ctx context.Context) {
		granted, err := s.node.gate.Subscription(ctx, s.who(), e.Channel, e.Token)
		if err != nil {
			cb(centrifuge.SubRefreshReply{}, refused(err))
			return
		}
		s.grant(e.Channel, granted.TokenID)
		cb(centrifuge.SubRefreshReply{ExpireAt: unixEnd(granted.ExpiresAt), Info: oneLine(granted.Info)}, nil)
	})
}

// again makes a client subscribe once more, to recover what it may lack. Where the server made the subscription the whole
// connection has to be made again.
func again(client *centrifuge.Client, channel string, why centrifuge.Unsubscribe) {
	s := sessionOf(client)
	if s == nil {
		return
	}
	// One at a time: an unsubscribe that follows a new subscription without ending it would confuse the client.
	s.unsubscribing.Lock()
	defer s.unsubscribing.Unlock()
	subscription, ok := client.ChannelsWithContext()[channel]
	switch {
	case !ok:
	case subscription.Source == sourceServer:
		client.Disconnect(centrifuge.DisconnectInsufficientState)
	default:
		client.Unsubscribe(channel, why)
	}
}

// onPresence tells a client who follows a channel.
func (s *session) onPresence(e centrifuge.PresenceEvent, cb centrifuge.PresenceCallback) {
	s.work(func(err error) { cb(centrifuge.PresenceReply{}, err) }, func(ctx context.Context) {
		if err := s.may(ctx, e.Channel, auth.Presence); err != nil {
			cb(centrifuge.PresenceReply{}, err)
			return
		}
		present, err := s.node.presence.Presence(e.Channel)
		if err != nil {
			cb(centrifuge.PresenceReply{}, s.node.presenceError(e.Channel, err))
			return
		}
		cb(centrifuge.PresenceReply{Result: &centrifuge.PresenceResult{Presence: present}}, nil)
	})
}

// onPresenceStats tells a client how many follow a channel.
func (s *session) onPresenceStats(e centrifuge.PresenceStatsEvent, cb centrifuge.PresenceStatsCallback) {
	s.work(func(err error) { cb(centrifuge.PresenceStatsReply{}, err) }, func(ctx context.Context) {
		if err := s.may(ctx, e.Channel, auth.Presence); err != nil {
			cb(centrifuge.PresenceStatsReply{}, err)
			return
		}
		stats, err := s.node.presence.PresenceStats(e.Channel)
		if err != nil {
			cb(centrifuge.PresenceStatsReply{}, s.node.presenceError(e.Channel, err))
			return
		}
		cb(centrifuge.PresenceStatsReply{Result: &centrifuge.PresenceStatsResult{PresenceStats: stats}}, nil)
	})
}

func (n *Node) presenceError(channel string, err error) error {
	var told *centrifuge.Error
	if errors.As(err, &told) {
		n.metrics.refuse(reasonPresence)
		return told
	}
	n.log.Warn("presence can't be read", "channel", channel, "error", err)
	return tryAgain("the database can't be asked: try again")
}
