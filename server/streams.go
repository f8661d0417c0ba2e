package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/server/internal/auth"
)

// maxRechecks is how many streams are asked about at once. What is asked together costs the database one query.
const maxRechecks = 64

// streams are the event streams that are open, so that commands reach them.
type streams struct {
	gate *auth.Gate

	mu       sync.Mutex
	open     map[*listener]struct{}
	users    map[string]map[*listener]struct{}
	channels map[string]int
}

// A listener is one stream that is open: who listens to what.
type listener struct {
	id       string // of its request: names it as a client
	identity *auth.Identity
	channels []string
	cancel   context.CancelCauseFunc // ends it, with an *ending or errDrained
}

// An ending is why a stream ends for good, as its client is told.
type ending struct {
	Reason string `json:"reason"` // expired, revoked, disconnected, unsubscribed or denied
	Detail string `json:"detail"`
}

func (e *ending) Error() string { return e.Reason + ": " + e.Detail }

// errDrained ends a stream whose client is to come back, to another node or to this one's successor.
var errDrained = errors.New("the server is being drained")

func newStreams(gate *auth.Gate) *streams {
	return &streams{
		gate: gate, open: map[*listener]struct{}{}, users: map[string]map[*listener]struct{}{}, channels: map[string]int{},
	}
}

// add makes a stream known. From then on commands reach it, so whether it is allowed is to be asked afterwards.
func (s *streams) add(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[l] = struct{}{}
	user := l.identity.User
	if s.users[user] == nil {
		s.users[user] = map[*listener]struct{}{}
	}
	s.users[user][l] = struct{}{}
	for _, channel := range l.channels {
		s.channels[channel]++
	}
}

func (s *streams) remove(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, l)
	user := l.identity.User
	if delete(s.users[user], l); len(s.users[user]) == 0 {
		delete(s.users, user)
	}
	for _, channel := range l.channels {
		release(s.channels, channel)
	}
}

// count returns how many streams are open.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// following returns how many streams follow a channel.
func (s *streams) following(channel string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[channel]
}

// end ends those streams that which says so of. user is where to look, unless everywhere.
func (s *streams) end(user string, everywhere bool, why *ending, which func(*listener) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	among := s.users[user]
	if everywhere {
		among = s.open
	}
	for l := range among {
		if which(l) {
			l.cancel(why)
		}
	}
}

// Disconnect ends a user's streams, or the one that a request id names.
func (s *streams) Disconnect(user, client string) {
	s.end(user, false, &ending{"disconnected", "the server ended this connection"}, func(l *listener) bool {
		return l.identity.User == user && (client == "" || l.id == client)
	})
}

// Unsubscribe ends a user's streams that follow a channel.
func (s *streams) Unsubscribe(user, channel string) {
	why := &ending{"unsubscribed", fmt.Sprintf("the server ended the subscription to channel %q", channel)}
	s.end(user, false, why, func(l *listener) bool { return slices.Contains(l.channels, channel) })
}

// Revoked ends what a revocation takes away: a user's streams, those of them that follow a channel, or those of a token; without
// any of them those of API keys that are no longer good. Streams made with a later token of the user's stay.
func (s *streams) Revoked(user, channel, tokenID string) {
	why := &ending{"revoked", "what this stream was allowed with has been revoked"}
	if channel != "" {
		why.Detail = fmt.Sprintf("leave to follow channel %q has been revoked", channel)
	}
	s.end(user, tokenID != "", why, func(l *listener) bool {
		switch {
		case tokenID != "":
			return l.identity.TokenID == tokenID
		case channel != "":
			return slices.Contains(l.channels, channel)
		}
		refusal := asRefusal(s.gate.Check(context.Background(), l.identity)) // asks nobody
		return refusal != nil && refusal.Code != auth.Unavailable
	})
}

// Recheck asks for every stream whether it is still allowed, and ends those that aren't. Where that can't be decided now, what
// was decided before holds.
func (s *streams) Recheck(ctx context.Context) {
	s.mu.Lock()
	all := make([]*listener, 0, len(s.open))
	for l := range s.open {
		all = append(all, l)
	}
	s.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(maxRechecks)
	for _, l := range all {
		group.Go(func() error {
			if refusal := s.verify(ctx, l); refusal != nil && refusal.Code != auth.Unavailable {
				l.cancel(endingOf(refusal))
			}
			return nil
		})
	}
	_ = group.Wait()
}

// verify asks whether an identity is still good, and may follow every channel.
func (s *streams) verify(ctx context.Context, l *listener) *auth.Refusal {
	if err := s.gate.Check(ctx, l.identity); err != nil {
		return asRefusal(err)
	}
	_, refusal := allowAll(ctx, s.gate, l.identity, l.channels, auth.Subscribe)
	return refusal
}

// endingOf says why a stream that was allowed no longer is.
func endingOf(r *auth.Refusal) *ending {
	switch r.Code {
	case auth.Expired:
		return &ending{"expired", r.Reason}
	case auth.BadToken:
		return &ending{"revoked", r.Reason}
	case auth.Denied, auth.Unavailable:
	}
	return &ending{"denied", r.Reason}
}

// allowAll asks for many channels at once, which costs the database one query. It returns those that are refused, in the order
// given, and why the first of them is; one that can't be decided comes before all.
func allowAll(ctx context.Context, gate *auth.Gate, id *auth.Identity, channels []string, action auth.Action) ([]string, *auth.Refusal) {
	refusals := make([]*auth.Refusal, len(channels))
	if len(channels) == 1 {
		refusals[0] = asRefusal(gate.Allow(ctx, id, channels[0], action))
	} else {
		var wait sync.WaitGroup
		for i, channel := range channels {
			wait.Go(func() { refusals[i] = asRefusal(gate.Allow(ctx, id, channel, action)) })
		}
		wait.Wait()
	}
	var denied []string
	var first *auth.Refusal
	for i, r := range refusals {
		switch {
		case r == nil:
		case r.Code == auth.Unavailable:
			return nil, r
		default:
			if first == nil {
				first = r
			}
			denied = append(denied, channels[i])
		}
	}
	return denied, first
}

// asRefusal is the refusal that an error of the gate's is, nil for none.
func asRefusal(err error) *auth.Refusal {
	var r *auth.Refusal
	if err == nil || errors.As(err, &r) {
		return r
	}
	return &auth.Refusal{Code: auth.Unavailable, Reason: "it couldn't be decided whether this is allowed: try again"}
}
