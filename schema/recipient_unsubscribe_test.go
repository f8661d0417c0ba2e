package schema_test

import "testing"

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	d := open(t)
	ask := "SELECT (trunkline.preferences('ann')::jsonb - 'known_kinds' - 'quiet_hours' - 'vacation_until' - 'muted_groups')::text"
	d.run(`SELECT trunkline.kind('mention', 'You were mentioned');
		SELECT trunkline.set_preferences('ann', '{"time_zone": "UTC", "default": {"mail": "daily", "at": "18:00"}, "kinds": {"mention": {"mail": "at_once"}, "x": {"mail": "at_once"}}}');
		SELECT trunkline.new_unsubscribe_token(sha256('t1'), 'ann', '{mention,task.done}'), trunkline.new_unsubscribe_token(sha256('t2'), 'bob', NULL)`)
	before := d.column(ask)

	// What a page shows that a link leads to changes nothing.
	state := "SELECT string_agg(t::text, ' ' ORDER BY hash) FROM trunkline.unsubscribe_token t"
	tokens := d.column(state)
	for range 2 {
		d.want(d.column("SELECT user_id || ' ' || kinds::jsonb FROM trunkline.unsubscribe_offer(sha256('t1'))"),
			`ann [{"name": "mention", "title": "You were mentioned"}, {"name": "task.done", "title": "task.done"}]`)
	}
	d.want(d.column("SELECT user_id || ' ' || kinds::jsonb FROM trunkline.unsubscribe_offer(sha256('t2'))"), "bob []")
	d.want(d.column(ask), before...)
	d.want(d.column(state), tokens...)

	// Forged ones: no row, and nothing happens.
	for _, hash := range []string{"sha256('t3')", "NULL", "''", "'t1'"} {
		d.want(d.column("SELECT user_id FROM trunkline.unsubscribe_mail(" + hash + ")"))
		d.want(d.column("SELECT user_id FROM trunkline.unsubscribe_offer(" + hash + ")"))
	}
	// A kind that the mail wasn't about can't be switched off by it.
	d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'), 'x')"), "annfalse")
	d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'), '')"), "annfalse")
	d.want(d.column(ask), before...)
	d.want(d.column(state), tokens...)

	// One kind, as often as scanners like.
	for range 3 {
		d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'), 'mention')"), "anntrue")
		d.want(d.column(ask), `{"kinds": {"x": {"mail": "at_once"}, "mention": {"mail": "never"}}, "default": {"at": "18:00", "mail": "daily"}, "time_zone": "UTC"}`)
	}
	used := d.column("SELECT used_at::text FROM trunkline.unsubscribe_token WHERE hash = sha256('t1')")
	// And then all.
	for range 2 {
		d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'))"), "anntrue")
		d.want(d.column(ask), `{"kinds": {}, "default": {"mail": "never"}, "time_zone": "UTC"}`)
	}
	d.want(d.column("SELECT used_at::text FROM trunkline.unsubscribe_token WHERE hash = sha256('t1')"), used...)
	// What was switched off can be switched on again, and off again by the same link.
	d.run(`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "at_once"}}')`)
	d.want(d.column("SELECT done FROM trunkline.unsubscribe_mail(sha256('t1'), 'task.done')"), "t")
	d.want(d.column(ask), `{"kinds": {"task.done": {"mail": "never"}}, "default": {"mail": "at_once"}, "time_zone": null}`)

	// Who never preferred anything.
	d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t2'))"), "bobtrue")
	d.want(d.column("SELECT mail FROM trunkline.mail_preference WHERE user_id = 'bob' AND kind = ''"), "never")

	// Who is gone: the same answers, and nothing is kept of them.
	d.run("SELECT trunkline.forget_recipient('ann')")
	for range 2 {
		d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'))"), "true")
		d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'), 'mention')"), "true")
		d.want(d.column("SELECT user_id || done FROM trunkline.unsubscribe_mail(sha256('t1'), 'x')"), "false")
		d.want(d.column("SELECT user_id || json_array_length(kinds) FROM trunkline.unsubscribe_offer(sha256('t1'))"), "2")
	}
	d.want(d.column("SELECT user_id FROM trunkline.mail_preference UNION ALL SELECT user_id FROM trunkline.mail_setting"), "bob", "bob")

	d.refuses(map[string]string{
		"SELECT trunkline.new_unsubscribe_token('short', 'ann', '{}')":            "the hash of a token is 5 bytes long, not 32",
		"SELECT trunkline.new_unsubscribe_token(NULL, 'ann', '{}')":               "is NULL bytes long",
		"SELECT trunkline.new_unsubscribe_token(sha256('t4'), '', '{}')":          "the user_id is missing",
		"SELECT trunkline.new_unsubscribe_token(sha256('t4'), 'ann', '{a,NULL}')": "include an empty one",
		"SELECT trunkline.new_unsubscribe_token(sha256('t4'), 'ann', '{\"\"}')":   "include an empty one",
	})
	if pg := d.fails("SELECT trunkline.new_unsubscribe_token(sha256('t2'), 'ann', '{}')"); pg.Code != "23505" {
		t.Error(pg)
	}
}

func TestForgetTokens(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`INSERT INTO trunkline.unsubscribe_token (hash, user_id, kinds, created_at)
		SELECT sha256(n::text::bytea), 'ann', '{}', '2020-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 10) n`)
	d.want(d.column("SELECT trunkline.forget_tokens('2020-01-06 12:00', 3)"), "3")
	d.want(d.column("SELECT min(created_at)::date FROM trunkline.unsubscribe_token"), "2020-01-05")
	d.want(d.column("SELECT trunkline.forget_tokens('2020-01-06 12:00')"), "2")
	d.want(d.column("SELECT trunkline.forget_tokens('2020-01-06 12:00')"), "0")
	d.want(d.column("SELECT count(*) FROM trunkline.unsubscribe_token"), "5")
}
