package trunkline_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// With the notification queue filled to its limit by a session that listens and does not read, every commit that notifies
// fails. Publishing goes on, and is heard.
func TestPublishingGoesOnWithAFullQueue(t *testing.T) {
	t.Parallel()
	server := smallQueueServer(t)
	url := server.URL()
	var warnings logLines
	first := startEngine(t, url, func(c *trunkline.Config) {
		c.Logger, c.HeartbeatInterval = slog.New(slog.NewTextHandler(&warnings, nil)), time.Second
	})
	never := func(c *trunkline.Config) { c.Sequence = trunkline.SequenceNever } // it is the first that sleeps and wakes
	second := startEngine(t, url, never)
	subs := []*trunkline.Subscription{subscribe(t, first, trunkline.FromNow(), "c"), subscribe(t, second, trunkline.FromNow(), "c")}
	conn := pgtest.Connect(t, url)
	publish(t, conn, "c", numbered(0))
	for _, sub := range subs {
		next(t, sub, 1)
	}

	hung := pgtest.Connect(t, url)
	exec(t, hung, "LISTEN anything")
	exec(t, hung, "BEGIN")
	exec(t, hung, "SELECT 1") // idle in transaction from now on
	fill := pgtest.Connect(t, url)
	for n := 0; ; n++ {
		_, err := fill.Exec(testContext(t), "SELECT pg_notify('nobody', repeat('x', 7000) || $1::int)", n)
		if err != nil {
			if !strings.Contains(err.Error(), "NOTIFY queue") {
				t.Fatal(err)
			}
			break
		}
		if n > 10_000 {
			t.Fatal("the queue can't be filled")
		}
	}
	if usage := scan[float64](t, conn, "SELECT pg_notification_queue_usage()"); usage < 0.9 {
		t.Fatalf("the queue is filled to %v", usage)
	}

	n := 200
	for i := range n {
		publish(t, conn, "c", numbered(1+i))
	}
	for _, sub := range subs {
		wantSeqs(t, next(t, sub, n), 2)
	}
	// From then on without waiting for the look once a second.
	// It may have been awake for another reason, and doze once more.
	eventually(t, "the sequencer knows that nobody can ring", func() bool {
		eventually(t, "the sequencer is awake", func() bool { return doorbell(t, conn) == 1 })
		healed := first.Stats().Healed
		for i := range 20 {
			publish(t, conn, "c", numbered(1+n+i))
			next(t, subs[0], 1)
		}
		wantSeqs(t, next(t, subs[1], 20), int64(n)+2)
		n += 20
		return first.Stats().Healed == healed
	})
	eventually(t, "the log tells of the full queue", func() bool { return strings.Contains(warnings.String(), "notification queue") })

	var notice string
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice = n.Message }
	told, err := pgx.ConnectConfig(testContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close(testContext(t))
	sent, err := trunkline.SignalTx(testContext(t), told, trunkline.Publication{Channel: "c", Payload: []byte("1")})
	if err != nil || sent || !strings.Contains(notice, "dropped") {
		t.Errorf("a signal: sent %v, %v, notice %q", sent, err, notice)
	}

	// A node can start meanwhile.
	third := startEngine(t, url, never)
	publish(t, conn, "c", `"third"`)
	next(t, subscribe(t, third, trunkline.FromBeginning(), "c"), n+2)

	// Once the session reads again all is as before.
	exec(t, hung, "COMMIT")
	eventually(t, "the queue is empty", func() bool {
		exec(t, hung, "SELECT 1")
		return scan[float64](t, conn, "SELECT pg_notification_queue_usage()") < 0.5
	})
	asleep(t, first)
	rings := first.Stats().Rings
	publish(t, conn, "c", `"again"`)
	next(t, subs[0], 2)
	eventually(t, "writers ring again", func() bool { return first.Stats().Rings > rings })
	if sent, err := first.Signal(testContext(t), trunkline.Publication{Channel: "c", Payload: []byte("1")}); err != nil || !sent {
		t.Errorf("a signal: sent %v, %v", sent, err)
	}
}

// smallQueueServer starts a PostgreSQL whose notification queue can be made small: 17 or newer.
func smallQueueServer(t *testing.T) *localpg.Server {
	t.Helper()
	if pgtest.Server(t).Major() >= 17 {
		return pgtest.Cluster(t, map[string]string{"max_notify_queue_pages": "64"})
	}
	bin := os.Getenv("TRUNKLINE_TEST_PG17_BIN")
	if bin == "" {
		bin = filepath.Join(".tools", "pg", "17", "bin")
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		t.Skipf("PostgreSQL 17, whose notification queue can be made small, is not in %s (TRUNKLINE_TEST_PG17_BIN names another folder)", bin)
	}
	// Beside the clusters of this program, which the server's user can reach.
	dir := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(pgtest.Server(t).DataDir()))), "small-queue")
	server, err := localpg.Start(testContext(t), localpg.Config{
		Dir: dir, BinDir: bin, Settings: map[string]string{"max_notify_queue_pages": "64", "fsync": "off"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, server, dir) })
	return server
}

// logLines collects what a logger writes.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
