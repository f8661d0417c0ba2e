package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// withDir is the surroundings of a second terminal.
func withDir(dir string) surroundings {
	return surroundings{env: map[string]string{"TRUNKLINE_DATA_DIR": dir}}
}

func TestServeWithItsOwnDatabase(t *testing.T) {
	dir := dataDir(t)
	serve := spawn(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir, "--drain", "1h")
	base := address(t, serve)
	if info, err := os.Stat(filepath.Join(dir, "url")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the url file: %v, %v", info, err)
	}
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}

	// A second terminal, and SQL typed into psql.
	s := withDir(dir)
	listener := start(t, s, "listen", "broadcast")
	listener.err.line(t, "listening")
	events := stream(t, base, "channel=broadcast")
	succeed(t, s, "publish", "broadcast", `{"hello": "world"}`)
	listener.out.line(t, `broadcast #1 - {"hello": "world"}`)
	if e := next(t, events); string(e.Payload) != `{"hello": "world"}` {
		t.Errorf("event %+v", e)
	}
	psql(t, dir, articleTables)
	succeed(t, s, "watch", "message", "--channel", "{channel}")
	psql(t, dir, "INSERT INTO message (sender, channel, content) VALUES (1, 'broadcast', 'typed')")
	listener.out.line(t, "#2 - "+row(1, "typed"))
	if e := next(t, events); string(e.Payload) != row(1, "typed") {
		t.Errorf("event %+v", e)
	}

	// The end: soon, although a stream is open, which is told to leave, and a listener connected.
	serve.interrupt()
	if code := serve.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	serve.err.line(t, "clients have left")
	if _, ok := <-events; ok {
		t.Error("an event after the end")
	}
	if all := serve.out.String() + serve.err.String(); strings.Contains(all, strings.TrimSpace(string(password))) {
		t.Error("the password is in the output")
	}
	code, _, said := do(t, s, "publish", "broadcast", "1")
	if code != exitUnreachable || !strings.Contains(said, "start `trunkline serve`") || !strings.Contains(said, "--database-url") {
		t.Errorf("afterwards publish ends with %d: %s", code, said)
	}
}

// psql runs SQL with the psql of trunkline psql.
func psql(t *testing.T, dir, sql string) string {
	t.Helper()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	c := spawn(t, []string{"PGHOST=elsewhere.invalid"}, "psql", "--data-dir", dir, "-v", "ON_ERROR_STOP=1", "-qAtc", sql)
	if code := c.wait(t); code != exitOK {
		t.Fatalf("psql: exit code %d: %s", code, c.err)
	}
	return c.out.String()
}

func TestServeAdoptsTheDatabaseOfAKilledOne(t *testing.T) {
	dir := dataDir(t)
	first := spawn(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	address(t, first)
	s := withDir(dir)
	succeed(t, s, "publish", "broadcast", `"before"`)
	if err := first.process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.wait(t)
	// The database survives, and takes what is published.
	pid := psql(t, dir, "SELECT pg_postmaster_start_time()")
	succeed(t, s, "publish", "broadcast", `"between"`)

	second := spawn(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	address(t, second)
	if got := psql(t, dir, "SELECT pg_postmaster_start_time()"); got != pid {
		t.Errorf("the server was started anew at %s, before: %s", got, pid)
	}
	out := start(t, s, "listen", "broadcast", "--from", "beginning", "--count", "2").out
	out.line(t, `#1 - "before"`)
	out.line(t, `#2 - "between"`)

	second.interrupt()
	if code := second.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "url")); !os.IsNotExist(err) {
		t.Errorf("the url file is still there: %v", err)
	}
	if running := postmaster(t, dir); running != 0 {
		t.Errorf("the adopted server still runs: %d", running)
	}
}

// postmaster is the pid of the server of a data folder, 0 if none runs.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("postmaster.pid: %q", text)
	}
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return 0 // one that took long to stop, and was killed, leaves its file
	}
	return pid
}

func TestServeRevivesItsDatabase(t *testing.T) {
	dir := dataDir(t)
	first := spawn(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	base := address(t, first)
	second := spawn(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	address(t, second)
	s := withDir(dir)
	url, err := os.ReadFile(filepath.Join(dir, "url"))
	if err != nil {
		t.Fatal(err)
	}
	events := stream(t, base, "channel=broadcast")
	succeed(t, s, "publish", "broadcast", `"before"`)
	if e := next(t, events); string(e.Payload) != `"before"` {
		t.Errorf("event %+v", e)
	}

	// A third one on a taken port is told who is there.
	code, _, said := do(t, s, "serve", "--listen", strings.TrimPrefix(base, "http://"))
	if code != exitFailed || !strings.Contains(said, "already serves the data folder "+dir) || !strings.Contains(said, "--listen") {
		t.Errorf("a third serve ends with %d: %s", code, said)
	}

	old := postmaster(t, dir)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*command{first, second} {
		c.err.line(t, "PostgreSQL died and ")
	}
	// The crash may have taken the end of the log: streams are reset then and end, and what it held gets new positions.
	events = stream(t, base, "channel=broadcast")
	succeed(t, s, "publish", "broadcast", `"after"`)
	for e := next(t, events); string(e.Payload) != `"after"`; e = next(t, events) {
		if e.Event == "reset" {
			events = stream(t, base, "channel=broadcast&from=beginning")
		}
	}
	if now, err := os.ReadFile(filepath.Join(dir, "url")); err != nil || string(now) != string(url) {
		t.Errorf("the url changed to %s (%v)", now, err)
	}
	logs := first.err.String() + second.err.String()
	if strings.Count(logs, "died and was started again") != 1 || strings.Count(logs, "died and another process started it again") != 1 {
		t.Errorf("one serve starts it and one adopts it:\n%s", logs)
	}

	// The last to end stops what runs by now.
	pid := postmaster(t, dir)
	if pid == old || pid == 0 {
		t.Errorf("pid %d after %d", pid, old)
	}
	for _, end := range []struct {
		c    *command
		says string
	}{{first, "PostgreSQL goes on: another process uses it"}, {second, "PostgreSQL was stopped"}} {
		end.c.interrupt()
		if code := end.c.wait(t); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		end.c.err.line(t, end.says)
		end.c.err.line(t, "stopped")
	}
	if left := postmaster(t, dir); left != 0 {
		t.Errorf("server %d still runs", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "url")); !os.IsNotExist(err) {
		t.Errorf("the url file is still there: %v", err)
	}
}

func TestServeStopsWithADeadDatabase(t *testing.T) {
	dir := dataDir(t)
	serve := spawn(t, nil, "serve", "--listen", "127.0.0.1:0", "--data-dir", dir)
	address(t, serve)
	if err := syscall.Kill(postmaster(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	serve.interrupt()
	if code := serve.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if said := serve.err.String(); strings.Contains(said, "goes on") {
		t.Errorf("no server runs, but: %s", said)
	}
}

func TestSecondSignalForces(t *testing.T) {
	s, _ := database(t)
	serve := spawn(t, []string{"TRUNKLINE_DATABASE_URL=" + s.env["TRUNKLINE_DATABASE_URL"]}, "serve", "--listen", "127.0.0.1:0", "--drain-delay", "1h")
	base := address(t, serve)
	events := stream(t, base, "channel=news")
	serve.interrupt()
	// At first it only says that it isn't ready, and goes on.
	serve.err.line(t, "waiting for those who send clients here")
	if code, body := get(t, base+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "about to stop") {
		t.Errorf("readyz: status %d: %s", code, body)
	}
	succeed(t, s, "publish", "news", "1")
	next(t, events)
	// Without another signal that would last an hour.
	if err := serve.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := serve.wait(t); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	serve.err.line(t, "after a second signal")
}

func TestServeEndsWhileItStarts(t *testing.T) {
	// A server that accepts connections and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := start(t, on(t, "postgres://u@"+silent.Addr().String()+"/d"), "serve", "--listen", "127.0.0.1:0")
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	c.interrupt()
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code %d: %s", code, c.err)
	}
}

func TestServeAnswersHealth(t *testing.T) {
	s, _ := database(t)
	base := startServer(t, s)
	if code, body := get(t, base+"/healthz"); code != http.StatusOK || !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("status %d: %s", code, body)
	}
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	code, body, err := tryGet(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return code, body
}

func tryGet(t *testing.T, url string) (code int, body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func TestServeIsNotReadyWithoutTheDatabase(t *testing.T) {
	cluster := pgtest.Cluster(t, nil)
	base := startServer(t, on(t, cluster.URL()))
	await := func(want int, says string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			code, body := get(t, base+"/readyz")
			if code == want && strings.Contains(body, says) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("status %d, want %d: %s", code, want, body)
			}
		}
	}
	await(http.StatusOK, `"ready":true`)
	if err := cluster.Kill(); err != nil {
		t.Fatal(err)
	}
	await(http.StatusServiceUnavailable, "the database does not answer")
	await(http.StatusServiceUnavailable, "the connection that listens")
	if code, body := get(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz: status %d: %s", code, body)
	}
	if err := cluster.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(http.StatusOK, `"ready":true`)
}

func TestServeMigratesAnEmptyDatabase(t *testing.T) {
	s := on(t, pgtest.EmptyDatabase(t))
	code, _, said := do(t, s, "listen", "broadcast")
	if code != exitFailed || !strings.Contains(said, "run `trunkline migrate`") {
		t.Errorf("listen without a schema ends with %d: %s", code, said)
	}
	startServer(t, s)
	succeed(t, s, "publish", "broadcast", "1")
}

func TestServeRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	const somewhere = "postgres://u@127.0.0.1:1/d"
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"all interfaces in open mode", []string{"--listen", ":8000"}, exitUsage, []string{"--listen=:8000", "--jwt-secret-file", "--jwks-url", "127.0.0.1:8000"}},
		{"another interface in open mode", []string{"--listen", "0.0.0.0:8000"}, exitUsage, []string{"0.0.0.0:8000", "anyone could do all", "127.0.0.1:8000"}},
		{"a name in open mode", []string{"--listen", "example.org:80"}, exitUsage, []string{"example.org:80", "127.0.0.1:80"}},
		{"a certificate without its key", []string{"--tls-cert", "x"}, exitUsage, []string{"--tls-cert", "--tls-key"}},
		{"a certificate that isn't there", []string{"--tls-cert", "/none/cert", "--tls-key", "/none/key"}, exitFailed, []string{"--tls-cert /none/cert", "no such file"}},
		{"two secrets", []string{"--jwt-secret", "hunter2", "--jwt-secret-file", "/none"}, exitUsage, []string{"--jwt-secret ", "--jwt-secret-file"}},
		{"a secret's file that isn't there", []string{"--jwt-secret-file", "/none"}, exitUsage, []string{"--jwt-secret-file", "/none"}},
		{"a public key that is none", []string{"--jwt-public-key", "serve_test.go"}, exitUsage, []string{"--jwt-public-key serve_test.go", "BEGIN PUBLIC KEY"}},
		{"an issuer without a key", []string{"--jwt-issuer", "me"}, exitUsage, []string{"--jwt-issuer", "--jwt-secret-file"}},
		{"a proxy that is none", []string{"--trusted-proxy", "nginx"}, exitUsage, []string{"--trusted-proxy nginx", "10.0.0.0/8"}},
		{"a proxy with bits behind its mask", []string{"--trusted-proxy", "10.1.0.0/8"}, exitUsage, []string{"10.1.0.0/8", "10.0.0.0/8"}},
		{"a limit of nothing", []string{"--max-channels", "0"}, exitUsage, []string{"--max-channels 0", "more than 0"}},
		{"a size that is none", []string{"--max-frame", "1MB"}, exitUsage, []string{"1MB", "1MiB"}},
		{"a queue too small", []string{"--max-queue", "1MiB", "--listen", "127.0.0.1:0", "--database-url", somewhere}, exitUsage, []string{"--max-queue"}},
		{"a drain too long", []string{"--drain", "2h"}, exitUsage, []string{"--drain 2h", "1h"}},
		{"a port of metrics that is none", []string{"--metrics-listen", "9000"}, exitUsage, []string{"--metrics-listen=9000", "127.0.0.1:9000"}},
		{"a port of metrics that is taken", []string{"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:" + port}, exitFailed, []string{"--metrics-listen", port}},
		{"no port", []string{"--listen", "127.0.0.1"}, exitUsage, []string{"127.0.0.1:8000"}},
		{"a port too large", []string{"--listen", "127.0.0.1:65536"}, exitUsage, []string{"65536", "port"}},
		{"a port that is taken", []string{"--listen", "127.0.0.1:" + port}, exitFailed, []string{"port " + port, "taken", "--listen"}},
		{"a private port beside a named database", []string{"--pg-port", "5555", "--database-url", somewhere}, exitUsage, []string{"--pg-port", "--database-url"}},
		{"a direct URL alone", []string{"--direct-url", somewhere}, exitUsage, []string{"--direct-url", "--database-url"}},
		{"a port for PostgreSQL that is none", []string{"--pg-port", "70000"}, exitUsage, []string{"70000", "65535"}},
		{"a port for PostgreSQL that is taken", []string{"--listen", "127.0.0.1:0", "--pg-port", port}, exitFailed, []string{port, "--pg-port"}},
		{"a bridge of a long name", []string{"--listen", "127.0.0.1:0", "--database-url", somewhere, "--bridge", strings.Repeat("x", 64)}, exitUsage, []string{"64 bytes", "63 bytes"}},
		{"a database that isn't there", []string{"--listen", "127.0.0.1:0", "--database-url", somewhere}, exitUnreachable, []string{"127.0.0.1:1", "connection refused"}},
		{"a URL that is none", []string{"--listen", "127.0.0.1:0", "--database-url", "postgres://u:hunter2@host:x/d"}, exitUsage, []string{"host:x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"serve", "--data-dir", dataDir(t)}, test.args...)
			code, _, said := do(t, surroundings{}, args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, part := range test.says {
				if !strings.Contains(said, part) {
					t.Errorf("%q doesn't say %q", said, part)
				}
			}
			if strings.Contains(said, "hunter2") {
				t.Errorf("%q tells the password", said)
			}
		})
	}
}

func TestListenGoesOnThroughARestartOfTheDatabase(t *testing.T) {
	cluster := pgtest.Cluster(t, nil)
	s := on(t, cluster.URL())
	succeed(t, s, "migrate")
	listener := start(t, s, "listen", "broadcast")
	listener.err.line(t, "listening")
	succeed(t, s, "publish", "broadcast", `"before"`)
	listener.out.line(t, `#1 - "before"`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := cluster.Restart(ctx, "fast"); err != nil {
		t.Fatal(err)
	}
	succeed(t, s, "publish", "broadcast", `"after"`)
	listener.out.line(t, `#2 - "after"`)
	listener.interrupt()
	if code := listener.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if said := listener.err.String(); !strings.Contains(said, "go on with --since ") {
		t.Errorf("it doesn't say where to go on: %s", said)
	}
}
