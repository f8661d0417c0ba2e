package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestRESTRefusesBadRequests(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{Open: true, Limits: Limits{RequestBytes: 4096}})
	good := `{"channel":"a","payload":1}`
	for _, test := range []struct {
		name, method, path, body, header string
		status                           int
		says                             string
	}{
		{"nothing there", "GET", "/v1/nothing", "", "", 404, "/v1/docs"},
		{"nothing above", "GET", "/nothing", "", "", 404, "/v1/docs"},
		{"another method", "GET", "/v1/publish", "", "", 405, "POST"},
		{"another method of a stream", "POST", "/v1/stream?channel=a", good, "", 405, "GET"},
		{"another type", "POST", "/v1/publish", good, "Content-Type: text/plain", 415, "application/json"},
		{"a form", "POST", "/v1/publish", good, "Content-Type: application/x-www-form-urlencoded", 415, "application/json"},
		{"no type, for a body as JSON", "PUT", "/v1/namespaces/a", good, "Content-Type: nonsense/;", 415, "application/json"},
		{"a large body", "POST", "/v1/publish", `{"channel":"a","payload":"` + strings.Repeat("x", 5000) + `"}`, "", 413, "4096"},
		{"no body", "POST", "/v1/publish", "", "", 400, "body"},
		{"no JSON", "POST", "/v1/publish", "{", "", 400, "JSON"},
		{"a reserved channel", "POST", "/v1/publish", `{"channel":"trunkline:control","payload":1}`, "", 400, "trunkline"},
		{"a bad channel", "POST", "/v1/publish", `{"channel":"a\u0000","payload":1}`, "", 400, "control character"},
		{"a bad key", "POST", "/v1/publish", good, "Idempotency-Key: " + strings.Repeat("k", 256), 400, "key"},
		{"no channel", "GET", "/v1/history", "", "", 400, "channel"},
		{"an unknown parameter", "GET", "/v1/history?channel=a&limt=1", "", "", 400, "limt"},
		{"no number", "GET", "/v1/history?channel=a&limit=many", "", "", 400, "limit"},
		{"too many", "GET", "/v1/history?channel=a&limit=1001", "", "", 400, "1000"},
		{"none", "GET", "/v1/history?channel=a&limit=0", "", "", 400, "limit"},
		{"both ways", "GET", "/v1/history?channel=a&after=1&before=2", "", "", 400, "exclude"},
		{"a negative seq", "GET", "/v1/history?channel=a&after=-1", "", "", 400, "after"},
		{"a prefix with a control character", "GET", "/v1/channels?prefix=%00", "", "", 400, "prefix"},
		{"nobody", "POST", "/v1/disconnect", `{}`, "", 400, "user"},
		{"neither", "POST", "/v1/tokens/revoke", `{}`, "", 400, "jti"},
		{"both", "POST", "/v1/tokens/revoke", `{"jti":"x","user":"y"}`, "", 400, "jti"},
		{"a long URL", "GET", "/v1/history?channel=" + strings.Repeat("x", maxURL), "", "", 414, "98304"},
		{"a foreign page", "POST", "/v1/publish", good, "Origin: https://evil.example", 403, "evil.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := []string{}
			if test.header != "" {
				header = append(header, test.header)
			}
			a := s.ask(t, test.method, test.path, test.body, header...)
			if p := a.problem(t); a.status != test.status || !strings.Contains(p.Detail, test.says) {
				t.Errorf("status %d, %q; want %d and %q", a.status, p.Detail, test.status, test.says)
			}
			if test.status == http.StatusMethodNotAllowed && !strings.Contains(a.header.Get("Allow"), test.says) {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
		})
	}
}

func TestABodyThatDoesNotSayItsLengthIsBoundedToo(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{Open: true, Limits: Limits{RequestBytes: 4096}})
	for size, status := range map[int]int{4096: http.StatusOK, 4097: http.StatusRequestEntityTooLarge} {
		head, tail := `{"channel":"a","payload":"`, `"}`
		body := head + strings.Repeat("x", size-len(head)-len(tail)) + tail
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.server.URL+"/v1/publish", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
		response, err := s.server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%d bytes: status %d, want %d", size, response.StatusCode, status)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	s := newService(t)
	for _, given := range []string{"", "abc-1.2_3", "a b", "ü", strings.Repeat("x", 65), "a\tb"} {
		header := []string{}
		if given != "" {
			header = append(header, "X-Request-Id: "+given)
		}
		got := s.ask(t, http.MethodGet, "/v1/namespaces", "", header...).header.Get("X-Request-Id")
		if given == "abc-1.2_3" && got != given || given != "abc-1.2_3" && (got == given || !soundRequestID(got)) {
			t.Errorf("%q becomes %q", given, got)
		}
	}
}

func TestRESTWithoutItsDatabase(t *testing.T) {
	s := newService(t)
	stop(t, s.engine)
	for _, test := range []struct{ method, path, body string }{
		{http.MethodPost, "/v1/publish", `{"channel":"a","payload":1}`},
		{http.MethodPost, "/v1/publish", `{"messages":[{"channel":"a","payload":1}]}`},
		{http.MethodGet, "/v1/history?channel=a", ""},
		{http.MethodGet, "/v1/namespaces", ""},
	} {
		a := s.ask(t, test.method, test.path, test.body)
		if p := a.problem(t); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || strings.Contains(p.Detail, "pool") {
			t.Errorf("%s: status %d: %+v", test.path, a.status, p)
		}
	}
}
