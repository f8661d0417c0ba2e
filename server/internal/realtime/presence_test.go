package realtime

import (
	"slices"
	"testing"
	"time"

	sdk "github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/server/internal/auth"
)

func joined(cfg *sdk.SubscriptionConfig) { cfg.JoinLeave = true }

func TestPresenceOverTwoNodes(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engines := []*trunklineEngine{startEngine(t, url), startEngine(t, url)}
	gate := &doorman{connect: map[string]func() (*auth.Identity, error){
		"ann": func() (*auth.Identity, error) {
			return &auth.Identity{User: "ann", Info: []byte("{\"name\":\n\"Ann\"}")}, nil
		},
	}}
	nodes := []*Node{startNode(t, engines[0], gate), startNode(t, engines[1], gate)}
	listening(t, nodes...)
	fronts := []*front{startFront(t, nodes[0]), startFront(t, nodes[1])}

	ann := connect(t, fronts[0].websocket(), "ann").follow("room:1", joined)
	ann.ready()
	if got := take(t, ann.moves, "her own joining"); got != "+ann" {
		t.Errorf("got %s", got)
	}
	bob := connect(t, fronts[1].websocket(), "bob")
	f := bob.follow("room:1", joined)
	f.ready()
	if got := take(t, ann.moves, "bob's joining"); got != "+bob" {
		t.Errorf("got %s", got)
	}
	for _, follower := range []*follower{ann, f} {
		present, err := follower.Presence(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		users := []string{}
		for id, info := range present.Clients {
			users = append(users, info.User)
			if id != info.Client || (info.User == "ann" && string(info.ConnInfo) != `{"name": "Ann"}`) {
				t.Errorf("present: %+v", info)
			}
		}
		slices.Sort(users)
		if !slices.Equal(users, []string{"ann", "bob"}) {
			t.Errorf("present: %v", users)
		}
		stats, err := follower.PresenceStats(testContext(t))
		if err != nil || stats.NumClients != 2 || stats.NumUsers != 2 {
			t.Errorf("stats: %+v, %v", stats, err)
		}
	}
	if present, err := nodes[1].Presence(testContext(t), "room:1"); err != nil || len(present) != 2 {
		t.Errorf("present: %+v, %v", present, err)
	}

	bob.Close()
	if got := take(t, ann.moves, "bob's leaving"); got != "-bob" {
		t.Errorf("got %s", got)
	}
	eventually(t, "bob isn't present", func() bool {
		clients, users, err := nodes[0].PresenceStats(testContext(t), "room:1")
		return err == nil && clients == 1 && users == 1
	})

	// A node that stops takes its clients' rows along.
	closeNode(t, nodes[0])
	if n := scan[int](t, engines[1], "SELECT count(*) FROM trunkline.presence"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if len(ann.moves)+len(f.moves) > 2 { // bob: his own joining, and perhaps ann's leaving
		t.Errorf("told more than once: %d and %d left", len(ann.moves), len(f.moves))
	}
}

func TestNamespacesDecideAboutPresence(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	exec(t, engine, "INSERT INTO trunkline.namespace (name, presence, join_leave) VALUES ('open', true, true), ('shut', false, false)")
	eventually(t, "the namespaces are known", func() bool {
		return engine.Namespace("shut:1").Presence != nil && engine.Namespace("open:1").Presence != nil
	})
	gate := &doorman{}
	gate.deny("bob * presence", auth.Denied)
	node := startNode(t, engine, gate)
	front := startFront(t, node)
	for channel, want := range map[string]struct {
		clients int
		moves   []string // that ann hears of bob, who may not see presence himself
	}{"open:1": {2, []string{"+bob"}}, "shut:1": {0, nil}, "else:1": {1, nil}} {
		ann := connect(t, front.websocket(), "ann").follow(channel, joined)
		ann.ready()
		if channel != "shut:1" {
			take(t, ann.moves, "her own joining")
		}
		bob := connect(t, front.websocket(), "bob").follow(channel, joined)
		bob.ready()
		clients, _, err := node.PresenceStats(testContext(t), channel)
		if err != nil || clients != want.clients {
			t.Errorf("%s: %d are present: %v", channel, clients, err)
		}
		for _, move := range want.moves {
			if got := take(t, ann.moves, move); got != move {
				t.Errorf("%s: %s", channel, got)
			}
		}
		if channel != "open:1" && len(ann.moves)+len(bob.moves) > 0 {
			t.Errorf("%s: ann heard %d, bob %d moves", channel, len(ann.moves), len(bob.moves))
		}
	}
}

func TestPresenceExpiresAndComesBack(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}, func(c *Config) { c.PresenceExpiry = 2 * time.Second }))
	c := connect(t, front.websocket(), "ann")
	c.follow("room:1").ready()
	count := func() int { return scan[int](t, engine, "SELECT count(*) FROM trunkline.present('{room:1}')") }
	eventually(t, "she is present", func() bool { return count() == 1 })
	// As after a crash of the database.
	exec(t, engine, "TRUNCATE trunkline.presence")
	eventually(t, "it is confirmed", func() bool { return count() == 1 })
	// As of a node that died.
	exec(t, engine, "SELECT trunkline.set_presence('dead', '1 s', '{room:1}', '{gone}', '{bob}', '{NULL}', '{NULL}')")
	eventually(t, "the dead one's expires", func() bool {
		return scan[int](t, engine, "SELECT count(*) FROM trunkline.present('{room:1}') WHERE client = 'gone'") == 0
	})
	eventually(t, "and is removed", func() bool {
		return scan[int](t, engine, "SELECT count(*) FROM trunkline.presence WHERE client = 'gone'") == 0
	})
	// She stays, but for moments in which nobody could confirm it in time.
	eventually(t, "she is present still", func() bool { return count() == 1 })
}

func TestPresenceWithoutItsTable(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{})
	front := startFront(t, node)
	exec(t, engine, "ALTER TABLE trunkline.presence RENAME TO away")
	c := connect(t, front.websocket(), "ann")
	f := c.follow("room:1")
	f.ready()
	if _, err := f.Presence(testContext(t)); code(err) != 100 {
		t.Errorf("presence: %v", err)
	}
	publish(t, engine, "room:1", `1`)
	f.want(`1`)
	exec(t, engine, "ALTER TABLE trunkline.away RENAME TO presence")
	eventually(t, "what was kept is written", func() bool {
		clients, _, err := node.PresenceStats(testContext(t), "room:1")
		return err == nil && clients == 1
	})
}

func TestMovesArePacked(t *testing.T) {
	t.Parallel()
	n := &Node{presence: &presence{id: "node"}}
	n.metrics, _ = newMetrics(newRegistry())
	g := newGossip(n)
	large := make([]byte, 6000)
	for i := range large {
		large[i] = '1'
	}
	moves := []move{}
	for range 200 {
		moves = append(moves, move{Channel: "room:1", Client: "4bd7f4e0-41ba-4d8e-9d3c-d9a8fe9f2d6a", User: "ann"})
	}
	moves = append(moves, move{Channel: "room:1", Client: "large", ConnInfo: large, ChanInfo: large}, move{Channel: "room:1", Client: "large", ConnInfo: large})
	bulletins := g.pack(moves)
	if len(bulletins) > 5 {
		t.Errorf("%d notifications", len(bulletins))
	}
	total := 0
	for _, text := range bulletins {
		if len(text) > maxNotification {
			t.Errorf("a notification of %d bytes", len(text))
		}
		total += countMoves(t, text)
	}
	if total != len(moves) {
		t.Errorf("%d of %d moves", total, len(moves))
	}
}
