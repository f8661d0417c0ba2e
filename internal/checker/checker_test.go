package checker_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/checker"
	"github.com/trunkline/trunkline/internal/pgtest"
)

var (
	seed     = flag.Uint64("checker.seed", 0, "seed of the random choices; 0: the time")
	duration = flag.Duration("checker.duration", 12*time.Second, "how long writers write and faults strike")
	writers  = flag.Int("checker.writers", 24, "writers, at least 2")
	nodes    = flag.Int("checker.nodes", 2, "nodes, at least 1")
	verbose  = flag.Bool("checker.logs", false, "show the logs of the nodes")
)

func TestMain(m *testing.M) {
	if os.Getenv(checker.NodeVariable) != "" {
		checker.RunNode()
	}
	pgtest.Main(m)
}

// options of a run on a cluster of its own.
func options(t *testing.T) checker.Options {
	t.Helper()
	o := checker.Options{
		Seed: *seed, Duration: *duration, Writers: max(*writers, 2), Nodes: max(*nodes, 1), Prepared: true, Verbose: *verbose, Log: t.Logf,
		Node: func() *exec.Cmd { return exec.Command(os.Args[0]) },
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	settings := map[string]string{"max_prepared_transactions": "64"}
	if o.Seed%2 == 0 {
		// What is committed asynchronously stays in memory for long: a crash takes the end of the log.
		settings["wal_writer_delay"] = "10s"
		settings["wal_writer_flush_after"] = "0"
	}
	t.Logf("seed %d: replay with go test ./internal/checker -run '^%s$' -v -checker.seed=%d -checker.duration=%v -checker.writers=%d -checker.nodes=%d",
		o.Seed, t.Name(), o.Seed, o.Duration, o.Writers, o.Nodes)
	o.Server = pgtest.Cluster(t, settings)
	o.URL = o.Server.URL()
	return o
}

func judge(t *testing.T, report *checker.Report, err error) {
	t.Helper()
	t.Log(report)
	for _, p := range report.Problems {
		t.Error(p)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestChecker(t *testing.T) {
	o := options(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*o.Duration+15*time.Minute)
	defer cancel()
	report, err := checker.Run(ctx, o)
	judge(t, report, err)
}

// Without faults and prepared transactions nothing is left to the look once a second: the doorbell finds everything.
func TestDoorbellMissesNothing(t *testing.T) {
	o := options(t)
	o.Prepared, o.Duration = false, o.Duration*2/3
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	report, err := checker.RunCalm(ctx, o)
	judge(t, report, err)
	if report.Dozes == 0 {
		t.Error("the sequencer was never awake, so the doorbell was not tested")
	}
	if report.Healed != 0 {
		t.Errorf("%d messages were found only because the sequencer looks once a second", report.Healed)
	}
}
