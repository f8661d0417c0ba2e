package main

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// value is the first column of the only row, as text.
func value(t *testing.T, conn *pgx.Conn, sql string) (text string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

const lastControl = "SELECT payload::jsonb::text FROM trunkline.message WHERE channel = 'trunkline:control' ORDER BY id DESC LIMIT 1"

func TestNamespaceCommands(t *testing.T) {
	s, conn := database(t)
	script(t, conn, "CREATE SCHEMA app; CREATE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
	out := succeed(t, s, "namespace", "set", "project", "--authorize", "app.may", "--authorize-cache", "0s", "--authorize-timeout=250ms", "--anonymous", "yes",
		"--retention", "1.5d12h", "--publish", "yes", "--presence", "no", "--join-leave", "token", "--conflate", "1m30s", "--ring", "9", "--publish-rate", "0.5")
	const shown = `name               project
authorize          app.may
authorize-cache    0s
authorize-timeout  250ms
anonymous          yes
retention          2d
publish            yes
presence           no
join-leave         token
conflate           1m30s
ring               9
publish-rate       0.5
`
	if out != shown {
		t.Errorf("set prints\n%swant\n%s", out, shown)
	}
	// Only what is given changes.
	succeed(t, s, "namespace", "set", "project", "--ring", "10")
	if out := succeed(t, s, "namespace", "show", "project"); out != strings.Replace(shown, "ring               9", "ring               10", 1) {
		t.Errorf("show prints\n%s", out)
	}
	out = succeed(t, s, "namespace", "set", "project", "--authorize", "none", "--anonymous", "no", "--retention", "none", "--publish", "no", "--presence", "token",
		"--conflate", "none", "--ring", "none", "--publish-rate", "none", "--json")
	if want := `{"name":"project","authorize_cache":0,"authorize_timeout":0.25,"publish":false}` + "\n"; out != want {
		t.Errorf("set --json prints %swant %s", out, want)
	}
	if out := succeed(t, s, "namespace", "show", "--json", "project"); !strings.HasPrefix(out, `{"name":"project"`) {
		t.Errorf("show --json prints %s", out)
	}
	out = succeed(t, s, "namespace", "list")
	if lines := strings.Split(out, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], "NAME ") || !strings.HasPrefix(lines[1], "inbox ") ||
		!strings.HasPrefix(lines[2], "project ") || !strings.HasPrefix(lines[3], "trunkline ") || !strings.Contains(lines[3], " 7d ") {
		t.Errorf("list prints\n%s", out)
	}
	var list []trunkline.Namespace
	if err := json.Unmarshal([]byte(succeed(t, s, "namespace", "list", "--json")), &list); err != nil || len(list) != 3 || list[1].Name != "project" {
		t.Errorf("list --json: %v, %+v", err, list)
	}
	if got := value(t, conn, lastControl); got != `{"type": "namespaces"}` {
		t.Errorf("nodes are told %s", got)
	}
	succeed(t, s, "namespace", "delete", "project")
	if n := value(t, conn, "SELECT count(*)::text FROM trunkline.namespace"); n != "2" {
		t.Errorf("%s namespaces are left", n)
	}
}

func TestAPIKeyCommands(t *testing.T) {
	s, conn := database(t)
	if code, out, said := do(t, s, "apikey", "list"); code != exitOK || out != "" || !strings.Contains(said, "no API keys") {
		t.Errorf("no keys: %d, %s%s", code, out, said)
	}
	code, out, said := do(t, s, "apikey", "create", "billing", "--scope", "publish, read", "--ttl", "90d")
	if code != exitOK || !regexp.MustCompile(`^tk_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}\n$`).MatchString(out) || !strings.Contains(said, "publish, read") {
		t.Fatalf("create: %d, %s%s", code, out, said)
	}
	key := strings.TrimSpace(out)
	if strings.Contains(said, key) {
		t.Error("the key is on stderr too")
	}
	stored := value(t, conn, "SELECT prefix || ' ' || encode(hash, 'hex') || ' ' || scopes::text FROM trunkline.apikey")
	if want := key[:11] + " " + hex.EncodeToString(trunkline.HashAPIKey(key)) + " {publish,read}"; stored != want {
		t.Errorf("stored is %s, want %s", stored, want)
	}
	var created createdKey
	if err := json.Unmarshal([]byte(succeed(t, s, "apikey", "create", "ops", "--scope", "admin", "--scope", "read", "--json")), &created); err != nil ||
		created.Name != "ops" || !strings.HasPrefix(created.Key, created.Prefix+"_") || created.ExpiresAt != nil || created.State != "good" {
		t.Errorf("create --json: %v, %+v", err, created)
	}
	if out := succeed(t, s, "apikey", "revoke", "billing"); out != "key billing is revoked\n" {
		t.Errorf("revoke prints %s", out)
	}
	if got := value(t, conn, lastControl); got != `{"type": "apikeys"}` {
		t.Errorf("nodes are told %s", got)
	}
	execute(t, conn, "UPDATE trunkline.apikey SET expires_at = now() WHERE name = 'ops'")
	succeed(t, s, "apikey", "create", "billing", "--scope", "publish")
	var states []string
	var list []listedKey
	if err := json.Unmarshal([]byte(succeed(t, s, "apikey", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		states = append(states, k.Name+" "+k.State)
	}
	if got := strings.Join(states, ", "); got != "billing revoked, billing good, ops expired" {
		t.Errorf("list --json: %s", got)
	}
	if out := succeed(t, s, "apikey", "list"); strings.Count(out, "\n") != 4 || !strings.Contains(out, key[:11]+"…") || strings.Contains(out, key) {
		t.Errorf("list prints\n%s", out)
	}
}

func TestRevokeCommands(t *testing.T) {
	s, conn := database(t)
	for _, test := range []struct{ args, says, told string }{
		{"revoke ann --channel project:1", "ann has by now don't count for project:1", `{"jti": "", "type": "revoke", "user": "ann", "channel": "project:1"}`},
		{"revoke ann", "ann has by now don't count any more", `{"jti": "", "type": "revoke", "user": "ann", "channel": ""}`},
		{"revoke --token t1", "token t1 is revoked", `{"jti": "t1", "type": "revoke", "user": "", "channel": ""}`},
		{"disconnect ann", "disconnect ann", `{"type": "disconnect", "user": "ann", "client": ""}`},
		{"disconnect ann --client c1", "disconnect ann", `{"type": "disconnect", "user": "ann", "client": "c1"}`},
		{"unsubscribe ann project:1", "unsubscribe ann from project:1", `{"type": "unsubscribe", "user": "ann", "channel": "project:1"}`},
	} {
		if out := succeed(t, s, strings.Fields(test.args)...); !strings.Contains(out, test.says) {
			t.Errorf("%s prints %s", test.args, out)
		}
		if got := value(t, conn, lastControl); got != test.told {
			t.Errorf("%s: nodes are told %s, want %s", test.args, got, test.told)
		}
	}
}

func TestAccessCommandsRefuse(t *testing.T) {
	s, conn := database(t)
	succeed(t, s, "apikey", "create", "taken", "--scope", "read")
	for _, test := range []struct {
		says string
		args []string
	}{
		{"yes, no and token", []string{"namespace", "set", "a", "--publish", "maybe"}},
		{"neither yes nor no", []string{"namespace", "set", "a", "--anonymous", "token"}},
		{"--anonymous", []string{"namespace", "set", "a", "--anonymous", ""}},
		{"no time", []string{"namespace", "set", "a", "--retention", "soon"}},
		{"no time", []string{"namespace", "set", "a", "--retention=-1d"}},
		{"no time", []string{"namespace", "set", "a", "--retention", "NaNd"}},
		{"no time", []string{"namespace", "set", "a", "--retention", "d"}},
		{"no time", []string{"namespace", "set", "a", "--retention", "36501d"}},
		{"write none", []string{"namespace", "set", "a", "--retention", "0d"}},
		{"can't be zero", []string{"namespace", "set", "a", "--authorize-timeout", "0s"}},
		{"retention of namespace \"a\" cannot be 00:00:00.5. Choose between", []string{"namespace", "set", "a", "--retention", "500ms"}},
		{"Choose between 10 ms and 30 s", []string{"namespace", "set", "a", "--authorize-timeout", "1h"}},
		{"there is no function app.no(text, text, text)", []string{"namespace", "set", "a", "--authorize", "app.no"}},
		{"Set authorize too", []string{"namespace", "set", "a", "--anonymous", "yes"}},
		{"--ring \"1.5\"", []string{"namespace", "set", "a", "--ring", "1.5"}},
		{"--ring \"0\"", []string{"namespace", "set", "a", "--ring", "0"}},
		{"--publish-rate \"NaN\"", []string{"namespace", "set", "a", "--publish-rate", "NaN"}},
		{`contains a ":"`, []string{"namespace", "set", "a:b"}},
		{"not UTF-8", []string{"namespace", "set", "a\xff"}},
		{"closed to clients", []string{"namespace", "set", "trunkline", "--publish", "yes"}},
		{`namespace "a" has no settings`, []string{"namespace", "show", "a"}},
		{`there is no namespace "a"`, []string{"namespace", "delete", "a"}},
		{"can't be removed", []string{"namespace", "delete", "trunkline"}},
		{"namespace --help", []string{"namespace"}},
		{"see trunkline apikey create --help", []string{"apikey", "create", "k"}},
		{`cannot have the scope "write"`, []string{"apikey", "create", "k", "--scope", "write"}},
		{"no time", []string{"apikey", "create", "k", "--scope", "read", "--ttl", "x"}},
		{"less than a second", []string{"apikey", "create", "k", "--scope", "read", "--ttl", "1ms"}},
		{`there is an API key "taken" already`, []string{"apikey", "create", "taken", "--scope", "read"}},
		{`no API key "k" that could be revoked`, []string{"apikey", "revoke", "k"}},
		{"Give a user, or --token", []string{"revoke"}},
		{"names the token already", []string{"revoke", "ann", "--token", "t"}},
		{"names the token already", []string{"revoke", "--channel", "c", "--token", "t"}},
		{"Trunkline's own", []string{"revoke", "ann", "--channel", "trunkline:control"}},
		{"256 bytes", []string{"disconnect", strings.Repeat("x", 256)}},
		{"the user is missing", []string{"disconnect", ""}},
		{"a channel is missing", []string{"unsubscribe", "ann", ""}},
	} {
		code, out, said := do(t, s, test.args...)
		if code != exitUsage || out != "" || !strings.Contains(said, test.says) {
			t.Errorf("%q: exit code %d, %s%s\nwant %s", test.args, code, out, said, test.says)
		}
	}
	if n := value(t, conn, "SELECT count(*)::text FROM trunkline.namespace"); n != "2" {
		t.Errorf("%s namespaces were made", n)
	}
	role, app := newRole(t, s, conn)
	for _, line := range []string{
		"namespace set a", "namespace delete a", "apikey create k --scope read", "apikey list", "apikey revoke k", "revoke ann", "revoke --token t", "disconnect ann",
		"unsubscribe ann c",
	} {
		code, _, said := do(t, app, strings.Fields(line)...)
		if want := "SELECT trunkline.grant_admin('" + role + "')"; code != exitFailed || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d, want the grant %s: %s", line, code, want, said)
		}
	}
	if code, _, said := do(t, app, "namespace", "list"); code != exitFailed || !strings.Contains(said, "SELECT trunkline.grant_read('"+role+"')") {
		t.Errorf("namespace list: exit code %d: %s", code, said)
	}
}

func TestEveryAccessCommandTeachesByExample(t *testing.T) {
	for _, line := range []string{
		"namespace list", "namespace show", "namespace set", "namespace delete", "apikey create", "apikey list", "apikey revoke", "revoke", "disconnect", "unsubscribe",
	} {
		out := succeed(t, surroundings{}, append(strings.Fields(line), "--help")...)
		if !strings.Contains(out, "    trunkline "+line) {
			t.Errorf("%s --help:\n%s", line, out)
		}
	}
}

func TestPeriods(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "0s": 0,
	} {
		got, err := parsePeriod("x", text)
		if err != nil || got != want {
			t.Errorf("parsePeriod(%q) = %v, %v", text, got, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", 36 * time.Hour: "36h", 48 * time.Hour: "2d",
		60 * time.Hour: "2d12h", 90 * 24 * time.Hour: "90d", 1500 * time.Microsecond: "1.5ms", time.Hour + 5*time.Second: "1h0m5s",
	} {
		if got := period(d); got != want {
			t.Errorf("period(%v) = %s, want %s", d, got, want)
		}
		if back, err := parsePeriod("x", period(d)); err != nil || back != d {
			t.Errorf("%s reads back as %v, %v", want, back, err)
		}
	}
}
