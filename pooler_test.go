package trunkline_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestTransactionPoolerIsRefused(t *testing.T) {
	t.Parallel()
	pooled := startPooler(t, pgtest.Database(t), "transaction")
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: pooled + "&default_query_exec_mode=exec"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Stop(testContext(t)); err != nil {
			t.Error(err)
		}
	}()
	err = engine.Start(testContext(t))
	var pooler *trunkline.PoolerError
	if !errors.As(err, &pooler) || !strings.Contains(pooled, pooler.Address) || !strings.Contains(err.Error(), "DirectURL") {
		t.Errorf("start through a transaction pooler: %v", err)
	}
}

func TestSessionPoolerWorks(t *testing.T) {
	t.Parallel()
	pooled := startPooler(t, pgtest.Database(t), "session")
	engine := startEngine(t, pooled, func(c *trunkline.Config) { c.HeartbeatInterval = 500 * time.Millisecond })
	useAll(t, engine)
}

// Through a transaction pooler that knows no prepared statements (PgBouncer before 1.21), the pool has to do without
// them: default_query_exec_mode=exec, simple_protocol or cache_describe (not describe_exec, whose two round trips may meet
// two sessions). The two sessions of the engine's own are direct.
func TestPoolBehindATransactionPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			direct := pgtest.Database(t)
			pooled := startPooler(t, direct, "transaction") + "&default_query_exec_mode=" + mode
			engine := startEngine(t, pooled, func(c *trunkline.Config) {
				c.DirectURL, c.HeartbeatInterval = direct, 500*time.Millisecond
			})
			useAll(t, engine)
		})
	}
}

// useAll uses everything that goes through the pool.
func useAll(t *testing.T, engine *trunkline.Engine) {
	t.Helper()
	ctx := testContext(t)
	sub, err := engine.Subscribe(ctx, []string{"c"}, trunkline.SubscribeOptions{Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := trunkline.Publication{Channel: "c", Payload: []byte(`{"a" : [1]}`), Sender: "ann"}
	_, err = engine.Publish(ctx, p)
	check("Publish", err)
	_, err = engine.PublishMany(ctx, []trunkline.Publication{p, {Channel: "c", Payload: []byte(`"keyed"`), Key: "k"}})
	check("PublishMany", err)
	tx, err := engine.Pool().Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = trunkline.PublishTx(ctx, tx, p)
	check("PublishTx", err)
	check("commit", tx.Commit(ctx))
	if !t.Failed() {
		got := next(t, sub, 4)
		wantSeqs(t, got, 1)
		if string(got[0].Payload) != `{"a" : [1]}` || got[0].Sender != "ann" || got[2].Key != "k" {
			t.Errorf("got %+v", got)
		}
	}
	page, err := engine.History(ctx, "c", 1, 10)
	check("History", err)
	if len(page.Messages) != 3 || page.LastSeq != 4 {
		t.Errorf("history: %+v", page)
	}
	// From the database: the ring of the channel doesn't reach back to before the subscription.
	if got := next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 4); string(got[3].Payload) != `{"a" : [1]}` {
		t.Errorf("catching up: %+v", got)
	}
	if m := hearSignal(t, engine, sub, `"here"`); !m.Signal {
		t.Errorf("instead of a signal came %+v", m)
	}
	_, err = engine.Pool().Exec(ctx, "CREATE TABLE watched (id int PRIMARY KEY, t text)")
	check("create a table", err)
	_, err = trunkline.AddWatch(ctx, engine.Pool(), trunkline.WatchOptions{Table: "watched", Channel: "c", Columns: []string{"t"}, Ops: []string{"insert"}})
	check("AddWatch", err)
	watches, err := trunkline.Watches(ctx, engine.Pool())
	check("Watches", err)
	if len(watches) != 1 {
		t.Errorf("watches: %+v", watches)
	}
	check("RemoveWatch", trunkline.RemoveWatch(ctx, engine.Pool(), "watched", "c"))
	// Were heartbeats lost, each would end the connection; a machine that stands still ends one now and then.
	eventually(t, "heartbeats arrive, one after the other", func() bool {
		before := engine.Stats()
		eventually(t, "some heartbeats", func() bool { return engine.Stats().Heartbeats > before.Heartbeats+4 })
		return engine.Stats().ListenReconnects == before.ListenReconnects && engine.State().Listen.Up
	})
}

// startPooler runs PgBouncer before the server of a database and returns the URL through it.
func startPooler(t *testing.T, target, mode string) string {
	t.Helper()
	bin, err := osexec.LookPath("pgbouncer")
	if err != nil {
		if bin = "/usr/sbin/pgbouncer"; !executable(bin) {
			t.Skip("there is no pgbouncer on the PATH or in /usr/sbin")
		}
	}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "users"), fmt.Appendf(nil, "%q %q\n", u.User.Username(), password), 0o644); err != nil {
		t.Fatal(err)
	}
	var args []string
	if os.Geteuid() == 0 { // it refuses root
		args = []string{"-u", "nobody"}
	}
	// Somebody else may take the port before it does: it ends then.
	for tries := 0; ; tries++ {
		if tries == 20 {
			t.Fatal("pgbouncer does not start")
		}
		port := freePort(t)
		ini := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = %s
default_pool_size = 10
`, u.Hostname(), u.Port(), port, filepath.Join(dir, "users"), mode)
		if err := os.WriteFile(filepath.Join(dir, "ini"), []byte(ini), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := osexec.Command(bin, append(args, filepath.Join(dir, "ini"))...)
		var output logLines
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			if t.Failed() {
				t.Log(output.String())
			}
		})
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		answers, over := false, false
		eventually(t, "pgbouncer answers, or has ended", func() bool {
			conn, err := pgx.Connect(testContext(t), u.String()+"&default_query_exec_mode=exec")
			if err == nil {
				answers = true
				_ = conn.Close(testContext(t))
			}
			select {
			case <-ended:
				over = true
			default:
			}
			return answers || over
		})
		if answers && !over {
			return u.String()
		}
	}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
