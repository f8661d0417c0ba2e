package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// twoNodes: one database, and clients on each that can come to the other.
func twoNodes(t *testing.T, d *driver) {
	runAll(t, d, []scenario{
		{"KillEither", killEither},
		{"StopEither", stopEither},
		{"Revocation", revocation},
		{"Presence", presenceOfTwo},
	})
}

// killEither: what is published on one node arrives on the other, and clients of a killed node go on at the other.
func killEither(t *testing.T, d *driver) {
	const channel = "room:shared"
	url, pool := newDatabase(t)
	var nodes []*node
	var links []*link
	var casts [][]*client
	for range 2 {
		n := startNode(t, url)
		l := newLink(t, n.address())
		nodes, links = append(nodes, n), append(links, l)
		casts = append(casts, d.at(t, l.base()).cast(t, channel))
	}
	everybody := slices.Concat(casts...)

	last := 0
	for _, cast := range casts {
		for _, c := range cast {
			last++
			c.must(t, map[string]any{"op": "publish", "channel": channel, "data": map[string]any{"n": last}})
		}
	}
	for _, c := range everybody {
		c.numbers(t, channel, 1, last)
	}

	// Each node in turn, in the midst of messages. Those that were on it go to the other, and nobody notices more.
	for i, n := range nodes {
		other := nodes[1-i]
		published := publishMeanwhile(t, pool, channel, last+1, last+300, time.Millisecond)
		for _, c := range everybody {
			c.numbers(t, channel, last+1, last+50)
		}
		n.kill()
		for _, l := range links {
			if l.leadsTo(n) {
				l.lay(other.address())
			}
		}
		published()
		for _, c := range everybody {
			c.numbers(t, channel, last+51, last+300)
		}
		last += 300
		n.start(t)
	}
	quiet(t, everybody)
}

func (l *link) leadsTo(n *node) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.target == n.address()
}

// stopEither: a node that is told to end says so to its clients, who go to the other.
func stopEither(t *testing.T, d *driver) {
	const channel = "room:drained"
	url, pool := newDatabase(t)
	one, two := startNode(t, url), startNode(t, url)
	l := newLink(t, one.address())
	cast := d.at(t, l.base()).cast(t, channel)
	published := publishMeanwhile(t, pool, channel, 1, 300, time.Millisecond)
	for _, c := range cast {
		c.numbers(t, channel, 1, 50)
	}
	l.lead(two.address()) // whoever connects from now on
	if code := one.stop(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, one.out.tail())
	}
	published()
	for _, c := range cast {
		c.numbers(t, channel, 51, 300)
		e := c.awaitOne(t, "the end of the connection", func(e event) bool { return e.Event == "connecting" && e.Code != 0 })
		if e.Reason == "" {
			t.Errorf("%s: told nothing: %s", c.name, e.raw)
		}
		if e := c.await(t, "subscribed", channel); !e.Recovered {
			t.Errorf("%s: not recovered: %s", c.name, e.raw)
		}
	}
	quiet(t, cast)
}

// revocation: it ends what a user has on either node.
func revocation(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	old := token(t, "ann")
	var anns, bobs []*client
	var places []place
	for range 2 {
		here := d.at(t, startNode(t, url).base())
		places = append(places, here)
		for _, v := range variants {
			ann, bob := here.connect(t, v, old), here.connect(t, v, token(t, "bob"))
			for _, c := range []*client{ann, bob} {
				c.subscribe(t, "room:x")
				c.subscribe(t, "room:y")
			}
			anns, bobs = append(anns, ann), append(bobs, bob)
		}
	}
	run(t, pool, "INSERT INTO app.banned VALUES ('ann', 'room:x')")
	run(t, pool, "SELECT trunkline.revoke('ann', 'room:x')")
	for _, ann := range anns {
		if e := ann.await(t, "unsubscribed", "room:x"); e.Code == 0 || e.Reason == "" {
			t.Errorf("unsubscribed with %s", e.raw)
		}
	}
	publish(t, pool, "room:x", 1, 1)
	publish(t, pool, "room:y", 1, 1)
	for _, c := range slices.Concat(anns, bobs) {
		c.numbers(t, "room:y", 1, 1)
	}
	for _, bob := range bobs {
		bob.numbers(t, "room:x", 1, 1)
	}
	quiet(t, slices.Concat(anns, bobs))

	// Of everything: the connection ends, and the token that was good is none any more. One that was made since is.
	run(t, pool, "SELECT trunkline.revoke('ann')")
	for _, ann := range anns {
		if e := ann.await(t, "disconnected", ""); e.Code == 0 || e.Reason == "" {
			t.Errorf("disconnected with %s", e.raw)
		}
	}
	for _, here := range places {
		again := here.open(t, variants[0], old)
		if e := again.await(t, "disconnected", ""); e.Reason == "" {
			t.Errorf("with a revoked token: %s", e.raw)
		}
		again.never(t, "connected")
		here.connect(t, variants[0], token(t, "ann", claims{"iat": time.Now().Add(2 * time.Second).Unix()})).subscribe(t, "room:y")
	}
	publish(t, pool, "room:y", 2, 2)
	for _, bob := range bobs {
		bob.numbers(t, "room:y", 2, 2)
	}
	quiet(t, bobs)
}

// presenceOfTwo: whoever is on either node is seen on both, and who comes and goes too.
func presenceOfTwo(t *testing.T, d *driver) {
	const channel = "room:seen"
	url, _ := newDatabase(t)
	one, two := d.at(t, startNode(t, url).base()), d.at(t, startNode(t, url).base())
	v := variants[0]
	ann, bob := one.connect(t, v, token(t, "ann")), two.connect(t, v, token(t, "bob"))
	ann.subscribe(t, channel, map[string]any{"joinLeave": true})
	bob.subscribe(t, channel, map[string]any{"joinLeave": true})
	cleo := two.connect(t, v, token(t, "cleo"))
	cleo.subscribe(t, channel)
	for _, c := range []*client{ann, bob} {
		c.awaitOne(t, "join of cleo", func(e event) bool { return e.Event == "join" && e.Info.User == "cleo" })
		c.presenceBecomes(t, channel, "ann", "bob", "cleo")
	}
	if diff := cmp.Diff(ann.presence(t, channel), bob.presence(t, channel)); diff != "" {
		t.Errorf("the nodes disagree (-one +two):\n%s", diff)
	}
	cleo.must(t, map[string]any{"op": "disconnect"})
	for _, c := range []*client{ann, bob} {
		c.awaitOne(t, "leave of cleo", func(e event) bool { return e.Event == "leave" && e.Info.User == "cleo" })
		c.presenceBecomes(t, channel, "ann", "bob")
	}
	if users := slices.Sorted(maps.Values(ann.presence(t, channel))); !slices.Equal(users, []string{"ann", "bob"}) {
		t.Errorf("in the end %v are there", users)
	}
}
