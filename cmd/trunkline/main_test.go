package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// asProgram makes the test program run as trunkline: a process to be interrupted and killed.
const asProgram = "TRUNKLINE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	// What serve has to do in time at its end, and what listen and doctor see soon, is late here only where something hangs.
	serveStop, checkedSoon, lagPatience = patience, patience, patience
	if os.Getenv(asProgram) != "" {
		main()
	}
	// The realtime library starts one per node and has no way to stop it.
	pgtest.Main(m, goleak.IgnoreAnyFunction("github.com/FZambia/eagle.(*Eagle).aggregate"))
}

// patience bounds what should happen soon.
const patience = 60 * time.Second

// output collects what is written, and lets tests wait for a line.
type output struct {
	mu      sync.Mutex
	text    strings.Builder
	read    int           // lines up to here were returned by line
	changed chan struct{} // closed and replaced with each write
	closed  bool
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// line waits for the next line that contains a text, and returns it; those before are passed over.
func (o *output) line(t *testing.T, containing string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		o.mu.Lock()
		rest := o.text.String()[o.read:]
		changed, closed := o.changed, o.closed
		for {
			line, after, ok := strings.Cut(rest, "\n")
			if !ok {
				break
			}
			o.read += len(line) + 1
			if strings.Contains(line, containing) {
				o.mu.Unlock()
				return line
			}
			rest = after
		}
		o.mu.Unlock()
		if closed {
			t.Fatalf("the output ended without %q:\n%s", containing, o)
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no %q in the output:\n%s", containing, o)
		}
	}
}

// A command is a command line under way, in this process or another.
type command struct {
	out, err  *output
	interrupt func()
	process   *os.Process // nil in this process
	exited    chan struct{}
	code      int
}

// wait returns the exit code.
func (c *command) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.exited:
	case <-time.After(patience):
		t.Fatalf("the command doesn't end; stdout:\n%s\nstderr:\n%s", c.out, c.err)
	}
	return c.code
}

// surroundings are the variables and the standard input of a command.
type surroundings struct {
	env   map[string]string
	stdin io.Reader
}

// start runs a command line in this process.
func start(t *testing.T, s surroundings, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &command{out: newOutput(), err: newOutput(), interrupt: cancel, exited: make(chan struct{})}
	stdin := s.stdin
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	go func() {
		defer close(c.exited)
		c.code = run(ctx, args, stdin, c.out, c.err, func(name string) (string, bool) {
			value, ok := s.env[name]
			return value, ok
		})
		c.out.end()
		c.err.end()
	}()
	t.Cleanup(func() {
		cancel()
		<-c.exited
		if t.Failed() {
			t.Logf("trunkline %s\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), c.out, c.err)
		}
	})
	return c
}

// do runs a command line to its end.
func do(t *testing.T, s surroundings, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := start(t, s, args...)
	code = c.wait(t)
	return code, c.out.String(), c.err.String()
}

// succeed runs a command line that has to succeed, and returns its output.
func succeed(t *testing.T, s surroundings, args ...string) string {
	t.Helper()
	code, stdout, stderr := do(t, s, args...)
	if code != exitOK {
		t.Fatalf("trunkline %s: exit code %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// spawn runs a command line in a process of its own.
func spawn(t *testing.T, env []string, args ...string) *command {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	c := &command{out: newOutput(), err: newOutput(), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = c.out, c.err
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.process = cmd.Process
	c.interrupt = func() { _ = cmd.Process.Signal(syscall.SIGTERM) }
	go func() {
		defer close(c.exited)
		_ = cmd.Wait()
		c.code = cmd.ProcessState.ExitCode()
		c.out.end()
		c.err.end()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.exited
		if t.Failed() {
			t.Logf("trunkline %s\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), c.out, c.err)
		}
	})
	return c
}

// on is the surroundings of commands that use a database.
func on(t *testing.T, url string) surroundings {
	t.Helper()
	return surroundings{env: map[string]string{"TRUNKLINE_DATABASE_URL": url, "TRUNKLINE_DATA_DIR": t.TempDir()}}
}

// database makes a database and the surroundings of commands that use it.
func database(t *testing.T) (surroundings, *pgx.Conn) {
	t.Helper()
	url := pgtest.Database(t)
	return on(t, url), pgtest.Connect(t, url)
}

// execute runs SQL as a program would: with one round trip a statement.
func execute(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// dataDir makes a data folder for a private cluster, and removes both at the end.
func dataDir(t *testing.T) string {
	t.Helper()
	temp := t.TempDir()
	if os.Geteuid() == 0 {
		// The server runs as another user, who must get through.
		if err := os.Chmod(filepath.Dir(temp), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(temp, "trunkline")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := localpg.Remove(ctx, dir); err != nil {
			t.Errorf("remove the cluster: %v", err)
		}
	})
	return dir
}
