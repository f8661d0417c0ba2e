package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// poll is how often a process that is not our child is looked at while we wait for its end.
const poll = 10 * time.Millisecond

// running tells pid and port of the postmaster that runs on the cluster; 0, 0 if none does.
func (s *Server) running() (pid, port int) {
	pid, port = readPIDFile(s.data)
	if pid == 0 || !isPostmaster(pid, s.data) {
		return 0, 0
	}
	return pid, port
}

// readPIDFile reads what a postmaster notes down about itself: line 1 is its pid, line 4 its port.
func readPIDFile(data string) (pid, port int) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0, 0
	}
	lines := strings.Split(string(text), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 0 {
		return 0, 0
	}
	if len(lines) > 3 {
		port, _ = strconv.Atoi(strings.TrimSpace(lines[3]))
	}
	return pid, port
}

// isPostmaster reports whether pid lives and is a PostgreSQL process on data: the pid in a file left by a crash may
// belong to any program by now.
func isPostmaster(pid int, data string) bool {
	if !alive(pid) {
		return false
	}
	if runtime.GOOS != "linux" {
		out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output() //nolint:noctx // a number
		name := filepath.Base(strings.TrimSpace(string(out)))
		return err == nil && (strings.HasPrefix(name, "postgres") || strings.HasPrefix(name, "postmaster"))
	}
	// Every PostgreSQL process works in its data folder.
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return err == nil && strings.TrimSuffix(cwd, " (deleted)") == data
}

// alive reports whether pid is a process that still runs; one that ended and waits for its parent does not.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if runtime.GOOS != "linux" {
		return true
	}
	_, state := procStat(pid)
	return state != 'Z' && state != 'X' && state != 0
}

// procStat reads a process's parent and state from Linux's /proc; 0, 0 if it is gone.
func procStat(pid int) (parent int, state byte) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// pid (name, which may hold anything) state ppid …
	i := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[i+1:])
	if i < 0 || len(fields) < 2 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(string(fields[1]))
	return parent, fields[0][0]
}

// dropStalePIDFile removes a pid file that names no postmaster of this cluster. PostgreSQL does so itself if the pid is
// free or another user's, but refuses to start if it belongs to another program of its own user.
func dropStalePIDFile(data string, log *slog.Logger) error {
	path := filepath.Join(data, "postmaster.pid")
	pid, _ := readPIDFile(data)
	if pid != 0 && isPostmaster(pid, data) {
		return nil
	}
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return inFolder(data, fmt.Errorf("stale pid file: %w", err))
	}
	log.Info("the last PostgreSQL here did not end orderly: it recovers now", "stale_pid", pid)
	return nil
}

// halt ends the postmaster by SIGINT (fast, then immediate) or SIGQUIT (immediate) and returns when it is gone.
func (s *Server) halt(ctx context.Context, how syscall.Signal) error {
	pid := s.pid
	if pid == 0 || !isPostmaster(pid, s.data) {
		s.pid = 0
		return nil
	}
	if err := signal(pid, how); err != nil {
		return fmt.Errorf("stop PostgreSQL (pid %d): %w", pid, err)
	}
	if how == syscall.SIGINT {
		fast, cancel := context.WithTimeout(ctx, fastTimeout)
		gone := awaitEnd(fast, pid)
		cancel()
		if gone {
			s.pid = 0
			return nil
		}
		s.log.Warn("PostgreSQL takes long to stop: ending it at once, it will recover when it starts", "pid", pid)
		if err := signal(pid, syscall.SIGQUIT); err != nil {
			return fmt.Errorf("stop PostgreSQL (pid %d): %w", pid, err)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), immediateTimeout)
	defer cancel()
	if !awaitEnd(last, pid) {
		// The postmaster itself waits up to 5 s for children that do not heed SIGQUIT.
		if err := killTree(context.WithoutCancel(ctx), pid, s.data); err != nil {
			return err
		}
	}
	s.pid = 0
	return nil
}

// awaitEnd reports whether pid ended before ctx did.
func awaitEnd(ctx context.Context, pid int) bool {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-ctx.Done():
			return !alive(pid)
		case <-tick.C:
		}
	}
	return true
}

// killTree ends a postmaster and its children with SIGKILL and waits until they are gone. The postmaster is stopped
// first, so that it makes no more children while they are listed.
func killTree(ctx context.Context, pid int, data string) error {
	if err := signal(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("kill PostgreSQL (pid %d): %w", pid, err)
	}
	pids := append(childrenOf(pid), pid)
	slices.Reverse(pids) // the postmaster first: it must not see its children die and begin to recover
	for _, p := range pids {
		if err := signal(p, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill PostgreSQL (pid %d): %w", p, err)
		}
	}
	for _, p := range pids {
		if !awaitEnd(ctx, p) {
			return fmt.Errorf("kill PostgreSQL (pid %d): it does not end: %w", p, ctx.Err())
		}
	}
	if runtime.GOOS == "linux" {
		// A child that was forked before the stop took effect.
		for _, p := range processesIn(data) {
			_ = signal(p, syscall.SIGKILL)
			awaitEnd(ctx, p)
		}
	}
	return nil
}

func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

func childrenOf(pid int) []int {
	if runtime.GOOS != "linux" {
		out, _ := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output() //nolint:noctx // a number; none: exit 1
		var pids []int
		for field := range strings.FieldsSeq(string(out)) {
			if p, err := strconv.Atoi(field); err == nil {
				pids = append(pids, p)
			}
		}
		return pids
	}
	return slices.DeleteFunc(processes(), func(p int) bool {
		parent, _ := procStat(p)
		return parent != pid
	})
}

// processesIn lists the living processes that work in data (Linux).
func processesIn(data string) []int {
	return slices.DeleteFunc(processes(), func(p int) bool { return !isPostmaster(p, data) })
}

func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if p, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, p)
		}
	}
	return pids
}
