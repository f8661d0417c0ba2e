package realtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline"
)

// A broker is what the library knows of the engine: it hands on the messages of the channels that have clients, and answers
// questions about their past. Publishing is SQL, and doesn't come through here.
//
// Lock order: broker.mu is held for moments only; feed.mu before the library's locks.
type broker struct {
	node    *Node
	handler centrifuge.BrokerEventHandler

	mu    sync.RWMutex
	feeds map[string]*feed
	// curious are the channels with a client that wants to hear of joins and leaves. Without one nobody is told: in a crowd that
	// connects at once, each would be told to the clients of the channel one by one.
	curious map[string]struct{}

	// resets counts the times that clients of any channel were made to subscribe again. One that was subscribing meanwhile
	// isn't found by that: whoever serves it compares, and makes it subscribe again as well.
	resets  atomic.Int64
	unsure  chan struct{} // told when there is something in doubted
	doubted map[string]centrifuge.Unsubscribe
	doubtMu sync.Mutex
}

func newBroker(n *Node) *broker {
	return &broker{node: n, feeds: map[string]*feed{}, curious: map[string]struct{}{}, unsure: make(chan struct{}, 1), doubted: map[string]centrifuge.Unsubscribe{}}
}

// RegisterBrokerEventHandler is called by the library when it starts.
func (b *broker) RegisterBrokerEventHandler(h centrifuge.BrokerEventHandler) error {
	b.handler = h
	return nil
}

// Subscribe makes this node hear a channel. When it returns, whatever commits is handed on.
func (b *broker) Subscribe(channel string) error {
	b.mu.RLock()
	f := b.feeds[channel]
	b.mu.RUnlock()
	if f != nil {
		return nil // clients came back before the library had given it up
	}
	ctx, cancel := context.WithTimeout(b.node.life, patience)
	defer cancel()
	f = &feed{broker: b, channel: channel}
	if err := f.subscribe(ctx, trunkline.FromNow()); err != nil {
		if argument := (*trunkline.ArgumentError)(nil); errors.As(err, &argument) {
			return &centrifuge.Error{Code: centrifuge.ErrorBadRequest.Code, Message: err.Error()}
		}
		b.node.log.Warn("a channel can't be subscribed to", "channel", channel, "error", err)
		return tryAgain("the server is not ready: try again")
	}
	f.ctx, f.stop = context.WithCancel(b.node.life)
	b.mu.Lock()
	b.feeds[channel] = f
	b.mu.Unlock()
	if f.conflated != f.toConflate() {
		f.restart() // it has changed since, and whoever told of that didn't find this feed
	}
	b.node.goRun(f.run)
	return nil
}

// Unsubscribe is called a second after the last client has left a channel.
func (b *broker) Unsubscribe(channel string) error {
	b.mu.Lock()
	f := b.feeds[channel]
	delete(b.feeds, channel)
	delete(b.curious, channel)
	b.mu.Unlock()
	if f != nil {
		f.close()
	}
	return nil
}

func (b *broker) feed(channel string) *feed {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.feeds[channel]
}

// batch says how the next push to a channel is written. The library asks once per push.
func (b *broker) batch(channel string) centrifuge.ChannelBatchConfig {
	if f := b.feed(channel); f != nil {
		return f.batchConfig()
	}
	return centrifuge.ChannelBatchConfig{}
}

func (b *broker) close() {
	b.mu.Lock()
	feeds := maps.Clone(b.feeds)
	clear(b.feeds)
	b.mu.Unlock()
	for _, f := range feeds {
		f.close()
	}
}

// doubt makes the clients of channels subscribe again, soon: what they have can't be continued, or how they get it has
// changed.
func (b *broker) doubt(why centrifuge.Unsubscribe, channels ...string) {
	b.resets.Add(1)
	b.doubtMu.Lock()
	for _, channel := range channels {
		b.doubted[channel] = why
	}
	b.doubtMu.Unlock()
	select {
	case b.unsure <- struct{}{}:
	default:
	}
}

// sweep does what doubt asks for. One pass over the clients serves all channels that came into doubt meanwhile: a new epoch
// ends every channel at once.
func (b *broker) sweep() {
	for {
		select {
		case <-b.unsure:
		case <-b.node.life.Done():
			return
		}
		b.doubtMu.Lock()
		channels := b.doubted
		b.doubted = map[string]centrifuge.Unsubscribe{}
		b.doubtMu.Unlock()
		for _, client := range b.node.lib.Hub().Connections() {
			for _, channel := range client.Channels() {
				if why, ok := channels[channel]; ok {
					again(client, channel, why)
				}
			}
		}
	}
}

// Publish is never used: the library would need it for messages that it is asked to publish itself.
func (b *broker) Publish(channel string, _ []byte, _ centrifuge.PublishOptions) (centrifuge.StreamPosition, bool, error) {
	return centrifuge.StreamPosition{}, false, fmt.Errorf("publish to %q: messages are published in the database", channel)
}

// RemoveHistory is never used.
func (b *broker) RemoveHistory(channel string) error {
	return fmt.Errorf("remove the history of %q: retention does that", channel)
}

// PublishJoin tells the clients of a channel, on all nodes, that somebody joined.
func (b *broker) PublishJoin(channel string, info *centrifuge.ClientInfo) error {
	b.node.gossip.tell(channel, info, true)
	return b.handMove(channel, info, true)
}

// PublishLeave tells the clients of a channel, on all nodes, that somebody left.
func (b *broker) PublishLeave(channel string, info *centrifuge.ClientInfo) error {
	b.node.gossip.tell(channel, info, false)
	return b.handMove(channel, info, false)
}

// handMove tells the clients of this node that somebody joined or left a channel, if any of them wants to know.
func (b *broker) handMove(channel string, info *centrifuge.ClientInfo, joined bool) error {
	b.mu.RLock()
	_, wanted := b.curious[channel]
	f := b.feeds[channel]
	b.mu.RUnlock()
	if !wanted || f == nil {
		return nil
	}
	f.moving.Add(1)
	defer f.moving.Add(-1)
	switch {
	case joined:
		return b.handler.HandleJoin(channel, info)
	default:
		return b.handler.HandleLeave(channel, info)
	}
}

// wantMoves notes, before it is subscribed, that a client of a channel wants to hear of joins and leaves.
func (b *broker) wantMoves(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.curious[channel] = struct{}{}
}

// unwantMoves forgets that, if nobody could be subscribed after all.
func (b *broker) unwantMoves(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.feeds[channel] == nil {
		delete(b.curious, channel)
	}
}
