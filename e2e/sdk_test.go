package e2e

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A scenario is a test of what clients see, whatever they run in.
type scenario struct {
	name string
	run  func(*testing.T, *driver)
}

// scenarios are for the SDK wherever it runs.
var scenarios = []scenario{
	{"Messages", messages},
	{"History", history},
	{"Presence", presence},
	{"Refusals", refusals},
	{"EndedByTheServer", endedByTheServer},
	{"Tokens", tokens},
	{"ServerKilled", serverKilled},
	{"DatabaseRestarted", databaseRestarted},
	{"DatabaseCrashed", databaseCrashed},
	{"NewEpoch", newEpoch},
	{"Offline", offline},
	{"Nginx", behindNginx},
}

// TestNode runs the unmodified JavaScript SDK in Node.
func TestNode(t *testing.T) {
	t.Parallel()
	runAll(t, inNode(t), append(slices.Clone(scenarios), scenario{"Open", open}, scenario{"TwoNodes", twoNodes}))
}

// TestChromium runs it in a browser, and the browser's own EventSource.
func TestChromium(t *testing.T) {
	t.Parallel()
	runAll(t, inChromium(t), append(slices.Clone(scenarios), scenario{"EventSource", eventSource}))
}

func runAll(t *testing.T, d *driver, all []scenario) {
	t.Helper()
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, d)
		})
	}
}

// eachVariant runs a part of a test for each way to speak to the server.
func eachVariant(t *testing.T, run func(t *testing.T, v variant)) {
	t.Helper()
	for _, v := range variants {
		t.Run(v.String(), func(t *testing.T) { run(t, v) })
	}
}

// room is a channel that a variant has to itself.
func room(v variant) string { return "room:" + v.transport + "-" + v.format }

// messages: from a table that is watched, from SQL, and from another client.
func messages(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here := d.at(t, n.base())
	eachVariant(t, func(t *testing.T, v variant) {
		channel := room(v)
		ann := here.connect(t, v, token(t, "ann"))
		subscribed := ann.subscribe(t, channel, recoverable)
		if !subscribed.Recoverable || !subscribed.Positioned || subscribed.StreamPosition == nil || subscribed.StreamPosition.Epoch == "" {
			t.Errorf("subscribed without a position: %s", subscribed.raw)
		}

		// Subscribed means that nothing is missed from here on.
		run(t, pool, "INSERT INTO app.note VALUES ($1, 1)", channel[len("room:"):])
		publish(t, pool, channel, 2, 2)
		run(t, pool, "SELECT trunkline.publish($1, '{\"n\": 3}', sender => 'cleo')", channel)
		bob := here.connect(t, v, token(t, "bob"))
		bob.must(t, map[string]any{"op": "publish", "channel": channel, "data": map[string]any{"n": 4}})
		var senders []string
		for want := 1; want <= 4; want++ {
			e := ann.await(t, "publication", channel)
			if got := number(t, e.Data); got != want || e.Offset != int64(want) {
				t.Fatalf("message %d is %s", want, e.raw)
			}
			if e.Tags["id"] == "" {
				t.Errorf("no id in the tags of %s", e.raw)
			}
			if at, err := time.Parse(time.RFC3339Nano, e.Tags["at"]); err != nil || time.Since(at).Abs() > time.Hour {
				t.Errorf("at %q in the tags of %s", e.Tags["at"], e.raw)
			}
			senders = append(senders, e.Tags["sender"])
		}
		if diff := cmp.Diff([]string{"", "", "cleo", "bob"}, senders); diff != "" {
			t.Errorf("senders (-want +got):\n%s", diff)
		}

		// A signal has no place in the log.
		run(t, pool, "SELECT trunkline.signal($1, '{\"typing\": true}')", channel)
		if e := ann.await(t, "publication", channel); e.Offset != 0 || e.Tags["signal"] != "true" {
			t.Errorf("a signal came as %s", e.raw)
		}

		// What has 200 kB, and text of all kinds.
		run(t, pool, "SELECT trunkline.publish($1, json_build_object('n', 5, 'text', repeat('ü\U0001F600\"\\\n', 20000)))", channel)
		if e := ann.await(t, "publication", channel); number(t, e.Data) != 5 {
			t.Errorf("instead of a large message came %.200s", e.raw)
		}

		ann.must(t, map[string]any{"op": "unsubscribe", "channel": channel})
		ann.await(t, "unsubscribed", channel)
		publish(t, pool, channel, 6, 6)
		// From where it was: 6 is recovered.
		again := ann.subscribe(t, channel, recoverable, map[string]any{"since": position{Offset: 5, Epoch: subscribed.StreamPosition.Epoch}})
		if !again.Recovered {
			t.Errorf("not recovered: %s", again.raw)
		}
		publish(t, pool, channel, 7, 7)
		ann.numbers(t, channel, 6, 7)
		ann.never(t, "publication", "disconnected", "error")
	})
}

// history: pages in both directions.
func history(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here := d.at(t, n.base())
	first := here.connect(t, variants[0], token(t, "first"))
	first.subscribe(t, "room:past")
	publishAtOnce(t, pool, "room:past", 1, 30)
	first.numbers(t, "room:past", 1, 30) // on their way until here
	eachVariant(t, func(t *testing.T, v variant) {
		ann := here.connect(t, v, token(t, "ann"))
		ann.subscribe(t, "room:past", recoverable)
		offsets := func(p historyPage) []int64 {
			var all []int64
			for _, message := range p.Publications {
				all = append(all, message.Offset)
				if int64(number(t, message.Data)) != message.Offset {
					t.Errorf("offset %d is %s", message.Offset, message.Data)
				}
			}
			return all
		}
		top := ann.history(t, "room:past", 0, nil)
		if top.Offset != 30 || top.Epoch == "" || len(top.Publications) != 0 {
			t.Errorf("the top is %+v", top)
		}
		for _, test := range []struct {
			limit int
			more  map[string]any
			want  []int64
		}{
			{3, nil, []int64{1, 2, 3}},
			{3, map[string]any{"since": position{3, top.Epoch}}, []int64{4, 5, 6}},
			{5, map[string]any{"since": position{28, top.Epoch}}, []int64{29, 30}},
			{3, map[string]any{"reverse": true}, []int64{30, 29, 28}},
			{2, map[string]any{"reverse": true, "since": position{28, top.Epoch}}, []int64{27, 26}},
			{2, map[string]any{"since": position{30, top.Epoch}}, nil},
		} {
			if diff := cmp.Diff(test.want, offsets(ann.history(t, "room:past", test.limit, test.more))); diff != "" {
				t.Errorf("limit %d, %v (-want +got):\n%s", test.limit, test.more, diff)
			}
		}
	})
}

// presence: who is there, who comes and who goes.
func presence(t *testing.T, d *driver) {
	url, _ := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here := d.at(t, n.base())
	eachVariant(t, func(t *testing.T, v variant) {
		channel := room(v)
		ann := here.connect(t, v, token(t, "ann"))
		ann.subscribe(t, channel, map[string]any{"joinLeave": true})
		of := func(kind, user string) event {
			t.Helper()
			return ann.awaitOne(t, kind+" of "+user, func(e event) bool { return e.Event == kind && e.Info != nil && e.Info.User == user })
		}
		bob := here.connect(t, v, token(t, "bob", claims{"info": claims{"name": "Bob"}}))
		bob.subscribe(t, channel)
		joined := of("join", "bob")
		if joined.Channel != channel || joined.Info.Client == "" {
			t.Errorf("joined: %s", joined.raw)
		}
		there := ann.presence(t, channel)
		if len(there) != 2 || there[joined.Info.Client] != "bob" {
			t.Errorf("present are %v, bob as %s", there, joined.Info.Client)
		}
		var stats struct{ NumClients, NumUsers int }
		if err := json.Unmarshal(bob.must(t, map[string]any{"op": "presenceStats", "channel": channel}), &stats); err != nil {
			t.Fatal(err)
		}
		if stats.NumClients != 2 || stats.NumUsers != 2 {
			t.Errorf("presence stats %+v", stats)
		}
		bob.must(t, map[string]any{"op": "disconnect"})
		if left := of("leave", "bob"); left.Info.Client != joined.Info.Client {
			t.Errorf("left: %s", left.raw)
		}
		// Gone for all, soon.
		ann.presenceBecomes(t, channel, "ann")
	})
}

// refusals: what a function of the application denies, and what nobody allowed.
func refusals(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here := d.at(t, n.base())
	publish(t, pool, "room:secret", 1, 1)
	eachVariant(t, func(t *testing.T, v variant) {
		ann := here.connect(t, v, token(t, "ann"))
		for _, channel := range []string{"room:secret", "elsewhere:x", "trunkline:control"} {
			ann.trySubscribe(t, channel)
			if e := ann.await(t, "unsubscribed", channel); e.Code != 103 || e.Reason == "" {
				t.Errorf("subscribing to %s was refused with %s", channel, e.raw)
			}
			for _, op := range []string{"publish", "history", "presence", "presenceStats"} {
				_, err := ann.do(t, map[string]any{"op": op, "channel": channel, "data": map[string]any{"n": 2}, "limit": 10})
				if f, ok := err.(*failure); !ok || f.Code != 103 || f.Message == "" { //nolint:errorlint // not wrapped
					t.Errorf("%s of %s was answered with %v", op, channel, err)
				}
			}
		}
		// Refused in one thing, welcome in others.
		ann.subscribe(t, "room:open")
		ann.never(t, "disconnected", "publication")

		// No token, and somebody else's.
		for _, bad := range []string{"", "nonsense", token(t, "eve")[:40] + "x" + token(t, "eve")[41:]} {
			eve := here.open(t, v, bad)
			if e := eve.await(t, "disconnected", ""); e.Code < 3500 || e.Code > 3999 || e.Reason == "" {
				t.Errorf("token %q was refused with %s", bad, e.raw)
			}
			eve.never(t, "connected")
		}
	})
}

// endedByTheServer: subscriptions and connections that an SQL function ends.
func endedByTheServer(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here := d.at(t, n.base())
	eachVariant(t, func(t *testing.T, v variant) {
		user, channel := "ann-"+v.transport+"-"+v.format, room(v)
		ann := here.connect(t, v, token(t, user))
		ann.subscribe(t, channel)
		run(t, pool, "SELECT trunkline.unsubscribe($1, $2)", user, channel)
		if e := ann.await(t, "unsubscribed", channel); e.Code < 2000 || e.Code > 2499 || e.Reason == "" {
			t.Errorf("unsubscribed with %s", e.raw)
		}
		// That was no ban.
		ann.subscribe(t, channel)

		run(t, pool, "INSERT INTO app.banned VALUES ($1, $2)", user, channel)
		run(t, pool, "SELECT trunkline.revoke($1, $2)", user, channel)
		ann.await(t, "unsubscribed", channel)
		ann.trySubscribe(t, channel)
		if e := ann.await(t, "unsubscribed", channel); e.Code != 103 {
			t.Errorf("after the revocation: %s", e.raw)
		}

		run(t, pool, "SELECT trunkline.disconnect($1)", user)
		if e := ann.awaitOne(t, "the end of the connection", func(e event) bool {
			return e.Event == "disconnected" || e.Event == "connecting" && e.Code != 0
		}); e.Code < 3000 || e.Reason == "" {
			t.Errorf("disconnected with %s", e.raw)
		}
	})
}

// tokens: they run out and are refreshed, they subscribe by themselves, and a channel may ask for one.
func tokens(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startNode(t, url, append(d.flags(), "--clock-skew", "10ms")...)
	here := d.at(t, n.base())
	type refreshed struct {
		*client
		own, served string
		asked       chan string
	}
	var all []refreshed
	for _, v := range variants { // all at once: they wait for tokens to run out
		r := refreshed{
			own: "private:" + v.transport + "-" + v.format, served: "news:" + v.transport + "-" + v.format, asked: make(chan string, 100),
		}
		soon := claims{"exp": time.Now().Add(3 * time.Second).Unix()}
		subscriptions := claims{"channels": []string{r.served}}
		r.client = here.connect(t, v, token(t, "ann", soon, subscriptions), map[string]any{
			"tokens": func(channel string) string {
				r.asked <- channel
				if channel == "" {
					return token(t, "ann", subscriptions)
				}
				return token(t, "ann", claims{"channel": channel})
			},
		})
		if e := r.await(t, "subscribed", r.served); !e.Server {
			t.Errorf("the server's own subscription: %s", e.raw)
		}
		r.subscribe(t, r.own, map[string]any{"token": token(t, "ann", soon, claims{"channel": r.own}), "asks": true})
		all = append(all, r)
	}
	for _, ann := range all {
		for wanted := map[string]bool{"": true, ann.own: true}; len(wanted) > 0; {
			select {
			case channel := <-ann.asked:
				delete(wanted, channel)
			case <-time.After(patience):
				t.Fatalf("nobody asked for tokens of %v: %s", wanted, ann.rest())
			}
		}
		publish(t, pool, ann.served, 1, 1)
		publish(t, pool, ann.own, 1, 1)
		ann.numbers(t, ann.served, 1, 1)
		ann.numbers(t, ann.own, 1, 1)
		ann.never(t, "disconnected", "unsubscribed")
		if e, found, _ := ann.take(func(e event) bool { return e.Event == "connecting" && e.Code != 0 }); found {
			t.Errorf("a refreshed connection was broken off: %s", e.raw)
		}
	}

	eachVariant(t, func(t *testing.T, v variant) {
		// One that has long run out: the SDK asks for another.
		late := here.connect(t, v, token(t, "late", claims{"exp": time.Now().Add(-time.Hour).Unix()}), map[string]any{
			"tokens": func(string) string { return token(t, "late", caps("private:*")) },
		})
		late.subscribe(t, "private:late")

		// One for another channel, or another user, is none.
		for _, wrong := range []string{token(t, "late", claims{"channel": "other:x"}), token(t, "ann", claims{"channel": "other:y"})} {
			late.trySubscribe(t, "other:y", map[string]any{"token": wrong})
			if e := late.await(t, "unsubscribed", "other:y"); e.Code != 103 {
				t.Errorf("a wrong token for a channel was refused with %s", e.raw)
			}
		}
	})
}

// presenceBecomes waits until exactly these users are there.
func (c *client) presenceBecomes(t testing.TB, channel string, users ...string) {
	t.Helper()
	want := make(map[string]int)
	for _, user := range users {
		want[user]++
	}
	deadline := time.Now().Add(patience)
	for {
		got := make(map[string]int)
		for _, user := range c.presence(t, channel) {
			got[user]++
		}
		if cmp.Equal(want, got) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: present are %v, want %v", c.name, got, want)
		}
		time.Sleep(20 * time.Millisecond) // between questions
	}
}
