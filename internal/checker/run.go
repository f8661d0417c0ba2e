package checker

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/internal/retry"
)

// Options of a run.
type Options struct {
	Server   *localpg.Server
	URL      string
	Seed     uint64
	Duration time.Duration // of writing and of faults
	Writers  int           // at least 2
	Nodes    int           // at least 1
	Prepared bool          // whether some transactions are prepared
	// Node makes the command that runs a node: this very program, whose main calls RunNode.
	Node    func() *exec.Cmd
	Log     func(format string, args ...any)
	Verbose bool // nodes' logs go to standard error
}

// publishers are the callers beside the writers that publish through an engine of their own, and share inserts.
const publishers = 4

// channelCount is how many channels there are.
const channelCount = 12

// patience bounds every wait for what must come; it begins anew with each step forward.
const patience = 90 * time.Second

// A Report is what a run found.
type Report struct {
	Violations  []Violation
	Problems    []string // what failed other than the guarantees
	Faults      map[string]int
	Committed   int // transactions
	RolledBack  int
	Unknown     int
	Messages    int // stored
	Prepared    int // transactions whose second phase succeeded
	Deliveries  int64
	Epochs      int
	Healed      int64 // messages that nobody had rung for
	Dozes       int64 // in the nodes' last lives
	Endings     map[string]int
	Memory      []string
	CaughtUpIn  time.Duration // after the end of writing and faults
	FinalEpoch  string
	LogMessages int
}

func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages, %d transactions committed, %d rolled back, %d unknown, %d prepared; %d deliveries in %d epochs; dozed %d times, healed %d; caught up in %v",
		r.Messages, r.Committed, r.RolledBack, r.Unknown, r.Prepared, r.Deliveries, r.Epochs, r.Dozes, r.Healed, r.CaughtUpIn.Round(time.Millisecond))
	fmt.Fprintf(&b, "\n  faults: %v\n  subscriptions ended: %v\n  memory: %s", r.Faults, r.Endings, strings.Join(r.Memory, ", "))
	return b.String()
}

type runner struct {
	options  Options
	ledger   *Ledger
	verifier *Verifier
	prepared *preparedQueue
	nodes    []*Node
	channels []string
	began    time.Time

	mu       sync.Mutex
	problems []string
	struck   map[string]int
	settled  []Violation // found by the ledger
}

func newRunner(o Options) *runner {
	r := &runner{
		options: o, ledger: NewLedger(), verifier: NewVerifier(), prepared: &preparedQueue{}, began: time.Now(),
		struck: map[string]int{},
	}
	for i := range channelCount {
		r.channels = append(r.channels, fmt.Sprintf("check:%d", i))
	}
	return r
}

func (r *runner) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) < maxViolations {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

func (r *runner) count(fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.struck[fault]++
}

func (r *runner) note(text string) {
	r.options.Log("%6.1f s: %s", time.Since(r.began).Seconds(), text)
}

// pause is how long a writer waits between transactions. There are storms and calms, some seconds each: the sequencer is
// to be met awake, asleep, and on its way between. The longer the run, the rarer the storms: each new epoch has every
// subscriber read everything again.
func (r *runner) pause(ctx context.Context, random *rand.Rand) {
	phase := uint64(time.Since(r.began) / (1500 * time.Millisecond))
	kinds := 3 * max(1, int(r.options.Duration/(2*time.Minute)))
	longest := 3 * time.Second
	switch rand.New(rand.NewPCG(r.options.Seed, phase)).IntN(kinds) {
	case 0:
		longest = 30 * time.Millisecond
	case 1:
		longest = 150 * time.Millisecond
	}
	retry.Sleep(ctx, time.Duration(random.Int64N(int64(longest))))
}

// Run lets writers write and faults strike for a while, waits until everybody has everything, and verifies. The error is
// what kept it from verifying.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := newRunner(o)
	defer r.killAll()
	random := rand.New(rand.NewPCG(o.Seed, 1<<32))
	if err := r.migrate(ctx); err != nil {
		return r.report(), err
	}
	if err := r.startBrief(ctx); err != nil {
		return r.report(), err
	}
	if err := r.startNodes(ctx, random); err != nil {
		return r.report(), err
	}

	writing, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	var writers sync.WaitGroup
	stopPublishers, err := r.startWriters(writing, &writers)
	if err != nil {
		return r.report(), err
	}
	writers.Go(func() { r.publishBrief(writing) })
	writers.Go(func() { r.showProgress(writing) })
	err = r.strikeFaults(ctx, random, o.Duration)
	stopWriting()
	writers.Wait()
	stopPublishers()
	if err != nil {
		return r.report(), err
	}
	r.note("writing ended")
	return r.judge(ctx)
}

// judge waits until everybody has everything, and verifies.
func (r *runner) judge(ctx context.Context) (*Report, error) {
	began := time.Now()
	truth, err := r.settle(ctx)
	if err != nil {
		return r.report(), err
	}
	caughtUp := time.Since(began)
	if err := r.awaitStats(ctx); err != nil {
		return r.report(), err
	}
	report := r.report()
	report.CaughtUpIn = caughtUp
	r.verifier.Finish(truth)
	violations, dropped := r.verifier.Violations()
	report.Violations = append(report.Violations, violations...)
	if dropped > 0 {
		report.Violations = append(report.Violations, Violation{Kind: "more", Text: fmt.Sprintf("%d more violations", dropped)})
	}
	report.FinalEpoch, report.LogMessages, report.Messages = truth.Epoch, len(truth.Log), len(truth.Messages)
	return report, nil
}

func (r *runner) report() *Report {
	r.mu.Lock()
	report := &Report{Problems: slices.Clone(r.problems), Faults: maps.Clone(r.struck), Endings: map[string]int{}, Violations: slices.Clone(r.settled)}
	r.mu.Unlock()
	report.Committed, report.RolledBack, report.Unknown, report.Messages = r.ledger.Counts()
	report.Deliveries, report.Epochs = r.verifier.Deliveries()
	r.prepared.mu.Lock()
	report.Prepared = r.prepared.ended
	r.prepared.mu.Unlock()
	for _, n := range r.nodes {
		report.Healed += n.Healed()
		report.Dozes += n.Dozes()
		before, now := n.Memory()
		report.Memory = append(report.Memory, fmt.Sprintf("%s %.0f → %.0f MB", n.cfg.Name, float64(before)/1024, float64(now)/1024))
		n.mu.Lock()
		for why, count := range n.endings {
			report.Endings[why] += count
		}
		n.mu.Unlock()
	}
	return report
}

func (r *runner) migrate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, r.options.URL)
	if err != nil {
		return err
	}
	defer closeNow(ctx, conn)
	return trunkline.Migrate(ctx, conn)
}

// startNodes starts all nodes, each with subscribers of every kind.
func (r *runner) startNodes(ctx context.Context, random *rand.Rand) error {
	for i := range r.options.Nodes {
		name := string(rune('A' + i))
		one := r.channels[random.IntN(channelCount)]
		cfg := NodeConfig{
			Name: name, URL: r.options.URL, Seed: random.Uint64(), Channels: r.channels, Verbose: r.options.Verbose, Tourists: true, Brief: true,
			RingMessages: []int{4, 64, 512}[random.IntN(3)],
			Subscriptions: []SubscriptionConfig{
				{Name: name + "-all", Channels: r.channels},
				{Name: name + "-some", Channels: someChannels(random, r.channels)},
				{Name: name + "-one", Channels: []string{one}, ByOffset: true},
				{Name: name + "-slow", Channels: someChannels(random, r.channels), Slow: true, Queue: 8 + random.IntN(100)},
				{Name: name + "-now", Channels: someChannels(random, r.channels), Now: true},
			},
		}
		n := &Node{
			cfg: cfg, command: r.options.Node, verifier: r.verifier, problem: r.problem, verbose: r.options.Verbose,
			resume: map[string]*SubscriptionConfig{}, endings: map[string]int{},
		}
		for _, s := range cfg.Subscriptions {
			n.resume[s.Name] = &s
		}
		r.nodes = append(r.nodes, n)
		if err := n.Start(); err != nil {
			return err
		}
	}
	return r.awaitNodes(ctx)
}

func (r *runner) awaitNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, n := range r.nodes {
		if err := n.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitStats waits until every node has told its counters as they are now.
func (r *runner) awaitStats(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, n := range r.nodes {
		// The next line may have been under way.
		for want := n.Ticks() + 2; n.Ticks() < want; {
			retry.Sleep(ctx, 20*time.Millisecond)
			if ctx.Err() != nil {
				return fmt.Errorf("node %s is silent: %w", n.cfg.Name, context.Cause(ctx))
			}
		}
	}
	return nil
}

// startWriters starts the writers and the publishers. What it returns is called when all have ended.
func (r *runner) startWriters(ctx context.Context, running *sync.WaitGroup) (stop func(), err error) {
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: r.options.URL}) // publishes without being started
	if err != nil {
		return nil, err
	}
	for i := range r.options.Writers + publishers {
		w := &writer{run: r, index: i, random: rand.New(rand.NewPCG(r.options.Seed, uint64(i)))}
		if i < r.options.Writers {
			running.Go(func() { w.work(ctx) })
		} else {
			running.Go(func() { w.publishAlone(ctx, engine) })
		}
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if err := engine.Stop(ctx); err != nil {
			r.problem("stop the publishing engine: %v", err)
		}
	}, nil
}

func (r *runner) killAll() {
	for _, n := range r.nodes {
		n.Kill()
	}
}

// showProgress prints where the run is, each 10 s.
func (r *runner) showProgress(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Second):
		}
		p := r.report()
		r.note(fmt.Sprintf("%d messages tried, %d transactions committed, %d deliveries, %d epochs, %d healed; memory: %s",
			p.Messages, p.Committed, p.Deliveries, p.Epochs, p.Healed, strings.Join(p.Memory, ", ")))
	}
}
