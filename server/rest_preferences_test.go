package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestPreferences(t *testing.T) {
	s := newService(t)
	s.sql(t, `SELECT trunkline.kind('mention', title => 'Mentions', delay => '10 minutes'), trunkline.kind('news')`)
	const known = `"known_kinds":[{"name":"mention","title":"Mentions","mail":"after","delay":"10m"},` +
		`{"name":"news","title":"news","mail":"after","delay":"4h"}]`
	const path = "/v1/inbox/preferences"
	read := func(user string) string {
		a := s.ask(t, http.MethodGet, path+"?user="+user, "")
		if a.status != http.StatusOK {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		return strings.TrimSpace(string(a.body))
	}
	const none = `{"time_zone":null,"quiet_hours":null,"vacation_until":null,"default":null,"kinds":{},"muted_groups":[],` + known + `}`
	if got := read("ann"); got != none {
		t.Errorf("at first: %s", got)
	}
	for _, body := range []string{
		`{"time_zone":"Europe/Berlin","quiet_hours":{"from":"22:00","to":"07:00"},"vacation_until":null,` +
			`"default":{"mail":"after","delay":"2h"},"kinds":{"mention":{"mail":"at_once"},"news":{"mail":"never"},` +
			`"task.completed":{"mail":"daily","at":"18:00"}},"muted_groups":["project:7"]`,
		`{"time_zone":null,"quiet_hours":null,"vacation_until":null,"default":{"mail":"never"},"kinds":{},"muted_groups":[]`,
	} {
		a := s.ask(t, http.MethodPut, path+"?user=ann", body+"}")
		want := body + "," + known + "}"
		if got := strings.TrimSpace(string(a.body)); a.status != http.StatusOK || got != want {
			t.Errorf("PUT: status %d: %s\nwant %s", a.status, got, want)
		}
		if got := read("ann"); got != want {
			t.Errorf("GET: %s\nwant %s", got, want)
		}
		// What was read can be put back.
		if a := s.ask(t, http.MethodPut, path+"?user=ann", read("ann")); a.status != http.StatusOK || strings.TrimSpace(string(a.body)) != want {
			t.Errorf("put back: status %d: %s", a.status, a.body)
		}
	}
	before := read("ann")
	for _, test := range []struct{ body, says string }{
		{``, "body"},
		{`{`, "object"},
		{`[]`, "object"},
		{`{"timezone":"Europe/Berlin"}`, "timezone"},
		{`{"time_zone":"Europe/Berln"}`, "Europe/Berln"},
		{`{"time_zone":7}`, "time_zone"},
		{`{"quiet_hours":{"from":"22:00","to":"22:00"}}`, "quiet_hours"},
		{`{"quiet_hours":{"from":"22:00"}}`, "quiet_hours"},
		{`{"quiet_hours":{"from":"25:00","to":"07:00"}}`, "25:00"},
		{`{"default":{"mail":"sometimes"}}`, "sometimes"},
		{`{"default":{"mail":"after"}}`, "delay"},
		{`{"default":{"mail":"after","delay":"1s"}}`, "delay"},
		{`{"kinds":{"mention":{"mail":"daily"}}}`, "mention"},
		{`{"kinds":{"mention":{"mail":"daily","at":"18:00","delay":"4h"}}}`, "mention"},
		{`{"muted_groups":[7]}`, "muted_groups"},
		{`{"vacation_until":"soon"}`, "vacation_until"},
	} {
		a := s.ask(t, http.MethodPut, path+"?user=ann", test.body)
		if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, test.says) {
			t.Errorf("%s: status %d: %+v, want %q", test.body, a.status, p, test.says)
		}
	}
	// The answer names the field, for a page to show it there.
	for body, location := range map[string]string{
		`{"kinds":{"mention":{"mail":"after","delay":"1s"}}}`: "body.kinds.mention.delay", `{"time_zone":"Europe/Berln"}`: "body.time_zone",
		`{"quiet_hours":{"from":"22:00","to":"22:00"}}`: "body.quiet_hours", `[]`: "",
	} {
		p := s.ask(t, http.MethodPut, path+"?user=ann", body).problem(t)
		if len(p.Errors) > 1 || len(p.Errors) == 0 && location != "" || len(p.Errors) == 1 && (p.Errors[0].Location != location || p.Errors[0].Message != p.Detail) {
			t.Errorf("%s: %+v, want %s", body, p, location)
		}
	}
	if got := read("ann"); got != before {
		t.Errorf("something bad was taken: %s", got)
	}
	if got := read("bob"); got != none {
		t.Errorf("bob's: %s", got)
	}
}

// Who uses the inbox is active, and who only has it open isn't.
func TestWhoIsActive(t *testing.T) {
	s := newGuarded(t, Limits{})
	admin := s.key(t, "admin")
	active := func(user string) (is bool) {
		t.Helper()
		const sql = "SELECT EXISTS (SELECT FROM trunkline.recipient WHERE user_id = $1 AND active_at > now() - interval '1 minute')"
		if err := s.engine.Pool().QueryRow(t.Context(), sql, user).Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	}
	for i, test := range []struct {
		method, path, body string
		status             int
		active             bool
	}{
		{"GET", "/v1/inbox", "", 200, true},
		{"GET", "/v1/inbox/preferences", "", 200, true},
		{"PUT", "/v1/inbox/preferences", "{}", 200, true},
		{"POST", "/v1/inbox/mark", `{"state":"read","up_to_seq":0}`, 200, true},
		{"POST", "/v1/inbox/touch", "", 204, true},
		{"GET", "/v1/inbox/counts", "", 200, false},
		{"POST", "/v1/inbox/mark", `{"state":"read"}`, 400, false},
		{"GET", "/v1/history?channel=inbox:user%d", "", 200, false},
	} {
		user := fmt.Sprintf("user%d", i)
		path := strings.ReplaceAll(test.path, "%d", fmt.Sprint(i))
		a := s.ask(t, test.method, path, test.body, "Authorization: Bearer "+token(t, user, ""))
		if a.status != test.status || active(user) != test.active {
			t.Errorf("%s %s: status %d, active: %v: %s", test.method, path, a.status, active(user), a.body)
		}
		// A program that does the same for somebody.
		if strings.HasPrefix(path, "/v1/inbox") && path != "/v1/inbox/touch" {
			a := s.ask(t, test.method, path+"?user=other", test.body, "X-API-Key: "+admin)
			if a.status != test.status || active("other") {
				t.Errorf("%s %s for somebody: status %d, active: %v: %s", test.method, path, a.status, active("other"), a.body)
			}
		}
	}
	s.tab(t, token(t, "watcher", "")).follow("inbox:watcher", sdk.SubscriptionConfig{})
	s.notify(t, "watcher", "note", 1)
	if active("watcher") {
		t.Error("an open connection counts as activity")
	}
	// A program says so in so many words.
	a := s.ask(t, http.MethodPost, "/v1/inbox/touch?user=other", "", "X-API-Key: "+admin)
	if a.status != http.StatusNoContent || !active("other") {
		t.Errorf("status %d, active: %v", a.status, active("other"))
	}
}

// What was asked for is done although it can't be noted who is active.
func TestActivityIsNoConditionForAnything(t *testing.T) {
	var log lines
	s := serve(t, pgtest.Database(t), Options{Open: true, Logger: log.logger()})
	s.notify(t, "ann", "note", 1)
	s.sql(t, "DROP FUNCTION trunkline.touch")
	var m marked
	s.send(t, http.MethodPost, "/v1/inbox/mark", `{"state":"read","up_to_seq":1}`, &m)
	if m.Changed != 1 || !strings.Contains(log.text(), "that a user is active can't be noted") {
		t.Errorf("%+v; the log: %s", m, log.text())
	}
	a := s.ask(t, http.MethodPost, "/v1/inbox/touch?user=ann", "")
	if p := a.problem(t); a.status != http.StatusInternalServerError {
		t.Errorf("%+v", p)
	}
}
