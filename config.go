package trunkline

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// SequenceMode says whether an engine takes part in sequencing.
type SequenceMode string

const (
	// SequenceAuto lets the engine become the sequencer when nobody else is, if its role may write the log.
	SequenceAuto SequenceMode = "auto"
	// SequenceNever makes the engine follow only. It says so in the log when nobody sequences for 3 s.
	SequenceNever SequenceMode = "never"
)

// Config configures an [Engine]. The zero value of every field but the first two is a good default.
type Config struct {
	// DatabaseURL is a PostgreSQL connection string. It, or Pool, is required.
	DatabaseURL string
	// Pool is used for publishing and reading history if given; the engine doesn't close it.
	Pool *pgxpool.Pool
	// DirectURL is a connection string for the two sessions that can't go through a transaction pooler: the one that
	// listens and the one that sequences or follows. Empty: the same as above.
	DirectURL string

	// Logger gets the engine's messages. Nil: discarded.
	Logger *slog.Logger
	// Sequence says whether this engine may become the sequencer. Default: SequenceAuto.
	Sequence SequenceMode
	// SkipMigrate leaves the schema as it is: Start then fails with a *SchemaError if it isn't the right version.
	SkipMigrate bool

	// RingMessages is how many recent messages are kept in memory per active channel, so that resuming from a little way
	// back needs no query. 1 to 100,000; default 512.
	RingMessages int
	// RingBytes bounds the memory of all rings together; channels that were active longest ago lose theirs first.
	// Default 64 MiB.
	RingBytes int
	// QueueMessages is how many messages may wait for one subscription before it ends as slow. Default 1,024.
	QueueMessages int
	// QueueBytes bounds the memory of what may wait for one subscription. At least four times the payload limit is wise.
	// Default 16 MiB.
	QueueBytes int

	// Bridge names raw LISTEN channels whose notifications are forwarded as signals to the channels of the same name.
	// Each is at most 63 bytes. An engine listens to one only while it has a subscription with signals to it.
	Bridge []string

	// HeartbeatInterval is how often the LISTEN connection is proven with a notification of our own. 100 ms to 1 min;
	// default 10 s. An answer that takes longer than the interval, or 5 s, ends the connection.
	HeartbeatInterval time.Duration
}

// withDefaults returns a copy with defaults filled in.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Sequence == "" {
		c.Sequence = SequenceAuto
	}
	c.RingMessages = defaultTo(c.RingMessages, 512)
	c.RingBytes = defaultTo(c.RingBytes, 64<<20)
	c.QueueMessages = defaultTo(c.QueueMessages, 1024)
	c.QueueBytes = defaultTo(c.QueueBytes, 16<<20)
	c.HeartbeatInterval = defaultTo(c.HeartbeatInterval, 10*time.Second)
	return c
}

func defaultTo[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// validate says what is wrong with a Config after withDefaults.
func (c *Config) validate() error {
	if c.DatabaseURL == "" && c.Pool == nil {
		return &ArgumentError{Argument: "DatabaseURL", Problem: "Config has neither a DatabaseURL nor a Pool", Fix: "Give one of them"}
	}
	if c.Sequence != SequenceAuto && c.Sequence != SequenceNever {
		return &ArgumentError{
			Argument: "Sequence", Problem: fmt.Sprintf("Config.Sequence is %q", c.Sequence), Fix: `Use "auto" or "never"`,
		}
	}
	for _, check := range []struct {
		name           string
		value, low, hi int
	}{
		{"RingMessages", c.RingMessages, 1, 100_000},
		{"RingBytes", c.RingBytes, 1 << 10, 1 << 40},
		{"QueueMessages", c.QueueMessages, 1, 1_000_000},
		{"QueueBytes", c.QueueBytes, 1 << 10, 1 << 40},
		{"HeartbeatInterval (ms)", int(c.HeartbeatInterval.Milliseconds()), 100, 60_000},
	} {
		if check.value < check.low || check.value > check.hi {
			return &ArgumentError{
				Argument: check.name,
				Problem:  fmt.Sprintf("Config.%s is %d", check.name, check.value),
				Fix:      fmt.Sprintf("Choose between %d and %d", check.low, check.hi),
			}
		}
	}
	for _, channel := range c.Bridge {
		if err := checkRawChannel(channel); err != nil {
			return err
		}
	}
	return nil
}
