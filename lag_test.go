package trunkline_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestLagTellsWhoSequencesAndWhenTheLogWasHeard(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	first := startEngine(t, url)
	second := startEngine(t, url, func(c *trunkline.Config) { c.Sequence = trunkline.SequenceNever })
	for i, e := range []*trunkline.Engine{first, second} {
		began := time.Now()
		eventually(t, fmt.Sprintf("engine %d hears the log, is not behind, and knows who sequences", i), func() bool {
			lag := e.State().Lag
			return lag.Heard.After(began) && lag.Unsequenced.IsZero() && lag.Messages == 0
		})
	}
	publish(t, conn, "c", "1")
	for _, e := range []*trunkline.Engine{first, second} {
		eventually(t, "it is delivered", func() bool { s := e.State(); return s.Log.Position == 1 && s.Lag.Messages == 0 })
	}

	if err := first.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody sequences", func() bool { return !second.State().Lag.Unsequenced.IsZero() })
	since := second.State().Lag.Unsequenced
	heard := time.Now()
	eventually(t, "it still hears of the log", func() bool { return second.State().Lag.Heard.After(heard) })
	if again := second.State().Lag.Unsequenced; again != since {
		t.Errorf("nobody sequences since %v, before it was %v", again, since)
	}
	startEngine(t, url)
	eventually(t, "somebody sequences", func() bool { return second.State().Lag.Unsequenced.IsZero() })
}

func TestReady(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	if sub.Ready() {
		t.Error("ready with nothing")
	}
	publish(t, engine.Pool(), "c", "1")
	eventually(t, "a message is there", sub.Ready)
	next(t, sub, 1)
	if sub.Ready() {
		t.Error("ready after the last message")
	}
	sub.Close()
	if !sub.Ready() {
		t.Error("a closed subscription says nothing at once")
	}
}

// The settings of a namespace reach rings and subscriptions of a running engine.
func TestNamespacesChangeRingsAndConflationLive(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	engine := startEngine(t, url)
	exec(t, conn, "INSERT INTO trunkline.namespace (name, ring, conflate) VALUES ('c', 2, '1 hour')")
	eventually(t, "the settings are read", func() bool { return engine.Namespace("c:1").Ring == 2 })
	s, err := engine.Subscribe(testContext(t), []string{"c:1"}, trunkline.SubscribeOptions{Conflate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := subscribe(t, engine, trunkline.FromNow(), "c:1")
	for i := range 5 {
		publish(t, conn, "c:1", numbered(i))
		next(t, all, 1)
		if i == 0 {
			if m := next(t, s, 1)[0]; m.Seq != 1 || m.Skipped != 0 {
				t.Errorf("first came seq %d", m.Seq)
			}
		}
	}
	before := engine.Stats().HistoryQueries
	recent(t, engine, "c:1", 3, -1)
	if q := engine.Stats().HistoryQueries - before; q != 0 {
		t.Errorf("%d queries for what fits the ring", q)
	}
	recent(t, engine, "c:1", 2, -1)
	if q := engine.Stats().HistoryQueries - before; q == 0 {
		t.Error("the ring holds more than it should")
	}
	exec(t, conn, "UPDATE trunkline.namespace SET conflate = NULL WHERE name = 'c'")
	if m := next(t, s, 1)[0]; m.Seq != 5 || m.Skipped != 3 {
		t.Errorf("then came seq %d, %d skipped", m.Seq, m.Skipped)
	}
	publish(t, conn, "c:1", "1")
	publish(t, conn, "c:1", "2")
	wantSeqs(t, next(t, s, 2), 6)
}
