package trunkline_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func recent(t testing.TB, e *trunkline.Engine, channel string, after int64, limit int) trunkline.HistoryPage {
	t.Helper()
	page, err := e.Recent(testContext(t), channel, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// fillLog publishes n messages to each channel and waits until they are in the log.
func fillLog(t testing.TB, db trunkline.Tx, n int, channels ...string) {
	t.Helper()
	exec(t, db, "SELECT trunkline.publish(c, to_json(i)) FROM generate_series(1, $1::integer) i, unnest($2::text[]) c", n, channels)
	eventually(t, "all is sequenced", func() bool {
		return scan[int64](t, db, "SELECT count(*) FROM trunkline.log l RIGHT JOIN trunkline.message m ON m.id = l.message_id WHERE l.position IS NULL") == 0
	})
}

func TestRecentIsReadOnceAndThenFromMemory(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 600) i")
	engine := startEngine(t, url) // as after a restart: nothing in memory
	sub := subscribe(t, engine, trunkline.FromNow(), "c")

	before := engine.Stats().HistoryQueries
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 5000 {
		all.Go(func() {
			<-start
			after := int64(500 + i%100)
			page, err := engine.Recent(testContext(t), "c", after, -1)
			if err != nil {
				t.Error(err)
				return
			}
			if page.LastSeq != 600 || page.FirstSeq != 1 || page.More || int64(len(page.Messages)) != 600-after {
				t.Errorf("after %d: %d messages, first %d, last %d, more %v", after, len(page.Messages), page.FirstSeq, page.LastSeq, page.More)
				return
			}
			for j, m := range page.Messages {
				if m.Seq != after+int64(j)+1 || string(m.Payload) != fmt.Sprint(m.Seq) {
					t.Errorf("after %d: message %d has seq %d: %s", after, j, m.Seq, m.Payload)
					return
				}
			}
		})
	}
	close(start)
	all.Wait()
	if q := engine.Stats().HistoryQueries - before; q < 1 || q > 2 {
		t.Errorf("5,000 callers took %d queries", q)
	}

	// What comes live joins what was read.
	publish(t, conn, "c", "601")
	next(t, sub, 1)
	before = engine.Stats().HistoryQueries
	if page := recent(t, engine, "c", 300, -1); len(page.Messages) != 301 || page.LastSeq != 601 {
		t.Errorf("%d messages, last %d", len(page.Messages), page.LastSeq)
	} else {
		wantSeqs(t, page.Messages, 301)
	}
	if page := recent(t, engine, "c", 300, 10); len(page.Messages) != 10 || page.LastSeq != 601 || !page.More {
		t.Errorf("limit 10: %d messages, last %d, more %v", len(page.Messages), page.LastSeq, page.More)
	}
	if page := recent(t, engine, "c", 999, 0); len(page.Messages) != 0 || page.LastSeq != 601 || page.More {
		t.Errorf("limit 0: %+v", page)
	}
	if page := recent(t, engine, "c", 601, -1); len(page.Messages) != 0 || page.LastSeq != 601 || page.More {
		t.Errorf("nothing missed: %+v", page)
	}
	if q := engine.Stats().HistoryQueries - before; q != 0 {
		t.Errorf("%d queries for what is in memory", q)
	}
	// What is older than the ring is read, and reading it again while it is not cut needs the ring for the rest.
	if page := recent(t, engine, "c", 0, -1); len(page.Messages) != 601 || page.LastSeq != 601 {
		t.Errorf("%d messages, last %d", len(page.Messages), page.LastSeq)
	} else {
		wantSeqs(t, page.Messages, 1)
	}
	var beyond *trunkline.BeyondLogError
	if _, err := engine.Recent(testContext(t), "c", 602, -1); !errors.As(err, &beyond) || beyond.Last != 601 {
		t.Errorf("beyond the channel: %v", err)
	}
}

func TestRecentOfChannelsNeverUsedAsksOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	publish(t, engine.Pool(), "other", "1")
	next(t, subscribe(t, engine, trunkline.FromBeginning(), "other"), 1)
	const channels = 5000
	var all sync.WaitGroup
	before := engine.Stats().HistoryQueries
	start := make(chan struct{})
	for i := range channels {
		channel := fmt.Sprint("fresh:", i)
		subscribe(t, engine, trunkline.FromNow(), channel)
		for range 2 {
			all.Go(func() {
				<-start
				if page, err := engine.Recent(testContext(t), channel, 0, 0); err != nil || page.LastSeq != 0 || page.Epoch == "" {
					t.Errorf("%+v: %v", page, err)
				}
			})
		}
	}
	close(start)
	all.Wait()
	// Whoever asks while a query is under way shares the next one. How many those are is up to the machine: one for each channel it
	// isn't.
	if q := engine.Stats().HistoryQueries - before; q < channels/256 || q > channels/8 {
		t.Errorf("%d queries", q)
	}
	before = engine.Stats().HistoryQueries
	for i := range channels {
		recent(t, engine, fmt.Sprint("fresh:", i), 0, 0)
		recent(t, engine, fmt.Sprint("fresh:", i), 0, -1)
	}
	if q := engine.Stats().HistoryQueries - before; q != 0 {
		t.Errorf("%d queries for what is known", q)
	}
	publish(t, engine.Pool(), "fresh:7", "1")
	eventually(t, "the message is delivered", func() bool { return engine.State().Log.Position == 2 })
	if page := recent(t, engine, "fresh:7", 0, -1); page.LastSeq != 1 || len(page.Messages) != 1 {
		t.Errorf("%+v", page)
	}
	if q := engine.Stats().HistoryQueries - before; q != 0 {
		t.Errorf("%d queries for what came live", q)
	}
}

// A reader that has a subscription from now and then asks for what is recent has everything, while writers are busy and the
// ring is small.
func TestRecentMeetsLive(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	const writers, each = 4, 300
	for _, ring := range []int{3, 64, 2000} {
		engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = ring; c.QueueMessages = 4000 })
		channel := fmt.Sprint("busy:", ring)
		var all sync.WaitGroup
		for w := range writers {
			conn := pgtest.Connect(t, url)
			all.Go(func() {
				for i := range each {
					publish(t, conn, channel, numbered(w*each+i))
				}
			})
		}
		for range 30 {
			sub := subscribe(t, engine, trunkline.FromNow(), channel)
			page := recent(t, engine, channel, 0, -1)
			if page.More || int64(len(page.Messages)) != page.LastSeq {
				t.Fatalf("%d messages, last %d", len(page.Messages), page.LastSeq)
			}
			wantSeqs(t, page.Messages, 1)
			all.Go(func() {
				for last := page.LastSeq; last < writers*each; {
					m := next(t, sub, 1)[0]
					if m.Seq > last+1 {
						t.Errorf("seq %d follows %d", m.Seq, last)
						return
					}
					last = max(last, m.Seq)
				}
			})
		}
		all.Wait()
	}
}

func TestRecentWithoutASubscription(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	fillLog(t, conn, 2500, "c")
	page := recent(t, engine, "c", 100, -1)
	if len(page.Messages) != 2400 || page.LastSeq != 2500 || page.More || page.FirstSeq != 1 {
		t.Fatalf("%d messages, last %d", len(page.Messages), page.LastSeq)
	}
	wantSeqs(t, page.Messages, 101)
	if page := recent(t, engine, "c", 100, 1000); len(page.Messages) != 1000 || page.LastSeq != 2500 || !page.More {
		t.Errorf("%d messages, last %d, more %v", len(page.Messages), page.LastSeq, page.More)
	}
	// The page is kept; where the channel ends is not taken from it.
	publish(t, conn, "c", "2501")
	eventually(t, "it is delivered", func() bool { return engine.State().Log.Position == 2501 })
	if page := recent(t, engine, "c", 100, 1000); len(page.Messages) != 1000 || page.LastSeq != 2501 || !page.More {
		t.Errorf("%d messages, last %d, more %v", len(page.Messages), page.LastSeq, page.More)
	}
	if page := recent(t, engine, "c", 7, 0); page.LastSeq != 2501 || page.More {
		t.Errorf("last %d", page.LastSeq)
	}
	if page := recent(t, engine, "never", 0, -1); page.LastSeq != 0 || len(page.Messages) != 0 || page.More {
		t.Errorf("%+v", page)
	}
	var argument *trunkline.ArgumentError
	for _, bad := range []struct {
		channel string
		after   int64
		limit   int
	}{{"", 0, 1}, {"c", -1, 1}, {"c", 0, -2}} {
		if _, err := engine.Recent(testContext(t), bad.channel, bad.after, bad.limit); !errors.As(err, &argument) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestRecentIsCutByBytes(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	subscribe(t, engine, trunkline.FromNow(), "big")
	conn := pgtest.Connect(t, url)
	exec(t, conn, `SELECT trunkline.publish('big', to_json(repeat('x', 1000000))) FROM generate_series(1, 12)`)
	eventually(t, "all is sequenced", func() bool { return engine.State().Log.Position == 12 })
	page := recent(t, engine, "big", 0, -1)
	if len(page.Messages) != 8 || !page.More || page.LastSeq != 12 {
		t.Errorf("%d messages, more %v, last %d", len(page.Messages), page.More, page.LastSeq)
	}
	rest := recent(t, engine, "big", 8, -1)
	if len(rest.Messages) != 4 || rest.More {
		t.Errorf("%d messages, more %v", len(rest.Messages), rest.More)
	}
	wantSeqs(t, append(page.Messages, rest.Messages...), 1)
}

func TestHistoryInBothDirections(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	fillLog(t, conn, 25, "c", "d")
	ctx := testContext(t)
	var seqs []int64
	for before := int64(0); ; {
		page, err := engine.HistoryBefore(ctx, "c", before, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			seqs = append(seqs, m.Seq)
			if m.Channel != "c" || string(m.Payload) != fmt.Sprint(m.Seq) {
				t.Errorf("message %+v", m)
			}
		}
		if !page.More {
			break
		}
		before = seqs[len(seqs)-1]
	}
	for i, seq := range seqs {
		if seq != int64(25-i) || len(seqs) != 25 {
			t.Fatalf("seqs %v", seqs)
		}
	}
	page, err := engine.History(ctx, "c", 5, 10)
	if err != nil || len(page.Messages) != 10 || !page.More || page.LastSeq != 25 || page.FirstSeq != 1 {
		t.Errorf("%+v: %v", page, err)
	}
	wantSeqs(t, page.Messages, 6)
	if page, err = engine.History(ctx, "c", 15, 10); err != nil || page.More || len(page.Messages) != 10 {
		t.Errorf("the last ten: %+v: %v", page, err)
	}
	if page, err = engine.HistoryBefore(ctx, "nothing", 0, 10); err != nil || page.More || len(page.Messages) != 0 || page.Epoch == "" {
		t.Errorf("a channel never used: %+v: %v", page, err)
	}
	exec(t, conn, `SELECT trunkline.publish('big', to_json(repeat('x', 1000000))) FROM generate_series(1, 12)`)
	eventually(t, "all is sequenced", func() bool { return engine.State().Log.Position == 62 })
	if page, err = engine.HistoryBefore(ctx, "big", 0, 12); err != nil || len(page.Messages) != 8 || !page.More || page.Messages[0].Seq != 12 {
		t.Errorf("%d big messages, more %v: %v", len(page.Messages), page.More, err)
	}
	var argument *trunkline.ArgumentError
	if _, err = engine.HistoryBefore(ctx, "c", -1, 10); !errors.As(err, &argument) {
		t.Errorf("before -1: %v", err)
	}
}
