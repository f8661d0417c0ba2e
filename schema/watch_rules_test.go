package schema_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	const columns = "id, project_id, title, done"
	tests := []struct {
		name    string
		call    string
		code    string
		message string
		hint    string
	}{
		{"unknown column", `'task', 'p:{nope}'`, "42703", `"nope"`, columns},
		{"case matters", `'task', 'p:{ID}'`, "42703", `"ID"`, columns},
		{"empty braces", `'task', 'p:{}'`, "42703", `""`, columns},
		{"system column", `'task', 'p:{ctid}'`, "42703", `"ctid"`, columns},
		{"open brace", `'task', 'p:{id'`, "22023", "not closed", "{{"},
		{"lone closing brace", `'task', 'p:}'`, "22023", "closes nothing", "}}"},
		{"empty template", `'task', ''`, "22023", "empty", "project:{project_id}"},
		{"NULL template", `'task', NULL`, "22023", "NULL", "project:{project_id}"},
		{"own namespace", `'task', 'trunkline:{id}'`, "22023", "trunkline", "project:42"},
		{"control character", `'task', E'a\n{id}'`, "22023", "control character", "project:42"},
		{"template too long", `'task', repeat('x', 256)`, "22023", "256 bytes", "project:42"},
		{"unknown op", `'task', 'p', op => '{insert,upsert}'`, "22023", "'upsert'", "insert, update, delete and truncate"},
		{"NULL op", `'task', 'p', op => '{NULL}'`, "22023", "NULL", "insert"},
		{"no op", `'task', 'p', op => '{}'`, "22023", "empty", "insert"},
		{"truncate without channel", `'task', 'p', op => '{truncate}'`, "22023", "truncate_channel", "truncate_channel =>"},
		{"truncate_channel with a column", `'task', 'p', truncate_channel => 'p:{id}'`, "22023", "p:{id}", "one channel"},
		{"empty truncate_channel", `'task', 'p', truncate_channel => ''`, "22023", "empty", ""},
		{"unknown payload", `'task', 'p', payload => 'diff'`, "22023", "'diff'", "row (the row) and change"},
		{"unknown column in columns", `'task', 'p', columns => '{id,nope}'`, "42703", `"nope"`, columns},
		{"NULL in columns", `'task', 'p', columns => '{NULL}'`, "42703", "NULL", columns},
		{"doubled column", `'task', 'p', columns => '{id,done,id}'`, "22023", `"id"`, "once"},
		{"no columns", `'task', 'p', columns => '{}'`, "22023", "empty", columns},
		{"predicate does not parse", `'task', 'p', predicate => 'id >'`, "42601", `"id >"`, columns},
		{"predicate is not boolean", `'task', 'p', predicate => 'id + 1'`, "42804", `"id + 1"`, columns},
		{"predicate names an unknown column", `'task', 'p', predicate => 'nope = 1'`, "42703", `"nope = 1"`, columns},
		{"predicate is two statements", `'task', 'p', predicate => 'true)); DROP TABLE task; SELECT ((true'`, "42601", "DROP TABLE", columns},
		{"predicate leaves its parentheses", `'task', 'p', predicate => 'true) OR (true'`, "42601", "true) OR (true", columns},
		{"predicate leaves brackets", `'task', 'p', predicate => 'true] || ARRAY[true'`, "42601", "true]", columns},
		{"predicate is a list", `'task', 'p', predicate => 'true, false'`, "42804", "true, false", columns},
		{"predicate is empty", `'task', 'p', predicate => ''`, "42601", `""`, columns},
		{"predicate opens a comment", `'task', 'p', predicate => 'true /*'`, "42601", "true /*", columns},
		{"predicate aggregates", `'task', 'p', predicate => 'count(*) > 1'`, "42803", "count(*)", columns},
		{"old in an insert", `'task', 'p', predicate => 'old.id = 1'`, "42P01", "for insert", "old.x"},
		{"new in a delete", `'task', 'p', predicate => 'new.id = 1', op => '{delete}'`, "42P01", "for delete", "new.x"},
		{"predicate that plans to an error", `'task', 'p', predicate => '1 / 0 = 1'`, "22012", "1 / 0", columns},
		{"same channel twice", `'task', 'taken'`, "42710", `"taken"`, "unwatch"},
		{"partition of a watched table", `'part_1', 'taken'`, "42710", `"taken"`, "unwatch"},
		{"view", `'tasks', 'p'`, "42809", "public.tasks is a view", "tables that it reads"},
		{"foreign table", `'remote', 'p'`, "42809", "foreign table", "where it is"},
		{"sequence", `'counter', 'p'`, "42809", "sequence", "table"},
		{"temporary table", `'temporary', 'p'`, "42809", "temporary", "trunkline.publish"},
		{"system table", `'pg_class', 'p'`, "42501", "pg_catalog.pg_class", "of your own"},
		{"Trunkline's own", `'trunkline.message', 'p'`, "42501", "trunkline.message", "Subscribe"},
		{"no table", `NULL, 'p'`, "22004", "NULL", "public.task"},
		{"dropped table", `4294967295, 'p'`, "42P01", "4294967295", "public.task"},
	}
	d := open(t)
	d.run(task + `SELECT trunkline.watch('task', 'taken'); CREATE VIEW tasks AS TABLE task; CREATE SEQUENCE counter;
		CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE FOREIGN TABLE remote (id int) SERVER nowhere;
		CREATE TABLE part (id int) PARTITION BY LIST (id); CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
		SELECT trunkline.watch('part', 'taken'); CREATE TEMPORARY TABLE temporary (id int)`)
	const state = `SELECT string_agg(name, ' ' ORDER BY name) FROM (
		SELECT proname AS name FROM pg_proc WHERE proname LIKE 'trunkline%' UNION ALL SELECT tgname FROM pg_trigger
		UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'watch%') x`
	before := d.column(state)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := database{T: t, conn: d.conn}
			err := d.fails("SELECT trunkline.watch(" + test.call + ")")
			if err.Code != test.code {
				t.Errorf("got SQLSTATE %s (%s), want %s", err.Code, err.Message, test.code)
			}
			if !strings.Contains(err.Message, test.message) {
				t.Errorf("message %q lacks %q", err.Message, test.message)
			}
			if err.Hint == "" || !strings.Contains(err.Hint, test.hint) {
				t.Errorf("hint %q lacks %q", err.Hint, test.hint)
			}
			d.want(d.column(state), before...)
		})
	}
}

func TestWatchRights(t *testing.T) {
	t.Parallel()
	d := open(t)
	ann, bob := d.role(), d.role()
	d.run(fmt.Sprintf(`SET ROLE %[1]s; CREATE TABLE %[1]s.task (id int, project_id int); GRANT INSERT ON %[1]s.task TO %[2]s;
		GRANT USAGE, CREATE ON SCHEMA %[1]s TO %[2]s`, ann, bob))

	d.run("SET ROLE " + bob)
	if err := d.fails(fmt.Sprintf("SELECT trunkline.watch('%s.task', 'p')", ann)); err.Code != "42501" || !strings.Contains(err.Hint, ann) {
		t.Errorf("watching another's table: %v, hint %q", err, err.Hint)
	}

	// The owner's rights count, not the writer's: bob may publish, then may not, and his insert is published all the same.
	d.run(fmt.Sprintf("SET ROLE %[1]s; SELECT trunkline.watch('%[1]s.task', 'p:{project_id}')", ann))
	d.run(fmt.Sprintf("RESET ROLE; REVOKE USAGE ON SCHEMA trunkline FROM %[2]s; SET ROLE %[2]s; INSERT INTO %[1]s.task VALUES (1, 7)", ann, bob))
	d.run("RESET ROLE")
	d.want(d.messages(), `p:7 {"id":1,"project_id":7}`)
	d.want(d.column("SELECT created_by FROM trunkline.watches"), ann)

	// Nobody else can run the function from a table of his own, or remove it.
	d.run("GRANT USAGE ON SCHEMA trunkline TO " + bob)
	d.run(fmt.Sprintf("SET ROLE %[1]s; CREATE TABLE %[1]s.task (id int, project_id int)", bob))
	err := d.fails(fmt.Sprintf(`CREATE TRIGGER t AFTER INSERT ON %[2]s.task REFERENCING NEW TABLE AS trunkline_new
		FOR EACH STATEMENT EXECUTE FUNCTION %[1]s.trunkline_watch_1_insert()`, ann, bob))
	if err.Code != "42501" {
		t.Errorf("borrowing a watch's function: %v", err)
	}
	if err := d.fails("SELECT trunkline.unwatch(1)"); err.Code != "42501" || !strings.Contains(err.Message, ann) {
		t.Errorf("unwatching another's: %v", err)
	}
	d.run("SELECT trunkline.forget_watch(1)")
	d.want(d.column("SELECT skipped FROM trunkline.watches"), "0")
	d.run("RESET ROLE")
	d.want(d.column("SELECT to_regclass('trunkline.watch_1_skipped')"), "trunkline.watch_1_skipped")

	// A function that only looks like a watch's harms nobody.
	d.run(fmt.Sprintf(`SET ROLE %[1]s; CREATE FUNCTION %[1]s.trunkline_watch_1_insert() RETURNS trigger LANGUAGE plpgsql AS E'\n-- trunkline: {"watch":\nBEGIN RETURN NULL; END';
		CREATE FUNCTION %[1]s.trunkline_watch_9_insert() RETURNS trigger LANGUAGE plpgsql AS E'\n-- trunkline: {"watch":9,"channel":"x","op":[{}],"uses":[1],"notify":true,"columns":[[]]}\nBEGIN RETURN NULL; END'`, bob))
	d.want(d.column("SELECT remarks FROM trunkline.watches WHERE id = 1"), `{"TRUNCATE is not watched: pass truncate_channel"}`)
	d.run("RESET ROLE")

	// publish_watched lets its caller do no more than publish.
	d.run(fmt.Sprintf(`TRUNCATE trunkline.message; SET ROLE %s;
		SELECT trunkline.publish_watched(1, 't', 'o', ARRAY['trunkline:x', 'fine', 'trunkline:rejected'], ARRAY['1', '2', '3']::json[], notify => true); RESET ROLE`, bob))
	const reason = `{"rejected":"channel \"%[1]s\" is in the namespace \"trunkline\", which is Trunkline's own","table":"t","op":"o","key":null}`
	d.want(d.column("SELECT concat(channel, ' ', payload::text, ' ', notify) FROM trunkline.message ORDER BY id"),
		"trunkline:rejected "+fmt.Sprintf(reason, "trunkline:x")+" f", "fine 2 t", "trunkline:rejected "+fmt.Sprintf(reason, "trunkline:rejected")+" f")
	// Nor do arrays help that begin elsewhere than at 1, or have several dimensions.
	d.run(fmt.Sprintf(`TRUNCATE trunkline.message; SET ROLE %s;
		SELECT trunkline.publish_watched(1, 't', 'o', '[0:0]={trunkline:control}', '[0:0]={1}');
		SELECT trunkline.publish_watched(1, 't', 'o', '[0:1]={trunkline:control,fine}', '{2,3}');
		SELECT trunkline.publish_watched(1, 't', 'o', '{{fine},{trunkline:control}}', '[5:6]={4,5}'); RESET ROLE`, bob))
	forged := "trunkline:rejected " + fmt.Sprintf(reason, "trunkline:control")
	d.want(d.messages(), forged, forged, "fine 3", "fine 4", forged)

	// The owner may no longer publish: the one case in which a write fails, and says so.
	d.run("REVOKE EXECUTE ON FUNCTION trunkline.publish_watched FROM " + ann)
	err = d.fails(fmt.Sprintf("INSERT INTO %s.task VALUES (2, 7)", ann))
	if err.Code != "42501" || !strings.Contains(err.Message, ann) || !strings.Contains(err.Hint, "grant_publish") {
		t.Errorf("publishing without the right: %v, hint %q", err, err.Hint)
	}
	if got := strings.Join(d.remarks(), "\n"); !strings.Contains(got, "may no longer publish") {
		t.Errorf("remarks: %s", got)
	}
	d.run("SET ROLE " + ann)
	err = d.fails(fmt.Sprintf("SELECT trunkline.watch('%s.task', 'q')", ann))
	if err.Code != "42501" || !strings.Contains(err.Hint, fmt.Sprintf("SELECT trunkline.grant_publish('%s')", ann)) {
		t.Errorf("watching without the right to publish: %v, hint %q", err, err.Hint)
	}
	d.run(fmt.Sprintf("SELECT trunkline.unwatch('%s.task', 'p:{project_id}'); RESET ROLE", ann))
	d.want(d.column("SELECT to_regclass('trunkline.watch_1_skipped')"), "<NULL>")
}

// A superuser who watches a role's table makes functions that run as that role.
func TestWatchByAnotherRunsAsTheOwner(t *testing.T) {
	t.Parallel()
	d := open(t)
	ann := d.role()
	d.run(fmt.Sprintf(`SET ROLE %[1]s; CREATE TABLE %[1]s.task (id int); RESET ROLE;
		SELECT trunkline.watch('%[1]s.task', 'p', predicate => 'current_user = %[2]s')`, ann, "''"+ann+"''"))
	d.run(fmt.Sprintf("INSERT INTO %s.task VALUES (1)", ann))
	d.want(d.messages(), `p {"id":1}`)
	d.run(fmt.Sprintf("REVOKE CREATE ON SCHEMA %[1]s FROM %[1]s; ALTER SCHEMA %[1]s OWNER TO CURRENT_USER", ann))
	if err := d.fails(fmt.Sprintf("SELECT trunkline.watch('%s.task', 'q')", ann)); err.Code != "42501" || !strings.Contains(err.Hint, "GRANT CREATE ON SCHEMA") {
		t.Errorf("no CREATE on the schema: %v, hint %q", err, err.Hint)
	}
}

func TestUnwatch(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(task + `SELECT trunkline.watch('task', 'a:{id}'); SELECT trunkline.watch('task', 'b', truncate_channel => 'b');`)
	if err := d.fails("SELECT trunkline.unwatch('task', 'a')"); err.Code != "42704" || err.Hint != `Its watches are "a:{id}" (id 1), "b" (id 2).` {
		t.Errorf("%v, hint %q", err, err.Hint)
	}
	d.want(d.column("SELECT trunkline.unwatch('task', 'a:{id}')"), "1")
	d.run("INSERT INTO task VALUES (1, 7)")
	d.want(d.column("SELECT channel FROM trunkline.message"), "b")
	d.want(d.column("SELECT trunkline.unwatch(2)"), "1")
	d.run("INSERT INTO task VALUES (2, 7); TRUNCATE task")
	d.want(d.column("SELECT channel FROM trunkline.message"), "b")
	d.want(d.column(`SELECT proname FROM pg_proc WHERE proname LIKE 'trunkline\_watch%' UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE 'trunkline%'
		UNION ALL SELECT relname FROM pg_class WHERE relname ~ '^watch_[0-9]'`))
	if err := d.fails("SELECT trunkline.unwatch('task', 'b')"); err.Code != "42704" || err.Hint != "It has no watches." {
		t.Errorf("%v, hint %q", err, err.Hint)
	}
	if err := d.fails("SELECT trunkline.unwatch(2)"); err.Code != "42704" {
		t.Errorf("%v", err)
	}
}

func TestWatchesRemarks(t *testing.T) {
	t.Parallel()
	d := open(t)
	ann := d.role()
	d.run(task + "SELECT trunkline.watch('task', 'p:{title}', truncate_channel => 't', predicate => 'project_id > 0 AND \"id\" > 0 AND done')")
	d.want(d.remarks())
	tests := []struct{ script, want string }{
		{"ALTER TABLE task DISABLE TRIGGER trunkline_watch_1_update", "trigger trunkline_watch_1_update of public.task is disabled"},
		{"DROP TRIGGER trunkline_watch_1_insert ON task", "the trigger for insert is gone: watch the table anew"},
		{"ALTER TABLE task DROP title, DROP id", `column "id" is gone: every row is rejected, watch the table anew`},
		{"ALTER TABLE task RENAME TO job", "the table is now called public.job, its messages still say public.task: watch it anew"},
		{"ALTER TABLE job OWNER TO " + ann, "the table's owner has changed, the watch still runs as trunkline: watch the table anew"},
		{"CREATE TABLE heir () INHERITS (job)", "public.heir inherits from the table: direct writes to it are not watched, watch it too"},
		{"DROP TABLE job CASCADE", "the table was dropped: remove what is left with trunkline.unwatch(1)"},
	}
	for _, test := range tests {
		d.run(test.script)
		want := strings.Replace(test.want, "trunkline: watch", d.column("SELECT current_user")[0]+": watch", 1)
		if got := d.remarks(); !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("after %s: remarks %q lack %q", test.script, got, want)
		}
	}
	d.want(d.column(`SELECT "table" FROM trunkline.watches`), "public.task")
	d.run("SELECT trunkline.unwatch(1)")
	d.want(d.column("SELECT count(*) FROM trunkline.watches"), "0")
}

func TestWatchInheritance(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`CREATE TABLE base (id int); CREATE TABLE heir (x int) INHERITS (base); INSERT INTO heir VALUES (1, 2);
		SELECT trunkline.watch('base', 'base'); SELECT trunkline.watch('heir', 'heir'); UPDATE base SET id = 3; UPDATE heir SET id = 4`)
	d.want(d.messages(), `base {"id":3}`, `heir {"id":4,"x":2}`)
}

func TestWatchBypassedByReplicas(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(task + `SELECT trunkline.watch('task', 'p', columns => '{id}'); SET session_replication_role = replica; INSERT INTO task VALUES (1, 7);
		SET session_replication_role = origin; INSERT INTO task VALUES (2, 7)`)
	d.want(d.messages(), `p {"id":2}`)
}

func TestWatchSurvivesDumpAndRestore(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"pg_dump", "psql"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	d := open(t)
	if out, err := exec.Command("pg_dump", "--version").Output(); err != nil || d.version()/10000 > majorOf(string(out)) {
		t.Skipf("pg_dump is older than the server: %s", out)
	}
	ann := d.role()
	d.run(fmt.Sprintf(`SET ROLE %[1]s; SET search_path = %[1]s; %[2]s
		SELECT trunkline.watch('part', 'k:{v}', columns => '{id}', payload => 'change', truncate_channel => 't', predicate => 'v IS DISTINCT FROM E''no\n-- trunkline:''');
		INSERT INTO part VALUES (1, 1, NULL), (2, 2, E'a\nb')`, ann, strings.ReplaceAll(parts, "PRIMARY KEY (id, k)", "UNIQUE (id, k)")))
	d.run("RESET ROLE; RESET search_path")

	target := database{T: t, url: pgtest.EmptyDatabase(t)}
	dump, err := exec.Command("pg_dump", d.url).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	restore := exec.Command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.DevNull, target.url)
	restore.Stdin = strings.NewReader(string(dump))
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	target.conn = pgtest.Connect(t, target.url)
	t.Cleanup(func() { target.run("DROP OWNED BY " + ann) })

	const everything = "SELECT to_json(w)::text FROM trunkline.watches w"
	target.want(target.column(everything), d.column(everything)...)
	target.run(fmt.Sprintf(`TRUNCATE trunkline.message; SET ROLE %[1]s; INSERT INTO %[1]s.part_2 (id, k, v) VALUES (3, 2, 'x');
		SELECT trunkline.unwatch('%[1]s.part', 'k:{v}'); RESET ROLE`, ann))
	target.want(target.messages(), fmt.Sprintf(`k:x {"op":"insert","table":"%s.part","new":{"id":3},"old":null}`, ann))
}

func majorOf(version string) (major int) {
	_, _ = fmt.Sscanf(version, "pg_dump (PostgreSQL) %d", &major)
	return major
}
