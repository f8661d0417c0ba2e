package server

import (
	"context"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// connect opens a connection of the Centrifuge protocol and sends it commands, each of which it awaits the answer to.
func (s *service) connect(t *testing.T, commands ...string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, s.server.URL+"/connection/websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		response.Body.Close()
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	for _, command := range commands {
		if err := conn.Write(ctx, websocket.MessageText, []byte(command)); err != nil {
			t.Fatal(err)
		}
		if _, answer, err := conn.Read(ctx); err != nil || strings.Contains(string(answer), `"error"`) {
			t.Fatalf("%s: %v to %s", answer, err, command)
		}
	}
	return conn
}

// Keys come and go while thousands are connected: who has another key, or a token, isn't asked about again.
func TestKeysAreNobodyElsesBusiness(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.application(t)
	s.sql(t, `INSERT INTO app.member VALUES ('ann', 'room:1')`)
	key, ann := s.key(t, "read"), token(t, "ann", "")
	held, _ := s.openAs(t, key, "channel=room:1", "")
	keyed := s.connect(t, `{"id":1,"connect":{"token":"`+key+`"}}`)
	stream, _ := s.openAs(t, ann, "channel=room:1", "")
	conn := s.connect(t, `{"id":1,"connect":{"token":"`+ann+`"}}`, `{"id":2,"subscribe":{"channel":"room:1"}}`)
	before := s.handler.gate.Stats().Questions

	s.sql(t, "SELECT trunkline.create_apikey('another', 'tk_12345678', sha256('another'), '{read}')", "SELECT trunkline.revoke_apikey('read')")
	if e := held.end(t); e.Reason != "revoked" {
		t.Errorf("the stream of the key that was revoked ended with %+v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, frame, err := keyed.Read(ctx); websocket.CloseStatus(err) != 3500 {
		t.Errorf("the connection of the key that was revoked got %q, %v", frame, err)
	}
	// Commands are carried out in turn: behind this one, those above are done with.
	s.sql(t, "SELECT trunkline.disconnect('ann')")
	if e := stream.end(t); e.Reason != "disconnected" {
		t.Errorf("the other stream ended with %+v", e)
	}
	if _, frame, err := conn.Read(ctx); websocket.CloseStatus(err) != 3503 {
		t.Errorf("the other connection got %q, %v", frame, err)
	}
	if asked := s.handler.gate.Stats().Questions - before; asked != 0 {
		t.Errorf("%d questions were asked about others", asked)
	}
}

// A thousand revocations in a transaction are read once or a few times, not a thousand times.
func TestManyRevocationsAreReadTogether(t *testing.T) {
	s := newGuarded(t, Limits{})
	last, _ := s.openAs(t, token(t, "user 1000", "sub", "*"), "channel=a", "")
	other, _ := s.openAs(t, token(t, "user 1001", "sub", "*"), "channel=a", "")
	before := s.handler.gate.Stats().Loads
	s.sql(t, "SELECT trunkline.revoke('user ' || i) FROM generate_series(1, 1000) i")
	if e := last.end(t); e.Reason != "revoked" {
		t.Errorf("%+v", e)
	}
	stats := s.handler.gate.Stats()
	if loads := stats.Loads - before; loads > 100 || stats.Revocations != 1000 {
		t.Errorf("%d revocations were read in %d times", stats.Revocations, loads)
	}
	id := s.publish(t, "a", "1")
	if e := other.event(t).decode(t); *e.ID != id {
		t.Errorf("the other got %+v", e)
	}
}
