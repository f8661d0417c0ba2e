package schema_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// Transactions that notify and retract the same users in opposite order neither wait for each other nor deadlock, and the keeper
// works beside them. Statements that would have to wait fail.
func TestOppositeOrderNeverWaits(t *testing.T) {
	t.Parallel()
	d := open(t)
	one, two := d.another(), d.another()
	d.run("SET lock_timeout = '1min'") // as the others have
	d.run(`SELECT trunkline.notify_many('{ann,bob}', 'k', cause => 'c', "group" => 'g' || n) FROM generate_series(1, 3) n;
		SELECT trunkline.notify('ann', 'k', cause => 'a'); SELECT trunkline.notify('bob', 'k', cause => 'b')`)
	d.keep("now()")
	d.run("SELECT trunkline.notify('ann', 'k', cause => 'a'); SELECT trunkline.notify('bob', 'k', cause => 'b')") // aren't placed

	one.run("BEGIN; SELECT trunkline.notify('ann', 'k')")
	two.run("BEGIN; SELECT trunkline.notify('bob', 'k')")
	one.run("SELECT trunkline.notify('bob', 'k')")
	two.run("SELECT trunkline.notify('ann', 'k'); SELECT trunkline.notify_many('{bob,ann}', 'k')")
	d.keep("now()")
	// Two each by cause, and what the other one took, once more.
	d.want(one.column("SELECT trunkline.retract(cause => 'a')"), "2")
	d.want(two.column("SELECT trunkline.retract(cause => 'b')"), "2")
	d.want(one.column("SELECT trunkline.retract(cause => 'b')"), "2")
	d.want(two.column("SELECT trunkline.retract(cause => 'a')"), "2")
	d.keep("now()")
	d.want(one.column(`SELECT trunkline.retract("group" => 'g1')`), "2")
	d.want(two.column(`SELECT trunkline.retract("group" => 'g1', user_id => 'ann')`), "1")
	d.want(two.column("SELECT trunkline.retract(cause => 'c')"), "6")
	d.want(one.column("SELECT trunkline.retract(cause => 'c', kind => 'k')"), "4") // its own are gone already
	d.keep("now()")
	one.run("COMMIT")
	d.keep("now()")
	two.run("ROLLBACK")
	d.keep("now()")
	d.keep("now()")
	// One's are left; what it was told it removed, is.
	d.want(d.column("SELECT user_id || count(*) FROM trunkline.notification GROUP BY user_id ORDER BY 1"), "ann1", "bob1")
	d.want(d.column("SELECT user_id || unread FROM trunkline.inbox ORDER BY 1"), "ann1", "bob1")
	d.want(d.column("SELECT id FROM trunkline.inbox_change"))
	d.wantSound()
}

// The same, at random and all at once: with rollbacks, marks and folds of one user each, several keepers, and digest workers.
func TestNothingDeadlocks(t *testing.T) {
	t.Parallel()
	d := open(t)
	users := []string{"ann", "bob", "cid", "dan"}
	var writers, keepers sync.WaitGroup
	stop := make(chan struct{})
	for seed := range uint64(6) {
		writer := d.another()
		random := rand.New(rand.NewPCG(seed, 7))
		writers.Go(func() {
			for range 60 {
				script := []string{"BEGIN"}
				// Marking may have to wait, so it comes first: see mark.
				if random.IntN(2) == 0 {
					user := users[random.IntN(len(users))]
					script = append(script, [...]string{
						"SELECT trunkline.mark('" + user + "', 'read', up_to_seq => 1000)",
						"SELECT trunkline.mark('" + user + "', 'snoozed', until => clock_timestamp() + interval '1 hour', " +
							"ids => ARRAY(SELECT id FROM trunkline.notification WHERE user_id = '" + user + "' AND id % 7 = 1))",
					}[random.IntN(2)])
					if random.IntN(2) == 0 {
						script = append(script, "SELECT * FROM trunkline.inbox_fold('"+user+"')")
					}
				}
				for range random.IntN(6) {
					user, cause := users[random.IntN(len(users))], fmt.Sprint(random.IntN(5))
					script = append(script, [...]string{
						"SELECT trunkline.notify('" + user + "', 'k', cause => '" + cause + "')",
						"SELECT trunkline.notify_many('{dan,cid,bob,ann}', 'k', cause => '" + cause + "')",
						"SELECT trunkline.retract(cause => '" + cause + "')",
						"SELECT trunkline.look_again('{dan,ann}')",
						"SAVEPOINT s; SELECT trunkline.retract(cause => '" + cause + "'); ROLLBACK TO s",
					}[random.IntN(5)])
				}
				script = append(script, []string{"COMMIT", "ROLLBACK"}[random.IntN(5)/4])
				if _, err := writer.conn.PgConn().Exec(context.Background(), strings.Join(script, ";\n")).ReadAll(); err != nil {
					t.Errorf("%v\nin %s", err, strings.Join(script, ";\n"))
					_ = writer.conn.Close(context.Background())
					return
				}
			}
		})
	}
	for _, sql := range []string{
		"SELECT * FROM trunkline.inbox_keep(20)", "SELECT * FROM trunkline.inbox_keep(20, clock_timestamp() + interval '2 hours')",
		// As a digest worker does.
		"BEGIN; SELECT user_id FROM trunkline.digest_due ORDER BY due_at LIMIT 2 FOR UPDATE SKIP LOCKED; " +
			"DELETE FROM trunkline.digest_due WHERE user_id IN " +
			"(SELECT user_id FROM trunkline.digest_due WHERE user_id <> 'ann' LIMIT 1 FOR UPDATE SKIP LOCKED); COMMIT",
	} {
		other := d.another()
		keepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := other.conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
					t.Errorf("%v\nin %s", err, sql)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	keepers.Wait()
	d.keep("clock_timestamp() + interval '2 hours'")
	d.wantSound()
	d.want(d.column("SELECT count(*) FROM trunkline.inbox_change"), "0")
	d.want(d.column("SELECT count(*) FROM trunkline.notification WHERE seq IS NULL"), "0")
	// Versions are 1, 2, 3 … in the order of messages, and the last push says what is so.
	version := map[string]int{}
	counts := map[string]string{}
	for _, p := range d.pushes(0) {
		user := strings.TrimPrefix(p.Channel, "inbox:")
		if version[user]++; p.Version != version[user] {
			t.Fatalf("after version %d of %s: %s", version[user]-1, user, p.brief())
		}
		counts[user] = fmt.Sprintf("%d/%d", p.Unseen, p.Unread)
	}
	for _, row := range d.column("SELECT user_id || ' ' || unseen || '/' || unread FROM trunkline.inbox") {
		user, count, _ := strings.Cut(row, " ")
		if counts[user] != count {
			t.Errorf("%s was told %s, and has %s", user, counts[user], count)
		}
	}
}

// What another transaction holds is retracted all the same, as soon as it can be.
func TestRetractWhatOthersHold(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"COMMIT", "ROLLBACK"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			other := d.another()
			d.run(`SELECT trunkline.notify('ann', 'k', cause => 'c') FROM generate_series(1, 3); SELECT trunkline.notify('ann', 'k')`)
			d.keep("now()")
			other.run("BEGIN; SELECT trunkline.mark('ann', 'read', ids => '{1}'); SELECT id FROM trunkline.notification WHERE id = 2 FOR SHARE")
			d.want(d.column("SELECT trunkline.retract(cause => 'c')"), "3")
			d.wantList("'ann'", 4, 2, 1)
			d.keep("now()")
			d.wantPushes(1, "ann 3/3 v2 +[] ~[] -[3]")
			d.want(d.column("SELECT (more, next_at = now() + interval '100 ms') FROM trunkline.inbox_keep(500, now())"), "(f,t)")
			other.run(end)
			d.keep("now()")
			if p := d.pushes(2); len(p) != 1 || p[0].Unread != 1 || fmt.Sprint(p[0].Removed) != "[1 2]" {
				t.Errorf("%+v", p)
			}
			d.wantList("'ann'", 4)
			d.want(d.column("SELECT (more, next_at) FROM trunkline.inbox_keep()"), "(f,)")
			d.wantSound()
		})
	}
}

// A transaction that holds a user's inbox, or a notification that isn't placed, holds up nobody else.
func TestKeeperPassesOverWhatOthersHold(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := d.another()
	d.run("SELECT trunkline.notify_many('{ann,bob,cid}', 'k')")
	d.keep("now()")
	other.run("BEGIN; SELECT trunkline.mark('ann', 'read', up_to_seq => 1); SELECT * FROM trunkline.inbox_fold('ann')")
	// More of ann's than fit into a batch, and a change of hers.
	d.run("SELECT trunkline.notify('ann', 'k') FROM generate_series(1, 25); SELECT trunkline.notify('bob', 'k')")
	d.run("UPDATE trunkline.notification SET seen_at = now() WHERE user_id = 'cid'")
	d.want(d.column("SELECT (placed, users, more, next_at = now() + interval '100 ms') FROM trunkline.inbox_keep(10, now())"), "(1,2,f,t)")
	d.wantPushes(3, "bob 2/2 v2 +[29@2] ~[] -[]", "cid 0/1 v2 +[] ~[3@1] -[]")
	other.run("COMMIT")
	d.keep("now()")
	if p := d.pushes(5); len(p) != 2 || p[1].Unread != 25 || p[1].Version != 3 {
		t.Errorf("%+v", p)
	}
	d.wantSound()

	// One that isn't placed yet, marked by who has its id from notify.
	id := d.column("SELECT trunkline.notify('dan', 'k')")[0]
	d.run("SELECT trunkline.notify('dan', 'k')")
	other.run("BEGIN; SELECT trunkline.mark('dan', 'read', ids => '{" + id + "}')")
	d.want(d.column("SELECT (placed, users, more, next_at = now() + interval '100 ms') FROM trunkline.inbox_keep(10, now())"), "(1,1,f,t)")
	rung := d.rings()
	other.run("COMMIT")
	if d.rings() == rung {
		t.Error("nobody was told that there is something to place")
	}
	d.keep("now()")
	d.want(d.column("SELECT (unseen, unread, version) FROM trunkline.inbox_counts('dan')"), "(1,1,2)")
	d.wantSound()
}

// One keeper at a time: another one does nothing, and says so.
func TestKeepersTakeTurns(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := d.another()
	d.run("SELECT trunkline.notify('ann', 'k')")
	other.run("BEGIN; SELECT * FROM trunkline.inbox_keep()")
	d.want(d.column("SELECT inbox_keep FROM trunkline.inbox_keep()"), "(,,,)")
	other.run("ROLLBACK")
	d.want(d.column("SELECT inbox_keep FROM trunkline.inbox_keep()"), "(1,1,f,)")
}

// While a transaction anywhere is open for long, what was placed stays in the index. The keeper doesn't wade through it each time,
// and finds what commits late nevertheless.
func TestKeeperBesideALongTransaction(t *testing.T) {
	t.Parallel()
	d := open(t)
	other, late := d.another(), d.another()
	late.run("BEGIN; SELECT trunkline.notify('late', 'k')")
	other.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
	d.run("SET synchronous_commit = off; SET session_replication_role = replica")
	d.run("INSERT INTO trunkline.notification (user_id, kind, data, archived_at) SELECT 'bulk', 'k', '{}', now() FROM generate_series(1, 200000)")
	d.run("UPDATE trunkline.notification SET seq = id")
	d.run("RESET session_replication_role")
	keep := func() (blocks int) {
		d.run("SELECT trunkline.notify('ann', 'k')")
		return d.blocks("SELECT * FROM trunkline.inbox_keep()")
	}
	first := keep()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		if again := keep(); again < first/5 {
			t.Logf("the first look touches %d blocks, another one %d", first, again)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("each look takes as long as the first one")
		}
	}
	late.run("COMMIT")
	for d.column("SELECT unread FROM trunkline.inbox_counts('late')")[0] == "0" {
		if d.column("SELECT next_at > now() - interval '1 minute' FROM trunkline.inbox_keep()")[0] == "<NULL>" && time.Now().After(deadline) {
			t.Fatal("what committed late isn't found")
		}
		time.Sleep(20 * time.Millisecond) // the keeper says itself when it will look: in a second or two
	}
}
