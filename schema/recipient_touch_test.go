package schema_test

import (
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestTouch(t *testing.T) {
	t.Parallel()
	d := open(t)
	version := func() string {
		return d.column("SELECT xmin || ' ' || ctid || ' ' || (active_at > now() - interval '10 s') FROM trunkline.recipient WHERE user_id = 'ann'")[0]
	}
	d.run("SELECT trunkline.touch('ann')")
	first := version()
	d.want(d.column("SELECT (email IS NULL)::text FROM trunkline.recipient"), "true")
	d.run("SELECT trunkline.touch('ann')")
	if got := version(); got != first {
		t.Errorf("touched again at once: %s, was %s", got, first)
	}
	d.run("UPDATE trunkline.recipient SET active_at = now() - interval '20 s'")
	before := version()
	d.run("SELECT trunkline.touch('ann')")
	if got := version(); got != before {
		t.Errorf("touched 20 s later: %s, was %s", got, before)
	}
	for _, since := range []string{"now() - interval '31 s'", "NULL"} {
		d.run("UPDATE trunkline.recipient SET active_at = " + since)
		d.run("SELECT trunkline.touch('ann')")
		d.want(d.column("SELECT (active_at > now() - interval '10 s')::text FROM trunkline.recipient"), "true")
	}
	d.refuses(map[string]string{
		"SELECT trunkline.touch('')":           "the user_id is missing",
		"SELECT trunkline.touch(NULL)":         "the user_id is missing",
		"SELECT trunkline.touch(E'a\\u0001b')": "control character",
	})
	for _, moment := range []string{"'infinity'", "'-infinity'"} {
		if pg := d.fails("UPDATE trunkline.recipient SET active_at = " + moment); pg.Code != "23514" {
			t.Errorf("active_at %s: %v", moment, pg)
		}
	}
}

// A transaction that has changed the recipient and stays open holds nobody up who is active.
func TestTouchDoesNotWait(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("INSERT INTO trunkline.recipient (user_id, active_at) VALUES ('ann', now() - interval '1 h')")
	other := pgtest.Connect(t, d.url)
	tx, err := other.Begin(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(bounded(t), "SELECT trunkline.set_recipient('ann', 'ann@example.com')"); err != nil {
		t.Fatal(err)
	}
	d.run("SET lock_timeout = '2 s'; SELECT trunkline.touch('ann')")
	if err := tx.Commit(bounded(t)); err != nil {
		t.Fatal(err)
	}
	d.run("SELECT trunkline.touch('ann')")
	d.want(d.column("SELECT email || (active_at > now() - interval '1 min') FROM trunkline.recipient"), "ann@example.comtrue")
}
