package trunkline_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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

// A belfry watches what writers ring beside a sequencer that sleeps.
type belfry struct {
	t      *testing.T
	engine *trunkline.Engine
	conn   *pgx.Conn
	raw    *trunkline.RawSubscription
	marks  int
}

func newBelfry(t *testing.T, url string, engine *trunkline.Engine) *belfry {
	t.Helper()
	raw, err := engine.Listen(testContext(t), "last")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	return &belfry{t: t, engine: engine, conn: pgtest.Connect(t, url), raw: raw}
}

// settle waits until all rings so far are heard: notifications arrive in the order of commits.
func (b *belfry) settle() trunkline.Stats {
	b.t.Helper()
	for overall := testContext(b.t); overall.Err() == nil; {
		b.marks++
		mark := strconv.Itoa(b.marks)
		exec(b.t, b.conn, "SELECT pg_notify('last', $1)", mark)
		// One that meets a LISTEN connection that is down is lost.
		ctx, cancel := context.WithTimeout(overall, 2*time.Second)
		for {
			n, err := b.raw.Next(ctx)
			if err != nil {
				break
			}
			if n.Payload == mark {
				cancel()
				return b.engine.Stats()
			}
		}
		cancel()
	}
	b.t.Fatal("the node doesn't listen")
	panic("unreachable")
}

// during returns what was counted while something was written, and read, beside a sequencer that slept all the while: one that
// took over meanwhile was awake, and nobody had to ring.
func (b *belfry) during(write func()) (rings, healed int64) {
	b.t.Helper()
	for overall := testContext(b.t); overall.Err() == nil; {
		asleep(b.t, b.engine)
		before := b.settle()
		write()
		after := b.settle()
		if after.Wakes == before.Wakes && after.Takeovers == before.Takeovers && after.ListenReconnects == before.ListenReconnects {
			return after.Rings - before.Rings, after.Healed - before.Healed
		}
	}
	b.t.Fatal("the sequencer never slept on")
	panic("unreachable")
}

// wantRings checks that what is written rings that often, and that nothing needs to be looked for.
func (b *belfry) wantRings(what string, want int64, write func()) {
	b.t.Helper()
	if rings, healed := b.during(write); rings != want || healed != 0 {
		b.t.Errorf("%s: %d rings and %d healings, want %d and none", what, rings, healed, want)
	}
}

// wantLook checks that what is written rings nobody, and is found by looking once a second.
func (b *belfry) wantLook(what string, write func()) {
	b.t.Helper()
	if rings, healed := b.during(func() {
		before := b.engine.Stats()
		write()
		// Counted a moment after it is delivered; and not where another step found it, after a takeover.
		eventually(b.t, what+": it counts as healed", func() bool {
			now := b.engine.Stats()
			return now.Healed != before.Healed || now.Takeovers != before.Takeovers || now.ListenReconnects != before.ListenReconnects
		})
	}); rings != 0 || healed != 1 {
		b.t.Errorf("%s: %d rings and %d healings, want none and 1", what, rings, healed)
	}
}

func TestAsleepEachTransactionRingsOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	bells := newBelfry(t, url, engine)
	bells.wantRings("one statement", 1, func() {
		publish(t, conn, "c", "1")
		next(t, sub, 1)
	})
	bells.wantRings("three statements of one transaction", 1, func() {
		tx := begin(t, url)
		for range 3 {
			publish(t, tx, "c", "2")
		}
		if err := tx.Commit(testContext(t)); err != nil {
			t.Fatal(err)
		}
		got := next(t, sub, 3)
		wantSeqs(t, got, got[0].Seq)
	})
}

// sleepless starts a node that is awake for as long as the link holds its LISTEN connection up: nobody would be heard.
func sleepless(t *testing.T, url string) (*trunkline.Engine, *proxy) {
	t.Helper()
	link := newProxy(t, url)
	link.only("trunkline listener")
	engine := startEngine(t, url, func(c *trunkline.Config) { c.DirectURL = link.url })
	asleep(t, engine)
	stayAwake(t, url, engine, link)
	return engine, link
}

func stayAwake(t *testing.T, url string, engine *trunkline.Engine, link *proxy) {
	t.Helper()
	link.cut()
	conn := pgtest.Connect(t, url)
	eventually(t, "the sequencer is awake", func() bool { return !engine.State().Listen.Up && doorbell(t, conn) == 1 })
}

// dozes heals the link and waits until writers have to ring again.
func dozes(t *testing.T, url string, engine *trunkline.Engine, link *proxy) {
	t.Helper()
	before := engine.Stats().Dozes
	link.heal()
	conn := pgtest.Connect(t, url)
	eventually(t, "it dozes", func() bool { return engine.Stats().Dozes > before && doorbell(t, conn) == 0 })
}

func doorbell(t *testing.T, db trunkline.Tx) int {
	t.Helper()
	return scan[int](t, db, "SELECT last_value FROM trunkline.doorbell")
}

func TestAwakeNobodyRings(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine, link := sleepless(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn, ear := pgtest.Connect(t, url), pgtest.Connect(t, url)
	exec(t, ear, "LISTEN trunkline_ring")
	exec(t, ear, "LISTEN last")
	rings := func() (n int) {
		exec(t, conn, "NOTIFY last")
		for {
			got, err := ear.WaitForNotification(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if got.Channel == "last" { // notifications arrive in the order of commits
				return n
			}
			if got.Payload == "" { // else the sequencer's own
				n++
			}
		}
	}
	for range 200 {
		publish(t, conn, "c", "1")
		next(t, sub, 1)
	}
	if n := rings(); n != 0 {
		t.Errorf("%d of 200 writers rang although the sequencer was awake", n)
	}
	dozes(t, url, engine, link)
	publish(t, conn, "c", "1")
	next(t, sub, 1)
	if n := rings(); n != 1 {
		t.Errorf("then %d writers rang, want 1", n)
	}
}

// Where writers are many and quick it wakes by itself, and they no longer ring.
func TestBusyWritersKeepItAwake(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := sleeping(t, url)
	var writing sync.WaitGroup
	defer writing.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range 6 {
		conn := pgtest.Connect(t, url)
		writing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					publish(t, conn, "c", "1")
				}
			}
		})
	}
	conn := pgtest.Connect(t, url)
	eventually(t, "it is awake", func() bool { return engine.Stats().Wakes > 0 && engine.State().Listen.Up && doorbell(t, conn) == 1 })
}

// A transaction that read "awake" doesn't ring, however late it commits: the sequencer waits for it before it sleeps.
func TestDozingWaitsForWhoReadAwake(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine, link := sleepless(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	late := begin(t, url)
	publish(t, late, "c", `"late"`)
	dozes(t, url, engine, link)
	bells := newBelfry(t, url, engine)
	// Beyond the time in which it would look by itself, to be sure that it isn't that.
	steps := engine.Stats().Steps
	eventually(t, "it goes on looking", func() bool { return engine.Stats().Steps > steps+40 })
	before := bells.settle()
	if err := late.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"late"` {
		t.Errorf("got %s", got.Payload)
	}
	if s := bells.settle(); s.Rings != before.Rings || s.Healed != before.Healed {
		t.Errorf("%d rings, %d healings", s.Rings-before.Rings, s.Healed-before.Healed)
	}
	// And when all have ended it sleeps.
	conn := pgtest.Connect(t, url)
	bells.wantRings("then", 1, func() {
		publish(t, conn, "c", "1")
		next(t, sub, 1)
	})
}

// A transaction that will be prepared may not ring; looking once a second finds its messages, and one that is never
// finished costs no more than that.
func TestPreparedTransactions(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine, link := sleepless(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	prepare := func(name string) {
		exec(t, conn, "BEGIN")
		exec(t, conn, "SET LOCAL trunkline.ring = off")
		publish(t, conn, "c", `"`+name+`"`)
		exec(t, conn, "PREPARE TRANSACTION '"+databaseOf(t, url)+name+"'")
	}
	finish := func(how, name string) { exec(t, conn, how+" PREPARED '"+databaseOf(t, url)+name+"'") }

	// Prepared while the sequencer is awake, and forgotten: it can't be waited for.
	prepare("forgotten")
	dozes(t, url, engine, link)
	asleep(t, engine)
	// Twice a second at most; when its session had to be opened anew, it looks more often for a moment.
	eventually(t, "it looks once a second beside a forgotten transaction", func() bool {
		steps, began := engine.Stats().Steps, time.Now()
		eventually(t, "it looked", func() bool { return engine.Stats().Steps > steps+2 })
		return time.Since(began) >= 1500*time.Millisecond
	})
	conn2 := pgtest.Connect(t, url)
	publish(t, conn2, "c", `"others"`)
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"others"` {
		t.Errorf("got %s", got.Payload)
	}
	finish("COMMIT", "forgotten")
	if got := next(t, sub, 1)[0]; string(got.Payload) != `"forgotten"` {
		t.Errorf("got %s", got.Payload)
	}

	bells := newBelfry(t, url, engine)
	bells.wantLook("a prepared transaction", func() {
		prepare("first")
		finish("COMMIT", "first")
		next(t, sub, 1)
	})

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
	bells := newBelfry(t, url, engine)
	write := func() {
		publish(t, conn, "c", "1")
		next(t, sub, 1)
	}
	for _, setting := range []string{"", "on", "anything"} {
		exec(t, conn, "SELECT set_config('trunkline.ring', $1, false)", setting)
		bells.wantRings(fmt.Sprintf("trunkline.ring = %q", setting), 1, write)
	}
	exec(t, conn, "SELECT set_config('trunkline.ring', 'off', false)")
	bells.wantLook("trunkline.ring = off", write)
}
