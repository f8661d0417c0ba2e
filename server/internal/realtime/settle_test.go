package realtime

import (
	"fmt"
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// A client that had more by another node than this one has handed on yet doesn't get it again.
func TestWhatAClientHadElsewhereIsNotRecovered(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	front := startFront(t, node)
	ann := dial(t, front.websocket())
	ann.connect("ann")
	if r := ann.call("subscribe", `{"channel":"room:1"}`); r.Error != nil {
		t.Fatalf("subscribe: %+v", r.Error)
	}

	f := node.broker.feed("room:1")
	f.mu.Lock() // the feed lags
	before := engine.State().Log.Position
	for i := range 5 {
		publish(t, engine, "room:1", fmt.Sprint(i+1))
	}
	eventually(t, "the engine has delivered", func() bool { return engine.State().Log.Position == before+5 })

	bob := dial(t, front.websocket())
	bob.connect("bob")
	id := bob.send("subscribe", fmt.Sprintf(`{"channel":"room:1","recover":true,"offset":4,"epoch":%q}`, engine.State().Log.Epoch))
	eventually(t, "bob waits for the feed", func() bool { return f.turns.waiters.Load() == 1 })
	f.mu.Unlock()
	r, err := bob.read(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != id {
		t.Fatalf("before the answer came %+v", r)
	}
	if r.Subscribe == nil || !r.Subscribe.Recovered || len(r.Subscribe.Publications) != 1 {
		t.Fatalf("the answer is %+v", r.Subscribe)
	}
	publish(t, engine, "room:1", "6")
	for _, c := range []*rawClient{ann, bob} {
		first := uint64(1)
		if c == bob {
			first = 6
		}
		for want := first; want <= 6; {
			r, err := c.read(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if r.Push == nil || r.Push.Pub == nil {
				continue
			}
			if r.Push.Pub.Offset != want {
				t.Fatalf("offset %d came where %d was due", r.Push.Pub.Offset, want)
			}
			want++
		}
	}
}
