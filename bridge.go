package trunkline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// A Notification is what a raw LISTEN channel carried, from anybody's trigger.
type Notification struct {
	Channel string
	Payload string
	PID     uint32 // of the server process that sent it
}

// A RawSubscription receives the notifications of raw LISTEN channels, as PostgreSQL delivers them: nothing is stored, and
// what is sent while the connection is down, or while 1,024 notifications wait to be read, is lost.
type RawSubscription struct {
	out       chan Notification
	remove    []func()
	closed    chan struct{}
	closeOnce sync.Once
}

// Listen begins to receive raw notifications and returns once the server has been told so. Channels are 1 to 63 bytes.
func (e *Engine) Listen(ctx context.Context, channels ...string) (*RawSubscription, error) {
	if len(channels) == 0 {
		return nil, &ArgumentError{Argument: "channels", Problem: "no channel is given", Fix: "Name at least one to listen to"}
	}
	for _, channel := range channels {
		if err := checkRawChannel(channel); err != nil {
			return nil, err
		}
	}
	r := &RawSubscription{out: make(chan Notification, 1024), closed: make(chan struct{})}
	for _, channel := range channels {
		r.remove = append(r.remove, e.listener.add(channel, func(n *pgconn.Notification) {
			select {
			case r.out <- Notification{Channel: n.Channel, Payload: n.Payload, PID: n.PID}:
			default:
				e.counters.droppedSignals.Add(1)
			}
		}))
	}
	for _, channel := range channels {
		if err := e.listener.wait(ctx, channel); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// Next waits for the next notification. The error is ctx's, or [ErrClosed].
func (r *RawSubscription) Next(ctx context.Context) (Notification, error) {
	select {
	case n := <-r.out:
		return n, nil
	case <-r.closed:
		return Notification{}, ErrClosed
	case <-ctx.Done():
		return Notification{}, context.Cause(ctx)
	}
}

// Close ends the subscription; the server is told to UNLISTEN what nobody else wants.
func (r *RawSubscription) Close() {
	r.closeOnce.Do(func() {
		for _, remove := range r.remove {
			remove()
		}
		close(r.closed)
	})
}

// bridges are the raw channels forwarded as signals, each listened to while somebody is subscribed.
type bridges struct {
	channels []string
	listener *listener
	hub      *hub

	mu     sync.Mutex
	remove map[string]func()
}

// interest follows the hub: LISTEN with the first subscription, UNLISTEN with the last.
func (b *bridges) interest(channel string, interested bool) {
	if !slices.Contains(b.channels, channel) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if remove := b.remove[channel]; remove != nil {
		remove()
		delete(b.remove, channel)
	}
	if interested {
		b.remove[channel] = b.listener.add(channel, b.forward)
	}
}

func (b *bridges) forward(n *pgconn.Notification) {
	payload := json.RawMessage(n.Payload)
	if !json.Valid(payload) || !utf8.ValidString(n.Payload) {
		quoted, err := json.Marshal(strings.ToValidUTF8(n.Payload, "\uFFFD"))
		if err != nil {
			return // a string always marshals
		}
		payload = quoted
	}
	b.hub.signal(&Message{Channel: n.Channel, Payload: payload, size: len(payload), Sender: "pid:" + strconv.Itoa(int(n.PID)), CreatedAt: time.Now(), Signal: true})
}

// bridgeReady waits until the bridged ones among the channels are listened to.
func (e *Engine) bridgeReady(ctx context.Context, channels []string) error {
	for _, channel := range channels {
		if slices.Contains(e.bridges.channels, channel) {
			if err := e.listener.wait(ctx, channel); err != nil {
				return err
			}
		}
	}
	return nil
}

// onSignal takes a signal apart that trunkline.signal sent: microseconds, channel, sender and payload, a line each.
func (e *Engine) onSignal(n *pgconn.Notification) {
	m, err := parseSignal(n.Payload)
	if err != nil {
		e.log.Warn("a notification on "+rawSignal+" is not a signal", "error", err, "pid", n.PID)
		return
	}
	e.hub.signal(m)
}

func parseSignal(envelope string) (*Message, error) {
	parts := strings.SplitN(envelope, "\n", 4)
	if len(parts) != 4 {
		return nil, fmt.Errorf("it has %d lines, not 4", len(parts))
	}
	micros, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("its time is not a number: %w", err)
	}
	if err := CheckChannel(parts[1]); err != nil {
		return nil, err
	}
	if !json.Valid([]byte(parts[3])) {
		return nil, fmt.Errorf("its payload for channel %q is not JSON", parts[1])
	}
	return &Message{
		Channel: parts[1], Sender: parts[2], Payload: json.RawMessage(parts[3]), size: len(parts[3]),
		CreatedAt: time.UnixMicro(micros), Signal: true,
	}, nil
}
