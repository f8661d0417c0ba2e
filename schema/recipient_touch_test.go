package schema_test

import (
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestTouch(t *testing.T) {
	t.Parallel()
	d := open(t)
	begun := d.column("SELECT clock_timestamp()")[0]
	d.run("SELECT trunkline.touch('ann')")
	d.want(d.column("SELECT (email IS NULL)::text || (active_at >= '"+begun+"') FROM trunkline.recipient WHERE user_id = 'ann'"), "truetrue")
	// What is touched again writes nothing for 30 s, which may be over by the time that a slow machine comes to it.
	for _, ago := range []string{"0 s", "20 s"} {
		for {
			d.run("UPDATE trunkline.recipient SET active_at = clock_timestamp() - interval '" + ago + "'")
			const version = "SELECT xmin || ' ' || ctid || ' ' || active_at FROM trunkline.recipient"
			before := d.column(version)
			was := d.column("SELECT active_at FROM trunkline.recipient")[0]
			d.run("SELECT trunkline.touch('ann')")
			if d.column("SELECT clock_timestamp() < '" + was + "'::timestamptz + interval '30 s'")[0] == "t" {
				d.want(d.column(version), before...)
				break
			}
		}
	}
	for _, since := range []string{"now() - interval '31 s'", "NULL"} {
		d.run("UPDATE trunkline.recipient SET active_at = " + since)
		before := d.column("SELECT clock_timestamp()")[0]
		d.run("SELECT trunkline.touch('ann')")
		d.want(d.column("SELECT (active_at >= '"+before+"')::text FROM trunkline.recipient"), "true")
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
	d.run("SET lock_timeout = '1min'; SELECT trunkline.touch('ann')")
	if err := tx.Commit(bounded(t)); err != nil {
		t.Fatal(err)
	}
	d.run("SELECT trunkline.touch('ann')")
	d.want(d.column("SELECT email || (active_at > now() - interval '30 min') FROM trunkline.recipient"), "ann@example.comtrue")
}
