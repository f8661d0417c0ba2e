package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/internal/localpg"
)

// prefix begins the name of the folder of a test program. In it: owner, locked as long as the program lives, keep, if
// its servers are to stay, and a folder per cluster.
const prefix = "trunkline-test-"

// cluster is the test program's folder and the shared server in it, both made on first use.
type cluster struct {
	mu       sync.Mutex
	dir      string
	owner    *os.File // flock: others may sweep dir once we are gone
	watchdog *exec.Cmd
	lifeline io.WriteCloser // its end tells the watchdog that we are gone
	server   *localpg.Server
	err      error // why the server did not start: not tried again
	kept     bool
}

func (c *cluster) get() (*localpg.Server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil || c.err != nil {
		return c.server, c.err
	}
	dir, err := c.folderLocked()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.server, c.err = localpg.Start(ctx, localpg.Config{
		Dir: filepath.Join(dir, "shared"), BinDir: os.Getenv("TRUNKLINE_TEST_PG_BIN"), Settings: settings,
	})
	return c.server, c.err
}

func (c *cluster) folder() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.folderLocked()
}

func (c *cluster) folderLocked() (string, error) {
	if c.dir != "" {
		return c.dir, nil
	}
	sweep(os.TempDir())
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(dir, 0o711); err != nil {
			return "", err
		}
	}
	if c.owner, err = claim(dir); err != nil {
		return "", err
	}
	if err := c.watch(dir); err != nil {
		return "", err
	}
	c.dir = dir
	return dir, nil
}

// claim marks dir as in use for as long as this program lives.
func claim(dir string) (*os.File, error) {
	f, err := os.Create(filepath.Join(dir, ".owner"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	// Visible to sweepers only now that it is locked.
	if err := os.Rename(f.Name(), filepath.Join(dir, "owner")); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// watchdogScript waits for the end of its standard input, which comes with the end of the test program, however that
// ends. A word before it calls the watch off.
const watchdogScript = `
trap '' INT TERM HUP
if read -r word; then exit 0; fi
if [ -e "$1/keep" ]; then exit 0; fi
for home in "$1"/*/postgres; do
	pid=$(head -n 1 "$home/data/postmaster.pid" 2>/dev/null) || continue
	kill -QUIT "$pid" 2>/dev/null
done
for home in "$1"/*/postgres; do
	if [ -L "$home" ]; then rm -rf "$(readlink "$home")"; fi
done
n=0
until rm -rf "$1" 2>/dev/null || [ $n -ge 600 ]; do n=$((n+1)); sleep 0.1; done
`

// watch starts a process, in a session of its own, that removes dir and its servers when this program is gone: go test
// kills it when its time is up, and nothing of ours runs then.
func (c *cluster) watch(dir string) error {
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "sh", dir) //nolint:noctx // it is to outlive us
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	c.watchdog, c.lifeline = cmd, stdin
	return nil
}

// keepServers leaves all servers and databases for a person to look at.
func (c *cluster) keepServers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = true
	_ = os.WriteFile(filepath.Join(c.dir, "keep"), nil, 0o600)
}

// close removes the servers and the folder.
func (c *cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir == "" {
		return nil
	}
	if c.kept {
		fmt.Fprintf(os.Stderr, "pgtest: the databases of failed tests are kept; remove them with: rm %[1]s/keep; "+
			"the next test run then stops their servers and removes %[1]s\n", c.dir)
	} else if err := c.remove(); err != nil {
		return err
	}
	_, _ = io.WriteString(c.lifeline, "done\n")
	_ = c.lifeline.Close()
	_ = c.watchdog.Wait()
	_ = c.owner.Close()
	return nil
}

func (c *cluster) remove() error {
	if c.server != nil {
		if err := c.server.Release(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return removeAll(ctx, c.dir)
}

// removeAll kills the servers below dir and removes it. Their data is of no further use.
func removeAll(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := localpg.Remove(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// sweep removes what dead test programs left in temp although their watchdogs should have done so.
func sweep(temp string) {
	dirs, _ := filepath.Glob(filepath.Join(temp, prefix+"*")) // fails for a malformed pattern only
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "keep")); err == nil {
			continue
		}
		if !abandoned(dir) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		// Another user's, or one that another program sweeps right now: not ours to report.
		_ = removeAll(ctx, dir)
		cancel()
	}
}

// abandoned reports whether the program that made dir is gone. One that has just made it has not claimed it yet.
func abandoned(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "owner"))
	if errors.Is(err, os.ErrNotExist) {
		info, err := os.Stat(dir)
		return err == nil && time.Since(info.ModTime()) > time.Minute
	}
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
