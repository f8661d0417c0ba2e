package realtime

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	sdk "github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// Messages that would fill a client's queue if they came into it together don't: it isn't slow.
func TestLargeMessagesAreNotGathered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sizes  []int // of messages that come one right after the other
		atOnce int64 // how many the last of them may wait for
	}{
		{[]int{10}, maxGathered},
		{[]int{10, 10, 10}, maxGathered},
		{[]int{1 << 20}, 0},
		{[]int{1 << 20, 10}, maxGathered},
		{[]int{10, 1 << 20}, 1},
		{[]int{maxGatheredBytes / 2, maxGatheredBytes / 2}, maxGathered},
		{[]int{maxGatheredBytes / 2, maxGatheredBytes / 2, 1}, 1},
		{[]int{maxGatheredBytes / 2, maxGatheredBytes / 2, 1, 1}, maxGathered},
	} {
		f := &feed{broker: &broker{node: &Node{}}}
		for _, size := range test.sizes {
			f.gather(size, true)
		}
		if got := f.batchConfig().MaxSize; got != test.atOnce {
			t.Errorf("%d: written %d at once, want %d", test.sizes, got, test.atOnce)
		}
	}
}

// A signal is handed on at once though a message follows it: a client that has just subscribed may have that message already, and
// then nothing would write what was kept before it.
func TestSignalIsNotKept(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	f := connect(t, startFront(t, node).websocket(), "ann").follow("room:1")
	f.ready()
	publish(t, engine, "room:1", numbers(1, 2)...)
	f.want(numbers(1, 2)...)

	behind := &feed{broker: node.broker, channel: "room:1"}
	if err := behind.subscribe(testContext(t), trunkline.FromBeginning()); err != nil {
		t.Fatal(err)
	}
	defer behind.sub.Close()
	first, err := behind.sub.Next(testContext(t))
	if err != nil || !behind.sub.Ready() {
		t.Fatalf("nothing follows at once: %v", err)
	}
	live := node.broker.swap(behind)
	defer node.broker.swap(live)
	behind.hand(&trunkline.Message{Channel: "room:1", Payload: []byte(`"typing"`), Signal: true, CreatedAt: time.Now()})
	behind.hand(&first)
	f.want(`"typing"`)
}

// swap puts another feed in the place of a channel's, which it returns.
func (b *broker) swap(f *feed) *feed {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.feeds[f.channel]
	b.feeds[f.channel] = f
	return before
}

// Messages that are kept when a connection ends don't follow its end: the client would get them twice.
func TestNothingFollowsTheEndOfAConnection(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	front := startFront(t, node)
	request, err := http.NewRequest(http.MethodPost, front.URL+"/connection/http_stream", strings.NewReader(`{"id":1,"connect":{"token":"ann"}}`))
	if err != nil {
		t.Fatal(err)
	}
	c := stream(t, front, request, "")
	c.send(`{"id":2,"subscribe":{"channel":"room:1"}}`)
	var reply rawReply
	c.next(&reply)
	at := reply.Subscribe
	node.broker.feed("room:1").batched.Store(gathered)
	kept := &centrifuge.Publication{Offset: at.Offset + 1, Data: []byte(`"kept"`)}
	if err := node.broker.handler.HandlePublication("room:1", kept, centrifuge.StreamPosition{Offset: kept.Offset, Epoch: at.Epoch}, false, nil); err != nil {
		t.Fatal(err)
	}
	node.Disconnect("ann", "")
	for c.lines.Scan() {
		if line := c.lines.Text(); strings.Contains(line, "kept") {
			t.Errorf("got %s", line)
		}
	}
}

// Somebody joins while messages are gathered: it is told with them, not kept for the next ones.
func TestJoinIsNotKept(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	f := connect(t, startFront(t, node).websocket(), "ann").follow("room:1", func(c *sdk.SubscriptionConfig) { c.JoinLeave = true })
	f.ready()
	take(t, f.moves, "ann's own joining")
	node.broker.feed("room:1").batched.Store(gathered)
	if err := node.broker.handMove("room:1", &centrifuge.ClientInfo{ClientID: "c", UserID: "bob"}, true); err != nil {
		t.Fatal(err)
	}
	if move := take(t, f.moves, "bob's joining"); move != "+bob" {
		t.Errorf("heard %s", move)
	}
}

// Who wants to hear of joins does so though the channel is ended, for want of clients, just before the subscription is in place.
func TestJoinsAreHeardAfterTheChannelWasEnded(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{connect: map[string]func() (*auth.Identity, error){"bob": func() (*auth.Identity, error) {
		return &auth.Identity{User: "bob", Subscriptions: map[string]auth.Subscription{"room:2": {}}}, nil
	}}}
	node := startNode(t, engine, gate)
	front := startFront(t, node)
	ended, end := context.WithCancel(testContext(t))
	defer end()
	var ending sync.WaitGroup
	defer ending.Wait()
	for _, channel := range []string{"room:1", "room:2"} {
		ending.Go(func() {
			for ended.Err() == nil {
				node.broker.mu.Lock() // without it nobody gets a feed
				if node.lib.Hub().NumSubscribers(channel) == 0 {
					delete(node.broker.curious, channel)
				}
				node.broker.mu.Unlock()
				runtime.Gosched()
			}
		})
	}
	connect(t, front.websocket(), "ann").follow("room:1", func(c *sdk.SubscriptionConfig) { c.JoinLeave = true }).ready()
	connect(t, front.websocket(), "bob")
	for _, channel := range []string{"room:1", "room:2"} {
		eventually(t, channel+" is known to have somebody curious", func() bool {
			node.broker.mu.RLock()
			defer node.broker.mu.RUnlock()
			_, wanted := node.broker.curious[channel]
			return wanted
		})
	}
	end()
}

// Those whom nobody confirms are let go of.
func TestUnconfirmedPresenceIsForgotten(t *testing.T) {
	t.Parallel()
	now := time.Now()
	gone, here := presenceKey{"room:1", "gone"}, presenceKey{"room:1", "here"}
	p := &presence{mine: map[presenceKey]time.Time{gone: now.Add(-time.Minute), here: now}}
	p.forget(now.Add(-time.Second))
	if _, held := p.mine[here]; !held || len(p.mine) != 1 {
		t.Errorf("held are %v", p.mine)
	}
}

// A subscription that fails after presence was written leaves nobody present, and nothing behind.
func TestFailedSubscriptionLeavesNobodyPresent(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{connect: map[string]func() (*auth.Identity, error){"both": func() (*auth.Identity, error) {
		return &auth.Identity{User: "bob", Subscriptions: map[string]auth.Subscription{"room:1": {}, "room:2": {}}}, nil
	}}}
	node := startNode(t, engine, gate)
	front := startFront(t, node)
	c := dial(t, front.websocket())
	c.connect("ann")
	exec(t, engine, "ALTER TABLE trunkline.message RENAME TO away")
	if r := c.call("subscribe", `{"channel":"room:1"}`); r.Error == nil || r.Error.Code != 100 {
		t.Fatalf("subscribed with %+v", r)
	}
	eventually(t, "nobody is present", func() bool {
		clients, _, err := node.PresenceStats(testContext(t), "room:1")
		node.presence.mu.Lock()
		defer node.presence.mu.Unlock()
		return err == nil && clients == 0 && len(node.presence.mine) == 0
	})
	b := dial(t, front.websocket())
	if r := b.call("connect", `{"token":"both"}`); r.Error == nil || r.Error.Code != 100 {
		t.Fatalf("connected with %+v", r)
	}
	_ = b.conn.CloseNow()
	eventually(t, "no subscriptions of nobody are left", func() bool { return node.lib.Hub().NumSubscriptions() == 0 })
	exec(t, engine, "ALTER TABLE trunkline.away RENAME TO message")
	if r := c.call("subscribe", `{"channel":"room:1"}`); r.Error != nil {
		t.Fatalf("subscribed with %+v", r.Error)
	}
	eventually(t, "ann is present", func() bool {
		clients, _, err := node.PresenceStats(testContext(t), "room:1")
		return err == nil && clients == 1
	})
}

// Namespaces that change while a client is let in: it is served under the new settings.
func TestNamespaceChangesWhileSomebodySubscribes(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	changed := make(chan struct{}, 16)
	// Nobody follows the channel yet when its namespace changes, so no one is found who would have to be told.
	gate := &slowGate{doorman: &doorman{}, before: sync.OnceFunc(func() {
		exec(t, engine, "INSERT INTO trunkline.namespace (name, presence, join_leave) VALUES ('crowd', false, false)")
		take(t, changed, "the change")
	})}
	node := startNode(t, engine, gate)
	defer engine.OnNamespaces(func() { node.NamespacesChanged(); changed <- struct{}{} })()
	front := startFront(t, node)
	c := dial(t, front.websocket())
	c.connect("ann")
	if r := c.call("subscribe", `{"channel":"crowd:1"}`); r.Error != nil {
		t.Fatalf("subscribed with %+v", r.Error)
	}
	for {
		if r := c.next(); r.Push != nil && r.Push.Unsubscribe != nil {
			if r.Push.Unsubscribe.Code < 2500 {
				t.Errorf("unsubscribed with %+v", r.Push.Unsubscribe)
			}
			break
		}
	}
}

// A feed that is told to begin anew while it does so, after a disturbance, does it once more: it has read the old settings.
func TestFeedRestartedWhileItBegins(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	f := &feed{broker: startNode(t, engine, &doorman{}).broker, channel: "state:1"}
	begin := func() {
		t.Helper()
		if err := f.subscribe(testContext(t), trunkline.FromNow()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.sub.Close)
	}
	begin()
	f.restart() // it has ended already, and a new one is on its way
	begin()
	if _, err := f.sub.Next(testContext(t)); !errors.Is(err, trunkline.ErrClosed) || !f.takeRestarted() {
		t.Errorf("it goes on: %v", err)
	}
}

// A slowGate lets something happen before it answers whether somebody may see who is present.
type slowGate struct {
	*doorman
	before func()
}

func (g *slowGate) Allow(ctx context.Context, id *auth.Identity, channel string, action auth.Action) error {
	if action == auth.Presence {
		g.before()
	}
	return g.doorman.Allow(ctx, id, channel, action)
}
