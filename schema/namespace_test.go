package schema_test

import (
	"fmt"
	"strings"
	"testing"
)

const mayFunction = `CREATE SCHEMA app; CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean LANGUAGE sql AS 'SELECT true';`

// control returns what nodes were told, in order.
func (d database) control() []string {
	d.Helper()
	return d.column("SELECT payload::jsonb::text FROM trunkline.message WHERE channel = 'trunkline:control' ORDER BY id")
}

// refuses runs statements that must raise SQLSTATE 22023 (or another that is given), each with its sentence and a hint.
func (d database) refuses(tests map[string]string) {
	d.Helper()
	for sql, want := range tests {
		state := "22023"
		if code, rest, ok := strings.Cut(want, "|"); ok {
			state, want = code, rest
		}
		if pg := d.fails(sql); pg.Code != state || !strings.Contains(pg.Message, want) || pg.Hint == "" {
			d.Errorf("%s\nraises %s %q with the hint %q, want %s %q", sql, pg.Code, pg.Message, pg.Hint, state, want)
		}
	}
}

func TestNamespaceRefusals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(mayFunction + `
		CREATE FUNCTION app.number(text, text, text) RETURNS integer LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.many(text, text, text) RETURNS SETOF boolean LANGUAGE sql AS 'SELECT true';
		CREATE FUNCTION app.two(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE PROCEDURE app.proc(text, text, text) LANGUAGE sql AS 'SELECT true';
		CREATE FUNCTION pg_temp.gone(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	set := func(settings string) string { return "INSERT INTO trunkline.namespace (name, " + settings + ")" }
	tests := map[string]string{
		"INSERT INTO trunkline.namespace (name) VALUES ('')":                            "the name of a namespace is missing",
		"INSERT INTO trunkline.namespace (name) VALUES (NULL)":                          "the name of a namespace is missing",
		"INSERT INTO trunkline.namespace (name) VALUES (repeat('é', 33))":               "is 66 bytes long, more than 64",
		"INSERT INTO trunkline.namespace (name) VALUES ('a:b')":                         `"a:b" contains a ":" or a control character`,
		"INSERT INTO trunkline.namespace (name) VALUES (E'a\\nb')":                      `"a\nb" contains`,
		"INSERT INTO trunkline.namespace (name) VALUES (U&'a\\0085b')":                  "control character",
		set("authorize_cache") + " VALUES ('a', '-1 s')":                                `authorize_cache of namespace "a" cannot be -00:00:01`,
		set("authorize_cache") + " VALUES ('a', '61 minutes')":                          `authorize_cache of namespace "a" cannot be 01:01:00`,
		set("authorize_cache") + " VALUES ('a', NULL)":                                  `cannot be NULL`,
		set("authorize_timeout") + " VALUES ('a', '9 ms')":                              `authorize_timeout of namespace "a" cannot be 00:00:00.009`,
		set("authorize_timeout") + " VALUES ('a', '31 s')":                              `authorize_timeout of namespace "a" cannot be 00:00:31`,
		set("anonymous") + " VALUES ('a', NULL)":                                        `anonymous of namespace "a" cannot be NULL`,
		set("anonymous") + " VALUES ('a', true)":                                        "without a function",
		set("retention") + " VALUES ('a', '0.5 s')":                                     `retention of namespace "a" cannot be 00:00:00.5`,
		set("retention") + " VALUES ('a', '-1 day')":                                    `cannot be -1 days`,
		set("retention") + " VALUES ('a', '102 years')":                                 `cannot be 102 years`,
		set("conflate") + " VALUES ('a', '0')":                                          `conflate of namespace "a" cannot be 00:00:00`,
		set("conflate") + " VALUES ('a', '2 hours')":                                    `conflate of namespace "a" cannot be 02:00:00`,
		set("ring") + " VALUES ('a', 0)":                                                `ring of namespace "a" cannot be 0`,
		set("ring") + " VALUES ('a', 100001)":                                           `ring of namespace "a" cannot be 100001`,
		set("publish_rate") + " VALUES ('a', 0)":                                        `publish_rate of namespace "a" cannot be 0`,
		set("publish_rate") + " VALUES ('a', -1)":                                       `cannot be -1`,
		set("publish_rate") + " VALUES ('a', 'NaN')":                                    `cannot be NaN`,
		set("publish_rate") + " VALUES ('a', 'Infinity')":                               `cannot be Infinity`,
		set("authorize") + " VALUES ('a', 'app.missing')":                               `there is no function app.missing(text, text, text) for authorize of namespace "a"`,
		set("authorize") + " VALUES ('a', 'may')":                                       `there is no function may(text, text, text)`,
		set("authorize") + " VALUES ('a', 'nowhere.may')":                               `there is no function nowhere.may(`,
		set("authorize") + " VALUES ('a', '')":                                          `there is no function (text`,
		set("authorize") + " VALUES ('a', 'app.may(text,text,text)')":                   `there is no function app.may(text,text,text)(`,
		set("authorize") + " VALUES ('a', 'app.may; DROP TABLE x')":                     `there is no function app.may; DROP`,
		set("authorize") + " VALUES ('a', 'a.b.c.d')":                                   `there is no function a.b.c.d(`,
		set("authorize") + " VALUES ('a', '\"')":                                        `there is no function "(`,
		set("authorize") + " VALUES ('a', 'app.two')":                                   `there is no function app.two(`,
		set("authorize") + " VALUES ('a', 'app.number')":                                "returns integer, not boolean",
		set("authorize") + " VALUES ('a', 'app.many')":                                  "returns a set of boolean, not boolean",
		set("authorize") + " VALUES ('a', 'app.proc')":                                  "no plain value",
		set("authorize") + " VALUES ('a', 'pg_temp.gone')":                              "is temporary",
		"DELETE FROM trunkline.namespace WHERE name = 'trunkline'":                      "Trunkline's own",
		"UPDATE trunkline.namespace SET name = 'x' WHERE name = 'trunkline'":            "Trunkline's own",
		"UPDATE trunkline.namespace SET publish = true WHERE name = 'trunkline'":        "closed to clients",
		"UPDATE trunkline.namespace SET authorize = 'app.may' WHERE name = 'trunkline'": "closed to clients",
		"UPDATE trunkline.namespace SET retention = '500 ms' WHERE name = 'trunkline'":  `retention of namespace "trunkline" cannot be`,
	}
	d.refuses(tests)
	d.want(d.column("SELECT name || ' ' || retention FROM trunkline.namespace"), "trunkline 7 days", "inbox 1 day")
	d.want(d.control())

	// The table's constraints hold where triggers don't fire.
	d.run("SET session_replication_role = replica")
	for _, settings := range []string{
		"name) VALUES ('')", "name) VALUES ('a:b')", "name, authorize_cache) VALUES ('a', '-1 s')", "name, authorize_timeout) VALUES ('a', '0')",
		"name, retention) VALUES ('a', '0')", "name, conflate) VALUES ('a', '0')", "name, ring) VALUES ('a', 0)", "name, publish_rate) VALUES ('a', 'NaN')",
	} {
		if pg := d.fails("INSERT INTO trunkline.namespace (" + settings); pg.Code != "23514" {
			t.Errorf("%s: %v", settings, pg)
		}
	}
}

func TestNamespaceChangesAreTold(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(mayFunction + `
		INSERT INTO trunkline.namespace (name, authorize, anonymous, retention, publish, presence, join_leave, conflate, ring, publish_rate)
		VALUES ('a', 'app.may', true, '36500 days', true, true, false, '1 ms', 100000, 0.5)`)
	const told = `{"type": "namespaces"}`
	d.want(d.control(), told)
	d.run("UPDATE trunkline.namespace SET ring = 1 WHERE name = 'nobody'; DELETE FROM trunkline.namespace WHERE name = 'nobody'")
	d.want(d.control(), told)
	d.run("UPDATE trunkline.namespace SET ring = 1 WHERE name = 'a'")
	d.run("INSERT INTO trunkline.namespace (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET ring = 2")
	d.run("BEGIN; DELETE FROM trunkline.namespace WHERE name = 'a'; ROLLBACK")
	d.want(d.control(), told, told, told)
	d.want(d.column("SELECT ring::text FROM trunkline.namespace WHERE updated_at > created_at"), "2")
	d.run("DELETE FROM trunkline.namespace WHERE name = 'a'; TRUNCATE trunkline.namespace")
	d.want(d.control(), told, told, told, told, told)
}

// A function is found as whoever writes its name would find it, and stored so that nobody else finds another.
func TestAuthorizeIsStoredWithItsSchema(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(mayFunction + `
		CREATE SCHEMA "Odd ""one"; CREATE FUNCTION "Odd ""one"."May I"(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE FUNCTION public.may(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		INSERT INTO trunkline.namespace (name, authorize) VALUES ('a', 'app.may'), ('b', 'may'), ('c', '"Odd ""one"."May I"'), ('d', 'APP . May');
		SET search_path = app;
		INSERT INTO trunkline.namespace (name, authorize) VALUES ('e', 'may')`)
	d.want(d.column("SELECT authorize FROM trunkline.namespace WHERE name < 'f' ORDER BY name"),
		"app.may", "public.may", `"Odd ""one"."May I"`, "app.may", "app.may")
}

// What stands in the writer's search path in the place of PostgreSQL's own must not get a name past the checks.
func TestNamespaceChecksAreDeafToTheSearchPath(t *testing.T) {
	t.Parallel()
	d := open(t)
	role := d.role()
	d.run(fmt.Sprintf(`SELECT trunkline.grant_admin('%[1]s'); SET ROLE %[1]s;
		CREATE FUNCTION %[1]s.to_regprocedure(text) RETURNS regprocedure LANGUAGE sql AS $$ SELECT 'pg_catalog.now()'::regprocedure $$;
		CREATE FUNCTION %[1]s.format(text, text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
		CREATE FUNCTION %[1]s.yes(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR %[1]s.= (FUNCTION = %[1]s.yes, LEFTARG = oid, RIGHTARG = oid);
		SET search_path = %[1]s, pg_catalog`, role))
	if pg := d.fails("INSERT INTO trunkline.namespace (name, authorize) VALUES ('a', 'no.such')"); !strings.Contains(pg.Message, "no.such") {
		t.Errorf("%v", pg)
	}
}

func TestAuthorizeInAForeignSchema(t *testing.T) {
	t.Parallel()
	d := open(t)
	role := d.role()
	d.run(mayFunction + "SELECT trunkline.grant_admin('" + role + "'); SET ROLE " + role)
	d.refuses(map[string]string{
		"INSERT INTO trunkline.namespace (name, authorize) VALUES ('a', 'app.may')": `role "` + role + `" may not use the schema of the function app.may`,
	})
	d.run("RESET ROLE; GRANT USAGE ON SCHEMA app TO " + role + "; SET ROLE " + role + "; INSERT INTO trunkline.namespace (name, authorize) VALUES ('a', 'app.may')")
}
