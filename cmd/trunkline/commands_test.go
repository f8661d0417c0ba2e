package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestPublishAndHistory(t *testing.T) {
	s, _ := database(t)
	id := strings.TrimSpace(succeed(t, s, "publish", "news", `{"a" :1}`, "--sender", "ann", "--key", "k"))
	if again := strings.TrimSpace(succeed(t, s, "publish", "news", `{"a" :1}`, "--key", "k")); again != id {
		t.Errorf("the same key gave message %s, then %s", id, again)
	}
	code, _, said := do(t, s, "publish", "news", `{"a": 2}`, "--key", "k")
	if code != exitFailed || !strings.Contains(said, `"k"`) || !strings.Contains(said, "another payload") {
		t.Errorf("another payload under the key: exit code %d: %s", code, said)
	}
	s.stdin = strings.NewReader("\"from stdin\"\n")
	succeed(t, s, "publish", "news", "-")
	s.stdin = strings.NewReader("[2]\n")
	var answer struct {
		ID      int64
		Channel string
	}
	if err := json.Unmarshal([]byte(succeed(t, s, "publish", "news", "--json")), &answer); err != nil || answer.ID == 0 || answer.Channel != "news" {
		t.Errorf("--json: %+v, %v", answer, err)
	}

	// Nobody has sequenced yet.
	code, out, said := do(t, s, "history", "news")
	if code != exitOK || out != "" || !strings.Contains(said, "no messages") || !strings.Contains(said, "nobody sequences") {
		t.Errorf("history before sequencing: exit code %d: %s%s", code, out, said)
	}
	start(t, s, "listen", "news", "--from", "beginning", "--count", "3").wait(t)

	lines := strings.Split(strings.TrimSpace(succeed(t, s, "history", "news")), "\n")
	for i, want := range []string{`news #1 ann {"a" :1}`, `news #2 - "from stdin"`, `news #3 - [2]`} {
		if len(lines) != 3 || !strings.HasSuffix(lines[i], want) {
			t.Fatalf("history is %q, want line %d to be … %s", lines, i, want)
		}
	}
	_, out, said = do(t, s, "history", "news", "--after", "1", "--limit", "1", "--json")
	var m oneMessage
	if err := json.Unmarshal([]byte(out), &m); err != nil || m.Seq != 2 || string(m.Payload) != `"from stdin"` || m.Since == "" {
		t.Errorf("--json: %s (%v)", out, err)
	}
	if !strings.Contains(said, "--after 2") {
		t.Errorf("it doesn't say how to go on: %s", said)
	}
	position, err := trunkline.ParsePosition(m.Since)
	if err != nil || position.Epoch != m.Epoch || position.Position != m.Position {
		t.Errorf("since %q, epoch %q, position %d", m.Since, m.Epoch, m.Position)
	}
	late := start(t, s, "listen", "news", "other", "--since", m.Since, "--count", "1")
	late.out.line(t, "news #3 - [2]")
	late.err.line(t, "go on with --since "+m.Epoch+":")
	start(t, s, "listen", "news", "--from", m.Epoch+":1", "--count", "1").out.line(t, `news #2 - "from stdin"`)
}

func TestHistorySaysWhatWasTrimmed(t *testing.T) {
	s, conn := database(t)
	for i := range 3 {
		succeed(t, s, "publish", "news", strconv.Itoa(i))
	}
	start(t, s, "listen", "news", "--from", "beginning", "--count", "3").wait(t)
	execute(t, conn, `WITH gone AS (DELETE FROM trunkline.log WHERE position <= 2 RETURNING message_id),
		trimmed AS (UPDATE trunkline.channel SET trimmed_seq = 2, trimmed_position = 2)
		DELETE FROM trunkline.message WHERE id IN (SELECT message_id FROM gone)`)
	_, out, said := do(t, s, "history", "news")
	if !strings.Contains(out, "news #3") || !strings.Contains(said, "before number 3 were removed by retention") {
		t.Errorf("history: %s%s", out, said)
	}
	code, _, said := do(t, s, "listen", "news", "--from", "0123456789ab:1")
	if code != exitFailed || !strings.Contains(said, "0123456789ab") {
		t.Errorf("listen from another epoch: exit code %d: %s", code, said)
	}
}

func TestWatches(t *testing.T) {
	s, conn := article(t, "")
	succeed(t, s, "watch", "message", "--channel", "{channel}", "--op", "insert,update", "--columns", "id,content", "--where", "id > 0",
		"--payload", "change", "--truncate-channel", "gone", "--notify")
	var watches []trunkline.Watch
	if err := json.Unmarshal([]byte(succeed(t, s, "watches", "--json")), &watches); err != nil || len(watches) != 1 {
		t.Fatalf("%v: %+v", err, watches)
	}
	w := watches[0]
	if w.Channel != "{channel}" || !slices.Contains(w.Ops, "update") || slices.Contains(w.Ops, "delete") ||
		!slices.Equal(w.Columns, []string{"id", "content"}) || w.Where != "id > 0" || w.Payload != "change" || w.TruncateChannel != "gone" || !w.Notify {
		t.Errorf("watch %+v", w)
	}
	var answer struct{ ID int }
	if err := json.Unmarshal([]byte(succeed(t, s, "watch", "appuser", "--channel", "user:{id}", "--json")), &answer); err != nil || answer.ID == 0 {
		t.Errorf("%v: %+v", err, answer)
	}
	table := succeed(t, s, "watches")
	for _, part := range []string{"TABLE", "TRUNCATE", "REJECTED", "message", "user:{id}", "id,content", " gone "} {
		if !strings.Contains(table, part) {
			t.Errorf("%q isn't in\n%s", part, table)
		}
	}
	if strings.Contains(table, "not watched") {
		t.Errorf("a choice is remarked upon:\n%s", table)
	}

	listener := start(t, s, "listen", "broadcast", "gone", "--json")
	listener.err.line(t, "listening")
	say(t, conn, "one")
	listener.out.line(t, `"new":{"id":1,"content":"one"}`)
	execute(t, conn, "TRUNCATE message")
	listener.out.line(t, `"channel":"gone"`)

	succeed(t, s, "unwatch", "message", "--channel", "{channel}")
	succeed(t, s, "unwatch", "appuser", "--channel", "user:{id}")
	code, out, said := do(t, s, "watches")
	if code != exitOK || out != "" || !strings.Contains(said, "no table is watched") {
		t.Errorf("exit code %d: %s%s", code, out, said)
	}
	if out := succeed(t, s, "watches", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("--json: %s", out)
	}
}

func TestWatchOfADroppedTableIsRemovedByItsNumber(t *testing.T) {
	s, conn := article(t, "")
	var answer struct{ ID int }
	if err := json.Unmarshal([]byte(succeed(t, s, "watch", "message", "--channel", "x", "--json")), &answer); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "DROP TABLE message CASCADE")
	remedy := "trunkline unwatch --id " + strconv.Itoa(answer.ID)
	if out := succeed(t, s, "watches"); !strings.Contains(out, remedy) {
		t.Errorf("watches doesn't say %s:\n%s", remedy, out)
	}
	succeed(t, s, strings.Fields(remedy)[1:]...)
	if out := succeed(t, s, "watches", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("left: %s", out)
	}
}

func TestBadInputNamesTheValueAndTheFix(t *testing.T) {
	s, _ := article(t, "")
	succeed(t, s, "publish", "news", "1")
	start(t, s, "listen", "news", "--from", "beginning", "--count", "1").wait(t)
	succeed(t, s, "watch", "message", "--channel", "{channel}")
	var page []oneMessage
	for line := range strings.Lines(succeed(t, s, "history", "news", "--json")) {
		var m oneMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		page = append(page, m)
	}
	epoch := page[0].Epoch
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"an empty channel", []string{"publish", "", "1"}, exitUsage, []string{"empty", "1 to 255 bytes"}},
		{"a long channel", []string{"publish", long, "1"}, exitUsage, []string{"256 bytes", "1 to 255 bytes"}},
		{"a control character", []string{"publish", "a\x07b", "1"}, exitUsage, []string{`a\ab`, "control character"}},
		{"an empty channel to listen to", []string{"listen", ""}, exitUsage, []string{"empty", "1 to 255 bytes"}},
		{"a long channel to listen to", []string{"listen", long}, exitUsage, []string{"256 bytes"}},
		{"a long raw channel", []string{"listen", strings.Repeat("x", 64), "--raw"}, exitUsage, []string{"64 bytes", "63 bytes"}},
		{"a channel of Trunkline's own", []string{"publish", "trunkline:x", "1"}, exitUsage, []string{"trunkline:x", "another namespace"}},
		{"history of an empty channel", []string{"history", ""}, exitUsage, []string{"empty"}},
		{"history with no limit", []string{"history", "news", "--limit", "0"}, exitUsage, []string{"limit 0", "10000"}},
		{"a payload that isn't JSON", []string{"publish", "news", "hello"}, exitUsage, []string{"hello", `"hello"`, "quotes"}},
		{"no payload", []string{"publish", "news"}, exitUsage, []string{"standard input is empty", "JSON"}},
		{"a payload too large", []string{"publish", "news", `"` + strings.Repeat("x", 1<<20) + `"`}, exitUsage, []string{"1048578 bytes", "1048576", "set_max_payload"}},
		{"a long key", []string{"publish", "news", "1", "--key", long}, exitUsage, []string{"key", "255 bytes"}},
		{"an unknown table", []string{"watch", "nowhere", "--channel", "x"}, exitUsage, []string{"nowhere", "schema"}},
		{"an unknown column in the template", []string{"watch", "message", "--channel", "x:{nothing}"}, exitUsage, []string{"nothing", "id, sender, channel, content"}},
		{"an unknown column", []string{"watch", "message", "--channel", "x", "--columns", "id,nothing"}, exitUsage, []string{"nothing", "id, sender, channel, content"}},
		{"a watch that exists", []string{"watch", "message", "--channel", "{channel}"}, exitUsage, []string{"{channel}", "trunkline unwatch message --channel '{channel}'"}},
		{"an unknown operation", []string{"watch", "message", "--channel", "x", "--op", "select"}, exitUsage, []string{"select", "insert, update, delete"}},
		{"truncate without a channel", []string{"watch", "message", "--channel", "x", "--op", "truncate"}, exitUsage, []string{"--truncate-channel"}},
		{"an unknown payload form", []string{"watch", "message", "--channel", "x", "--payload", "both"}, exitUsage, []string{"both", "change"}},
		{"a name that wants quotes", []string{"watch", "Mixed Case", "--channel", "x"}, exitUsage, []string{"Mixed Case", `'"Mixed Case"'`}},
		{"no watch is named", []string{"unwatch", "message"}, exitUsage, []string{"--channel", "--id"}},
		{"a number that no watch has", []string{"unwatch", "--id", "999"}, exitUsage, []string{"999", "trunkline watches"}},
		{"a watch that isn't there", []string{"unwatch", "message", "--channel", "other"}, exitUsage, []string{"other", "{channel}"}},
		{"a template that is missing", []string{"watch", "message"}, exitUsage, []string{"--channel", "trunkline watch --help"}},
		{"another epoch", []string{"listen", "news", "--from", "0123456789ab:1"}, exitFailed, []string{"0123456789ab", epoch, "beginning"}},
		{"a position of another epoch", []string{"listen", "news", "--since", "0123456789ab:1"}, exitFailed, []string{"0123456789ab", epoch}},
		{"beyond the channel", []string{"listen", "news", "--from", epoch + ":7"}, exitFailed, []string{"seq 7", "whose last is 1"}},
		{"beyond the log", []string{"listen", "news", "--since", epoch + ":7000"}, exitFailed, []string{"7000", "whose last is 1", "--from now"}},
		{"a bare position", []string{"listen", "news", "--since", "17"}, exitUsage, []string{`"17"`, "EPOCH:POSITION"}},
		{"a bare seq", []string{"listen", "news", "--from", "17"}, exitUsage, []string{`"17"`, "EPOCH:SEQ", "beginning"}},
		{"one seq for two channels", []string{"listen", "news", "other", "--from", epoch + ":1"}, exitUsage, []string{"2 are given", "--since"}},
		{"from and since", []string{"listen", "news", "--from", "now", "--since", epoch + ":1"}, exitUsage, []string{"exclude"}},
		{"the past of a raw channel", []string{"listen", "news", "--raw", "--from", "beginning"}, exitUsage, []string{"--raw", "--from"}},
		{"a negative count", []string{"listen", "news", "--count=-1"}, exitUsage, []string{"-1"}},
		{"an unknown command", []string{"lisen", "news"}, exitUsage, []string{"lisen", "listen"}},
		{"an unknown flag", []string{"publish", "news", "1", "--kee", "x"}, exitUsage, []string{"--kee", "trunkline publish --help"}},
		{"a flag of psql's without its value", []string{"psql", "--data-dir"}, exitUsage, []string{"--data-dir"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, said := do(t, s, test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, part := range test.says {
				if !strings.Contains(said, part) {
					t.Errorf("%q doesn't say %q", said, part)
				}
			}
			if out != "" || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "trunkline: ") {
				t.Errorf("it isn't one line on stderr: %q, and on stdout %q", said, out)
			}
		})
	}
	// Nothing was half-done.
	if got := strings.Count(succeed(t, s, "history", "news"), "\n"); got != 1 {
		t.Errorf("the channel has %d messages", got)
	}
	var watches []trunkline.Watch
	if err := json.Unmarshal([]byte(succeed(t, s, "watches", "--json")), &watches); err != nil || len(watches) != 1 {
		t.Errorf("%v: %+v", err, watches)
	}
}

// newRole makes a role that may do nothing yet, and the surroundings of commands that it runs.
func newRole(t *testing.T, s surroundings, conn *pgx.Conn) (string, surroundings) {
	t.Helper()
	role := "app_" + strings.ToLower(rand.Text()[:10])
	execute(t, conn, "CREATE ROLE "+role+" LOGIN PASSWORD 'app'")
	t.Cleanup(func() {
		// Roles belong to the cluster, which other tests use too.
		if _, err := conn.PgConn().Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role).ReadAll(); err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	_, rest, _ := strings.Cut(s.env["TRUNKLINE_DATABASE_URL"], "@")
	return role, on(t, "postgres://"+role+":app@"+rest)
}

func TestMissingPrivilegesNameTheGrant(t *testing.T) {
	s, conn := article(t, "")
	role, app := newRole(t, s, conn)
	for _, test := range []struct {
		args  []string
		grant string
	}{
		{[]string{"publish", "news", "1"}, "SELECT trunkline.grant_publish('" + role + "')"},
		{[]string{"history", "news"}, "SELECT trunkline.grant_read('" + role + "')"},
	} {
		code, _, said := do(t, app, test.args...)
		if code != exitFailed || !strings.Contains(said, test.grant) {
			t.Errorf("%s: exit code %d, want the grant %s: %s", test.args[0], code, test.grant, said)
		}
	}
	for _, command := range []string{"listen news", "watches", "watch message --channel x", "unwatch message --channel x"} {
		code, _, said := do(t, app, strings.Fields(command)...)
		if code == exitOK || !strings.Contains(said, "trunkline.grant_") || !strings.Contains(said, "'"+role+"'") {
			t.Errorf("%s: exit code %d: %s", command, code, said)
		}
	}
	execute(t, conn, "SELECT trunkline.grant_publish('"+role+"')", "SELECT trunkline.grant_read('"+role+"')")
	startServer(t, s)
	succeed(t, app, "publish", "news", "1")
	listener := start(t, app, "listen", "news", "--from", "beginning", "--count", "1")
	listener.out.line(t, "news #1")
	if code := listener.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	succeed(t, app, "history", "news")
}

func TestMigrate(t *testing.T) {
	s := on(t, pgtest.EmptyDatabase(t))
	sql := succeed(t, s, "migrate", "--print")
	if !strings.Contains(sql, "CREATE TABLE trunkline.message") {
		t.Error("--print doesn't print the schema")
	}
	if out := succeed(t, s, "migrate"); !strings.Contains(out, "before: 0") {
		t.Errorf("migrate says %s", out)
	}
	if out := succeed(t, s, "migrate"); !strings.Contains(out, "already") {
		t.Errorf("again, it says %s", out)
	}
	by := on(t, pgtest.EmptyDatabase(t))
	script(t, pgtest.Connect(t, by.env["TRUNKLINE_DATABASE_URL"]), sql)
	if out := succeed(t, by, "migrate"); !strings.Contains(out, "already") {
		t.Errorf("after the printed SQL, it says %s", out)
	}
}

func TestVersion(t *testing.T) {
	var b build
	if err := json.Unmarshal([]byte(succeed(t, surroundings{}, "version", "--json")), &b); err != nil || b.Go == "" || b.Schema == 0 {
		t.Errorf("%v: %+v", err, b)
	}
	if out := succeed(t, surroundings{}, "version"); !strings.HasPrefix(out, "trunkline ") {
		t.Errorf("version says %s", out)
	}
}

func TestEveryCommandTeachesByExample(t *testing.T) {
	var c cli
	parser, err := newParser(&c, &configFile{}, newOutput(), newOutput(), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range parser.Model.Children {
		if node.Type != kong.CommandNode || node.Name == "version" || node.Name == "bench" {
			continue
		}
		code, out, said := do(t, surroundings{}, node.Name, "--help")
		if code != exitOK || said != "" || !strings.Contains(out, "    trunkline "+node.Name) {
			t.Errorf("%s --help: exit code %d\n%s%s", node.Name, code, out, said)
		}
	}
	for _, args := range [][]string{nil, {"--help"}} {
		if code, out, _ := do(t, surroundings{}, args...); code != exitOK || !strings.Contains(out, "Exit codes: 0") || !strings.Contains(out, "trunkline serve") {
			t.Errorf("help: exit code %d\n%s", code, out)
		}
	}
}

func TestEveryFlagIsAVariableToo(t *testing.T) {
	s, _ := database(t)
	succeed(t, s, "publish", "news", "1")
	s.env["TRUNKLINE_FROM"], s.env["TRUNKLINE_COUNT"], s.env["TRUNKLINE_JSON"] = "beginning", "1", "true"
	if out := succeed(t, s, "listen", "news"); !strings.HasPrefix(out, `{"channel":"news"`) {
		t.Errorf("listen prints %s", out)
	}
	s.env["TRUNKLINE_COUNT"] = "many"
	if code, _, said := do(t, s, "listen", "news"); code != exitUsage || !strings.Contains(said, "many") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if code, _, said := do(t, surroundings{env: map[string]string{"TRUNKLINE_LOG_LEVEL": "loud"}}, "version"); code != exitUsage || !strings.Contains(said, "loud") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestPsqlTakesItsFlagsAndOurs(t *testing.T) {
	for _, test := range []struct{ args, rest, dir string }{
		{"-c SELECT", "-c SELECT", ""},
		{"--data-dir x -c SELECT", "-c SELECT", "x"},
		{"-c SELECT --data-dir=x postgres", "-c SELECT postgres", "x"},
		{"-- --data-dir x", "--data-dir x", ""},
		{"-A -- --help", "-A --help", ""},
	} {
		var a app
		rest, err := a.takeOwn(strings.Fields(test.args))
		if err != nil || strings.Join(rest, " ") != test.rest || a.DataDir != test.dir {
			t.Errorf("%s: rest %q, data folder %q (%v)", test.args, rest, a.DataDir, err)
		}
	}
	for _, test := range []struct{ url, want string }{
		{"postgres://ann:s%3Dcret@db:5433/app?sslmode=disable&pool_max_conns=3", "PGDATABASE=app PGHOST=db PGPASSWORD=s=cret PGPORT=5433 PGSSLMODE=disable PGUSER=ann"},
		{"host=/tmp user=ann dbname=app sslmode=disable", "PGDATABASE=app PGHOST=/tmp PGPORT=5432 PGSSLMODE=disable PGUSER=ann"},
		{"postgres://ann@a:1,b:2/app", "PGDATABASE=app PGHOST=a,b PGPORT=1,2 PGUSER=ann"},
	} {
		env, err := psqlEnv(test.url)
		slices.Sort(env)
		if got := strings.Join(env, " "); err != nil || got != test.want {
			t.Errorf("%s: %s (%v)\nwant %s", test.url, got, err, test.want)
		}
	}
}

func TestWhatStrangersSentStaysOnItsLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü": "plain ü", "a\nb\tc": "a b c", "\x1b[31mred": `\u001b[31mred`, "\u009b31m": `\u009b31m`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"plain": "plain", "{channel}": "'{channel}'", "it's": `'it'\''s'`, "": "''"} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestColorsOnlyOnATerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if colorsOf(null) || colorsOf(file) || colorsOf(newOutput()) {
		t.Error("colors without a terminal")
	}
}

func TestServeNamesTheGrantThatItsRoleLacks(t *testing.T) {
	s, conn := article(t, "")
	role, app := newRole(t, s, conn)
	execute(t, conn, "SELECT trunkline.grant_read('"+role+"')")
	code, _, said := do(t, app, "serve", "--listen", "127.0.0.1:0")
	if code == exitOK || !strings.Contains(said, "SELECT trunkline.grant_serve('"+role+"')") {
		t.Errorf("exit code %d: %s", code, said)
	}
	expect(t, diagnose(t, app, exitOK), "privileges", statusWarning, "SELECT trunkline.grant_publish('"+role+"')", "SELECT trunkline.grant_serve('"+role+"')")
	execute(t, conn, "SELECT trunkline.grant_serve('"+role+"')")
	address(t, start(t, app, "serve", "--listen", "127.0.0.1:0"))
}
