package schema_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestRevocationRefusals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.refuses(map[string]string{
		"SELECT trunkline.revoke(NULL)":                                                        "the user is missing",
		"SELECT trunkline.revoke('')":                                                          "the user is missing",
		"SELECT trunkline.revoke(repeat('é', 128))":                                            "is 256 bytes long, more than 255",
		"SELECT trunkline.revoke(E'a\\tb')":                                                    `user "a\tb" contains a control character`,
		"SELECT trunkline.revoke('ann', '')":                                                   "a channel is empty",
		"SELECT trunkline.revoke('ann', 'trunkline:control')":                                  "Trunkline's own",
		"SELECT trunkline.revoke_token('')":                                                    "the jti is missing",
		"SELECT trunkline.revoke_token(NULL)":                                                  "the jti is missing",
		"SELECT trunkline.disconnect('')":                                                      "the user is missing",
		"SELECT trunkline.disconnect('ann', '')":                                               "the client is missing",
		"SELECT trunkline.unsubscribe('', 'c')":                                                "the user is missing",
		"SELECT trunkline.unsubscribe('ann', NULL)":                                            "a channel is missing",
		"SELECT trunkline.unsubscribe('ann', E'c\\n')":                                         "control character",
		"SELECT trunkline.create_apikey('', 'tk_12345678', '', '{}')":                          "the name is missing",
		"SELECT trunkline.create_apikey('k', 'tk_1234567', sha256(''), '{read}')":              "has no prefix",
		"SELECT trunkline.create_apikey('k', NULL, sha256(''), '{read}')":                      "has no prefix",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', 'short', '{read}')":                "no SHA-256",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', NULL, '{read}')":                   "no SHA-256",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), '{}')":                 "cannot have the scopes {}",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), NULL)":                 "cannot have the scopes NULL",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), '{read,NULL}')":        "cannot have the scopes {read,NULL}",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), '{write}')":            "cannot have the scopes {write}",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), '{read}', now())":      "cannot expire at",
		"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), '{read}', 'infinity')": "cannot expire at infinity",
		"SELECT trunkline.revoke_apikey('k')":                                                  `42704|there is no API key "k"`,
		"SELECT trunkline.revoke_apikey(NULL)":                                                 `42704|there is no API key "NULL"`,
	})
	d.want(d.messages())
	d.want(d.column("SELECT user_id FROM trunkline.revocation"))
}

func TestWhatIsRevokedIsKeptAndTold(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.revoke('ann', 'project:1'); SELECT trunkline.revoke('ann'); SELECT trunkline.revoke_token('t1');
		SELECT trunkline.disconnect('ann'); SELECT trunkline.disconnect('ann', 'c1'); SELECT trunkline.unsubscribe('ann', 'project:1')`)
	d.run("BEGIN; SELECT trunkline.revoke('bob'); SELECT trunkline.disconnect('bob'); ROLLBACK")
	d.want(d.control(),
		`{"jti": "", "type": "revoke", "user": "ann", "channel": "project:1"}`,
		`{"jti": "", "type": "revoke", "user": "ann", "channel": ""}`,
		`{"jti": "t1", "type": "revoke", "user": "", "channel": ""}`,
		`{"type": "disconnect", "user": "ann", "client": ""}`,
		`{"type": "disconnect", "user": "ann", "client": "c1"}`,
		`{"type": "unsubscribe", "user": "ann", "channel": "project:1"}`)
	rows := "SELECT user_id || '/' || channel || '/' || jti FROM trunkline.revocation ORDER BY at"
	d.want(d.column(rows), "ann/project:1/", "ann//", "//t1")
	// Again: later, not twice.
	d.run("SELECT trunkline.revoke('ann', 'project:1'); SELECT trunkline.revoke_token('t1')")
	d.want(d.column(rows), "ann//", "ann/project:1/", "//t1")
	// A time to come, set by hand, is not taken back.
	d.run("UPDATE trunkline.revocation SET at = '3000-01-01'; SELECT trunkline.revoke('ann'); SELECT trunkline.revoke_token('t1')")
	d.want(d.column("SELECT DISTINCT extract(year FROM at)::text FROM trunkline.revocation"), "3000")
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	d := open(t)
	create := func(hash string) string {
		return "SELECT trunkline.create_apikey('k', 'tk_aZ345678', sha256('" + hash + "'), '{read,publish,read}', now() + interval '1 day')"
	}
	d.run(create("a"))
	d.want(d.control(), `{"type": "apikeys"}`)
	d.refuses(map[string]string{create("b"): `42710|there is an API key "k" already`})
	d.run("SELECT trunkline.revoke_apikey('k')")
	d.refuses(map[string]string{"SELECT trunkline.revoke_apikey('k')": "42704|there is no API key"})
	d.run(create("b"))
	d.want(d.column("SELECT name || prefix || encode(hash, 'hex') || scopes::text || (revoked_at IS NULL) FROM trunkline.apikey ORDER BY id"),
		"ktk_aZ345678ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb{publish,read}false",
		"ktk_aZ3456783e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d{publish,read}true")
	d.want(d.control(), `{"type": "apikeys"}`, `{"type": "apikeys"}`, `{"type": "apikeys"}`)
	// By hand, too.
	d.run("DELETE FROM trunkline.apikey; TRUNCATE trunkline.apikey")
	d.want(d.control()[3:], `{"type": "apikeys"}`, `{"type": "apikeys"}`)
}

// outsiders is what nobody may do who was not granted it; what each grant allows of it is named beside it.
var outsiders = []struct{ sql, grants string }{
	{"SELECT * FROM trunkline.namespace", "read serve admin"},
	{"INSERT INTO trunkline.namespace (name) VALUES ('mine')", "admin"},
	{"UPDATE trunkline.namespace SET ring = 7 WHERE name = 'mine'", "admin"},
	{"DELETE FROM trunkline.namespace WHERE name = 'mine'", "admin"},
	{"TRUNCATE trunkline.namespace", ""},
	{"SELECT trunkline.control('{}')", ""},
	{"SELECT trunkline.publish('trunkline:control', '{}')", ""},
	{"INSERT INTO trunkline.message (channel, payload) VALUES ('trunkline:control', '{}')", ""},
	{"SELECT trunkline.check_name('a', 'a', 1)", ""},
	{"SELECT trunkline.check_channel('a')", ""},
	{"SELECT trunkline.revoke('ann')", "admin"},
	{"SELECT trunkline.revoke('ann', 'c')", "admin"},
	{"SELECT trunkline.revoke_token('t')", "admin"},
	{"SELECT trunkline.disconnect('ann')", "admin"},
	{"SELECT trunkline.unsubscribe('ann', 'c')", "admin"},
	{"SELECT trunkline.create_apikey('k', 'tk_12345678', sha256(''), '{read}')", "admin"},
	{"SELECT id, name, prefix, scopes, created_at, expires_at, revoked_at FROM trunkline.apikey", "serve admin"},
	{"SELECT trunkline.revoke_apikey('k')", "admin"},
	{"SELECT hash FROM trunkline.apikey", "serve"},
	{"INSERT INTO trunkline.apikey (name, prefix, hash, scopes) VALUES ('k', 'tk_12345678', sha256(''), '{read}')", ""},
	{"UPDATE trunkline.apikey SET revoked_at = NULL", ""},
	{"DELETE FROM trunkline.apikey", ""},
	{"SELECT * FROM trunkline.revocation", "serve admin"},
	{"INSERT INTO trunkline.revocation (user_id) VALUES ('ann')", ""},
	{"UPDATE trunkline.revocation SET at = now()", ""},
	{"DELETE FROM trunkline.revocation", "admin"},
	{"SELECT * FROM trunkline.history('c')", "read serve"},
	{"SELECT trunkline.kind('k', 'Title')", "notify admin"},
	{"SELECT trunkline.set_kind('k', 'Title', NULL, NULL, NULL)", "notify"},
	{"SELECT * FROM trunkline.kind", "notify inbox serve admin"},
	{"INSERT INTO trunkline.kind (name) VALUES ('mine')", "admin"},
	{"UPDATE trunkline.kind SET title = 'x'", "admin"},
	{"SELECT trunkline.remove_kind('k')", "notify admin"},
	{"SELECT trunkline.drop_kind('k')", "notify"},
	{"DELETE FROM trunkline.kind", "admin"},
	{"SELECT trunkline.notify('ann', 'k')", "notify"},
	{"SELECT trunkline.notify_many('{ann}', 'k')", "notify"},
	{"SELECT trunkline.retract(cause => 'c')", "notify"},
	{"SELECT trunkline.mark('ann', 'read', 1)", "inbox serve"},
	{"SELECT * FROM trunkline.list_inbox('ann')", "inbox serve"},
	{"SELECT * FROM trunkline.inbox_counts('ann')", "inbox serve"},
	{"SELECT * FROM trunkline.inbox_keep()", "inbox serve"},
	{"SELECT * FROM trunkline.inbox_fold('ann')", "inbox serve"},
	{"SELECT * FROM trunkline.inbox_check(true)", "inbox serve"},
	{"SELECT trunkline.item_text('a', 'a', '{}')", "inbox serve"},
	{"SELECT trunkline.template_rest('a')", ""},
	{"SELECT trunkline.check_argument('a', 'a', 'a', 1)", ""},
	{"SELECT trunkline.check_notification('k', '{}', NULL, NULL, NULL, NULL, NULL)", ""},
	{"SELECT trunkline.nested_deeper('{}', 1)", ""},
	{"SELECT trunkline.ring_keeper()", ""},
	{"SELECT trunkline.look_again('{ann}')", ""},
	{"SELECT trunkline.json_time(now())", ""},
	{"SELECT trunkline.inbox_apply('{ann}', '{}', '{}')", ""},
	{"SELECT * FROM trunkline.inbox_clear(1, now())", ""},
	{"SELECT trunkline.inbox_due('{}', '{}', '{}')", ""},
	{"SELECT * FROM trunkline.notification", ""},
	{"INSERT INTO trunkline.notification (user_id, kind, data) VALUES ('ann', 'k', '{}')", ""},
	{"UPDATE trunkline.notification SET read_at = now()", ""},
	{"DELETE FROM trunkline.notification", ""},
	{"TRUNCATE trunkline.notification", ""},
	{"SELECT * FROM trunkline.inbox", ""},
	{"UPDATE trunkline.inbox SET unread = 0", ""},
	{"SELECT * FROM trunkline.inbox_change", ""},
	{"INSERT INTO trunkline.inbox_change (user_id, unread) VALUES ('ann', 1)", ""},
	{"SELECT * FROM trunkline.digest_due", ""},
	{"SELECT nextval('trunkline.notification_id_seq')", ""},
	{"SELECT trunkline.grant_notify(current_user::regrole)", ""},
	{"SELECT trunkline.grant_inbox(current_user::regrole)", ""},
	{"SELECT trunkline.grant_admin(current_user::regrole)", ""},
	{"SELECT trunkline.grant_serve(current_user::regrole)", ""},
	{"SELECT trunkline.grant_read(current_user::regrole)", ""},
}

// Nothing is open to everybody, and each grant gives what it says and no more.
func TestGrants(t *testing.T) {
	t.Parallel()
	for _, grant := range []string{"", "publish", "read", "serve", "admin", "notify", "inbox"} {
		t.Run("grant_"+grant, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			role := fmt.Sprintf("outsider_%d", d.conn.PgConn().PID())
			d.run("CREATE ROLE " + role + "")
			d.Cleanup(func() { d.run("RESET ROLE; DROP OWNED BY " + role + "; DROP ROLE " + role) })
			if grant != "" {
				d.run("SELECT trunkline.grant_" + grant + "('" + role + "')")
			} else {
				d.run("GRANT USAGE ON SCHEMA trunkline TO " + role)
			}
			d.run("SET ROLE " + role)
			for _, one := range outsiders {
				if grant != "" && strings.Contains(" "+one.grants+" ", " "+grant+" ") {
					d.run(one.sql)
					continue
				}
				want := "42501"
				if strings.HasPrefix(one.sql, "SELECT trunkline.publish(") && grant == "publish" {
					want = "22023"
				}
				if pg := d.fails(one.sql); pg.Code != want {
					t.Errorf("%s raises %v, want SQLSTATE %s", one.sql, pg, want)
				}
			}
		})
	}
}
