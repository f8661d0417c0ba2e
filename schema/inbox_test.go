package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// A push is what is published on a user's inbox channel.
type push struct {
	Channel string `json:"-"`
	Unseen  int    `json:"unseen"`
	Unread  int    `json:"unread"`
	Version int    `json:"version"`
	Added   []item `json:"added"`
	Changed []item `json:"changed"`
	Removed []int  `json:"removed"`
	More    bool   `json:"more"`
}

type item struct {
	ID           int             `json:"id"`
	Seq          int             `json:"seq"`
	Kind         string          `json:"kind"`
	Title        string          `json:"title"`
	Text         string          `json:"text"`
	Group        *string         `json:"group"`
	Cause        *string         `json:"cause"`
	Link         *string         `json:"link"`
	Data         json.RawMessage `json:"data"`
	CreatedAt    *time.Time      `json:"created_at"`
	ExpiresAt    *time.Time      `json:"expires_at"`
	SeenAt       *time.Time      `json:"seen_at"`
	ReadAt       *time.Time      `json:"read_at"`
	ArchivedAt   *time.Time      `json:"archived_at"`
	SnoozedUntil *time.Time      `json:"snoozed_until"`
}

// pushes returns what was published to inboxes, in order; those behind the first n.
func (d database) pushes(n int) []push {
	d.Helper()
	rows := d.column("SELECT json_build_array(channel, payload) FROM trunkline.message WHERE channel LIKE 'inbox:%' ORDER BY id OFFSET " +
		fmt.Sprint(n))
	pushes := []push{}
	for _, row := range rows {
		var p push
		if err := json.Unmarshal([]byte(row), &[]any{&p.Channel, &p}); err != nil {
			d.Fatalf("%v in %s", err, row)
		}
		pushes = append(pushes, p)
	}
	return pushes
}

// brief writes a push as "ann 2/3 v1 +[1@1 2@2] ~[] -[] more": unseen/unread, version, added and changed as id@seq, removed ids.
func (p push) brief() string {
	names := func(items []item) string {
		var b []string
		for _, i := range items {
			b = append(b, fmt.Sprintf("%d@%d", i.ID, i.Seq))
		}
		return strings.Join(b, " ")
	}
	more := ""
	if p.More {
		more = " more"
	}
	return fmt.Sprintf("%s %d/%d v%d +[%s] ~[%s] -%v%s", strings.TrimPrefix(p.Channel, "inbox:"), p.Unseen, p.Unread, p.Version,
		names(p.Added), names(p.Changed), p.Removed, more)
}

func (d database) wantPushes(after int, want ...string) {
	d.Helper()
	got := []string{}
	for _, p := range d.pushes(after) {
		got = append(got, p.brief())
	}
	d.want(got, want...)
}

// keep lets the keeper do what there is to do as of a moment (an SQL expression), and returns how many notifications it placed.
func (d database) keep(at string) (placed int) {
	d.Helper()
	for {
		var some int
		var more bool
		if err := d.conn.QueryRow(context.Background(), "SELECT placed, more FROM trunkline.inbox_keep(500, "+at+")").Scan(&some, &more); err != nil {
			d.Fatal(err)
		}
		placed += some
		if !more {
			return placed
		}
	}
}

// rings returns how often the keeper was rung.
func (d database) rings() string {
	d.Helper()
	return d.column("SELECT count(*) FROM trunkline.message WHERE channel = 'trunkline:inbox' AND payload::text = '{}'")[0]
}

// another is a second session in the same database. What it has to wait for, it fails for.
func (d database) another() database {
	d.Helper()
	other := database{T: d.T, conn: pgtest.Connect(d.T, d.url), url: d.url}
	other.run("SET search_path = public; SET lock_timeout = '1min'")
	return other
}

// wantSound checks that counting gives what is kept.
func (d database) wantSound() {
	d.Helper()
	d.want(d.column("SELECT concat_ws(' ', user_id, unseen, unread, 'counted', counted_unseen, counted_unread) FROM trunkline.inbox_check()"))
}

func TestNotify(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.kind('task.completed', 'Task completed', template => '{actor} completed {task.title}');
		SELECT trunkline.notify('ann', 'task.completed', '{"actor": "Bob", "task": {"title": "Paint"}}', "group" => 'project:7',
			link => '/projects/7', cause => 'task:12', expires_at => '2999-12-31 23:59:59.5+00');
		SELECT trunkline.notify('ann', 'unheard-of')`)
	if placed := d.keep("now()"); placed != 2 {
		t.Fatalf("placed %d", placed)
	}
	d.wantPushes(0, "ann 2/2 v1 +[2@2 1@1] ~[] -[]")
	first := d.pushes(0)[0].Added[1]
	if age := time.Since(*first.CreatedAt); age < -time.Hour || age > time.Hour {
		t.Errorf("created at %v", first.CreatedAt)
	}
	text := func(s string) *string { return &s }
	expires := time.Date(2999, 12, 31, 23, 59, 59, 500_000_000, time.UTC)
	want := item{
		ID: 1, Seq: 1, Kind: "task.completed", Title: "Task completed", Text: "Bob completed Paint", Group: text("project:7"),
		Cause: text("task:12"), Link: text("/projects/7"), Data: json.RawMessage(`{"actor": "Bob", "task": {"title": "Paint"}}`),
		CreatedAt: first.CreatedAt, ExpiresAt: &expires,
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	// All fields are there, times to the microsecond in UTC, and data byte for byte.
	d.want(d.column(`SELECT payload->'added'->0 FROM trunkline.message WHERE channel = 'inbox:ann'`),
		`{"id":2,"seq":2,"kind":"unheard-of","title":"unheard-of","text":"unheard-of","group":null,"cause":null,"link":null,"data":{},`+
			`"created_at":"`+d.column(`SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
				FROM trunkline.notification WHERE id = 2`)[0]+
			`","expires_at":null,"seen_at":null,"read_at":null,"archived_at":null,"snoozed_until":null}`)
	// The list says the same.
	if diff := cmp.Diff([]item{want}, d.list("'ann', before => 2")); diff != "" {
		t.Error(diff)
	}
	d.want(d.column("SELECT inbox_counts FROM trunkline.inbox_counts('ann')"), "(2,2,1)")
	d.want(d.column("SELECT inbox_counts FROM trunkline.inbox_counts('nobody')"), "(0,0,0)")
	d.wantSound()
}

// list returns what list_inbox does with these arguments.
func (d database) list(args string) []item {
	d.Helper()
	items := []item{}
	for _, row := range d.column("SELECT row_to_json(l) FROM trunkline.list_inbox(" + args + ") l") {
		var i item
		if err := json.Unmarshal([]byte(row), &i); err != nil {
			d.Fatal(err)
		}
		items = append(items, i)
	}
	return items
}

// wantList checks which notifications are listed, by id.
func (d database) wantList(args string, want ...int) {
	d.Helper()
	got := []int{}
	for _, i := range d.list(args) {
		got = append(got, i.ID)
	}
	if want == nil {
		want = []int{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.Errorf("list_inbox(%s) (-want +got)\n%s", args, diff)
	}
}

func TestNotifyMany(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.want(d.column("SELECT trunkline.notify_many('{}', 'k')"), "{}")
	d.want(d.column("SELECT count(*) FROM trunkline.message"), "0")
	d.run("SELECT trunkline.notify('bob', 'k', dedupe_key => 'x')")
	d.want(d.column("SELECT trunkline.notify_many('{cid,bob,ann,cid}', 'k', '[1]', dedupe_key => 'x')"), "{4,1,2,4}")
	d.want(d.column("SELECT trunkline.notify_many('{cid,bob,ann,cid}', 'k', dedupe_key => 'x')"), "{4,1,2,4}")
	d.want(d.column("SELECT cardinality(trunkline.notify_many(ARRAY(SELECT 'u' || n % 9999 FROM generate_series(1, 10000) n), 'k'))"), "10000")
	d.keep("now()")
	d.want(d.column("SELECT user_id || unread FROM trunkline.inbox WHERE user_id !~ '^u'"), "ann1", "bob1", "cid1")
	d.want(d.column("SELECT count(*), sum(unread) FROM trunkline.inbox"), "10002")
	d.wantSound()
}

// One ring a transaction, whatever it did, and none where nothing is left to do.
func TestKeeperIsRung(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, step := range []struct {
		sql  string
		rung string
	}{
		{"SELECT trunkline.notify('ann', 'k', dedupe_key => 'x')", "1"},
		{"SELECT trunkline.notify('ann', 'k', dedupe_key => 'x')", "1"},
		{"BEGIN; SELECT trunkline.notify('ann', 'k'); SELECT trunkline.notify_many('{ann,bob}', 'k'); COMMIT", "2"},
		{"BEGIN; SELECT trunkline.notify('ann', 'k'); ROLLBACK", "2"},
		// The ring is taken back with its savepoint, and made again.
		{`BEGIN; SAVEPOINT s; SELECT trunkline.notify('ann', 'k', dedupe_key => 'y'); ROLLBACK TO s;
			SELECT trunkline.notify('ann', 'k', dedupe_key => 'z'); COMMIT`, "3"},
		{"DELETE FROM trunkline.notification WHERE user_id = 'bob'", "3"}, // not placed: nobody knew of it
		{"SELECT * FROM trunkline.inbox_keep()", "3"},
		{"BEGIN; SELECT * FROM trunkline.inbox_keep(); SELECT trunkline.notify('ann', 'k'); COMMIT; SELECT * FROM trunkline.inbox_keep()", "4"},
		{"SELECT trunkline.mark('ann', 'read', up_to_seq => 1)", "5"},
		{"SELECT trunkline.mark('ann', 'read', up_to_seq => 1)", "5"},
		{"SELECT trunkline.mark('ann', 'read', ids => '{999}')", "5"},
		{"UPDATE trunkline.notification SET digest_id = 7, link = '/'", "5"},
		{"SELECT trunkline.mark('ann', 'snoozed', ids => '{1}', until => now() + interval '1 hour'); SELECT * FROM trunkline.inbox_keep()", "6"},
		{"SELECT trunkline.mark('ann', 'inbox', ids => '{1}')", "7"},
		{"SELECT trunkline.retract(cause => 'nothing')", "7"},
		{"SELECT trunkline.retract(user_id => 'ann', dedupe_key => 'z')", "8"},
		{"SELECT trunkline.look_again('{nobody}')", "8"},
		{"SELECT trunkline.look_again('{ann,ann}')", "9"},
		{"TRUNCATE trunkline.notification", "10"},
		{"SELECT * FROM trunkline.inbox_keep(); SELECT * FROM trunkline.inbox_keep(at => 'tomorrow')", "10"},
	} {
		d.run(step.sql)
		if got := d.rings(); got != step.rung {
			t.Errorf("after %s\nit was rung %s times, want %s", step.sql, got, step.rung)
		}
	}
	d.wantSound()
}

func TestIdleKeeperTakesNoTransactionID(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k'); SELECT * FROM trunkline.inbox_keep()")
	d.run("BEGIN; SELECT * FROM trunkline.inbox_keep()")
	d.want(d.column("SELECT pg_current_xact_id_if_assigned()"), "<NULL>")
	d.run("COMMIT")
}

// A push carries what fits; for more, clients read anew.
func TestPushesAreBounded(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k', to_json(n)) FROM generate_series(1, 21) n")
	d.keep("now()")
	p := d.pushes(0)[0]
	if len(p.Added) != 20 || p.Added[0].Seq != 21 || p.Added[19].Seq != 2 || !p.More || p.Unread != 21 {
		t.Errorf("21 notifications: %s", p.brief())
	}
	// 64 KiB each: one fits, and not a second one. The newest is there.
	d.run("SELECT trunkline.notify('bob', 'k', to_json(repeat('x', 65534))) FROM generate_series(1, 3) n")
	d.keep("now()")
	d.wantPushes(1, "bob 3/3 v1 +[24@3] ~[] -[] more")
	// Where messages may not be that large, none fits.
	d.run("SELECT trunkline.set_max_payload(1024); SELECT trunkline.notify('cid', 'k', to_json(repeat('x', 1024)))")
	d.keep("now()")
	d.wantPushes(2, "cid 1/1 v1 +[] ~[] -[] more")
	d.run("SELECT trunkline.set_max_payload(1048576)")

	d.run("SELECT trunkline.notify('dan', 'k') FROM generate_series(1, 240)")
	d.keep("now()")
	from := len(d.pushes(0))
	d.run("UPDATE trunkline.notification SET seen_at = now() WHERE user_id = 'dan' AND seq <= 100")
	d.keep("now()")
	d.run("UPDATE trunkline.notification SET seen_at = now() WHERE user_id = 'dan' AND seq <= 101")
	d.keep("now()")
	// Two statements, folded at once.
	d.run("UPDATE trunkline.notification SET archived_at = now() WHERE user_id = 'dan' AND seq <= 60")
	d.run("UPDATE trunkline.notification SET archived_at = now() WHERE user_id = 'dan' AND seq BETWEEN 61 AND 120")
	d.keep("now()")
	d.run("DELETE FROM trunkline.notification WHERE user_id = 'dan' AND seq <= 100")
	d.keep("now()")
	d.run("DELETE FROM trunkline.notification WHERE user_id = 'dan' AND seq BETWEEN 101 AND 201")
	d.keep("now()")
	var got []string
	for _, p := range d.pushes(from) {
		got = append(got, fmt.Sprintf("%d/%d ~%d -%d %v", p.Unseen, p.Unread, len(p.Changed), len(p.Removed), p.More))
	}
	d.want(got, "140/240 ~100 -0 false", "139/240 ~0 -0 true", "120/120 ~100 -0 true", "120/120 ~0 -100 false", "39/39 ~0 -0 true")
	d.wantSound()
}

// What is in the data comes out as text, and can neither break the line nor stop the keeper.
func TestItemText(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, test := range []struct{ template, data, want string }{
		{"{a}", `{"a": "x"}`, "x"},
		{"{a.b.c} and {a.d}", `{"a": {"b": {"c": 1}, "d": true}}`, "1 and true"},
		{"{0} {list.1}", `{"0": "zero", "list": ["a", "b"]}`, "zero b"},
		{"{{{a}}} {{}} }}{{", `{"a": "x"}`, "{x} {} }{"},
		{"{{{{{a}}}}}", `{"a": "x"}`, "{{x}}"},
		{"{a}{b}{a}", `{"a": "{b}", "b": "{a}"}`, "{b}{a}{b}"},
		{"no names", `{}`, "no names"},
		{"{a}", `{}`, "the title"},
		{"{a} {b}", `{"a": null, "b": " "}`, "the title"},
		{"{a}{b}.", `{"a": {"x": 1}, "b": [1]}`, "."},
		{"{a}", `[1, 2]`, "the title"},
		{"{1}", `[1, 2]`, "2"},
		{"{a}", `7`, "the title"},
		{"{a}", `"a"`, "the title"},
		{"{a}", `{"a": 1e999999}`, "1e999999"},
		{"{a}", `{"a": "first", "a": "last"}`, "last"},
		{"{a}", `{"a": "line\nfeed\tand\u0007\u007f\u0085\u2028end"}`, "line feed and    end"},
		{"x {a}", `{"a": "\u0000"}`, "the title"},
		{"x {a}", `{"a": "b", "z": "\ud800"}`, "the title"},
		{"x {a}", `{"a": "\ude00\ud83d"}`, "the title"},
		{"{a}", `{"a": "\ud83d\ude00 \\u0000"}`, `😀 \u0000`},
		{"{a}", `{"a": "` + strings.Repeat("ä", 500) + `"}`, strings.Repeat("ä", 500)},
		{"{a}", `{"a": "` + strings.Repeat("ä", 60000) + `"}`, strings.Repeat("ä", 499) + "…"},
	} {
		var got string
		err := d.conn.QueryRow(context.Background(), "SELECT trunkline.item_text($1, 'the title', $2::json)", test.template, test.data).Scan(&got)
		if err != nil || got != test.want {
			t.Errorf("%s of %.60s: %q, %v, want %q", test.template, test.data, got, err, test.want)
		}
	}
	d.want(d.column(`SELECT trunkline.item_text(NULL, 'the title', '{"a": "\ud800"}')`), "the title")
	// All the way.
	d.run(`SELECT trunkline.kind('k', template => '{a}'); SELECT trunkline.notify('ann', 'k', '{"a": "\u0000"}');
		SELECT trunkline.notify('ann', 'k', '{"a": "b"}')`)
	d.keep("now()")
	d.wantPushes(0, "ann 2/2 v1 +[2@2 1@1] ~[] -[]")
	if list := d.list("'ann'"); list[0].Text != "b" || list[1].Text != "k" {
		t.Errorf("%+v", list)
	}
}

// What notify refuses doesn't stop the keeper either: data nested so deeply that it can only just be read.
func TestKeeperReadsNoJSON(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.kind('k', template => '{a}')")
	insert := func(levels int) error {
		_, err := d.conn.Exec(context.Background(), `INSERT INTO trunkline.notification (user_id, kind, data)
			SELECT 'ann', 'k', (repeat('[', $1) || repeat(']', $1))::json`, levels)
		return err
	}
	// The deepest that can be.
	low, high := 1, 1_000_000
	for high-low > 1 {
		if middle := (low + high) / 2; insert(middle) == nil {
			low = middle
		} else {
			high = middle
		}
	}
	if low < 500 {
		t.Fatalf("%d levels: %v", high, insert(high))
	}
	for n := range 100 {
		if err := insert(low - 99 + n); err != nil {
			t.Fatal(err)
		}
	}
	d.keep("now()")
	d.want(d.column("SELECT count(*) FILTER (WHERE seq IS NULL) FROM trunkline.notification"), "0")
	d.want(d.column("SELECT DISTINCT text FROM trunkline.list_inbox('ann', max_rows => 200)"), "k")
	d.wantSound()
}

func TestListInbox(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.notify('ann', CASE WHEN n % 2 = 0 THEN 'even' ELSE 'odd' END, "group" => 'g' || n % 3) FROM generate_series(1, 9) n;
		SELECT trunkline.notify('bob', 'even')`)
	d.keep("now()")
	d.run(`SELECT trunkline.notify('ann', 'even'); -- isn't placed
		SELECT trunkline.mark('ann', 'seen', ids => '{1}'); SELECT trunkline.mark('ann', 'read', ids => '{2,5}');
		SELECT trunkline.mark('ann', 'archived', ids => '{3,5}');
		SELECT trunkline.mark('ann', 'snoozed', ids => '{4}', until => now() + interval '1 hour')`)
	d.wantList("'ann'", 9, 8, 7, 6, 2, 1)
	d.wantList("'ann', state => 'unseen'", 9, 8, 7, 6)
	d.wantList("'ann', state => 'unread'", 9, 8, 7, 6, 1)
	d.wantList("'ann', state => 'read'", 2)
	d.wantList("'ann', state => 'archived'", 5, 3)
	d.wantList("'ann', state => 'snoozed'", 4)
	d.wantList("'ann', state => 'all'", 9, 8, 7, 6, 5, 4, 3, 2, 1)
	d.wantList("'ann', state => 'all', before => 8, max_rows => 2", 7, 6)
	d.wantList("'ann', before => 1")
	d.wantList("'ann', before => 0")
	d.wantList("'ann', kind => 'even'", 8, 6, 2)
	d.wantList(`'ann', "group" => 'g0'`, 9, 6)
	d.wantList(`'ann', before => 9, state => 'unread', kind => 'odd', "group" => 'g1'`, 7, 1)
	d.wantList(`'ann', kind => 'nothing'`)
	d.wantList("'bob'", 10)
	d.wantList("'nobody'")
	d.wantList("NULL")
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.notify('ann', 'k', expires_at => '2100-01-01'); SELECT trunkline.notify('ann', 'k', expires_at => '2100-01-03');
		SELECT trunkline.notify('ann', 'k', expires_at => '2000-01-01'); SELECT trunkline.notify('ann', 'k')`)
	const next = "SELECT next_at AT TIME ZONE 'UTC' FROM trunkline.inbox_keep(500, "
	d.want(d.column(next+"now())"), "2100-01-01 00:00:00")
	d.wantPushes(0, "ann 3/3 v1 +[4@3 2@2 1@1] ~[] -[]") // one had expired before anybody saw it
	d.want(d.column(next+"'2100-01-02')"), "2100-01-03 00:00:00")
	d.want(d.column(next+"'2100-01-03')"), "<NULL>")
	d.wantPushes(1, "ann 2/2 v2 +[] ~[] -[1]", "ann 1/1 v3 +[] ~[] -[2]")
	d.wantSound()
}

func TestRollbackLeavesNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("SELECT trunkline.notify('ann', 'k', cause => 'c'); SELECT trunkline.notify('ann', 'k')")
	d.keep("now()")
	before := d.column("SELECT (SELECT json_agg(n)::text FROM trunkline.notification n) || (SELECT json_agg(i) FROM trunkline.inbox i)")
	messages := d.messages()
	d.run(`BEGIN; SELECT trunkline.notify_many('{ann,bob}', 'k'); SELECT trunkline.retract(cause => 'c');
		SELECT trunkline.mark('ann', 'read', up_to_seq => 7); SELECT * FROM trunkline.inbox_fold('ann'); SELECT * FROM trunkline.inbox_keep();
		SELECT trunkline.look_again('{ann}'); ROLLBACK`)
	d.want(d.column("SELECT (SELECT json_agg(n)::text FROM trunkline.notification n) || (SELECT json_agg(i) FROM trunkline.inbox i)"), before...)
	d.want(d.messages(), messages...)
	d.want(d.column("SELECT user_id FROM trunkline.inbox_change"))
	if placed := d.keep("now()"); placed != 0 {
		t.Errorf("placed %d", placed)
	}
	d.want(d.messages(), messages...)
}

func TestDedupe(t *testing.T) {
	t.Parallel()
	d := open(t)
	const notify = "SELECT trunkline.notify('ann', 'k', dedupe_key => 'x')"
	d.want(d.column(notify), "1")
	d.want(d.column(notify), "1")
	d.keep("now()")
	d.run("SELECT trunkline.mark('ann', 'archived', ids => '{1}')")
	d.want(d.column(notify), "1")
	d.want(d.column("SELECT trunkline.notify('bob', 'k', dedupe_key => 'x') IS DISTINCT FROM 1"), "t")
	d.run("SELECT trunkline.retract(user_id => 'ann', dedupe_key => 'x')")
	if id := d.column(notify)[0]; id == "1" {
		t.Error("a retracted one's key isn't free")
	}

	// The second one waits for the first, and gets what that one left.
	for _, test := range []struct{ end, call string }{
		{"COMMIT", "trunkline.notify('cid', 'k', dedupe_key => 'x')"},
		{"ROLLBACK", "trunkline.notify('dan', 'k', dedupe_key => 'x')"},
		{"COMMIT", "trunkline.notify_many('{eve,fay}', 'k', dedupe_key => 'x')"},
		{"ROLLBACK", "trunkline.notify_many('{gil,hal}', 'k', dedupe_key => 'x')"},
	} {
		other := d.another()
		d.run("BEGIN")
		first := d.column("SELECT " + test.call)[0]
		got := other.start("SELECT " + test.call + "::text")
		d.waitUntilBlocked(other)
		d.run(test.end)
		if second := <-got; (second == first) != (test.end == "COMMIT") {
			t.Errorf("%s, %s: first %s, then %s", test.call, test.end, first, second)
		}
	}
	d.keep("now()")
	d.wantSound()
}

// start runs a query that may have to wait, and sends its one value, or what went wrong.
func (d database) start(sql string) <-chan string {
	got := make(chan string, 1)
	go func() {
		var value string
		if err := d.conn.QueryRow(context.Background(), sql).Scan(&value); err != nil {
			value = err.Error()
		}
		got <- value
	}()
	return got
}

// waitUntilBlocked waits until the other session waits for a lock.
func (d database) waitUntilBlocked(other database) {
	d.Helper()
	watcher := pgtest.Connect(d.T, d.url)
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) { // nothing tells of it
		var blocked bool
		err := watcher.QueryRow(context.Background(), "SELECT cardinality(pg_blocking_pids($1)) > 0", other.conn.PgConn().PID()).Scan(&blocked)
		if err != nil || time.Now().After(deadline) {
			d.Fatalf("it doesn't wait: %v", err)
		}
		if blocked {
			return
		}
	}
}

// Namespace inbox isn't kept for ever, unless there were channels of that name before.
func TestPushesAreNotKeptForEver(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.want(d.column("SELECT retention FROM trunkline.namespace WHERE name = 'inbox'"), "1 day")
	for name, want := range map[string][]string{"inbox:7": {}, "inboxes:7": {"1 day"}} {
		a := newAged(t)
		a.migrate(11)
		a.exec("INSERT INTO trunkline.channel (name) VALUES ('" + name + "')")
		a.migrate(12)
		old := database{T: t, conn: a.conn, url: a.url}
		old.want(old.column("SELECT retention FROM trunkline.namespace WHERE name = 'inbox'"), want...)
	}
}
