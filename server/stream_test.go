package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
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
	s := serve(t, pgtest.Database(t), Options{}, "raw")
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
	other := serve(t, s.engine.Pool().Config().ConnString(), Options{})
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
	s := serve(t, pgtest.Database(t), Options{Heartbeat: 50 * time.Millisecond})
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
	s := serve(t, pgtest.Database(t), Options{WriteTimeout: 100 * time.Millisecond})
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
	payload := `"` + strings.Repeat("x", 500_000) + `"`
	published := 0
	for ended := false; !ended; {
		s.publish(t, "news", payload)
		published++
		if e := c.event(t).decode(t); *e.Seq != int64(published) {
			t.Fatalf("the healthy reader got seq %d, want %d", *e.Seq, published)
		}
		select {
		case err := <-s.ended:
			ended = true
			if !errors.Is(err, errWrite) {
				t.Errorf("the stalled stream ended with %v", err)
			}
		default:
		}
		if published > 200 {
			t.Fatal("100 MB went into a stalled connection")
		}
	}
	if n := s.handler.streams.Load(); n != 1 {
		t.Errorf("%d streams are open, want 1", n)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{Limits: Limits{Connections: 2}})
	s.open(t, channels("a"), "")
	c, _ := s.open(t, channels("b"), "")
	status, p := s.problem(t, http.MethodGet, "/v1/stream?channel=c", nil)
	if status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "2 streams") {
		t.Errorf("status %d: %+v", status, p)
	}
	c.response.Body.Close()
	if err := <-s.ended; err == nil {
		t.Error("a stream that its client left ended without a reason")
	}
	s.open(t, channels("c"), "")
}

func TestStreamRefusesBadRequests(t *testing.T) {
	s := newService(t)
	many := make([]string, maxChannels+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, test := range []struct {
		name, query, header string
		says                []string
	}{
		{"no channel", "", "", []string{"no channel", "?channel=project:42&channel=news"}},
		{"an empty channel", "channel=", "", []string{"empty", "255 bytes"}},
		{"a long channel", channels(strings.Repeat("x", 256)), "", []string{"256 bytes", "255"}},
		{"a control character", channels("a\nb"), "", []string{`a\nb`, "control character"}},
		{"bytes that are no UTF-8", "channel=%ff", "", []string{"UTF-8"}},
		{"too many channels", channels(many...), "", []string{"101 channels", "100"}},
		{"a bad escape", "channel=%zz", "", []string{"%zz"}},
		{"an unknown parameter", "channel=a&chanel=b", "", []string{"chanel"}},
		{"a bare position", "channel=a&since=17", "", []string{`"17"`, "EPOCH:POSITION"}},
		{"an empty position", "channel=a&since=", "", []string{`""`, "EPOCH:POSITION"}},
		{"two positions", "channel=a&since=x:1&since=x:2", "", []string{"2 times"}},
		{"since and from", "channel=a&since=x:1&from=beginning", "", []string{"exclude"}},
		{"an unknown from", "channel=a&from=yesterday", "", []string{"yesterday", "beginning"}},
		{"a bad header", "channel=a", "nonsense", []string{"Last-Event-ID", "nonsense"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, p := s.problem(t, http.MethodGet, "/v1/stream?"+test.query, map[string]string{"Last-Event-ID": test.header})
			if status != http.StatusBadRequest || p.Status != status || p.Title == "" {
				t.Errorf("status %d: %+v", status, p)
			}
			for _, part := range test.says {
				if !strings.Contains(p.Detail, part) {
					t.Errorf("%q doesn't say %q", p.Detail, part)
				}
			}
		})
	}
}

func TestStreamRefusesOtherMethods(t *testing.T) {
	s := newService(t)
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodOptions, http.MethodDelete} {
		request := httptest.NewRequestWithContext(t.Context(), method, "http://localhost/v1/stream?channel=a", http.NoBody)
		request.RemoteAddr = "127.0.0.1:999"
		recorder := httptest.NewRecorder()
		s.handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusMethodNotAllowed || recorder.Header().Get("Allow") != "GET" {
			t.Errorf("%s: status %d, Allow %q", method, recorder.Code, recorder.Header().Get("Allow"))
		}
	}
}

func TestStreamsAreForThisMachineOnly(t *testing.T) {
	s := newService(t)
	for _, test := range []struct {
		name, peer, host, origin, forwarded string
		allowed                             bool
	}{
		{"curl", "127.0.0.1:999", "127.0.0.1:8000", "", "", true},
		{"by name", "127.0.0.1:999", "localhost", "", "", true},
		{"IPv6", "[::1]:999", "[::1]:8000", "", "", true},
		{"IPv6 without port", "[::1]:999", "[::1]", "", "", true},
		{"a page of this machine", "127.0.0.1:999", "localhost:8000", "http://localhost:5173", "", true},
		{"another machine", "192.0.2.7:999", "localhost:8000", "", "", false},
		{"mapped", "[::ffff:192.0.2.7]:999", "localhost:8000", "", "", false},
		{"a rebound name", "127.0.0.1:999", "evil.example:8000", "", "", false},
		{"a name that begins like ours", "127.0.0.1:999", "localhost.evil.example", "", "", false},
		{"a number that isn't", "127.0.0.1:999", "127.0.0.1.evil.example", "", "", false},
		{"no host", "127.0.0.1:999", "", "", "", false},
		{"a foreign page", "127.0.0.1:999", "localhost:8000", "https://evil.example", "", false},
		{"a page without origin", "127.0.0.1:999", "localhost:8000", "null", "", false},
		{"through a proxy", "127.0.0.1:999", "127.0.0.1:8000", "", "192.0.2.7", false},
		{"a broken bracket", "127.0.0.1:999", "[::1", "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A bad parameter behind the check shows that it was passed.
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/stream", http.NoBody)
			request.RemoteAddr, request.Host = test.peer, test.host
			if test.origin != "" {
				request.Header.Set("Origin", test.origin)
			}
			if test.forwarded != "" {
				request.Header.Set("X-Forwarded-For", test.forwarded)
			}
			recorder := httptest.NewRecorder()
			s.handler.ServeHTTP(recorder, request)
			want := http.StatusForbidden
			if test.allowed {
				want = http.StatusBadRequest
			}
			if recorder.Code != want {
				t.Errorf("status %d, want %d: %s", recorder.Code, want, recorder.Body)
			}
			if got := recorder.Header().Get("Access-Control-Allow-Origin"); test.allowed && got != test.origin || !test.allowed && got != "" {
				t.Errorf("Access-Control-Allow-Origin: %q", got)
			}
			if got := recorder.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type: %q", got)
			}
		})
	}
}

// problem makes a request that is to fail.
func (s *service) problem(t *testing.T, method, path string, header map[string]string) (int, problem) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var p problem
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
	return response.StatusCode, p
}

func TestHealth(t *testing.T) {
	s := newService(t)
	s.open(t, channels("a"), "")
	response, err := s.server.Client().Get(s.server.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer health
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || answer.Status != "ok" || answer.Epoch == "" || !answer.Listen.Up || answer.Streams != 1 {
		t.Errorf("status %d: %+v", response.StatusCode, answer)
	}
}

func TestHealthBeforeTheStart(t *testing.T) {
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: "postgres://nobody@127.0.0.1:1/nothing"})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, engine)
	h, err := New(engine, Options{})
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", http.NoBody))
	if recorder.Code != http.StatusServiceUnavailable || !strings.Contains(recorder.Body.String(), `"starting"`) {
		t.Errorf("status %d: %s", recorder.Code, recorder.Body)
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

func FuzzParseStreamRequest(f *testing.F) {
	f.Add("channel=a&channel=b&since=1f0c6a9b2e44:17", "")
	f.Add("channel=project%3A42&from=beginning", "1f0c6a9b2e44:17")
	f.Add("channel=%ff;x=1", "\x00:1")
	f.Fuzz(func(t *testing.T, query, header string) {
		q, err := parseStreamRequest(query, header)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(q.channels) == 0 || len(q.channels) > maxChannels {
			t.Errorf("%d channels", len(q.channels))
		}
		if slices.ContainsFunc(q.channels, func(c string) bool { return trunkline.CheckChannel(c) != nil }) {
			t.Errorf("channels %q", q.channels)
		}
		if header != "" && q.since.String() != canonical(header) {
			t.Errorf("header %q gives %s", header, q.since)
		}
		if q.since.Position < 0 || (!q.since.IsZero() && q.since.Epoch == "") {
			t.Errorf("since %+v", q.since)
		}
	})
}

func canonical(position string) string {
	p, err := trunkline.ParsePosition(position)
	if err != nil {
		return "none"
	}
	return p.String()
}

func BenchmarkAppendEvent(b *testing.B) {
	m := &trunkline.Message{ID: 1, Channel: "project:42", Epoch: "1f0c6a9b2e44", Seq: 1, Position: 1, Payload: []byte(strings.Repeat(" ", 200)), CreatedAt: time.Now()}
	var buffer []byte
	for b.Loop() {
		buffer = appendEvent(buffer[:0], m)
	}
}
