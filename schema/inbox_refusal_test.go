package schema_test

import (
	"testing"
)

func TestNotifyRefusals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`CREATE SCHEMA app; CREATE FUNCTION app.number(text, text, text) RETURNS integer LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION pg_temp.gone(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	for sql, want := range map[string][3]string{ // the error's column, its sentence and perhaps another SQLSTATE
		"notify(NULL, 'k')":                               {"user_id", "the user is missing (NULL)"},
		"notify('', 'k')":                                 {"user_id", "the user is empty"},
		"notify(repeat('é', 125), 'k')":                   {"user_id", "is 250 bytes long, more than 249"},
		"notify(E'a\\nb', 'k')":                           {"user_id", `the user "a\nb" contains a control character`},
		"notify(U&'a\\0085', 'k')":                        {"user_id", "contains a control character"},
		"notify('ann', NULL)":                             {"kind", "the kind is missing (NULL)"},
		"notify('ann', '')":                               {"kind", "the kind is empty"},
		"notify('ann', repeat('k', 65))":                  {"kind", "is 65 bytes long, more than 64"},
		"notify('ann', E'k\\t')":                          {"kind", "contains a control character"},
		"notify('ann', 'k', NULL)":                        {"data", `the data of a notification of kind "k" is missing (NULL)`, "22004"},
		"notify('ann', 'k', to_json(repeat('x', 65535)))": {"data", `the data of a notification of kind "k" is 65537 bytes, more than 65536`, "54000"},
		"notify('ann', 'k', (repeat('[', 101) || repeat(']', 101))::json)": {"data", "is nested deeper than 100 levels", "54000"},
		`notify('ann', 'k', ('{"a":[1,{},' || repeat('[{"b":', 50) || '"x"' || repeat('}]', 50) || ']}')::json)`: {
			"data", "is nested deeper than 100 levels", "54000",
		},
		`notify('ann', 'k', "group" => '')`:                    {"group", "the group is empty"},
		`notify('ann', 'k', "group" => repeat('g', 256))`:      {"group", "is 256 bytes long, more than 255"},
		`notify('ann', 'k', "group" => E'\177')`:               {"group", "contains a control character"},
		"notify('ann', 'k', cause => '')":                      {"cause", "the cause is empty"},
		"notify('ann', 'k', cause => repeat('c', 256))":        {"cause", "more than 255"},
		"notify('ann', 'k', dedupe_key => '')":                 {"dedupe_key", "the dedupe key is empty"},
		"notify('ann', 'k', dedupe_key => repeat('c', 256))":   {"dedupe_key", "more than 255"},
		"notify('ann', 'k', link => '')":                       {"link", "the link is empty"},
		"notify('ann', 'k', link => '/' || repeat('x', 2048))": {"link", "is 2049 bytes long, more than 2048"},
		"notify('ann', 'k', link => E'/a\\nb')":                {"link", "contains a control character"},
		"notify('ann', 'k', link => 'projects/7')":             {"link", `the link "projects/7" leads to neither a page of the site nor the web`},
		"notify('ann', 'k', link => '//evil.example')":         {"link", "leads to neither"},
		"notify('ann', 'k', link => '/\\evil.example')":        {"link", "leads to neither"},
		"notify('ann', 'k', link => 'javascript:alert(1)')":    {"link", "leads to neither"},
		"notify('ann', 'k', link => ' https://example.com')":   {"link", "leads to neither"},
		"notify('ann', 'k', link => 'ftp://example.com')":      {"link", "leads to neither"},
		"notify('ann', 'k', link => 'https:/example.com')":     {"link", "leads to neither"},
		"notify('ann', 'k', expires_at => 'infinity')":         {"expires_at", "a notification cannot expire at infinity"},
		"notify('ann', 'k', expires_at => '-infinity')":        {"expires_at", "cannot expire at -infinity"},
		"notify('ann', 'k', expires_at => '10000-01-01 UTC')":  {"expires_at", "cannot expire at 10000-01-01"},
		"notify('ann', 'k', expires_at => '0001-01-01 BC')":    {"expires_at", "BC"},
		"notify_many(NULL, 'k')":                               {"user_ids", "the users of a notification are missing (NULL)"},
		"notify_many(array_fill('u'::text, '{10001}'), 'k')":   {"user_ids", "a notification is for 10001 users, more than 10000"},
		"notify_many('{ann,NULL}', 'k')":                       {"user_id", "the user is missing (NULL)"},
		"notify_many(ARRAY['ann', E'b\\n'], 'k')":              {"user_id", `the user "b\n" contains a control character`},
		"notify_many(ARRAY['ann', repeat('u', 250)], 'k')":     {"user_id", "is 250 bytes long"},
		"notify_many('{ann}', '')":                             {"kind", "the kind is empty"},
		"notify_many('{ann}', 'k', NULL)":                      {"data", "is missing (NULL)", "22004"},
		"notify_many('{ann}', 'k', link => 'x')":               {"link", "leads to neither"},
		"retract()":                                            {"cause", "retract was told too little to know what is meant"},
		"retract(user_id => 'ann')":                            {"cause", "too little"},
		"retract(user_id => 'ann', kind => 'k')":               {"cause", "too little"},
		"retract(dedupe_key => 'x', kind => 'k')":              {"cause", "too little"},
		"kind(NULL)":                                           {"name", "the name of the kind is missing (NULL)"},
		"kind('')":                                             {"name", "the name of the kind is empty"},
		"kind(repeat('k', 65))":                                {"name", "more than 64"},
		"kind(E'k\\n')":                                        {"name", "contains a control character"},
		"kind('k', ' ')":                                       {"title", `the title of kind "k" is empty, over 200 bytes long or contains a control character`},
		"kind('k', repeat('t', 201))":                          {"title", "over 200 bytes"},
		"kind('k', E'a\\nb')":                                  {"title", `control character: "a\nb"`},
		"kind('k', delay => '-1 s')":                           {"delay", `delay of kind "k" cannot be -00:00:01`},
		"kind('k', delay => '31 days')":                        {"delay", `delay of kind "k" cannot be 31 days`},
		"kind('k', template => '')":                            {"template", `the template of kind "k" is empty`},
		"kind('k', template => repeat('x', 1001))":             {"template", "is over 1000 bytes long"},
		"kind('k', template => E'a\\nb')":                      {"template", "contains a control character"},
		"kind('k', template => '{a} {b')":                      {"template", `the template of kind "k" has a { without its } at "{b"`},
		"kind('k', template => '{a} b} c')":                    {"template", `has a } without its { at "} c"`},
		"kind('k', template => '{}')":                          {"template", `has no name between braces at "{}"`},
		"kind('k', template => 'x{a b}')":                      {"template", `has no name between braces at "{a b}"`},
		"kind('k', template => '{a..b}')":                      {"template", "has no name between braces"},
		"kind('k', template => '{.a}')":                        {"template", "has no name between braces"},
		"kind('k', template => '{{a}')":                        {"template", `has a } without its { at "}"`},
		"kind('k', template => '{{{a}}')":                      {"template", `has a } without its { at "}"`},
		"kind('k', template => '{')":                           {"template", "has a { without its }"},
		`kind('k', "authorize" => 'no.such')`:                  {"authorize", `there is no function no.such(text, text, text) for authorize of kind "k"`},
		`kind('k', "authorize" => 'app.number')`:               {"authorize", "returns integer, not boolean"},
		`kind('k', "authorize" => 'pg_temp.gone')`:             {"authorize", "is temporary"},
		"remove_kind('k')":                                     {"name", `there is no kind "k"`, "42704"},
		"remove_kind(NULL)":                                    {"name", `there is no kind "NULL"`, "42704"},
		"mark(NULL, 'read', 1)":                                {"user_id", "the user is missing (NULL)"},
		"mark('ann', NULL, 1)":                                 {"state", "a notification cannot be marked NULL"},
		"mark('ann', 'done', 1)":                               {"state", `a notification cannot be marked "done"`},
		"mark('ann', 'read')":                                  {"up_to_seq", "neither up_to_seq nor ids are given"},
		"mark('ann', 'read', 1, '{1}')":                        {"up_to_seq", "up_to_seq and ids exclude each other"},
		"mark('ann', 'unread', 1)":                             {"up_to_seq", `"unread" cannot be said of all up to a seq`},
		"mark('ann', 'inbox', 1)":                              {"up_to_seq", `"inbox" cannot be said`},
		"mark('ann', 'snoozed', 1, until => 'tomorrow')":       {"up_to_seq", `"snoozed" cannot be said`},
		"mark('ann', 'read', ids => array_fill(1, '{1001}'))":  {"ids", "1001 ids are given, more than 1000"},
		`mark('ann', 'read', ids => '{1}', "group" => 'g')`:    {"group", "a group cannot be given with ids"},
		`mark('ann', 'read', 1, "group" => '')`:                {"group", "the group is empty"},
		"mark('ann', 'snoozed', ids => '{1}')":                 {"until", "a notification cannot be snoozed until NULL"},
		"mark('ann', 'snoozed', ids => '{1}', until => now())": {"until", "cannot be snoozed until"},
		"mark('ann', 'snoozed', ids => '{1}', until => now() + interval '401 days')": {"until", "cannot be snoozed until"},
		"mark('ann', 'snoozed', ids => '{1}', until => 'infinity')":                  {"until", "cannot be snoozed until infinity"},
		"mark('ann', 'snoozed', ids => '{1}', until => '-infinity')":                 {"until", "cannot be snoozed until -infinity"},
		"mark('ann', 'read', 1, until => 'tomorrow')":                                {"until", `"read" cannot be said until a time`},
		"list_inbox('ann', state => 'done')":                                         {"state", `notifications cannot be listed by the state "done"`},
		"list_inbox('ann', state => NULL)":                                           {"state", "by the state NULL"},
		"list_inbox('ann', max_rows => 0)":                                           {"max_rows", "a page cannot have 0 notifications"},
		"list_inbox('ann', max_rows => 201)":                                         {"max_rows", "a page cannot have 201 notifications"},
		"list_inbox('ann', max_rows => NULL)":                                        {"max_rows", "a page cannot have NULL notifications"},
		"inbox_keep(0)":                                                              {"most", "inboxes cannot be kept 0 at a time"},
		"inbox_keep(5001)":                                                           {"most", "inboxes cannot be kept 5001 at a time"},
		"inbox_keep(NULL)":                                                           {"most", "inboxes cannot be kept NULL at a time"},
		"inbox_keep(1, NULL)":                                                        {"at", "inboxes cannot be kept as of NULL"},
		"inbox_keep(1, 'infinity')":                                                  {"at", "inboxes cannot be kept as of infinity"},
	} {
		state := want[2]
		if state == "" {
			state = "22023"
		}
		d.refuses(map[string]string{"SELECT trunkline." + sql: state + "|" + want[1]})
		if column := d.fails("SELECT trunkline." + sql).ColumnName; column != want[0] {
			t.Errorf("%s blames %q, want %q", sql, column, want[0])
		}
	}
	d.want(d.messages())
	d.want(d.column("SELECT name FROM trunkline.kind"))
}

// What is just so allowed.
func TestNotifyAccepts(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, sql := range []string{
		"notify(repeat('é', 124) || 'u', 'k')", "notify('a b:c', repeat('k', 64))", "notify('ann', 'k', to_json(repeat('x', 65534)))",
		"notify('ann', 'k', 'null')", "notify('ann', 'k', (repeat('[', 100) || repeat(']', 100))::json)",
		`notify('ann', 'k', ('[' || repeat('{"[\"{": [{"]}": "[["}, "\\"]},', 300) || '7]')::json)`,
		`notify('ann', 'k', "group" => repeat('g', 255), cause => repeat('c', 255), dedupe_key => repeat('d', 255))`,
		"notify('ann', 'k', link => '/')", "notify('ann', 'k', link => '/a//b?c=\\d')", "notify('ann', 'k', link => 'http://example.com')",
		"notify('ann', 'k', link => 'HTTPS://example.com/' || repeat('x', 2028))", "notify('ann', 'k', expires_at => '9999-12-31 23:59:59 UTC')",
		"notify('ann', 'k', expires_at => '1970-01-01')", "kind('k', repeat('t', 200), '30 days', repeat('x', 1000))", "kind('k', delay => '0')",
		"kind('k', template => '{a-B_9.0.c}{{}}')", "mark('ann', 'read', ids => array_fill(1::bigint, '{1000}'))", "list_inbox('ann', max_rows => 200)",
		"mark('ann', 'read', -1)", "mark('ann', 'snoozed', ids => '{1}', until => now() + interval '400 days')", "inbox_keep(5000)",
	} {
		d.run("SELECT trunkline." + sql)
	}
	d.keep("now()")
	d.wantSound()
}

func TestKinds(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`CREATE SCHEMA app; CREATE FUNCTION app.may(user_id text, "group" text, action text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	const all = "SELECT concat_ws('|', name, title, template, delay, authorize) FROM trunkline.kind ORDER BY name"
	d.run("SET search_path = app; SELECT trunkline.kind('b', 'Bee', '1 hour', '{x}', 'may'); SELECT trunkline.kind('a'); SET search_path = public")
	d.want(d.column(all), "a|a", "b|Bee|{x}|01:00:00|app.may")
	d.run("SELECT trunkline.kind('b', 'Bees')")
	d.want(d.column(all), "a|a", "b|Bees")
	d.run("SELECT trunkline.remove_kind('a')")
	d.want(d.column(all), "b|Bees")
	// By hand, with the same checks.
	d.refuses(map[string]string{"UPDATE trunkline.kind SET template = '{'": "a { without its }"})
	d.run("INSERT INTO trunkline.kind (name, authorize) VALUES ('c', 'APP . may'); UPDATE trunkline.kind SET delay = '1 day' WHERE name = 'b'")
	d.want(d.column(all), "b|Bees|1 day", "c|c|app.may")
	d.want(d.column("SELECT name FROM trunkline.kind WHERE updated_at > created_at"), "b")
}

// Who may only notify registers kinds too, but decides nothing about who may see what: functions that are asked about that run with
// others' rights.
func TestKindsOfWhoMayOnlyNotify(t *testing.T) {
	t.Parallel()
	d := open(t)
	role := d.role()
	d.run(`CREATE SCHEMA app; CREATE FUNCTION app.may(user_id text, "group" text, action text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		SELECT trunkline.kind('guarded', "authorize" => 'app.may'); SELECT trunkline.grant_notify('` + role + `')`)
	d.run("SET ROLE " + role + `; SELECT trunkline.kind('mine', 'Mine', '1 hour', '{x}'); SELECT trunkline.kind('mine', 'My own');
		SELECT trunkline.kind('guarded', 'Guarded', "authorize" => 'app.may'); SELECT name FROM trunkline.kind`)
	for sql, want := range map[string]string{
		`trunkline.kind('guarded')`:                        "may not change authorize",
		`trunkline.kind('mine', "authorize" => 'app.may')`: "may not change authorize",
		`trunkline.kind('new', "authorize" => 'app.may')`:  "may not change authorize",
		`trunkline.remove_kind('guarded')`:                 `may not remove kind "guarded"`,
	} {
		d.refuses(map[string]string{"SELECT " + sql: "42501|" + want})
	}
	d.refuses(map[string]string{
		"SELECT trunkline.kind('mine', template => '{')": "a { without its }",
		"SELECT trunkline.remove_kind('nothing')":        `42704|there is no kind "nothing"`,
	})
	d.run("SELECT trunkline.remove_kind('mine'); RESET ROLE")
	d.want(d.column("SELECT concat_ws('|', name, title, authorize) FROM trunkline.kind"), "guarded|Guarded|app.may")

	d.run("SELECT trunkline.grant_admin('" + role + "'); GRANT USAGE ON SCHEMA app TO " + role + "; SET ROLE " + role)
	d.run(`SELECT trunkline.kind('guarded', 'Free'); SELECT trunkline.kind('new', "authorize" => 'app.may'); SELECT trunkline.remove_kind('new'); RESET ROLE`)
	d.want(d.column("SELECT concat_ws('|', name, title, authorize) FROM trunkline.kind"), "guarded|Free")
}
