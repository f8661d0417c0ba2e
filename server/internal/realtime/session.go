package realtime

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/centrifugal/centrifuge"
	"github.com/centrifugal/protocol"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/server/internal/auth"
)

// How a subscription came about, as the library keeps it for us.
const (
	sourceClient uint8 = iota
	sourceServer       // made by the server when the client connected: the client can't subscribe to it again by itself
)

// A session is what we know of one connection.
type session struct {
	node     *Node
	id       string             // of the connection
	client   *centrifuge.Client // set once it has connected
	resets   int64              // the broker's, before server-side subscriptions were made
	curious  []string           // server-side subscriptions that are told of joins and leaves
	revoked  int64              // the node's count of revocations, before the token was looked at
	commands *rate.Limiter
	excess   atomic.Int32 // commands refused in a row
	working  atomic.Int32 // answers in the making
	left     atomic.Bool  // it was told that the connection ends

	unsubscribing sync.Mutex // held while the server ends a subscription

	mu         sync.Mutex
	identity   *auth.Identity
	toPublish  []publishing
	publishing bool              // somebody works on toPublish
	grants     map[string]string // by channel, the id of the subscription token that allowed it, if it had one
	attempts   int64
	attempting map[string]int64 // the latest attempt to subscribe to a channel, while it is under way
}

func newSession(n *Node, clientID string, id *auth.Identity) *session {
	perSecond := n.cfg.Limits.CommandRate
	return &session{node: n, id: clientID, identity: id, attempting: map[string]int64{}, commands: rate.NewLimiter(rate.Limit(perSecond), burst(perSecond))}
}

// who returns whom the session belongs to. It changes when the token is refreshed.
func (s *session) who() *auth.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// grant notes by which subscription token a channel is followed, "" if by none that has an id.
func (s *session) grant(channel, tokenID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tokenID == "" {
		delete(s.grants, channel)
		return
	}
	if s.grants == nil {
		s.grants = map[string]string{}
	}
	if len(s.grants) >= 2*s.node.cfg.Limits.Channels {
		maps.DeleteFunc(s.grants, func(channel, _ string) bool { return !s.client.IsSubscribed(channel) })
	}
	s.grants[channel] = tokenID
}

// grantedBy lists the channels that a subscription token allowed.
func (s *session) grantedBy(tokenID string) (channels []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for channel, id := range s.grants {
		if id == tokenID {
			channels = append(channels, channel)
		}
	}
	return channels
}

// may asks the gate, after a look at the channel's name.
func (s *session) may(ctx context.Context, channel string, action auth.Action) error {
	if err := checkChannel(channel); err != nil {
		return err
	}
	if err := s.node.gate.Allow(ctx, s.who(), channel, action); err != nil {
		return refused(err)
	}
	return nil
}

// work answers a command in a goroutine of its own, so that the client's next command needn't wait, unless too many are under
// way already. ctx ends with the connection.
func (s *session) work(refuse func(error), answer func(ctx context.Context)) {
	if s.working.Add(1) > maxWorking {
		s.working.Add(-1)
		s.node.metrics.refuse(reasonWorking)
		refuse(tooMany("too many commands are being answered: wait for some"))
		return
	}
	s.node.goRun(func() {
		defer s.working.Add(-1)
		ctx, cancel := context.WithTimeout(s.client.Context(), patience)
		defer cancel()
		answer(ctx)
	})
}

// onWrite keeps back the messages that would follow the end of a streamed connection: the library writes then what was gathered. A
// client hands them to the application, but doesn't count them, and would get them once more when it recovers. (A WebSocket is
// told by its close frame, which comes last.)
func (n *Node) onWrite(client *centrifuge.Client, e centrifuge.TransportWriteEvent) bool {
	if e.FrameType != protocol.FrameTypePushPublication && e.FrameType != protocol.FrameTypePushDisconnect {
		return true
	}
	s := sessionOf(client)
	if s == nil {
		return true
	}
	if e.FrameType == protocol.FrameTypePushDisconnect {
		s.left.Store(true)
		return true
	}
	return !s.left.Load()
}

// namesNoChannel tells whether a command is about a channel that it leaves empty.
func namesNoChannel(c *protocol.Command) bool {
	switch {
	case c.Subscribe != nil:
		return c.Subscribe.Channel == ""
	case c.Unsubscribe != nil:
		return c.Unsubscribe.Channel == ""
	case c.Publish != nil:
		return c.Publish.Channel == ""
	case c.History != nil:
		return c.History.Channel == ""
	case c.Presence != nil:
		return c.Presence.Channel == ""
	case c.PresenceStats != nil:
		return c.PresenceStats.Channel == ""
	case c.SubRefresh != nil:
		return c.SubRefresh.Channel == ""
	}
	return false
}

// onCommand bounds how fast commands come, and answers those that name no channel. The first one, connect, comes before there is a session; the library takes no other
// before it, and none after one that was refused.
func (n *Node) onCommand(client *centrifuge.Client, e centrifuge.CommandReadEvent) error {
	s := sessionOf(client)
	if s == nil {
		return nil
	}
	if s.commands.Allow() {
		s.excess.Store(0)
		if e.Command.Id != 0 && namesNoChannel(e.Command) {
			// The library takes that for another protocol and closes the connection, with all that it follows.
			return checkChannel("")
		}
		return nil
	}
	n.metrics.refuse(reasonCommands)
	if int(s.excess.Add(1)) > s.commands.Burst() || e.Command.Id == 0 {
		return centrifuge.DisconnectTooManyRequests
	}
	return centrifuge.ErrorTooManyRequests
}
