package schema_test

import (
	"fmt"
	"strings"
	"testing"
)

// sentDigest is a mail that was sent, with ids of its own choice.
const sentDigest = `INSERT INTO trunkline.digest (user_id, email, time_zone, message_id, items, phase, attempt, claimed_at, finished_at)
	VALUES ('ann', 'ann@example.org', 'UTC', 'k3m9q2@example.org', '{1}', 'sent', 1, now(), now());`

func TestBouncesErode(t *testing.T) {
	t.Parallel()
	d := open(t)
	score := "SELECT round(bounces::numeric, 3) || ' ' || bounced_email || ' ' || bounced_at::date || ' ' || bounce_reason FROM trunkline.recipient"
	d.run("SET TimeZone = 'UTC'")
	for _, step := range []struct{ email, at, want string }{
		{"a@example.org", "2031-01-01", "1.000 a@example.org 2031-01-01 no"},
		{"a@example.org", "2031-01-01", "2.000 a@example.org 2031-01-01 no"},
		{"a@example.org", "2031-01-31", "2.000 a@example.org 2031-01-31 no"}, // half of two and one
		{"a@example.org", "2031-03-02", "2.000 a@example.org 2031-03-02 no"}, // again
		{"a@example.org", "2031-01-01", "3.000 a@example.org 2031-03-02 no"}, // told of late
		{"b@example.org", "2031-03-03", "1.000 b@example.org 2031-03-03 no"}, // another address
		{"b@example.org", "2099-03-03", "1.000 b@example.org 2099-03-03 no"}, // nothing is left that a number could hold
	} {
		d.run(fmt.Sprintf("SELECT trunkline.bounce('ann', '%s', 'no', '%s')", step.email, step.at))
		d.want(d.column(score), step.want)
	}
	// It makes a recipient of nobody, so that the application's keep theirs.
	d.want(d.column("SELECT coalesce(email, 'none') FROM trunkline.recipient"), "none")
}

func TestReportedBounces(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.set_recipient('ann', 'ann@example.org')")
	d.run(sentDigest)
	for token, known := range map[string]string{
		"k3m9q2": "true", "K3M9Q2": "true", "k3m9q": "false", "k3m9q22": "false", "": "false", "k3m9q2@example.org": "false", "%": "false",
	} {
		d.want(d.column(fmt.Sprintf("SELECT trunkline.report_bounce('%s', '550 5.1.1 nobody')", token)), strings.ToLower(known[:1]))
	}
	d.want(d.column("SELECT phase || ' ' || reply FROM trunkline.digest"), "bounced 550 5.1.1 nobody")
	d.want(d.column("SELECT bounces::text FROM trunkline.recipient"), "1")
	// What is under way isn't touched: its sender says what becomes of it.
	d.run("UPDATE trunkline.digest SET phase = 'claimed', next_at = now(), finished_at = NULL")
	d.want(d.column("SELECT trunkline.report_bounce('k3m9q2', 'no')"), "t")
	d.want(d.column("SELECT phase FROM trunkline.digest"), "claimed")
}

// A mail is in phases that fit its times, and only one try at it counts.
func TestPhasesOfMails(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(sentDigest)
	d.run("INSERT INTO trunkline.notification (user_id, kind, data, digest_id) VALUES ('ann', 'k', '{}', 1); SELECT trunkline.inbox_keep(1)")
	for _, bad := range []string{
		"UPDATE trunkline.digest SET phase = 'lost'",
		"UPDATE trunkline.digest SET phase = 'claimed'",
		"UPDATE trunkline.digest SET next_at = now()",
		"UPDATE trunkline.digest SET finished_at = NULL",
	} {
		if pg := d.fails(bad); pg.Code != "23514" {
			t.Errorf("%s raises %v", bad, pg)
		}
	}
	d.run("UPDATE trunkline.digest SET phase = 'claimed', next_at = '2031-01-01', finished_at = NULL, attempt = 0, items = '{}'")
	take := "SELECT attempt || ' ' || phase || ' ' || uncertain FROM trunkline.digest_take('%s', '%s', 10, %v)"
	commit := "SELECT count(*)::text FROM trunkline.digest_commit('{1}', '{%d}') WHERE whole"
	finish := "SELECT count(*)::text FROM trunkline.digest_finish('{1}', '{%d}', '{%s}', '{false}', '{NULL}', '{%s}', '{NULL}', '{2031-01-02}')"
	d.want(d.column(fmt.Sprintf(take, "2030-12-31", "2031-01-03", false))) // not before its time
	d.want(d.column(fmt.Sprintf(take, "2031-01-01", "2031-01-03", false)), "1 claimed false")
	d.want(d.column(fmt.Sprintf(take, "2031-01-02", "2031-01-03", false))) // somebody's, until then
	d.want(d.column(fmt.Sprintf(commit, 1)), "1")
	d.want(d.column(fmt.Sprintf(commit, 1)), "0") // once
	d.want(d.column(fmt.Sprintf(take, "2031-01-03", "2031-01-05", false)), "2 claimed true")
	d.want(d.column(fmt.Sprintf(commit, 1)), "0") // overtaken
	d.want(d.column(fmt.Sprintf(finish, 1, "claimed", "2031-01-04")), "0")
	d.want(d.column(fmt.Sprintf(finish, 1, "failed", "NULL")), "0")
	d.want(d.column(fmt.Sprintf(finish, 1, "sent", "NULL")), "1") // but sent is sent
	d.want(d.column(fmt.Sprintf(commit, 2)), "0")
	d.want(d.column(fmt.Sprintf(finish, 2, "claimed", "2031-01-04")), "0")
	d.want(d.column("SELECT phase || ' ' || attempt FROM trunkline.digest"), "sent 2")
	d.run("UPDATE trunkline.digest SET phase = 'data_sent', next_at = '2031-01-01', finished_at = NULL")
	d.want(d.column(fmt.Sprintf(take, "2031-01-03", "2031-01-05", true)), "3 parked true")
	d.want(d.column("SELECT trunkline.resend_digest(1)::text || trunkline.resend_digest(1)::text"), "truefalse")
}

// Users are looked at by one worker at a time, for as long as it may take, and by clocks that can be believed.
func TestLooksAreOneWorkersAtATime(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("INSERT INTO trunkline.digest_due (user_id, due_at) VALUES ('ann', '2031-01-01'), ('bob', '2031-01-02'), ('cid', '2031-01-03')")
	look := "SELECT user_id FROM trunkline.digest_look(%d, '%s', '%s', %d) ORDER BY 1"
	d.want(d.column(fmt.Sprintf(look, 1, "2031-01-02 00:00", "2031-01-02 00:02", 1)), "ann")
	d.want(d.column(fmt.Sprintf(look, 2, "2031-01-02 00:00", "2031-01-02 00:02", 10)), "bob")
	d.want(d.column(fmt.Sprintf(look, 3, "2031-01-02 00:01", "2031-01-02 00:03", 10)))
	d.want(d.column("SELECT digest_lock FROM trunkline.digest_lock(2, '{ann,bob}')"), "bob")
	d.want(d.column("SELECT to_char(trunkline.digest_next('2031-01-02 00:01'), 'HH24:MI')"), "00:02")
	d.run("SELECT trunkline.digest_unlook(1, '{ann,bob}')")
	d.want(d.column(fmt.Sprintf(look, 4, "2031-01-02 00:01", "2031-01-02 00:03", 10)), "ann")
	d.want(d.column(fmt.Sprintf(look, 5, "2031-01-02 00:02", "2031-01-02 00:04", 10)), "bob") // its look is over
	// A look of next year's was another clock's.
	d.run("UPDATE trunkline.digest_due SET looked_until = '2032-01-01'")
	d.want(d.column(fmt.Sprintf(look, 6, "2031-01-02 00:05", "2031-01-02 00:07", 10)), "ann", "bob")
}

// What a worker needs is granted to it by name, and to nobody else.
func TestDigestGrants(t *testing.T) {
	t.Parallel()
	statements := []struct{ sql, grants string }{
		{"SELECT * FROM trunkline.digest_look(1, now(), now(), 1)", "digest"},
		{"SELECT trunkline.digest_lock(1, '{}')", "digest"},
		{"SELECT trunkline.digest_unlook(1, '{}')", "digest"},
		{"SELECT trunkline.digest_own_recipients()", "digest"},
		{"SELECT * FROM trunkline.digest_settings('{ann}', now())", "digest"},
		{"SELECT * FROM trunkline.digest_mutes('{ann}', '{g}')", "digest"},
		{"SELECT * FROM trunkline.digest_unread('{ann}', now(), 1, true)", "digest"},
		{"SELECT * FROM trunkline.digest_decide(1, now(), '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')", "digest"},
		{"SELECT * FROM trunkline.digest_take(now(), now(), 1, false)", "digest"},
		{"SELECT * FROM trunkline.digest_contents('{}', now(), 1, 1)", "digest"},
		{"SELECT trunkline.digest_prepare('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', now())", "digest"},
		{"SELECT trunkline.digest_commit('{}', '{}')", "digest"},
		{"SELECT trunkline.digest_finish('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')", "digest"},
		{"SELECT * FROM trunkline.digest_settle(0, 1, now())", "digest"},
		{"SELECT trunkline.digest_admit(true)", "digest"},
		{"SELECT trunkline.digest_look_again('{ann}', now())", "digest"},
		{"SELECT * FROM trunkline.digest_sent", ""},
		{"SELECT trunkline.digest_next(now())", "digest"},
		{"SELECT trunkline.digest_forget(now(), 1)", "digest"},
		{"SELECT trunkline.forget_tokens(now(), 1)", "digest"},
		{"SELECT trunkline.report_bounce('k', 'no')", "digest"},
		{"SELECT trunkline.resend_digest(1)", "digest"},
		{"SELECT * FROM trunkline.digest, trunkline.digest_decision, trunkline.kind", "digest"},
		{"SELECT * FROM trunkline.recipients_of('{ann}')", "digest"},
		{"SELECT trunkline.bounce('ann', 'a@b', 'no')", ""},
		{"INSERT INTO trunkline.digest_decision (user_id) VALUES ('ann')", ""},
		{"UPDATE trunkline.digest SET phase = 'sent'", ""},
		{"SELECT * FROM trunkline.notification", ""},
		{"SELECT * FROM trunkline.recipient", ""},
		{"SELECT * FROM trunkline.unsubscribe_token", ""},
		{"SELECT trunkline.grant_digest(current_user::regrole)", ""},
	}
	for _, grant := range []string{"", "publish", "read", "admin", "digest"} {
		t.Run("grant_"+grant, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			role := fmt.Sprintf("digester_%d", d.conn.PgConn().PID())
			d.run("CREATE ROLE " + role)
			d.Cleanup(func() { d.run("RESET ROLE; DROP OWNED BY " + role + "; DROP ROLE " + role) })
			if grant != "" {
				d.run("SELECT trunkline.grant_" + grant + "('" + role + "')")
			} else {
				d.run("GRANT USAGE ON SCHEMA trunkline TO " + role)
			}
			d.run("SET ROLE " + role)
			for _, one := range statements {
				if grant != "" && one.grants == grant {
					d.run(one.sql)
				} else if pg := d.fails(one.sql); pg.Code != "42501" {
					t.Errorf("%s raises %v, want SQLSTATE 42501", one.sql, pg)
				}
			}
		})
	}
}
