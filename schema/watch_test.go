package schema_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const task = `CREATE TABLE task (id integer PRIMARY KEY, project_id integer, title text, done boolean DEFAULT false);`

func TestWatchPublishes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script string
		want   []string
	}{
		{
			name: "row of insert, update and delete",
			script: task + `SELECT trunkline.watch('task', 'project:{project_id}');
				INSERT INTO task VALUES (1, 7, 'a "b"'), (2, 8, NULL);
				UPDATE task SET done = true WHERE id = 1;
				DELETE FROM task WHERE id = 2;`,
			want: []string{
				`project:7 {"id":1,"project_id":7,"title":"a \"b\"","done":false}`,
				`project:8 {"id":2,"project_id":8,"title":null,"done":false}`,
				`project:7 {"id":1,"project_id":7,"title":"a \"b\"","done":true}`,
				`project:8 {"id":2,"project_id":8,"title":null,"done":false}`,
			},
		},
		{
			name: "only the operations asked for",
			script: task + `SELECT trunkline.watch('task', 'p', op => '{DELETE}', columns => '{id}');
				INSERT INTO task VALUES (1, 7); UPDATE task SET done = true; DELETE FROM task;`,
			want: []string{`p {"id":1}`},
		},
		{
			name: "columns in the order given, each as to_json gives it",
			script: `CREATE TABLE doc (id integer, body json, tags text[], at timestamptz, n numeric);
				SELECT trunkline.watch('doc', 'd', columns => '{tags,body,at,n}');
				SET timezone = 'UTC'; INSERT INTO doc VALUES (1, '{ "a":1,  "a":2 }', '{x,"y z"}', '2020-01-02 03:04:05.6', 1.50); INSERT INTO doc VALUES (2);`,
			want: []string{
				`d {"tags":["x","y z"],"body":{ "a":1,  "a":2 },"at":"2020-01-02T03:04:05.6+00:00","n":1.50}`,
				`d {"tags":null,"body":null,"at":null,"n":null}`,
			},
		},
		{
			name: "payload change",
			script: task + `SELECT trunkline.watch('task', 'project:{project_id}', payload => 'change', columns => '{id,done}');
				INSERT INTO task VALUES (1, 7); UPDATE task SET done = true; DELETE FROM task;`,
			want: []string{
				`project:7 {"op":"insert","table":"public.task","new":{"id":1,"done":false},"old":null}`,
				`project:7 {"op":"update","table":"public.task","new":{"id":1,"done":true},"old":{"id":1,"done":false}}`,
				`project:7 {"op":"delete","table":"public.task","new":null,"old":{"id":1,"done":true}}`,
			},
		},
		{
			name: "a change that moves a row goes to both channels, and pairs by order when keys change",
			script: task + `SELECT trunkline.watch('task', 'project:{project_id}', op => '{update}', payload => 'change', columns => '{id}');
				INSERT INTO task VALUES (1, 7), (2, 7), (3, NULL), (4, 9);
				UPDATE task SET id = -id, project_id = CASE id WHEN 4 THEN NULL ELSE coalesce(project_id, 0) + id - 1 END;`,
			want: []string{
				`project:7 {"op":"update","table":"public.task","new":{"id":-1},"old":{"id":1}}`,
				`project:8 {"op":"update","table":"public.task","new":{"id":-2},"old":{"id":2}}`,
				`project:7 {"op":"update","table":"public.task","new":{"id":-2},"old":{"id":2}}`,
				`project:2 {"op":"update","table":"public.task","new":{"id":-3},"old":{"id":3}}`,
				`project:9 {"op":"update","table":"public.task","new":{"id":-4},"old":{"id":4}}`,
			},
		},
		{
			name: "a row update that moves a row goes to the new channel alone",
			script: task + `SELECT trunkline.watch('task', 'project:{project_id}', op => '{update}', columns => '{id}');
				INSERT INTO task VALUES (1, 7); UPDATE task SET project_id = 8;`,
			want: []string{`project:8 {"id":1}`},
		},
		{
			name: "the whole channel from a column, literal braces, any column name",
			script: `CREATE SCHEMA "Sch ema"; CREATE TABLE "Sch ema"."T""a'b" ("Größe" int, channel text, "x}y" int, "[id]" int, "new" int, "w_rows" int);
				SELECT trunkline.watch('"Sch ema"."T""a''b"', '{channel}', columns => '{Größe,"[id]",new,w_rows}', predicate => '"new" > 0 AND w_rows > 0');
				SELECT trunkline.watch('"Sch ema"."T""a''b"', '{{[id]''\}}{Größe}-{x}y}', payload => 'change');
				INSERT INTO "Sch ema"."T""a'b" VALUES (1, 'a:b', 2, 3, 4, 5);`,
			want: []string{
				`a:b {"Größe":1,"[id]":3,"new":4,"w_rows":5}`,
				`{[id]'\}1-2 {"op":"insert","table":"\"Sch ema\".\"T\"\"a'b\"","new":{"Größe":1,"channel":"a:b","x}y":2,"[id]":3,"new":4,"w_rows":5},"old":null}`,
			},
		},
		{
			name: "predicates: bare names, new and old, a comment at the end, NULL is false",
			script: task + `CREATE TABLE project (id integer, open boolean); INSERT INTO project VALUES (7, true), (8, false);
				SELECT trunkline.watch('task', 'done', columns => '{id}', predicate => 'done -- only these', op => '{insert,update,delete}');
				SELECT trunkline.watch('task', 'turned', columns => '{id}', predicate => 'done AND NOT old.done AND new.id > 0', op => '{update}');
				SELECT trunkline.watch('task', 'open', columns => '{id}', op => '{insert}',
					predicate => 'EXISTS (SELECT FROM public.project p WHERE p.id = project_id AND p.open)');
				INSERT INTO task VALUES (1, 7, 'x', false), (2, 8, 'x', NULL), (3, 8, 'x', true);
				UPDATE task SET done = true; DELETE FROM task;`,
			want: []string{
				`done {"id":3}`, `open {"id":1}`,
				`done {"id":1}`, `done {"id":2}`, `done {"id":3}`, `turned {"id":1}`,
				`done {"id":1}`, `done {"id":2}`, `done {"id":3}`,
			},
		},
		{
			name: "upsert, cascades and stored generated columns",
			script: `CREATE TABLE a (id integer PRIMARY KEY);
				CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a ON DELETE CASCADE, twice integer GENERATED ALWAYS AS (id * 2) STORED);
				SELECT trunkline.watch('b', 'b', payload => 'change', columns => '{id,twice}');
				INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1);
				INSERT INTO b VALUES (1, 1), (2, 1) ON CONFLICT (id) DO UPDATE SET id = excluded.id + 2;
				DELETE FROM a;`,
			want: []string{
				`b {"op":"insert","table":"public.b","new":{"id":1,"twice":2},"old":null}`,
				`b {"op":"update","table":"public.b","new":{"id":3,"twice":6},"old":{"id":1,"twice":2}}`,
				`b {"op":"insert","table":"public.b","new":{"id":2,"twice":4},"old":null}`,
				`b {"op":"delete","table":"public.b","new":null,"old":{"id":3,"twice":6}}`,
				`b {"op":"delete","table":"public.b","new":null,"old":{"id":2,"twice":4}}`,
			},
		},
		{
			name: "TRUNCATE",
			script: task + `SELECT trunkline.watch('task', 'p:{id}', op => '{truncate}', truncate_channel => 'all:{{tasks}}');
				INSERT INTO task VALUES (1, 7); TRUNCATE task;`,
			want: []string{`all:{tasks} {"op":"truncate","table":"public.task"}`},
		},
		{
			name: "an empty statement and a rolled back one say nothing",
			script: task + `SELECT trunkline.watch('task', 'p');
				UPDATE task SET done = true; DELETE FROM task; COMMIT;
				BEGIN; INSERT INTO task VALUES (1, 7); ROLLBACK; INSERT INTO task VALUES (2, 7);`,
			want: []string{`p {"id":2,"project_id":7,"title":null,"done":false}`},
		},
		{
			name: "columns added and dropped later",
			script: task + `SELECT trunkline.watch('task', 'p:{id}', predicate => 'id > 0', payload => 'change', op => '{insert}');
				ALTER TABLE task DROP COLUMN title; ALTER TABLE task ADD COLUMN note text DEFAULT 'n';
				INSERT INTO task VALUES (1, 7);`,
			want: []string{`p:1 {"op":"insert","table":"public.task","new":{"id":1,"project_id":7,"done":false,"note":"n"},"old":null}`},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.run(test.script)
			d.want(d.messages(), test.want...)
		})
	}
}

func TestWatchRowIsToJSONOfTheRow(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`CREATE TYPE mood AS ENUM ('ok'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS int;
		CREATE TABLE wide (dropped int, i int, b bigint, f float8, n numeric, t text, c char(5), bo boolean, j json, jb jsonb, d date,
			ts timestamp, tz timestamptz, iv interval, u uuid, by bytea, arr int[], arr2 text[][], m mood, p pair, s small, r int4range, "quo""ted" text);
		ALTER TABLE wide DROP COLUMN dropped;
		CREATE TABLE expected (n serial, text text);
		CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO expected (text) VALUES (to_json(NEW)::text); RETURN NEW; END $$;
		CREATE TRIGGER remember AFTER INSERT OR UPDATE ON wide FOR EACH ROW EXECUTE FUNCTION remember();
		SELECT trunkline.watch('wide', 'w');
		INSERT INTO wide VALUES (1, 2, 'NaN', 1.500, E'line\n"q" \\ \u00e9\u2028', 'ab', true, '{"b" : 1,
			"a": [ ]}', '{"b":1}', '2020-01-01', 'infinity', now(), '1 day 2 h', gen_random_uuid(), '\x00ff', '{1,NULL}', '{{a,b},{"c d",e}}',
			'ok', '(1,x)', 3, '[1,5)', 'z'); INSERT INTO wide (i) VALUES (NULL);
		UPDATE wide SET i = 5`)
	d.want(d.column("SELECT payload::text FROM trunkline.message ORDER BY id"), d.column("SELECT text FROM expected ORDER BY n")...)
}

func TestWatchCopy(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(task + "SELECT trunkline.watch('task', 'p', columns => '{id}')")
	rows := [][]any{{1, 7}, {2, 7}}
	if _, err := d.conn.CopyFrom(context.Background(), pgx.Identifier{"task"}, []string{"id", "project_id"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	d.want(d.messages(), `p {"id":1}`, `p {"id":2}`)
}

func TestWatchMerge(t *testing.T) {
	t.Parallel()
	d := open(t)
	if d.version() < 150000 {
		t.Skip("MERGE came with PostgreSQL 15")
	}
	d.run(task + `INSERT INTO task VALUES (1, 7), (2, 7);
		SELECT trunkline.watch('task', 'p', payload => 'change', columns => '{id,project_id}');
		MERGE INTO task t USING (VALUES (1), (2), (3)) s(id) ON s.id = t.id
		WHEN MATCHED AND t.id = 1 THEN UPDATE SET project_id = 8 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 9)`)
	d.want(d.column("SELECT payload::text FROM trunkline.message ORDER BY payload::text"),
		`{"op":"delete","table":"public.task","new":null,"old":{"id":2,"project_id":7}}`,
		`{"op":"insert","table":"public.task","new":{"id":3,"project_id":9},"old":null}`,
		`{"op":"update","table":"public.task","new":{"id":1,"project_id":8},"old":{"id":1,"project_id":7}}`)
}

func TestWatchVirtualColumns(t *testing.T) {
	t.Parallel()
	d := open(t)
	if d.version() < 180000 {
		t.Skip("virtual generated columns came with PostgreSQL 18")
	}
	d.run(`CREATE TABLE v (id int, "T wice" int GENERATED ALWAYS AS (id * 2), inverse int GENERATED ALWAYS AS (12 / id));
		SELECT trunkline.watch('v', 'v:{T wice}', predicate => '"T wice" > 2', payload => 'change');
		SELECT trunkline.watch('v', 'id:{id}', columns => '{id}');
		INSERT INTO v VALUES (1), (2), (0), (3); UPDATE v SET id = 4 WHERE id = 2`)
	d.want(d.messages(),
		`v:4 {"op":"insert","table":"public.v","new":{"id":2,"T wice":4,"inverse":6},"old":null}`,
		`trunkline:rejected {"rejected":"division by zero","table":"public.v","op":"insert","key":null}`,
		`v:6 {"op":"insert","table":"public.v","new":{"id":3,"T wice":6,"inverse":4},"old":null}`,
		`id:1 {"id":1}`, `id:2 {"id":2}`, `id:0 {"id":0}`, `id:3 {"id":3}`,
		`v:8 {"op":"update","table":"public.v","new":{"id":4,"T wice":8,"inverse":3},"old":{"id":2,"T wice":4,"inverse":6}}`,
		`v:4 {"op":"update","table":"public.v","new":{"id":4,"T wice":8,"inverse":3},"old":{"id":2,"T wice":4,"inverse":6}}`,
		`id:4 {"id":4}`)
}

func TestWatchKeepsRowOrderAndBatches(t *testing.T) {
	t.Parallel()
	d := open(t)
	// Counts the INSERT statements that the watch makes.
	d.run(task + `CREATE TABLE inserts (rows bigint);
		CREATE FUNCTION count_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.inserts SELECT count(*) FROM fresh; RETURN NULL; END $$;
		CREATE TRIGGER count_insert AFTER INSERT ON trunkline.message REFERENCING NEW TABLE AS fresh
			FOR EACH STATEMENT EXECUTE FUNCTION count_insert();
		SELECT trunkline.watch('task', 'p', op => '{update}');
		INSERT INTO task SELECT n, 7 FROM generate_series(1, 2500) n;
		UPDATE task SET done = true`)
	d.want(d.column("SELECT rows FROM inserts"), "1000", "1000", "500")
	d.want(d.column("SELECT count(*) FROM (SELECT (payload->>'id')::int - row_number() OVER (ORDER BY id) AS off FROM trunkline.message) x WHERE off <> 0"), "0")
	d.run("TRUNCATE inserts; UPDATE task SET title = repeat('x', 1000000) WHERE id <= 10")
	d.want(d.column("SELECT rows FROM inserts"), "5", "5")
}

func TestWatchNotifyIsRecorded(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(task + `SELECT trunkline.watch('task', 'raw{project_id}', notify => true, truncate_channel => 'raw');
		INSERT INTO task VALUES (1, 7); INSERT INTO task SELECT n, 8 FROM generate_series(2, 3) n; TRUNCATE task`)
	d.want(d.column("SELECT concat(channel, ' ', notify) FROM trunkline.message ORDER BY id"), "raw7 t", "raw8 t", "raw8 t", "raw t")
}

// What a watch cannot publish must neither fail the statement nor vanish.
func TestWatchNeverRaisesBecauseOfData(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		script  string
		want    []string
		skipped string
	}{
		{
			name: "NULL in the template is skipped and counted, rolled back or not",
			script: `SELECT trunkline.watch('task', 'p:{project_id}', columns => '{id}'); COMMIT;
				BEGIN; INSERT INTO task VALUES (9); ROLLBACK; INSERT INTO task (id, project_id) VALUES (1, NULL), (2, 7), (3, NULL);`,
			want:    []string{`p:7 {"id":2}`},
			skipped: "3 0",
		},
		{
			name: "channels that cannot be",
			script: `SELECT trunkline.watch('task', '{title}', columns => '{id}');
				INSERT INTO task VALUES (1, 7, ''), (2, 7, E'a\nb'), (3, 7, 'trunkline:x'), (4, 7, repeat('é', 128)), (5, 7, 'fine é');`,
			want: []string{
				`trunkline:rejected {"rejected":"a channel is empty","table":"public.task","op":"insert","key":{"id":1}}`,
				`trunkline:rejected {"rejected":"channel \"a\\nb\" contains a control character","table":"public.task","op":"insert","key":{"id":2}}`,
				`trunkline:rejected {"rejected":"channel \"trunkline:x\" is in the namespace \"trunkline\", which is Trunkline's own","table":"public.task","op":"insert","key":{"id":3}}`,
				`trunkline:rejected {"rejected":"channel \"` + strings.Repeat("é", 40) + `…\" is 256 bytes long, more than 255","table":"public.task","op":"insert","key":{"id":4}}`,
				`fine é {"id":5}`,
			},
			skipped: "0 4",
		},
		{
			name: "payloads over the limit",
			script: `SELECT trunkline.set_max_payload(1024); SELECT trunkline.watch('task', 'p', columns => '{title}');
				INSERT INTO task VALUES (1, 7, repeat('x', 1012)), (2, 7, repeat('x', 1013)), (3, 7, (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n));`,
			want: []string{
				`p {"title":"` + strings.Repeat("x", 1012) + `"}`,
				`p {"rejected":"the payload is 1025 bytes, more than 1024","table":"public.task","op":"insert","key":{"id":2}}`,
				`p {"rejected":"the row is over 16384 bytes, far more than 1024","table":"public.task","op":"insert","key":{"id":3}}`,
			},
			skipped: "0 2",
		},
		{
			name: "a predicate that fails for one row",
			script: `SELECT trunkline.watch('task', 'p', columns => '{id}', predicate => '10 / project_id > 0', op => '{insert,delete}');
				INSERT INTO task VALUES (1, 1), (2, 0), (3, 1); DELETE FROM task WHERE id < 3;`,
			want: []string{
				`p {"id":1}`, `trunkline:rejected {"rejected":"division by zero","table":"public.task","op":"insert","key":{"id":2}}`, `p {"id":3}`,
				`p {"id":1}`, `trunkline:rejected {"rejected":"division by zero","table":"public.task","op":"delete","key":{"id":2}}`,
			},
			skipped: "0 2",
		},
		{
			name: "a column of the template that was dropped",
			script: `SELECT trunkline.watch('task', 'p:{title}', columns => '{id}'); ALTER TABLE task DROP COLUMN title;
				INSERT INTO task VALUES (1, 1), (2, 1);`,
			want: []string{
				`trunkline:rejected {"rejected":"record \"new\" has no field \"title\"","table":"public.task","op":"insert","key":{"id":1}}`,
				`trunkline:rejected {"rejected":"record \"new\" has no field \"title\"","table":"public.task","op":"insert","key":{"id":2}}`,
			},
			skipped: "0 2",
		},
		{
			name: "a column of the key that was dropped, and one of the predicate",
			script: `SELECT trunkline.watch('task', 'p', columns => '{project_id}', predicate => 'id > 0', op => '{insert}'); ALTER TABLE task DROP COLUMN id;
				INSERT INTO task VALUES (1);`,
			want:    []string{`trunkline:rejected {"rejected":"record \"new\" has no field \"id\"","table":"public.task","op":"insert","key":null}`},
			skipped: "0 1",
		},
		{
			name: "a value whose cast to JSON raises",
			script: `CREATE FUNCTION broken(task) RETURNS json LANGUAGE plpgsql AS 'BEGIN RAISE ''no json''; END';
				CREATE TYPE odd AS (a int); CREATE FUNCTION odd_json(odd) RETURNS json LANGUAGE plpgsql AS 'BEGIN RAISE ''no json''; END';
				CREATE CAST (odd AS json) WITH FUNCTION odd_json(odd);
				ALTER TABLE task ADD COLUMN o odd; ALTER TABLE task DROP COLUMN title;
				CREATE TABLE holder (id int, o odd); SELECT trunkline.watch('holder', 'p', columns => '{id}', predicate => '(o)::json IS NOT NULL OR id = 2');
				INSERT INTO holder VALUES (1, '(1)'), (2, NULL);`,
			want: []string{
				`trunkline:rejected {"rejected":"no json","table":"public.holder","op":"insert","key":null}`, `p {"id":2}`,
			},
			skipped: "0 1",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.run(task + test.script)
			d.want(d.messages(), test.want...)
			d.want(d.column("SELECT concat(skipped, ' ', rejected) FROM trunkline.watches"), test.skipped)
		})
	}
}

func TestWatchHugeRow(t *testing.T) {
	t.Parallel()
	d := open(t)
	// 200 MB in one row, 1.2 GB as JSON: its JSON could not be built.
	d.run(task + `ALTER TABLE task ALTER COLUMN title SET STORAGE EXTERNAL; SELECT trunkline.watch('task', 'p');
		INSERT INTO task VALUES (1, 7, repeat(E'\001', 200000000)), (2, 7, 'x')`)
	d.want(d.messages(),
		`p {"rejected":"the row is over 16777216 bytes, far more than 1048576","table":"public.task","op":"insert","key":{"id":1}}`,
		`p {"id":2,"project_id":7,"title":"x","done":false}`)
	if testing.Short() {
		return
	}
	// Compressed it is small, and only building the JSON shows that it is too large for PostgreSQL.
	d.run(`ALTER TABLE task ALTER COLUMN title SET STORAGE EXTENDED; UPDATE task SET title = title || '' WHERE id = 1;
		TRUNCATE trunkline.message; UPDATE task SET done = true WHERE id = 1`)
	d.want(d.column("SELECT concat(channel, ' ', payload->>'op', ' ', payload->>'key') FROM trunkline.message WHERE payload->>'rejected' <> ''"),
		`trunkline:rejected update {"id":1}`)
}

func TestWatchCanBeCancelled(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(task + `SELECT trunkline.watch('task', 'p', predicate => 'pg_sleep(3600) IS NOT NULL')`)
	writer := d.another()
	pid := fmt.Sprint(writer.conn.PgConn().PID())
	got := writer.start("INSERT INTO task VALUES (1, 7) RETURNING 'it was written'")
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) { // nothing tells of it
		if d.column("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = " + pid)[0] == "1" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the watch doesn't come to its predicate")
		}
	}
	d.want(d.column("SELECT pg_cancel_backend("+pid+")"), "t")
	if got := <-got; !strings.Contains(got, "SQLSTATE 57014") {
		t.Errorf("got %s, want query_canceled", got)
	}
}

// A subtransaction id for each chunk would make the user's transactions overflow their subtransaction cache.
func TestWatchTakesNoSubtransactionID(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(task + `SELECT trunkline.watch('task', 'p', payload => 'change', predicate => '1 / (id - 3) IS NOT NULL');
		BEGIN; INSERT INTO task SELECT n, 7 FROM generate_series(1, 3000) n; UPDATE task SET done = true`)
	d.want(d.column("SELECT count(*) FROM trunkline.message"), "6000")
	d.want(d.column("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'transactionid'"), "1")
	d.run("COMMIT")
}
