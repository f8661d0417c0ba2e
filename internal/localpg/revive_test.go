package localpg

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crash ends the postmaster behind the server's back.
func crash(t *testing.T, server *Server) {
	t.Helper()
	pid := server.PID()
	if !server.Runs() {
		t.Error("the server doesn't count as running")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !awaitEnd(ctx, pid) {
		t.Fatal("the postmaster outlived SIGKILL")
	}
	if server.Runs() {
		t.Error("a dead server counts as running")
	}
}

func revive(t *testing.T, server *Server) bool {
	t.Helper()
	revived, err := server.Revive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !server.Runs() {
		t.Error("the revived server doesn't run")
	}
	return revived
}

func TestReviveStartsTheServer(t *testing.T) {
	dir := clusterDir(t)
	server := start(t, Config{Dir: dir})
	url, pid := server.URL(), server.PID()
	query(t, url, "CREATE TABLE kept AS SELECT 'still here' AS text")
	if revive(t, server) || server.PID() != pid {
		t.Error("a running server was revived")
	}
	crash(t, server)
	if err := os.Remove(filepath.Join(dir, "url")); err != nil {
		t.Fatal(err)
	}
	if !revive(t, server) || server.URL() != url || server.PID() == pid {
		t.Errorf("pid %d, URL %s, before: %d, %s", server.PID(), server.URL(), pid, url)
	}
	if got, err := ReadURL(dir); err != nil || got != url {
		t.Errorf("ReadURL = %q, %v, want %q", got, err, url)
	}
	if got := query(t, url, "SELECT text FROM kept"); got != "still here" {
		t.Errorf("row = %q", got)
	}
	stop(t, server)
	if _, err := server.Revive(t.Context()); err == nil {
		t.Error("a stopped server was revived")
	}
}

func TestReviveAdoptsWhatOthersStarted(t *testing.T) {
	dir := clusterDir(t)
	one := start(t, Config{Dir: dir})
	old := one.Port()
	crash(t, one)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	two := start(t, Config{Dir: dir, Port: port})
	if one.Runs() {
		t.Error("the server of another pid counts as the known one")
	}
	if revive(t, one) || one.PID() != two.PID() || one.Port() != port || one.Port() == old || one.URL() != two.URL() || one.Adopted() {
		t.Errorf("pid %d, port %d, want %d, %d", one.PID(), one.Port(), two.PID(), port)
	}
	stop(t, two)
	query(t, one.URL(), "SELECT 'still there'")
	stop(t, one)
}

func TestReviveAtOnce(t *testing.T) {
	dir := clusterDir(t)
	servers := []*Server{start(t, Config{Dir: dir}), start(t, Config{Dir: dir}), start(t, Config{Dir: dir})}
	crash(t, servers[0])
	revived := make(chan bool, len(servers))
	var all sync.WaitGroup
	for _, server := range servers {
		all.Go(func() {
			started, err := server.Revive(t.Context())
			if err != nil {
				t.Error(err)
			}
			revived <- started
		})
	}
	all.Wait()
	close(revived)
	started := 0
	for yes := range revived {
		if yes {
			started++
		}
	}
	if started != 1 {
		t.Errorf("%d of %d started a server, want 1", started, len(servers))
	}
	pid := servers[0].PID()
	for _, server := range servers {
		if server.PID() != pid || !server.Runs() {
			t.Errorf("pid %d, want %d", server.PID(), pid)
		}
		stop(t, server)
	}
	if alive(pid) {
		t.Error("the last Stop left the server running")
	}
}

func TestReviveIsCalledOff(t *testing.T) {
	server := start(t, Config{Dir: clusterDir(t)})
	crash(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if revived, err := server.Revive(ctx); revived || err == nil {
		t.Errorf("Revive = %v, %v, want an error", revived, err)
	}
	if pid, _ := server.running(); pid != 0 {
		t.Errorf("server %d was left behind", pid)
	}
	revive(t, server)
	stop(t, server)
}

// TestStopStopsWhatRunsNow has another process replace the server before the last user stops.
func TestStopStopsWhatRunsNow(t *testing.T) {
	dir := clusterDir(t)
	one := start(t, Config{Dir: dir})
	crash(t, one)
	two := start(t, Config{Dir: dir})
	pid := two.PID()
	if err := two.Release(); err != nil {
		t.Fatal(err)
	}
	stop(t, one)
	if alive(pid) {
		t.Error("Stop left the new server running")
	}
}

func TestStopOfADeadServer(t *testing.T) {
	dir := clusterDir(t)
	var log strings.Builder
	one, two := start(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}), start(t, Config{Dir: dir})
	if !InUse(dir) {
		t.Error("a used folder counts as unused")
	}
	crash(t, one)
	stop(t, one)
	if strings.Contains(log.String(), "goes on") {
		t.Errorf("no server runs, but:\n%s", log.String())
	}
	stop(t, two)
	if InUse(dir) || InUse(filepath.Join(dir, "nowhere")) {
		t.Error("an unused folder counts as used")
	}
}
