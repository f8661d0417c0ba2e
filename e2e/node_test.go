package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// secret signs the tokens of all tests.
const secret = "a secret of the end-to-end tests, long enough for HS256"

// node is a running `trunkline serve`.
type node struct {
	t        testing.TB
	port     int
	database string
	flags    []string

	cmd *exec.Cmd
	out *output
}

// startNode starts a server for the database, which lets in who has a token. It is killed when the test ends.
func startNode(t testing.TB, database string, flags ...string) *node {
	t.Helper()
	return launch(t, database, append([]string{"--jwt-secret", secret}, flags...))
}

// startOpenNode starts a server that lets anyone do all.
func startOpenNode(t testing.TB, database string, flags ...string) *node {
	t.Helper()
	return launch(t, database, flags)
}

func launch(t testing.TB, database string, flags []string) *node {
	t.Helper()
	n := &node{t: t, port: freePort(t), database: database, flags: append([]string{"--data-dir", t.TempDir()}, flags...)}
	n.start(t)
	n.settle(t)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("node on port %d said:\n%s", n.port, n.out.tail())
		}
	})
	return n
}

// givenPorts are those that a test has: a killed node's stays its own until it is back.
var givenPorts sync.Map

// freePort returns a port that is free, that no other test has, and that the kernel doesn't give to outgoing connections: a
// client that tries again and again to reach a killed server on one of those would at last connect to itself.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 12_000 + rand.IntN(20_000)
		if _, given := givenPorts.LoadOrStore(port, nil); given {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return 0
}

// start starts the server, again on the port it had, and returns when it serves.
func (n *node) start(t testing.TB) {
	t.Helper()
	program, err := trunkline()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"serve", "--listen", fmt.Sprintf("127.0.0.1:%d", n.port), "--database-url", n.database, "--log-level", "debug",
	}, n.flags...)
	n.cmd = exec.Command(program, args...)
	dieWithUs(n.cmd)
	if n.out == nil {
		n.out = newOutput()
	}
	from := n.out.size()
	n.cmd.Stdout, n.cmd.Stderr = n.out, n.out
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.cmd.Wait()
	}()
	n.out.ended = ended
	n.out.await(t, from, "Trunkline is running")
}

// settle waits until the first epoch has begun: the database is a copy, and a copy begins a new one.
func (n *node) settle(t testing.TB) {
	t.Helper()
	conn := pgtest.Connect(t, n.database)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var sequenced bool // the namespaces of the application say so on a channel
		if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM trunkline.log)").Scan(&sequenced); err != nil {
			t.Fatal(err)
		}
		if sequenced && n.status(t, "/readyz") == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server isn't ready (sequenced: %v):\n%s", sequenced, n.out.tail())
		}
	}
}

// kill ends the server as a crash does, with SIGKILL.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.out.ended
}

// stop ends the server in good order, and returns its exit code.
func (n *node) stop(t testing.TB) int {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.out.ended:
	case <-time.After(patience):
		t.Fatalf("the server didn't end; it said:\n%s", n.out.tail())
	}
	return n.cmd.ProcessState.ExitCode()
}

func (n *node) address() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }
func (n *node) base() string    { return "http://" + n.address() }

// status asks for a path and returns the status.
func (n *node) status(t testing.TB, path string) int {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(n.base() + path)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// output keeps what a process says, and lets others wait for it.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed, and made anew, at each write
	ended chan struct{} // closed when the process has ended
}

func newOutput() *output { return &output{grown: make(chan struct{}), ended: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Len()
}

// await waits until what was said behind from contains a text.
func (o *output) await(t testing.TB, from int, text string) {
	t.Helper()
	deadline := time.After(patience)
	for ended := false; ; {
		o.mu.Lock()
		found := bytes.Contains(o.text.Bytes()[from:], []byte(text))
		grown := o.grown
		o.mu.Unlock()
		if found {
			return
		}
		if ended {
			t.Fatalf("the program ended before it said %q:\n%s", text, o.tail())
		}
		select {
		case <-grown:
		case <-o.ended:
			ended = true
		case <-deadline:
			t.Fatalf("the program didn't say %q:\n%s", text, o.tail())
		}
	}
}

// tail returns the last lines.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(o.text.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// application is the schema of an application: it decides who may do what in the namespace room, and keeps notes that are
// watched.
const application = `
CREATE SCHEMA app;
CREATE TABLE app.banned (user_id text, channel text);
CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT channel NOT LIKE '%secret%'
		AND NOT EXISTS (SELECT FROM app.banned b WHERE b.user_id = may.user_id AND b.channel = may.channel)
$$;
INSERT INTO trunkline.namespace (name, authorize, publish, presence, join_leave) VALUES ('room', 'app.may', true, true, true);
CREATE TABLE app.note (room text, n int);
SELECT trunkline.watch('app.note', 'room:{room}', columns => '{n}');
`

// newDatabase makes a database with the application in it.
func newDatabase(t testing.TB) (url string, pool *pgxpool.Pool) {
	t.Helper()
	url = pgtest.Database(t)
	pool = pgtest.Pool(t, url)
	run(t, pool, application)
	return url, pool
}

// run runs SQL that returns nothing of interest.
func run(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := pool.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// publish publishes the numbers from first to last, each {"n": …}, in one transaction each.
func publish(t testing.TB, pool *pgxpool.Pool, channel string, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		run(t, pool, "SELECT trunkline.publish($1, json_build_object('n', $2::int))", channel, n)
	}
}

// publishAtOnce is publish in one transaction.
func publishAtOnce(t testing.TB, pool *pgxpool.Pool, channel string, first, last int) {
	t.Helper()
	run(t, pool, "SELECT trunkline.publish($1, json_build_object('n', n)) FROM generate_series($2::int, $3::int) n", channel, first, last)
}

// publishMeanwhile publishes as publish does, while the test goes on. wait returns when it is done.
func publishMeanwhile(t testing.TB, pool *pgxpool.Pool, channel string, first, last int, pause time.Duration) (wait func()) {
	t.Helper()
	done := make(chan error, 1)
	one := func(n int) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := pool.Exec(ctx, "SELECT trunkline.publish($1, json_build_object('n', $2::int))", channel, n)
		return err
	}
	go func() {
		for n := first; n <= last; n++ {
			if err := one(n); err != nil {
				done <- fmt.Errorf("publish %d: %w", n, err)
				return
			}
			time.Sleep(pause) // what else happens, happens between messages
		}
		done <- nil
	}()
	wait = sync.OnceFunc(func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(wait) // before the pool is closed, however the test ends
	return wait
}

// claims are a token's.
type claims = jwt.MapClaims

// token signs a token that is good for an hour, unless more says otherwise.
func token(t testing.TB, user string, more ...claims) string {
	t.Helper()
	all := claims{"sub": user, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for _, m := range more {
		for name, value := range m {
			all[name] = value
		}
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// caps are the claim that allows all that can be done with channels.
func caps(channels ...string) claims {
	return claims{"caps": []any{claims{"channels": channels, "match": "wildcard", "allow": []string{"sub", "pub", "hst", "prs"}}}}
}

// numbered is a message of the tests.
type numbered struct {
	N int `json:"n"`
}

func number(t testing.TB, data json.RawMessage) int {
	t.Helper()
	var message numbered
	if err := json.Unmarshal(data, &message); err != nil {
		t.Fatalf("payload %s: %v", data, err)
	}
	return message.N
}
