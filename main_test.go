package trunkline_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
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
const patience = 3 * time.Minute

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startEngine starts a node on a database and stops it when the test ends.
func startEngine(t testing.TB, url string, change ...func(*trunkline.Config)) *trunkline.Engine {
	t.Helper()
	cfg := trunkline.Config{DatabaseURL: url, Logger: testLogger(t)}
	for _, c := range change {
		c(&cfg)
	}
	engine, err := trunkline.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := engine.Stop(stop); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return engine
}

func testLogger(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", t.Name())
	}
	return nil
}

func subscribe(t testing.TB, e *trunkline.Engine, from trunkline.Start, channels ...string) *trunkline.Subscription {
	t.Helper()
	s, err := e.Subscribe(testContext(t), channels, trunkline.SubscribeOptions{From: from})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// next reads n messages.
func next(t testing.TB, s *trunkline.Subscription, n int) []trunkline.Message {
	t.Helper()
	ctx := testContext(t)
	messages := make([]trunkline.Message, 0, n)
	for range n {
		m, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(messages), n, err)
		}
		messages = append(messages, m)
	}
	return messages
}

func publish(t testing.TB, db trunkline.Tx, channel, payload string) int64 {
	t.Helper()
	id, err := trunkline.PublishTx(testContext(t), db, trunkline.Publication{Channel: channel, Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// wantSeqs checks that messages of one channel carry first, first+1, … and rising positions.
func wantSeqs(t testing.TB, messages []trunkline.Message, first int64) {
	t.Helper()
	for i, m := range messages {
		if m.Seq != first+int64(i) {
			t.Fatalf("message %d of %q has seq %d, want %d", i, m.Channel, m.Seq, first+int64(i))
		}
		if i > 0 && m.Position <= messages[i-1].Position {
			t.Fatalf("position %d follows %d", m.Position, messages[i-1].Position)
		}
	}
}

func payloads(messages []trunkline.Message) []string {
	texts := make([]string, len(messages))
	for i, m := range messages {
		texts[i] = string(m.Payload)
	}
	return texts
}

func begin(t testing.TB, url string) pgx.Tx {
	t.Helper()
	tx, err := pgtest.Connect(t, url).Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return tx
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

func numbered(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }
