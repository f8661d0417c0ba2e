package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// serveAs serves a database whose log another engine writes, as a role that has no rights but those granted here.
func serveAs(t *testing.T, role string, opts Options, grants ...string) *service {
	t.Helper()
	everywhere := pgtest.Server(t).URLFor("postgres")
	t.Cleanup(func() { // once the database is gone, and with it what the role was granted
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := pgtest.Connect(t, everywhere).Exec(ctx, "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	owned := pgtest.Database(t)
	admin := pgtest.Connect(t, owned)
	for _, statement := range append([]string{"CREATE ROLE " + role + " LOGIN PASSWORD 'secret'"}, grants...) {
		if _, err := admin.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	owner, err := trunkline.New(trunkline.Config{DatabaseURL: owned})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, owner) })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := owner.Start(ctx); err != nil {
		t.Fatal(err)
	}
	settle(ctx, t, owner)
	u, err := url.Parse(owned)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "secret")
	return serve(t, u.String(), opts)
}

// A server whose role doesn't own the schema serves inboxes, and keeps them, with the grants that are documented.
func TestInboxesWithGrants(t *testing.T) {
	const role = "server_test_granted"
	s := serveAs(t, role, Options{Open: true}, "SELECT trunkline.grant_serve('"+role+"'), trunkline.grant_notify('"+role+"')")
	a := s.ask(t, http.MethodPost, "/v1/notify", `{"users":["ann"],"kind":"note","cause":"c"}`)
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	s.until(t, "it is placed", func() bool { return s.counts(t, "ann").Unread == 1 })
	for _, routes := range [][]route{inboxRoutes, notifyRoutes} {
		for _, r := range routes {
			user := "ann"
			if strings.HasPrefix(r.path, "/v1/notify") || strings.HasPrefix(r.path, "/v1/retract") {
				user = ""
			}
			if a := s.ask(t, r.method, r.as(user), r.body); a.status != r.ok {
				t.Errorf("%s %s: status %d: %s", r.method, r.path, a.status, a.body)
			}
		}
	}
	link := "/v1/unsubscribe/" + strings.Repeat("x", 32) // not one of ours, which is found out in the database
	if a := s.ask(t, http.MethodPost, link, oneClick, form); a.status != http.StatusNotFound {
		t.Errorf("status %d: %s", a.status, a.pageText(t))
	}
}

// A role that was granted when there were no inboxes serves all else, and its log names what is missing.
func TestInboxesWithoutGrants(t *testing.T) {
	const role = "server_test_old"
	var log lines
	s := serveAs(t, role, Options{Open: true, Logger: log.logger()},
		"SELECT trunkline.grant_read('"+role+"'), trunkline.grant_publish('"+role+"')",
		"GRANT SELECT ON trunkline.apikey, trunkline.revocation TO "+role)
	s.publish(t, "news", "1")
	s.sequenced(t, "news", 1)
	for path, grant := range map[string]string{"/v1/inbox": "grant_inbox('" + role + "')", "/v1/notify": "grant_notify('" + role + "')"} {
		a := s.ask(t, http.MethodGet, path+"?user=ann", "")
		if path == "/v1/notify" {
			a = s.ask(t, http.MethodPost, path, `{"users":["ann"],"kind":"note"}`)
		}
		if p := a.problem(t); a.status != http.StatusInternalServerError || strings.Contains(p.Detail, "grant") {
			t.Errorf("%s: status %d: %+v", path, a.status, p)
		}
		if !strings.Contains(log.text(), grant) {
			t.Errorf("%s: the log doesn't name %s: %s", path, grant, log.text())
		}
	}
	s.until(t, "the keeper has said so, too", func() bool { return strings.Contains(log.text(), "the inboxes can't be kept by this node") })
	if code, body := ask(t, s.handler, here, "/readyz"); code != http.StatusOK {
		t.Errorf("not ready: %d %s", code, body)
	}
}
