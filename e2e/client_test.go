package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// client is one of a driver's: an SDK's, or an EventSource.
type client struct {
	name   string
	driver *driver
	page   string
	tokens func(channel string) string // answers the SDK's wish for a token

	mu     sync.Mutex
	events []event
	all    []event       // also those that were waited for
	grown  chan struct{} // closed, and made anew, at each event
}

// event is what happened to a client.
type event struct {
	Event     string            `json:"event"`
	Client    string            `json:"client"`
	Channel   string            `json:"channel"`
	Code      int               `json:"code"`
	Reason    string            `json:"reason"`
	Transport string            `json:"transport"`
	Server    bool              `json:"server"` // of a subscription that the server made
	Offset    int64             `json:"offset"`
	Data      json.RawMessage   `json:"data"`
	Tags      map[string]string `json:"tags"`
	Info      *clientInfo       `json:"info"`
	Problem   *failure          `json:"error"`
	Ask       int               `json:"ask"`

	Recoverable    bool      `json:"recoverable"`
	Positioned     bool      `json:"positioned"`
	WasRecovering  bool      `json:"wasRecovering"`
	Recovered      bool      `json:"recovered"`
	StreamPosition *position `json:"streamPosition"`

	LastEventID string `json:"lastEventId"`

	raw string
}

type clientInfo struct {
	Client   string          `json:"client"`
	User     string          `json:"user"`
	ConnInfo json.RawMessage `json:"connInfo"`
}

type position struct {
	Offset int64  `json:"offset"`
	Epoch  string `json:"epoch"`
}

// variant is a way to speak to the server.
type variant struct{ transport, format string }

// variants are all that the SDK has: SSE carries text only.
var variants = []variant{
	{"websocket", "json"}, {"websocket", "protobuf"}, {"http_stream", "json"}, {"http_stream", "protobuf"}, {"sse", "json"},
}

func (v variant) String() string { return v.transport + "/" + v.format }

// place says where a client runs, and what it connects to.
type place struct {
	*driver
	page string
	base string // http://HOST
}

// at makes a page, if there are pages, for clients that connect to base.
func (d *driver) at(t testing.TB, base string) place {
	t.Helper()
	return place{driver: d, page: d.page(t), base: base}
}

// open connects a client with a token. It doesn't wait for the connection.
func (p place) open(t testing.TB, v variant, token string, more ...map[string]any) *client {
	t.Helper()
	endpoint := p.base + "/connection/" + v.transport
	if v.transport == "websocket" {
		endpoint = "ws" + strings.TrimPrefix(endpoint, "http")
	}
	c := p.register(v.String())
	command := map[string]any{
		"op": "open", "transport": v.transport, "format": v.format, "endpoint": endpoint, "emulation": p.base + "/emulation", "token": token,
	}
	for _, m := range more {
		for name, value := range m {
			command[name] = value
		}
	}
	if tokens, ok := command["tokens"].(func(string) string); ok {
		delete(command, "tokens")
		command["asks"], c.tokens = true, tokens
	}
	c.must(t, command)
	c.closeAtEnd(t)
	return c
}

// connect is open, and waits for the connection.
func (p place) connect(t testing.TB, v variant, token string, more ...map[string]any) *client {
	t.Helper()
	c := p.open(t, v, token, more...)
	if e := c.await(t, "connected", ""); e.Transport != v.transport {
		t.Errorf("%s: connected by %s", c.name, e.Transport)
	}
	return c
}

// stream opens an EventSource.
func (p place) stream(t testing.TB, query string) *client {
	t.Helper()
	c := p.register("EventSource")
	c.must(t, map[string]any{"op": "stream", "url": p.base + "/v1/stream?" + query})
	c.closeAtEnd(t)
	return c
}

func (p place) register(name string) *client {
	c := &client{driver: p.driver, page: p.page, grown: make(chan struct{})}
	c.name = fmt.Sprintf("%s %s #%d", p.name, name, p.counter.Add(1))
	p.mu.Lock()
	p.clients[c.name] = c
	p.mu.Unlock()
	return c
}

func (c *client) closeAtEnd(t testing.TB) {
	t.Cleanup(func() {
		c.must(t, map[string]any{"op": "close"})
		c.driver.mu.Lock()
		delete(c.driver.clients, c.name)
		c.driver.mu.Unlock()
		if t.Failed() {
			t.Logf("%s: what else happened: %s", c.name, c.rest())
		}
	})
}

// do sends a command.
func (c *client) do(t testing.TB, command map[string]any) (json.RawMessage, error) {
	t.Helper()
	command["client"] = c.name
	if c.page != "" {
		command["page"] = c.page
	}
	return c.driver.ask(t, command)
}

func (c *client) must(t testing.TB, command map[string]any) json.RawMessage {
	t.Helper()
	result, err := c.do(t, command)
	if err != nil {
		t.Fatalf("%s: %s: %v", c.name, command["op"], err)
	}
	return result
}

// subscribe subscribes and waits until it is done.
func (c *client) subscribe(t testing.TB, channel string, more ...map[string]any) event {
	t.Helper()
	c.trySubscribe(t, channel, more...)
	return c.await(t, "subscribed", channel)
}

func (c *client) trySubscribe(t testing.TB, channel string, more ...map[string]any) {
	t.Helper()
	command := map[string]any{"op": "subscribe", "channel": channel}
	for _, m := range more {
		for name, value := range m {
			command[name] = value
		}
	}
	c.must(t, command)
}

// recoverable asks for a subscription that tells what it missed.
var recoverable = map[string]any{"recoverable": true, "positioned": true}

func (c *client) happened(e event) {
	if e.Event == "token" && c.tokens != nil {
		command, _ := json.Marshal(map[string]any{
			"id": c.driver.counter.Add(1), "op": "token", "client": c.name, "page": c.page, "ask": e.Ask, "token": c.tokens(e.Channel),
		})
		c.driver.mu.Lock()
		_, _ = c.driver.stdin.Write(append(command, '\n'))
		c.driver.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
	c.all = append(c.all, e)
	close(c.grown)
	c.grown = make(chan struct{})
}

// take removes and returns the first event that fits.
func (c *client) take(fits func(event) bool) (e event, found bool, grown chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range c.events {
		if fits(e) {
			c.events = append(c.events[:i:i], c.events[i+1:]...)
			return e, true, nil
		}
	}
	return event{}, false, c.grown
}

// awaitOne waits for an event that fits. What else happened stays for others to wait for.
func (c *client) awaitOne(t testing.TB, what string, fits func(event) bool) event {
	t.Helper()
	deadline := time.After(patience)
	for {
		e, found, grown := c.take(fits)
		if found {
			return e
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("%s: waited for %s, this happened: %s", c.name, what, c.rest())
		}
	}
}

// await waits for an event of a kind, on a channel unless it is "".
func (c *client) await(t testing.TB, kind, channel string) event {
	t.Helper()
	return c.awaitOne(t, kind+" "+channel, func(e event) bool { return e.Event == kind && (channel == "" || e.Channel == channel) })
}

// never fails the test if something of that kind has happened and nobody waited for it.
func (c *client) never(t testing.TB, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		if e, found, _ := c.take(func(e event) bool { return e.Event == kind }); found {
			t.Errorf("%s: unexpected %s", c.name, e.raw)
		}
	}
}

// around tells what happened shortly before and after an event, whoever waited for it.
func (c *client) around(e event) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.all) - 1
	for last > 0 && c.all[last].raw != e.raw {
		last--
	}
	var b strings.Builder
	for _, e := range c.all[max(0, last-15):min(len(c.all), last+5)] {
		fmt.Fprintf(&b, "\n      %s", e.raw)
	}
	return b.String()
}

// renewedNumbers is numbers after the log has begun a new epoch. What the crash took from the log's end is given a place again, and
// may come again to who subscribed before it had one: a client that was told that it can't recover has read everything anew, or
// looks at the messages' ids.
func (c *client) renewedNumbers(t testing.TB, channel string, first, last int) {
	t.Helper()
	e := c.awaitOne(t, "message "+strconv.Itoa(first), func(e event) bool {
		return e.Event == "publication" && e.Channel == channel && number(t, e.Data) >= first
	})
	if got := number(t, e.Data); got != first {
		t.Fatalf("%s: message %d of %s came where %d was due: %s", c.name, got, channel, first, e.raw)
	}
	var again int64
	for {
		old, found, _ := c.take(func(e event) bool {
			return e.Event == "publication" && e.Channel == channel && number(t, e.Data) < first
		})
		if !found {
			break
		}
		if old.Offset <= again || old.Offset >= e.Offset {
			t.Fatalf("%s: offset %d of %s came between %d and %d", c.name, old.Offset, channel, again, e.Offset)
		}
		again = old.Offset
	}
	if after := c.numbers(t, channel, first+1, last); after != e.Offset+int64(last-first) {
		t.Fatalf("%s: %d messages of %s took the offsets from %d to %d", c.name, last-first+1, channel, e.Offset, after)
	}
}

// numbers waits for the publications that are numbered first to last, and checks that they come in order, each once, with
// offsets that rise by one. It returns the last one's offset.
func (c *client) numbers(t testing.TB, channel string, first, last int) int64 {
	t.Helper()
	var before int64
	for n := first; n <= last; n++ {
		e := c.await(t, "publication", channel)
		if got := number(t, e.Data); got != n {
			t.Fatalf("%s: message %d of %s came where %d was due: %s; all that happened about then: %s", c.name, got, channel, n, e.raw, c.around(e))
		}
		if before != 0 && e.Offset != before+1 {
			t.Fatalf("%s: offset %d of %s follows %d", c.name, e.Offset, channel, before)
		}
		before = e.Offset
	}
	return before
}

// rest is what nobody has waited for.
func (c *client) rest() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.events) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for _, e := range c.events[max(0, len(c.events)-20):] {
		b.WriteString("\n  " + e.raw)
	}
	return b.String()
}

// presence maps each connection's id to its user.
func (c *client) presence(t testing.TB, channel string) map[string]string {
	t.Helper()
	var result struct {
		Clients map[string]clientInfo `json:"clients"`
	}
	if err := json.Unmarshal(c.must(t, map[string]any{"op": "presence", "channel": channel}), &result); err != nil {
		t.Fatal(err)
	}
	users := make(map[string]string, len(result.Clients))
	for id, info := range result.Clients {
		users[id] = info.User
	}
	return users
}

// page of history.
type historyPage struct {
	Epoch        string `json:"epoch"`
	Offset       int64  `json:"offset"`
	Publications []struct {
		Offset int64           `json:"offset"`
		Data   json.RawMessage `json:"data"`
	} `json:"publications"`
}

func (c *client) history(t testing.TB, channel string, limit int, more map[string]any) historyPage {
	t.Helper()
	command := map[string]any{"op": "history", "channel": channel, "limit": limit}
	for name, value := range more {
		command[name] = value
	}
	var result historyPage
	if err := json.Unmarshal(c.must(t, command), &result); err != nil {
		t.Fatal(err)
	}
	return result
}
