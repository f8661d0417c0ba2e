package schema_test

import (
	"testing"
)

// What the owner does without Trunkline's functions is counted and told, too.
func TestChangesByHand(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify_many('{ann,bob}', 'k') FROM generate_series(1, 5)")
	d.keep("now()")
	d.run("SELECT trunkline.notify('ann', 'k')") // isn't placed
	for _, step := range []struct {
		sql    string
		pushes []string
	}{
		{"UPDATE trunkline.notification SET seen_at = now(), read_at = now() WHERE id <= 3", []string{
			"ann 4/4 v2 +[11@6] ~[1@1 3@2] -[]", "bob 4/4 v2 +[] ~[2@1] -[]",
		}},
		{"UPDATE trunkline.notification SET archived_at = now() WHERE id IN (3, 5)", []string{"ann 3/3 v3 +[] ~[3@2 5@3] -[]"}},
		{"UPDATE trunkline.notification SET read_at = NULL, seen_at = NULL, archived_at = NULL", []string{
			"ann 6/6 v4 +[] ~[1@1 3@2 5@3] -[]", "bob 5/5 v3 +[] ~[2@1] -[]",
		}},
		{"DELETE FROM trunkline.notification WHERE id IN (1, 2, 4)", []string{"ann 5/5 v5 +[] ~[] -[1]", "bob 3/3 v4 +[] ~[] -[2 4]"}},
		// To another user, placed anew, and not: who has it now is told to read.
		{"UPDATE trunkline.notification SET user_id = 'bob', seq = NULL WHERE id = 3", []string{
			"ann 4/4 v6 +[] ~[] -[3]", "bob 4/4 v5 +[3@6] ~[] -[]",
		}},
		{"UPDATE trunkline.notification SET user_id = 'bob', seq = 7, read_at = now(), seen_at = now() WHERE id = 5", []string{
			"ann 3/3 v7 +[] ~[] -[5]", "bob 4/4 v6 +[] ~[] -[] more",
		}},
		{"SELECT trunkline.notify('bob', 'k', dedupe_key => 'behind what was given by hand')", []string{"bob 5/5 v7 +[12@8] ~[] -[]"}},
		{"SELECT trunkline.mark('ann', 'archived', up_to_seq => 9)", []string{"ann 0/0 v8 +[] ~[7@4 9@5 11@6] -[]"}},
		{"SELECT trunkline.mark('bob', 'read', up_to_seq => 3); TRUNCATE trunkline.notification", []string{
			"ann 0/0 v9 +[] ~[] -[] more", "bob 0/0 v8 +[] ~[] -[] more",
		}},
		{"SELECT trunkline.notify('ann', 'k')", []string{"ann 1/1 v10 +[13@7] ~[] -[]"}},
	} {
		from := len(d.pushes(0))
		d.run(step.sql)
		d.wantSound()
		d.keep("now()")
		d.wantSound()
		d.wantPushes(from, step.pushes...)
		if t.Failed() {
			t.Fatalf("after %s", step.sql)
		}
	}
}

// Drift is what happens behind the triggers' back: it is found, and repaired.
func TestInboxCheck(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify_many('{ann,bob,cid,dan}', 'k') FROM generate_series(1, 3)")
	d.keep("now()")
	d.run("SELECT trunkline.mark('cid', 'read', up_to_seq => 1)") // isn't folded in
	d.wantSound()
	d.run(`SET session_replication_role = replica;
		DELETE FROM trunkline.notification WHERE user_id = 'ann';
		UPDATE trunkline.notification SET archived_at = now() WHERE user_id = 'cid' AND seq = 3;
		UPDATE trunkline.inbox SET unseen = unseen - 7 WHERE user_id = 'bob';
		INSERT INTO trunkline.notification (user_id, kind, data, seq) VALUES ('eve', 'k', '{}', 5); RESET session_replication_role;
		UPDATE trunkline.inbox_change SET unseen = unseen + 1`)
	rows := func(repair string) []string {
		return d.column("SELECT concat_ws(' ', user_id, unseen, unread, counted_unseen, counted_unread) FROM trunkline.inbox_check(" + repair + ")")
	}
	drift := []string{"ann 3 3 0 0", "bob -4 3 3 3", "cid 3 2 1 1", "eve 0 0 1 1"}
	d.want(rows("false"), drift...)
	d.want(rows(""), drift...)
	from := len(d.pushes(0))
	d.want(rows("true"), drift...)
	d.want(rows("true"))
	d.keep("now()")
	d.want(rows("true"))
	d.wantPushes(from, "ann 0/0 v2 +[] ~[] -[] more", "bob 3/3 v2 +[] ~[] -[] more", "cid 1/1 v2 +[] ~[3@1] -[] more",
		"eve 1/1 v1 +[] ~[] -[] more")
	// What follows goes on from there.
	d.run("SELECT trunkline.notify('eve', 'k')")
	d.keep("now()")
	d.wantSound()
	d.wantPushes(from+4, "eve 2/2 v2 +[14@6] ~[] -[]")
}

// Two at once repair once, and what happens meanwhile is counted.
func TestInboxCheckWhileOthersWork(t *testing.T) {
	t.Parallel()
	d := open(t)
	other, third := d.another(), d.another()
	d.run("SELECT trunkline.notify_many('{ann,bob}', 'k') FROM generate_series(1, 3)")
	d.keep("now()")
	d.run("UPDATE trunkline.inbox SET unread = 40")
	third.run("BEGIN; SELECT trunkline.mark('bob', 'read', up_to_seq => 2)")
	d.run("BEGIN; SELECT * FROM trunkline.inbox_check(true)")
	got := other.start("SELECT count(*)::text FROM trunkline.inbox_check(true)")
	d.waitUntilBlocked(other)
	third.run("COMMIT; SELECT trunkline.notify('ann', 'k')")
	third.keep("now()")
	d.run("COMMIT")
	if n := <-got; n != "0" {
		t.Errorf("the second repair has found %s", n)
	}
	d.keep("now()")
	d.wantSound()
	d.want(d.column("SELECT user_id || unseen || unread FROM trunkline.inbox ORDER BY 1"), "ann44", "bob11")
}

// From when on the digest worker has to look at whom: never too late.
func TestDigestIsDue(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.kind('quick', delay => '10 minutes'); SELECT trunkline.kind('at once', delay => '0');
		SELECT trunkline.kind('slow', delay => '1 month');
		INSERT INTO trunkline.mail_preference (user_id, kind, mail, delay, daily_at) VALUES ('bob', '', 'after', '1 hour', NULL),
			('bob', 'quick', 'at_once', NULL, NULL), ('bob', 'slow', 'daily', NULL, '18:00'), ('cid', '', 'never', NULL, NULL),
			('cid', 'quick', 'after', '2 hours', NULL)`)
	wait := func(user string) string {
		return d.column(`SELECT d.due_at - (SELECT max(n.created_at) FROM trunkline.notification n WHERE n.user_id = '` + user + `')
			FROM (SELECT) one LEFT JOIN trunkline.digest_due d ON d.user_id = '` + user + "'")[0]
	}
	for n, test := range []struct{ user, kind, want string }{
		{"ann", "unheard-of", "04:00:00"},
		{"ann", "quick", "00:10:00"},
		{"ann", "at once", "00:00:00"},
		{"ann", "slow", "30 days"},
		{"bob", "unheard-of", "01:00:00"},
		{"bob", "quick", "00:00:00"},
		{"bob", "slow", "00:00:00"},
		{"cid", "unheard-of", "<NULL>"},
		{"cid", "quick", "02:00:00"},
	} {
		d.run("TRUNCATE trunkline.digest_due; SELECT trunkline.notify('" + test.user + "', '" + test.kind + "')")
		d.keep("now()")
		if got := wait(test.user); got != test.want {
			t.Errorf("%d: %s is looked at %s after one of kind %s, want %s", n, test.user, got, test.kind, test.want)
		}
	}
	due := func(want string) {
		t.Helper()
		d.keep("now()")
		d.want(d.column(`SELECT string_agg(user_id || CASE WHEN due_at > now() + interval '5 minutes' THEN ' later' ELSE ' now' END, ', '
			ORDER BY user_id) FROM trunkline.digest_due`), want)
	}
	d.run("TRUNCATE trunkline.digest_due; SELECT trunkline.notify_many('{ann,dan}', 'quick')")
	due("ann later, dan later")
	// The earliest counts.
	d.run("SELECT trunkline.notify('ann', 'at once'); SELECT trunkline.notify('dan', 'slow')")
	due("ann now, dan later")
	d.run("SELECT trunkline.look_again('{dan,nobody}', now() + interval '1 year')")
	due("ann now, dan later")
	d.run("SELECT trunkline.look_again('{dan,nobody}')")
	due("ann now, dan now")
	// What is read before it is placed, or was sent, is no reason to look; what is unread again, or back from the archive, is.
	d.run("TRUNCATE trunkline.digest_due; SELECT trunkline.mark('ann', 'read', ids => ARRAY[trunkline.notify('ann', 'at once')])")
	due("<NULL>")
	d.run("UPDATE trunkline.notification SET digest_id = 1 WHERE user_id = 'dan'; SELECT trunkline.mark('dan', 'read', up_to_seq => 99)")
	due("<NULL>")
	d.run("SELECT trunkline.mark(n.user_id, 'unread', ids => ARRAY[n.id]) FROM trunkline.notification n WHERE n.user_id IN ('ann', 'dan')")
	due("ann now")
	d.run("TRUNCATE trunkline.digest_due; SELECT trunkline.mark('ann', 'archived', up_to_seq => 99)")
	due("<NULL>")
	d.run("SELECT trunkline.mark(n.user_id, 'inbox', ids => ARRAY[n.id]) FROM trunkline.notification n WHERE n.user_id = 'ann'")
	due("ann now")
}

// A digest worker that holds a user's row may not have seen what is placed beside it: the row is set again once it has let go.
func TestDigestIsDueThoughAWorkerLooks(t *testing.T) {
	t.Parallel()
	for _, look := range []string{"UPDATE trunkline.digest_due SET due_at = now() + interval '1 year'", "DELETE FROM trunkline.digest_due"} {
		t.Run(look, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			worker := d.another()
			d.run("SELECT trunkline.notify_many('{ann,bob}', 'k')")
			d.keep("now()")
			worker.run("BEGIN; " + look + " WHERE user_id = 'ann'")
			d.run("SELECT trunkline.kind('k', delay => '0'); SELECT trunkline.notify_many('{ann,bob}', 'k')")
			d.want(d.column("SELECT (placed, users, more, next_at = now() + interval '100 ms') FROM trunkline.inbox_keep(500, now())"), "(2,2,f,t)")
			d.want(d.column("SELECT user_id FROM trunkline.digest_due WHERE due_at <= now()"), "bob")
			d.want(d.column("SELECT (placed, users, more, next_at = now() + interval '100 ms') FROM trunkline.inbox_keep(500, now())"), "(0,0,f,t)")
			worker.run("COMMIT")
			d.want(d.column("SELECT inbox_keep FROM trunkline.inbox_keep()"), "(0,0,f,)")
			d.want(d.column("SELECT user_id FROM trunkline.digest_due WHERE due_at <= now() ORDER BY 1"), "ann", "bob")
		})
	}
}
