package inbox_test

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(nodeVariable); url != "" {
		os.Exit(runNode(url))
	}
	// These tests wait more than they compute. What the command line says still counts.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	pgtest.Main(m)
}

// patience bounds every wait of a test: long, since it only ends what hangs.
const patience = 60 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func testLogger(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", t.Name())
	}
	return nil
}

// newEngine makes an engine and stops it when the test ends.
func newEngine(t testing.TB, url string) *trunkline.Engine {
	t.Helper()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopEngine(t, engine) })
	return engine
}

func startEngine(t testing.TB, url string) *trunkline.Engine {
	t.Helper()
	engine := newEngine(t, url)
	if err := engine.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return engine
}

func stopEngine(t testing.TB, engine *trunkline.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := engine.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// newInbox makes an Inbox whose keeper doesn't run.
func newInbox(t testing.TB, engine *trunkline.Engine) *inbox.Inbox {
	t.Helper()
	in, err := inbox.New(engine, inbox.Options{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// startInbox makes an Inbox and has it keep until the test ends, or stop is called.
func startInbox(t testing.TB, engine *trunkline.Engine) (in *inbox.Inbox, stop func()) {
	t.Helper()
	in = newInbox(t, engine)
	stop = run(t, in)
	if err := in.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return in, stop
}

// run has an Inbox keep until the test ends, or stop is called.
func run(t testing.TB, in *inbox.Inbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx); close(done) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// A node is an engine and an Inbox that keeps, on a database of their own, and a connection to it.
func startNode(t testing.TB) (*inbox.Inbox, *trunkline.Engine, *pgx.Conn) {
	t.Helper()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	in, _ := startInbox(t, engine)
	return in, engine, pgtest.Connect(t, url)
}

// notify notifies users in a transaction of its own, or in that of db.
func notify(t testing.TB, db trunkline.Tx, kind string, users ...string) []int64 {
	t.Helper()
	return notifyOf(t, db, inbox.Notification{Users: users, Kind: kind})
}

func notifyOf(t testing.TB, db trunkline.Tx, n inbox.Notification) []int64 {
	t.Helper()
	ids, err := inbox.NotifyTx(testContext(t), db, n)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func mark(t testing.TB, in *inbox.Inbox, user string, m inbox.Mark) inbox.Counts {
	t.Helper()
	_, counts, err := in.Mark(testContext(t), user, m)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func list(t testing.TB, in *inbox.Inbox, user string, opts inbox.ListOptions) inbox.Page {
	t.Helper()
	page, err := in.List(testContext(t), user, opts)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// listAll reads all pages.
func listAll(t testing.TB, in *inbox.Inbox, user string, state inbox.State) []inbox.Item {
	t.Helper()
	var items []inbox.Item
	opts := inbox.ListOptions{State: state, Limit: 200}
	for {
		page := list(t, in, user, opts)
		items = append(items, page.Items...)
		if page.Next == 0 {
			return items
		}
		opts.Before = page.Next
	}
}

func counts(t testing.TB, in *inbox.Inbox, user string) inbox.Counts {
	t.Helper()
	c, err := in.Counts(testContext(t), user)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A push is what arrives on a user's channel.
type push struct {
	inbox.Counts
	Added   []inbox.Item `json:"added"`
	Changed []change     `json:"changed"`
	Removed []int64      `json:"removed"`
	More    bool         `json:"more"`
}

// A change is what became of an item.
type change struct {
	ID           int64      `json:"id"`
	Seq          int64      `json:"seq"`
	SeenAt       *time.Time `json:"seen_at"`
	ReadAt       *time.Time `json:"read_at"`
	ArchivedAt   *time.Time `json:"archived_at"`
	SnoozedUntil *time.Time `json:"snoozed_until"`
}

// pushesTo subscribes to what is pushed to a user, from now on.
func pushesTo(t testing.TB, engine *trunkline.Engine, user string) *trunkline.Subscription {
	t.Helper()
	return subscribe(t, engine, trunkline.FromNow(), "inbox:"+user)
}

func subscribe(t testing.TB, engine *trunkline.Engine, from trunkline.Start, channels ...string) *trunkline.Subscription {
	t.Helper()
	sub, err := engine.Subscribe(testContext(t), channels, trunkline.SubscribeOptions{From: from})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	return sub
}

// next reads the next push.
func next(t testing.TB, sub *trunkline.Subscription) push {
	t.Helper()
	m, err := sub.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return pushOf(t, m)
}

func pushOf(t testing.TB, m trunkline.Message) push {
	t.Helper()
	var p push
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		t.Fatalf("push %s: %v", m.Payload, err)
	}
	return p
}

func begin(t testing.TB, conn *pgx.Conn) pgx.Tx {
	t.Helper()
	tx, err := conn.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, db trunkline.Tx, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(testContext(t), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t testing.TB, db trunkline.Tx, sql string, args ...any) (value T) {
	t.Helper()
	if err := db.QueryRow(testContext(t), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// eventually waits for a condition that something else brings about and that no event announces.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
