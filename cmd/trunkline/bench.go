package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench"
	"github.com/trunkline/trunkline/internal/localpg"
)

type benchCmd struct {
	Suites      []string      `arg:"" optional:"" name:"suite" help:"What to measure. Default: everything but memory."`
	Rounds      int           `default:"3" help:"Turns of each contestant. Medians are printed."`
	Seconds     float64       `default:"3" help:"How long a turn takes, in seconds."`
	Soak        time.Duration `default:"10m" help:"How long memory publishes."`
	Subscribers []int         `placeholder:"N" default:"1000,5000" help:"How many WebSocket clients fanout measures. Default: 1000,5000."`
	Clients     int           `placeholder:"N" default:"5000" help:"How many WebSocket clients reconnect. Default: 5000."`
	Missed      int           `placeholder:"N" default:"100" help:"How many messages each of them has missed. Default: 100."`
	Here        bool          `help:"Measure the database that --database-url or the data folder names, instead of a temporary one of its own. Messages stay in it."`
	// Contestant is how the benchmark starts this program as one of the servers it measures.
	Contestant bool `hidden:""`
}

// Help lists the suites.
func (*benchCmd) Help() string {
	var b strings.Builder
	b.WriteString(`Measures Trunkline beside what it is compared to, in turns in one run, on a temporary PostgreSQL with fsync on.
Figures belong to the machine; ratios travel better.

    trunkline bench
    trunkline bench publish latency --rounds 5
    trunkline bench fanout --subscribers 1000
    trunkline bench reconnect --clients 5000 --missed 100

fanout, websocket and reconnect serve and connect WebSocket clients on this machine's loopback, and want some thousand open
files: see ulimit -n.

Suites:

`)
	for _, suite := range bench.Names() {
		fmt.Fprintf(&b, "    %-10s %s\n", suite[0], suite[1])
	}
	return b.String()
}

// Run measures.
func (c *benchCmd) Run(ctx context.Context, a *app) (err error) {
	if c.Contestant {
		return bench.Serve(ctx, a.stdin, a.stdout, a.logger(slog.LevelWarn))
	}
	if c.Rounds < 1 || c.Rounds > 100 || c.Seconds < 0.1 || c.Seconds > 600 || c.Soak < time.Second {
		return errors.New("the measurement can't be that long: --rounds is 1 to 100, --seconds 0.1 to 600, --soak a second or more")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start the servers to measure: %w", err)
	}
	logger := a.logger(slog.LevelWarn)
	var url string
	if c.Here || a.DatabaseURL != "" {
		if url, err = a.url(); err != nil {
			return err
		}
	} else {
		dir, err := os.MkdirTemp("", "trunkline-bench-")
		if err != nil {
			return fmt.Errorf("make a temporary folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		server, startErr := localpg.Start(ctx, localpg.Config{Dir: dir, Logger: logger})
		if startErr != nil {
			return startErr
		}
		defer func() {
			err = errors.Join(err, server.Release(), localpg.Remove(context.WithoutCancel(ctx), dir))
		}()
		url = server.URL()
	}
	return bench.Run(ctx, bench.Options{
		URL: url, Rounds: c.Rounds, Seconds: c.Seconds, Soak: c.Soak, Out: a.stdout, Log: logger,
		Program:     []string{program, "bench", "--contestant"},
		Subscribers: c.Subscribers, Clients: c.Clients, Missed: c.Missed,
	}, c.Suites...)
}
