package schema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMarks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		sql  string
		want []string // what each mark returns, then the push
	}{
		{"seen", "seen', up_to_seq => 3", []string{"3", "ann 1/4 v2 +[] ~[1@1 2@2 3@3] -[]"}},
		{"read", "read', up_to_seq => 2", []string{"2", "ann 2/2 v2 +[] ~[1@1 2@2] -[]"}},
		{"read in a group", `read', up_to_seq => 3, "group" => 'odd'`, []string{"2", "ann 2/2 v2 +[] ~[1@1 3@3] -[]"}},
		{"archived", "archived', up_to_seq => 3", []string{"3", "ann 1/1 v2 +[] ~[1@1 2@2 3@3] -[]"}},
		{"nothing", "read', up_to_seq => 0", []string{"0"}},
		{"all, and more than there is", "read', up_to_seq => 9223372036854775807", []string{"4", "ann 0/0 v2 +[] ~[1@1 2@2 3@3 4@4] -[]"}},
		{"ids, also of others and of nothing", "read', ids => '{5,1,99,NULL,-3,1}'", []string{"1", "ann 3/3 v2 +[] ~[1@1] -[]"}},
		{"no ids", "read', ids => '{}'", []string{"0"}},
		{"snoozed", "snoozed', ids => '{1}', until => now() + interval '399 days'", []string{"1", "ann 3/3 v2 +[] ~[1@1] -[]"}},
		{"unread", "unread', ids => '{1}'", []string{"0"}},
		{"inbox", "inbox', ids => '{1}'", []string{"0"}},
		{
			"read, unread", "read', ids => '{1,2}'; unread', ids => '{1}'; unread', ids => '{1}'; seen', ids => '{1}'",
			[]string{"2", "1", "0", "0", "ann 2/3 v2 +[] ~[1@1 2@2] -[]"},
		},
		{
			"archived and back, read while it was there", "archived', ids => '{1,2}'; read', ids => '{2}'; inbox', ids => '{1,2,3}'",
			[]string{"2", "1", "2", "ann 3/3 v2 +[2@6 1@5] ~[] -[]"},
		},
		{
			"a snoozed one comes back to the top",
			"snoozed', ids => '{1}', until => now() + interval '1 h'; inbox', ids => '{1,2}'; read', up_to_seq => 9",
			[]string{"1", "1", "3", "ann 1/1 v2 +[1@5] ~[2@2 3@3 4@4] -[]"},
		},
		{
			"mark-all passes over what is archived or snoozed",
			"snoozed', ids => '{1}', until => now() + interval '1 h'; archived', ids => '{2}'; read', up_to_seq => 4; inbox', ids => '{2}'",
			[]string{"1", "1", "2", "1", "ann 1/1 v2 +[2@5] ~[1@1 3@3 4@4] -[]"},
		},
		{
			"snoozed for longer, for the same time, from the archive, into the archive",
			"snoozed', ids => '{1}', until => 'soon'; snoozed', ids => '{1}', until => 'soon'; " +
				"snoozed', ids => '{1}', until => 'soon 01:00'; archived', ids => '{2}'; snoozed', ids => '{2}', until => 'soon'; " +
				"archived', ids => '{2}'; archived', ids => '{2}'",
			[]string{"1", "0", "1", "1", "1", "1", "0", "ann 2/2 v2 +[] ~[1@1 2@2] -[]"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.run(`SELECT trunkline.notify('ann', 'k', "group" => CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END) FROM generate_series(1, 4) n;
				SELECT trunkline.notify('bob', 'k')`)
			d.keep("now()")
			var got []string
			// The same day in all of them, and far enough from now, even if it is midnight.
			soon := time.Now().AddDate(0, 0, 2).Format(time.DateOnly)
			for mark := range strings.SplitSeq(strings.ReplaceAll(test.sql, "'soon", "'"+soon), "; ") {
				got = append(got, d.column("SELECT trunkline.mark('ann', '" + mark + ")")[0])
			}
			d.wantSound() // also with differences that aren't folded in
			d.keep("now()")
			d.wantSound()
			for _, p := range d.pushes(2) {
				got = append(got, p.brief())
			}
			d.want(got, test.want...)
			d.want(d.column("SELECT unread FROM trunkline.inbox_counts('bob')"), "1")
		})
	}
}

// What a user marks is in the counts at once for whoever folds, in the transaction that marks.
func TestFold(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k') FROM generate_series(1, 3)")
	d.want(d.column("SELECT inbox_fold FROM trunkline.inbox_fold('ann')"), "(0,0,0)") // none is placed
	d.want(d.column("SELECT inbox_fold FROM trunkline.inbox_fold(NULL)"), "(0,0,0)")
	d.keep("now()")
	d.run("SELECT trunkline.mark('ann', 'seen', up_to_seq => 1)")
	d.want(d.column("SELECT inbox_counts FROM trunkline.inbox_counts('ann')"), "(3,3,1)")
	d.run("BEGIN; SELECT trunkline.mark('ann', 'read', up_to_seq => 2)")
	d.want(d.column("SELECT inbox_fold FROM trunkline.inbox_fold('ann')"), "(1,1,2)")
	d.want(d.column("SELECT inbox_fold FROM trunkline.inbox_fold('ann')"), "(1,1,2)")
	other := d.another()
	other.want(other.column("SELECT inbox_counts FROM trunkline.inbox_counts('ann')"), "(3,3,1)")
	d.run("COMMIT")
	d.keep("now()")
	d.wantPushes(1, "ann 1/1 v2 +[] ~[1@1 2@2] -[]")
	d.run("BEGIN; SELECT trunkline.mark('ann', 'archived', ids => '{1,2,3}'); SELECT * FROM trunkline.inbox_fold('ann'); ROLLBACK")
	d.want(d.column("SELECT inbox_fold FROM trunkline.inbox_fold('ann')"), "(1,1,2)")
	d.wantPushes(2)
	d.wantSound()
}

func TestSnooze(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k') FROM generate_series(1, 3)")
	d.keep("now()")
	d.run(`SELECT trunkline.mark('ann', 'read', ids => '{2}');
		SELECT trunkline.mark('ann', 'snoozed', ids => '{1,2}', until => now() + interval '1 day');
		SELECT trunkline.notify('ann', 'k')`)
	d.keep("now() + interval '23 hours'")
	d.want(d.column("SELECT next_at BETWEEN now() + interval '23 hours' AND now() + interval '25 hours' FROM trunkline.inbox_keep()"), "t")
	d.wantPushes(1, "ann 2/2 v2 +[4@4] ~[1@1 2@2] -[]")
	// They come back at the top, in their order, as read as they were.
	d.keep("now() + interval '25 hours'")
	d.wantPushes(2, "ann 3/3 v3 +[2@6 1@5] ~[] -[]")
	d.wantList("'ann'", 2, 1, 4, 3)
	if added := d.pushes(2)[0].Added; added[0].ReadAt == nil || added[1].ReadAt != nil || added[0].SnoozedUntil != nil {
		t.Errorf("%+v", added)
	}
	d.want(d.column("SELECT next_at FROM trunkline.inbox_keep()"), "<NULL>")
	d.wantSound()
}

// What is removed after it came back from a snooze, and before it was placed anew, was known to clients all the same.
func TestRemovedOnTheWayBackFromASnooze(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k', expires_at => now() + interval '3 hours') FROM generate_series(1, 3)")
	d.keep("now()")
	d.run("SELECT trunkline.mark('ann', 'snoozed', ids => '{1,2,3}', until => now() + interval '2 hours')")
	d.keep("now()")
	d.run("SELECT trunkline.mark('ann', 'inbox', ids => '{1,2}'); DELETE FROM trunkline.notification WHERE id = 2")
	d.keep("now()")
	d.keep("now() + interval '4 hours'") // over, and expired
	d.wantPushes(2, "ann 1/1 v3 +[1@4] ~[] -[2]", "ann 0/0 v4 +[] ~[] -[1 3]")
	d.wantSound()
}

// A mark-all says what its user was shown. What arrives at any moment before, while or after it is made, stays untouched: a new
// notification, and one that comes back from a snooze. Three steps each, in every order.
func TestMarkAllNeverTouchesWhatArrives(t *testing.T) {
	t.Parallel()
	for _, mark := range []string{"seen", "read", "archived"} {
		for _, arrives := range []string{"new", "from a snooze", "put back by hand"} {
			t.Run(mark+" "+arrives, func(t *testing.T) {
				t.Parallel()
				d := open(t)
				markers, arrivals := d.another(), d.another()
				for n, order := range interleave(3, 3) {
					user := fmt.Sprintf("u%d", n)
					d.run(`SELECT trunkline.notify('` + user + `', 'shown') FROM generate_series(1, 2);
						SELECT trunkline.notify('` + user + `', 'arrives') WHERE '` + arrives + `' <> 'new'`)
					d.keep("now()")
					d.run("SELECT trunkline.mark('" + user + "', 'snoozed', ids => ARRAY[id], until => now() + interval '1 hour') " +
						"FROM trunkline.notification WHERE kind = 'arrives' AND user_id = '" + user + "'")
					d.keep("now()")
					d.wantList("'"+user+"'", ids(d, user, "shown")...)

					marking := []string{
						"BEGIN; SELECT trunkline.mark('" + user + "', '" + mark + "', up_to_seq => 2)",
						"SELECT * FROM trunkline.inbox_fold('" + user + "')",
						"COMMIT",
					}
					arriving := map[string][]string{
						"new": {
							"BEGIN; SELECT trunkline.notify('" + user + "', 'arrives')", "COMMIT", "SELECT * FROM trunkline.inbox_keep()",
						},
						"from a snooze": {
							"SELECT * FROM trunkline.inbox_keep(1, now() + interval '2 hours')", "SELECT * FROM trunkline.inbox_keep()",
							"SELECT * FROM trunkline.inbox_keep()",
						},
						"put back by hand": {
							"BEGIN; SELECT trunkline.mark('" + user + "', 'inbox', ids => ARRAY[id]) FROM trunkline.notification " +
								"WHERE kind = 'arrives' AND user_id = '" + user + "'", "COMMIT", "SELECT * FROM trunkline.inbox_keep()",
						},
					}[arrives]
					for _, first := range order {
						if first {
							markers.run(marking[0])
							marking = marking[1:]
						} else {
							arrivals.run(arriving[0])
							arriving = arriving[1:]
						}
					}
					d.keep("now() + interval '2 hours'")
					d.want(d.column(fmt.Sprintf(`SELECT concat_ws(' ', kind, seq > 2, seen_at, read_at, archived_at, snoozed_until)
						FROM trunkline.notification WHERE user_id = '%s' AND kind = 'arrives'`, user)), "arrives t")
					unread := map[string]string{"seen": "(1,3)", "read": "(1,1)", "archived": "(1,1)"}[mark]
					d.want(d.column("SELECT (unseen, unread) FROM trunkline.inbox_counts('"+user+"')"), unread)
				}
				d.wantSound()
			})
		}
	}
}

// ids returns the ids of a user's notifications of a kind, the newest first.
func ids(d database, user, kind string) (ids []int) {
	d.Helper()
	for _, i := range d.list("'" + user + "', kind => '" + kind + "'") {
		ids = append(ids, i.ID)
	}
	return ids
}

// interleave returns every order in which a of one sort (true) and b of another can follow each other.
func interleave(a, b int) (orders [][]bool) {
	if a+b == 0 {
		return [][]bool{{}}
	}
	if a > 0 {
		for _, rest := range interleave(a-1, b) {
			orders = append(orders, append([]bool{true}, rest...))
		}
	}
	if b > 0 {
		for _, rest := range interleave(a, b-1) {
			orders = append(orders, append([]bool{false}, rest...))
		}
	}
	return orders
}

// A mark that had to wait for a row looks at it again.
func TestMarkLooksAgainAtWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := d.another()
	for n, test := range []struct{ first, second, want string }{
		{"archived', ids => ARRAY[id]", "read', up_to_seq => 1", "0"},
		{"read', ids => ARRAY[id]", "read', up_to_seq => 1", "0"},
		{"seen', ids => ARRAY[id]", "read', up_to_seq => 1", "1"},
		{"snoozed', until => now() + interval '1 day', ids => ARRAY[id]", "archived', up_to_seq => 1", "0"},
		{"archived', ids => ARRAY[id]", "archived', ids => ARRAY[id]", "0"},
	} {
		user := fmt.Sprintf("u%d", n)
		d.run("SELECT trunkline.notify('" + user + "', 'k')")
		d.keep("now()")
		from := ") FROM trunkline.notification WHERE user_id = '" + user + "'"
		d.run("BEGIN; SELECT trunkline.mark('" + user + "', '" + test.first + from)
		got := other.start("SELECT trunkline.mark('" + user + "', '" + test.second + from)
		d.waitUntilBlocked(other)
		d.run("COMMIT")
		if changed := <-got; changed != test.want {
			t.Errorf("%s, then %s: %s, want %s", test.first, test.second, changed, test.want)
		}
	}
	d.keep("now()")
	d.wantSound()
}
