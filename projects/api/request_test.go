package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
)

// A page of another site can't have a browser do anything in its user's name.
func TestCrossSiteRequestsAreRefused(t *testing.T) {
	c := newCast(t)
	w := c.newWorld()
	public, err := url.Parse("https://projects.example.org")
	if err != nil {
		t.Fatal(err)
	}
	c.handle(Options{Public: public})
	before := c.dump()
	lead := c.callers["lead"]
	own := c.server.URL
	for name, try := range map[string]struct {
		header http.Header
		want   int
	}{
		"of another host":              {http.Header{"Origin": {"https://evil.example"}}, 403},
		"of another port":              {http.Header{"Origin": {"http://127.0.0.1:1"}}, 403},
		"without an origin of its own": {http.Header{"Origin": {"null"}}, 403},
		"as the browser says":          {http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"of a sibling":                 {http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		"that lies about its origin":   {http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {own}}, 403},
		"with a form":                  {http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415},
		"with a form with files":       {http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, 415},
		"with plain text":              {http.Header{"Content-Type": {"text/plain"}}, 415},
		"with another kind of JSON":    {http.Header{"Content-Type": {"text/plain; application/json"}}, 415},
		"that doesn't say with what":   {http.Header{"Content-Type": {""}}, 415},
		"with a file":                  {http.Header{"Content-Type": {"application/octet-stream"}}, 415},
	} {
		lead.header = try.header
		for _, request := range [][3]string{
			{"POST", "/api/projects/{project}/tasks", `{"title":"Forged"}`},
			{"PATCH", "/api/projects/{project}", `{"name":"Forged"}`},
			{"DELETE", "/api/projects/{project}", `{}`},
			{"POST", "/api/session", `{"email":"a@example.com","password":"x"}`},
			{"POST", "/api/me/password", `{"current":"","new":"forged password"}`},
		} {
			if got := lead.do(request[0], w.fill(request[1]), request[2]); got.status != try.want {
				t.Errorf("a page %s: %s %s: status %d: %s", name, request[0], request[1], got.status, got.body)
			} else {
				got.problem(try.want)
			}
		}
		if diff := cmp.Diff(before, c.dump()); diff != "" {
			t.Fatalf("a page %s has changed:\n%s", name, diff)
		}
	}
	for name, header := range map[string]http.Header{
		"the page itself":          {"Sec-Fetch-Site": {"same-origin"}, "Origin": {own}},
		"the page behind a proxy":  {"Origin": {"https://projects.example.org"}},
		"an older browser":         {"Origin": {own}},
		"a program":                {},
		"a link, which only reads": {"Sec-Fetch-Site": {"cross-site"}},
	} {
		lead.header = header
		if name == "a link, which only reads" {
			lead.do("GET", w.fill("/api/projects/{project}"), nil).is(200)
			continue
		}
		if got := lead.do("POST", w.fill("/api/projects/{project}/tasks"), `{"title":"Own"}`); got.status != 201 {
			t.Errorf("%s: status %d: %s", name, got.status, got.body)
		}
	}
}

func TestRequestsThatCantBeRead(t *testing.T) {
	c := newCast(t)
	w := c.newWorld()
	lead := c.callers["lead"]
	for _, try := range []struct {
		method, path, body string
		want               int
		location           string
	}{
		{"POST", "/api/projects/{project}/tasks", `{"title":`, 400, ""},
		{"POST", "/api/projects/{project}/tasks", ``, 400, ""},
		{"POST", "/api/projects/{project}/tasks", `[]`, 422, "body"},
		{"POST", "/api/projects/{project}/tasks", `{"title":7}`, 422, "body.title"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","size":"big"}`, 422, "body.size"},
		{"POST", "/api/projects/{project}/tasks", `{"title":" "}`, 422, "body.title"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","due_on":"soon"}`, 422, "body.due_on"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","milestone_id":1e300}`, 422, "body.milestone_id"},
		{"POST", "/api/demo/session", `{"person_id":99999999999999999999}`, 422, "body.person_id"},
		{"POST", "/api/projects", `{"name":"` + strings.Repeat("x", bodyBytes) + `"}`, 413, ""},
		{"GET", "/api/projects/x", ``, 404, ""},
		{"GET", "/api/projects/99999999999999999999", ``, 404, ""},
		{"GET", "/api/projects/-1", ``, 404, ""},
		{"GET", "/api/overview?project=x", ``, 422, "query.project"},
		{"GET", "/api/overview?projekt=1", ``, 422, "query.projekt"},
		{"GET", "/api/nothing", ``, 404, ""},
		{"GET", "/api/", ``, 404, ""},
		{"PUT", "/api/me", `{}`, 405, ""},
		{"POST", "/api/me/password", `{"current":null,"new":"x"}`, 422, "body.current"},
		{"PATCH", "/api/me", `{"name":null}`, 422, "body.name"},
		{"DELETE", "/api/sessions/%00", ``, 404, ""},
		{"POST", "/api/projects/{project}/tasks", `null`, 422, "body"},
		{"POST", "/api/projects/{project}/tasks", `{}`, 422, "body.title"},
		{"POST", "/api/projects/{project}/tasks", "\ufeff{}", 400, "body"},
		{"POST", "/api/projects/{project}/tasks", strings.Repeat("[", 20_000), 400, "body"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","assignee_id":1.5}`, 422, "body.assignee_id"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","due_on":"2026-02-30"}`, 422, "body.due_on"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","due_on":"\u0000infinity"}`, 422, "body.due_on"},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","key":""}`, 422, "body.key"},
		{"GET", "/api/projects/{project}/audit?before=9223372036854775807", ``, 200, ""},
		{"GET", "/api/projects/{project}/audit?before=99999999999999999999", ``, 422, "query.before"},
		{"GET", "/api/projects/{project}/audit?limit=0", ``, 422, "query.limit"},
		{"GET", "/api/conversations/{conversation}/messages?before=5&after=3", ``, 422, "query.before"},
		{"GET", "/api/search?q=" + strings.Repeat("x", 300), ``, 422, "query.q"},
		{"GET", "/api/search", ``, 422, "query.q"},
	} {
		var body any
		if try.body != "" || try.method == "POST" {
			body = w.fill(try.body)
		}
		got := lead.do(try.method, w.fill(try.path), body)
		if got.status != try.want {
			t.Errorf("%s %s %.60s: status %d instead of %d: %s", try.method, try.path, try.body, got.status, try.want, got.body)
			continue
		}
		if try.want == 200 {
			continue
		}
		p := got.problem(try.want)
		for _, word := range []string{"Go ", "json:", "expected ", "invalid ", "unexpected ", "\\u0000"} {
			if strings.Contains(string(got.body), word) {
				t.Errorf("%s %s %.60s: words of the program's: %s", try.method, try.path, try.body, got.body)
			}
		}
		if try.location != "" && (len(p.Errors) == 0 || p.Errors[0].Location != try.location || p.Errors[0].Message == "") {
			t.Errorf("%s %s %.60s: errors %+v", try.method, try.path, try.body, p.Errors)
		}
	}
	if allow := lead.do("PUT", "/api/me", `{}`).header.Get("Allow"); !strings.Contains(allow, "PATCH") {
		t.Errorf("what is allowed: %q", allow)
	}
	file := strings.Repeat("x", int(c.store.Limits().AttachmentBytes)+1)
	lead.do("POST", w.fill("/api/conversations/{conversation}/attachments?name=a.txt"), []byte(file)).problem(413)
}

func TestRequestIDs(t *testing.T) {
	n := newNode(t)
	c := n.stranger()
	for given, kept := range map[string]bool{"abc-1.2_Z": true, "": false, "a b": false, strings.Repeat("x", 65): false, "a\"b": false} {
		c.header.Set("X-Request-Id", given)
		got := c.do("GET", "/api/me", nil)
		if id := got.header.Get("X-Request-Id"); (id == given) != kept || id == "" {
			t.Errorf("%q becomes %q", given, id)
		}
		got.problem(401)
	}
}

func TestProblems(t *testing.T) {
	for _, try := range []struct {
		err    error
		status int
		detail string
		retry  string
	}{
		{projects.ErrNotFound, 404, "isn't there", ""},
		{fmt.Errorf("a task: %w", projects.ErrNotFound), 404, "isn't there", ""},
		{&projects.ForbiddenError{Sentence: "Only leads do."}, 403, "Only leads do.", ""},
		{&projects.InvalidError{Field: "title", Problem: "It is empty."}, 422, "It is empty.", ""},
		{&projects.ConflictError{Sentence: "It has changed."}, 409, "It has changed.", ""},
		{&projects.GoneError{Sentence: "It has expired."}, 410, "It has expired.", ""},
		{&projects.LimitError{Sentence: "Too often.", RetryAfter: 7}, 429, "Too often.", "7"},
		{&projects.LimitError{Sentence: "Too many."}, 429, "Too many.", ""},
		{account.ErrNoSession, 401, "signed in", ""},
		{&account.CredentialsError{Sentence: "Not together."}, 401, "Not together.", ""},
		{&pgconn.PgError{Code: "57P01", Message: "secret"}, 503, "Try again", "2"},
		{&pgconn.PgError{Code: "23502", Message: "secret"}, 500, "failed", ""},
		{errors.New("secret"), 500, "failed", ""},
	} {
		var a *api
		var p *problem
		if !errors.As(a.problem(try.err), &p) || p.Status != try.status || !strings.Contains(p.Detail, try.detail) || p.header.Get("Retry-After") != try.retry {
			t.Errorf("%v: %+v", try.err, p)
			continue
		}
		if strings.Contains(string(jsonOf(p)), "secret") {
			t.Errorf("%v is told: %s", try.err, jsonOf(p))
		}
	}
	p := asProblem(&projects.InvalidError{Field: "title", Problem: "It is empty."})
	if diff := cmp.Diff([]fault{{"body.title", "It is empty."}}, p.Errors); diff != "" {
		t.Error(diff)
	}
}

// What goes wrong in the server stands in its log with the request's name, and only there.
func TestFailuresAreLogged(t *testing.T) {
	n := newNode(t)
	h, ok := n.handler.(*api)
	if !ok {
		t.Fatal("another handler")
	}
	failing := func(path string, fail func() error) {
		register(h, huma.Operation{OperationID: strings.TrimPrefix(path, "/api/"), Method: http.MethodGet, Path: path, Metadata: open},
			func(context.Context, *struct{}) (*nothing, error) { return nil, fail() })
	}
	failing("/api/fail", func() error { return errors.New("the secret cause") })
	failing("/api/panic", func() error { panic("the secret cause") })
	register(h, huma.Operation{OperationID: "panic-of", Method: http.MethodGet, Path: "/api/panic/{token}", Metadata: open},
		func(context.Context, *byToken) (*nothing, error) { panic("at a link") })
	failing("/api/conflict", func() error { return &projects.ConflictError{Sentence: "It has changed."} })
	c := n.stranger()
	for path, status := range map[string]int{"/api/fail": 500, "/api/panic": 500, "/api/conflict": 409} {
		got := c.do("GET", path, nil)
		p := got.problem(status)
		if strings.Contains(string(got.body), "secret") {
			t.Errorf("%s tells %s", path, got.body)
		}
		if logged := strings.Contains(n.log.String(), p.RequestID); logged != (status == 500) {
			t.Errorf("%s: logged %v: %s", path, logged, n.log)
		}
	}
	c.do("GET", "/api/panic/token-of-a-link", nil).problem(500)
	if log := n.log.String(); !strings.Contains(log, "/api/panic/{token}") || strings.Contains(log, "token-of-a-link") {
		t.Errorf("the log names the path, which holds a secret: %s", log)
	}
	if strings.Count(n.log.String(), "the secret cause") < 2 {
		t.Errorf("the log: %s", n.log)
	}
}

func TestDescription(t *testing.T) {
	n := newNode(t)
	c := n.stranger()
	var description struct {
		OpenAPI    string `json:"openapi"`
		Paths      map[string]any
		Components struct {
			SecuritySchemes map[string]struct{ Type, In, Name string } `json:"securitySchemes"`
			Schemas         map[string]any
		}
	}
	c.do("GET", "/api/openapi.json", nil).is(200).into(&description)
	if description.OpenAPI != "3.1.0" || description.Components.SecuritySchemes["session"].Name != "session" || description.Components.Schemas["Problem"] == nil {
		t.Errorf("the description: %+v", description)
	}
	page := c.do("GET", "/api/docs", nil).is(200)
	text := string(page.body)
	for path := range description.Paths {
		if !strings.Contains(text, path) {
			t.Errorf("%s isn't on the page", path)
		}
	}
	for _, foreign := range []string{"http://", "https://", "<script", "src="} {
		if strings.Contains(text, foreign) {
			t.Errorf("the page contains %q", foreign)
		}
	}
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "sha256-") {
		t.Errorf("its policy is %q", policy)
	}
	if got := c.do("GET", "/api/me", nil); got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.header)
	}
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, try := range []struct {
		peer   string
		header []string
		want   string
	}{
		{"192.0.2.7:4711", nil, "192.0.2.7"},
		{"192.0.2.7:4711", []string{"198.51.100.1"}, "192.0.2.7"},
		{"10.0.0.1:80", nil, "10.0.0.1"},
		{"10.0.0.1:80", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:80", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:80", []string{"203.0.113.9, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.1:80", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:80", []string{"garbage, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:80", []string{"garbage"}, "10.0.0.1"},
		{"[fd00::1]:80", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"10.0.0.1:80", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"@", []string{"198.51.100.1"}, "invalid IP"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", http.NoBody)
		r.RemoteAddr = try.peer
		r.Header["X-Forwarded-For"] = try.header
		if got := clientAddress(r, trusted).String(); got != try.want {
			t.Errorf("%s with %q: %s instead of %s", try.peer, try.header, got, try.want)
		}
	}
}
