package realtime

import (
	"testing"

	sdk "github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestFollowAndRecoverAfterRestart(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	node := startNode(t, engine, &doorman{})
	front := startFront(t, node)

	publish(t, engine, "room:1", `"before"`)
	sequenced(t, engine, "room:1", 1)
	c := connect(t, front.websocket(), "ann")
	f := c.follow("room:1")
	e := f.ready()
	if !e.Positioned || !e.Recoverable || e.StreamPosition == nil || e.StreamPosition.Offset != 1 || e.StreamPosition.Epoch == "" {
		t.Fatalf("subscribed with %+v at %+v", e, e.StreamPosition)
	}
	publish(t, engine, "room:1", `{"a":1}`, "[1,\n 2]")
	got := f.want(`{"a":1}`, `[1,  2]`)
	if got[0].Offset != 2 || got[1].Offset != 3 || got[0].Tags["sender"] != "tester" || got[0].Tags["id"] == "" || got[0].Tags["at"] == "" {
		t.Fatalf("got %+v", got)
	}

	front.handler.Store(nil)
	closeNode(t, node)
	stopEngine(t, engine)
	if e := take(t, c.connecting, "the loss"); e.Code == 0 {
		e = take(t, c.connecting, "the loss") // the first connecting is connect's
		if e.Code != 3001 {
			t.Fatalf("lost with %+v", e)
		}
	}
	engine = startEngine(t, url)
	publish(t, engine, "room:1", numbers(4, 503)...)
	sequenced(t, engine, "room:1", 503)
	node = startNode(t, engine, &doorman{})
	front.serve(node)
	if e := f.ready(); !e.WasRecovering || !e.Recovered {
		t.Fatalf("after the restart: %+v", e)
	}
	f.want(numbers(4, 503)...)
	publish(t, engine, "room:1", `"live"`)
	if got := f.want(`"live"`); got[0].Offset != 504 {
		t.Fatalf("offset %d", got[0].Offset)
	}
}

func TestProtobuf(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}))
	c := connect(t, front.websocket()+"?cf_protocol=protobuf", "ann")
	f := c.follow("room:1")
	f.ready()
	publish(t, engine, "room:1", numbers(1, 100)...)
	f.want(numbers(1, 100)...)
	if _, err := f.Publish(testContext(t), []byte(`"mine"`)); err != nil {
		t.Fatal(err)
	}
	f.want(`"mine"`)
	if _, err := f.Publish(testContext(t), []byte{1, 2, 3}); code(err) != 107 {
		t.Fatalf("binary data: %v", err)
	}
}

// code is that of an error from the server, 0 for none.
func code(err error) uint32 {
	if e, ok := err.(*sdk.Error); ok { //nolint:errorlint // the SDK wraps nothing
		return e.Code
	}
	return 0
}
