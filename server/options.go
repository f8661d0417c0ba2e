package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/inbox"
)

// Options of a server. The zero value of each field is a good default, except that somebody has to be let in: set JWTSecret,
// JWTPublicKeys or JWKSURL, or Open on a machine of your own.
type Options struct {
	// Logger gets what goes wrong with single connections. Nil: discarded.
	Logger *slog.Logger
	// Registry gets the metrics. Nil: one of the server's own.
	Registry *prometheus.Registry

	// Open lets anyone who reaches the server over this machine's loopback do all, without a token. It excludes the keys below.
	Open bool
	// JWTSecret verifies tokens signed with HS256, HS384 or HS512. 32 bytes or more are wise.
	JWTSecret []byte
	// JWTPublicKeys verifies tokens signed with RSA, ECDSA or Ed25519: one or several public keys in PEM.
	JWTPublicKeys []byte
	// JWKSURL is where such keys are fetched from, and fetched again when a token names an unknown one.
	JWKSURL string
	// JWTIssuer and JWTAudience have to be the token's iss and among its aud, if given.
	JWTIssuer, JWTAudience string
	// ClockSkew is how far the clocks of those who sign may be off. Up to 5 min; default 10 s.
	ClockSkew time.Duration

	// Origins are those of pages on other hosts that may connect, such as https://app.example.org or https://*.example.org.
	// Pages of the server's own host always may.
	Origins []string
	// TrustedProxies are the addresses whose X-Forwarded-For is believed. Default: none.
	TrustedProxies []netip.Prefix

	// Inbox are the inboxes of the engine's users. Nil: the server makes them itself.
	Inbox *inbox.Inbox
	// NoKeeper leaves it to others to run [inbox.Inbox.Run], with Inbox in this program or in another one. Otherwise the server
	// does, from New to Close.
	NoKeeper bool

	// RPC answers the calls of clients. Nil: there are no methods.
	RPC func(ctx context.Context, request RPCRequest) (json.RawMessage, error)

	Limits Limits

	// Heartbeat is how long a stream may be silent before it says that it is alive. 10 ms to 5 min; default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a client may take to accept what is written to it before it is dropped. 10 ms to 5 min;
	// default 20 s.
	WriteTimeout time.Duration
	// Retry is about how long streams' clients are told to wait before they connect again, in whole milliseconds; each is
	// told a time between a half and one and a half of it, so that they don't come back in step. 10 ms to 5 min; default 2 s.
	Retry time.Duration
}

// An RPCRequest is a client's call of a method.
type RPCRequest struct {
	User     string // "" if anonymous
	ClientID string // of the connection
	Method   string
	Data     json.RawMessage // as sent: JSON of JSON clients, any bytes of Protobuf clients
}

// An RPCError is one that the client is told; of others it learns only that the call failed.
type RPCError struct {
	Code      uint32 // 400 to 1999
	Message   string
	Temporary bool // asking again may help
}

func (e *RPCError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// Limits bound what clients can take. Zero fields mean their defaults.
type Limits struct {
	// Connections of all kinds that a node holds at once. Default 20,000: a gigabyte, at about 50 kB each.
	Connections int
	// ConnectionsPerUser on this node. Default 100: tabs and devices, but no farm. Anonymous users are bounded by address.
	ConnectionsPerUser int
	// ConnectionsPerAddress on this node. Default 1,000: an office behind one address.
	ConnectionsPerAddress int
	// Channels that one connection may follow. Default 128.
	Channels int
	// FrameBytes bounds what a client may send at once. Default: the largest payload of 1 MiB, and its envelope.
	FrameBytes int
	// RequestBytes bounds the body of a REST request, and with it a batch. Default 8 MiB.
	RequestBytes int
	// QueueBytes may wait for one slow client before it is disconnected. At least 16 MiB, the default: four of the largest
	// messages.
	QueueBytes int
	// CommandRate is how many commands a connection may send per second, ten times as many at once. Default 50.
	CommandRate float64
	// PublishRate is how many messages a user may publish per second, ten times as many at once, where the namespace says
	// nothing else. Default 20.
	PublishRate float64
	// RequestRate is how many REST requests an address may make per second without an API key, ten times as many at once.
	// Default 50.
	RequestRate float64
	// FailureRate is how many bad tokens or keys an address may present per second, ten times as many at once, before it is
	// turned away unread for a while. Default 5.
	FailureRate float64
	// HistoryMessages bounds one answer of history. Default 1,000.
	HistoryMessages int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	setDefault(&o.ClockSkew, 10*time.Second)
	setDefault(&o.Heartbeat, 15*time.Second)
	setDefault(&o.WriteTimeout, 20*time.Second)
	setDefault(&o.Retry, 2*time.Second)
	o.Limits = o.Limits.withDefaults()
	return o
}

// DefaultLimits returns the limits that zero fields stand for.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	setDefault(&l.Connections, 20_000)
	setDefault(&l.ConnectionsPerUser, 100)
	setDefault(&l.ConnectionsPerAddress, 1000)
	setDefault(&l.Channels, 128)
	setDefault(&l.FrameBytes, 1<<20+64<<10)
	setDefault(&l.RequestBytes, 8<<20)
	setDefault(&l.QueueBytes, 16<<20)
	setDefault(&l.CommandRate, 50)
	setDefault(&l.PublishRate, 20)
	setDefault(&l.RequestRate, 50)
	setDefault(&l.FailureRate, 5)
	setDefault(&l.HistoryMessages, 1000)
	return l
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

func (o Options) validate() error {
	for _, check := range []struct {
		name  string
		value time.Duration
	}{
		{"Heartbeat", o.Heartbeat}, {"WriteTimeout", o.WriteTimeout}, {"Retry", o.Retry}, {"ClockSkew", o.ClockSkew},
	} {
		if check.value < 10*time.Millisecond || check.value > 5*time.Minute {
			return fmt.Errorf("Options.%s is %v: choose between 10 ms and 5 min", check.name, check.value)
		}
	}
	keys := len(o.JWTSecret) > 0 || len(o.JWTPublicKeys) > 0 || o.JWKSURL != ""
	if o.Open && keys {
		return fmt.Errorf("Options.Open lets anyone in, but keys to check tokens with are given as well: leave one out")
	}
	return o.Limits.validate()
}

func (l Limits) validate() error {
	for _, check := range []struct {
		name           string
		value, low, hi float64
		write          func(float64) string
	}{
		{"Connections", float64(l.Connections), 1, 1_000_000, plainly},
		{"ConnectionsPerUser", float64(l.ConnectionsPerUser), 1, 1_000_000, plainly},
		{"ConnectionsPerAddress", float64(l.ConnectionsPerAddress), 1, 1_000_000, plainly},
		{"Channels", float64(l.Channels), 1, 10_000, plainly},
		{"FrameBytes", float64(l.FrameBytes), 1 << 10, 128 << 20, inBytes},
		{"RequestBytes", float64(l.RequestBytes), 1 << 10, 1 << 30, inBytes},
		{"QueueBytes", float64(l.QueueBytes), 16 << 20, 1 << 30, inBytes},
		{"CommandRate", l.CommandRate, 0.1, 1e6, plainly},
		{"PublishRate", l.PublishRate, 0.1, 1e6, plainly},
		{"RequestRate", l.RequestRate, 0.1, 1e6, plainly},
		{"FailureRate", l.FailureRate, 0.1, 1e6, plainly},
		{"HistoryMessages", float64(l.HistoryMessages), 1, 10_000, plainly},
	} {
		if check.value < check.low || check.value > check.hi {
			write := check.write
			return fmt.Errorf("Limits.%s is %s: choose between %s and %s", check.name, write(check.value), write(check.low), write(check.hi))
		}
	}
	return nil
}

// plainly writes a number without an exponent.
func plainly(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }

// inBytes writes a size in the largest unit that it is a whole number of.
func inBytes(value float64) string {
	size := int64(value)
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if size != 0 && size%unit.size == 0 {
			return fmt.Sprintf("%d%s", size/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", size)
}
