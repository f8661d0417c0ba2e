package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/trunkline/trunkline"
)

// controlChannel carries what every node has to hear: SQL functions publish to it, in the transaction that causes it. Being a
// channel like any other, nothing on it is lost while a node or the database is away.
const controlChannel = "trunkline:control"

// A controlMessage is one command to all nodes.
type controlMessage struct {
	Type    string `json:"type"` // namespaces, apikeys, revoke, disconnect or unsubscribe
	User    string `json:"user"`
	Channel string `json:"channel"` // of revoke: "" for all
	Client  string `json:"client"`  // of disconnect: "" for all of the user's
	TokenID string `json:"jti"`     // of revoke
}

// connected is a set of connections that commands are carried out on.
type connected interface {
	// Disconnect ends the connections of a user, or that of one client.
	Disconnect(user, client string)
	// Unsubscribe ends a user's subscriptions to a channel.
	Unsubscribe(user, channel string)
	// Revoked ends what a revocation takes away: of a user all, or one channel; or what a token gave. Without any of them it
	// ends what was made with an API key that is no longer good, and asks nothing about others.
	Revoked(user, channel, tokenID string)
	// Recheck asks for every connection whether it is still allowed: commands may have been missed.
	Recheck(ctx context.Context)
}

// control carries out commands until ctx ends.
func (s *Server) control(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		heard, err := s.obey(ctx)
		if ctx.Err() != nil || errors.Is(err, trunkline.ErrClosed) {
			return
		}
		if heard {
			attempt = 0
		}
		s.bar(err)
		if !errors.Is(err, trunkline.ErrNotStarted) {
			s.log.Warn("commands to this node can't be read; trying again", "error", err, "attempt", attempt+1)
		}
		pause := min(time.Second, 20*time.Millisecond<<min(attempt, 6))
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// bar has Wait return an error that no other attempt will mend. Attempts go on nevertheless: somebody may grant it.
func (s *Server) bar(err error) {
	var privilege *trunkline.PrivilegeError
	if s.lacks == nil && errors.As(err, &privilege) { // control alone writes it
		s.lacks = privilege
		close(s.barred)
	}
}

// obey subscribes, reads what is in force, and then what changes, until the subscription ends. It tells whether it got as far as
// hearing commands.
func (s *Server) obey(ctx context.Context) (heard bool, err error) {
	sub, err := s.engine.Subscribe(ctx, []string{controlChannel}, trunkline.SubscribeOptions{})
	if err != nil {
		return false, err
	}
	defer sub.Close()
	// In this order: what is written from here on is also heard.
	if err := s.gate.Load(ctx); err != nil {
		return false, fmt.Errorf("read API keys and revocations: %w", err)
	}
	select {
	case <-s.loaded:
		for _, c := range s.connected {
			c.Recheck(ctx)
		}
	default:
		close(s.loaded)
	}
	for {
		commands, err := s.listen(ctx, sub)
		if err != nil {
			return true, err
		}
		if err := s.carryOutAll(ctx, commands); err != nil {
			return true, err
		}
	}
}

// maxCommands is how many commands are carried out together, at most.
const maxCommands = 1000

// listen waits for a command, and takes those that are there with it: whoever revokes for thousands of users does so at once.
func (s *Server) listen(ctx context.Context, sub *trunkline.Subscription) ([]controlMessage, error) {
	var commands []controlMessage
	for len(commands) == 0 || (len(commands) < maxCommands && sub.Ready()) {
		m, err := sub.Next(ctx)
		if err != nil && len(commands) > 0 {
			break // these first: it will say so again
		}
		if err != nil {
			return nil, err
		}
		var command controlMessage
		if err := json.Unmarshal(m.Payload, &command); err != nil {
			s.log.Error("a command to this node can't be read", "error", err, "id", m.ID)
			continue
		}
		commands = append(commands, command)
	}
	return commands, nil
}

// carryOutAll does what commands say, in their order. What they need to have read is read once for all of them. After an error
// everything is read and checked anew.
func (s *Server) carryOutAll(ctx context.Context, commands []controlMessage) error {
	if slices.ContainsFunc(commands, func(c controlMessage) bool { return c.Type == "apikeys" || c.Type == "revoke" }) {
		if err := s.gate.Load(ctx); err != nil {
			return fmt.Errorf("read API keys and revocations: %w", err)
		}
	}
	for _, command := range commands {
		s.carryOut(command)
	}
	return nil
}

// carryOut does what a command says.
func (s *Server) carryOut(command controlMessage) {
	s.log.Debug("command", "type", command.Type, "user", command.User, "channel", command.Channel)
	switch command.Type {
	case "namespaces":
		// The engine reads the rows; what depends on them is told by it.
	case "apikeys":
		for _, c := range s.connected {
			c.Revoked("", "", "")
		}
	case "revoke":
		s.gate.Forget(command.User, command.Channel)
		for _, c := range s.connected {
			c.Revoked(command.User, command.Channel, command.TokenID)
		}
	case "disconnect":
		for _, c := range s.connected {
			c.Disconnect(command.User, command.Client)
		}
	case "unsubscribe":
		s.gate.Forget(command.User, command.Channel)
		for _, c := range s.connected {
			c.Unsubscribe(command.User, command.Channel)
		}
	default:
		s.log.Warn("a command to this node is of a type it doesn't know: another node may be newer", "type", command.Type)
	}
}
