package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) {
	stopTime = patience // so that an end is late only where something hangs, however slow the machine is
	// The realtime library starts one per node and has no way to stop it.
	pgtest.Main(m, goleak.IgnoreAnyFunction("github.com/FZambia/eagle.(*Eagle).aggregate"))
}

// patience bounds what should happen soon.
const patience = 60 * time.Second

// output collects what is written, and can be read meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// do runs a command line to its end.
func do(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err output
	code = run(ctx, args, &out, &err, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	return code, out.String(), err.String()
}

// A served program answers at base until it is stopped.
type served struct {
	base     string
	out, err *output
	stop     func() int
}

var address = regexp.MustCompile(`Projects is running: (http://\S+)`)

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &served{out: &output{}, err: &output{}}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir()}, args...), s.out, s.err,
			func(string) (string, bool) { return "", false })
	}()
	var once sync.Once
	var code int
	s.stop = func() int {
		once.Do(func() {
			cancel()
			code = <-ended
		})
		return code
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("it said:\n%s", s.err)
		}
	})
	deadline := time.After(patience)
	for s.base == "" {
		if found := address.FindStringSubmatch(s.out.String()); found != nil {
			s.base = found[1]
			break
		}
		select {
		case code := <-ended:
			ended <- code
			t.Fatalf("it ended with %d: %s", code, s.err)
		case <-deadline:
			t.Fatalf("it doesn't serve: %s", s.err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return s
}

func (s *served) get(t *testing.T, path string) (status int, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/html,*/*")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func (s *served) post(t *testing.T, path, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// On a database of its owner's nobody is let in but by an account, which staff makes.
func TestServeOnADatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := serve(t, "--database-url", url)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/api/me": 401, "/api/overview": 401, "/api/demo": 404, "/api/openapi.json": 200, "/api/nothing": 404,
		"/v1/inbox": 401, "/connection/websocket": 400, "/assets/nothing.js": 404,
	} {
		if status, _, body := s.get(t, path); status != want {
			t.Errorf("GET %s: %d, not %d: %.200s", path, status, want, body)
		}
	}
	if status, header, _ := s.get(t, "/projects/1"); header.Get("Content-Security-Policy") == "" || status != 200 && status != 503 {
		t.Errorf("the page: %d, %v", status, header)
	}

	code, out, said := do(t, nil, "staff", "--database-url", url, "--organisation", "Northlight", "--name", "Maya", "--email", "maya@example.org", "--admin", "--public-url", s.base)
	link := strings.TrimSpace(out)
	if code != exitOK || !strings.HasPrefix(link, s.base+"/reset/") {
		t.Fatalf("staff: %d, %s%s", code, out, said)
	}
	secret := strings.TrimPrefix(link, s.base+"/reset/")
	if status, answer := s.post(t, "/api/password-reset/"+secret, `{"password": "a long enough one"}`); status != 200 {
		t.Fatalf("the link: %d %s", status, answer)
	}
	if status, answer := s.post(t, "/api/session", `{"email": "maya@example.org", "password": "a long enough one"}`); status != 200 || !strings.Contains(answer, `"admin":true`) {
		t.Errorf("signing in: %d %s", status, answer)
	}
	if code, out, said := do(t, nil, "check", "--database-url", url); code != exitOK || !strings.Contains(out, "as counting gives it") {
		t.Errorf("check: %d, %s%s", code, out, said)
	}
	if code := s.stop(); code != exitOK {
		t.Errorf("it ended with %d: %s", code, s.err)
	}
	for _, secret := range []string{url, secret} {
		if strings.Contains(s.err.String(), secret) {
			t.Errorf("its log has %s in it", secret)
		}
	}
}

// Two nodes on one database, started at the same time.
func TestTwoNodesStartAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			s := serve(t, "--database-url", url)
			if status, _, _ := s.get(t, "/readyz"); status != 200 {
				t.Errorf("a node isn't ready: %d", status)
			}
		})
	}
	group.Wait()
}

func TestSeedAndCheck(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	for range 2 {
		if code, out, said := do(t, nil, "seed", "--database-url", url); code != exitOK || !strings.Contains(out, "try-it-yourself") {
			t.Fatalf("seed: %d, %s%s", code, out, said)
		}
	}
	conn := pgtest.Connect(t, url)
	if _, err := conn.Exec(t.Context(), "UPDATE projects.progress SET done = 0, version = version + 1 WHERE done > 0"); err != nil {
		t.Fatal(err)
	}
	if code, out, said := do(t, nil, "check", "--database-url", url); code != exitFailed || !strings.Contains(out, "progress") || !strings.Contains(said, "--repair") {
		t.Errorf("check of what differs: %d, %s%s", code, out, said)
	}
	if code, out, said := do(t, nil, "check", "--repair", "--database-url", url); code != exitOK || !strings.Contains(out, "put right") {
		t.Errorf("repair: %d, %s%s", code, out, said)
	}
	if code, out, _ := do(t, nil, "check", "--database-url", url); code != exitOK {
		t.Errorf("check after that: %d, %s", code, out)
	}
}

func TestDatabaseThatIsntThere(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check"}, {"serve", "--listen", "127.0.0.1:0"}} {
		code, _, said := do(t, nil, append(args, "--data-dir", t.TempDir(), "--database-url", "postgres://ann:secret@127.0.0.1:1/x")...)
		if code != exitFailed || !strings.Contains(said, "127.0.0.1:1 can't be reached") || !strings.Contains(said, "--database-url") || strings.Contains(said, "secret") {
			t.Errorf("%s: exit code %d: %s", args, code, said)
		}
	}
}

func TestCommandLinesThatCantBeTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":                 {[]string{"serve", "--lisen", "x"}, "--lisen"},
		"no address":                      {[]string{"serve", "--listen", "8000"}, "--listen=8000"},
		"a port that isn't one":           {[]string{"serve", "--listen", "127.0.0.1:x"}, "127.0.0.1:x"},
		"a public URL with a path":        {[]string{"serve", "--listen", "127.0.0.1:0", "--public-url", "https://a.example/b"}, "without a path"},
		"a proxy that isn't one":          {[]string{"serve", "--listen", "127.0.0.1:0", "--trusted-proxy", "here"}, "here"},
		"a demo for strangers":            {[]string{"serve", "--listen", "127.0.0.1:0", "--demo", "on", "--public-url", "https://a.example"}, "--demo on"},
		"mail from nobody":                {[]string{"serve", "--listen", "127.0.0.1:0", "--smtp-url", "smtp://localhost"}, "--mail-from"},
		"a mail server that isn't one":    {[]string{"serve", "--listen", "127.0.0.1:0", "--smtp-url", "http://localhost", "--mail-from", "a@b.example"}, "--smtp-url"},
		"mail after no time":              {[]string{"serve", "--listen", "127.0.0.1:0", "--mail-after", "1ms"}, "--mail-after"},
		"a key for mail that isn't there": {[]string{"serve", "--listen", "127.0.0.1:0", "--dkim-key", filepath.Join(t.TempDir(), "none")}, "--dkim-key"},
		"a database that isn't one":       {[]string{"check", "--database-url", "postgres://secret@:x"}, "--database-url"},
		"staff of nothing":                {[]string{"staff"}, "--organisation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, said := do(t, nil, append(c.args, "--data-dir", t.TempDir())...)
			if code != exitUsage || !strings.Contains(said, c.want) || strings.Contains(said, "secret") {
				t.Errorf("exit code %d: %s", code, said)
			}
		})
	}
	if code, out, _ := do(t, nil); code != exitOK || !strings.Contains(out, "projects serve --simulate") {
		t.Errorf("without arguments: %d, %s", code, out)
	}
	if code, _, said := do(t, map[string]string{"PROJECTS_LISTEN": "nowhere"}, "serve", "--data-dir", t.TempDir()); code != exitUsage || !strings.Contains(said, "nowhere") {
		t.Errorf("a variable: %d, %s", code, said)
	}
}
