package trunkline_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// takeoverBound is the promise: a sequencer that is stopped or cut off is replaced within 5 s. The rest is for a busy
// machine: 3 s until the server ends the silent session and 1 s until the other looks leave it little room.
const takeoverBound = 5*time.Second + 2500*time.Millisecond

func TestTakeoverFromTerminatedSequencer(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	nodes := []*trunkline.Engine{startEngine(t, url), startEngine(t, url)}
	subs := []*trunkline.Subscription{
		subscribe(t, nodes[0], trunkline.FromNow(), "c"), subscribe(t, nodes[1], trunkline.FromNow(), "c"),
	}
	epoch := nodes[0].State().Log.Epoch
	conn := pgtest.Connect(t, url)
	const rounds, each = 5, 40
	for round := range rounds {
		term := scan[int](t, conn, "SELECT term FROM trunkline.state")
		if n := scan[int](t, conn, "SELECT count(pg_terminate_backend(pid)) FROM trunkline.sequencer_session()"); n != 1 {
			t.Fatalf("%d sequencers, want 1", n)
		}
		for i := range each {
			publish(t, conn, "c", numbered(round*each+i))
		}
		eventually(t, "somebody has taken over", func() bool {
			return scan[int](t, conn, "SELECT term FROM trunkline.state") == term+1 && nodes[0].State().Sequencing != nodes[1].State().Sequencing
		})
	}
	for _, sub := range subs {
		got := next(t, sub, rounds*each)
		wantSeqs(t, got, 1)
		for i, m := range got {
			if string(m.Payload) != numbered(i) {
				t.Fatalf("message %d is %s", i, m.Payload)
			}
		}
	}
	for i, node := range nodes {
		if got := node.State().Log.Epoch; got != epoch {
			t.Errorf("node %d is in epoch %s, not %s", i, got, epoch)
		}
	}
	if n := nodes[0].Stats().Takeovers + nodes[1].Stats().Takeovers; n != rounds+1 {
		t.Errorf("%d takeovers, want %d", n, rounds+1)
	}
}

func TestSuspendedSequencerIsReplaced(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	node := startNode(t, url, "c")
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	publish(t, conn, "c", numbered(0))
	wantSeqs(t, next(t, sub, 1), 1)
	if engine.State().Sequencing {
		t.Fatal("the second node sequences")
	}

	// Stopped while it is at work, as a suspended virtual machine would be.
	node.signal(syscall.SIGSTOP)
	stopped := time.Now()
	for i := range 50 {
		publish(t, conn, "c", numbered(1+i))
	}
	wantSeqs(t, next(t, sub, 50), 2)
	took := time.Since(stopped)
	t.Logf("taken over after %v", took)
	if took > takeoverBound {
		t.Errorf("taken over after %v", took)
	}
	term := scan[int](t, conn, "SELECT term FROM trunkline.state")

	node.signal(syscall.SIGCONT)
	for i := range 50 {
		publish(t, conn, "c", numbered(51+i))
	}
	for i, m := range node.next(101) {
		if m.Seq != int64(i+1) || m.Payload != numbered(i) {
			t.Fatalf("after it went on, message %d is seq %d: %s", i, m.Seq, m.Payload)
		}
	}
	wantSeqs(t, next(t, sub, 50), 52)
	if now := scan[int](t, conn, "SELECT term FROM trunkline.state"); now != term || !engine.State().Sequencing {
		t.Errorf("it took the log back: term %d, then %d", term, now)
	}
}

func TestCutOffSequencerIsReplaced(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	link := newProxy(t, url)
	first := startEngine(t, url, func(c *trunkline.Config) {
		c.DirectURL, c.HeartbeatInterval = link.url, 500*time.Millisecond
	})
	second := startEngine(t, url)
	subs := []*trunkline.Subscription{subscribe(t, first, trunkline.FromNow(), "c"), subscribe(t, second, trunkline.FromNow(), "c")}
	if !first.State().Sequencing {
		t.Fatal("the first node doesn't sequence")
	}
	conn := pgtest.Connect(t, url)

	link.stall()
	cut := time.Now()
	for i := range 50 {
		publish(t, conn, "c", numbered(i))
	}
	wantSeqs(t, next(t, subs[1], 50), 1)
	took := time.Since(cut)
	t.Logf("taken over after %v", took)
	if took > takeoverBound {
		t.Errorf("taken over after %v", took)
	}
	link.heal()
	publish(t, conn, "c", numbered(50))
	wantSeqs(t, next(t, subs[0], 51), 1)
	wantSeqs(t, next(t, subs[1], 1), 51)
	if first.State().Sequencing || !second.State().Sequencing {
		t.Error("the one that was cut off took the log back")
	}
}

// A sequencer that stops reading in the middle of a large result keeps its session active, so no idle timeout ends it: the
// one that wants its place does.
func TestSequencerThatStopsReadingIsReplaced(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	link := newProxy(t, url)
	first := startEngine(t, url, func(c *trunkline.Config) { c.DirectURL = link.url })
	second := startEngine(t, url)
	subs := []*trunkline.Subscription{subscribe(t, first, trunkline.FromNow(), "c"), subscribe(t, second, trunkline.FromNow(), "c")}
	conn := pgtest.Connect(t, url)
	stuck := scan[uint32](t, conn, "SELECT pid FROM trunkline.sequencer_session()")

	link.clog(500_000)
	tx := begin(t, url)
	large := `"` + strings.Repeat("x", 1<<20-2) + `"`
	for range 3 {
		publish(t, tx, "c", large)
	}
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	committed := time.Now()
	eventually(t, "its session waits for it to read", func() bool {
		return link.stalled() && scan[bool](t, conn,
			"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event = 'ClientWrite')", stuck)
	})
	wantSeqs(t, next(t, subs[1], 3), 1)
	took := time.Since(committed)
	t.Logf("taken over after %v", took)
	if took > takeoverBound {
		t.Errorf("taken over after %v", took)
	}
	log, err := os.ReadFile(pgtest.Server(t).LogFile())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), fmt.Sprintf("[%d] FATAL:  terminating connection due to administrator command", stuck)) {
		t.Error("something else than the other node ended it")
	}
	link.heal()
	publish(t, conn, "c", "4")
	wantSeqs(t, next(t, subs[1], 1), 4)
	wantSeqs(t, next(t, subs[0], 4), 1)
}

// nodeVariable, in the environment of the test program, makes it a node on that database instead: one to be suspended and
// killed. Its channels come in nodeChannels.
const (
	nodeVariable = "TRUNKLINE_TEST_NODE"
	nodeChannels = "TRUNKLINE_TEST_NODE_CHANNELS"
)

// A nodeLine is what such a node prints: once when it is ready, then for each message.
type nodeLine struct {
	Ready    bool   `json:"ready,omitempty"`
	Epoch    string `json:"epoch,omitempty"`
	Position int64  `json:"position,omitempty"`
	Seq      int64  `json:"seq,omitempty"`
	Payload  string `json:"payload,omitempty"`
	Error    string `json:"error,omitempty"`
}

// runNode is the node's main function. It ends with its standard input.
func runNode(url string) int {
	out := json.NewEncoder(os.Stdout)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fail := func(err error) int {
		_ = out.Encode(nodeLine{Error: err.Error()})
		return 1
	}
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url})
	if err != nil {
		return fail(err)
	}
	if err := engine.Start(ctx); err != nil {
		return fail(err)
	}
	sub, err := engine.Subscribe(ctx, strings.Split(os.Getenv(nodeChannels), ","), trunkline.SubscribeOptions{})
	if err != nil {
		return fail(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	_ = out.Encode(nodeLine{Ready: true, Epoch: engine.State().Log.Epoch})
	for m, err := range sub.All(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fail(err)
		}
		_ = out.Encode(nodeLine{Epoch: m.Epoch, Position: m.Position, Seq: m.Seq, Payload: string(m.Payload)})
	}
	if err := engine.Stop(context.Background()); err != nil {
		return fail(err)
	}
	return 0
}

// A node is a node in a process of its own.
type node struct {
	t     *testing.T
	cmd   *osexec.Cmd
	lines chan nodeLine
	end   func() // kill -9, and wait
}

// startNode starts a node and returns when it is subscribed to the channels.
func startNode(t *testing.T, url string, channels ...string) *node {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodeVariable+"="+url, nodeChannels+"="+strings.Join(channels, ","))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // ends with us
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, cmd: cmd, lines: make(chan nodeLine, 10_000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(n.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			var line nodeLine
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				line.Error = scanner.Text()
			}
			n.lines <- line
		}
	}()
	n.end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	t.Cleanup(n.end)
	if line := n.line(); !line.Ready {
		t.Fatalf("the node did not start: %+v", line)
	}
	return n
}

func (n *node) signal(sig syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) line() nodeLine {
	n.t.Helper()
	select {
	case line, ok := <-n.lines:
		if !ok {
			n.t.Fatal("the node has ended")
		}
		return line
	case <-time.After(patience):
		n.t.Fatal("the node is silent")
	}
	panic("unreachable")
}

// next reads n messages.
func (n *node) next(count int) []nodeLine {
	n.t.Helper()
	lines := make([]nodeLine, 0, count)
	for range count {
		line := n.line()
		if line.Error != "" {
			n.t.Fatalf("after %d of %d messages: %s", len(lines), count, line.Error)
		}
		lines = append(lines, line)
	}
	return lines
}

// A follower that has heard of a later position than the log has is told so, whoever vouches.
func TestTakeoverJudgesTheEpoch(t *testing.T) {
	t.Parallel()
	type caller struct {
		term, position, message int64 // relative to the log's
		unsure                  bool
		seen                    int64 // relative to the log's end
		foreign                 bool  // what it has seen is of another epoch
	}
	for _, test := range []struct {
		name    string
		crashed bool // the life row is gone
		caller  caller
		reason  string // of a new epoch
	}{
		{"nothing happened, a new node", false, caller{term: -9}, ""},
		{"nothing happened, the last sequencer", false, caller{}, ""},
		{"nothing happened, one that was behind", false, caller{term: -9, seen: -2}, ""},
		{"a crash, the last sequencer finds its last row", true, caller{}, ""},
		{"a crash, a follower never vouches", true, caller{term: -9}, "crash"},
		{"a crash, an earlier sequencer neither", true, caller{term: -1}, "crash"},
		{"a crash, the last row is missing", true, caller{position: 1, message: 1}, "crash"},
		{"a crash, another message has the position", true, caller{message: 1}, "crash"},
		{"a crash, the last step's outcome was unknown and is there", true, caller{position: -1, message: -1, unsure: true}, ""},
		{"a crash, the last step's outcome was unknown and is not there", true, caller{unsure: true}, "crash"},
		{"the caller has seen more", false, caller{seen: 1}, "end of the log was lost"},
		{"the caller has seen more, the last sequencer or not", true, caller{seen: 1}, "end of the log was lost"},
		{"the caller has seen more of another epoch", false, caller{seen: 7, foreign: true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			conn := pgtest.Connect(t, url)
			engine := startEngine(t, url)
			for i := range 3 {
				publish(t, conn, "c", numbered(i))
			}
			next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 3)
			if err := engine.Stop(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if test.crashed {
				exec(t, conn, "DELETE FROM trunkline.life")
			}
			var term, position, message int64
			var epoch string
			err := conn.QueryRow(testContext(t), "SELECT s.term, s.epoch, l.position, l.message_id FROM trunkline.state s, trunkline.log l ORDER BY l.position DESC LIMIT 1").
				Scan(&term, &epoch, &position, &message)
			if err != nil {
				t.Fatal(err)
			}
			seen := epoch
			if test.caller.foreign {
				seen = "another"
			}
			var newTerm, last int64
			var newEpoch, reason string
			var era int
			var oldEras bool
			c := test.caller
			err = conn.QueryRow(testContext(t), "SELECT term, epoch, reason, current_era, old_eras, last_position FROM trunkline.takeover($1, $2, $3, $4, $5, $6)",
				term+c.term, position+c.position, message+c.message, c.unsure, seen, position+c.seen).Scan(&newTerm, &newEpoch, &reason, &era, &oldEras, &last)
			if err != nil {
				t.Fatal(err)
			}
			if (reason == "") != (test.reason == "") || !strings.Contains(reason, test.reason) || (newEpoch != epoch) != (test.reason != "") {
				t.Errorf("reason %q, epoch %s, before %s; want %q", reason, newEpoch, epoch, test.reason)
			}
			if newTerm != term+1 || last != position || era != scan[int](t, conn, "SELECT max(era) FROM trunkline.message") || oldEras {
				t.Errorf("term %d → %d, last %d, era %d, old eras %v", term, newTerm, last, era, oldEras)
			}
			if !scan[bool](t, conn, "SELECT EXISTS (SELECT FROM trunkline.life l JOIN trunkline.state s USING (epoch))") {
				t.Error("the epoch has no life row")
			}
		})
	}
}

// One who waits for the lock and is stopped while waiting neither leads nor leaves it locked.
func TestStopWhileFollowing(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	first, second := startEngine(t, url), startEngine(t, url)
	if err := second.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, url)
	eventually(t, "no follower is left", func() bool { return !scan[bool](t, conn, "SELECT trunkline.followed()") })
	sub := subscribe(t, first, trunkline.FromNow(), "c")
	publish(t, conn, "c", "1")
	next(t, sub, 1)
	var pid int
	if err := conn.QueryRow(testContext(t), "SELECT pid FROM trunkline.sequencer_session()").Scan(&pid); errors.Is(err, pgx.ErrNoRows) {
		t.Error("nobody sequences")
	}
}
