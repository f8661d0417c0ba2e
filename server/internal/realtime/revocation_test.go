package realtime

import (
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// A subscription token that is revoked takes its subscription with it, and nothing else.
func TestRevokedSubscriptionToken(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{token: map[string]func() (*auth.Subscription, error){
		"one": func() (*auth.Subscription, error) { return &auth.Subscription{TokenID: "jti-1"}, nil },
		"two": func() (*auth.Subscription, error) { return &auth.Subscription{TokenID: "jti-2"}, nil },
	}}
	node := startNode(t, engine, gate)
	front := startFront(t, node)
	// Whoever is still being subscribed while something is revoked has to ask again, though it is no business of theirs. That may
	// go on for a moment after the answer, so later and later is tried.
	for settling := time.Duration(0); settling < patience; settling = 2*settling + 10*time.Millisecond {
		c := dial(t, front.websocket())
		c.connect("ann")
		for channel, token := range map[string]string{"doc:1": "one", "doc:2": "two"} {
			if r := c.call("subscribe", `{"channel":"`+channel+`","token":"`+token+`"}`); r.Error != nil {
				t.Fatalf("subscribe: %+v", r.Error)
			}
		}
		time.Sleep(settling)
		node.Revoked("", "", "jti-1")
		if revokedOne(t, engine, c) {
			return
		}
	}
	t.Error("the other token's subscription ends as well")
}

// revokedOne waits until doc:1 has ended, and tells whether doc:2 goes on.
func revokedOne(t *testing.T, engine *trunkline.Engine, c *rawClient) bool {
	t.Helper()
	publish(t, engine, "doc:2", `"after"`)
	for ended, received := false, false; ; {
		r, err := c.read(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case r.Push == nil:
		case r.Push.Unsubscribe != nil && r.Push.Channel != "doc:1":
			return false
		case r.Push.Unsubscribe != nil:
			ended = true
		case r.Push.Pub != nil:
			received = true
		}
		if ended && received {
			return true
		}
	}
}

// A revocation that arrives after the gate has said yes, and before the client is found among those connected or subscribed, is
// not lost on it.
func TestRevocationWhileSomebodyIsLetIn(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	gate := &doorman{}
	node := startNode(t, engine, gate)
	front := startFront(t, node)

	gate.token = map[string]func() (*auth.Subscription, error){"doc": func() (*auth.Subscription, error) {
		node.Revoked("ann", "doc:1", "") // the client isn't subscribed yet
		return &auth.Subscription{}, nil
	}}
	c := dial(t, front.websocket())
	c.connect("ann")
	if r := c.call("subscribe", `{"channel":"doc:1","token":"doc"}`); r.Error != nil {
		t.Fatalf("subscribe: %+v", r.Error)
	}
	for {
		r, err := c.read(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if r.Push != nil && r.Push.Unsubscribe != nil {
			if r.Push.Channel != "doc:1" || r.Push.Unsubscribe.Code != int(accessChanged.Code) {
				t.Errorf("unsubscribed from %s with %+v", r.Push.Channel, r.Push.Unsubscribe)
			}
			break
		}
	}

	gate.mu.Lock()
	gate.revoked = map[string]bool{"bob": true}
	gate.connect = map[string]func() (*auth.Identity, error){
		"bob": func() (*auth.Identity, error) {
			node.revocations.Add(1) // as Revoked does; bob isn't connected yet
			return &auth.Identity{User: "bob"}, nil
		},
		"cid": func() (*auth.Identity, error) {
			node.revocations.Add(1)
			return &auth.Identity{User: "cid", Subscriptions: map[string]auth.Subscription{"doc:1": {}}}, nil
		},
	}
	gate.mu.Unlock()
	for token, code := range map[string]websocket.StatusCode{"bob": 3500, "cid": 3011} {
		c := dial(t, front.websocket())
		c.write(`{"id":1,"connect":{"token":"` + token + `"}}`)
		if closed := c.closed(); closed.Code != code || closed.Reason == "" {
			t.Errorf("%s was closed with %+v, want %d", token, closed, code)
		}
	}
}
