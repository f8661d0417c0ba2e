package pgtest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func scan[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestDatabaseHasTheSchemaAndIsFresh(t *testing.T) {
	one := pgtest.Connect(t, pgtest.Database(t))
	two := pgtest.Connect(t, pgtest.Database(t))
	const hasSchema = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'trunkline')"
	if !scan[bool](t, one, hasSchema) || !scan[bool](t, two, hasSchema) {
		t.Error("schema trunkline is missing")
	}
	if _, err := one.Exec(t.Context(), "CREATE TABLE public.mine ()"); err != nil {
		t.Fatal(err)
	}
	if scan[bool](t, two, "SELECT to_regclass('public.mine') IS NOT NULL") {
		t.Error("a table of one database shows in another")
	}
	empty := pgtest.Connect(t, pgtest.EmptyDatabase(t))
	if scan[bool](t, empty, hasSchema) {
		t.Error("an empty database has schema trunkline")
	}
}

func TestDatabaseIsDroppedWithItsConnections(t *testing.T) {
	var url string
	var conn *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		url = pgtest.EmptyDatabase(t)
		var err error
		if conn, err = pgx.Connect(context.Background(), url); err != nil {
			t.Fatal(err)
		}
	})
	if conn == nil {
		t.FailNow()
	}
	defer conn.Close(context.Background())
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection outlived its database")
	}
	if again, err := pgx.Connect(t.Context(), url); err == nil {
		_ = again.Close(t.Context())
		t.Error("the database of a test that passed is still there")
	}
}

func TestParallelDatabases(t *testing.T) {
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t, pgtest.Database(t))
			if _, err := pool.Exec(t.Context(), "CREATE TABLE public.t (i int)"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSharedSettings(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.EmptyDatabase(t))
	for name, want := range map[string]string{
		"fsync": "off", "synchronous_commit": "on", "max_connections": "300", "max_prepared_transactions": "20", "autovacuum": "on",
	} {
		if got := scan[string](t, conn, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

func TestClusterSurvivesKill(t *testing.T) {
	server := pgtest.Cluster(t, map[string]string{"max_connections": "20"})
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if got := scan[string](t, conn, "SHOW max_connections"); got != "20" {
		t.Errorf("max_connections = %s, want 20", got)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 42 AS answer"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection outlived the server")
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := scan[int](t, pgtest.Connect(t, server.URL()), "SELECT answer FROM kept"); got != 42 {
		t.Errorf("answer = %d, want 42", got)
	}
}

// TestKilledProgramLeavesNothing runs this test program again, kills it with SIGKILL while its cluster runs, and waits
// for the watchdog to have ended the server and removed the folder.
func TestKilledProgramLeavesNothing(t *testing.T) {
	if os.Getenv("PGTEST_VICTIM") != "" {
		server := pgtest.Server(t)
		_, _ = os.Stdout.WriteString("victim " + server.DataDir() + "\n")
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed
		return
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			temp, err := os.MkdirTemp("", "pgtest-victim-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(temp) })
			if err := os.Chmod(temp, 0o711); err != nil {
				t.Fatal(err)
			}

			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProgramLeavesNothing$", "-test.v")
			cmd.Env = append(os.Environ(), "PGTEST_VICTIM=1", "TMPDIR="+temp)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close() //nolint:errcheck // the victim is dead
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var data string
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				if _, rest, ok := strings.Cut(lines.Text(), "victim "); ok {
					data = rest
					break
				}
			}
			if data == "" {
				t.Fatalf("the victim started no server: %v", cmd.Wait())
			}
			if _, err := os.Stat(filepath.Join(data, "postmaster.pid")); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			deadline := time.Now().Add(2 * time.Minute)
			for {
				left, err := filepath.Glob(filepath.Join(temp, "trunkline-test-*"))
				if err != nil {
					t.Fatal(err)
				}
				if len(left) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("left behind: %v", left)
				}
				time.Sleep(20 * time.Millisecond) // another process's doing: nothing tells us
			}
			if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there: %v", data, err)
			}
		})
	}
}
