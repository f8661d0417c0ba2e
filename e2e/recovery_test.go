package e2e

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/schema"
)

// cast connects a client for each variant, all in one room.
func (p place) cast(t *testing.T, channel string) []*client {
	t.Helper()
	var all []*client
	for _, v := range variants {
		c := p.connect(t, v, token(t, "ann"))
		c.subscribe(t, channel, recoverable)
		all = append(all, c)
	}
	return all
}

// recovered waits until each client is back, has recovered all that it missed, and got the numbers first to last once and in
// their order.
func recovered(t *testing.T, cast []*client, channel string, first, last int) {
	t.Helper()
	for _, c := range cast {
		if e := c.await(t, "subscribed", channel); !e.WasRecovering || !e.Recovered {
			t.Errorf("%s: not recovered: %s", c.name, e.raw)
		}
		c.numbers(t, channel, first, last)
	}
}

// quiet checks that nothing came that was not waited for.
func quiet(t *testing.T, cast []*client) {
	t.Helper()
	for _, c := range cast {
		c.never(t, "publication", "disconnected", "unsubscribed")
	}
}

// serverKilled: kill -9, messages while it is away, and the start of another on the same port.
func serverKilled(t *testing.T, d *driver) {
	const channel = "room:killed"
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	cast := d.at(t, n.base()).cast(t, channel)
	last := 0
	for range 2 {
		publish(t, pool, channel, last+1, last+10)
		for _, c := range cast {
			c.numbers(t, channel, last+1, last+10)
		}
		n.kill()
		publish(t, pool, channel, last+11, last+40)
		n.start(t)
		recovered(t, cast, channel, last+11, last+40)
		last += 40
	}
	// In the midst of it: some arrived before, some are recovered after, and together they are all.
	published := publishMeanwhile(t, pool, channel, last+1, last+200, time.Millisecond)
	for _, c := range cast {
		c.numbers(t, channel, last+1, last+1)
	}
	n.kill()
	n.start(t)
	published()
	for _, c := range cast {
		c.numbers(t, channel, last+2, last+200)
		if e := c.await(t, "subscribed", channel); !e.Recovered {
			t.Errorf("%s: not recovered: %s", c.name, e.raw)
		}
	}
	quiet(t, cast)
}

// ownDatabase starts a PostgreSQL that a test can restart.
func ownDatabase(t *testing.T) (restart func(mode string), url string, pool *pgxpool.Pool) {
	t.Helper()
	server := pgtest.Cluster(t, nil)
	url = server.URL()
	if err := schema.Migrate(t.Context(), pgtest.Connect(t, url)); err != nil {
		t.Fatal(err)
	}
	pool = pgtest.Pool(t, url)
	run(t, pool, application)
	return func(mode string) {
		t.Helper()
		if err := server.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		pool.Reset() // its connections are dead
	}, url, pool
}

// databaseRestarted: connections stay, what is published after the restart arrives, and a server that starts then still
// recovers from before it.
func databaseRestarted(t *testing.T, d *driver) {
	const channel = "room:restarted"
	restart, url, pool := ownDatabase(t)
	n := startNode(t, url, d.flags()...)
	cast := d.at(t, n.base()).cast(t, channel)
	publish(t, pool, channel, 1, 10)
	restart("fast")
	publish(t, pool, channel, 11, 20)
	for _, c := range cast {
		c.numbers(t, channel, 1, 20)
	}
	n.kill()
	restart("fast")
	publish(t, pool, channel, 21, 30)
	n.start(t)
	recovered(t, cast, channel, 21, 30)
	quiet(t, cast)
}

// databaseCrashed: a new epoch, because the end of the log may be lost. No client goes on as if nothing had happened.
func databaseCrashed(t *testing.T, d *driver) {
	const channel = "room:crashed"
	restart, url, pool := ownDatabase(t)
	n := startNode(t, url, d.flags()...)
	cast := d.at(t, n.base()).cast(t, channel)
	publish(t, pool, channel, 1, 10)
	for _, c := range cast {
		c.numbers(t, channel, 1, 10)
	}
	n.kill()
	restart("immediate")
	n.start(t)
	for _, c := range cast {
		if e := c.await(t, "subscribed", channel); !e.WasRecovering || e.Recovered {
			t.Errorf("%s: wants to have recovered in a new epoch: %s", c.name, e.raw)
		}
	}
	publish(t, pool, channel, 11, 20)
	for _, c := range cast {
		c.renewedNumbers(t, channel, 11, 20)
	}
	quiet(t, cast)
}

// newEpoch: the same while the servers run on. Subscriptions that the server made come back as well. A crash wouldn't do here: a
// server that wrote the end of the log, and finds it afterwards, vouches for it.
func newEpoch(t *testing.T, d *driver) {
	const channel, served = "room:renewed", "news:renewed"
	url, pool := newDatabase(t)
	startNode(t, url) // writes the log; the clients' node follows, or takes over
	here := d.at(t, startNode(t, url, d.flags()...).base())
	var cast []*client
	epochs := make(map[*client]string)
	for _, v := range variants {
		c := here.connect(t, v, token(t, "ann", claims{"channels": []string{served}}))
		c.await(t, "subscribed", served)
		epochs[c] = c.subscribe(t, channel, recoverable).StreamPosition.Epoch
		cast = append(cast, c)
	}
	publish(t, pool, channel, 1, 5)
	publish(t, pool, served, 1, 5)
	for _, c := range cast {
		c.numbers(t, channel, 1, 5)
		c.numbers(t, served, 1, 5)
	}
	run(t, pool, "SELECT trunkline.new_epoch()")
	for _, name := range []string{channel, served} {
		for _, c := range cast {
			c.awaitOne(t, "a subscription to "+name+" in the new epoch", func(e event) bool {
				return e.Event == "subscribed" && e.Channel == name && e.StreamPosition != nil && e.StreamPosition.Epoch != epochs[c]
			})
		}
		publish(t, pool, name, 6, 10)
		for _, c := range cast {
			c.renewedNumbers(t, name, 6, 10)
		}
	}
	quiet(t, cast)
}

// offline: a network that is gone for long, and 500 messages meanwhile.
func offline(t *testing.T, d *driver) {
	const channel = "room:offline"
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	network := newLink(t, n.address())
	cast := d.at(t, network.base()).cast(t, channel)
	publish(t, pool, channel, 1, 10)
	for _, c := range cast {
		c.numbers(t, channel, 1, 10)
	}
	network.lay("")
	for _, c := range cast {
		c.awaitOne(t, "the loss of the connection", func(e event) bool { return e.Event == "connecting" && e.Code != 0 })
	}
	publishAtOnce(t, pool, channel, 11, 510)
	network.lay(n.address())
	recovered(t, cast, channel, 11, 510)
	publish(t, pool, channel, 511, 520)
	for _, c := range cast {
		c.numbers(t, channel, 511, 520)
	}
	quiet(t, cast)
}
