package checker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/retry"
)

// A fault is one kind of what can go wrong.
type fault struct {
	name   string
	weight int
	strike func(*runner, context.Context, *rand.Rand) error
}

// faults are all kinds. Each strikes at least once in every run.
var faults = []fault{
	{"terminate the sequencer's backend", 3, func(r *runner, ctx context.Context, _ *rand.Rand) error {
		return r.terminate(ctx, "pid IN (SELECT pid FROM trunkline.sequencer_session())")
	}},
	{"terminate a listener's backend", 3, func(r *runner, ctx context.Context, _ *rand.Rand) error {
		return r.terminate(ctx, "application_name = 'trunkline listener'")
	}},
	{"terminate a session of the log", 2, func(r *runner, ctx context.Context, _ *rand.Rand) error {
		return r.terminate(ctx, "application_name = 'trunkline log'")
	}},
	{"terminate a writer's backend", 1, func(r *runner, ctx context.Context, _ *rand.Rand) error {
		return r.terminate(ctx, "application_name = 'checker writer'")
	}},
	{"kill a node", 3, func(r *runner, ctx context.Context, random *rand.Rand) error {
		return r.killNodes(ctx, random, r.victim(random, true))
	}},
	{"stop a node for a while", 2, func(r *runner, ctx context.Context, random *rand.Rand) error {
		n := r.victim(random, false)
		n.Signal(syscall.SIGSTOP)
		retry.Sleep(ctx, time.Duration(random.Int64N(int64(min(6*time.Second, r.options.Duration/3)))))
		n.Signal(syscall.SIGCONT)
		return nil
	}},
	{"restart PostgreSQL immediately", 3, func(r *runner, ctx context.Context, _ *rand.Rand) error {
		return r.options.Server.Restart(ctx, "immediate")
	}},
	{"kill PostgreSQL and every node", 1, func(r *runner, ctx context.Context, random *rand.Rand) error {
		var killing sync.WaitGroup
		killing.Go(func() { _ = r.options.Server.Kill() })
		for _, n := range r.nodes {
			killing.Go(n.Kill)
		}
		killing.Wait()
		if err := r.options.Server.StartAgain(ctx); err != nil {
			return err
		}
		retry.Sleep(ctx, time.Duration(random.IntN(800))*time.Millisecond)
		for _, n := range r.nodes {
			if err := n.Start(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"restart PostgreSQL while a node is stopped", 1, func(r *runner, ctx context.Context, random *rand.Rand) error {
		n := r.victim(random, false)
		n.Signal(syscall.SIGSTOP)
		defer n.Signal(syscall.SIGCONT)
		if err := r.options.Server.Restart(ctx, "immediate"); err != nil {
			return err
		}
		retry.Sleep(ctx, time.Duration(random.IntN(3000))*time.Millisecond)
		return nil
	}},
	{"restart PostgreSQL fast", 1, func(r *runner, ctx context.Context, _ *rand.Rand) error {
		return r.options.Server.Restart(ctx, "fast")
	}},
}

// victim picks a node: the one that sequences as often as another. In long runs the first is never
// killed alone: its memory is what shows whether it grows.
func (r *runner) victim(random *rand.Rand, deadly bool) *Node {
	nodes := r.nodes
	if deadly && len(nodes) > 2 && r.options.Duration > 2*time.Minute {
		nodes = nodes[1:]
	}
	if random.IntN(2) == 0 {
		for _, n := range nodes {
			if n.Leads() {
				return n
			}
		}
	}
	return nodes[random.IntN(len(nodes))]
}

func (r *runner) killNodes(ctx context.Context, random *rand.Rand, nodes ...*Node) error {
	for _, n := range nodes {
		n.Kill()
	}
	retry.Sleep(ctx, time.Duration(random.IntN(1500))*time.Millisecond)
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// terminate ends one backend, any that fits.
func (r *runner) terminate(ctx context.Context, which string) error {
	conn, err := pgx.Connect(ctx, r.options.URL)
	if err != nil {
		return fmt.Errorf("terminate: %w", err)
	}
	defer closeNow(ctx, conn)
	_, err = conn.Exec(ctx, "SELECT pg_terminate_backend((SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND "+
		which+" ORDER BY random() LIMIT 1))")
	return err
}

// strikeFaults lets faults strike, evenly spread over the duration, each kind at least once.
func (r *runner) strikeFaults(ctx context.Context, random *rand.Rand, duration time.Duration) error {
	// So long apart that what follows from one fault can be seen before the next, and that a long run doesn't read all of
	// its log again each second.
	gap := max(duration/time.Duration(len(faults)+1), 300*time.Millisecond)
	gap = min(gap, max(4*time.Second, duration/60))
	deadline := time.Now().Add(duration)
	order := random.Perm(len(faults))
	for len(order) > 0 || time.Now().Before(deadline) {
		retry.Sleep(ctx, gap/2+time.Duration(random.Int64N(int64(gap))))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		next := weighted(random)
		if len(order) > 0 {
			next, order = order[0], order[1:]
		} else if time.Now().After(deadline) {
			return nil
		}
		f := &faults[next]
		r.note("fault: " + f.name)
		limited, cancel := context.WithTimeout(ctx, 90*time.Second)
		err := f.strike(r, limited, random)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		r.count(f.name)
	}
	return nil
}

func weighted(random *rand.Rand) int {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	n := random.IntN(total)
	for i, f := range faults {
		if n -= f.weight; n < 0 {
			return i
		}
	}
	return 0
}
