package schema_test

import "testing"

// Whatever may make mail due earlier has the digest worker look at the user, once it commits; whatever can't doesn't.
func TestWhatWakesTheDigest(t *testing.T) {
	t.Parallel()
	for what, one := range map[string]struct {
		sql   string
		wakes bool
	}{
		"an address":                    {"SELECT trunkline.set_recipient('ann', 'new@example.com')", true},
		"another zone":                  {"SELECT trunkline.set_recipient('ann', 'ann@example.com', NULL, 'Asia/Tokyo')", true},
		"the same recipient":            {"SELECT trunkline.set_recipient('ann', 'ann@example.com')", false},
		"no address any more":           {"SELECT trunkline.set_recipient('ann', NULL)", false},
		"written to the table":          {"UPDATE trunkline.recipient SET email = 'x' || email WHERE user_id = 'ann'", true},
		"inserted":                      {"DELETE FROM trunkline.recipient; INSERT INTO trunkline.recipient (user_id, email) SELECT 'ann', 'ann@example.com'", true},
		"another's address":             {"SELECT trunkline.set_recipient('bob', 'new@example.com')", false},
		"activity":                      {"SELECT trunkline.touch('ann')", false},
		"a bounce":                      {"UPDATE trunkline.recipient SET bounces = 1, bounced_email = email", false},
		"preferences":                   {`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "at_once"}}')`, true},
		"the same preferences":          {`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "daily", "at": "18:00"}, "muted_groups": ["g"]}')`, false},
		"fewer rules":                   {`SELECT trunkline.set_preferences('ann', '{"muted_groups": ["g"]}')`, true},
		"fewer mutes":                   {`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "daily", "at": "18:00"}}')`, true},
		"more mutes":                    {`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "daily", "at": "18:00"}, "muted_groups": ["g", "h"]}')`, true},
		"a vacation":                    {`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "daily", "at": "18:00"}, "muted_groups": ["g"], "vacation_until": "2001-01-01T00:00:00Z"}')`, true},
		"preferences of who read all":   {`SELECT trunkline.set_preferences('bob', '{"default": {"mail": "at_once"}}')`, false},
		"what is rolled back":           {"BEGIN; SELECT trunkline.set_recipient('ann', 'new@example.com'); ROLLBACK", false},
		"another relation":              {"CREATE VIEW public.people AS SELECT user_id, email FROM trunkline.recipient; SELECT trunkline.recipients_from('public.people')", true},
		"preferences of who has no row": {`DELETE FROM trunkline.digest_due; SELECT trunkline.set_preferences('ann', '{}')`, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			keep := "SELECT trunkline.inbox_keep(500, clock_timestamp())"
			d.run(`SELECT trunkline.set_recipient('ann', 'ann@example.com'), trunkline.set_recipient('bob', 'bob@example.com');
				SELECT trunkline.set_preferences('ann', '{"default": {"mail": "daily", "at": "18:00"}, "muted_groups": ["g"]}');
				SELECT trunkline.notify_many('{ann,bob}', 'k')`)
			d.run(keep)
			d.run("SELECT trunkline.mark('bob', 'read', up_to_seq => 1)")
			d.run(keep)
			d.run("UPDATE trunkline.digest_due SET due_at = '3000-01-01'")
			d.run(one.sql)
			d.run(keep)
			woken := d.column("SELECT user_id FROM trunkline.digest_due WHERE due_at <= clock_timestamp() ORDER BY user_id")
			switch {
			case !one.wakes:
				d.want(woken)
			case what == "another relation": // everybody who waits
				d.want(woken, "ann", "bob")
			default:
				d.want(woken, "ann")
			}
		})
	}
}

// What the keeper hasn't placed yet is looked at with what holds then.
func TestWakingBeforeTheFirstPlace(t *testing.T) {
	t.Parallel()
	d := open(t)
	keep := "SELECT trunkline.inbox_keep(500, clock_timestamp())"
	d.run(`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "never"}}'); SELECT trunkline.notify('ann', 'k')`)
	d.run(keep)
	d.want(d.column("SELECT user_id FROM trunkline.digest_due"))
	d.run(`SELECT trunkline.notify('ann', 'k'); SELECT trunkline.set_preferences('ann', '{"default": {"mail": "at_once"}}')`)
	d.run(keep)
	d.want(d.column("SELECT user_id FROM trunkline.digest_due WHERE due_at <= clock_timestamp()"), "ann")
}

// Importing recipients takes one look into the index for each, and none of the notifications' table as a whole.
func TestWakingTakesAnIndex(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.notify_many(ARRAY(SELECT 'user:' || n FROM generate_series(1, 10000) n), 'k') FROM generate_series(1, 5);
		SELECT trunkline.set_recipient('first', 'first@example.com')`) // plans are made for one row
	for more := true; more; {
		more = d.column("SELECT more FROM trunkline.inbox_keep(5000, clock_timestamp())")[0] == "t"
	}
	d.run("VACUUM ANALYZE trunkline.notification")
	read := "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'notification' AND schemaname = 'trunkline'"
	d.run("BEGIN")
	before := d.column(read)
	d.run("INSERT INTO trunkline.recipient (user_id, email) SELECT 'user:' || n, 'user' || n || '@example.com' FROM generate_series(9001, 11000) n")
	d.want(d.column(read), before...)
	d.want(d.column("SELECT count(DISTINCT user_id) FROM trunkline.inbox_change WHERE due_at <= clock_timestamp()"), "1000")
	d.run("COMMIT")
}
