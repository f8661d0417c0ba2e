package schema_test

import (
	"fmt"
	"strings"
	"testing"
)

const asked = `SELECT concat_ws(' ', user_id, email, name, time_zone, locale, active_at AT TIME ZONE 'UTC', nullif(bounces, 0)) FROM trunkline.recipients_of(%s) ORDER BY 1`

func TestRecipientsFromARelation(t *testing.T) {
	t.Parallel()
	const a, b = "6f1c0d52-4f0e-4d0e-9f34-7d3b6a1f2c11", "00000000-0000-0000-0000-00000000abcd"
	for name, one := range map[string]struct {
		ddl  string // makes app.people
		ask  string
		want []string
		all  int
	}{
		"text": {
			"CREATE TABLE app.people (user_id text PRIMARY KEY, email text, name text, time_zone text, locale text, active_at timestamptz);" +
				"INSERT INTO app.people VALUES ('ann', 'ann@example.com', 'Ann', 'UTC', 'de', '2024-01-02 03:04:05+00'), ('bob', '', '', '', '', NULL), ('cat', 'c@d', NULL, NULL, NULL, 'infinity')",
			"{ann,bob,cat,dan,NULL}",
			[]string{"ann ann@example.com Ann UTC de 2024-01-02 03:04:05", "bob", "cat c@d"},
			3,
		},
		"only what is needed": {
			"CREATE TABLE app.people (email text, secret text, user_id text); INSERT INTO app.people VALUES ('a@b', 'x', 'ann'), ('b@c', 'y', NULL)",
			"{ann}",
			[]string{"ann a@b"},
			1,
		},
		"bigint": {
			"CREATE TABLE app.people (user_id bigint PRIMARY KEY, email text); INSERT INTO app.people VALUES (7, 'seven@b'), (-3, 'minus@b'), (0, 'zero@b'), (9223372036854775807, 'most@b')",
			"{7,-3,0,-0,9223372036854775807,07,+7,7.0,x,NULL,9223372036854775808,99999999999999999999}",
			[]string{"-3 minus@b", "0 zero@b", "7 seven@b", "9223372036854775807 most@b"},
			4,
		},
		"integer in a domain": {
			"CREATE DOMAIN app.id AS integer; CREATE DOMAIN app.user_id AS app.id; CREATE DOMAIN app.email AS varchar(100);" +
				"CREATE TABLE app.people (user_id app.user_id, email app.email); INSERT INTO app.people VALUES (7, 'seven@b')",
			"{7,2147483648,-2147483649}",
			[]string{"7 seven@b"},
			1,
		},
		"uuid": {
			"CREATE TABLE app.people (user_id uuid PRIMARY KEY, email varchar); INSERT INTO app.people VALUES ('" + a + "', 'a@b'), ('" + b + "', 'b@c')",
			"{" + a + "," + strings.ToUpper(b) + ",ann}",
			[]string{a + " a@b"},
			2,
		},
		"case-insensitive": {
			"CREATE EXTENSION citext SCHEMA app; CREATE TABLE app.people (user_id app.citext, email app.citext, name char(10)); INSERT INTO app.people VALUES ('Ann', 'Ann@Example.com', 'Ann')",
			"{Ann,ann}",
			[]string{"Ann Ann@Example.com Ann"},
			1,
		},
		"enum and odd types": {
			"CREATE TYPE app.lang AS ENUM ('de', 'en'); CREATE TABLE app.people (user_id name, email text, locale app.lang, active_at timestamp); INSERT INTO app.people VALUES ('ann', 'a@b', 'en', '2024-01-02 03:04:05')",
			"{ann}",
			[]string{"ann a@b en 2024-01-02 03:04:05"},
			1,
		},
		"twice": {
			"CREATE TABLE app.people (user_id text, email text); INSERT INTO app.people VALUES ('ann', 'z@b'), ('ann', NULL), ('ann', 'a@b'), ('ann', ''), ('bob', NULL)",
			"{ann,ann,bob}",
			[]string{"ann a@b", "bob"},
			2,
		},
		"view": {
			`CREATE TABLE app."Users" ("Id" bigint, "E-mail" text); INSERT INTO app."Users" VALUES (1, 'a@b'), (2, 'b@c');
			CREATE VIEW app.people AS SELECT "Id" AS user_id, "E-mail" AS email FROM app."Users" WHERE "Id" > 1`,
			"{1,2}",
			[]string{"2 b@c"},
			1,
		},
		"materialized view": {"CREATE MATERIALIZED VIEW app.people AS SELECT 'ann'::text AS user_id, 'a@b'::text AS email", "{ann}", []string{"ann a@b"}, 1},
		"partitions": {
			"CREATE TABLE app.people (user_id bigint, email text) PARTITION BY HASH (user_id); CREATE TABLE app.p0 PARTITION OF app.people FOR VALUES WITH (MODULUS 1, REMAINDER 0); INSERT INTO app.people VALUES (1, 'a@b')",
			"{1}",
			[]string{"1 a@b"},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			if strings.Contains(one.ddl, "citext") && d.column("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'")[0] == "0" {
				t.Skip("this PostgreSQL comes without citext")
			}
			d.run("SET TimeZone = 'America/New_York'; CREATE SCHEMA app; " + one.ddl)
			d.run("SELECT trunkline.recipients_from('app.people')")
			d.want(d.column(fmt.Sprintf(asked, "'"+one.ask+"'")), one.want...)
			d.want(d.column("SELECT count(*) FROM trunkline.recipient_source"), fmt.Sprint(one.all))
			d.want(d.column(fmt.Sprintf(asked, "'{}'")))
			d.run("SELECT trunkline.recipients_from(NULL)")
			d.want(d.column("SELECT count(*) FROM trunkline.recipient_source"), "0")
		})
	}
}

// What touch and bounces write is added to what the application knows.
func TestRelationAndOwnTableTogether(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`CREATE SCHEMA app;
		CREATE TABLE app.people (user_id bigint PRIMARY KEY, email text, active_at timestamptz);
		INSERT INTO app.people VALUES (1, 'a@b', '2024-01-01'), (2, 'b@c', '2024-01-01'), (3, 'c@d', NULL);
		INSERT INTO trunkline.recipient (user_id, email, name, active_at, bounces, bounced_at, bounced_email, bounce_reason) VALUES
			('1', 'old@b', 'Old', '2024-02-02', 3, '2024-02-01', 'a@b', 'gone'), ('2', 'b@c', NULL, '2023-01-01', 3, '2024-02-01', 'former@c', 'gone'), ('9', 'x@y', NULL, NULL, 0, NULL, NULL, NULL);
		SELECT trunkline.recipients_from('app.people')`)
	d.want(d.column(`SELECT concat_ws(' ', user_id, email, name, active_at::date, bounces, bounced_at::date, bounce_reason) FROM trunkline.recipients_of(NULL) ORDER BY 1`),
		"1 a@b 2024-02-02 3 2024-02-01 gone", "2 b@c 2024-01-01 0", "3 c@d 0")
	// One that is set in the meantime is kept, with a word about it.
	d.run("SELECT trunkline.set_recipient('3', 'own@d')")
	d.want(d.column("SELECT email FROM trunkline.recipients_of('{3}')"), "c@d")
	d.run("SELECT trunkline.recipients_from(NULL)")
	d.want(d.column("SELECT email FROM trunkline.recipients_of('{3}')"), "own@d")
}

// Users are found by the relation's own index, whatever its type.
func TestRelationIsReadByItsIndex(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{"bigint", "integer", "uuid", "text", "varchar(40)"} {
		t.Run(typed, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			value := map[bool]string{true: "gen_random_uuid()", false: "n"}[typed == "uuid"]
			d.run("CREATE SCHEMA app; CREATE TABLE app.people (user_id " + typed + " PRIMARY KEY, email text);" +
				"INSERT INTO app.people SELECT " + value + ", n || '@b' FROM generate_series(1, 20000) n; ANALYZE app.people; SELECT trunkline.recipients_from('app.people')")
			d.run("SET plan_cache_mode = force_generic_plan; PREPARE ask(text[]) AS " + d.column("SELECT trunkline.recipient_query('app', 'people', false)")[0])
			users := d.column("SELECT array_agg(user_id)::text FROM (SELECT user_id FROM app.people LIMIT 3) p")[0]
			plan := strings.Join(d.column("EXPLAIN EXECUTE ask('"+users+"')"), "\n")
			if !strings.Contains(plan, "people_pkey") || strings.Contains(plan, "Seq Scan on people") {
				t.Errorf("plan:\n%s", plan)
			}
		})
	}
}

func TestRelationRefusals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`CREATE SCHEMA app; CREATE TABLE app.people (user_id text, email text); INSERT INTO app.people VALUES ('ann', 'a@b');
		SELECT trunkline.recipients_from('app.people');
		CREATE TABLE app.no_user (id text, email text); CREATE TABLE app.no_email (user_id text, mail text);
		CREATE TABLE app.dropped (user_id text, email text); ALTER TABLE app.dropped DROP COLUMN email;
		CREATE TABLE app.bytes (user_id bytea, email text); CREATE TABLE app.numbers (user_id numeric, email text); CREATE TABLE app.objects (user_id text, email json);
		CREATE TABLE app.dates (user_id text, email text, active_at date); CREATE TABLE app.zones (user_id text, email text, time_zone integer);
		CREATE TABLE app.names (user_id text, email text, name text[]);
		CREATE TEMP TABLE brief (user_id text, email text); CREATE SEQUENCE app.seq; CREATE TYPE app.pair AS (user_id text, email text);
		CREATE INDEX an_index ON app.people (email);
		CREATE VIEW app.circle AS SELECT user_id, email FROM trunkline.recipient_source;
		CREATE VIEW app.failing AS SELECT 'a'::text AS user_id, (1 / (random() * 0)::int)::text AS email`)
	from := func(relation string) string { return "SELECT trunkline.recipients_from('" + relation + "')" }
	d.refuses(map[string]string{
		from("app.no_user"):                "42703|recipients can't be read from app.no_user: app.no_user has no column user_id",
		from("app.no_email"):               "42703|app.no_email has no column email",
		from("app.dropped"):                "42703|app.dropped has no column email",
		from("app.bytes"):                  "42804|column user_id of app.bytes is of type bytea",
		from("app.numbers"):                "42804|column user_id of app.numbers is of type numeric",
		from("app.objects"):                "42804|column email of app.objects is of type json",
		from("app.dates"):                  "42804|column active_at of app.dates is of type date",
		from("app.zones"):                  "42804|column time_zone of app.zones is of type integer",
		from("app.names"):                  "42804|column name of app.names is of type text[]",
		from("brief"):                      "42809|recipients can't be read from brief",
		from("app.seq"):                    "42809|recipients can't be read from app.seq",
		from("app.pair"):                   "42809|recipients can't be read from app.pair",
		from("app.an_index"):               "42809|recipients can't be read from app.an_index",
		from("app.circle"):                 "42P19|recipients can't be read from app.circle: it is made of recipients_of or recipient_source",
		from("trunkline.recipient"):        "42809|recipients can't be read from trunkline.recipient",
		from("trunkline.recipient_source"): "42809|",
		from("pg_catalog.pg_class"):        "42809|",
		"SELECT trunkline.recipients_from(1::oid::regclass)": "42P01|there is no relation with the oid 1",
	})
	if pg := d.fails(from("app.nowhere")); pg.Code != "42P01" {
		t.Error(pg)
	}
	// What was before still holds.
	d.want(d.column("SELECT email FROM trunkline.recipients_of('{ann}')"), "a@b")
	// What only fails for a row is told when that row is read.
	d.run(from("app.failing"))
	d.refuses(map[string]string{"SELECT * FROM trunkline.recipients_of('{a}')": "22012|recipients can't be read from app.failing: division by zero"})
}

// The application does with its relation what applications do.
func TestRelationChangesLater(t *testing.T) {
	t.Parallel()
	d := open(t)
	ask := "SELECT user_id || ' ' || coalesce(name, email) FROM trunkline.recipients_of('{1}')"
	d.run(`CREATE SCHEMA app; CREATE TABLE app.people (user_id bigint, email text); INSERT INTO app.people VALUES (1, 'a@b');
		CREATE VIEW app."re""ader" AS SELECT * FROM app.people; SELECT trunkline.recipients_from('app."re""ader"')`)
	d.want(d.column(ask), "1 a@b")
	// Nothing of ours depends on it.
	d.run(`DROP VIEW app."re""ader"`)
	for _, sql := range []string{ask, "SELECT * FROM trunkline.recipient_source"} {
		d.refuses(map[string]string{sql: `42P01|recipients can't be read from app."re""ader": there is no relation app."re""ader"`})
	}
	// Made anew with another type, and a column more, it is used again.
	d.run(`ALTER TABLE app.people ALTER user_id TYPE text; ALTER TABLE app.people ADD name text DEFAULT 'Ann'; CREATE VIEW app."re""ader" AS SELECT * FROM app.people`)
	d.want(d.column(ask), "1 Ann")
	d.run(`DROP VIEW app."re""ader"; SELECT trunkline.recipients_from('app.people'); ALTER TABLE app.people RENAME email TO mail`)
	d.refuses(map[string]string{ask: "42703|recipients can't be read from app.people: app.people has no column email"})
	d.run("ALTER TABLE app.people RENAME mail TO email; ALTER TABLE app.people RENAME TO persons")
	d.refuses(map[string]string{ask: "42P01|recipients can't be read from app.people: there is no relation app.people"})
	d.run("DROP SCHEMA app CASCADE")
	d.refuses(map[string]string{ask: "42P01|there is no relation app.people"})
	d.run("SELECT trunkline.recipients_from(NULL)")
	d.want(d.column(ask))
}

// Whoever takes over the name of a relation that was named doesn't get the rights of Trunkline's owner by it.
func TestRelationOfAnotherOwner(t *testing.T) {
	t.Parallel()
	d := open(t)
	role := d.role()
	const ask = "SELECT email FROM trunkline.recipients_of('{ann}')"
	const other = "55000|recipients can't be read from app.people: it has another owner or is another kind of relation than when it was named"
	d.run(`CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO ` + role + `; CREATE VIEW app.people AS SELECT 'ann'::text AS user_id, 'a@b'::text AS email;
		SELECT trunkline.recipients_from('app.people')`)
	d.run("DROP VIEW app.people; SET ROLE " + role + "; CREATE VIEW app.people AS SELECT 'ann'::text AS user_id, 'mine@b'::text AS email; RESET ROLE; GRANT SELECT ON app.people TO public")
	d.refuses(map[string]string{ask: other})
	if hint := d.fails(ask).Hint; !strings.Contains(hint, "call trunkline.recipients_from('app.people') again") {
		t.Error(hint)
	}
	// One that its owner decided for is used.
	d.run("SELECT trunkline.recipients_from('app.people')")
	d.want(d.column(ask), "mine@b")
	// It was a table, and now runs functions.
	d.run("DROP VIEW app.people; CREATE TABLE app.people (user_id text, email text); SELECT trunkline.recipients_from('app.people'); " +
		"DROP TABLE app.people; CREATE VIEW app.people AS SELECT 'ann'::text AS user_id, 'a@b'::text AS email")
	d.refuses(map[string]string{ask: other})
	d.run("DROP VIEW app.people; CREATE TABLE app.people (user_id text, email text); INSERT INTO app.people VALUES ('ann', 'b@c')")
	d.want(d.column(ask), "b@c")
}

// A relation of another role's is read with the rights of Trunkline's owner, who has to have them.
func TestRelationNeedsRights(t *testing.T) {
	t.Parallel()
	d := open(t)
	if d.column("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0] != "t" {
		t.Skip("the tests' role is not a superuser")
	}
	owner, app := fmt.Sprintf("keeper_%d", d.conn.PgConn().PID()), fmt.Sprintf("app_%d", d.conn.PgConn().PID())
	d.run(fmt.Sprintf(`CREATE ROLE %[1]s; CREATE ROLE %[2]s; CREATE SCHEMA %[2]s AUTHORIZATION %[2]s; SET ROLE %[2]s; CREATE TABLE %[2]s.people (user_id text, email text); RESET ROLE`, owner, app))
	d.Cleanup(func() {
		d.run(fmt.Sprintf("RESET ROLE; DROP OWNED BY %[1]s, %[2]s CASCADE; DROP ROLE %[1]s, %[2]s", owner, app))
	})
	d.run(fmt.Sprintf(`ALTER SCHEMA trunkline OWNER TO %[1]s;
		DO $do$ DECLARE one record; BEGIN
			FOR one IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c WHERE c.relnamespace = 'trunkline'::regnamespace AND c.relkind IN ('r', 'v', 'p') LOOP
				EXECUTE format('ALTER TABLE %%s OWNER TO %[1]s', one.name);
			END LOOP;
			FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'trunkline'::regnamespace LOOP
				EXECUTE format('ALTER FUNCTION %%s OWNER TO %[1]s', one.name);
			END LOOP;
		END $do$`, owner))
	d.Cleanup(func() { d.run("RESET ROLE; REASSIGN OWNED BY " + owner + " TO CURRENT_USER") })
	d.run("SET ROLE " + owner)
	from := fmt.Sprintf("SELECT trunkline.recipients_from('%s.people')", app)
	if pg := d.fails(from); pg.Code != "42501" {
		t.Fatal(pg)
	}
	d.run("RESET ROLE; GRANT USAGE ON SCHEMA " + app + " TO " + owner + "; SET ROLE " + owner)
	pg := d.fails(from)
	if pg.Code != "42501" || !strings.HasPrefix(pg.Message, "recipients can't be read from "+app+".people: permission denied") || !strings.Contains(pg.Hint, "GRANT SELECT") {
		t.Fatalf("%+v", pg)
	}
	// What it asks for is enough.
	_, grants, _ := strings.Cut(pg.Hint, "run: ")
	d.run("SET ROLE " + app + "; " + grants + "; SET ROLE " + owner + "; " + from)
	d.want(d.column("SELECT count(*) FROM trunkline.recipient_source"), "0")
}
