package api

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A route is a request of the matrix, and what each caller gets for it.
type route struct {
	op   string // method and path as the description has them
	path string // with the names of a world's things; "": as in op
	body string // JSON; "bytes:…" for a file
	// want are the statuses for who, in that order. Those who are barred get 401.
	want string
	// anyone is what those who are barred get where no session is needed; 0: one is.
	anyone int
	// own: the ids are of sessions and links, not of what is in projects.
	own bool
}

// matrix is who may do what, over REST. Columns: customer, staff, lead, admin of the organisation (no member) | a colleague who is no
// member, a customer of another project, staff of another organisation.
var matrix = []route{
	{op: "POST /api/session", body: `{"email":"nobody@example.com","password":"wrong"}`, want: "401 401 401 401 401 401 401", anyone: 401},
	{op: "DELETE /api/session", want: "204 204 204 204 204 204 204", anyone: 204},
	{op: "GET /api/sessions", want: "200 200 200 200 200 200 200"},
	{op: "DELETE /api/sessions", want: "204 204 204 204 204 204 204"},
	{op: "DELETE /api/sessions/{id}", path: "/api/sessions/{session}", want: "404 404 404 404 404 404 404", own: true},
	{op: "DELETE /api/sessions/{id}", path: "/api/sessions/own", want: "404 404 404 404 404 404 404", own: true},
	{op: "POST /api/token", want: "200 200 200 200 200 200 200"},
	{op: "GET /api/me", want: "200 200 200 200 200 200 200"},
	{op: "PATCH /api/me", body: `{"locale":"de"}`, want: "200 200 200 200 200 200 200"},
	{op: "POST /api/me/password", body: `{"current":"","new":"short"}`, want: "422 422 422 422 422 422 422"},
	{op: "POST /api/password-reset", body: `{"email":"nobody@example.com"}`, want: "202 202 202 202 202 202 202", anyone: 202},
	{op: "GET /api/password-reset/{token}", path: "/api/password-reset/guessed", want: "410 410 410 410 410 410 410", anyone: 410},
	{op: "POST /api/password-reset/{token}", path: "/api/password-reset/guessed", body: `{"password":"correct horse"}`, want: "410 410 410 410 410 410 410", anyone: 410},
	{op: "GET /api/invitations", want: "200 200 200 200 200 200 200"},
	{op: "POST /api/invitations/{id}/accept", path: "/api/invitations/{invitation}/accept", want: "404 404 404 404 404 404 404"},
	{op: "POST /api/invitations/{id}/accept", path: "/api/invitations/{invited}/accept", want: "404 404 404 404 404 200 404"},
	{op: "GET /api/invited/{token}", path: "/api/invited/guessed", want: "410 410 410 410 410 410 410", anyone: 410},
	{op: "GET /api/invited/{token}", path: "/api/invited/{invitation link}", want: "200 200 200 200 200 200 200", anyone: 200, own: true},
	{op: "POST /api/invited/{token}", path: "/api/invited/guessed", body: `{}`, want: "410 410 410 410 410 410 410", anyone: 410},
	{op: "POST /api/invited/{token}", path: "/api/invited/{invited link}", body: `{}`, want: "403 403 403 403 403 200 403", anyone: 401, own: true},
	{op: "POST /api/invited/{token}", path: "/api/invited/{invitation link}", body: `{"name":"New","password":"correct horse"}`, want: "200 200 200 200 200 200 200", anyone: 200, own: true},
	{op: "GET /api/demo", want: "200 200 200 200 200 200 200", anyone: 200},
	{op: "POST /api/demo/session", body: `{"person_id":{lead}}`, want: "404 404 404 404 404 404 404", anyone: 404},

	{op: "GET /api/overview", want: "200 200 200 200 200 200 200"},
	{op: "GET /api/overview", path: "/api/overview?project={project}", want: "200 200 200 200 404 404 404"},
	{op: "POST /api/projects", body: `{"name":"Another"}`, want: "403 201 201 201 201 403 201"},
	{op: "GET /api/projects/{id}", path: "/api/projects/{project}", want: "200 200 200 200 404 404 404"},
	{op: "PATCH /api/projects/{id}", path: "/api/projects/{project}", body: `{"name":"Renamed"}`, want: "403 403 200 200 404 404 404"},
	{op: "PATCH /api/projects/{id}", path: "/api/projects/{project}", body: `{"status":"finished"}`, want: "403 200 200 200 404 404 404"},
	{op: "PATCH /api/projects/{id}", path: "/api/projects/{project}", body: `{"status":"archived"}`, want: "403 403 200 200 404 404 404"},
	{op: "DELETE /api/projects/{id}", path: "/api/projects/{project}", want: "403 403 204 204 404 404 404"},
	{op: "GET /api/projects/{id}/audit", path: "/api/projects/{project}/audit", want: "403 200 200 200 404 404 404"},

	{op: "POST /api/projects/{id}/milestones", path: "/api/projects/{project}/milestones", body: `{"name":"Launch"}`, want: "403 201 201 201 404 404 404"},
	{op: "PATCH /api/milestones/{id}", path: "/api/milestones/{milestone}", body: `{"name":"Later"}`, want: "403 200 200 200 404 404 404"},
	{op: "DELETE /api/milestones/{id}", path: "/api/milestones/{milestone}", want: "403 204 204 204 404 404 404"},

	{op: "POST /api/projects/{id}/tasks", path: "/api/projects/{project}/tasks", body: `{"title":"Texts"}`, want: "403 201 201 201 404 404 404"},
	{op: "PATCH /api/tasks/{id}", path: "/api/tasks/{task}", body: `{"title":"Texts"}`, want: "403 200 200 200 404 404 404"},
	{op: "DELETE /api/tasks/{id}", path: "/api/tasks/{task}", want: "403 204 204 204 404 404 404"},
	{op: "POST /api/tasks/{id}/complete", path: "/api/tasks/{task}/complete", want: "200 200 200 200 404 404 404"},
	{op: "POST /api/tasks/{id}/complete", path: "/api/tasks/{done}/complete", want: "409 409 200 409 404 404 404"},
	{op: "POST /api/tasks/{id}/reopen", path: "/api/tasks/{done}/reopen", want: "200 200 200 200 404 404 404"},

	{op: "GET /api/projects/{id}/people", path: "/api/projects/{project}/people", want: "200 200 200 200 404 404 404"},
	{op: "POST /api/projects/{id}/members", path: "/api/projects/{project}/members", body: `{"person_id":{colleague},"role":"staff"}`, want: "403 403 200 200 404 404 404"},
	{op: "PATCH /api/projects/{id}/members/{person}", path: "/api/projects/{project}/members/{staff}", body: `{"role":"lead"}`, want: "403 403 200 200 404 404 404"},
	{op: "DELETE /api/projects/{id}/members/{person}", path: "/api/projects/{project}/members/{staff}", want: "403 204 204 204 404 404 404"},
	{op: "DELETE /api/projects/{id}/members/{person}", path: "/api/projects/{project}/members/{customer}", want: "204 204 204 204 404 404 404"},

	{op: "POST /api/projects/{id}/invitations", path: "/api/projects/{project}/invitations", body: `{"email":"someone@example.com","role":"customer"}`, want: "403 201 201 201 404 404 404"},
	{op: "POST /api/projects/{id}/invitations", path: "/api/projects/{project}/invitations", body: `{"email":"someone@example.com","role":"staff"}`, want: "403 403 201 201 404 404 404"},
	{op: "DELETE /api/projects/{id}/invitations/{invitation}", path: "/api/projects/{project}/invitations/{invitation}", want: "403 204 204 204 404 404 404"},
	{op: "DELETE /api/projects/{id}/invitations/{invitation}", path: "/api/projects/{project}/invitations/{staff invitation}", want: "403 403 204 204 404 404 404"},
	{op: "POST /api/projects/{id}/invitations/{invitation}/resend", path: "/api/projects/{project}/invitations/{invitation}/resend", want: "403 200 200 200 404 404 404"},
	{op: "POST /api/projects/{id}/invitations/{invitation}/resend", path: "/api/projects/{project}/invitations/{staff invitation}/resend", want: "403 403 200 200 404 404 404"},

	{op: "POST /api/projects/{id}/conversations", path: "/api/projects/{project}/conversations", body: `{"subject":"Fonts"}`, want: "201 201 201 201 404 404 404"},
	{op: "GET /api/conversations/{id}", path: "/api/conversations/{conversation}", want: "200 200 200 200 404 404 404"},
	{op: "GET /api/conversations/{id}/messages", path: "/api/conversations/{conversation}/messages", want: "200 200 200 200 404 404 404"},
	{op: "POST /api/conversations/{id}/messages", path: "/api/conversations/{conversation}/messages", body: `{"key":"k","body":"Hello"}`, want: "201 201 201 201 404 404 404"},
	{op: "PATCH /api/messages/{id}", path: "/api/messages/{question}", body: `{"body":"Changed"}`, want: "200 403 403 403 404 404 404"},
	{op: "PATCH /api/messages/{id}", path: "/api/messages/{answer}", body: `{"body":"Changed"}`, want: "403 200 403 403 404 404 404"},
	{op: "DELETE /api/messages/{id}", path: "/api/messages/{question}", want: "200 200 200 200 404 404 404"},
	{op: "DELETE /api/messages/{id}", path: "/api/messages/{answer}", want: "403 200 403 403 404 404 404"},
	{op: "GET /api/messages/{id}/edits", path: "/api/messages/{question}/edits", want: "200 200 200 200 404 404 404"},
	{op: "POST /api/conversations/{id}/read", path: "/api/conversations/{conversation}/read", body: `{"up_to_seq":2}`, want: "200 200 200 200 404 404 404"},
	{op: "POST /api/conversations/{id}/typing", path: "/api/conversations/{conversation}/typing", want: "204 204 204 204 404 404 404"},
	{op: "POST /api/conversations/{id}/attachments", path: "/api/conversations/{conversation}/attachments?name=a.txt", body: "bytes:hello", want: "201 201 201 201 404 404 404"},
	{op: "GET /api/attachments/{id}", path: "/api/attachments/{file}", want: "200 200 200 200 404 404 404"},
	{op: "GET /api/attachments/{id}", path: "/api/attachments/{unsent}", want: "404 200 404 404 404 404 404"},
	{op: "DELETE /api/attachments/{id}", path: "/api/attachments/{file}", want: "409 403 403 403 404 404 404"},
	{op: "DELETE /api/attachments/{id}", path: "/api/attachments/{unsent}", want: "404 204 404 404 404 404 404"},
	{op: "GET /api/search", path: "/api/search?q=secret", want: "200 200 200 200 200 200 200"},
}

// statuses are what each caller should get.
func (r *route) statuses(t *testing.T) map[string]int {
	t.Helper()
	fields := strings.Fields(r.want)
	if len(fields) != len(who) {
		t.Fatalf("%s has %d statuses for %d callers", r.op, len(fields), len(who))
	}
	want := map[string]int{}
	for i, name := range who {
		status, err := strconv.Atoi(fields[i])
		if err != nil {
			t.Fatalf("%s: %v", r.op, err)
		}
		want[name] = status
	}
	for _, name := range barred {
		want[name] = 401
		if r.anyone != 0 {
			want[name] = r.anyone
		}
	}
	return want
}

// request fills in what the ids are.
func (r *route) request(w world) (method, path string, body any) {
	method, path, _ = strings.Cut(r.op, " ")
	if r.path != "" {
		path = r.path
	}
	switch sent, isFile := strings.CutPrefix(r.body, "bytes:"); {
	case isFile:
		body = []byte(sent)
	case r.body != "":
		body = w.fill(r.body)
	}
	return method, w.fill(path), body
}

// TestMatrixIsComplete fails for routes that have been added without saying who may use them, and for rows of routes that are gone.
func TestMatrixIsComplete(t *testing.T) {
	n := newNode(t)
	h, ok := n.handler.(*api)
	if !ok {
		t.Fatalf("the handler is a %T", n.handler)
	}
	described, tried := map[string]bool{}, map[string]bool{}
	for _, op := range operations(h.huma.OpenAPI()) {
		described[op.Method+" "+op.Path] = true
		if op.Summary == "" || op.OperationID == "" || len(op.Tags) != 1 {
			t.Errorf("%s %s: summary %q, id %q, tags %v", op.Method, op.Path, op.Summary, op.OperationID, op.Tags)
		}
	}
	for _, r := range matrix {
		tried[r.op] = true
	}
	if diff := cmp.Diff(described, tried); diff != "" {
		t.Errorf("what the description has and the matrix hasn't (-), and the other way round (+):\n%s", diff)
	}
	if len(described) < 50 {
		t.Errorf("the description has %d operations", len(described))
	}
}

// TestMatrixOfRefusals has everybody try what they may not, and looks after each whether anything has changed.
func TestMatrixOfRefusals(t *testing.T) {
	c := newCast(t)
	w, other := c.newWorld(), c.newOtherWorld()
	w["session"] = scan[string](t, c.pool, "SELECT id::text FROM projects.session WHERE person_id = $1", c.people["deactivated"])
	other["session"] = w["session"]
	before := c.dump()
	try := func(r *route, name string, w world, want int) {
		t.Helper()
		method, path, body := r.request(w)
		c.exec("DELETE FROM projects.attempt")
		got := c.callers[name].do(method, path, body)
		if got.status != want {
			t.Errorf("%s %s by %s: status %d instead of %d: %s", r.op, r.body, name, got.status, want, got.body)
			return
		}
		got.problem(want)
		if strings.Contains(string(got.body), "Website") && want == 404 {
			t.Errorf("%s by %s: a refusal tells what it refuses: %s", r.op, name, got.body)
		}
		if diff := cmp.Diff(before, c.dump()); diff != "" {
			t.Fatalf("%s by %s was refused, and changed:\n%s", r.op, name, diff)
		}
	}
	tried := 0
	for _, r := range matrix {
		for name, want := range r.statuses(t) {
			if want >= 400 {
				try(&r, name, w, want)
				tried++
			}
		}
		if r.own || r.anyone != 0 || !strings.Contains(r.path, "{") {
			continue
		}
		// The same with what is in a project of another organisation.
		for _, name := range []string{"customer", "staff", "lead", "admin"} {
			try(&r, name, other, 404)
			tried++
		}
	}
	t.Logf("%d refusals", tried)
}

// TestMatrixOfPermissions has everybody do what they may: what changes something, each in a project and a session of its own.
func TestMatrixOfPermissions(t *testing.T) {
	c := newCast(t)
	read := c.newWorld()
	tried := 0
	try := func(r *route, name string, w world, caller *caller, want int) {
		t.Helper()
		method, path, body := r.request(w)
		c.exec("DELETE FROM projects.attempt")
		if got := caller.do(method, path, body); got.status != want {
			t.Errorf("%s %s by %s: status %d instead of %d: %s", r.op, r.body, name, got.status, want, got.body)
		}
		tried++
	}
	for _, reading := range []bool{true, false} {
		for _, r := range matrix {
			for name, want := range r.statuses(t) {
				switch {
				case want >= 400 || strings.HasPrefix(r.op, "GET ") != reading:
				case reading:
					try(&r, name, read, c.callers[name], want)
				case slices.Contains(who, name):
					try(&r, name, c.newWorld(), c.as(c.people[name]), want)
				default:
					try(&r, name, c.newWorld(), c.callers[name], want)
				}
			}
		}
	}
	t.Logf("%d permissions", tried)
}

// TestMixedIDs has a lead, who may do everything in a project, bring in things of another one.
func TestMixedIDs(t *testing.T) {
	c := newCast(t)
	w, other := c.newWorld(), c.newOtherWorld()
	for name, id := range other {
		if _, isPerson := c.people[name]; !isPerson {
			w["other "+name] = id
		}
	}
	before := c.dump()
	for _, r := range []struct {
		method, path, body string
		want               int
	}{
		{"PATCH", "/api/projects/{project}/members/{other staff}", `{"role":"lead"}`, 404},
		{"DELETE", "/api/projects/{project}/members/{other customer}", "", 404},
		{"DELETE", "/api/projects/{project}/invitations/{other invitation}", "", 404},
		{"POST", "/api/projects/{project}/invitations/{other invitation}/resend", "", 404},
		{"DELETE", "/api/projects/{other project}/invitations/{invitation}", "", 404},
		{"POST", "/api/projects/{project}/members", `{"person_id":{other staff},"role":"staff"}`, 422},
		{"POST", "/api/projects/{project}/members", `{"person_id":{other customer},"role":"staff"}`, 422},
		{"POST", "/api/projects/{project}/members", `{"person_id":{deactivated},"role":"lead"}`, 422},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","milestone_id":{other milestone}}`, 422},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","assignee_id":{other customer}}`, 422},
		{"POST", "/api/projects/{project}/tasks", `{"title":"T","after":{other task}}`, 422},
		{"PATCH", "/api/tasks/{task}", `{"milestone_id":{other milestone}}`, 422},
		{"PATCH", "/api/tasks/{task}", `{"assignee_id":{other customer}}`, 422},
		{"PATCH", "/api/tasks/{task}", `{"after":{other task}}`, 422},
		{"PATCH", "/api/tasks/{task}", `{"project_id":{other project}}`, 404},
		{"POST", "/api/projects/{project}/milestones", `{"name":"M","after":{other milestone}}`, 422},
		{"PATCH", "/api/milestones/{milestone}", `{"after":{other milestone}}`, 422},
		{"POST", "/api/projects/{project}/conversations", `{"subject":"S","task_id":{other task}}`, 422},
		{"POST", "/api/conversations/{conversation}/messages", `{"key":"k","body":"x","attachments":[{other unsent}]}`, 422},
		{"POST", "/api/conversations/{conversation}/messages", `{"key":"k","body":"x","attachments":[{unsent}]}`, 422},
		{"POST", "/api/conversations/{conversation}/messages", `{"key":"k","body":"x","attachments":[{other file}]}`, 422},
	} {
		var body any
		if r.body != "" {
			body = w.fill(r.body)
		}
		got := c.callers["lead"].do(r.method, w.fill(r.path), body)
		if got.status != r.want {
			t.Errorf("%s %s %s: status %d instead of %d: %s", r.method, r.path, r.body, got.status, r.want, got.body)
		}
		if diff := cmp.Diff(before, c.dump()); diff != "" {
			t.Fatalf("%s %s %s changed:\n%s", r.method, r.path, r.body, diff)
		}
	}
}
