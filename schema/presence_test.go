package schema_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPresence(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.set_presence('n1', '1 min', '{a,a,b}', '{c1,c2,c1}', '{ann,bob,ann}', ARRAY['{"name": "Ann"}', NULL, NULL], ARRAY[NULL, '1', NULL]);
		SELECT trunkline.set_presence('n2', '1 min', '{a,b}', '{c3,c4}', '{ann,""}', '{NULL,NULL}', '{NULL,NULL}')`)
	want := func(sql string, rows ...string) {
		t.Helper()
		if diff := cmp.Diff(rows, d.column(sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", sql, diff)
		}
	}
	const all = `SELECT concat_ws(' ', channel, client, user_id, conn_info, chan_info) FROM trunkline.present('{a,b,nobody}') ORDER BY 1`
	want(all, `a c1 ann {"name": "Ann"}`, "a c2 bob 1", "a c3 ann", "b c1 ann", "b c4 ")
	want("SELECT count(*) FROM trunkline.present('{a,b}', 1)", "2") // one of each
	want("SELECT concat_ws(' ', channel, clients, users) FROM trunkline.count_present('{a,b,nobody}') ORDER BY 1", "a 3 2", "b 2 2")

	// Confirmed with other words, removed, expired.
	d.run(`SELECT trunkline.set_presence('n1', '1 min', '{a}', '{c1}', '{ann}', '{NULL}', '{NULL}');
		SELECT trunkline.clear_presence('{a,a,nobody}', '{c2,gone,c1}');
		SELECT trunkline.set_presence('n2', '-1 s', '{b,b}', '{c4,c5}', '{"",""}', '{NULL,NULL}', '{NULL,NULL}')`)
	want(all, "a c1 ann", "a c3 ann", "b c1 ann")
	want("SELECT trunkline.expire_presence(1)", "1")
	want("SELECT trunkline.expire_presence()", "1")
	want("SELECT trunkline.expire_presence()", "0")

	if err := d.fails("SELECT trunkline.set_presence('n', '1 min', '{a}', '{c}', '{u}', '{no json}', '{NULL}')"); err.Code != "22P02" {
		t.Errorf("what isn't JSON: %s %s", err.Code, err.Message)
	}
}

func TestServingRoleKeepsPresence(t *testing.T) {
	t.Parallel()
	d := open(t)
	role := d.role()
	d.run("SELECT trunkline.grant_serve('" + role + "')")
	d.run("SET ROLE " + role + `; SELECT trunkline.set_presence('n', '1 min', '{a}', '{c}', '{u}', '{NULL}', '{NULL}');
		SELECT trunkline.present('{a}'), trunkline.count_present('{a}'), trunkline.clear_presence('{a}', '{c}'), trunkline.expire_presence()`)
	if err := d.fails("SELECT * FROM trunkline.presence"); err.Code != "42501" {
		t.Errorf("the table itself: %s", err.Code)
	}
	d.run("RESET ROLE")
}
