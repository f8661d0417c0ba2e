package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// helperDir has this test program start the server of that folder, say so, and wait to be killed.
const helperDir = "LOCALPG_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		server, err := Start(context.Background(), Config{Dir: dir, Settings: quick()})
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println("started", server.PID())
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// quick are settings for tests: nothing here survives a crash of the operating system.
func quick() map[string]string {
	return map[string]string{"fsync": "off", "full_page_writes": "off", "max_connections": "20", "shared_buffers": "16MB"}
}

// folder is a temporary one that the server's user can reach, which those of t.TempDir are not for root.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "trunkline-localpg-")
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func clusterDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(folder(t), "data")
	t.Cleanup(func() {
		if err := Remove(context.Background(), dir); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return dir
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Settings == nil {
		cfg.Settings = quick()
	}
	server, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { _ = server.Release() })
	return server
}

func stop(t *testing.T, server *Server) {
	t.Helper()
	if err := server.Stop(context.Background()); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

func TestStopKeepsData(t *testing.T) {
	dir := clusterDir(t)
	server := start(t, Config{Dir: dir})
	if server.Adopted() {
		t.Error("a new server counts as adopted")
	}
	url, port := server.URL(), server.Port()
	if got, err := ReadURL(dir); err != nil || got != url {
		t.Errorf("ReadURL = %q, %v, want %q", got, err, url)
	}
	for _, name := range []string{"url", "password"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", name, info.Mode(), err)
		}
	}
	query(t, url, "CREATE TABLE kept AS SELECT 'still here' AS text")
	for sql, want := range map[string]string{
		"SHOW data_checksums":                       "on",
		"SHOW server_encoding":                      "UTF8",
		"SHOW listen_addresses":                     "127.0.0.1",
		"SHOW unix_socket_directories":              "",
		"SHOW max_connections":                      "20",
		"SHOW password_encryption":                  "scram-sha-256",
		"SELECT current_user || current_database()": "trunklinetrunkline",
		"SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules": "scram-sha-256",
	} {
		if got := query(t, url, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	stop(t, server)
	stop(t, server) // a second time is harmless
	if _, err := ReadURL(dir); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "trunkline serve") {
		t.Errorf("ReadURL after Stop: %v, want ErrNotRunning that names trunkline serve", err)
	}
	again := start(t, Config{Dir: dir})
	if again.URL() != url || again.Port() != port {
		t.Errorf("URL changed from %s to %s", url, again.URL())
	}
	if got := query(t, again.URL(), "SELECT text FROM kept"); got != "still here" {
		t.Errorf("row = %q", got)
	}
	if got, want := query(t, again.URLFor("postgres"), "SELECT current_database()"), "postgres"; got != want {
		t.Errorf("URLFor: %s, want %s", got, want)
	}
	stop(t, again)
}

func TestKillThenStartAgain(t *testing.T) {
	server := start(t, Config{Dir: clusterDir(t)})
	query(t, server.URL(), "CREATE TABLE kept AS SELECT 'still here' AS text")
	pid := server.PID()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if alive(pid) || server.PID() != 0 || len(processesIn(server.DataDir())) != 0 {
		t.Fatal("processes outlived Kill")
	}
	if _, err := os.Stat(filepath.Join(server.DataDir(), "postmaster.pid")); err != nil {
		t.Errorf("the stale pid file is part of the picture: %v", err)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, server.URL(), "SELECT text FROM kept"); got != "still here" {
		t.Errorf("row = %q", got)
	}
	for _, mode := range []string{"fast", "immediate"} {
		before := server.PID()
		if err := server.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		if server.PID() == before || query(t, server.URL(), "SELECT text FROM kept") != "still here" {
			t.Errorf("restart %s: same server, or lost its row", mode)
		}
	}
	if err := server.Restart(t.Context(), "smart"); err == nil {
		t.Error("restart took an unknown mode")
	}
	stop(t, server)
}

func TestKillThenStart(t *testing.T) {
	dir := clusterDir(t)
	server := start(t, Config{Dir: dir})
	query(t, server.URL(), "CREATE TABLE kept AS SELECT 'still here' AS text")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Release(); err != nil {
		t.Fatal(err)
	}
	again := start(t, Config{Dir: dir})
	if again.Adopted() || query(t, again.URL(), "SELECT text FROM kept") != "still here" {
		t.Error("the server did not recover")
	}
	stop(t, again)
}

// TestKilledStarterIsReplaced starts the server in another process, kills that, and adopts the server.
func TestKilledStarterIsReplaced(t *testing.T) {
	dir := clusterDir(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close() //nolint:errcheck // the helper is dead
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "started ")))
	if err != nil {
		t.Fatalf("helper: %q", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !alive(pid) {
		t.Fatal("the server died with the process that started it")
	}
	server := start(t, Config{Dir: dir})
	if !server.Adopted() || server.PID() != pid {
		t.Errorf("adopted = %v, pid = %d, want the running server %d", server.Adopted(), server.PID(), pid)
	}
	if server.BinDir() == "" || server.Major() < minMajor {
		t.Errorf("binaries of the adopted server: %q, %d", server.BinDir(), server.Major())
	}
	if err := server.Restart(t.Context(), "fast"); err != nil {
		t.Errorf("restart of an adopted server: %v", err)
	}
	query(t, server.URL(), "SELECT 'ok'")
	stop(t, server)
	if alive(pid) || server.PID() != 0 {
		t.Error("the adopted server outlived Stop")
	}
}

func TestLastUserStops(t *testing.T) {
	dir := clusterDir(t)
	one, two := start(t, Config{Dir: dir}), start(t, Config{Dir: dir})
	if one.Adopted() || !two.Adopted() || one.URL() != two.URL() {
		t.Errorf("adopted: %v, %v; URLs %s, %s", one.Adopted(), two.Adopted(), one.URL(), two.URL())
	}
	if err := Remove(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove of a used folder: %v, want ErrInUse", err)
	}
	stop(t, one)
	query(t, two.URL(), "SELECT 'still there'")
	pid := two.PID()
	stop(t, two)
	if alive(pid) {
		t.Error("the last Stop left the server running")
	}
}

func TestStartsAtOnce(t *testing.T) {
	dir := clusterDir(t)
	const users = 4
	servers := make(chan *Server, users)
	for range users {
		go func() {
			server, err := Start(t.Context(), Config{Dir: dir, Settings: quick()})
			if err != nil {
				t.Error(err)
			}
			servers <- server
		}()
	}
	started := 0
	var all []*Server
	for range users {
		if server := <-servers; server != nil {
			all = append(all, server)
			if !server.Adopted() {
				started++
			}
		}
	}
	if started != 1 {
		t.Errorf("%d of %d calls started a server, want 1", started, users)
	}
	for _, server := range all {
		stop(t, server)
	}
}

func TestStalePIDFile(t *testing.T) {
	dir := clusterDir(t)
	server := start(t, Config{Dir: dir})
	path := filepath.Join(server.DataDir(), "postmaster.pid")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, server)

	// A program of the server's own user, for which PostgreSQL itself would refuse to start.
	acc := server.account
	other := acc.command(t.Context(), "/", "/bin/sh", "-c", "read -r _")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = other.Wait() }()
	for name, pid := range map[string]int{"of another program": other.Process.Pid, "of nobody": 1<<22 - 3} {
		_, rest, _ := strings.Cut(string(text), "\n")
		if err := os.WriteFile(path, []byte(strconv.Itoa(pid)+"\n"+rest), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := server.give(path); err != nil {
			t.Fatal(err)
		}
		again := start(t, Config{Dir: dir})
		if again.Adopted() {
			t.Errorf("pid %s: taken for a server", name)
		}
		stop(t, again)
	}
}

func TestPortTaken(t *testing.T) {
	dir := clusterDir(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	if _, err := Start(t.Context(), Config{Dir: dir, Port: port, Settings: quick()}); !errors.Is(err, ErrPortTaken) ||
		!strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("start on a taken port: %v, want ErrPortTaken that names it", err)
	}

	var log strings.Builder
	server := start(t, Config{Dir: dir})
	remembered := server.Port()
	stop(t, server)
	squatter, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(remembered)))
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	server = start(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if server.Port() == remembered || !strings.Contains(log.String(), strconv.Itoa(remembered)) {
		t.Errorf("port %d after %d was taken, log:\n%s", server.Port(), remembered, log.String())
	}
	query(t, server.URL(), "SELECT 'ok'")
	next := server.Port()
	stop(t, server)
	server = start(t, Config{Dir: dir})
	if server.Port() != next {
		t.Errorf("port %d, want the new one %d remembered", server.Port(), next)
	}
	stop(t, server)

	// The server's own refusal is told as clearly as ours.
	server = start(t, Config{Dir: dir})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	squatter2, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(server.Port())))
	if err != nil {
		t.Fatal(err)
	}
	defer squatter2.Close()
	if err := server.StartAgain(t.Context()); !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), "last lines") {
		t.Errorf("start again on a taken port: %v, want ErrPortTaken with the server's log", err)
	}
}

func TestOtherMajor(t *testing.T) {
	dir := clusterDir(t)
	server := start(t, Config{Dir: dir})
	stop(t, server)
	path := filepath.Join(server.DataDir(), "PG_VERSION")
	for _, text := range []string{"13\n", "9.6\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: dir, BinDir: server.BinDir(), Settings: quick()})
		want := "is of PostgreSQL " + strings.TrimSpace(strings.Split(text, ".")[0])
		if !errors.Is(err, ErrOtherMajor) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "pg_upgrade") {
			t.Errorf("start on a folder of %q: %v, want ErrOtherMajor", text, err)
		}
	}
}

func TestInterruptedInit(t *testing.T) {
	dir := clusterDir(t)
	left := filepath.Join(dir, "postgres", initPrefix+"cluster", "base")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{Dir: dir, Settings: quick()}); !errors.Is(err, context.Canceled) {
		t.Errorf("start with an ended context: %v, want context.Canceled", err)
	}
	server := start(t, Config{Dir: dir})
	if rest, err := filepath.Glob(filepath.Join(dir, "postgres", initPrefix+"*")); err != nil || len(rest) != 0 {
		t.Errorf("left of the init: %v, %v", rest, err)
	}
	query(t, server.URL(), "SELECT 'ok'")
	stop(t, server)
}

func TestForeignFilesAreNotTouched(t *testing.T) {
	dir := clusterDir(t)
	file := filepath.Join(dir, "postgres", "data", "letter.txt")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if acc, err := ownAccount(); err != nil {
		t.Fatal(err)
	} else if err := os.Chown(filepath.Dir(file), acc.uid, acc.gid); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: dir, Settings: quick()}); err == nil || !strings.Contains(err.Error(), "no PostgreSQL cluster") {
		t.Errorf("start on a folder of something else: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "dear" {
		t.Errorf("the file: %q, %v", text, err)
	}
}

func TestLostPassword(t *testing.T) {
	dir := clusterDir(t)
	server := start(t, Config{Dir: dir})
	old := server.URL()
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("adopting without the password: %v", err)
	}
	stop(t, server)
	server = start(t, Config{Dir: dir})
	if server.URL() == old {
		t.Error("the password is the old one, which was lost")
	}
	query(t, server.URL(), "SELECT 'ok'")
	stop(t, server)
}

func TestBadSettingShowsTheLog(t *testing.T) {
	_, err := Start(t.Context(), Config{Dir: clusterDir(t), Settings: map[string]string{"fsync": "off", "work_mem": "plenty"}})
	if err == nil || !strings.Contains(err.Error(), "work_mem") {
		t.Errorf("start with a bad setting: %v, want the server's own words", err)
	}
	for _, settings := range []map[string]string{{"a b": "1"}, {"work_mem": "1\nport=1"}, {"Port": "1"}} {
		if _, err := Start(t.Context(), Config{Dir: folder(t), Settings: settings}); err == nil {
			t.Errorf("settings %q were taken", settings)
		}
	}
}

// TestStopIsQuick has a client hold the server up, as an open transaction does not, but a stopped backend does.
func TestStopIsQuick(t *testing.T) {
	server := start(t, Config{Dir: clusterDir(t)})
	pid, err := strconv.Atoi(query(t, server.URL(), "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'walwriter'"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	stop(t, server)
	// In earnest under 5 s; a slow machine takes its time to end a process.
	if took := time.Since(begin); took > time.Minute || fastTimeout+immediateTimeout >= 5*time.Second {
		t.Errorf("stopped after %v, want soon after %v", took, fastTimeout+immediateTimeout)
	}
	if alive(pid) {
		t.Error("a child outlived Stop")
	}
}

func TestStopHeedsItsContext(t *testing.T) {
	server := start(t, Config{Dir: clusterDir(t)})
	pid := server.PID()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = server.Stop(ctx)
	if alive(pid) {
		t.Error("a Stop whose context had ended left the server running, though it was its last user")
	}
}
