package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPublishAndHistoryKeepThePayloadByteForByte(t *testing.T) {
	s := newService(t)
	payloads := []string{`{"a": 1.00 ,"a":"ü<A>"}`, `1e999`, `123456789012345678901234567890`, "[\r\n1 ,\t2]", `"\/&<>"`, `null`}
	for i, payload := range payloads {
		a := s.ask(t, http.MethodPost, "/v1/publish", `{"sender":"bob", "channel":"news", "payload": `+payload+` }`)
		if a.status != http.StatusOK || !bytes.HasPrefix(a.body, []byte(`{"ids":[`)) {
			t.Fatalf("%s: status %d: %s", payload, a.status, a.body)
		}
		s.sequenced(t, "news", int64(i+1))
	}
	a := s.ask(t, http.MethodGet, "/v1/history?channel=news", "")
	for i, payload := range payloads {
		if !bytes.Contains(a.body, []byte(`,"sender":"bob","payload":`+payload+`}`)) {
			t.Errorf("payload %d, %s, isn't in %s", i, payload, a.body)
		}
	}
	if !json.Valid(a.body) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer is no JSON, or may be stored: %v", a.header)
	}
}

func TestPublishABatchIsAllOrNothing(t *testing.T) {
	s := newService(t)
	a := s.ask(t, http.MethodPost, "/v1/publish", `{"messages":[{"channel":"a","payload":1},{"channel":"b","payload":2},{"channel":"a","payload":3}]}`)
	var out struct{ IDs []int64 }
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK || len(out.IDs) != 3 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	s.sequenced(t, "a", 2)
	s.sequenced(t, "b", 1)
	a = s.ask(t, http.MethodPost, "/v1/publish", `{"messages":[{"channel":"c","payload":1},{"channel":"","payload":2}]}`)
	if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, "message 1") {
		t.Errorf("%+v", p)
	}
	a = s.ask(t, http.MethodPost, "/v1/publish", `{"messages":[{"channel":"c","payload":1},{"channel":"c","payload":2,"sender":"`+strings.Repeat("x", 300)+`"}]}`)
	if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, "sender") {
		t.Errorf("%+v", p)
	}
	s.publish(t, "after", "1")
	s.sequenced(t, "after", 1)
	if page, err := s.engine.History(t.Context(), "c", 0, 1); err != nil || page.LastSeq != 0 {
		t.Errorf("some of a bad batch was published: %+v, %v", page, err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := newService(t)
	one, many := `{"channel":"a","payload":1}`, `{"messages":[{"channel":"a","payload":1},{"channel":"a","payload":2}]}`
	for name, body := range map[string]string{"one": one, "many": many} {
		first := s.ask(t, http.MethodPost, "/v1/publish", body, "Idempotency-Key: "+name)
		again := s.ask(t, http.MethodPost, "/v1/publish", body, "Idempotency-Key: "+name)
		if first.status != http.StatusOK || !bytes.Equal(first.body, again.body) {
			t.Errorf("%s: %s, then %d %s", name, first.body, again.status, again.body)
		}
	}
	s.sequenced(t, "a", 3)
	a := s.ask(t, http.MethodPost, "/v1/publish", `{"channel":"a","payload":2}`, "Idempotency-Key: one")
	if p := a.problem(t); a.status != http.StatusConflict || !strings.Contains(p.Detail, `"one"`) || !strings.Contains(p.Detail, `"a"`) {
		t.Errorf("another payload: %+v", p)
	}
	a = s.ask(t, http.MethodPost, "/v1/publish", `{"channel":"a","payload":3,"key":"x"}`, "Idempotency-Key: y")
	if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, "one of them") {
		t.Errorf("two keys: %+v", p)
	}
}

func TestHistoryGoesBothWays(t *testing.T) {
	s := newService(t)
	s.publishMany(t, "news", 0)
	s.sequenced(t, "news", 1000)
	for _, test := range []struct {
		query       string
		first, last int64
	}{
		{"&limit=400", 1, 1000}, {"&after=700&limit=97", 701, 1000}, {"&before=0&limit=400", 1000, 1}, {"&before=300&limit=300", 299, 1},
	} {
		step, at := int64(1), test.first
		if test.last < test.first {
			step = -1
		}
		pages := 0
		for path := "/v1/history?channel=news" + test.query; path != ""; pages++ {
			var page historyAnswer
			s.get(t, path, &page)
			if page.Channel != "news" || page.Epoch != s.engine.State().Log.Epoch || page.FirstSeq != 1 || page.LastSeq != 1000 {
				t.Fatalf("%s: %+v", path, page)
			}
			for _, m := range page.Messages {
				if *m.Seq != at || string(m.Payload) != fmt.Sprint(at-1) {
					t.Fatalf("%s: seq %d with %s, want %d", path, *m.Seq, m.Payload, at)
				}
				at += step
			}
			path = page.Next
		}
		if at != test.last+step || pages < 1 {
			t.Errorf("%s: it ends before %d after %d pages", test.query, at, pages)
		}
	}
	var page, back historyAnswer
	s.get(t, "/v1/history?channel=news&after=500&limit=10", &page)
	s.get(t, page.Prev, &back)
	if len(back.Messages) != 10 || *back.Messages[0].Seq != 500 {
		t.Errorf("prev leads to %+v", back)
	}
	if a := s.ask(t, http.MethodGet, "/v1/history?channel=news&limit=1", ""); !strings.Contains(a.header.Get("Link"), `rel="next"`) {
		t.Errorf("Link: %q", a.header.Get("Link"))
	}
	var empty historyAnswer
	s.get(t, "/v1/history?channel=never", &empty)
	if empty.Messages == nil || len(empty.Messages) != 0 || empty.Next != "" || empty.Prev != "" || empty.LastSeq != 0 || empty.FirstSeq != 1 {
		t.Errorf("a channel never used: %+v", empty)
	}
}

func TestHistoryLeadsIntoTheStream(t *testing.T) {
	s := newService(t)
	for i := 1; i <= 3; i++ {
		s.publish(t, "news", fmt.Sprint(i))
		s.publish(t, "other", "0")
	}
	s.sequenced(t, "news", 3)
	for _, query := range []string{"", "&before=0&limit=2"} {
		var page historyAnswer
		s.get(t, "/v1/history?channel=news"+query, &page)
		next := s.publish(t, "news", `"next"`)
		c, _ := s.open(t, channels("news")+"&since="+page.Position, "")
		if e := c.event(t).decode(t); *e.ID != next {
			t.Errorf("%q: the stream goes on with message %d, want %d", query, *e.ID, next)
		}
		c.response.Body.Close()
	}
}

func TestHistoryOfLargeMessagesComesInPieces(t *testing.T) {
	s := newService(t)
	payload := `"` + strings.Repeat("x", 900_000) + `"`
	for range 8 {
		s.publish(t, "news", payload)
	}
	s.sequenced(t, "news", 8)
	var page historyAnswer
	s.get(t, "/v1/history?channel=news&limit=1000", &page)
	seen := len(page.Messages)
	for page.Next != "" {
		if len(page.Messages) == 0 {
			t.Fatal("an empty page has a next one")
		}
		path := page.Next
		page = historyAnswer{}
		s.get(t, path, &page)
		seen += len(page.Messages)
	}
	if seen != 8 {
		t.Errorf("%d messages in all pages, want 8", seen)
	}
}

func TestChannels(t *testing.T) {
	s := newService(t)
	for _, name := range []string{"b:1", "a:1", "a:2", "a:ü", "a;", "a: 3"} {
		s.publish(t, name, "1")
		s.sequenced(t, name, 1)
	}
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"?prefix=a:", []string{"a: 3", "a:1", "a:2", "a:ü"}},
		{"?prefix=a%3A1", []string{"a:1"}},
		{"?after=a:2", []string{"a:ü", "a;", "b:1"}},
		{"?prefix=z", []string{}},
	} {
		for _, limit := range []int{1, 2, 100} {
			got := []string{}
			for path := fmt.Sprintf("/v1/channels%s&limit=%d", test.query, limit); path != ""; {
				var page struct {
					Channels []listedChannel
					Next     string
				}
				s.get(t, path, &page)
				for _, c := range page.Channels {
					got = append(got, c.Channel)
					if c.FirstSeq != 1 || c.LastSeq != 1 {
						t.Errorf("%+v", c)
					}
				}
				path = page.Next
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("%s by %d: %q, want %q", test.query, limit, got, test.want)
			}
		}
	}
	c, _ := s.open(t, channels("a:1", "a:2"), "")
	var one struct {
		Channel, Epoch string
		LastSeq        int64 `json:"last_seq"`
		Streams        int
		Namespace      struct{ Name string }
	}
	s.get(t, "/v1/channel?channel=a:1", &one)
	if one.Channel != "a:1" || one.LastSeq != 1 || one.Streams != 1 || one.Namespace.Name != "a" || one.Epoch != s.engine.State().Log.Epoch {
		t.Errorf("%+v", one)
	}
	c.response.Body.Close()
	s.until(t, "the stream has gone", func() bool { return s.handler.web.streams.following("a:1") == 0 })
}

func TestWhatRetentionHasLeftOfAChannel(t *testing.T) {
	s := newService(t)
	c, _ := s.open(t, "channel=a", "") // so that the node has the channel in memory, where nothing is ever too old
	for range 3 {
		s.publish(t, "a", "1")
		c.event(t)
	}
	var one struct {
		FirstSeq int64 `json:"first_seq"`
		LastSeq  int64 `json:"last_seq"`
	}
	if s.get(t, "/v1/channel?channel=a", &one); one.FirstSeq != 1 || one.LastSeq != 3 {
		t.Errorf("before: %+v", one)
	}
	s.sql(t, "INSERT INTO trunkline.namespace (name, retention) VALUES ('default', '1 s')")
	s.until(t, "all is removed", func() bool {
		s.get(t, "/v1/channel?channel=a", &one)
		return one.FirstSeq == 4 && one.LastSeq == 3
	})
	// An empty page, wherever it was to begin, leads to a stream that has what comes next, which is kept for long enough.
	s.sql(t, "UPDATE trunkline.namespace SET retention = '1 hour' WHERE name = 'default'")
	s.until(t, "the node knows it", func() bool { return s.engine.Namespace("a").Retention == time.Hour })
	var followers []*client
	for _, query := range []string{"", "&after=3", "&before=0"} {
		var page historyAnswer
		if s.get(t, "/v1/history?channel=a"+query, &page); len(page.Messages) != 0 {
			t.Fatalf("%q: %d messages", query, len(page.Messages))
		}
		follower, _ := s.open(t, "channel=a&since="+page.Position, "")
		followers = append(followers, follower)
	}
	id := s.publish(t, "a", "2")
	for i, follower := range followers {
		if b := follower.event(t); b.event != "message" || *b.decode(t).ID != id {
			t.Errorf("follower %d: %+v", i, b)
		}
	}
}

func TestNamespaces(t *testing.T) {
	s := newService(t)
	var set namespaceSettings
	a := s.ask(t, http.MethodPut, "/v1/namespaces/chat", `{"retention":86400,"publish":true,"conflate":0.25}`)
	if err := json.Unmarshal(a.body, &set); err != nil || a.status != http.StatusOK || set.Name != "chat" || set.Retention == nil || *set.Retention != 86400 || !*set.Publish || set.Conflate == nil || *set.Conflate != 0.25 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	s.until(t, "the node knows it", func() bool { return s.engine.Namespace("chat:1").Retention == 24*time.Hour })
	s.get(t, "/v1/namespaces/chat", &set)
	var all struct{ Namespaces []namespaceSettings }
	s.get(t, "/v1/namespaces", &all)
	if len(all.Namespaces) != 3 || all.Namespaces[0].Name != "chat" || all.Namespaces[1].Name != "inbox" || all.Namespaces[2].Name != "trunkline" {
		t.Errorf("%+v", all)
	}
	for _, test := range []struct{ method, path, body, says string }{
		{http.MethodPut, "chat", `{"retention":-1}`, "retention"},
		{http.MethodPut, "chat", `{"retention":0}`, "seconds, or leave it out"},
		{http.MethodPut, "chat", `{"ring":0}`, "messages, or leave it out"},
		{http.MethodPut, "chat", `{"authorize":"app.missing"}`, "app.missing"},
		{http.MethodPut, "chat", `{"name":"other"}`, "other"},
		{http.MethodPut, "chat", `{"retentoin":1}`, "retentoin"},
		{http.MethodPut, "a:b", `{}`, "a:b"},
		{http.MethodPut, "chat", `[1]`, "object"},
		{http.MethodPut, "chat", `{`, "JSON"},
	} {
		a := s.ask(t, test.method, "/v1/namespaces/"+test.path, test.body)
		if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, test.says) {
			t.Errorf("%s: %+v", test.body, p)
		}
	}
	if a := s.ask(t, http.MethodDelete, "/v1/namespaces/chat", ""); a.status != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if a := s.ask(t, method, "/v1/namespaces/chat", ""); a.status != http.StatusNotFound {
			t.Errorf("%s afterwards: status %d: %s", method, a.status, a.body)
		} else {
			a.problem(t)
		}
	}
}
