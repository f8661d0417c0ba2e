package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/projects"
)

// work is a project with three who take part.
type work struct {
	*node
	project               int64
	lead, staff, customer *caller
	id                    map[string]int64
}

func newWork(t *testing.T) *work {
	t.Helper()
	w := &work{node: newNode(t), id: map[string]int64{}}
	north := w.organisation("North")
	w.project = w.node.project(north, "Website")
	for name, role := range map[string]projects.Role{"lea": projects.Lead, "stan": projects.Staff, "cleo": projects.Customer} {
		organisation := north
		if role == projects.Customer {
			organisation = 0
		}
		w.id[name] = w.person(organisation, name+"@example.com", "")
		w.member(w.project, w.id[name], role)
	}
	w.lead, w.staff, w.customer = w.as(w.id["lea"]), w.as(w.id["stan"]), w.as(w.id["cleo"])
	return w
}

// at is a path below the project's.
func (w *work) at(path string) string { return fmt.Sprintf("/api/projects/%d%s", w.project, path) }

func body[T any](r *reply) (v T) {
	r.t.Helper()
	r.into(&v)
	return v
}

// A task from its beginning to its end, as the page sends and gets it.
func TestTaskOverREST(t *testing.T) {
	w := newWork(t)
	milestone := body[projects.Milestone](w.staff.do("POST", w.at("/milestones"), `{"name":"Design","due_on":"2027-01-31","after":null}`).is(201))
	made := w.staff.do("POST", w.at("/tasks"), fmt.Sprintf(`{"title":" Paint ","milestone_id":%d,"assignee_id":%d,"due_on":"2027-01-15"}`, milestone.ID, w.id["cleo"])).is(201)
	task := body[projects.Task](made)
	if task.Title != "Paint" || *task.MilestoneID != milestone.ID || *task.AssigneeID != w.id["cleo"] || *task.DueOn != "2027-01-15" || task.Version != 1 {
		t.Errorf("it was made as %s", made.body)
	}
	for _, field := range []string{`"completed_at":null`, `"conversation_id":null`, `"description":""`} {
		if !strings.Contains(string(made.body), field) {
			t.Errorf("there is no %s in %s", field, made.body)
		}
	}
	path := fmt.Sprintf("/api/tasks/%d", task.ID)
	edit := func(change string) projects.Task {
		t.Helper()
		return body[projects.Task](w.staff.do("PATCH", path, change).is(200))
	}
	// What is left out stays, null clears.
	expected := task
	expected.DueOn, expected.Version = nil, 2
	if diff := cmp.Diff(expected, edit(`{"due_on":null,"version":1}`)); diff != "" {
		t.Errorf("due_on null (-want +got):\n%s", diff)
	}
	expected.MilestoneID, expected.AssigneeID, expected.Version = nil, nil, 3
	if diff := cmp.Diff(expected, edit(`{"milestone_id":null,"assignee_id":null}`)); diff != "" {
		t.Errorf("both null (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(expected, edit(`{}`)); diff != "" {
		t.Errorf("nothing (-want +got):\n%s", diff)
	}
	if p := w.staff.do("PATCH", path, `{"title":"New","version":2}`).problem(409); !strings.Contains(p.Detail, "“Paint” has changed since") {
		t.Errorf("stale: %s", p.Detail)
	}
	completed := body[projects.Task](w.customer.do("POST", path+"/complete", nil).is(200))
	if diff := cmp.Diff(completed, body[projects.Task](w.customer.do("POST", path+"/complete", nil).is(200))); diff != "" {
		t.Errorf("again (-first +second):\n%s", diff)
	}
	if p := w.lead.do("POST", path+"/complete", nil).problem(409); !strings.HasPrefix(p.Detail, "cleo completed “Paint” already, on ") {
		t.Errorf("too late: %s", p.Detail)
	}
	w.lead.do("POST", path+"/reopen", nil).is(200)
	if p := w.customer.do("POST", path+"/reopen", nil).problem(409); !strings.HasPrefix(p.Detail, "lea reopened “Paint” already, on ") {
		t.Errorf("too late: %s", p.Detail)
	}
	w.lead.do("DELETE", path, nil).is(204)
	if p := w.staff.do("PATCH", path, `{"title":"New","version":5}`).problem(404); !strings.Contains(p.Detail, "may have been deleted") {
		t.Errorf("gone: %s", p.Detail)
	}
	trail := body[projects.AuditPage](w.staff.do("GET", w.at("/audit?limit=2"), nil).is(200))
	if len(trail.Entries) != 2 || trail.Entries[0].Action != "task.deleted" || trail.Entries[0].PersonName != "lea" || trail.Next == 0 {
		t.Errorf("the audit trail is %+v", trail)
	}
	rest := body[projects.AuditPage](w.staff.do("GET", w.at(fmt.Sprintf("/audit?before=%d", trail.Next)), nil).is(200))
	if len(rest.Entries) != 5 || rest.Next != 0 || rest.Entries[4].Action != "milestone.created" {
		t.Errorf("the rest is %+v", rest)
	}
}

// Each field that can't be taken is named, with a sentence for people.
func TestBadWorkOverREST(t *testing.T) {
	w := newWork(t)
	task := body[projects.Task](w.staff.do("POST", w.at("/tasks"), `{"title":"Paint"}`).is(201))
	milestone := body[projects.Milestone](w.staff.do("POST", w.at("/milestones"), `{"name":"Design"}`).is(201))
	taskPath, milestonePath := fmt.Sprintf("/api/tasks/%d", task.ID), fmt.Sprintf("/api/milestones/%d", milestone.ID)
	for _, test := range []struct{ method, path, body, location string }{
		{"POST", "/api/projects", `{"name":" "}`, "body.name"},
		{"POST", "/api/projects", `{"name":"N","due_on":"2027-02-29"}`, "body.due_on"},
		{"POST", "/api/projects", `{"name":null}`, "body.name"},
		{"POST", "/api/projects", `{"name":"N","shade":"red"}`, "body.shade"},
		{"POST", "/api/projects", `{}`, "body.name"},
		{"PATCH", w.at(""), `{"name":null}`, "body.name"},
		{"PATCH", w.at(""), `{"status":"done"}`, "body.status"},
		{"PATCH", w.at(""), `{"version":"1"}`, "body.version"},
		{"POST", w.at("/tasks"), `{"title":"` + strings.Repeat("x", 201) + `"}`, "body.title"},
		{"POST", w.at("/tasks"), `{"title":"a\u0000b"}`, "body.title"},
		{"POST", w.at("/tasks"), `{"title":"T","assignee_id":"7"}`, "body.assignee_id"},
		{"POST", w.at("/tasks"), `{"title":"T","milestone_id":99999999}`, "body.milestone_id"},
		{"PATCH", taskPath, `{"title":null}`, "body.title"},
		{"PATCH", taskPath, `{"title":7}`, "body.title"},
		{"PATCH", taskPath, `{"due_on":5}`, "body.due_on"},
		{"PATCH", taskPath, `{"after":null}`, "body.after"},
		{"PATCH", taskPath, fmt.Sprintf(`{"after":%d}`, task.ID), "body.after"},
		{"PATCH", taskPath, `{"project_id":null}`, "body.project_id"},
		{"PATCH", milestonePath, `{"name":""}`, "body.name"},
		{"PATCH", milestonePath, `{"after":99999999}`, "body.after"},
		{"POST", w.at("/members"), `{"person_id":99999999,"role":"staff"}`, "body.person_id"},
		{"POST", w.at("/members"), fmt.Sprintf(`{"person_id":%d,"role":"customer"}`, w.id["stan"]), "body.role"},
		{"PATCH", w.at(fmt.Sprintf("/members/%d", w.id["cleo"])), `{"role":"staff"}`, "body.role"},
		{"POST", w.at("/invitations"), `{"email":"eve","role":"customer"}`, "body.email"},
		{"POST", w.at("/invitations"), `{"email":"eve@example.com","role":"lead"}`, "body.role"},
	} {
		p := w.lead.do(test.method, test.path, test.body).problem(http.StatusUnprocessableEntity)
		if len(p.Errors) == 0 || p.Errors[0].Location != test.location || p.Errors[0].Message == "" {
			t.Errorf("%s %s %s: %+v", test.method, test.path, test.body, p)
		}
	}
	for _, body := range []string{``, `{`, `[]`, `"title"`} {
		if r := w.lead.do("PATCH", taskPath, body); r.status != 400 && r.status != 422 {
			t.Errorf("%q: status %d: %s", body, r.status, r.body)
		}
	}
	for path, status := range map[string]int{
		"/api/overview?project=0": 422, "/api/overview?project=x": 422, "/api/overview?project=99999999": 404, w.at("/audit?limit=201"): 422, w.at("/audit?before=-1"): 422,
		"/api/projects/x": 404, "/api/projects/99999999999999999999": 404, "/api/projects/-1": 404,
	} {
		w.lead.do("GET", path, nil).problem(status)
	}
	w.customer.do("PATCH", taskPath, `{"title":"Mine"}`).problem(403)
	if now := body[projects.Project](w.customer.do("GET", w.at(""), nil).is(200)); now.Version != 1 || len(now.Tasks) != 1 || now.Tasks[0].Version != 1 {
		t.Errorf("something has changed: %+v", now)
	}
}

func TestProjectOverREST(t *testing.T) {
	w := newWork(t)
	w.customer.do("POST", "/api/projects", `{"name":"Mine"}`).problem(403)
	made := body[projects.Project](w.staff.do("POST", "/api/projects", `{"name":"Kitchen"}`).is(201))
	if made.Name != "Kitchen" || made.Role != projects.Lead || len(made.Conversations) != 1 {
		t.Errorf("it was made as %+v", made)
	}
	path := fmt.Sprintf("/api/projects/%d", made.ID)
	var head map[string]any
	w.staff.do("PATCH", path, `{"due_on":"2027-03-01","status":"finished"}`).is(200).into(&head)
	expected := map[string]any{"id": float64(made.ID), "name": "Kitchen", "summary": "", "status": "finished", "due_on": "2027-03-01", "version": float64(2)}
	if diff := cmp.Diff(expected, head); diff != "" {
		t.Errorf("its head (-want +got):\n%s", diff)
	}
	if p := w.staff.do("POST", path+"/tasks", `{"title":"Late"}`).problem(403); !strings.Contains(p.Detail, "finished") {
		t.Errorf("finished: %s", p.Detail)
	}
	if all := body[projects.Overview](w.staff.do("GET", "/api/overview", nil).is(200)); len(all.Projects) != 2 {
		t.Errorf("the overview is %+v", all)
	}
	one := body[projects.Overview](w.staff.do("GET", fmt.Sprintf("/api/overview?project=%d", made.ID), nil).is(200))
	if len(one.Projects) != 1 || one.Projects[0].Name != "Kitchen" {
		t.Errorf("the one is %+v", one)
	}
	w.staff.do("DELETE", path, nil).is(204)
	w.staff.do("GET", path, nil).problem(404)
	w.staff.do("DELETE", path, nil).problem(404)
}

func TestPeopleOverREST(t *testing.T) {
	w := newWork(t)
	people := func(c *caller) (all map[string][]map[string]any) {
		t.Helper()
		c.do("GET", w.at("/people"), nil).is(200).into(&all)
		return all
	}
	seen := people(w.customer)
	if len(seen["members"]) != 3 || seen["invitations"] == nil || seen["colleagues"] == nil {
		t.Errorf("a customer sees %v", seen)
	}
	for _, member := range seen["members"] {
		if _, there := member["email"]; there {
			t.Errorf("a customer sees an address: %v", member)
		}
	}
	invitation := body[projects.Invitation](w.staff.do("POST", w.at("/invitations"), `{"email":"Eve@example.com","name":"Eve","role":"customer"}`).is(201))
	if invitation.Email != "eve@example.com" || invitation.Mail != "waiting" {
		t.Errorf("it was made as %+v", invitation)
	}
	if p := w.lead.do("POST", w.at("/invitations"), `{"email":"eve@example.com","role":"customer"}`).problem(409); !strings.Contains(p.Detail, "stan invited eve@example.com") {
		t.Errorf("twice: %s", p.Detail)
	}
	path := w.at(fmt.Sprintf("/invitations/%d", invitation.ID))
	again := w.staff.do("POST", path+"/resend", nil)
	again.problem(http.StatusTooManyRequests)
	if again.header.Get("Retry-After") == "" {
		t.Error("it isn't said when to come again")
	}
	if seen := people(w.staff); len(seen["invitations"]) != 1 || seen["members"][0]["email"] == "" {
		t.Errorf("staff see %v", seen)
	}
	w.staff.do("DELETE", path, nil).is(204)
	w.staff.do("DELETE", path, nil).problem(http.StatusGone)
	colin := w.person(scan[int64](t, w.pool, "SELECT organisation_id FROM projects.person WHERE id = $1", w.id["lea"]), "colin@example.com", "")
	if seen := people(w.lead); len(seen["colleagues"]) != 1 || seen["colleagues"][0]["id"] != float64(colin) {
		t.Errorf("a lead sees %v", seen)
	}
	added := body[projects.Member](w.lead.do("POST", w.at("/members"), map[string]any{"person_id": colin, "role": "staff"}).is(200))
	if added.ID != colin || added.Role != projects.Staff {
		t.Errorf("it was added as %+v", added)
	}
	w.lead.do("POST", w.at("/members"), map[string]any{"person_id": colin, "role": "staff"}).problem(409)
	if p := w.lead.do("DELETE", w.at(fmt.Sprintf("/members/%d", w.id["lea"])), nil).problem(409); !strings.Contains(p.Detail, "only lead") {
		t.Errorf("the last lead: %s", p.Detail)
	}
	w.lead.do("PATCH", w.at(fmt.Sprintf("/members/%d", colin)), `{"role":"lead"}`).is(200)
	w.lead.do("DELETE", w.at(fmt.Sprintf("/members/%d", w.id["lea"])), nil).is(204)
	w.lead.do("GET", w.at(""), nil).problem(404)
	w.customer.do("DELETE", w.at(fmt.Sprintf("/members/%d", w.id["cleo"])), nil).is(204)
	w.customer.do("GET", w.at("/people"), nil).problem(404)
}

// The description tells what may be left out and what may be null.
func TestWorkIsDescribed(t *testing.T) {
	w := newWork(t)
	var api struct {
		Components struct {
			Schemas map[string]struct {
				Required   []string
				Properties map[string]struct{ Type json.RawMessage }
			}
		}
	}
	w.lead.do("GET", "/api/openapi.json", nil).is(200).into(&api)
	for schema, expected := range map[string]map[string]string{
		"TaskChange":   {"title": `"string"`, "due_on": `["string","null"]`, "assignee_id": `["integer","null"]`, "after": `"integer"`},
		"TaskDraft":    {"title": `"string"`, "due_on": `["string","null"]`, "after": `["integer","null"]`},
		"AuditPage":    {"entries": `"array"`},
		"ProjectDraft": {"name": `"string"`, "due_on": `["string","null"]`},
	} {
		for field, kind := range expected {
			if got := string(api.Components.Schemas[schema].Properties[field].Type); got != kind {
				t.Errorf("%s.%s is %s, not %s", schema, field, got, kind)
			}
		}
	}
	if got := api.Components.Schemas["TaskChange"].Required; len(got) != 0 {
		t.Errorf("a change needs %v", got)
	}
	if diff := cmp.Diff([]string{"title"}, api.Components.Schemas["TaskDraft"].Required); diff != "" {
		t.Errorf("a draft needs (-want +got):\n%s", diff)
	}
}
