package trunkline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMessagesDeletedByHandAreTold(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 1 })
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series(1, 3000) i")
	next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), 3000)
	exec(t, conn, "DELETE FROM trunkline.message WHERE id IN (SELECT message_id FROM trunkline.log WHERE seq <= 1500)")
	var trimmed *trunkline.TrimmedError
	sub, err := engine.Subscribe(testContext(t), []string{"c"}, trunkline.SubscribeOptions{
		From: trunkline.FromOffset(trunkline.Offset{Epoch: engine.State().Log.Epoch, Seq: 1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if _, err := sub.Next(testContext(t)); !errors.As(err, &trimmed) {
		t.Errorf("reading over deleted messages: %v", err)
	}
}

func TestChanEndsWithCloseAndPositionWaitsForIt(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	begun := sub.Position()
	messages := sub.Chan(context.Background())
	for i := range 3 {
		publish(t, engine.Pool(), "c", numbered(i))
	}
	eventually(t, "all are delivered here", func() bool { return engine.State().Log.Position >= begun.Position+3 })
	if p := sub.Position(); p.Position > begun.Position {
		t.Errorf("nothing was received, yet the position is %s", p)
	}
	if m := <-messages; m.Seq != 1 {
		t.Errorf("first seq %d", m.Seq)
	}
	if p := sub.Position(); p.Position > begun.Position+1 {
		t.Errorf("one was received, yet the position is %s", p)
	}
	sub.Close()
	for range messages { // closed soon: nobody has to drain it, but draining ends
		continue
	}
}

func TestManyChannelsCatchUpTogether(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url, func(c *trunkline.Config) { c.RingMessages = 1 })
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT trunkline.publish('dense', to_json(i)) FROM generate_series(1, 8000) i")
	exec(t, conn, "SELECT trunkline.publish('sparse:' || i % 40, to_json(i)) FROM generate_series(1, 8000) i")
	// Else it would catch up again with each step of the sequencer, as often as that takes.
	eventually(t, "all is sequenced", func() bool { return engine.State().Log.Position == 16000 })
	channels := []string{"dense"}
	for i := range 40 {
		channels = append(channels, fmt.Sprint("sparse:", i))
	}
	got := next(t, subscribe(t, engine, trunkline.FromBeginning(), channels...), 16000)
	for i := 1; i < len(got); i++ {
		if got[i].Position != got[i-1].Position+1 {
			t.Fatalf("position %d follows %d", got[i].Position, got[i-1].Position)
		}
	}
	if q := engine.Stats().HistoryQueries; q > 120 {
		t.Errorf("%d queries", q)
	}
}

func TestDataOnlyRestoreBeginsANewEpoch(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	engine := startEngine(t, url)
	for i := range 20 {
		publish(t, conn, "c", numbered(i))
		if i == 9 {
			eventually(t, "ten are sequenced", func() bool { return engine.State().Log.Position == 10 })
			exec(t, conn, "CREATE TABLE kept AS SELECT * FROM trunkline.log")
		}
	}
	eventually(t, "twenty are sequenced", func() bool { return engine.State().Log.Position == 20 })
	epoch := engine.State().Log.Epoch
	if err := engine.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "TRUNCATE trunkline.log")
	exec(t, conn, "INSERT INTO trunkline.log SELECT * FROM kept")

	again := startEngine(t, url)
	if again.State().Log.Epoch == epoch {
		t.Error("the epoch survived a restore that took its positions back")
	}
	wantSeqs(t, next(t, subscribe(t, again, trunkline.FromBeginning(), "c"), 10), 1)
}
