package trunkline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestNamespaceOfAChannel(t *testing.T) {
	for channel, want := range map[string]string{"project:42": "project", "a:b:c": "a", "news": "default", ":x": "", "": "default"} {
		if got := trunkline.NamespaceOf(channel); got != want {
			t.Errorf("NamespaceOf(%q) = %q, want %q", channel, got, want)
		}
	}
}

// withFunction makes a function that namespaces can be authorised by.
func withFunction(t *testing.T, db trunkline.Tx) {
	t.Helper()
	exec(t, db, "CREATE SCHEMA app")
	exec(t, db, "CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
}

// fullNamespace has every setting.
func fullNamespace() trunkline.Namespace {
	yes, no := true, false
	return trunkline.Namespace{
		Name: "project", Authorize: "app.may", AuthorizeCache: time.Minute, AuthorizeTimeout: 250 * time.Millisecond, Anonymous: true,
		Retention: 90 * 24 * time.Hour, Publish: &yes, Presence: &no, JoinLeave: &yes, Conflate: 1500 * time.Microsecond, Ring: 7, PublishRate: 0.5,
	}
}

// What every database has.
var (
	inboxes    = trunkline.Namespace{Name: "inbox", AuthorizeCache: 10 * time.Second, AuthorizeTimeout: time.Second, Retention: 24 * time.Hour}
	trunklines = trunkline.Namespace{Name: "trunkline", AuthorizeCache: 10 * time.Second, AuthorizeTimeout: time.Second, Retention: 7 * 24 * time.Hour}
)

func TestNamespacesAreStored(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	withFunction(t, conn)
	ctx := testContext(t)
	read := func() []trunkline.Namespace {
		t.Helper()
		namespaces, err := trunkline.ReadNamespaces(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		return namespaces
	}
	want := func(want ...trunkline.Namespace) {
		t.Helper()
		if diff := cmp.Diff(slices.Concat([]trunkline.Namespace{inboxes}, want, []trunkline.Namespace{trunklines}), read()); diff != "" {
			t.Error(diff)
		}
	}
	want()
	full := fullNamespace()
	if err := trunkline.SetNamespace(ctx, conn, full); err != nil {
		t.Fatal(err)
	}
	want(full)
	// All settings, also those that are zero.
	if err := trunkline.SetNamespace(ctx, conn, trunkline.Namespace{Name: "project"}); err != nil {
		t.Fatal(err)
	}
	want(trunkline.Namespace{Name: "project", AuthorizeTimeout: time.Second})
	// An edit keeps the rest, and begins with the defaults.
	exec(t, conn, "DELETE FROM trunkline.namespace WHERE name = 'project'")
	edited, err := trunkline.EditNamespace(ctx, conn, "project", func(n *trunkline.Namespace) error {
		n.Name, n.Ring, n.Authorize = "ignored", 9, " app.MAY "
		return nil
	})
	ringed := trunkline.NewNamespace("project")
	ringed.Ring, ringed.Authorize = 9, "app.may"
	if diff := cmp.Diff(ringed, edited); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err = trunkline.EditNamespace(ctx, conn, "project", func(n *trunkline.Namespace) error { n.Retention = time.Hour; return nil }); err != nil {
		t.Fatal(err)
	}
	ringed.Retention = time.Hour
	want(ringed)
	refusal := errors.New("no")
	if _, err := trunkline.EditNamespace(ctx, conn, "project", func(n *trunkline.Namespace) error { n.Ring = 1; return refusal }); !errors.Is(err, refusal) {
		t.Errorf("an edit that changes its mind: %v", err)
	}
	want(ringed)
	if n, found, err := trunkline.ReadNamespace(ctx, conn, "nobody"); err != nil || found || n != (trunkline.Namespace{Name: "nobody"}) {
		t.Errorf("a namespace without a row: %+v, %v, %v", n, found, err)
	}
	if err := trunkline.DeleteNamespace(ctx, conn, "project"); err != nil {
		t.Fatal(err)
	}
	want()
	// Months and years, as SQL may set them.
	exec(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('m', '1 month'), ('y', '100 years')")
	namespaces := read()
	if namespaces[1].Retention != 30*24*time.Hour || namespaces[3].Retention < 36500*24*time.Hour {
		t.Errorf("a month is %v, 100 years are %v", namespaces[1].Retention, namespaces[3].Retention)
	}
}

func TestNamespaceArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ctx := testContext(t)
	named := func(change func(*trunkline.Namespace)) error {
		n := trunkline.NewNamespace("a")
		change(&n)
		return trunkline.SetNamespace(ctx, conn, n)
	}
	for _, test := range []struct {
		err            error
		argument, says string
		missing        bool
	}{
		{named(func(n *trunkline.Namespace) { n.Name = "" }), "name", "is missing", false},
		{named(func(n *trunkline.Namespace) { n.Name = "a:b" }), "name", `contains a ":"`, false},
		{named(func(n *trunkline.Namespace) { n.Name = "a\xff" }), "name", "not UTF-8", false},
		{named(func(n *trunkline.Namespace) { n.Name = "a\x00" }), "name", "NUL", false},
		{named(func(n *trunkline.Namespace) { n.Name = "trunkline"; n.Anonymous = true }), "name", "Trunkline's own", false},
		{named(func(n *trunkline.Namespace) { n.Authorize = "app.no" }), "authorize", "there is no function app.no(text, text, text)", false},
		{named(func(n *trunkline.Namespace) { n.Authorize = "a\xff" }), "authorize", `"a\xff"`, false},
		{named(func(n *trunkline.Namespace) { n.AuthorizeCache = -time.Second }), "authorize_cache", "Choose between 0", false},
		{named(func(n *trunkline.Namespace) { n.AuthorizeTimeout = time.Minute }), "authorize_timeout", "Choose between 10 ms and 30 s", false},
		{named(func(n *trunkline.Namespace) { n.Anonymous = true }), "anonymous", "Set authorize too", false},
		{named(func(n *trunkline.Namespace) { n.Retention = -1 }), "retention", "Choose between 1 s and 36500 days", false},
		{named(func(n *trunkline.Namespace) { n.Retention = math.MaxInt64 }), "retention", "Choose between", false},
		{named(func(n *trunkline.Namespace) { n.Conflate = time.Nanosecond }), "conflate", "Choose between 1 ms and 1 hour", false},
		{named(func(n *trunkline.Namespace) { n.Ring = -1 }), "ring", "Choose between 1 and 100000", false},
		{named(func(n *trunkline.Namespace) { n.Ring = math.MaxInt64 }), "ring", "cannot be 9223372036854775807. Choose between 1 and 100000", false},
		{named(func(n *trunkline.Namespace) { n.PublishRate = math.NaN() }), "publish_rate", "NaN", false},
		{trunkline.DeleteNamespace(ctx, conn, "a"), "name", `there is no namespace "a"`, true},
		{trunkline.DeleteNamespace(ctx, conn, "trunkline"), "name", "Trunkline's own", false},
		{trunkline.Revoke(ctx, conn, "", ""), "user", "the user is missing", false},
		{trunkline.Revoke(ctx, conn, "a\xff", ""), "user", "not UTF-8", false},
		{trunkline.Revoke(ctx, conn, "ann", "trunkline:control"), "channel", "Trunkline's own", false},
		{trunkline.RevokeToken(ctx, conn, ""), "jti", "the jti is missing", false},
		{trunkline.DisconnectUser(ctx, conn, "ann", strings.Repeat("x", 256)), "client", "256 bytes", false},
		{trunkline.UnsubscribeUser(ctx, conn, "ann", ""), "channel", "a channel is missing", false},
		{trunkline.RevokeAPIKey(ctx, conn, "k"), "name", `there is no API key "k"`, true},
		{trunkline.RevokeAPIKey(ctx, conn, "\x00"), "name", "NUL", false},
	} {
		var argument *trunkline.ArgumentError
		if !errors.As(test.err, &argument) || argument.Argument != test.argument || !strings.Contains(test.err.Error(), test.says) ||
			argument.Fix == "" || errors.Is(test.err, trunkline.ErrNotFound) != test.missing {
			t.Errorf("%v (%+v), want argument %s: %s", test.err, argument, test.argument, test.says)
		}
	}
}

func TestNamespaceAsJSON(t *testing.T) {
	full := fullNamespace()
	text, err := json.Marshal(full)
	const want = `{"name":"project","authorize":"app.may","authorize_cache":60,"authorize_timeout":0.25,"anonymous":true,"retention":7776000,` +
		`"publish":true,"presence":false,"join_leave":true,"conflate":0.0015,"ring":7,"publish_rate":0.5}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v\nwant %s", text, err, want)
	}
	for text, want := range map[string]trunkline.Namespace{
		want:                                  full,
		`{"name":"a"}`:                        trunkline.NewNamespace("a"),
		`{"name":"a","authorize_cache":0}`:    {Name: "a", AuthorizeTimeout: time.Second},
		`{"name":"a","authorize_cache":null}`: trunkline.NewNamespace("a"),
		`{"name":"a","retention":null,"conflate":null,"ring":null,"publish_rate":null}`: trunkline.NewNamespace("a"),
		`{"name":"a","retention":3153600000}`:                                           {Name: "a", AuthorizeCache: 10 * time.Second, AuthorizeTimeout: time.Second, Retention: 36500 * 24 * time.Hour},
	} {
		var n trunkline.Namespace
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, n); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for text, says := range map[string]string{
		`{"name":"a","retention":-1}`:         `retention of namespace "a" cannot be -1 seconds. Choose between 1 and 3153600000`,
		`{"name":"a","retention":1e300}`:      "cannot be 1e+300 seconds",
		`{"name":"a","retention":0}`:          `retention of namespace "a" cannot be 0 seconds. Choose between 1 and 3153600000 seconds, or leave it out`,
		`{"name":"a","conflate":0}`:           "cannot be 0 seconds. Choose between 0.001 and 3600 seconds, or leave it out",
		`{"name":"a","ring":0}`:               "cannot be 0. Choose between 1 and 100000 messages, or leave it out",
		`{"name":"a","publish_rate":0}`:       "cannot be 0. Choose a number above 0, 1000000 messages per second at most, or leave it out",
		`{"name":"a","conflate":0.0001}`:      "Choose between 0.001 and 3600",
		`{"name":"a","authorize_timeout":0}`:  "Choose between 0.01 and 30",
		`{"name":"a","authorize_cache":3601}`: "Choose between 0 and 3600",
		`{"name":"a","retentoin":1}`:          "retentoin",
		`{"name":"a","retention":"90d"}`:      "retention",
	} {
		n := full
		if err := json.Unmarshal([]byte(text), &n); err == nil || !strings.Contains(err.Error(), says) || n.Name != full.Name {
			t.Errorf("%s: %v, want %s", text, err, says)
		}
	}
}

func TestNamespacesAreFollowedLive(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	withFunction(t, conn)
	full := fullNamespace()
	if err := trunkline.SetNamespace(testContext(t), conn, full); err != nil {
		t.Fatal(err)
	}
	var engines []*trunkline.Engine
	var changes []chan struct{}
	for range 2 {
		changed := make(chan struct{}, 100)
		engines = append(engines, startEngine(t, url))
		engines[len(engines)-1].OnNamespaces(func() { changed <- struct{}{} })
		changes = append(changes, changed)
	}
	// Loaded before Start returns.
	for _, e := range engines {
		if diff := cmp.Diff(full, e.Namespace("project:42")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]trunkline.Namespace{inboxes, full, trunklines}, e.Namespaces()); diff != "" {
			t.Error(diff)
		}
		if n := e.Namespace("news"); n != (trunkline.Namespace{Name: "default"}) {
			t.Errorf("a channel without a row's settings: %+v", n)
		}
	}
	wait := func(what string, condition func(e *trunkline.Engine) bool) {
		t.Helper()
		for i, e := range engines {
			for !condition(e) {
				select {
				case <-changes[i]:
				case <-testContext(t).Done():
					t.Fatalf("node %d has not learned that %s: %+v", i, what, e.Namespaces())
				}
			}
		}
	}
	exec(t, conn, "UPDATE trunkline.namespace SET ring = 8 WHERE name = 'project'")
	wait("the ring changed", func(e *trunkline.Engine) bool { return e.Namespace("project:1").Ring == 8 })
	exec(t, conn, "INSERT INTO trunkline.namespace (name) VALUES ('default')")
	wait("there is a default", func(e *trunkline.Engine) bool { return e.Namespace("news").AuthorizeTimeout == time.Second })
	if err := trunkline.DeleteNamespace(testContext(t), conn, "project"); err != nil {
		t.Fatal(err)
	}
	wait("project has none", func(e *trunkline.Engine) bool {
		return e.Namespace("project:1") == trunkline.Namespace{Name: "project"}
	})

	// What cannot be a control message disturbs nobody.
	exec(t, conn, `INSERT INTO trunkline.message (channel, payload) SELECT 'trunkline:control', p::json FROM unnest('{"null",1,"{}"}'::text[]) p`)
	// More changes than a subscription's queue holds.
	exec(t, conn, "DO $$ BEGIN FOR i IN 1..3000 LOOP UPDATE trunkline.namespace SET ring = i WHERE name = 'default'; END LOOP; END $$")
	wait("the ring changed often", func(e *trunkline.Engine) bool { return e.Namespace("news").Ring == 3000 })
	// Changes that were not announced are found when the epoch changes.
	exec(t, conn, "SET session_replication_role = replica")
	exec(t, conn, "UPDATE trunkline.namespace SET ring = 5 WHERE name = 'default'")
	exec(t, conn, "RESET session_replication_role")
	exec(t, conn, "SELECT trunkline.new_epoch()")
	exec(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	wait("the epoch changed", func(e *trunkline.Engine) bool { return e.Namespace("news").Ring == 5 })
}

func TestNamespacesAreFollowedThroughARestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, nil)
	url := server.URL()
	engine := startEngine(t, url)
	changed := make(chan struct{}, 100)
	remove := engine.OnNamespaces(func() { changed <- struct{}{} })
	if err := server.Restart(testContext(t), "fast"); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, url)
	exec(t, conn, "INSERT INTO trunkline.namespace (name, ring) VALUES ('default', 3)")
	for engine.Namespace("news").Ring != 3 {
		select {
		case <-changed:
		case <-testContext(t).Done():
			t.Fatal("the change is not heard of")
		}
	}
	remove()
	remove()
	// The first change ends a call that was under way, the second shows that no other came.
	exec(t, conn, "UPDATE trunkline.namespace SET ring = 4")
	eventually(t, "the ring is 4", func() bool { return engine.Namespace("news").Ring == 4 })
	for len(changed) > 0 {
		<-changed
	}
	exec(t, conn, "UPDATE trunkline.namespace SET ring = 5")
	eventually(t, "the ring is 5", func() bool { return engine.Namespace("news").Ring == 5 })
	select {
	case <-changed:
		t.Error("a hook is called that was removed")
	default:
	}
}

// A role that was granted reading before there were namespaces still follows the log, and says what it lacks.
func TestEnginesStartWithAnOlderGrant(t *testing.T) {
	t.Parallel()
	name, owner, asRole := role(t, "older")
	conn := pgtest.Connect(t, owner)
	exec(t, conn, "SELECT trunkline.grant_read($1::text::regrole)", name)
	exec(t, conn, "REVOKE ALL ON trunkline.namespace FROM "+name)
	exec(t, conn, "INSERT INTO trunkline.namespace (name, ring) VALUES ('default', 3)")
	var lines logLines
	engine := startEngine(t, asRole, func(c *trunkline.Config) { c.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
	if n := engine.Namespace("news"); n != (trunkline.Namespace{Name: "default"}) {
		t.Errorf("settings that can't be read: %+v", n)
	}
	if want := fmt.Sprintf("SELECT trunkline.grant_read('%s')", name); !strings.Contains(lines.String(), want) {
		t.Errorf("the log doesn't name %s: %s", want, lines.String())
	}
	// With the grant, the next change is heard.
	startEngine(t, owner)
	exec(t, conn, "SELECT trunkline.grant_read($1::text::regrole)", name)
	eventually(t, "the settings are read", func() bool {
		exec(t, conn, "UPDATE trunkline.namespace SET ring = 4 WHERE name = 'default'")
		return engine.Namespace("news").Ring == 4
	})
	if n := strings.Count(lines.String(), "settings of namespaces"); n != 1 {
		t.Errorf("it warned %d times", n)
	}
}

func TestAdministrationNeedsItsGrant(t *testing.T) {
	t.Parallel()
	name, owner, asRole := role(t, "admin")
	conn, app := pgtest.Connect(t, owner), pgtest.Connect(t, asRole)
	ctx := testContext(t)
	_, key := trunkline.NewAPIKey()
	key.Name, key.Scopes = "k", []string{"read"}
	ways := []struct {
		name string
		do   func() error
	}{
		{"ListAPIKeys", func() error { return second(trunkline.ListAPIKeys(ctx, app)) }},
		{"SetNamespace", func() error { return trunkline.SetNamespace(ctx, app, trunkline.NewNamespace("a")) }},
		{"EditNamespace", func() error {
			return second(trunkline.EditNamespace(ctx, app, "a", func(*trunkline.Namespace) error { return nil }))
		}},
		{"DeleteNamespace", func() error { return trunkline.DeleteNamespace(ctx, app, "a") }},
		{"Revoke", func() error { return trunkline.Revoke(ctx, app, "ann", "c") }},
		{"RevokeToken", func() error { return trunkline.RevokeToken(ctx, app, "t") }},
		{"DisconnectUser", func() error { return trunkline.DisconnectUser(ctx, app, "ann", "") }},
		{"UnsubscribeUser", func() error { return trunkline.UnsubscribeUser(ctx, app, "ann", "c") }},
		{"CreateAPIKey", func() error { return trunkline.CreateAPIKey(ctx, app, key) }},
		{"RevokeAPIKey", func() error { return trunkline.RevokeAPIKey(ctx, app, "k") }},
	}
	for _, grant := range []string{"", "grant_publish", "grant_serve"} {
		if grant != "" {
			exec(t, conn, "SELECT trunkline."+grant+"($1::text::regrole)", name)
		}
		for i, way := range ways {
			if grant == "grant_serve" && i == 0 {
				continue
			}
			var privilege *trunkline.PrivilegeError
			if err := way.do(); !errors.As(err, &privilege) || privilege.Grant != "SELECT trunkline.grant_admin('ROLE')" {
				t.Errorf("%s with %q: %v", way.name, grant, err)
			}
		}
	}
	exec(t, conn, "SELECT trunkline.grant_admin($1::text::regrole)", name)
	for _, way := range ways {
		if err := way.do(); err != nil {
			t.Errorf("%s with the grant: %v", way.name, err)
		}
	}
}
