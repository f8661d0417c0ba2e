package realtime

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// A feed hands the messages of one channel to its clients, from a goroutine of its own.
type feed struct {
	broker  *broker
	channel string
	ctx     context.Context //nolint:containedctx // its life
	stop    context.CancelFunc
	batched atomic.Int32
	moving  atomic.Int32 // joins and leaves that are being told
	turns   turns

	mu        sync.Mutex              // held while a message is handed on
	sub       *trunkline.Subscription // changed by run alone
	restarted bool                    // sub was closed to be made anew
	conflated bool
	newest    *centrifuge.Publication // of a conflated channel
	size      int                     // of what is gathered, in bytes
}

// toConflate tells what the namespace says at present.
func (f *feed) toConflate() bool { return f.broker.node.engine.Namespace(f.channel).Conflate > 0 }

func (f *feed) subscribe(ctx context.Context, from trunkline.Start) error {
	conflated := f.toConflate()
	sub, err := f.broker.node.engine.Subscribe(ctx, []string{f.channel}, trunkline.SubscribeOptions{From: from, Signals: true, Conflate: conflated})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sub, f.conflated = sub, conflated
	if f.restarted { // while it was being made: only the old one was closed
		sub.Close()
	}
	return nil
}

func (f *feed) close() { f.stop() }

// position is up to where the subscription has given everything away.
func (f *feed) position() trunkline.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sub.Position()
}

// restart has the feed subscribe anew, under the settings its namespace has by now.
func (f *feed) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarted = true
	f.sub.Close()
}

// takeRestarted tells, once, that restart was called.
func (f *feed) takeRestarted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	restarted := f.restarted
	f.restarted = false
	return restarted
}

// run hands messages on until the feed is closed.
func (f *feed) run() {
	defer func() { f.sub.Close() }()
	for {
		ctx := f.turns.next(f)
		m, err := f.sub.Next(ctx)
		if err != nil {
			if ctx.Err() != nil && f.ctx.Err() == nil && f.sub.Err() == nil {
				continue // somebody wants to know how far this is
			}
			if !f.renew(err) {
				return
			}
			continue
		}
		f.hand(&m)
	}
}

// hand hands a message to whoever is subscribed on this node.
func (f *feed) hand(m *trunkline.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pub := publication(m)
	position := centrifuge.StreamPosition{Offset: pub.Offset, Epoch: m.Epoch}
	if f.conflated && !m.Signal {
		pub.Offset = 0 // there are gaps by nature: clients don't count
		f.newest = pub
	}
	// A signal, or the state of a conflated channel, is not kept: a client that is just subscribing may get it, but not the
	// message that would write it.
	f.gather(len(pub.Data), !m.Signal && !f.conflated && f.sub.Ready())
	if err := f.broker.handler.HandlePublication(f.channel, pub, position, false, nil); err != nil {
		f.broker.node.log.Warn("a message can't be handed to clients", "channel", f.channel, "id", m.ID, "error", err)
	}
}

// greet hands the newest message of a conflated channel to a client that has just subscribed, so that it has the present state
// at once. It may get that message twice, but never an older one after a newer.
func (f *feed) greet(client *centrifuge.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conflated && f.newest != nil {
		_ = client.WritePublication(f.channel, f.newest, centrifuge.StreamPosition{}) // a client that is gone needs none
	}
}

// renew subscribes again after the subscription has ended, and tells whether there is more to come.
func (f *feed) renew(cause error) bool {
	var slow *trunkline.SlowConsumerError
	from, lossless, why := trunkline.FromNow(), false, insufficientState
	switch {
	case f.ctx.Err() != nil:
		return false
	case f.takeRestarted():
		why = settingsChanged
	case errors.Is(cause, trunkline.ErrClosed):
		return false
	case errors.As(cause, &slow):
		// We were too slow, our clients needn't know.
		from, lossless = trunkline.Since(slow.Resume), true
	default:
		f.broker.node.log.Info("a channel's clients have to subscribe again", "channel", f.channel, "cause", cause)
	}
	f.sub.Close()
	for {
		err := f.subscribe(f.ctx, from)
		switch {
		case err == nil:
		case f.ctx.Err() != nil || errors.Is(err, trunkline.ErrClosed):
			return false
		default:
			from, lossless = trunkline.FromNow(), false
			if !retry.Sleep(f.ctx, jitter(100*time.Millisecond)) {
				return false
			}
			continue
		}
		break
	}
	if !lossless {
		// Only now: whoever subscribes again must find the new subscription in place.
		f.mu.Lock()
		f.newest = nil
		f.turns.release()
		f.mu.Unlock()
		f.broker.doubt(why, f.channel)
	}
	return true
}

// Under load messages are gathered per client and written together: one system call for many is what makes fan-out fast. A
// message that nothing follows at once is written without delay, with what was gathered before it.
const (
	direct   int32 = iota // write it by itself
	gathered              // keep it until more have come
	flushed               // write it with what was kept
)

const (
	// maxGathered is how many messages are written at once, at most.
	maxGathered = 32
	// maxGatheredBytes ends the gathering: more doesn't make it faster, and a few large messages that come into a client's queue
	// at once would fill it, however fast the client is.
	maxGatheredBytes = 64 << 10
)

// gather decides about the next message, knowing its size and whether another one follows at once. Under mu.
func (f *feed) gather(size int, more bool) {
	f.size += size
	switch {
	case more && f.size <= maxGatheredBytes:
		f.batched.Store(gathered)
		return
	case f.batched.Load() == gathered:
		f.batched.Store(flushed)
	default:
		f.batched.Store(direct)
	}
	f.size = 0
}

// batchConfig is how the library writes what it is about to push. Joins and leaves come in between messages: a kept one could
// miss the message that writes it, and so they write what was kept. When clients are sent away nothing is kept for the last moment.
func (f *feed) batchConfig() centrifuge.ChannelBatchConfig {
	switch f.batched.Load() {
	case gathered:
		if f.moving.Load() > 0 || f.broker.node.draining.Load() {
			return centrifuge.ChannelBatchConfig{MaxSize: 1}
		}
		return centrifuge.ChannelBatchConfig{MaxSize: maxGathered}
	case flushed:
		return centrifuge.ChannelBatchConfig{MaxSize: 1}
	default:
		return centrifuge.ChannelBatchConfig{}
	}
}

// publication is a message as the protocol has it: offset is seq, and tags carry what else there is to know.
func publication(m *trunkline.Message) *centrifuge.Publication {
	tags := make(map[string]string, 4)
	tags["at"] = m.CreatedAt.UTC().Format(time.RFC3339Nano)
	if m.Sender != "" {
		tags["sender"] = m.Sender
	}
	if m.Signal {
		tags["signal"] = "true"
	} else {
		tags["id"] = strconv.FormatInt(m.ID, 10)
	}
	if m.Skipped > 0 {
		tags["skipped"] = strconv.FormatInt(m.Skipped, 10)
	}
	return &centrifuge.Publication{Offset: uint64(m.Seq), Data: oneLine(m.Payload), Tags: tags, Time: m.CreatedAt.UnixMilli()}
}

// oneLine replaces line ends, which JSON has only between tokens, by spaces: the protocol puts one reply on a line.
func oneLine(payload []byte) []byte {
	if bytes.IndexByte(payload, '\n') < 0 && bytes.IndexByte(payload, '\r') < 0 {
		return payload
	}
	line := bytes.Clone(payload)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' '
		}
	}
	return line
}
