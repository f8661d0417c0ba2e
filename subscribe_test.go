package trunkline_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestCommittedIsHeardRolledBackIsNot(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "broadcast")
	conn := pgtest.Connect(t, url)

	publish(t, conn, "broadcast", `{"a": 1}`)
	tx, err := conn.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, tx, "broadcast", `"never"`)
	if err := tx.Rollback(testContext(t)); err != nil {
		t.Fatal(err)
	}
	publish(t, conn, "broadcast", `[ "byte", "for",  "byte" ]`)

	got := next(t, sub, 2)
	if diff := cmp.Diff([]string{`{"a": 1}`, `[ "byte", "for",  "byte" ]`}, payloads(got)); diff != "" {
		t.Error(diff)
	}
	wantSeqs(t, got, 1)
}

func TestSavepointsRollBackTheirMessages(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	sub := subscribe(t, startEngine(t, url), trunkline.FromNow(), "c")
	tx := begin(t, url)
	publish(t, tx, "c", "1")
	exec(t, tx, "SAVEPOINT s")
	publish(t, tx, "c", "2")
	exec(t, tx, "ROLLBACK TO s")
	publish(t, tx, "c", "3")
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "3"}, payloads(next(t, sub, 2))); diff != "" {
		t.Error(diff)
	}
}

func TestPublishedWhileNobodyRunsIsSequencedAtStart(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	for i := range 10 {
		publish(t, conn, "c", numbered(i))
	}
	engine := startEngine(t, url)
	got := next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 10)
	wantSeqs(t, got, 1)
	for i, m := range got {
		if string(m.Payload) != numbered(i) {
			t.Errorf("message %d is %s", i, m.Payload)
		}
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	// A ring of 4 makes most of this come from the database.
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 4 })
	conn := pgtest.Connect(t, url)
	channels := []string{"a", "b", "c"}
	all := subscribe(t, engine, trunkline.FromNow(), channels...)
	for i := range 60 {
		publish(t, conn, channels[i%3], numbered(i))
	}
	log := next(t, all, 60)

	for _, from := range []int{0, 1, 17, 40, 55, 58, 59} {
		t.Run(fmt.Sprintf("since %d", from), func(t *testing.T) {
			sub := subscribe(t, engine, trunkline.Since(log[from].LogPosition()), channels...)
			got := next(t, sub, 59-from)
			if diff := cmp.Diff(payloads(log[from+1:]), payloads(got)); diff != "" {
				t.Error(diff)
			}
		})
		t.Run(fmt.Sprintf("from offset of %d", from), func(t *testing.T) {
			m := log[from]
			sub := subscribe(t, engine, trunkline.FromOffset(m.Offset()), m.Channel)
			want := []string{}
			for _, later := range log[from+1:] {
				if later.Channel == m.Channel {
					want = append(want, string(later.Payload))
				}
			}
			got := next(t, sub, len(want))
			if diff := cmp.Diff(want, payloads(got)); diff != "" {
				t.Error(diff)
			}
			wantSeqs(t, got, m.Seq+1)
		})
	}
	t.Run("from the beginning, then live", func(t *testing.T) {
		sub := subscribe(t, engine, trunkline.FromBeginning(), "b")
		wantSeqs(t, next(t, sub, 20), 1)
		publish(t, conn, "b", `"live"`)
		if got := next(t, sub, 1)[0]; got.Seq != 21 || string(got.Payload) != `"live"` {
			t.Errorf("got seq %d: %s", got.Seq, got.Payload)
		}
	})
}

// A subscription that begins while writers are busy sees neither a gap nor a double where history meets live.
func TestHistoryMeetsLive(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 16 })
	const writers, each = 4, 300
	var wg sync.WaitGroup
	for w := range writers {
		conn := pgtest.Connect(t, url)
		wg.Go(func() {
			for i := range each {
				publish(t, conn, "busy", numbered(w*each+i))
			}
		})
	}
	for range 8 {
		sub := subscribe(t, engine, trunkline.FromBeginning(), "busy")
		wg.Go(func() { wantSeqs(t, next(t, sub, writers*each), 1) })
	}
	wg.Wait()
}

func TestTenThousandMissedInOrder(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	publish(t, conn, "c", "0")
	first := next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 1)[0]
	exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 10000) i")
	eventually(t, "all sequenced", func() bool {
		return scan[int64](t, conn, "SELECT coalesce(max(last_seq), 0) FROM trunkline.channels") == 10001
	})
	before := engine.Stats().HistoryQueries
	sub := subscribe(t, engine, trunkline.FromOffset(first.Offset()), "c")
	got := next(t, sub, 10000)
	wantSeqs(t, got, 2)
	for i, m := range got {
		if string(m.Payload) != fmt.Sprint(i+1) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	t.Logf("%d queries", engine.Stats().HistoryQueries-before)
}

func TestAThousandResumeTogether(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 8 })
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 2500) i")
	wantSeqs(t, next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 2500), 1)
	epoch := engine.State().Log.Epoch

	before := engine.Stats().HistoryQueries
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 1000 {
		sub := subscribe(t, engine, trunkline.FromOffset(trunkline.Offset{Epoch: epoch, Seq: 500}), "c")
		wg.Go(func() {
			<-start
			wantSeqs(t, next(t, sub, 2000), 501)
		})
	}
	close(start)
	wg.Wait()
	if queries := engine.Stats().HistoryQueries - before; queries > 40 {
		t.Errorf("1,000 subscriptions that missed 2,000 messages took %d queries", queries)
	} else {
		t.Logf("%d queries", queries)
	}
}

func TestBadPositions(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	publish(t, conn, "c", "1")
	next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 1)
	epoch := engine.State().Log.Epoch
	ctx := testContext(t)

	fail := func(from trunkline.Start, channels ...string) error {
		sub, err := engine.Subscribe(ctx, channels, trunkline.SubscribeOptions{From: from})
		if err != nil {
			return err
		}
		defer sub.Close()
		_, err = sub.Next(ctx)
		return err
	}
	var foreign *trunkline.EpochError
	if err := fail(trunkline.Since(trunkline.Position{Epoch: "other", Position: 1}), "c"); !errors.As(err, &foreign) || foreign.Current != epoch {
		t.Errorf("another epoch: %v", err)
	}
	var beyond *trunkline.BeyondLogError
	if err := fail(trunkline.Since(trunkline.Position{Epoch: epoch, Position: 99}), "c"); !errors.As(err, &beyond) || beyond.Last != 1 {
		t.Errorf("beyond the log: %v", err)
	}
	if err := fail(trunkline.FromOffset(trunkline.Offset{Epoch: epoch, Seq: 99}), "c"); !errors.As(err, &beyond) || beyond.Channel != "c" {
		t.Errorf("beyond the channel: %v", err)
	}
	var argument *trunkline.ArgumentError
	for _, channels := range [][]string{nil, {""}, {"a\nb"}, {strings.Repeat("x", 256)}} {
		if err := fail(trunkline.FromNow(), channels...); !errors.As(err, &argument) {
			t.Errorf("channels %q: %v", channels, err)
		}
	}
	if err := fail(trunkline.FromOffset(trunkline.Offset{Epoch: epoch}), "a", "b"); !errors.As(err, &argument) {
		t.Errorf("an offset for two channels: %v", err)
	}
	if err := fail(trunkline.Since(trunkline.Position{}), "a"); !errors.As(err, &argument) {
		t.Errorf("the zero position: %v", err)
	}
}

func TestTrimmedIsToldNeverSilentlyShort(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 2 })
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 20) i")
	all := next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 20)
	// As retention would.
	exec(t, conn, `WITH gone AS (DELETE FROM trunkline.log WHERE seq <= 10 RETURNING message_id)
		DELETE FROM trunkline.message WHERE id IN (SELECT message_id FROM gone)`)
	exec(t, conn, "UPDATE trunkline.channel SET trimmed_seq = 10, trimmed_position = $1", all[9].Position)

	ctx := testContext(t)
	for _, from := range []trunkline.Start{trunkline.FromOffset(all[4].Offset()), trunkline.Since(all[4].LogPosition())} {
		var trimmed *trunkline.TrimmedError
		if _, err := subscribe(t, engine, from, "c").Next(ctx); !errors.As(err, &trimmed) || trimmed.First != 11 {
			t.Errorf("resuming before what is kept: %v", err)
		}
	}
	for _, from := range []trunkline.Start{trunkline.FromBeginning(), trunkline.FromOffset(all[9].Offset()), trunkline.Since(all[9].LogPosition())} {
		wantSeqs(t, next(t, subscribe(t, engine, from, "c"), 10), 11)
	}
}

func TestSlowConsumerEndsWithThePositionToResumeFrom(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	slow, err := engine.Subscribe(testContext(t), []string{"c"}, trunkline.SubscribeOptions{QueueMessages: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	quick := subscribe(t, engine, trunkline.FromNow(), "c")
	for i := range 30 {
		publish(t, conn, "c", numbered(i))
		next(t, quick, 1)
	}
	wantSeqs(t, next(t, slow, 10), 1)
	_, err = slow.Next(testContext(t))
	var ended *trunkline.SlowConsumerError
	if !errors.As(err, &ended) {
		t.Fatalf("ended with %v", err)
	}
	wantSeqs(t, next(t, subscribe(t, engine, trunkline.Since(ended.Resume), "c"), 20), 11)
}

// One transaction of more messages than a queue holds is no reason to call its readers slow.
func TestABurstOverflowsNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.QueueMessages, c.RingMessages = 50, 20 })
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 5000) i")
	publish(t, conn, "c", `"after"`)
	wantSeqs(t, next(t, sub, 5001), 1)
}

func TestPayloadsTooManyToFetchAlongArriveInOrder(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "big", "small")
	tx := begin(t, url)
	big := `"` + strings.Repeat("x", 1<<20-2) + `"`
	for range 12 {
		publish(t, tx, "big", big)
		publish(t, tx, "small", "1")
	}
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	got := next(t, sub, 24)
	for i, m := range got {
		if want := []string{"big", "small"}[i%2]; m.Channel != want || m.Seq != int64(i/2+1) {
			t.Fatalf("message %d is seq %d of %q", i, m.Seq, m.Channel)
		}
		if m.Channel == "big" && string(m.Payload) != big {
			t.Fatal("a big payload was changed")
		}
	}
}

func TestASecondNodeFollows(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	first, second := startEngine(t, url), startEngine(t, url)
	leads(t, url, "the first alone", func() bool { return first.State().Sequencing && !second.State().Sequencing })
	sub := subscribe(t, second, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	for i := range 50 {
		publish(t, conn, "c", numbered(i))
	}
	wantSeqs(t, next(t, sub, 50), 1)

	// The sequencer goes; the other takes over and nothing is lost.
	if err := first.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		publish(t, conn, "c", numbered(50+i))
	}
	wantSeqs(t, next(t, sub, 50), 51)
	eventually(t, "the second sequences", func() bool { return second.State().Sequencing })
}

func TestSignals(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	ctx := testContext(t)
	with, err := engine.Subscribe(ctx, []string{"c"}, trunkline.SubscribeOptions{Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer with.Close()
	without := subscribe(t, engine, trunkline.FromNow(), "c")
	for range 2 { // equal ones are not folded
		if sent, err := engine.Signal(ctx, trunkline.Publication{Channel: "c", Payload: []byte(`{"typing": true}`), Sender: "ann"}); err != nil || !sent {
			t.Fatal(sent, err)
		}
	}
	for range 2 {
		m := next(t, with, 1)[0]
		if !m.Signal || m.Seq != 0 || m.Sender != "ann" || string(m.Payload) != `{"typing": true}` {
			t.Errorf("%+v", m)
		}
	}
	publish(t, engine.Pool(), "c", "1")
	if m := next(t, without, 1)[0]; m.Signal {
		t.Error("a signal reached who didn't ask for them")
	}
	_, err = engine.Signal(ctx, trunkline.Publication{Channel: "c", Payload: []byte(`"` + strings.Repeat("x", 7500) + `"`)})
	var argument *trunkline.ArgumentError
	if !errors.As(err, &argument) || !strings.Contains(err.Error(), "7500") {
		t.Errorf("a large signal: %v", err)
	}
}

func TestRawListenAndBridge(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	link := newProxy(t, url)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.DirectURL, c.Bridge = link.url, []string{"Broad cast"} })
	ctx := testContext(t)
	raw, err := engine.Listen(ctx, "Broad cast")
	if err != nil {
		t.Fatal(err)
	}
	bridged, err := engine.Subscribe(ctx, []string{"Broad cast"}, trunkline.SubscribeOptions{Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT pg_notify('Broad cast', 'plain')")
	exec(t, conn, `SELECT pg_notify('Broad cast', '{"a":1}')`)
	for _, want := range []string{"plain", `{"a":1}`} {
		n, err := raw.Next(ctx)
		if err != nil || n.Payload != want || n.PID != conn.PgConn().PID() {
			t.Errorf("%+v, %v", n, err)
		}
	}
	if diff := cmp.Diff([]string{`"plain"`, `{"a":1}`}, payloads(next(t, bridged, 2))); diff != "" {
		t.Error(diff)
	}

	// UNLISTEN follows the last who leaves.
	raw.Close()
	bridged.Close()
	eventually(t, "UNLISTEN", func() bool { return len(link.queries(`UNLISTEN "Broad cast"`)) > 0 })
}

func TestPublishErrors(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	ctx := testContext(t)
	for _, test := range []struct {
		name string
		p    trunkline.Publication
		says string
	}{
		{"empty channel", trunkline.Publication{Payload: []byte("1")}, "empty"},
		{"long channel", trunkline.Publication{Channel: strings.Repeat("é", 128), Payload: []byte("1")}, "256 bytes"},
		{"control character", trunkline.Publication{Channel: "a\x07", Payload: []byte("1")}, "control"},
		{"own namespace", trunkline.Publication{Channel: "trunkline:x", Payload: []byte("1")}, "namespace"},
		{"not JSON", trunkline.Publication{Channel: "c", Payload: []byte("hello")}, "hello"},
		{"no payload", trunkline.Publication{Channel: "c"}, "not JSON"},
		{"too large", trunkline.Publication{Channel: "c", Payload: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)}, "1048578 bytes, more than 1048576"},
		{"long key", trunkline.Publication{Channel: "c", Payload: []byte("1"), Key: strings.Repeat("k", 256)}, "key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var argument *trunkline.ArgumentError
			for how, err := range map[string]error{
				"Publish":     second(engine.Publish(ctx, test.p)),
				"PublishTx":   second(trunkline.PublishTx(ctx, engine.Pool(), test.p)),
				"PublishMany": second(engine.PublishMany(ctx, []trunkline.Publication{{Channel: "ok", Payload: []byte("1")}, test.p})),
			} {
				if !errors.As(err, &argument) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %v", how, err)
				}
			}
		})
	}
	if n := scan[int](t, engine.Pool(), "SELECT count(*) FROM trunkline.message"); n != 0 {
		t.Errorf("%d messages of refused calls are stored", n)
	}
}

func second[T any](_ T, err error) error { return err }

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	ctx := testContext(t)
	p := trunkline.Publication{Channel: "c", Payload: []byte(`{"n": 1}`), Key: "k"}
	var ids [16]int64
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				ids[i], err = engine.Publish(ctx, p)
			} else {
				ids[i], err = trunkline.PublishTx(ctx, engine.Pool(), p)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("ids %v differ", ids)
		}
	}
	p.Payload = []byte(`{"n":1}`)
	var conflict *trunkline.KeyConflictError
	if _, err := engine.Publish(ctx, p); !errors.As(err, &conflict) || conflict.Key != "k" {
		t.Errorf("the same key with other bytes: %v", err)
	}
	p.Channel = "d"
	if id, err := engine.Publish(ctx, p); err != nil || id == ids[0] {
		t.Errorf("the same key in another channel: %d, %v", id, err)
	}
}

// Two callers with the same keys in opposite order wait for each other, but never in a circle.
func TestPublishManyWithKeysNeverDeadlocks(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	ctx := testContext(t)
	var wg sync.WaitGroup
	for round := range 20 {
		for _, backwards := range []bool{false, true} {
			ps := make([]trunkline.Publication, 30)
			for i := range ps {
				k := i
				if backwards {
					k = len(ps) - 1 - i
				}
				ps[i] = trunkline.Publication{Channel: fmt.Sprint("c", k%3), Payload: []byte("1"), Key: fmt.Sprint(round, "-", k)}
			}
			wg.Go(func() {
				if _, err := engine.PublishMany(ctx, ps); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := scan[int](t, engine.Pool(), "SELECT count(*) FROM trunkline.message"); n != 600 {
		t.Errorf("%d messages, want 600", n)
	}
}

func TestOppositeOrderOfChannelsNeverDeadlocks(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	sub := subscribe(t, startEngine(t, url), trunkline.FromNow(), "a", "b")
	one, two := begin(t, url), begin(t, url)
	publish(t, one, "a", "1")
	publish(t, two, "b", "2")
	publish(t, one, "b", "3")
	publish(t, two, "a", "4")
	for _, tx := range []pgx.Tx{one, two} {
		if err := tx.Commit(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	next(t, sub, 4)
}

func TestManyPublishersShareInserts(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	ctx := testContext(t)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := engine.Publish(ctx, trunkline.Publication{Channel: "c", Payload: []byte(numbered(w*50 + i)), Sender: "s"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := next(t, sub, 1600)
	wg.Wait()
	wantSeqs(t, got, 1)
	if s := engine.Stats(); s.Published != 1600 || s.PublishBatches >= 1600 {
		t.Errorf("%d messages in %d inserts", s.Published, s.PublishBatches)
	}
}
