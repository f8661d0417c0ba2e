package checker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
)

// NodeVariable holds a node's NodeConfig as JSON: a test program that finds it set runs RunNode instead of its tests.
const NodeVariable = "TRUNKLINE_CHECKER_NODE"

// A NodeConfig says what a node process does.
type NodeConfig struct {
	Name          string
	URL           string
	Seed          uint64
	RingMessages  int
	Subscriptions []SubscriptionConfig
	// Tourists subscribe here and there for a moment, from positions seen before.
	Tourists bool
	// Brief has readers of the channels that are kept only for a moment.
	Brief    bool
	Channels []string
	Verbose  bool
}

// A SubscriptionConfig is a subscriber that lasts.
type SubscriptionConfig struct {
	Name     string
	Channels []string
	// Since is where it resumes, EPOCH:POSITION; Offset, EPOCH:SEQ, goes before it. Both empty: it begins.
	Since  string
	Offset string
	// Now makes it begin now rather than from the beginning.
	Now bool
	// ByOffset makes it resume by seq; it has one channel.
	ByOffset bool
	// Slow makes it read too slowly now and then; Queue is the length of its queue, 0 for the default.
	Slow  bool
	Queue int
}

// A line is what a node tells its parent, one JSON object per line.
type line struct {
	Kind     string           `json:"k"`
	Stream   string           `json:"s,omitempty"`
	Epoch    string           `json:"e,omitempty"`
	Position int64            `json:"p,omitempty"`
	Seq      int64            `json:"q,omitempty"`
	ID       int64            `json:"i,omitempty"`
	Channel  string           `json:"c,omitempty"`
	Hash     uint64           `json:"h,omitempty"`
	Text     string           `json:"t,omitempty"`
	Channels []string         `json:"channels,omitempty"`
	Stats    *trunkline.Stats `json:"stats,omitempty"`
	Leads    bool             `json:"leads,omitempty"`
}

// Kinds of lines.
const (
	lineMessage = "m"
	lineBegin   = "begin"  // a stream begins anew behind epoch and position
	lineSettled = "at"     // a stream was told that it has everything up to a position, or resumes behind it
	lineEnded   = "ended"  // a subscription ended, and why: slow, epoch, beyond
	lineReady   = "ready"  // the engine has started
	lineStats   = "stats"  // five times a second
	lineFailed  = "failed" // what should never happen
)

type node struct {
	cfg    NodeConfig
	engine *trunkline.Engine
	out    chan []byte

	mu   sync.Mutex
	seen []trunkline.Position // some of what was received, for tourists
}

// RunNode runs a node until its standard input ends, which is when its parent does. It never returns before.
func RunNode() {
	n := &node{out: make(chan []byte, 1024)}
	if err := json.Unmarshal([]byte(os.Getenv(NodeVariable)), &n.cfg); err != nil {
		fmt.Fprintln(os.Stderr, NodeVariable+":", err)
		os.Exit(2)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	go n.write()
	ctx := context.Background()
	n.start(ctx)
	n.emit(&line{Kind: lineReady})
	var all sync.WaitGroup
	for i, cfg := range n.cfg.Subscriptions {
		all.Go(func() { n.follow(ctx, cfg, rand.New(rand.NewPCG(n.cfg.Seed, uint64(i)))) })
	}
	if n.cfg.Tourists {
		all.Go(func() { n.tour(ctx, rand.New(rand.NewPCG(n.cfg.Seed, 99))) })
	}
	if n.cfg.Brief {
		for i := range briefChannels {
			all.Go(func() { n.visitBrief(ctx, briefChannel(i), rand.New(rand.NewPCG(n.cfg.Seed, uint64(200+i)))) })
		}
	}
	for {
		stats := n.engine.Stats()
		n.emit(&line{Kind: lineStats, Stats: &stats, Leads: n.engine.State().Sequencing})
		time.Sleep(200 * time.Millisecond)
	}
}

// start starts the engine; the database may be away.
func (n *node) start(ctx context.Context) {
	cfg := trunkline.Config{
		DatabaseURL: n.cfg.URL, RingMessages: n.cfg.RingMessages, SkipMigrate: true, HeartbeatInterval: 2 * time.Second,
	}
	if n.cfg.Verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.cfg.Name)
	}
	for {
		engine, err := trunkline.New(cfg) // connects later
		if err != nil {
			n.fail("new: %v", err)
		}
		startCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
		err = engine.Start(startCtx)
		cancel()
		if err == nil {
			n.engine = engine
			return
		}
		fmt.Fprintln(os.Stderr, "start:", err)
		_ = engine.Stop(ctx)
		time.Sleep(100 * time.Millisecond)
	}
}

func (n *node) emit(l *line) {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and numbers
	}
	n.out <- append(text, '\n')
}

// fail tells what should never happen.
func (n *node) fail(format string, args ...any) {
	n.emit(&line{Kind: lineFailed, Text: fmt.Sprintf(format, args...)})
	time.Sleep(100 * time.Millisecond)
}

// write passes lines on, as many at once as there are.
func (n *node) write() {
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	for text := range n.out {
		_, err := out.Write(text)
		if err == nil && len(n.out) == 0 {
			err = out.Flush()
		}
		if err != nil {
			os.Exit(0) // the parent is gone
		}
	}
}

// follow is a subscriber that lasts: whatever ends its subscription, it goes on as a client should.
func (n *node) follow(ctx context.Context, cfg SubscriptionConfig, random *rand.Rand) {
	from, fresh := trunkline.FromBeginning(), true
	switch {
	case cfg.Offset != "":
		offset, err := trunkline.ParseOffset(cfg.Offset)
		if err != nil {
			n.fail("%s: %v", cfg.Name, err)
			return
		}
		from, fresh = trunkline.FromOffset(offset), false
	case cfg.Since != "":
		since, err := trunkline.ParsePosition(cfg.Since)
		if err != nil {
			n.fail("%s: %v", cfg.Name, err)
			return
		}
		from, fresh = trunkline.Since(since), false
	case cfg.Now:
		from = trunkline.FromNow()
	}
	for ctx.Err() == nil {
		var last *trunkline.Message
		err := n.receive(ctx, cfg, from, fresh, random, &last)
		if last != nil {
			from, fresh = trunkline.Since(last.LogPosition()), false
			if cfg.ByOffset {
				from = trunkline.FromOffset(last.Offset())
			}
		}
		var ended *trunkline.EpochError
		var slow *trunkline.SlowConsumerError
		var beyond *trunkline.BeyondLogError
		switch {
		case errors.As(err, &ended):
			n.emit(&line{Kind: lineEnded, Stream: cfg.Name, Text: "epoch"})
			from, fresh = trunkline.FromBeginning(), true
		case errors.As(err, &slow):
			n.emit(&line{Kind: lineEnded, Stream: cfg.Name, Text: "slow"})
			if !cfg.ByOffset {
				from, fresh = trunkline.Since(slow.Resume), false
				n.emit(&line{Kind: lineSettled, Stream: cfg.Name, Epoch: slow.Resume.Epoch, Position: slow.Resume.Position})
			}
		case errors.As(err, &beyond):
			// The end of the log is lost, and whoever is to begin a new epoch hasn't yet.
			n.emit(&line{Kind: lineEnded, Stream: cfg.Name, Text: "beyond"})
			time.Sleep(50 * time.Millisecond)
		default:
			n.fail("%s ended: %v", cfg.Name, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// receive tells all that one subscription receives, and returns why it ended.
func (n *node) receive(
	ctx context.Context, cfg SubscriptionConfig, from trunkline.Start, fresh bool, random *rand.Rand, last **trunkline.Message,
) error {
	sub, err := n.engine.Subscribe(ctx, cfg.Channels, trunkline.SubscribeOptions{From: from, QueueMessages: cfg.Queue})
	if err != nil {
		return err
	}
	defer sub.Close()
	if fresh {
		begin := &line{Kind: lineBegin, Stream: cfg.Name, Channels: cfg.Channels}
		if from == trunkline.FromNow() {
			at := sub.Position()
			begin.Epoch, begin.Position = at.Epoch, at.Position
		}
		n.emit(begin)
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, 2*time.Second)
		m, err := sub.Next(waiting)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			if at := sub.Position(); !cfg.ByOffset && at.Position > 0 {
				n.emit(&line{Kind: lineSettled, Stream: cfg.Name, Epoch: at.Epoch, Position: at.Position})
			}
			continue
		}
		if err != nil {
			return err
		}
		*last = &m
		n.emit(messageLine(cfg.Name, &m))
		if random.IntN(50) == 0 {
			n.remember(m.LogPosition())
		}
		if cfg.Slow && random.IntN(400) == 0 {
			time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		}
	}
}

func messageLine(stream string, m *trunkline.Message) *line {
	return &line{
		Kind: lineMessage, Stream: stream, Epoch: m.Epoch, Position: m.Position, Seq: m.Seq, ID: m.ID, Channel: m.Channel,
		Hash: Hash(m.Payload),
	}
}

func (n *node) remember(p trunkline.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.seen) > 200 {
		n.seen = slices.Delete(n.seen, 0, 100)
	}
	n.seen = append(n.seen, p)
}

// tour subscribes for a moment to this and that, from positions seen before: each time history and live are joined anew.
func (n *node) tour(ctx context.Context, random *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		cfg := SubscriptionConfig{Name: fmt.Sprintf("%s-%d-tour%d", n.cfg.Name, os.Getpid(), i), Queue: 1 << random.IntN(11)}
		cfg.Channels = someChannels(random, n.cfg.Channels)
		from := trunkline.FromNow()
		if random.IntN(4) > 0 {
			n.mu.Lock()
			if len(n.seen) > 0 {
				from = trunkline.Since(n.seen[random.IntN(len(n.seen))])
			}
			n.mu.Unlock()
		}
		if err := n.visit(ctx, cfg, from, 1+random.IntN(300)); err != nil && !strings.Contains(err.Error(), "epoch") {
			n.emit(&line{Kind: lineEnded, Stream: cfg.Name, Text: endedBy(err)})
		}
	}
}

func endedBy(err error) string {
	var slow *trunkline.SlowConsumerError
	var beyond *trunkline.BeyondLogError
	switch {
	case errors.As(err, &slow):
		return "slow"
	case errors.As(err, &beyond):
		return "beyond"
	}
	return err.Error()
}

func (n *node) visit(ctx context.Context, cfg SubscriptionConfig, from trunkline.Start, most int) error {
	sub, err := n.engine.Subscribe(ctx, cfg.Channels, trunkline.SubscribeOptions{From: from, QueueMessages: cfg.Queue})
	if err != nil {
		return err
	}
	defer sub.Close()
	at := sub.Position()
	n.emit(&line{Kind: lineBegin, Stream: cfg.Name, Channels: cfg.Channels, Epoch: at.Epoch, Position: at.Position})
	for range most {
		waiting, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		m, err := sub.Next(waiting)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			at := sub.Position()
			n.emit(&line{Kind: lineSettled, Stream: cfg.Name, Epoch: at.Epoch, Position: at.Position})
			return nil
		}
		if err != nil {
			return err
		}
		n.emit(messageLine(cfg.Name, &m))
	}
	return nil
}

// someChannels picks one to all of them.
func someChannels(random *rand.Rand, channels []string) []string {
	picked := slices.Clone(channels)
	random.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	return picked[:1+random.IntN(len(picked))]
}
