package schema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Whatever can't be made of one notification, all are placed, counted and pushed.
func TestNoItemStopsTheKeeper(t *testing.T) {
	t.Parallel()
	d := open(t)
	// Stands for whatever nobody has thought of.
	d.run(`CREATE OR REPLACE FUNCTION trunkline.item_text(template text, title text, data json) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			IF data::text = '"poison"' THEN
				RAISE statement_too_complex;
			END IF;
			RETURN title;
		END $$;
		SELECT trunkline.notify('ann', 'k', '"poison"'); SELECT trunkline.notify('bob', 'k')`)
	d.keep("now()")
	d.wantPushes(0, "ann 1/1 v1 +[] ~[] -[] more", "bob 1/1 v1 +[] ~[] -[] more")
	d.wantList("'bob'", 2)
	d.run("SELECT trunkline.notify('bob', 'k')")
	d.keep("now()")
	d.wantPushes(2, "bob 2/2 v2 +[3@2] ~[] -[]")
	d.wantSound()
}

// A template costs what its line is worth, however large the data.
func TestTemplatesAreCheap(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.refuses(map[string]string{
		"SELECT trunkline.kind('k', template => repeat('{a}', 21))":        `22023|the template of kind "k" has 21 names in braces, more than 20`,
		"SELECT trunkline.kind('k', template => repeat('{{{a}}}', 21))":    "has 21 names",
		"INSERT INTO trunkline.kind VALUES ('k', 'K', repeat('{a}', 333))": "has 333 names",
	})
	d.run("SELECT trunkline.kind('k', template => repeat('{{}}', 200) || repeat('{a}', 20))")
	const line = "SELECT trunkline.item_text(%s, 't', json_build_object('a', %s, 'z', repeat('x', 65000)))"
	d.want(d.column(fmt.Sprintf(line, "repeat('{a}', 333)", "'ä'")), strings.Repeat("ä", 333))
	d.want(d.column(fmt.Sprintf(line, "'{b}' || repeat('{a}-{b}', 333)", "'ä'")), strings.Repeat("ä-", 249)+"ä…")
	d.want(d.column(fmt.Sprintf(line, "repeat(' {b} ', 300) || 'end'", "'ä'")), "end")
	// What is slow is to look into the data. The quickest of several, by turns: whatever else the machine does meanwhile.
	quickest := map[int]time.Duration{1: time.Hour, 160: time.Hour}
	for range 10 {
		for times := range quickest {
			start := time.Now()
			d.run(fmt.Sprintf(line, fmt.Sprintf("repeat('{a}{b}', %d)", times), "'ä'"))
			quickest[times] = min(quickest[times], time.Since(start))
		}
	}
	if quickest[160] > 20*quickest[1] {
		t.Errorf("with two names it takes %v, with each of them 160 times %v", quickest[1], quickest[160])
	}
}

// Who is retracted, but held by another transaction, is as good as gone: its key is free.
func TestKeyOfWhatIsRetractedButHeld(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, call, end string }{
		{"one", "trunkline.notify('ann', 'again', dedupe_key => 'x') > 2", "COMMIT"},
		{"one, rolled back", "trunkline.notify('ann', 'again', dedupe_key => 'x') > 2", "ROLLBACK"},
		{"many", "(trunkline.notify_many('{bob,ann,cid}', 'again', dedupe_key => 'x'))[2] > 2", "COMMIT"},
		{"many, rolled back", "(trunkline.notify_many('{bob,ann,cid}', 'again', dedupe_key => 'x'))[2] > 2", "ROLLBACK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			holder, notifier := d.another(), d.another()
			d.run("SELECT trunkline.notify('ann', 'k', dedupe_key => 'x', cause => 'c'); SELECT trunkline.notify('bob', 'k', dedupe_key => 'x')")
			d.keep("now()")
			holder.run("BEGIN; SELECT trunkline.mark('ann', 'read', ids => '{1}')")
			d.want(d.column("SELECT trunkline.retract(cause => 'c')"), "1")
			got := notifier.start("SELECT (" + test.call + ")::text")
			d.waitUntilBlocked(notifier)
			holder.run(test.end)
			if again := <-got; again != "true" {
				t.Errorf("notified again: %s", again)
			}
			d.keep("now()")
			d.want(d.column("SELECT kind FROM trunkline.list_inbox('ann')"), "again")
			d.want(d.column("SELECT kind FROM trunkline.list_inbox('bob')"), "k")
			d.want(d.column("SELECT id FROM trunkline.inbox_change"))
			d.wantSound()
		})
	}
}

// What was in the archive all the time that a device shows the inbox, isn't meant by its "mark all".
func TestMarkAllAfterTheArchive(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k') FROM generate_series(1, 3)")
	d.keep("now()")
	d.run("SELECT trunkline.mark('ann', 'archived', ids => '{1}')")
	d.keep("now()")
	d.wantList("'ann'", 3, 2)
	d.run("SELECT trunkline.mark('ann', 'inbox', ids => '{1}')")
	d.want(d.column("SELECT trunkline.mark('ann', 'read', up_to_seq => 3)"), "2")
	d.keep("now()")
	d.wantPushes(2, "ann 1/1 v3 +[1@4] ~[2@2 3@3] -[]")
	d.want(d.column("SELECT trunkline.mark('ann', 'read', up_to_seq => 3)"), "0")
	d.wantList("'ann', state => 'unread'", 1)
	d.wantSound()
}
