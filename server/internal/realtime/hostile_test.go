package realtime

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestHostileClientsAreClosedWithAReason(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{}, func(c *Config) {
		c.Limits = Limits{FrameBytes: 4096, CommandRate: 1, Channels: 3}
	})
	front := startFront(t, node)
	for name, test := range map[string]struct {
		first func(c *rawClient)
		write string
		code  websocket.StatusCode
	}{
		"garbage":                 {nil, "\x00\x01garbage", 3501},
		"half a command":          {nil, `{"id":1,"connect":`, 3501},
		"nothing":                 {nil, ``, 3501},
		"a command too early":     {nil, `{"id":1,"subscribe":{"channel":"a"}}`, 3501},
		"a bad token":             {nil, `{"id":1,"connect":{"token":"bad"}}`, 3500},
		"a second connect":        {func(c *rawClient) { c.connect("ann") }, `{"id":2,"connect":{"token":"ann"}}`, 3501},
		"a message to nobody":     {func(c *rawClient) { c.connect("ann") }, `{"send":{"data":1}}`, 3508},
		"a pong that nobody asks": {func(c *rawClient) { c.connect("ann") }, `{}`, 3501},
		"a flood": {func(c *rawClient) { c.connect("ann") }, func() string {
			var b strings.Builder
			for i := range 50 {
				fmt.Fprintf(&b, `{"id":%d,"rpc":{"method":"m","data":1}}`+"\n", i+2)
			}
			return b.String()
		}(), 3013},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, front.websocket())
			if test.first != nil {
				test.first(c)
			}
			c.write(test.write)
			if closed := c.closed(); closed.Code != test.code || closed.Reason == "" {
				t.Errorf("closed with %d %q, want %d", closed.Code, closed.Reason, test.code)
			}
		})
	}
	t.Run("a frame too large", func(t *testing.T) {
		c := dial(t, front.websocket())
		c.connect("ann")
		// The server closes without reading it. The close frame arrives (1009), or is overtaken by the reset of the connection.
		_ = c.conn.Write(testContext(t), websocket.MessageText, []byte(`{"id":2,"rpc":{"method":"`+strings.Repeat("x", 8192)+`"}}`))
		for {
			_, err := c.read(testContext(t))
			if err == nil {
				continue
			}
			if code := websocket.CloseStatus(err); (code != -1 && code != websocket.StatusMessageTooBig) || testContext(t).Err() != nil {
				t.Errorf("closed with %d: %v", code, err)
			}
			break
		}
		eventually(t, "the connection is gone", func() bool { return len(node.lib.Hub().UserConnections("ann")) == 0 })
	})
	if n := refusals(t, node, reasonCommands); n < 11 {
		t.Errorf("%v commands too many are counted", n)
	}
	if n := refusals(t, node, reasonToken); n != 1 {
		t.Errorf("%v bad tokens are counted", n)
	}

	c := dial(t, front.websocket())
	c.connect("ann")
	for i := range 3 {
		if r := c.call("subscribe", fmt.Sprintf(`{"channel":"room:%d"}`, i)); r.Error != nil {
			t.Fatalf("subscribe: %+v", r.Error)
		}
	}
	if r := c.call("subscribe", `{"channel":"room:3"}`); r.Error == nil || r.Error.Code != 106 {
		t.Errorf("a channel too many: %+v", r)
	}
	if n := refusals(t, node, reasonChannels); n != 1 {
		t.Errorf("%v channels too many are counted", n)
	}
	eventually(t, "the node has forgotten the others", func() bool { return node.lib.Hub().NumClients() == 1 && node.connected.Load() == 1 })
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{}, func(c *Config) { c.Limits = Limits{Connections: 3, ConnectionsPerUser: 2} })
	front := startFront(t, node)
	for range 2 {
		dial(t, front.websocket()).connect("ann")
	}
	c := dial(t, front.websocket())
	c.write(`{"id":1,"connect":{"token":"ann"}}`)
	if closed := c.closed(); closed.Code != 3504 {
		t.Errorf("a third connection is closed with %+v", closed)
	}
	dial(t, front.websocket()).connect("bob")
	c = dial(t, front.websocket())
	c.write(`{"id":1,"connect":{"token":"cid"}}`)
	if closed := c.closed(); closed.Code != 3004 {
		t.Errorf("one connection too many is closed with %+v", closed)
	}
	if refusals(t, node, reasonUserConnections) != 1 || refusals(t, node, reasonConnections) != 1 {
		t.Error("not counted")
	}
}

// A client that doesn't read is disconnected once too much waits for it; others get everything meanwhile.
func TestSlowClientIsDisconnected(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{}, func(c *Config) {
		// Nothing else may end it: it doesn't answer pings either.
		c.WriteTimeout, c.PingInterval, c.PongTimeout = waitLong, 10*time.Minute, 9*time.Minute
	})
	front := startFront(t, node)
	slow := dial(t, front.websocket())
	slow.connect("slow")
	slow.call("subscribe", `{"channel":"room:1"}`)
	f := connect(t, front.websocket(), "ann").follow("room:1")
	f.ready()
	large := `"` + strings.Repeat("x", 1<<20-64) + `"`
	sent := 0
	for ; sent < 100 && node.lib.Hub().NumSubscribers("room:1") == 2; sent++ {
		publish(t, engine, "room:1", large)
		f.want(large)
	}
	if sent < 16 || sent > 60 {
		t.Errorf("given up after %d MiB", sent)
	}
	_ = slow.conn.CloseNow() // or the write's timeout
	eventually(t, "it is counted", func() bool { return refusals(t, node, reasonSlow) == 1 })
	eventually(t, "only one is left", func() bool { return node.lib.Hub().NumClients() == 1 })
	publish(t, engine, "room:1", `"after"`)
	f.want(`"after"`)
}

func TestDrain(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node, next := startNode(t, engine, &doorman{}), startNode(t, engine, &doorman{})
	front := startFront(t, node)
	clients := make([]*client, 20)
	followers := make([]*follower, 20)
	for i := range clients {
		clients[i] = connect(t, front.websocket(), "ann")
		followers[i] = clients[i].follow("room:1")
		followers[i].ready()
		take(t, clients[i].connecting, "its connecting")
	}
	front.serve(next) // as a proxy in front would
	begun := time.Now()
	if err := node.Drain(testContext(t), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 180*time.Millisecond {
		t.Errorf("they weren't spread: %v", took)
	}
	publish(t, engine, "room:1", `1`)
	for i, f := range followers {
		if e := take(t, clients[i].connecting, "the loss"); e.Code != 3001 {
			t.Errorf("disconnected with %+v", e)
		}
		f.want(`1`)
	}
	if node.lib.Hub().NumClients() != 0 || next.lib.Hub().NumClients() != 20 {
		t.Errorf("%d and %d clients", node.lib.Hub().NumClients(), next.lib.Hub().NumClients())
	}

	front.serve(node)
	_, response, err := websocket.Dial(testContext(t), front.websocket(), nil)
	if err == nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("connecting while it drains: %v, %+v", err, response)
	}
}

// Clients are told to try again until the engine knows the log.
func TestBeforeTheEngineHasStarted(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	// A copied database begins a new epoch; a client that came just before that would be told so, instead of what this is about.
	stopEngine(t, startEngine(t, url))
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopEngine(t, engine) })
	front := startFront(t, startNode(t, engine, &doorman{}))
	f := connect(t, front.websocket(), "ann").follow("room:1")
	if err := take(t, f.errors, "the error"); err == nil {
		t.Error("no error")
	}
	if err := engine.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	f.ready()
	publish(t, engine, "room:1", `1`)
	f.want(`1`)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: "postgres://nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopEngine(t, engine) })
	for name, cfg := range map[string]Config{
		"no gate":          {Engine: engine},
		"no engine":        {Gate: &doorman{}},
		"a short queue":    {Engine: engine, Gate: &doorman{}, Limits: Limits{QueueBytes: 1 << 20}},
		"no commands":      {Engine: engine, Gate: &doorman{}, Limits: Limits{CommandRate: -1}},
		"a slow pong":      {Engine: engine, Gate: &doorman{}, PingInterval: 5 * time.Second, PongTimeout: 5 * time.Second},
		"an absurd expiry": {Engine: engine, Gate: &doorman{}, PresenceExpiry: time.Hour},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	for range 2 {
		if err := node.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestACommandWithoutAChannelIsRefusedAlone(t *testing.T) {
	node := startNode(t, startEngine(t, pgtest.Database(t)), &doorman{})
	c := dial(t, startFront(t, node).websocket())
	c.connect("ann")
	for _, command := range []struct{ method, parameters string }{
		{"subscribe", `{"channel":""}`},
		{"unsubscribe", `{}`},
		{"publish", `{"data":1}`},
		{"history", `{}`},
		{"presence", `{}`},
		{"presence_stats", `{}`},
		{"sub_refresh", `{"token":"x"}`},
	} {
		if r := c.call(command.method, command.parameters); r.Error == nil || r.Error.Code != 107 || r.Error.Message == "" {
			t.Errorf("%s: %+v, want error 107", command.method, r.Error)
		}
	}
	if r := c.call("subscribe", `{"channel":"room:1"}`); r.Error != nil {
		t.Errorf("the connection goes on: %+v", r.Error)
	}
}
