package trunkline_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// A trimmed is what one call of trunkline.trim returned.
type trimmed struct {
	Removed   *int
	Done      *bool
	Upto      *int64
	Waits     bool
	Unfloored *bool
}

func trim(t testing.TB, db trunkline.Tx, keep string, look, most int) trimmed {
	t.Helper()
	rows, err := db.Query(testContext(t), "SELECT removed, done, upto, wait IS NOT NULL AS waits, unfloored FROM trunkline.trim($1::text::interval, $2, $3)", keep, look, most)
	if err != nil {
		t.Fatal(err)
	}
	result, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[trimmed])
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// trimAll calls trim until it is done and returns how many messages it removed.
func trimAll(t testing.TB, db trunkline.Tx, keep string, look, most int) (removed int) {
	t.Helper()
	for range 10_000 {
		r := trim(t, db, keep, look, most)
		removed += *r.Removed
		if *r.Done {
			return removed
		}
	}
	t.Fatal("trim is never done")
	return 0
}

// age makes messages of channels like a pattern older.
func age(t testing.TB, db trunkline.Tx, pattern, by string) {
	t.Helper()
	exec(t, db, "UPDATE trunkline.message SET created_at = created_at - $2::text::interval WHERE channel LIKE $1", pattern, by)
}

// raiseFloor says, as the sequencer does, that everything is in the log.
func raiseFloor(t testing.TB, db trunkline.Tx) {
	t.Helper()
	exec(t, db, "SELECT trunkline.set_floor(pg_snapshot_xmax(pg_current_snapshot()))")
}

// stopped publishes with an engine that is gone again, so that nobody trims but the test.
func stopped(t testing.TB, url string, prepare func(e *trunkline.Engine)) {
	t.Helper()
	engine := startEngine(t, url)
	prepare(engine)
	if err := engine.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	nobodyRuns(t, pgtest.Connect(t, url))
}

func lastSeq(t testing.TB, db trunkline.Tx, channel string) [2]int64 {
	t.Helper()
	return [2]int64{
		scan[int64](t, db, "SELECT first_seq FROM trunkline.channels WHERE channel = $1", channel),
		scan[int64](t, db, "SELECT last_seq FROM trunkline.channels WHERE channel = $1", channel),
	}
}

// Both ways of finding old messages remove the same: the oldest of each channel, with their log rows and keys, and nothing of
// other namespaces.
func TestRetentionRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	for name, channels := range map[string]int{"few channels": 3, "many channels": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			conn := pgtest.Connect(t, url)
			stopped(t, url, func(*trunkline.Engine) {
				for range 4 {
					exec(t, conn, "SELECT trunkline.publish('short:' || i, '1', key => gen_random_uuid()::text), trunkline.publish('long:' || i, '2') FROM generate_series(1, $1::integer) i", channels)
				}
				fillLog(t, conn, 3, "plain", "default:x", "shorter:1")
				exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('short', '1 hour'), ('long', '10 hours')")
				fillLog(t, conn, 0, "")
			})
			raiseFloor(t, conn)
			end := scan[int64](t, conn, "SELECT last_position FROM trunkline.log_end")
			if n := trimAll(t, conn, "1 hour", 1000, 10); n != 0 {
				t.Fatalf("%d young messages were removed", n)
			}
			age(t, conn, "%", "2 hours")
			exec(t, conn, "UPDATE trunkline.message m SET created_at = now() FROM trunkline.log l WHERE l.message_id = m.id AND l.seq = 4 AND m.channel LIKE 'short%'")
			if r := trim(t, conn, "3 hours", 1000, 10); *r.Removed != 0 || !*r.Done {
				t.Errorf("a retention that no namespace has: %+v", r)
			}
			if n := trimAll(t, conn, "1 hour", 7, 10); n != 3*channels {
				t.Errorf("%d messages were removed, want %d", n, 3*channels)
			}
			if got := lastSeq(t, conn, "short:1"); got != [2]int64{4, 4} {
				t.Errorf("the channel has seqs %v", got)
			}
			if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.message WHERE channel LIKE 'short:%'"); n != channels {
				t.Errorf("%d messages are left", n)
			}
			if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.log l LEFT JOIN trunkline.message m ON m.id = l.message_id WHERE m.id IS NULL"); n != 0 {
				t.Errorf("%d log rows have no message", n)
			}
			if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.message WHERE channel NOT LIKE 'short:%' AND channel NOT LIKE 'trunkline:%'"); n != 4*channels+9 {
				t.Errorf("%d messages of other namespaces are left", n)
			}
			age(t, conn, "%", "20 hours")
			if n := trimAll(t, conn, "1 hour", 1000, 10) + trimAll(t, conn, "10 hours", 1000, 50); n != 5*channels {
				t.Errorf("%d more were removed, want %d", n, 5*channels)
			}
			if got := lastSeq(t, conn, "short:1"); got != [2]int64{5, 4} {
				t.Errorf("the emptied channel has seqs %v", got)
			}
			if now := scan[int64](t, conn, "SELECT last_position FROM trunkline.log_end"); now != end {
				t.Errorf("the log ended at %d, now at %d", end, now)
			}

			// The default namespace has no prefix of its own.
			exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('default', '1 hour')")
			if n := trimAll(t, conn, "1 hour", 5, 10); n != 6 {
				t.Errorf("%d of the default namespace were removed", n)
			}
		})
	}
}

// What retention removes last is the end of the log; it goes on behind it, also for an engine that starts then.
func TestRetentionOfTheLastMessage(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	var epoch string
	var end int64
	stopped(t, url, func(e *trunkline.Engine) {
		exec(t, conn, "UPDATE trunkline.namespace SET retention = '1 hour' WHERE name = 'trunkline'")
		exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('c', '1 hour')")
		fillLog(t, conn, 5, "c:1")
		epoch, end = e.State().Log.Epoch, scan[int64](t, conn, "SELECT last_position FROM trunkline.log_end")
	})
	raiseFloor(t, conn)
	age(t, conn, "%", "2 hours")
	if n := trimAll(t, conn, "1 hour", 1000, 2); int64(n) != end {
		t.Errorf("%d of %d were removed", n, end)
	}
	if n := scan[int](t, conn, "SELECT (SELECT count(*) FROM trunkline.log) + (SELECT count(*) FROM trunkline.message)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if got := scan[int64](t, conn, "SELECT last_position FROM trunkline.log_end"); got != end {
		t.Errorf("the log ended at %d, now at %d", end, got)
	}

	engine := startEngine(t, url)
	if at := engine.State().Log; at.Epoch != epoch || at.Position != end {
		t.Errorf("the engine is at %v, the log was at %s:%d", at, epoch, end)
	}
	sub := subscribe(t, engine, trunkline.FromBeginning(), "c:1")
	publish(t, conn, "c:1", `"new"`)
	if m := next(t, sub, 1)[0]; m.Seq != 6 || m.Position != end+1 {
		t.Errorf("got %+v", m)
	}
	var gone *trunkline.TrimmedError
	if _, err := engine.Recent(testContext(t), "c:1", 3, -1); !errors.As(err, &gone) || gone.First != 6 {
		t.Errorf("recent after what is gone: %v", err)
	}
	old := subscribe(t, engine, trunkline.FromOffset(trunkline.Offset{Epoch: epoch, Seq: 4}), "c:1")
	if _, err := old.Next(testContext(t)); !errors.As(err, &gone) || gone.First != 6 {
		t.Errorf("resumed after what is gone: %v", err)
	}
}

func TestRetentionLeavesAloneWhatIsNotInTheLogOrNotBelowTheFloor(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	stopped(t, url, func(*trunkline.Engine) {
		exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('c', '1 hour')")
		fillLog(t, conn, 3, "c:1")
	})
	raiseFloor(t, conn)
	tx := begin(t, url)
	publish(t, tx, "c:1", `"open"`)
	stopped(t, url, func(*trunkline.Engine) { fillLog(t, conn, 2, "c:1") })
	publish(t, conn, "c:1", `"not sequenced"`)
	age(t, conn, "c:%", "2 hours")
	exec(t, tx, "SET LOCAL lock_timeout = 0")
	exec(t, conn, "UPDATE trunkline.state SET floor = (SELECT min(xid::text::bigint)::text::xid8 FROM trunkline.message WHERE channel = 'c:1' AND id IN (SELECT message_id FROM trunkline.log WHERE seq > 3))")
	r := trim(t, conn, "1 hour", 100, 100)
	if *r.Removed != 3 || !*r.Unfloored || !*r.Done || r.Waits {
		t.Errorf("below the floor: %+v", r)
	}
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	raiseFloor(t, conn) // wrongly, of those that aren't in the log
	if n := trimAll(t, conn, "1 hour", 100, 100); n != 2 {
		t.Errorf("%d of what is in the log were removed", n)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.message WHERE channel = 'c:1'"); n != 2 {
		t.Errorf("%d messages that aren't in the log are left", n)
	}
}

// An engine removes by itself what is old, tells who comes late, and is quiet when there is nothing to do.
func TestEngineRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 2 })
	second := startEngine(t, url, func(c *trunkline.Config) { c.Sequence = trunkline.SequenceNever })
	conn := pgtest.Connect(t, url)
	sub, other := subscribe(t, engine, trunkline.FromNow(), "c:1"), subscribe(t, second, trunkline.FromNow(), "c:1")
	exec(t, conn, "SELECT trunkline.publish('c:1', to_json(i), key => 'k' || i) FROM generate_series(1, 1200) i")
	first := next(t, sub, 1200)
	wantSeqs(t, next(t, other, 1200), 1)
	// Only now: neither node may be late for what is to be kept for a second.
	exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('c', '1 s')")
	eventually(t, "all are removed", func() bool { return engine.Stats().Trimmed == 1200 })
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.message WHERE channel = 'c:1'"); n != 0 {
		t.Errorf("%d are left", n)
	}
	if n := second.Stats().Trimmed; n != 0 {
		t.Errorf("the node that follows removed %d messages", n)
	}
	var gone *trunkline.TrimmedError
	for _, from := range []trunkline.Start{trunkline.FromOffset(first[4].Offset()), trunkline.Since(first[4].LogPosition())} {
		if _, err := subscribe(t, engine, from, "c:1").Next(testContext(t)); !errors.As(err, &gone) || gone.First != 1201 {
			t.Errorf("resuming before what is kept: %v", err)
		}
	}
	// The key went with its message.
	exec(t, conn, "UPDATE trunkline.namespace SET retention = '1 hour' WHERE name = 'c'")
	exec(t, conn, "SELECT trunkline.publish('c:1', '\"again\"', key => 'k7')")
	for _, s := range []*trunkline.Subscription{sub, other} {
		if m := next(t, s, 1)[0]; m.Seq != 1201 {
			t.Errorf("seq %d", m.Seq)
		}
	}
}

// A node that followed from far behind, while retention went on, passes over nothing in silence.
func TestFollowerMeetsAGapThatRetentionLeft(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int64{"in the middle": 15, "to the end": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			engine := startEngine(t, url)
			conn := pgtest.Connect(t, url)
			exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('gone', '1 hour')")
			publish(t, conn, "gone:1", "0")
			publish(t, conn, "kept:1", "0")
			eventually(t, "they are sequenced", func() bool { return scan[int64](t, conn, "SELECT count(*) FROM trunkline.log") >= 3 })
			follower := startEngine(t, url, func(c *trunkline.Config) { c.Sequence = trunkline.SequenceNever })
			before := follower.State().Log
			kept, gone := subscribe(t, follower, trunkline.FromNow(), "kept:1"), subscribe(t, follower, trunkline.FromNow(), "gone:1")
			if err := engine.Stop(testContext(t)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "nobody sequences", func() bool {
				return scan[bool](t, conn, "SELECT NOT EXISTS (SELECT FROM trunkline.sequencer_session())")
			})
			// As if the follower had been away meanwhile: all of this becomes visible to it at once.
			tx := begin(t, url)
			exec(t, tx, "INSERT INTO trunkline.message (channel, payload) SELECT CASE WHEN i BETWEEN 6 AND $1 THEN 'gone:1' ELSE 'kept:1' END, to_json(i) FROM generate_series(1, 40) i", most)
			exec(t, tx, "SELECT trunkline.append_log(ARRAY(SELECT id FROM trunkline.message WHERE id NOT IN (SELECT message_id FROM trunkline.log) ORDER BY id), 0)")
			exec(t, tx, "UPDATE trunkline.message SET created_at = now() - interval '2 hours' WHERE channel = 'gone:1'")
			exec(t, tx, "UPDATE trunkline.state SET floor = pg_current_xact_id()::text::xid8")
			exec(t, tx, "UPDATE trunkline.state SET floor = (pg_current_xact_id()::text::bigint + 1)::text::xid8")
			if n := trimAll(t, tx, "1 hour", 100, 100); int64(n) != most-5+1 {
				t.Fatalf("%d removed", n)
			}
			if err := tx.Commit(testContext(t)); err != nil {
				t.Fatal(err)
			}
			wantSeqs(t, next(t, kept, int(5+40-most)), 2)
			var ended *trunkline.TrimmedError
			if _, err := gone.Next(testContext(t)); !errors.As(err, &ended) || ended.Channel != "gone:1" || ended.First != 1+most-5+1 {
				t.Errorf("its messages were removed before this node saw them: %v", err)
			}
			eventually(t, "the follower is at the end", func() bool { return follower.State().Log.Position == before.Position+40 })

			// Whoever sequences next goes on behind the gap.
			again := startEngine(t, url)
			if at := again.State().Log; at.Epoch != before.Epoch {
				t.Errorf("another epoch: %v", at)
			}
			publish(t, conn, "kept:1", `"after"`)
			if m := next(t, kept, 1)[0]; m.Position != before.Position+41 {
				t.Errorf("position %d, want %d", m.Position, before.Position+41)
			}
		})
	}
}

// Between two pages of a reader that catches up, retention takes what it hasn't read: it is told.
func TestTrimmedWhileCatchingUp(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('c', '1 hour')")
	stopped(t, url, func(*trunkline.Engine) { fillLog(t, conn, 5000, "c:1", "d:1") })
	// One that doesn't sequence removes nothing itself.
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages, c.Sequence = 2, trunkline.SequenceNever })
	one, both := subscribe(t, engine, trunkline.FromBeginning(), "c:1"), subscribe(t, engine, trunkline.FromBeginning(), "c:1", "d:1")
	wantSeqs(t, next(t, one, 1), 1)
	next(t, both, 1)
	raiseFloor(t, conn)
	age(t, conn, "c:%", "2 hours")
	if n := trimAll(t, conn, "1 hour", 10000, 1000); n != 5000 {
		t.Fatalf("%d removed", n)
	}
	for _, sub := range []*trunkline.Subscription{one, both} {
		last, count := map[string]int64{"c:1": 1, "d:1": 0}, 0
		var gone *trunkline.TrimmedError
		for {
			m, err := sub.Next(testContext(t))
			if errors.As(err, &gone) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Seq > last[m.Channel]+1 {
				t.Fatalf("seq %d of %q follows %d", m.Seq, m.Channel, last[m.Channel])
			}
			last[m.Channel] = m.Seq
			count++
		}
		if gone.Channel != "c:1" || gone.First != 5001 {
			t.Errorf("ended with %+v after %d messages", gone, count)
		}
	}
	wantSeqs(t, next(t, subscribe(t, engine, trunkline.FromBeginning(), "d:1"), 5000), 1)
}

// With many messages of others, a batch reads only what it needs by index, whichever way it looks.
func TestRetentionDoesNotScan(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('few', '1 hour'), ('many', '2 hours')")
	exec(t, conn, `INSERT INTO trunkline.message (channel, payload, created_at)
		SELECT CASE WHEN i % 100 = 0 THEN 'few:' || i % 7 WHEN i % 100 = 1 THEN 'many:' || i % 200000 ELSE 'other:' || i % 1000 END, '1', now() - interval '3 hours'
		FROM generate_series(1, 300000) i`)
	exec(t, conn, "INSERT INTO trunkline.channel (name) SELECT DISTINCT channel FROM trunkline.message")
	exec(t, conn, `INSERT INTO trunkline.log (position, message_id, channel_id, seq, size)
		SELECT m.id, m.id, c.id, row_number() OVER (PARTITION BY c.id ORDER BY m.id), m.size
		FROM trunkline.message m JOIN trunkline.channel c ON c.name = m.channel ORDER BY m.id`)
	exec(t, conn, "VACUUM ANALYZE trunkline.message, trunkline.log, trunkline.channel")
	raiseFloor(t, conn)
	for keep, most := range map[string]int64{"1 hour": 20_000, "2 hours": 40_000} {
		for round := range 3 {
			tx, err := conn.Begin(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			exec(t, tx, "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
			rowsRead := func() int64 {
				return scan[int64](t, tx, `SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables
					WHERE schemaname = 'trunkline' AND relname IN ('message', 'log', 'channel')`)
			}
			before, began := rowsRead(), time.Now()
			r := trim(t, tx, keep, trunkline.TrimLook, trunkline.TrimMost)
			took := time.Since(began)
			read := rowsRead() - before
			if err := tx.Commit(testContext(t)); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d removed in %v, %d rows read", keep, *r.Removed, took.Round(time.Millisecond), read)
			if *r.Removed < 90 || read > most {
				t.Errorf("retention %s, batch %d: removed %d, read %d rows", keep, round, *r.Removed, read)
			}
		}
	}
}
