package realtime

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/server/internal/auth"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{}
	gate.deny("* secret:1 *", auth.Denied)
	gate.deny("* flaky:1 subscribe", auth.Unavailable)
	front := startFront(t, startNode(t, engine, gate))
	c := connect(t, front.websocket(), "ann")

	f := c.follow("secret:1")
	if e := take(t, f.unsubscribed, "the refusal"); e.Code != 103 {
		t.Errorf("refused with %+v", e)
	}
	for name, call := range map[string]func() error{
		"publish":        func() error { _, err := c.Publish(testContext(t), "secret:1", []byte(`1`)); return err },
		"history":        func() error { _, err := c.History(testContext(t), "secret:1"); return err },
		"presence":       func() error { _, err := c.Presence(testContext(t), "secret:1"); return err },
		"presence stats": func() error { _, err := c.PresenceStats(testContext(t), "secret:1"); return err },
	} {
		if err := call(); code(err) != 103 || !strings.Contains(err.Error(), "you may not") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e := take(t, c.follow("bad\nname").unsubscribed, "the refusal"); e.Code != 107 {
		t.Errorf("a bad name is refused with %+v", e)
	}
	if _, err := c.History(testContext(t), "bad\nname"); code(err) != 107 {
		t.Errorf("history of a bad name: %v", err)
	}

	// What can't be decided is asked again by the client.
	f = c.follow("flaky:1")
	if err := take(t, f.errors, "the error"); err == nil {
		t.Error("no error")
	}
	gate.deny("* flaky:1 subscribe", 0)
	f.ready()
}

func TestConnectionTokens(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{connect: map[string]func() (*auth.Identity, error){
		"old": func() (*auth.Identity, error) {
			return nil, &auth.Refusal{Code: auth.Expired, Reason: "the token has expired"}
		},
		"brief": func() (*auth.Identity, error) {
			return &auth.Identity{User: "ann", ExpiresAt: time.Now().Add(2 * time.Second)}, nil
		},
		"other": func() (*auth.Identity, error) { return &auth.Identity{User: "bob"}, nil },
		"good":  func() (*auth.Identity, error) { return &auth.Identity{User: "ann"}, nil },
	}}
	told := make(chan struct{}, 8)
	front := startFront(t, startNode(t, engine, gate, func(c *Config) {
		c.BadToken = func(context.Context) { told <- struct{}{} }
	}))

	c := newClient(t, front.websocket(), sdk.Config{Token: "bad one"})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if e := take(t, c.disconnected, "the refusal"); e.Code != 3500 || e.Reason != "the token is not good" {
		t.Errorf("refused with %+v", e)
	}
	take(t, told, "word of the bad token")

	// An expired token is exchanged for a new one, and so is one that expires while the client is connected.
	tokens := make(chan string, 8)
	tokens <- "brief"
	tokens <- "good"
	asked := make(chan string, 8)
	c = newClient(t, front.websocket(), sdk.Config{Token: "old", GetToken: func(sdk.ConnectionTokenEvent) (string, error) {
		token := <-tokens
		asked <- token
		return token, nil
	}})
	c.begin()
	f := c.follow("room:1")
	f.ready()
	for _, want := range []string{"brief", "good"} {
		if got := take(t, asked, "a question for a token"); got != want {
			t.Fatalf("got %s", got)
		}
	}
	publish(t, engine, "room:1", `1`)
	f.want(`1`)

	tokens <- "brief"
	tokens <- "other"
	c = newClient(t, front.websocket(), sdk.Config{Token: "old", GetToken: func(sdk.ConnectionTokenEvent) (string, error) { return <-tokens, nil }})
	c.begin()
	if e := take(t, c.disconnected, "the refusal of another user's token"); e.Code != 3500 {
		t.Errorf("refused with %+v", e)
	}
}

func TestSubscriptionTokens(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{token: map[string]func() (*auth.Subscription, error){
		"brief": func() (*auth.Subscription, error) {
			return &auth.Subscription{ExpiresAt: time.Now().Add(2 * time.Second), Data: []byte(`{"welcome": true}`)}, nil
		},
		"old": func() (*auth.Subscription, error) {
			return nil, &auth.Refusal{Code: auth.Expired, Reason: "the token has expired"}
		},
		"good": func() (*auth.Subscription, error) { return &auth.Subscription{}, nil },
	}}
	gate.deny("* * subscribe", auth.Denied)
	front := startFront(t, startNode(t, engine, gate))
	c := connect(t, front.websocket(), "ann")
	tokens := make(chan string, 8)
	tokens <- "brief"
	tokens <- "good"
	f := c.follow("room:1", func(cfg *sdk.SubscriptionConfig) {
		cfg.Token = "old"
		cfg.GetToken = func(sdk.SubscriptionTokenEvent) (string, error) { return <-tokens, nil }
	})
	if e := f.ready(); string(e.Data) != `{"welcome": true}` {
		t.Errorf("data is %s", e.Data)
	}
	eventually(t, "both tokens were asked for", func() bool { return len(tokens) == 0 })
	publish(t, engine, "room:1", `1`)
	f.want(`1`)
}

func TestServerSideSubscriptions(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	gate := &doorman{connect: map[string]func() (*auth.Identity, error){
		"ann": func() (*auth.Identity, error) {
			return &auth.Identity{User: "ann", Subscriptions: map[string]auth.Subscription{
				"inbox:ann": {Data: []byte(`{"v":1}`)}, "news": {}, "trunkline:control": {},
			}}, nil
		},
	}}
	node := startNode(t, engine, gate)
	front := startFront(t, node)
	c := connect(t, front.websocket(), "ann")
	offsets := map[string]uint64{}
	for range 2 {
		e := take(t, c.subscribed, "a subscription")
		if !e.Recoverable || !e.Positioned || (e.Channel == "inbox:ann" && string(e.Data) != `{"v":1}`) {
			t.Errorf("subscribed with %+v", e)
		}
		offsets[e.Channel] = e.StreamPosition.Offset
	}
	if _, ok := offsets["trunkline:control"]; ok || len(offsets) != 2 {
		t.Errorf("subscribed to %v", offsets)
	}
	publish(t, engine, "inbox:ann", `1`)
	if e := take(t, c.server, "the message"); e.Channel != "inbox:ann" || string(e.Data) != `1` || e.Offset != 1 {
		t.Errorf("got %+v", e)
	}

	// It recovers as others do.
	front.handler.Store(nil)
	closeNode(t, node)
	publish(t, engine, "inbox:ann", numbers(1, 50)...)
	front.serve(startNode(t, engine, gate))
	for i, want := range numbers(1, 50) {
		if e := take(t, c.server, "a missed message"); string(e.Data) != want || e.Offset != uint64(i+2) {
			t.Fatalf("got %s at %d, want %s", e.Data, e.Offset, want)
		}
	}
}

func TestServerEndsSubscriptionsAndConnections(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{}
	node := startNode(t, engine, gate)
	front := startFront(t, node)
	ann, other, bob := connect(t, front.websocket(), "ann"), connect(t, front.websocket(), "ann"), connect(t, front.websocket(), "bob")

	f, untouched := ann.follow("room:1"), bob.follow("room:1")
	f.ready()
	untouched.ready()
	node.Unsubscribe("ann", "room:1")
	if e := take(t, f.unsubscribed, "the end"); e.Code != 2000 {
		t.Errorf("unsubscribed with %+v", e)
	}

	// Revoked: asked again, and refused or not.
	f, kept := ann.follow("room:2"), ann.follow("room:3")
	f.ready()
	kept.ready()
	gate.deny("ann room:2 subscribe", auth.Denied)
	node.Revoked("ann", "room:2", "")
	if e := take(t, f.subscribing, "the end"); e.Code != 2601 {
		t.Errorf("unsubscribed with %+v", e)
	}
	if e := take(t, f.unsubscribed, "the refusal"); e.Code != 103 {
		t.Errorf("refused with %+v", e)
	}
	node.Revoked("ann", "room:3", "")
	take(t, kept.subscribing, "the end")
	if e := kept.ready(); !e.Recovered {
		t.Errorf("subscribed again with %+v", e)
	}

	// One connection, then all of a user, then those whose token is revoked.
	third := connect(t, front.websocket(), "ann")
	for id := range node.lib.Hub().UserConnections("ann") {
		node.Disconnect("ann", id)
		break
	}
	eventually(t, "one is gone", func() bool { return len(node.lib.Hub().UserConnections("ann")) == 2 })
	node.Disconnect("ann", "")
	for _, c := range []*client{ann, other, third} {
		if e := take(t, c.disconnected, "the end"); e.Code != 3503 {
			t.Errorf("disconnected with %+v", e)
		}
	}
	node.Revoked("bob", "", "") // of which the gate knows nothing
	publish(t, engine, "room:1", `1`)
	untouched.want(`1`)
	gate.mu.Lock()
	gate.revoked = map[string]bool{"bob": true}
	gate.mu.Unlock()
	node.Revoked("bob", "", "")
	if e := take(t, bob.disconnected, "the end"); e.Code != 3500 {
		t.Errorf("disconnected with %+v", e)
	}
}

func TestNamespaceChangesReachClients(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	defer engine.OnNamespaces(node.NamespacesChanged)()
	front := startFront(t, node)
	c := connect(t, front.websocket(), "ann")
	f := c.follow("state:1")
	if e := f.ready(); !e.Recoverable {
		t.Fatalf("subscribed with %+v", e)
	}
	publish(t, engine, "state:1", numbers(1, 3)...)
	f.want(numbers(1, 3)...)

	exec(t, engine, "INSERT INTO trunkline.namespace (name, conflate) VALUES ('state', '100 ms')")
	if e := take(t, f.subscribing, "the change"); e.Code != 2600 {
		t.Errorf("unsubscribed with %+v", e)
	}
	if e := f.ready(); e.Recoverable || e.Positioned || e.Recovered || !e.WasRecovering {
		t.Errorf("subscribed again with %+v", e)
	}
	late := connect(t, front.websocket(), "bob").follow("state:1")
	late.ready()
	for _, follower := range []*follower{f, late} {
		if got := take(t, follower.publications, "the newest"); string(got.Data) != `{"n":3}` || got.Offset != 0 {
			t.Errorf("begins with %s at %d", got.Data, got.Offset)
		}
	}
	publish(t, engine, "state:1", numbers(4, 500)...)
	for _, follower := range []*follower{f, late} {
		for got := 0; ; got++ {
			e := take(t, follower.publications, "the last")
			if e.Offset != 0 || got > 300 {
				t.Fatalf("publication %d has offset %d", got, e.Offset)
			}
			if string(e.Data) == `{"n":500}` {
				break
			}
		}
	}
	// History has them all.
	if h, err := late.History(testContext(t), sdk.WithHistoryLimit(1000)); err != nil || len(h.Publications) != 500 {
		t.Errorf("history has %d: %v", len(h.Publications), err)
	}

	exec(t, engine, "DELETE FROM trunkline.namespace WHERE name = 'state'")
	take(t, f.subscribing, "the change")
	if e := f.ready(); !e.Recoverable {
		t.Errorf("subscribed again with %+v", e)
	}
}

func TestRecoveryFromElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}))
	publish(t, engine, "room:1", numbers(1, 20)...)
	sequenced(t, engine, "room:1", 20)
	epoch := engine.State().Log.Epoch
	c := dial(t, front.websocket())
	c.connect("ann")
	for name, test := range map[string]struct {
		offset uint64
		epoch  string
		want   bool
	}{
		"from the beginning": {0, epoch, true},
		"in between":         {15, epoch, true},
		"at the end":         {20, epoch, true},
		"beyond the end":     {21, epoch, false},
		"far beyond":         {1 << 63, epoch, false},
		"another epoch":      {15, "another", false},
		"no epoch":           {20, "", false},
	} {
		r := c.call("subscribe", fmt.Sprintf(`{"channel":"room:1","recover":true,"offset":%d,"epoch":%q}`, test.offset, test.epoch)).Subscribe
		if r == nil || r.Recovered != test.want || !r.WasRecovering || !r.Recoverable || r.Epoch != epoch {
			t.Fatalf("%s: %+v", name, r)
		}
		if test.want && (r.Offset != test.offset || len(r.Publications) != 20-int(test.offset)) {
			t.Errorf("%s: at %d with %d publications", name, r.Offset, len(r.Publications))
		}
		if !test.want && (r.Offset != 20 || len(r.Publications) != 0) {
			t.Errorf("%s: at %d with %d publications", name, r.Offset, len(r.Publications))
		}
		c.call("unsubscribe", `{"channel":"room:1"}`)
	}

	// A recovery of more than half the queue isn't given; less is, and so is as much as that live.
	large := `"` + strings.Repeat("x", 1<<20-64) + `"`
	for range 9 {
		publish(t, engine, "large", large)
	}
	sequenced(t, engine, "large", 9)
	r := c.call("subscribe", fmt.Sprintf(`{"channel":"large","recover":true,"offset":0,"epoch":%q}`, epoch)).Subscribe
	if r == nil || r.Recovered || r.Offset != 9 {
		t.Errorf("9 MiB: %+v", r)
	}
	c.call("unsubscribe", `{"channel":"large"}`)
	r = c.call("subscribe", fmt.Sprintf(`{"channel":"large","recover":true,"offset":3,"epoch":%q}`, epoch)).Subscribe
	if r == nil || !r.Recovered || len(r.Publications) != 6 {
		t.Errorf("6 MiB: %+v", r)
	}
}

func TestEpochChange(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{connect: map[string]func() (*auth.Identity, error){
		"bob": func() (*auth.Identity, error) {
			return &auth.Identity{User: "bob", Subscriptions: map[string]auth.Subscription{"room:1": {}}}, nil
		},
	}})
	front := startFront(t, node)
	ann, bob := connect(t, front.websocket(), "ann"), connect(t, front.websocket(), "bob")
	f, quiet := ann.follow("room:1"), ann.follow("room:2")
	first := f.ready().StreamPosition
	quiet.ready()
	take(t, bob.subscribed, "the server's subscription")
	publish(t, engine, "room:1", `1`)
	f.want(`1`)

	exec(t, engine, "SELECT trunkline.new_epoch()")
	for _, follower := range []*follower{f, quiet} {
		if e := take(t, follower.subscribing, "the end of the epoch"); e.Code != 2500 {
			t.Errorf("unsubscribed with %+v", e)
		}
		e := follower.ready()
		if e.Recovered || !e.WasRecovering || e.StreamPosition.Epoch == first.Epoch || e.StreamPosition.Epoch == "" {
			t.Errorf("subscribed again with %+v at %+v", e, e.StreamPosition)
		}
	}
	e := take(t, bob.subscribed, "the server's subscription")
	if e.Recovered || e.StreamPosition.Epoch == first.Epoch {
		t.Errorf("subscribed again with %+v at %+v", e, e.StreamPosition)
	}
	publish(t, engine, "room:1", `2`)
	if got := f.want(`2`); got[0].Offset != 2 {
		t.Errorf("offset %d", got[0].Offset)
	}
	publish(t, engine, "room:2", `3`)
	quiet.want(`3`)
}

func TestSignals(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}))
	f := connect(t, front.websocket(), "ann").follow("room:1")
	f.ready()
	if _, err := engine.Signal(testContext(t), trunkline.Publication{Channel: "room:1", Payload: []byte(`"typing"`), Sender: "bob"}); err != nil {
		t.Fatal(err)
	}
	got := f.want(`"typing"`)[0]
	if got.Offset != 0 || got.Tags["signal"] != "true" || got.Tags["sender"] != "bob" {
		t.Errorf("got %+v", got)
	}
	publish(t, engine, "room:1", `1`)
	f.want(`1`)
}
