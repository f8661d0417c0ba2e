package trunkline_test

import (
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// sleeping starts a node and waits until it has nothing to do but wait for a ring.
func sleeping(t *testing.T, url string) *trunkline.Engine {
	t.Helper()
	engine := startEngine(t, url)
	asleep(t, engine)
	return engine
}

func TestAsleepEachTransactionRingsOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	before := engine.Stats()
	publish(t, conn, "c", "1")
	next(t, sub, 1)
	// Several statements of one transaction, too.
	asleep(t, engine)
	tx := begin(t, url)
	for range 3 {
		publish(t, tx, "c", "2")
	}
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, next(t, sub, 3), 2)
	asleep(t, engine)
	if s := engine.Stats(); s.Rings != before.Rings+2 || s.Healed != before.Healed {
		t.Errorf("%d rings and %d healings for two transactions", s.Rings-before.Rings, s.Healed-before.Healed)
	}
}

// keepAwake publishes until writers no longer need to ring.
func keepAwake(t *testing.T, url string, sub *trunkline.Subscription) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	eventually(t, "the sequencer is awake", func() bool {
		for range 40 {
			publish(t, conn, "c", `"awake"`)
		}
		next(t, sub, 40)
		return doorbell(t, conn) == 1
	})
}

func doorbell(t *testing.T, db trunkline.Tx) int {
	t.Helper()
	return scan[int](t, db, "SELECT last_value FROM trunkline.doorbell")
}

func TestAwakeNobodyRings(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	heard := func() int64 { // rings, those under way included: notifications arrive in the order of commits
		raw, err := engine.Listen(testContext(t), "last")
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		exec(t, conn, "NOTIFY last")
		if _, err := raw.Next(testContext(t)); err != nil {
			t.Fatal(err)
		}
		return engine.Stats().Rings
	}
	keepAwake(t, url, sub)
	before := heard()
	// Whoever reads the bell as it is awake doesn't ring, whenever that transaction commits.
	quiet := 0
	for range 200 {
		tx, err := conn.Begin(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		awake := doorbell(t, tx) == 1
		publish(t, tx, "c", "1")
		if awake && doorbell(t, tx) == 1 {
			quiet++
		}
		if err := tx.Commit(testContext(t)); err != nil {
			t.Fatal(err)
		}
		next(t, sub, 1)
	}
	if rang := heard() - before; rang > int64(200-quiet) {
		t.Errorf("%d of 200 writers rang although %d met the sequencer awake", rang, quiet)
	} else if quiet == 0 {
		t.Error("the sequencer was never met awake")
	}
}

// A transaction that read "awake" doesn't ring, however late it commits: the sequencer waits for it before it sleeps.
func TestDozingWaitsForWhoReadAwake(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	late := begin(t, url)
	for tries := 0; ; tries++ {
		keepAwake(t, url, sub)
		dozes := engine.Stats().Dozes
		publish(t, late, "c", `"late"`)
		if doorbell(t, late) == 1 && engine.Stats().Dozes == dozes {
			break
		}
		if tries > 100 {
			t.Fatal("the sequencer was never met awake")
		}
		if err := late.Rollback(testContext(t)); err != nil {
			t.Fatal(err)
		}
		late = begin(t, url)
	}
	conn := pgtest.Connect(t, url)
	dozes := engine.Stats().Dozes
	eventually(t, "it dozes", func() bool { return engine.Stats().Dozes > dozes && doorbell(t, conn) == 0 })
	// Beyond the time in which it would look by itself, to be sure that it isn't that.
	steps := engine.Stats().Steps
	eventually(t, "it goes on looking", func() bool { return engine.Stats().Steps > steps+40 })
	before := engine.Stats()
	if err := late.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"late"` {
		t.Errorf("got %s", got.Payload)
	}
	if s := engine.Stats(); s.Rings != before.Rings || s.Healed != before.Healed {
		t.Errorf("%d rings, %d healings", s.Rings-before.Rings, s.Healed-before.Healed)
	}
	// And when all have ended it sleeps.
	asleep(t, engine)
	before = engine.Stats()
	publish(t, conn, "c", "1")
	next(t, sub, 1)
	if s := engine.Stats(); s.Rings != before.Rings+1 || s.Healed != before.Healed {
		t.Errorf("then %d rings, %d healings", s.Rings-before.Rings, s.Healed-before.Healed)
	}
}

// A transaction that will be prepared may not ring; looking once a second finds its messages, and one that is never
// finished costs no more than that.
func TestPreparedTransactions(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	prepare := func(name string) {
		exec(t, conn, "BEGIN")
		exec(t, conn, "SET LOCAL trunkline.ring = off")
		publish(t, conn, "c", `"`+name+`"`)
		exec(t, conn, "PREPARE TRANSACTION '"+databaseOf(t, url)+name+"'")
	}
	finish := func(how, name string) { exec(t, conn, how+" PREPARED '"+databaseOf(t, url)+name+"'") }

	prepare("first")
	asleep(t, engine)
	before := engine.Stats()
	finish("COMMIT", "first")
	next(t, sub, 1)
	if s := engine.Stats(); s.Healed != before.Healed+1 || s.Rings != before.Rings {
		t.Errorf("%d healings, %d rings", s.Healed-before.Healed, s.Rings-before.Rings)
	}

	// Prepared while the sequencer is awake, and forgotten: it can't be waited for.
	keepAwake(t, url, sub)
	prepare("forgotten")
	conn2 := pgtest.Connect(t, url)
	eventually(t, "it dozes", func() bool { return doorbell(t, conn2) == 0 })
	asleep(t, engine)
	before = engine.Stats()
	began := time.Now()
	eventually(t, "it looked", func() bool { return engine.Stats().Steps > before.Steps+2 })
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("3 steps within %v beside a forgotten transaction", took)
	}
	publish(t, conn2, "c", `"others"`)
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"others"` {
		t.Errorf("got %s", got.Payload)
	}
	finish("COMMIT", "forgotten")
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"forgotten"` {
		t.Errorf("got %s", got.Payload)
	}

	// Rolled back, it never was.
	prepare("never")
	finish("ROLLBACK", "never")
	publish(t, conn2, "c", `"end"`)
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"end"` {
		t.Errorf("got %s", got.Payload)
	}
}

// After a SET LOCAL has ended the setting reads as an empty string. That means on, as do values that mean nothing.
func TestOnlyOffSilencesTheBell(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	exec(t, conn, "BEGIN")
	exec(t, conn, "SET LOCAL trunkline.ring = off")
	exec(t, conn, "COMMIT")
	if setting := scan[string](t, conn, "SELECT current_setting('trunkline.ring', true)"); setting != "" {
		t.Fatalf("after SET LOCAL the setting reads %q", setting)
	}
	for _, test := range []struct {
		setting string
		rings   int64
	}{{"", 1}, {"on", 1}, {"anything", 1}, {"off", 0}} {
		exec(t, conn, "SELECT set_config('trunkline.ring', $1, false)", test.setting)
		asleep(t, engine)
		before := engine.Stats()
		publish(t, conn, "c", "1")
		next(t, sub, 1)
		asleep(t, engine)
		if s := engine.Stats(); s.Rings != before.Rings+test.rings || s.Healed != before.Healed+1-test.rings {
			t.Errorf("trunkline.ring = %q: %d rings, %d healings", test.setting, s.Rings-before.Rings, s.Healed-before.Healed)
		}
	}
}
