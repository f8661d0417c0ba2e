package checker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/trunkline/trunkline"
)

// A Node is one node over all its lives: a process that is killed and started again, and what the parent knows of it.
type Node struct {
	cfg      NodeConfig
	command  func() *exec.Cmd
	verifier *Verifier
	problem  func(format string, args ...any)
	verbose  bool

	mu      sync.Mutex
	resume  map[string]*SubscriptionConfig // where each subscriber that lasts has come to
	process *process
	lives   int
	leads   bool
	stats   trunkline.Stats // of this life
	ticks   int             // how often stats came
	healed  int64           // of earlier lives
	endings map[string]int  // why subscriptions ended
	rss     int64           // kB, when this life began
}

// A process is one life of a node.
type process struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	ready    chan struct{}
	done     chan struct{} // closed when it has ended and all it said has been read
	expected bool          // it was killed by us
	stderr   tail
}

// tail keeps the end of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
	also io.Writer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text) - 16<<10; n > 0 {
		t.text = t.text[n:]
	}
	if t.also != nil {
		_, _ = t.also.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// Start starts a life.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	cfg := n.cfg
	cfg.Seed += uint64(n.lives)
	n.lives++
	cfg.Subscriptions = nil
	for _, s := range n.cfg.Subscriptions {
		cfg.Subscriptions = append(cfg.Subscriptions, *n.resume[s.Name])
	}
	encoded, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	p := &process{cmd: n.command(), ready: make(chan struct{}), done: make(chan struct{})}
	if n.verbose {
		p.stderr.also = os.Stderr
	}
	p.cmd.Env = append(os.Environ(), NodeVariable+"="+string(encoded))
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	n.process = p
	n.healed += n.stats.Healed
	n.stats, n.leads, n.rss = trunkline.Stats{}, false, 0
	go n.read(p, stdout)
	return nil
}

// read takes in all that a life says, and its end.
func (n *Node) read(p *process, stdout io.Reader) {
	defer close(p.done)
	in := bufio.NewReaderSize(stdout, 256<<10)
	for {
		text, err := in.ReadBytes('\n')
		if err != nil {
			break // what lacks its newline was never said
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			n.problem("node %s said %.200q: %v", n.cfg.Name, text, err)
			continue
		}
		n.hear(p, &l)
	}
	err := p.cmd.Wait()
	n.mu.Lock()
	expected := p.expected
	n.mu.Unlock()
	stderr := p.stderr.String()
	if !expected || strings.Contains(stderr, "DATA RACE") || strings.Contains(stderr, "panic:") {
		n.problem("node %s ended: %v\n%s", n.cfg.Name, err, stderr)
	}
}

func (n *Node) hear(p *process, l *line) {
	n.mu.Lock()
	own := n.resume[l.Stream]
	switch l.Kind {
	case lineReady:
		n.rss = residentKB(p.cmd.Process.Pid)
		close(p.ready)
	case lineStats:
		n.stats, n.leads = *l.Stats, l.Leads
		n.ticks++
	case lineEnded:
		n.endings[l.Text]++
	case lineMessage, lineSettled:
		if own != nil {
			own.Since = trunkline.Position{Epoch: l.Epoch, Position: l.Position}.String()
			if own.ByOffset && l.Kind == lineMessage {
				own.Offset = trunkline.Offset{Epoch: l.Epoch, Seq: l.Seq}.String()
			}
		}
	case lineBegin:
		if own != nil {
			own.Since, own.Offset = "", ""
			if l.Epoch != "" {
				own.Since = trunkline.Position{Epoch: l.Epoch, Position: l.Position}.String()
			}
			own.Now = false
		}
	}
	n.mu.Unlock()
	switch l.Kind {
	case lineBegin:
		n.verifier.Begin(l.Stream, l.Channels, l.Epoch, l.Position)
	case lineSettled:
		n.verifier.Settled(l.Stream, l.Epoch, l.Position)
	case lineMessage:
		n.verifier.Receive(l.Stream, Delivery{
			Epoch: l.Epoch, Position: l.Position, Seq: l.Seq, ID: l.ID, Channel: l.Channel, Hash: l.Hash,
		})
	case lineFailed:
		n.problem("node %s: %s", n.cfg.Name, l.Text)
	}
}

// Ready waits until the engine of the present life has started.
func (n *Node) Ready(ctx context.Context) error {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	select {
	case <-p.ready:
		return nil
	case <-p.done:
		return fmt.Errorf("node %s ended: %s", n.cfg.Name, p.stderr.String())
	case <-ctx.Done():
		return fmt.Errorf("node %s is not ready: %w\n%s", n.cfg.Name, context.Cause(ctx), p.stderr.String())
	}
}

// Kill ends the present life with SIGKILL, and returns once all it said has been read.
func (n *Node) Kill() {
	n.mu.Lock()
	p := n.process
	if p == nil {
		n.mu.Unlock()
		return
	}
	p.expected = true
	n.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.stdin.Close()
	n.mu.Lock()
	n.process = nil
	n.leads = false
	n.mu.Unlock()
}

// Signal sends SIGSTOP or SIGCONT.
func (n *Node) Signal(sig syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		_ = n.process.cmd.Process.Signal(sig)
	}
}

// Leads tells whether the node said last that it sequences.
func (n *Node) Leads() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leads
}

// Ticks is how often the node has told its counters.
func (n *Node) Ticks() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ticks
}

// Healed is how many messages only the fallback found, over all lives.
func (n *Node) Healed() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.healed + n.stats.Healed
}

// Dozes is how often the sequencer let writers ring again, in this life.
func (n *Node) Dozes() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats.Dozes
}

// Memory returns the resident memory in kB when this life began, and now.
func (n *Node) Memory() (before, now int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return 0, 0
	}
	return n.rss, residentKB(n.process.cmd.Process.Pid)
}

// residentKB asks ps, which every Unix has.
func residentKB(pid int) int64 {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output() //nolint:noctx // returns at once
	if err != nil {
		return 0
	}
	kb, _ := strconv.ParseInt(string(bytes.TrimSpace(out)), 10, 64)
	return kb
}
