package schema_test

import (
	"fmt"
	"strings"
	"testing"
)

// strangers is what nobody may do with recipients and preferences who was not granted it; what each grant allows of it is named
// beside it.
var strangers = []struct{ sql, grants string }{
	{"SELECT trunkline.set_recipient('ann', 'ann@example.com')", "recipients"},
	{"INSERT INTO trunkline.recipient (user_id, email) VALUES ('bob', 'bob@example.com')", "recipients"},
	{"UPDATE trunkline.recipient SET email = 'b@example.com' WHERE user_id = 'bob'", "recipients"},
	{"SELECT * FROM trunkline.recipient", "recipients"},
	{"DELETE FROM trunkline.recipient WHERE user_id = 'bob'", "recipients"},
	{"TRUNCATE trunkline.recipient", ""},
	{"SELECT trunkline.touch('ann')", "recipients inbox serve"},
	{`SELECT trunkline.set_preferences('ann', '{"muted_groups": ["g"]}')`, "recipients inbox serve"},
	{"SELECT trunkline.preferences('ann')", "recipients inbox serve"},
	{"SELECT trunkline.new_unsubscribe_token(sha256('t'), 'ann', '{}')", "recipients"},
	{"SELECT * FROM trunkline.unsubscribe_offer(sha256('t'))", "inbox serve"},
	{"SELECT * FROM trunkline.unsubscribe_mail(sha256('t'))", "inbox serve"},
	{"SELECT trunkline.forget_recipient('ann')", "recipients"},
	{"SELECT name FROM trunkline.time_zone", "recipients"},
	{"SELECT trunkline.email_problem('a')", "recipients"},
	{"SELECT * FROM trunkline.recipients_of('{ann}')", "digest"},
	{"SELECT * FROM trunkline.recipient_source", ""},
	{"SELECT trunkline.forget_tokens(now())", "digest"},
	{"SELECT trunkline.recipients_from(NULL)", ""},
	{"INSERT INTO trunkline.recipient_relation VALUES (true, 'pg_catalog', 'pg_authid')", ""},
	{"SELECT * FROM trunkline.recipient_relation", ""},
	{"SELECT trunkline.wake_digest('{ann}')", ""},
	{"SELECT trunkline.look_again('{ann}')", ""},
	{"SELECT * FROM trunkline.mail_preference", ""},
	{"SELECT * FROM trunkline.mail_setting", ""},
	{"SELECT * FROM trunkline.mute", ""},
	{"INSERT INTO trunkline.mute VALUES ('ann', 'g')", ""},
	{"INSERT INTO trunkline.mail_setting (user_id) VALUES ('ann')", ""},
	{"INSERT INTO trunkline.mail_preference (user_id, mail) VALUES ('ann', 'never')", ""},
	{"SELECT hash FROM trunkline.unsubscribe_token", ""},
	{"DELETE FROM trunkline.unsubscribe_token", ""},
	{"SELECT trunkline.grant_recipients(current_user::regrole)", ""},
	{"SELECT trunkline.grant_inbox(current_user::regrole)", ""},
	{"SELECT trunkline.grant_digest(current_user::regrole)", ""},
}

func TestRecipientGrants(t *testing.T) {
	t.Parallel()
	for _, grant := range []string{"", "publish", "read", "admin", "notify", "recipients", "inbox", "serve", "digest"} {
		t.Run("grant_"+grant, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			role := fmt.Sprintf("stranger_%d", d.conn.PgConn().PID())
			d.run("CREATE ROLE " + role + "; SELECT trunkline.notify('ann', 'k'), trunkline.notify('bob', 'k')")
			d.Cleanup(func() { d.run("RESET ROLE; DROP OWNED BY " + role + "; DROP ROLE " + role) })
			if grant != "" {
				d.run("SELECT trunkline.grant_" + grant + "('" + role + "')")
			} else {
				d.run("GRANT USAGE ON SCHEMA trunkline TO " + role)
			}
			d.run("SET ROLE " + role)
			for _, one := range strangers {
				if grant != "" && strings.Contains(" "+one.grants+" ", " "+grant+" ") {
					d.run(one.sql)
					continue
				}
				if pg := d.fails(one.sql); pg.Code != "42501" {
					t.Errorf("%s raises %v, want SQLSTATE 42501", one.sql, pg)
				}
			}
		})
	}
}

// A function that anybody may call who can use the schema is one that was forgotten.
func TestNothingIsOpenToPublic(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.want(d.column(`SELECT p.oid::regprocedure::text FROM pg_proc p
		WHERE p.pronamespace = 'trunkline'::regnamespace AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)`))
	d.want(d.column(`SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'trunkline'::regnamespace
		AND EXISTS (SELECT FROM aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a WHERE a.grantee = 0)`))
}
