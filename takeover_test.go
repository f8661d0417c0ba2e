package trunkline_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// takeoverBound is the promise: a sequencer that is stopped or cut off is replaced within 5 s. The rest is for a busy
// machine: 3 s until the server ends the silent session and 1 s until the other looks leave it little room.
const takeoverBound = 5*time.Second + 5*time.Second

// stopwatch returns a function that tells how long ago it was begun, less what the machine lost meanwhile: by how much a wait and a
// question to the server, made again and again, took longer than the wait.
func stopwatch(t *testing.T, url string) (stop func() time.Duration) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	began := time.Now()
	ended, lost := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		const wait = 20 * time.Millisecond
		var sum time.Duration
		defer func() { lost <- sum }()
		for {
			begun := time.Now()
			select {
			case <-ended:
				return
			case <-time.After(wait):
			}
			if _, err := conn.Exec(context.Background(), "SELECT 1"); err != nil {
				return
			}
			sum += max(0, time.Since(begun)-wait)
		}
	}()
	stop = sync.OnceValue(func() time.Duration {
		took := time.Since(began)
		close(ended)
		return took - <-lost
	})
	t.Cleanup(func() { stop() })
	return stop
}

// leads waits until the right node sequences. The server ends the session of one that stands still for 3 s: should another have taken
// its place, that one's session is ended in turn.
func leads(t *testing.T, url, who string, right func() bool) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	since := time.Now()
	eventually(t, who+" sequences", func() bool {
		if right() {
			return true
		}
		if time.Since(since) > 2*time.Second {
			since = time.Now()
			exec(t, conn, "SELECT pg_terminate_backend(pid) FROM trunkline.sequencer_session()")
		}
		return false
	})
}

// A reign is who sequences, to see later that nobody took the log from a session that lived.
type reign struct{ term, pid int }

func present(t *testing.T, db trunkline.Tx) reign {
	t.Helper()
	return reign{
		term: scan[int](t, db, "SELECT term FROM trunkline.state"),
		pid:  scan[int](t, db, "SELECT coalesce((SELECT pid FROM trunkline.sequencer_session()), 0)"),
	}
}

func (r reign) lasts(t *testing.T, db trunkline.Tx) {
	t.Helper()
	if now := scan[int](t, db, "SELECT term FROM trunkline.state"); now != r.term && !endedBecause(t, r.pid, "idle-session timeout") {
		t.Errorf("the log was taken back: term %d, then %d", r.term, now)
	}
}

// endedBecause looks into the server's log for why a session was ended.
func endedBecause(t *testing.T, pid int, reason string) bool {
	t.Helper()
	log, err := os.ReadFile(pgtest.Server(t).LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(log), fmt.Sprintf("[%d] FATAL:  terminating connection due to %s", pid, reason))
}

func TestTakeoverFromTerminatedSequencer(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	first := scan[int](t, conn, "SELECT term FROM trunkline.state")
	nodes := []*trunkline.Engine{startEngine(t, url), startEngine(t, url)}
	subs := []*trunkline.Subscription{
		subscribe(t, nodes[0], trunkline.FromNow(), "c"), subscribe(t, nodes[1], trunkline.FromNow(), "c"),
	}
	epoch := nodes[0].State().Log.Epoch
	const rounds, each = 5, 40
	for round := range rounds {
		term := scan[int](t, conn, "SELECT term FROM trunkline.state")
		eventually(t, "there is a sequencer to end", func() bool {
			return scan[int](t, conn, "SELECT count(pg_terminate_backend(pid)) FROM trunkline.sequencer_session()") == 1
		})
		for i := range each {
			publish(t, conn, "c", numbered(round*each+i))
		}
		eventually(t, "somebody has taken over", func() bool {
			return scan[int](t, conn, "SELECT term FROM trunkline.state") > term && nodes[0].State().Sequencing != nodes[1].State().Sequencing
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
	terms := int64(scan[int](t, conn, "SELECT term FROM trunkline.state") - first)
	if n := nodes[0].Stats().Takeovers + nodes[1].Stats().Takeovers; n < rounds+1 || n > terms {
		t.Errorf("%d takeovers in %d terms, want %d", n, terms, rounds+1)
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
	leads(t, url, "the node", func() bool { return !engine.State().Sequencing })

	// Stopped while it is at work, as a suspended virtual machine would be.
	stop := stopwatch(t, url)
	node.signal(syscall.SIGSTOP)
	for i := range 50 {
		publish(t, conn, "c", numbered(1+i))
	}
	wantSeqs(t, next(t, sub, 50), 2)
	took := stop()
	t.Logf("taken over after %v", took)
	if took > takeoverBound {
		t.Errorf("taken over after %v", took)
	}
	after := present(t, conn)

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
	after.lasts(t, conn)
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
	leads(t, url, "the first node", func() bool { return first.State().Sequencing })
	conn := pgtest.Connect(t, url)

	stop := stopwatch(t, url)
	link.stall()
	for i := range 50 {
		publish(t, conn, "c", numbered(i))
	}
	wantSeqs(t, next(t, subs[1], 50), 1)
	took := stop()
	t.Logf("taken over after %v", took)
	if took > takeoverBound {
		t.Errorf("taken over after %v", took)
	}
	after := present(t, conn)
	link.heal()
	publish(t, conn, "c", numbered(50))
	wantSeqs(t, next(t, subs[0], 51), 1)
	wantSeqs(t, next(t, subs[1], 1), 51)
	after.lasts(t, conn)
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
	leads(t, url, "the first node", func() bool { return first.State().Sequencing })
	stuck := present(t, conn).pid

	link.clog(500_000)
	tx := begin(t, url)
	large := `"` + strings.Repeat("x", 1<<20-2) + `"`
	for range 3 {
		publish(t, tx, "c", large)
	}
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	stop := stopwatch(t, url)
	eventually(t, "its session waits for it to read, or was ended for that", func() bool {
		return link.stalled() && (scan[bool](t, conn,
			"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event = 'ClientWrite')", stuck) ||
			endedBecause(t, stuck, "administrator command"))
	})
	wantSeqs(t, next(t, subs[1], 3), 1)
	took := stop()
	t.Logf("taken over after %v", took)
	if took > takeoverBound {
		t.Errorf("taken over after %v", took)
	}
	if !endedBecause(t, stuck, "administrator command") {
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
			nobodyRuns(t, conn)
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
	eventually(t, "somebody sequences", func() bool { return scan[bool](t, conn, "SELECT EXISTS (SELECT FROM trunkline.sequencer_session())") })
}
