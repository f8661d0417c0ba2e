package server

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestRESTIsForThoseWhoMay(t *testing.T) {
	s := newGuarded(t, Limits{FailureRate: 1000})
	s.application(t)
	s.sql(t, `INSERT INTO app.member VALUES ('ann', 'room:1'), ('', 'room:lobby')`, `UPDATE trunkline.namespace SET publish = true WHERE name = 'room'`)
	s.until(t, "the node knows the namespace", func() bool { return s.engine.Namespace("room:1").Publish != nil })
	who := map[string]string{
		"nobody": "", "ann": token(t, "ann", ""), "bob": token(t, "bob", "pub,hst,prs", "room:2"), "nonsense": "nonsense",
		"publish": s.key(t, "publish"), "read": s.key(t, "read"), "admin": s.key(t, "admin"),
	}
	const (
		publish  = `POST /v1/publish {"channel":"%s","payload":1}`
		history  = `GET /v1/history?channel=%s `
		presence = `GET /v1/presence/stats?channel=%s `
		channel  = `GET /v1/channel?channel=%s `
	)
	for _, test := range []struct {
		who, what, channel string
		status             int
	}{
		{"ann", publish, "room:1", 200},
		{"ann", publish, "room:2", 403},
		{"bob", publish, "room:2", 200},
		{"bob", publish, "room:1", 403},
		{"nobody", publish, "room:lobby", 200},
		{"nobody", publish, "room:1", 403},
		{"nonsense", publish, "room:lobby", 401},
		{"publish", publish, "any:1", 200},
		{"read", publish, "room:1", 403},
		{"admin", publish, "any:1", 200},
		{"ann", history, "room:1", 200},
		{"ann", history, "room:2", 403},
		{"bob", history, "room:2", 200},
		{"publish", history, "room:1", 403},
		{"read", history, "any:1", 200},
		{"bob", presence, "room:2", 200},
		{"bob", presence, "room:1", 403},
		{"read", presence, "any:1", 200},
		{"read", channel, "any:1", 200},
		{"ann", channel, "room:1", 200},
		{"ann", channel, "room:2", 403},
		{"read", `GET /v1/channels `, "", 200},
		{"publish", `GET /v1/channels `, "", 403},
		{"ann", `GET /v1/channels `, "", 403},
		{"admin", `GET /v1/namespaces `, "", 200},
		{"read", `GET /v1/namespaces `, "", 403},
		{"ann", `GET /v1/namespaces/room `, "", 403},
		{"nobody", `GET /v1/namespaces `, "", 401},
		{"nobody", `PUT /v1/namespaces/room {}`, "", 401},
		{"ann", `PUT /v1/namespaces/room {}`, "", 403},
		{"ann", `DELETE /v1/namespaces/room `, "", 403},
		{"ann", `POST /v1/disconnect {"user":"bob"}`, "", 403},
		{"publish", `POST /v1/unsubscribe {"user":"bob","channel":"room:1"}`, "", 403},
		{"read", `POST /v1/revoke {"user":"bob"}`, "", 403},
		{"ann", `POST /v1/tokens/revoke {"user":"bob"}`, "", 403},
		{"admin", `POST /v1/disconnect {"user":"bob"}`, "", 204},
		{"admin", `POST /v1/unsubscribe {"user":"bob","channel":"room:1"}`, "", 204},
		{"admin", `POST /v1/tokens/revoke {"jti":"some"}`, "", 204},
		{"nobody", `GET /v1/docs `, "", 200},
		{"nonsense", `GET /v1/openapi.json `, "", 200},
	} {
		what := test.what
		if strings.Contains(what, "%s") {
			what = fmt.Sprintf(what, test.channel)
		}
		parts := strings.SplitN(what, " ", 3)
		header := []string{}
		if who[test.who] != "" {
			header = append(header, "Authorization: Bearer "+who[test.who])
		}
		a := s.ask(t, parts[0], parts[1], parts[2], header...)
		if a.status != test.status {
			t.Errorf("%s, %s: status %d, want %d: %s", test.who, what, a.status, test.status, a.body)
		}
		if a.status >= 400 {
			a.problem(t)
		}
	}
	// A user's messages carry the user.
	a := s.ask(t, http.MethodPost, "/v1/publish", `{"channel":"room:1","payload":1,"sender":"bob"}`, "Authorization: Bearer "+who["ann"])
	if p := a.problem(t); a.status != http.StatusForbidden || !strings.Contains(p.Detail, `"bob"`) {
		t.Errorf("%+v", p)
	}
	s.sequenced(t, "room:1", 1)
	var page historyAnswer
	s.get(t, "/v1/history?channel=room:1", &page, "X-API-Key: "+who["read"])
	if len(page.Messages) != 1 || *page.Messages[0].Sender != "ann" {
		t.Errorf("%+v", page.Messages)
	}
	// The name of the function is for those who may read everything.
	if a := s.ask(t, http.MethodGet, "/v1/channel?channel=room:1", "", "Authorization: Bearer "+who["ann"]); strings.Contains(string(a.body), "app.may") {
		t.Errorf("a user is told of the function: %s", a.body)
	}
}

func TestRequestsAreMetered(t *testing.T) {
	s := newGuarded(t, Limits{RequestRate: 0.1, PublishRate: 0.1}) // one at once
	s.stopClocks()
	ann, key := token(t, "ann", "hst,pub", "*"), s.key(t, "read", "publish")
	if a := s.ask(t, http.MethodGet, "/v1/history?channel=a", "", "Authorization: Bearer "+ann); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	a := s.ask(t, http.MethodGet, "/v1/history?channel=a", "", "Authorization: Bearer "+ann)
	if p := a.problem(t); a.status != http.StatusTooManyRequests || p.Limit != limitRequestRate || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %+v", a.status, p)
	}
	for range 5 {
		if a := s.ask(t, http.MethodPost, "/v1/publish", `{"channel":"a","payload":1}`, "X-API-Key: "+key); a.status != http.StatusOK {
			t.Errorf("a key: status %d: %s", a.status, a.body)
		}
	}
}

func TestPublishingIsMeteredByUserAndNamespace(t *testing.T) {
	s := newGuarded(t, Limits{PublishRate: 0.1}) // one at once, or a batch, and then a debt
	s.stopClocks()
	s.sql(t, `INSERT INTO trunkline.namespace (name, publish_rate) VALUES ('fast', 1000)`)
	s.until(t, "the node knows the namespace", func() bool { return s.engine.Namespace("fast:1").PublishRate != 0 })
	publish := func(user, channel string, n int) *answer {
		body := `{"messages":[` + strings.Repeat(`{"channel":"`+channel+`","payload":1},`, n-1) + `{"channel":"` + channel + `","payload":1}]}`
		return s.ask(t, http.MethodPost, "/v1/publish", body, "Authorization: Bearer "+token(t, user, "pub", "*"))
	}
	for _, test := range []struct {
		user, channel string
		messages      int
		limit         string
	}{
		{"ann", "slow:1", 5, ""}, {"ann", "slow:2", 1, limitPublishRate}, {"ann", "other:1", 5, ""}, {"bob", "slow:1", 5, ""}, {"ann", "fast:1", 500, ""},
	} {
		a := publish(test.user, test.channel, test.messages)
		if test.limit == "" && a.status != http.StatusOK {
			t.Errorf("%+v: status %d: %s", test, a.status, a.body)
		}
		if test.limit != "" {
			if p := a.problem(t); a.status != http.StatusTooManyRequests || p.Limit != test.limit || a.header.Get("Retry-After") == "" {
				t.Errorf("%+v: status %d: %+v", test, a.status, p)
			}
		}
	}
}

func TestTooManyRequestsAtOnce(t *testing.T) {
	s := newService(t)
	for range maxRequests {
		s.handler.web.working <- struct{}{}
	}
	a := s.ask(t, http.MethodGet, "/v1/namespaces", "")
	if p := a.problem(t); a.status != http.StatusServiceUnavailable || p.Limit != limitRequestsAtOnce || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %+v", a.status, p)
	}
	<-s.handler.web.working
	if a := s.ask(t, http.MethodGet, "/v1/namespaces", ""); a.status != http.StatusOK {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}

// Bodies that don't come occupy no more than their share.
func TestOneAddressLeavesRoomForOthers(t *testing.T) {
	s := newGuarded(t, Limits{})
	ann, key := token(t, "ann", "pub,hst", "*"), s.key(t, "publish")
	for range maxRequestsPerAddress {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST /v1/publish HTTP/1.1\r\nHost: trunkline\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", ann)
		if err != nil {
			t.Fatal(err)
		}
	}
	s.until(t, "all are under way", func() bool {
		busy := s.handler.web.busy
		busy.mu.Lock()
		defer busy.mu.Unlock()
		under := 0
		for _, n := range busy.of {
			under += n
		}
		return under == maxRequestsPerAddress
	})
	a := s.ask(t, http.MethodGet, "/v1/history?channel=a", "", "Authorization: Bearer "+ann)
	if p := a.problem(t); a.status != http.StatusTooManyRequests || p.Limit != limitRequestsAtOnce || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %+v", a.status, p)
	}
	if a := s.ask(t, http.MethodPost, "/v1/publish", `{"channel":"a","payload":1}`, "X-API-Key: "+key); a.status != http.StatusOK {
		t.Errorf("a key: status %d: %s", a.status, a.body)
	}
	s.server.CloseClientConnections()
	s.until(t, "all are over", func() bool { return len(s.handler.web.working) == 0 })
	if a := s.ask(t, http.MethodGet, "/v1/history?channel=a", "", "Authorization: Bearer "+ann); a.status != http.StatusOK {
		t.Errorf("afterwards: status %d: %s", a.status, a.body)
	}
}

func TestOpenAPI(t *testing.T) {
	s := newService(t)
	a := s.ask(t, http.MethodGet, "/v1/openapi.json", "")
	var api struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Responses   map[string]struct{ Content map[string]any }
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(a.body, &api); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(api.OpenAPI, "3.1") || len(api.Paths) != 19 {
		t.Errorf("version %s with %d paths", api.OpenAPI, len(api.Paths))
	}
	for path, operations := range api.Paths {
		for method, o := range operations {
			if o.OperationID == "" || o.Responses["default"].Content["application/problem+json"] == nil {
				t.Errorf("%s %s says nothing of problems: %+v", method, path, o)
			}
		}
	}
	for _, match := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(string(a.body), -1) {
		if api.Components.Schemas[match[1]] == nil {
			t.Errorf("there is no schema %s", match[1])
		}
	}
	if a := s.ask(t, http.MethodGet, "/v1/openapi.yaml", ""); a.status != http.StatusOK || !strings.Contains(string(a.body), "/v1/publish") {
		t.Errorf("yaml: status %d", a.status)
	}
}

func TestDocsPageStandsByItself(t *testing.T) {
	s := newService(t)
	a := s.ask(t, http.MethodGet, "/v1/docs", "")
	page := string(a.body)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("status %d: %v", a.status, a.header)
	}
	if strings.Contains(page, "<script") || regexp.MustCompile(`(src|href)="[a-z]*:?//`).MatchString(page) {
		t.Error("the page loads something")
	}
	style := page[strings.Index(page, "<style>")+len("<style>") : strings.Index(page, "</style>")]
	sum := sha256.Sum256([]byte(style))
	if policy := a.header.Get("Content-Security-Policy"); !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("its own style is refused: %s", policy)
	}
	for _, part := range []string{
		"/v1/publish", "/v1/namespaces/{name}", "Idempotency-Key", "authorize_cache", "request_id", "payload", "{&#34;messages&#34;",
		"/v1/inbox/mark", "up_to_seq", "muted_groups", "/v1/notify", "dedupe_key",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("it doesn't mention %s", part)
		}
	}
	for _, link := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+link[1]+`"`) {
			t.Errorf("there is no %s", link[1])
		}
	}
}
