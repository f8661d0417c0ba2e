// Package pgtest gives each test a database of its own on a real PostgreSQL.
//
// A test program that uses it has a TestMain:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// The first test that asks for a database starts a private cluster for the whole program. Databases are cloned from a
// template that has Trunkline's schema, which takes about 50 ms.
//
// Environment: TRUNKLINE_TEST_PG_BIN names a folder with the binaries of another PostgreSQL; TRUNKLINE_TEST_KEEP, set to
// anything, keeps the databases of failed tests, and the server with them.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/schema"
)

// settings of the shared cluster. synchronous_commit stays on, so that a commit takes the path it takes in earnest.
var settings = map[string]string{
	"fsync":                     "off",
	"full_page_writes":          "off",
	"max_connections":           "300",
	"max_prepared_transactions": "20",
	"autovacuum":                "on",
}

// patience bounds what a test waits for outside its own code: cloning, connecting, starting and stopping a server.
const patience = 90 * time.Second

var (
	shared   cluster
	template sync.Mutex
	counter  atomic.Int64
)

// Main runs the tests, stops the clusters they started, and ends the program. SIGINT and SIGTERM stop them too. Tests
// that passed but left goroutines behind fail; options are those of goleak.
func Main(m *testing.M, options ...goleak.Option) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		sig, ok := <-signals
		if !ok {
			return
		}
		// The watchdog, which sees our end, removes the clusters.
		code := 1
		if number, ok := sig.(syscall.Signal); ok {
			code = 128 + int(number)
		}
		os.Exit(code)
	}()
	code := m.Run()
	signal.Stop(signals)
	close(signals)
	<-watching
	err := shared.close()
	if code == 0 {
		err = errors.Join(err, leaks(options))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// leaks looks for goroutines that don't end. Those that close connections may take as long as a slow machine does.
func leaks(options []goleak.Option) error {
	deadline := time.Now().Add(patience)
	for {
		err := goleak.Find(options...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// Server is the shared cluster. Never stop, restart or kill it: Cluster is for that.
func Server(t testing.TB) *localpg.Server {
	t.Helper()
	server, err := shared.get()
	if err != nil {
		t.Fatalf("shared cluster: %v", err)
	}
	return server
}

// Database makes a database with Trunkline's schema and returns its URL. It is dropped when the test ends, together
// with what is still connected, unless the test failed and TRUNKLINE_TEST_KEEP is set.
func Database(t testing.TB) string {
	t.Helper()
	server := Server(t)
	if err := makeTemplate(server); err != nil {
		t.Fatalf("template database: %v", err)
	}
	return create(t, server, templateName)
}

// EmptyDatabase is Database without the schema.
func EmptyDatabase(t testing.TB) string {
	t.Helper()
	return create(t, Server(t), "template0")
}

// ASCIIDatabase is EmptyDatabase in the encoding SQL_ASCII.
func ASCIIDatabase(t testing.TB) string {
	t.Helper()
	return create(t, Server(t), "template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
}

// Connect connects and closes the connection when the test ends.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// Pool makes a pool of connections and closes it when the test ends: by then all must be given back.
func Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		t.Fatalf("pool: %v", err)
	}
	t.Cleanup(pool.Close)
	if err := pool.Ping(ctx); err != nil {
		t.Fatalf("pool: %v", err)
	}
	return pool
}

// Cluster starts a cluster for this test alone, to be restarted, killed and started again. The given settings come on
// top of those of the shared cluster. It is removed when the test ends.
func Cluster(t testing.TB, extra map[string]string) *localpg.Server {
	t.Helper()
	folder, err := shared.folder()
	if err != nil {
		t.Fatalf("cluster: %v", err)
	}
	merged := maps.Clone(settings)
	maps.Copy(merged, extra)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir := filepath.Join(folder, "own-"+strconv.FormatInt(counter.Add(1), 10))
	server, err := localpg.Start(ctx, localpg.Config{Dir: dir, BinDir: os.Getenv("TRUNKLINE_TEST_PG_BIN"), Settings: merged})
	if err != nil {
		t.Fatalf("cluster: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() && keep() {
			shared.keepServers()
			t.Logf("kept: %s (log: %s)", server.URL(), server.LogFile())
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Release(); err != nil {
			t.Errorf("cluster: %v", err)
		}
		if err := localpg.Remove(ctx, dir); err != nil {
			t.Errorf("cluster: %v", err)
		}
	})
	return server
}

const templateName = "trunkline_template"

// makeTemplate makes the template database unless it is there.
func makeTemplate(server *localpg.Server) error {
	template.Lock()
	defer template.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin, err := pgx.Connect(ctx, server.URLFor("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close(context.WithoutCancel(ctx))
	var there bool
	if err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", templateName).Scan(&there); err != nil || there {
		return err
	}
	// Under another name until it is complete: a migration that fails is tried, and told, anew by the next test.
	const raw = templateName + "_raw"
	if err := insist(ctx, admin, "DROP DATABASE IF EXISTS "+raw+" WITH (FORCE)"); err != nil {
		return err
	}
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+raw); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, server.URLFor(raw))
	if err != nil {
		return err
	}
	err = schema.Migrate(ctx, conn)
	_ = conn.Close(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return insist(ctx, admin, "ALTER DATABASE "+raw+" RENAME TO "+templateName)
}

// create clones a database for a test.
func create(t testing.TB, server *localpg.Server, from string) string {
	t.Helper()
	name := "test_" + strconv.FormatInt(counter.Add(1), 10)
	if err := administer(server, "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		t.Fatalf("create database: %v", err)
	}
	url := server.URLFor(name)
	t.Cleanup(func() {
		if t.Failed() && keep() {
			shared.keepServers()
			t.Logf("kept: psql %s", url)
			return
		}
		if err := administer(server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return url
}

func administer(server *localpg.Server, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.URLFor("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return insist(ctx, conn, sql)
}

// insist does something with a database that nobody may be connected to. PostgreSQL waits 5 s for sessions that it has told to end,
// or that are ending, which a slow machine may outlast.
func insist(ctx context.Context, conn *pgx.Conn, sql string) error {
	var inUse error
	for {
		_, err := conn.Exec(ctx, sql)
		var pg *pgconn.PgError
		switch {
		case errors.As(err, &pg) && pg.Code == "55006": // object_in_use
			inUse = err
		case err != nil && ctx.Err() != nil:
			return errors.Join(err, inUse)
		default:
			return err
		}
	}
}

func keep() bool { return os.Getenv("TRUNKLINE_TEST_KEEP") != "" }
