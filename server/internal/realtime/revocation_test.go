package realtime

import (
	"testing"

	"github.com/coder/websocket"

	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/server/internal/auth"
)

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
