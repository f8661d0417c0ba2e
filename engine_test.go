package trunkline_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	const url = "postgres://localhost/x"
	for _, test := range []struct {
		name   string
		config trunkline.Config
		says   string
	}{
		{"nothing", trunkline.Config{}, "DatabaseURL"},
		{"a URL that isn't one", trunkline.Config{DatabaseURL: "postgres://u:secret@host:port/x"}, "database URL"},
		{"a bad direct URL", trunkline.Config{DatabaseURL: url, DirectURL: "postgres://u:secret@host:port/x"}, "direct URL"},
		{"a mode", trunkline.Config{DatabaseURL: url, Sequence: "always"}, `"always"`},
		{"a large ring", trunkline.Config{DatabaseURL: url, RingMessages: 100_001}, "100001"},
		{"a negative ring", trunkline.Config{DatabaseURL: url, RingMessages: -1}, "-1"},
		{"small ring bytes", trunkline.Config{DatabaseURL: url, RingBytes: 10}, "RingBytes is 10"},
		{"a negative queue", trunkline.Config{DatabaseURL: url, QueueMessages: -5}, "-5"},
		{"small queue bytes", trunkline.Config{DatabaseURL: url, QueueBytes: 10}, "QueueBytes is 10"},
		{"a quick heartbeat", trunkline.Config{DatabaseURL: url, HeartbeatInterval: time.Millisecond}, "HeartbeatInterval"},
		{"a slow heartbeat", trunkline.Config{DatabaseURL: url, HeartbeatInterval: time.Hour}, "HeartbeatInterval"},
		{"a nameless bridge", trunkline.Config{DatabaseURL: url, Bridge: []string{""}}, "raw channel"},
		{"a long bridge", trunkline.Config{DatabaseURL: url, Bridge: []string{strings.Repeat("x", 64)}}, "64 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := trunkline.New(test.config)
			var argument *trunkline.ArgumentError
			if !errors.As(err, &argument) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v; want it to say %s", err, test.says)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the password is shown: %v", err)
			}
		})
	}
}

func newEngine(t *testing.T, cfg trunkline.Config) *trunkline.Engine {
	t.Helper()
	engine, err := trunkline.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Stop(testContext(t)); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func TestStartWithoutADatabase(t *testing.T) {
	t.Parallel()
	// A port on which nobody listens, and one on which nobody answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	for _, address := range []string{refused.Addr().String(), silent.Addr().String()} {
		engine := newEngine(t, trunkline.Config{DatabaseURL: "postgres://u:secret@" + address + "/x?sslmode=disable"})
		ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
		err := engine.Start(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "secret") {
			t.Errorf("start on %s: %v", address, err)
		}
	}
}

func TestStartNeedsTheSchema(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyDatabase(t)
	engine := newEngine(t, trunkline.Config{DatabaseURL: url, SkipMigrate: true})
	var schema *trunkline.SchemaError
	if err := engine.Start(testContext(t)); !errors.As(err, &schema) || schema.Version != 0 || !strings.Contains(err.Error(), "trunkline migrate") {
		t.Errorf("start without a schema: %v", err)
	}
	if _, err := engine.Publish(testContext(t), trunkline.Publication{Channel: "c", Payload: []byte("1")}); !errors.As(err, &schema) {
		t.Errorf("publish without a schema: %v", err)
	}
	// The same engine starts once it is there.
	if err := trunkline.Migrate(testContext(t), pgtest.Connect(t, url)); err != nil {
		t.Fatal(err)
	}
	if err := engine.Start(testContext(t)); err != nil {
		t.Errorf("start after Migrate: %v", err)
	}
	// And without SkipMigrate, by itself.
	other := newEngine(t, trunkline.Config{DatabaseURL: pgtest.EmptyDatabase(t)})
	if err := other.Start(testContext(t)); err != nil {
		t.Errorf("start on an empty database: %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	exec(t, pgtest.Connect(t, url), "INSERT INTO trunkline.migration (version, name) VALUES (999, 'future')")
	for _, skip := range []bool{false, true} {
		engine := newEngine(t, trunkline.Config{DatabaseURL: url, SkipMigrate: skip})
		var schema *trunkline.SchemaError
		if err := engine.Start(testContext(t)); !errors.As(err, &schema) || schema.Version != 999 || !strings.Contains(err.Error(), "newer") {
			t.Errorf("start: %v", err)
		}
	}
}

func TestStartAndStopInAnyOrder(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	ctx := testContext(t)
	p := trunkline.Publication{Channel: "c", Payload: []byte("1")}

	engine := newEngine(t, trunkline.Config{DatabaseURL: url})
	if _, err := engine.Publish(ctx, p); err != nil {
		t.Errorf("publish before Start: %v", err)
	}
	if _, err := engine.Subscribe(ctx, []string{"c"}, trunkline.SubscribeOptions{}); !errors.Is(err, trunkline.ErrNotStarted) {
		t.Errorf("subscribe before Start: %v", err)
	}
	for range 2 {
		if err := engine.Start(ctx); err != nil {
			t.Errorf("start: %v", err)
		}
	}
	wantSeqs(t, next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 1), 1)
	live := subscribe(t, engine, trunkline.FromNow(), "c")
	publish(t, engine.Pool(), "c", "2")
	eventually(t, "it is queued", func() bool { return engine.State().Log.Position == 2 })
	for range 2 {
		if err := engine.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	// What was queued is still to be had, then the end.
	wantSeqs(t, next(t, live, 1), 2)
	if _, err := live.Next(ctx); !errors.Is(err, trunkline.ErrClosed) {
		t.Errorf("next after Stop: %v", err)
	}
	if err := engine.Start(ctx); !errors.Is(err, trunkline.ErrClosed) {
		t.Errorf("start after Stop: %v", err)
	}
	if _, err := engine.Subscribe(ctx, []string{"c"}, trunkline.SubscribeOptions{}); !errors.Is(err, trunkline.ErrClosed) {
		t.Errorf("subscribe after Stop: %v", err)
	}
	if _, err := engine.Publish(ctx, p); !errors.Is(err, trunkline.ErrClosed) {
		t.Errorf("publish after Stop: %v", err)
	}

	never := newEngine(t, trunkline.Config{DatabaseURL: url})
	if err := never.Stop(ctx); err != nil {
		t.Errorf("stop without Start: %v", err)
	}
	if err := never.Start(ctx); !errors.Is(err, trunkline.ErrClosed) {
		t.Errorf("start after Stop: %v", err)
	}
}

// A pool that was given stays open.
func TestAGivenPoolIsNotClosed(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url)
	engine := newEngine(t, trunkline.Config{Pool: pool})
	if err := engine.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := engine.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := pool.Ping(testContext(t)); err != nil {
		t.Errorf("the pool after Stop: %v", err)
	}
}

func TestWaysToRead(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)

	t.Run("a Next that waits", func(t *testing.T) {
		for _, test := range []struct {
			name string
			end  func(sub *trunkline.Subscription, cancel context.CancelFunc)
			want error
		}{
			{"ends with Close", func(sub *trunkline.Subscription, _ context.CancelFunc) { sub.Close(); sub.Close() }, trunkline.ErrClosed},
			{"ends with its context", func(_ *trunkline.Subscription, cancel context.CancelFunc) { cancel() }, context.Canceled},
		} {
			t.Run(test.name, func(t *testing.T) {
				sub := subscribe(t, engine, trunkline.FromNow(), "waits")
				ctx, cancel := context.WithCancel(testContext(t))
				defer cancel()
				ended := make(chan error)
				begun := make(chan struct{})
				go func() {
					close(begun)
					_, err := sub.Next(ctx)
					ended <- err
				}()
				<-begun
				test.end(sub, cancel)
				if err := <-ended; !errors.Is(err, test.want) {
					t.Errorf("it ended with %v", err)
				}
			})
		}
	})

	t.Run("goes on after a Next whose context ended", func(t *testing.T) {
		sub := subscribe(t, engine, trunkline.FromNow(), "goes-on")
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		if _, err := sub.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Next: %v", err)
		}
		publish(t, conn, "goes-on", "1")
		wantSeqs(t, next(t, sub, 1), 1)
	})

	t.Run("All", func(t *testing.T) {
		sub := subscribe(t, engine, trunkline.FromNow(), "all")
		for i := range 5 {
			publish(t, conn, "all", numbered(i))
		}
		var got []trunkline.Message
		for m, err := range sub.All(testContext(t)) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, m); len(got) == 3 {
				break
			}
		}
		wantSeqs(t, got, 1)
		wantSeqs(t, next(t, sub, 2), 4) // a break loses nothing
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		var last error
		for _, err := range sub.All(ctx) {
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("the last pair carries %v", last)
		}
		sub.Close()
		for m, err := range sub.All(testContext(t)) {
			t.Errorf("after Close comes %+v, %v", m, err)
		}
	})

	t.Run("Chan", func(t *testing.T) {
		sub := subscribe(t, engine, trunkline.FromNow(), "chan")
		messages := sub.Chan(testContext(t))
		for i := range 3 {
			publish(t, conn, "chan", numbered(i))
			m := <-messages
			wantSeqs(t, []trunkline.Message{m}, int64(i+1))
		}
		sub.Close()
		if m, ok := <-messages; ok {
			t.Errorf("after Close comes %+v", m)
		}
		if err := sub.Err(); !errors.Is(err, trunkline.ErrClosed) {
			t.Errorf("Err: %v", err)
		}

		sub = subscribe(t, engine, trunkline.FromNow(), "chan")
		ctx, cancel := context.WithCancel(testContext(t))
		messages = sub.Chan(ctx)
		publish(t, conn, "chan", `"unread"`)
		cancel() // nobody reads: its goroutine ends all the same
		for range messages {
		}
	})
}

// Nobody sequences where everybody is told not to: each says so, and what was published waits.
func TestNobodySequences(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	never := startEngine(t, url, func(c *trunkline.Config) { c.Sequence = trunkline.SequenceNever })
	publish(t, conn, "c", "1")
	if never.State().Sequencing {
		t.Error("it sequences")
	}
	var rows int
	if err := conn.QueryRow(testContext(t), "SELECT pid FROM trunkline.sequencer_session()").Scan(&rows); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("somebody sequences: %v", err)
	}
	startEngine(t, url)
	eventually(t, "it follows the one who came", func() bool { return never.State().Log.Position == 1 })
}

// A backlog of notifications can't stop Stop.
func TestStopIsPromptWhileBusy(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := newEngine(t, trunkline.Config{DatabaseURL: url})
	if err := engine.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	exec(t, pgtest.Connect(t, url), "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 5000) i")
	began := time.Now()
	if err := engine.Stop(testContext(t)); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("Stop took %v", took)
	}
}
