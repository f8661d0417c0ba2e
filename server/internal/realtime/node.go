package realtime

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// A Node serves the clients of one process. Its methods may be called concurrently.
type Node struct {
	cfg      Config
	log      *slog.Logger
	engine   *trunkline.Engine
	gate     Gate
	lib      *centrifuge.Node
	broker   *broker
	presence *presence
	gossip   *gossip
	rates    *rates
	metrics  *metrics

	connected atomic.Int64
	// revocations counts those that this node has heard of. Whoever was let in while one arrived is looked at again.
	revocations atomic.Int64
	draining    atomic.Bool

	life     context.Context //nolint:containedctx // from New to Close
	end      context.CancelFunc
	working  sync.WaitGroup // what outlives a call: handlers under way, and the node's own goroutines
	closing  sync.RWMutex   // held for reading by who adds to working
	closed   bool
	settings settings
}

// New makes a node and starts it. Close it when done.
func New(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, engine: cfg.Engine, gate: cfg.Gate}
	var err error
	if n.metrics, err = newMetrics(cfg.Registry); err != nil {
		return nil, err
	}
	if n.lib, err = centrifuge.New(n.libraryConfig()); err != nil {
		return nil, fmt.Errorf("make the realtime node: %w", err)
	}
	n.life, n.end = context.WithCancel(context.Background())
	n.rates = newRates()
	n.broker = newBroker(n)
	n.presence = newPresence(n)
	n.gossip = newGossip(n)
	n.lib.SetBroker(n.broker)
	n.lib.SetPresenceManager(n.presence)
	n.lib.OnConnecting(n.onConnecting)
	n.lib.OnConnect(n.onConnect)
	n.lib.OnCommandRead(n.onCommand)
	n.lib.OnCommandProcessed(n.metrics.processed)
	n.lib.OnTransportWrite(n.onWrite)
	if err := n.lib.Run(); err != nil {
		n.end()
		return nil, fmt.Errorf("start the realtime node: %w", err)
	}
	n.settings.last = byName(n.engine.Namespaces())
	n.goRun(n.broker.sweep)
	n.goRun(n.presence.run)
	n.goRun(n.presence.clean)
	n.goRun(n.gossip.send)
	n.goRun(n.gossip.listen)
	return n, nil
}

func (n *Node) libraryConfig() centrifuge.Config {
	level := centrifuge.LogLevelWarn
	if n.log.Enabled(context.Background(), slog.LevelDebug) {
		level = centrifuge.LogLevelInfo // what clients do wrong
	}
	return centrifuge.Config{
		Name: n.cfg.Name, Version: n.cfg.Version,
		LogLevel: level, LogHandler: n.logEntry,
		Metrics: centrifuge.MetricsConfig{
			MetricsNamespace: "trunkline_realtime", RegistererGatherer: private{n.cfg.Registry, prometheus.NewRegistry()},
		},
		// The library adds its metrics up for other nodes, which it doesn't have here: as seldom as can be.
		NodeInfoMetricsAggregateInterval: 24 * time.Hour,

		ClientPresenceUpdateInterval: n.cfg.PresenceExpiry * 5 / 12,
		// Positions need no checks against the database: the engine delivers each message or says that it can't, and the
		// clients are told so at once. A check would also race with messages under way, and then interrupt a client for nothing.
		ClientChannelPositionCheckDelay: -1,
		// Not UseSingleFlight: who shares the answer to a question that was asked before its own subscription was in place may
		// miss what came between, and the library shares answers between all nodes of a process. The engine shares better.
		ClientQueueMaxSize:         n.cfg.Limits.QueueBytes,
		ClientChannelLimit:         n.cfg.Limits.Channels,
		HistoryMaxPublicationLimit: n.cfg.Limits.HistoryMessages,
		ClientStaleCloseDelay:      10 * time.Second,
		GetChannelBatchConfig:      func(channel string) centrifuge.ChannelBatchConfig { return n.broker.batch(channel) },
	}
}

// private lets the library add metrics to a registry, but gather only from one of its own, which is empty: otherwise it would
// gather everything there is, for nobody.
type private struct {
	prometheus.Registerer
	prometheus.Gatherer
}

// goRun runs something that Close waits for, and tells whether it does: not once the node is closed.
func (n *Node) goRun(f func()) bool {
	n.closing.RLock()
	defer n.closing.RUnlock()
	if !n.closed {
		n.working.Go(f)
	}
	return !n.closed
}

// Close disconnects whoever is left, so that they connect elsewhere, and stops the node. The engine and the gate are the
// caller's to stop, afterwards. If ctx ends first, what is under way is cut off.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Lock()
	if n.closed {
		n.closing.Unlock()
		return nil
	}
	n.closed = true
	n.closing.Unlock()
	err := n.lib.Shutdown(ctx)
	n.presence.leave(ctx)
	n.end()
	n.broker.close()
	n.working.Wait()
	return err
}

// logEntry passes the library's log on, but not what could hold payloads or tokens.
func (n *Node) logEntry(entry centrifuge.LogEntry) {
	level := slog.LevelDebug
	switch entry.Level {
	case centrifuge.LogLevelError, centrifuge.LogLevelWarn:
		level = slog.LevelWarn
	default:
	}
	attributes := make([]slog.Attr, 0, len(entry.Fields))
	for _, key := range []string{"channel", "client", "user", "error", "reason", "code", "limit", "max", "transport"} {
		if value, ok := entry.Fields[key]; ok {
			attributes = append(attributes, slog.Any(key, value))
		}
	}
	n.log.LogAttrs(context.Background(), level, entry.Message, attributes...)
}

// participates tells whether a client takes part in presence, or in joins and leaves: as the namespace says, else if it may see
// who is present.
func (n *Node) participates(ctx context.Context, id *auth.Identity, channel string, setting *bool) bool {
	if setting != nil {
		return *setting
	}
	return n.gate.Allow(ctx, id, channel, auth.Presence) == nil
}

// jitter is a duration between a half and one and a half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
