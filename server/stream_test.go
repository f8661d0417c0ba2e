package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestStreamSendsWhatCommits(t *testing.T) {
	s := newService(t)
	c, first := s.open(t, channels("news"), "")
	header := c.response.Header
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if first.retry < 1000 || first.retry > 3000 || first.id != s.engine.State().Log.String() || first.data != "" {
		t.Errorf("the first block is %+v", first)
	}

	before := time.Now().Add(-time.Second)
	id := s.publish(t, "news", `{"a": 1.00, "a":"ü<\u0041"}`)
	b := c.event(t)
	e := b.decode(t)
	if b.event != "message" || e.Channel != "news" || *e.Seq != 1 || *e.ID != id || *e.Sender != "ann" {
		t.Errorf("event %+v", b)
	}
	if !strings.HasSuffix(b.data, `,"payload":{"a": 1.00, "a":"ü<\u0041"}}`) {
		t.Errorf("the payload isn't what was published: %s", b.data)
	}
	if at, err := time.Parse("2006-01-02T15:04:05.000000Z", e.At); err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("at %q: %v", e.At, err)
	}
	if position, err := trunkline.ParsePosition(b.id); err != nil || position != s.engine.State().Log {
		t.Errorf("id %q, the log is at %s", b.id, s.engine.State().Log)
	}
}

func TestStreamWithoutSenderSaysNull(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	if _, err := s.engine.Publish(t.Context(), trunkline.Publication{Channel: "news", Payload: []byte("null")}); err != nil {
		t.Fatal(err)
	}
	if b := c.event(t); !strings.HasSuffix(b.data, `"sender":null,"payload":null}`) {
		t.Errorf("data %s", b.data)
	}
}

func TestStreamNeverHearsARollback(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	tx, err := s.engine.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trunkline.PublishTx(t.Context(), tx, trunkline.Publication{Channel: "news", Payload: []byte(`"never"`)}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.publish(t, "news", `"after"`)
	if e := c.event(t).decode(t); string(e.Payload) != `"after"` || *e.Seq != 1 {
		t.Errorf("heard %s as seq %d", e.Payload, *e.Seq)
	}
}

func TestStreamResumesWithExactlyWhatWasMissed(t *testing.T) {
	s := newService(t)
	for _, how := range []string{"header", "since", "header wins"} {
		t.Run(how, func(t *testing.T) {
			channel := "news:" + how
			c, first := s.open(t, channels(channel), "")
			s.publish(t, channel, "1")
			c.event(t)
			c.response.Body.Close()
			for i := 2; i <= 5; i++ {
				s.publish(t, channel, fmt.Sprint(i))
				s.publish(t, "other", "0")
			}
			query, header := channels(channel), c.lastID
			switch how {
			case "since":
				query, header = query+"&since="+c.lastID, ""
			case "header wins":
				query += "&since=" + first.id
			}
			again, _ := s.open(t, query, header)
			s.publish(t, channel, "6")
			for i := 2; i <= 6; i++ {
				if e := again.event(t).decode(t); string(e.Payload) != fmt.Sprint(i) || *e.Seq != int64(i) {
					t.Fatalf("message %d is %s with seq %d", i, e.Payload, *e.Seq)
				}
			}
		})
	}
}

func TestStreamResumesWhereNothingWasReceivedYet(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	c.response.Body.Close()
	s.publish(t, "news", "1")
	again, _ := s.open(t, channels("news"), c.lastID)
	if e := again.event(t).decode(t); *e.Seq != 1 {
		t.Errorf("seq %d", *e.Seq)
	}
}

func TestStreamFromTheBeginning(t *testing.T) {
	s := newService(t)
	for i := range 3000 {
		s.publishMany(t, "news", i)
	}
	c, first := s.open(t, channels("news")+"&from=beginning", "")
	if first.hasID {
		t.Errorf("the first block has the id %q, though nothing of the beginning was sent", first.id)
	}
	for i := range 3000 {
		if e := c.event(t).decode(t); *e.Seq != int64(i+1) {
			t.Fatalf("message %d has seq %d", i, *e.Seq)
		}
	}
	s.publish(t, "news", `"live"`)
	if e := c.event(t).decode(t); string(e.Payload) != `"live"` {
		t.Errorf("then came %s", e.Payload)
	}
}

// publishMany publishes every 1000th time, so that numbers 0 to n arrive in transactions of 1000.
func (s *service) publishMany(t *testing.T, channel string, i int) {
	t.Helper()
	if i%1000 != 0 {
		return
	}
	many := make([]trunkline.Publication, 1000)
	for j := range many {
		many[j] = trunkline.Publication{Channel: channel, Payload: fmt.Append(nil, i+j)}
	}
	if _, err := s.engine.PublishMany(t.Context(), many); err != nil {
		t.Fatal(err)
	}
}

func TestStreamOfManyChannelsKeepsTheLogsOrder(t *testing.T) {
	s := newService(t)
	names := make([]string, maxChannels)
	for i := range names {
		names[i] = fmt.Sprintf("room:%d", i)
	}
	c, _ := s.open(t, channels(names...), "")
	s.publish(t, "elsewhere", "0")
	var ids []int64
	for i := range 2 * maxChannels {
		ids = append(ids, s.publish(t, names[(i*7)%maxChannels], fmt.Sprint(i)))
	}
	for i, id := range ids {
		if e := c.event(t).decode(t); *e.ID != id || e.Channel != names[(i*7)%maxChannels] {
			t.Fatalf("event %d is message %d of %s, want %d", i, *e.ID, e.Channel, id)
		}
	}
}

func TestStreamCarriesSignalsWithoutAnID(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{Open: true}, "raw")
	c, first := s.open(t, channels("news", "raw"), "")
	if _, err := s.engine.Signal(t.Context(), trunkline.Publication{Channel: "news", Payload: []byte(`{"typing":true}`), Sender: "bob"}); err != nil {
		t.Fatal(err)
	}
	b := c.event(t)
	if e := b.decode(t); b.event != "signal" || b.hasID || e.Seq != nil || e.ID != nil || *e.Sender != "bob" || string(e.Payload) != `{"typing":true}` {
		t.Errorf("signal %+v", b)
	}
	if _, err := s.engine.Pool().Exec(t.Context(), "SELECT pg_notify('raw', '{\"id\":7}')"); err != nil {
		t.Fatal(err)
	}
	b = c.event(t)
	if e := b.decode(t); b.event != "signal" || e.Channel != "raw" || string(e.Payload) != `{"id":7}` {
		t.Errorf("bridged %+v", b)
	}
	if c.lastID != first.id {
		t.Errorf("signals moved the resume point from %s to %s", first.id, c.lastID)
	}
}

func TestStreamWritesLineEndsOfAPayloadAsSpaces(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	s.publish(t, "news", "{\r\n\t\"a\":\n1,\r\"b\" : \"x\\r\\ny\"}\n")
	b := c.event(t)
	if want := "\"payload\":{  \t\"a\": 1, \"b\" : \"x\\r\\ny\"} }"; !strings.HasSuffix(b.data, want) {
		t.Errorf("data %q, want it to end with %q", b.data, want)
	}
	b.decode(t)
}

func TestStreamCarriesALargePayload(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	text := strings.Repeat("x", 1<<20-2)
	s.publish(t, "news", `"`+text+`"`)
	s.publish(t, "news", "2")
	if e := c.event(t).decode(t); len(e.Payload) != 1<<20 {
		t.Errorf("payload of %d bytes", len(e.Payload))
	}
	if e := c.event(t).decode(t); *e.Seq != 2 {
		t.Errorf("then seq %d", *e.Seq)
	}
}

func TestStreamResetsWhatCannotBeResumed(t *testing.T) {
	s := newService(t)
	follower, _ := s.open(t, channels("news"), "")
	for i := 1; i <= 3; i++ {
		s.publish(t, "news", fmt.Sprint(i))
		follower.event(t)
	}
	epoch := s.engine.State().Log.Epoch
	for _, test := range []struct{ name, since, reason string }{
		{"an epoch of another log", "0123456789ab:2", "epoch"},
		{"a position nobody was given", epoch + ":4000", "beyond"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := s.open(t, channels("news"), test.since)
			b := c.firstReset(t)
			var data reset
			if err := json.Unmarshal([]byte(b.data), &data); err != nil {
				t.Fatal(err)
			}
			now := s.engine.State().Log.String()
			if data.Reason != test.reason || data.Epoch != epoch || data.Position != now || b.id != now || data.Detail == "" {
				t.Errorf("reset %+v", b)
			}
			c.ends(t)

			// An EventSource connects again with that id, and hears what comes next.
			again, _ := s.open(t, channels("news"), c.lastID)
			id := s.publish(t, "news", `"next"`)
			if e := again.event(t).decode(t); *e.ID != id {
				t.Errorf("after the reset came message %d, want %d", *e.ID, id)
			}
		})
	}
}

func TestStreamResetsWhereMessagesWereTrimmed(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	for i := 1; i <= 3; i++ {
		s.publish(t, "news", fmt.Sprint(i))
		c.event(t)
	}
	since := trunkline.Position{Epoch: s.engine.State().Log.Epoch, Position: 1}
	_, err := s.engine.Pool().Exec(t.Context(), `WITH gone AS (DELETE FROM trunkline.log WHERE position <= 2 RETURNING message_id),
		trimmed AS (UPDATE trunkline.channel SET trimmed_seq = 2, trimmed_position = 2 WHERE name = 'news')
		DELETE FROM trunkline.message WHERE id IN (SELECT message_id FROM gone)`)
	if err != nil {
		t.Fatal(err)
	}
	// Another node, without memory of what is gone.
	other := serve(t, s.engine.Pool().Config().ConnString(), Options{Open: true})
	late, _ := other.open(t, channels("news"), since.String())
	if b := late.firstReset(t); !strings.Contains(b.data, `"reason":"trimmed"`) {
		t.Errorf("reset %+v", b)
	}
	late.ends(t)
	whole, _ := other.open(t, channels("news")+"&from=beginning", "")
	if e := whole.event(t).decode(t); *e.Seq != 3 {
		t.Errorf("from the beginning came seq %d", *e.Seq)
	}
}

func (c *client) firstReset(t *testing.T) block {
	t.Helper()
	b := c.currentOr(t)
	if b.event != "reset" {
		t.Fatalf("event %+v, want a reset", b)
	}
	return b
}

// currentOr returns the next event, given that open has read the first block, which may be it.
func (c *client) currentOr(t *testing.T) block {
	t.Helper()
	if c.opened.data != "" {
		return c.opened
	}
	return c.event(t)
}

func TestStreamHeartbeatMovesTheResumePoint(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{Open: true, Heartbeat: 50 * time.Millisecond})
	c, first := s.open(t, channels("quiet"), "")
	b := c.block(t)
	if b.comment == "" || b.id != first.id || b.data != "" || b.event != "" {
		t.Errorf("heartbeat %+v", b)
	}
	s.publish(t, "busy", "1")
	for b.id == first.id {
		b = c.block(t)
	}
	if b.id != s.engine.State().Log.String() || b.data != "" {
		t.Errorf("heartbeat %+v, the log is at %s", b, s.engine.State().Log)
	}
	s.publish(t, "quiet", "2")
	if e := c.event(t).decode(t); *e.Seq != 1 {
		t.Errorf("then seq %d", *e.Seq)
	}
}

func TestStreamEndsWithTheEngine(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	stop(t, s.engine)
	c.ends(t)
	response, err := s.server.Client().Get(s.server.URL + "/v1/stream?channel=news")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("afterwards: status %d", response.StatusCode)
	}
}

func TestStreamEndsWithTheServer(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, channels("news"), "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.server.Config.Shutdown(ctx); err != nil {
		t.Fatalf("shutdown hangs: %v", err)
	}
	c.ends(t)
}

func TestStreamDropsAStalledReader(t *testing.T) {
	t.Parallel() // it mostly waits
	// Long enough that a healthy reader makes it on a machine that stands still for a while.
	s := serve(t, pgtest.Database(t), Options{Open: true, WriteTimeout: 6 * time.Second})
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /v1/stream?channel=news HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	// Nothing more is read. A healthy reader beside it gets everything.
	c, _ := s.open(t, channels("news"), "")
	publish := func(seq int64, payload string) {
		t.Helper()
		s.publish(t, "news", payload)
		if e := c.event(t).decode(t); *e.Seq != seq {
			t.Fatalf("the healthy reader got seq %d, want %d", *e.Seq, seq)
		}
	}
	const many = 24 // 12 MB: more than fits in between, and less than a subscription's queue
	for seq := range int64(many) {
		publish(seq+1, `"`+strings.Repeat("x", 500_000)+`"`)
	}
	select {
	case err := <-s.ended:
		if !errors.Is(err, errWrite) {
			t.Errorf("the stalled stream ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("12 MB went into a stalled connection")
	}
	publish(many+1, `"after"`)
	if n := s.handler.streams.Load(); n != 1 {
		t.Errorf("%d streams are open, want 1", n)
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for _, opts := range []Options{{Heartbeat: time.Hour}, {WriteTimeout: -1}, {Retry: time.Millisecond}, {Limits: Limits{Connections: -1}}} {
		if err := opts.withDefaults().validate(); err == nil {
			t.Errorf("%+v is taken", opts)
		}
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("no engine is taken")
	}
}
