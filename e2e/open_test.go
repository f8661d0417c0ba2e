package e2e

import (
	"strings"
	"testing"
)

// open: a server that has no secret. Whoever is on this machine may do everything, and pages of other sites nothing.
func open(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startOpenNode(t, url)
	here := d.at(t, n.base())
	eachVariant(t, func(t *testing.T, v variant) {
		channel := room(v)
		anyone := here.connect(t, v, "")
		anyone.subscribe(t, channel, recoverable)
		publish(t, pool, channel, 1, 1)
		anyone.must(t, map[string]any{"op": "publish", "channel": channel, "data": map[string]any{"n": 2}})
		anyone.numbers(t, channel, 1, 2)
		if page := anyone.history(t, channel, 10, nil); len(page.Publications) != 2 {
			t.Errorf("history has %+v", page)
		}
	})
	stream := startCurl(t, n.base()+"/v1/stream?channel=room:curl")
	if said, ok := stream.await(t, "retry: "); !ok {
		t.Fatalf("no stream:\n%s", said)
	}
	publish(t, pool, "room:curl", 1, 1)
	stream.numbers(t, 1, 1)

	// A page of any site can reach this machine's loopback from its visitor's browser: by its address, or by a name of its own
	// that resolves to it.
	for _, path := range []string{"/v1/stream?channel=room:curl", "/connection/sse", "/connection/websocket"} {
		for _, header := range []string{"Origin: https://evil.example", "Host: evil.example"} {
			c := startCurl(t, "-i", "--max-time", "60", "-H", header, "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
				"-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", n.base()+path)
			if all, _ := c.await(t, "data: "); !strings.HasPrefix(all, "HTTP/1.1 403 ") {
				t.Errorf("%s with %s is answered with:\n%s", path, header, all)
			}
		}
	}
}
