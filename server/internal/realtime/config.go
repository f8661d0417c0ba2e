package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// A Gate decides who may do what. *[auth.Gate] is one. Errors are *[auth.Refusal].
type Gate interface {
	Connect(ctx context.Context, token string) (*auth.Identity, error)
	Subscription(ctx context.Context, id *auth.Identity, channel, token string) (*auth.Subscription, error)
	Allow(ctx context.Context, id *auth.Identity, channel string, action auth.Action) error
	Check(ctx context.Context, id *auth.Identity) error
}

var _ Gate = (*auth.Gate)(nil)

// Config configures a [Node]. Engine and Gate are required.
type Config struct {
	Engine *trunkline.Engine // started, or soon to be: until then clients are told to try again
	Gate   Gate
	Logger *slog.Logger // nil: discarded
	// Registry gets the metrics. Nil: one of the node's own.
	Registry *prometheus.Registry
	// Name and Version of this server, told to clients. Default: the host's name, and none.
	Name, Version string

	// RPC answers clients' calls. Its error may be an *[RPCError]; others are logged, and the client learns only that it failed.
	// Nil: there are no methods.
	RPC func(context.Context, RPCRequest) (json.RawMessage, error)
	// CheckOrigin tells whether a request with an Origin header may connect. Nil: only pages of this host.
	CheckOrigin func(*http.Request) bool
	// BadToken is told, with a context derived from the request's, that somebody presented a token that can't be accepted.
	BadToken func(context.Context)

	Limits Limits

	// PingInterval is how often silent connections are proven alive, PongTimeout how long an answer may take. 1 s to 10 min;
	// default 25 s and 10 s. PongTimeout has to be the shorter one.
	PingInterval, PongTimeout time.Duration
	// WriteTimeout is how long a WebSocket client may take to accept a frame before it is dropped. Default 20 s. HTTP streams
	// have 1 s, fixed by the library.
	WriteTimeout time.Duration
	// PresenceExpiry is how long somebody counts as present without being confirmed. 2 s to 10 min; default 60 s. They are
	// confirmed at intervals of five twelfths of it.
	PresenceExpiry time.Duration
}

// An RPCRequest is a client's call of a method.
type RPCRequest struct {
	User     string // "" if anonymous
	ClientID string // of the connection
	Method   string
	Data     json.RawMessage // as sent: JSON of JSON clients, any bytes of Protobuf clients
}

// An RPCError is one that the client is told. Codes below 400 are the protocol's own.
type RPCError struct {
	Code      uint32 // 400 to 1999
	Message   string
	Temporary bool // asking again may help
}

func (e *RPCError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// Limits bound what clients can take of this node. Zero fields mean their defaults.
type Limits struct {
	// Connections at once. Default 20,000.
	Connections int
	// ConnectionsPerUser at once, anonymous users aside. Default 100.
	ConnectionsPerUser int
	// Channels of a connection. Default 128.
	Channels int
	// FrameBytes bounds what a client may send at once: a WebSocket message, or the body of a request. Default 1 MiB + 64 KiB.
	FrameBytes int
	// QueueBytes may wait for one client before it is disconnected as slow. At least 16 MiB and four times the largest payload;
	// default 16 MiB.
	QueueBytes int
	// CommandRate is how many commands a connection may send per second, ten times as many at once. Default 50.
	CommandRate float64
	// PublishRate is how many messages a user may publish per second over all connections, ten times as many at once, where
	// the namespace says nothing else. Default 20.
	PublishRate float64
	// HistoryMessages bounds one answer of history. Default 1,000.
	HistoryMessages int
	// PresenceClients bounds one answer of presence: with more, clients are told to ask for the counts. Default 10,000.
	PresenceClients int
}

const (
	// minQueue lets four of the largest payloads wait, and a recovery fill half of it.
	minQueue = 16 << 20
	// maxWorking is how many answers to one client, subscriptions aside, may be in the making at once.
	maxWorking = 128
	// maxPublishing is how many messages of one client may wait to be published. They are published one after the other,
	// which keeps their order.
	maxPublishing = 128
	// patience bounds a request to the database on behalf of a client.
	patience = 10 * time.Second
	// placePatience bounds the question where a channel is, or what came since, of a client that is subscribing. Clients wait 5 s
	// for an answer. The library waits as long when one leaves meanwhile, and would keep for ever what is subscribed later:
	// presenceWait and this have to be less.
	placePatience = 2500 * time.Millisecond
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	setDefault(&c.PingInterval, 25*time.Second)
	setDefault(&c.PongTimeout, 10*time.Second)
	setDefault(&c.WriteTimeout, 20*time.Second)
	setDefault(&c.PresenceExpiry, time.Minute)
	l := &c.Limits
	setDefault(&l.Connections, 20_000)
	setDefault(&l.ConnectionsPerUser, 100)
	setDefault(&l.Channels, 128)
	setDefault(&l.FrameBytes, 1<<20+64<<10)
	setDefault(&l.QueueBytes, minQueue)
	setDefault(&l.CommandRate, 50)
	setDefault(&l.PublishRate, 20)
	setDefault(&l.HistoryMessages, 1000)
	setDefault(&l.PresenceClients, 10_000)
	return c
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

func (c *Config) validate() error {
	if c.Engine == nil || c.Gate == nil {
		return errors.New("a realtime node needs an Engine and a Gate: give both")
	}
	for _, check := range []struct {
		name           string
		value, low, hi float64
	}{
		{"Limits.Connections", float64(c.Limits.Connections), 1, 1e6},
		{"Limits.ConnectionsPerUser", float64(c.Limits.ConnectionsPerUser), 1, 1e6},
		{"Limits.Channels", float64(c.Limits.Channels), 1, 10_000},
		{"Limits.FrameBytes", float64(c.Limits.FrameBytes), 1 << 10, 128 << 20},
		{"Limits.QueueBytes", float64(c.Limits.QueueBytes), minQueue, 1 << 30},
		{"Limits.CommandRate", c.Limits.CommandRate, 0.1, 1e6},
		{"Limits.PublishRate", c.Limits.PublishRate, 0.1, 1e6},
		{"Limits.HistoryMessages", float64(c.Limits.HistoryMessages), 1, 10_000},
		{"Limits.PresenceClients", float64(c.Limits.PresenceClients), 1, 1e6},
		{"PingInterval (s)", c.PingInterval.Seconds(), 1, 600},
		{"PongTimeout (s)", c.PongTimeout.Seconds(), 0.1, c.PingInterval.Seconds() * 0.99},
		{"WriteTimeout (s)", c.WriteTimeout.Seconds(), 0.01, 300},
		{"PresenceExpiry (s)", c.PresenceExpiry.Seconds(), 2, 600},
	} {
		if check.value < check.low || check.value > check.hi {
			return fmt.Errorf("%s is %g: choose between %g and %g", check.name, check.value, check.low, check.hi)
		}
	}
	return nil
}
