package inbox_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// What commits arrives, live and in the list, with counts; what rolls back never was.
func TestNotifyInATransaction(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")

	tx := begin(t, conn)
	notify(t, tx, "never", "ann")
	if err := tx.Rollback(testContext(t)); err != nil {
		t.Fatal(err)
	}
	tx = begin(t, conn)
	ids := notifyOf(t, tx, inbox.Notification{
		Users: []string{"ann", "bob"}, Kind: "task.completed", Data: json.RawMessage(`{"task": {"title": "Paint"}}`),
		Group: "project:7", Cause: "task:1", Link: "/projects/7",
	})
	// Nobody hears of what hasn't committed, though others have since.
	other := pgtest.Connect(t, conn.Config().ConnString())
	notify(t, other, "first", "ann")
	one, two := inbox.Counts{Unseen: 1, Unread: 1, Version: 1}, inbox.Counts{Unseen: 2, Unread: 2, Version: 2}
	if p := next(t, sub); len(p.Added) != 1 || p.Added[0].Kind != "first" || p.Counts != one {
		t.Errorf("before the commit: %+v", p)
	}
	commit(t, tx)

	p := next(t, sub)
	if len(p.Added) != 1 || p.Added[0].ID != ids[0] || p.Added[0].Seq != 2 || p.Counts != two ||
		len(p.Changed) != 0 || len(p.Removed) != 0 || p.More {
		t.Errorf("after the commit: %+v", p)
	}
	page := list(t, in, "ann", inbox.ListOptions{})
	if len(page.Items) != 2 || page.Counts != p.Counts || page.Next != 0 {
		t.Fatalf("list: %+v", page)
	}
	// An item is the same in a push and in a list, to the microsecond.
	if diff := cmp.Diff(p.Added[0], page.Items[0], compact); diff != "" {
		t.Errorf("pushed (-), listed (+):\n%s", diff)
	}
	it := page.Items[0]
	if it.Kind != "task.completed" || it.Title != "task.completed" || it.Text != "task.completed" || *it.Group != "project:7" ||
		*it.Cause != "task:1" || *it.Link != "/projects/7" || string(it.Data) != `{"task": {"title": "Paint"}}` ||
		it.CreatedAt.Location() != time.UTC ||
		it.ExpiresAt != nil || it.SeenAt != nil || it.ReadAt != nil || it.ArchivedAt != nil || it.SnoozedUntil != nil {
		t.Errorf("item: %+v", it)
	}
	if page := list(t, in, "bob", inbox.ListOptions{}); len(page.Items) != 1 || page.Items[0].ID != ids[1] || page.Items[0].Seq != 1 {
		t.Errorf("the other user's: %+v", page)
	}
}

// compact compares JSON by what it says.
var compact = cmp.Transformer("compact", func(raw json.RawMessage) any {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err.Error()
	}
	return v
})

// A push has the documented fields, all of them, and times in UTC, whatever the session's time zone is.
func TestPushOnTheWire(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	exec(t, conn, "ALTER DATABASE "+conn.Config().Database+" SET timezone = 'Asia/Kathmandu'")
	engine := startEngine(t, url)
	in, _ := startInbox(t, engine)
	sub := pushesTo(t, engine, "ann")
	before := time.Now()
	ids := notify(t, conn, "k", "ann")
	read := func() map[string]json.RawMessage {
		t.Helper()
		m, err := sub.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		return fields(t, m.Payload)
	}
	wantFields := []string{"added", "changed", "more", "removed", "unread", "unseen", "version"}
	p := read()
	if diff := cmp.Diff(wantFields, names(p)); diff != "" {
		t.Errorf("fields of a push:\n%s", diff)
	}
	var added []json.RawMessage
	if err := json.Unmarshal(p["added"], &added); err != nil || len(added) != 1 {
		t.Fatalf("added: %s", p["added"])
	}
	item := fields(t, added[0])
	if diff := cmp.Diff([]string{
		"archived_at", "cause", "created_at", "data", "expires_at", "group", "id", "kind", "link", "read_at", "seen_at",
		"seq", "snoozed_until", "text", "title",
	}, names(item)); diff != "" {
		t.Errorf("fields of an item:\n%s", diff)
	}
	for name, value := range item {
		if null := string(value) == "null"; null != slices.Contains([]string{
			"archived_at", "cause", "expires_at", "group", "link", "read_at", "seen_at", "snoozed_until",
		}, name) {
			t.Errorf("%s is %s", name, value)
		}
	}
	wantUTC := func(text json.RawMessage) {
		t.Helper()
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse("2006-01-02T15:04:05.000000Z", s)
		if err != nil || at.Before(before.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("time %q: %v", s, err)
		}
	}
	wantUTC(item["created_at"])

	mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, IDs: ids})
	p = read()
	if diff := cmp.Diff(wantFields, names(p)); diff != "" {
		t.Errorf("fields of a push:\n%s", diff)
	}
	var changed []json.RawMessage
	if err := json.Unmarshal(p["changed"], &changed); err != nil || len(changed) != 1 || string(p["added"]) != "[]" {
		t.Fatalf("changed: %s, added: %s", p["changed"], p["added"])
	}
	c := fields(t, changed[0])
	if diff := cmp.Diff([]string{"archived_at", "id", "read_at", "seen_at", "seq", "snoozed_until"}, names(c)); diff != "" {
		t.Errorf("fields of a change:\n%s", diff)
	}
	wantUTC(c["read_at"])
	wantUTC(c["seen_at"])
}

func fields(t *testing.T, raw json.RawMessage) (object map[string]json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return object
}

func names(object map[string]json.RawMessage) (names []string) {
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Ids come in the order of the users; one named twice is notified once.
func TestNotifyMany(t *testing.T) {
	t.Parallel()
	in, _, conn := startNode(t)
	ids := notify(t, conn, "k", "zoe", "ann", "zoe", "bob")
	users := scan[[]string](t, conn, `SELECT array_agg(n.user_id ORDER BY i.n)
		FROM unnest($1::bigint[]) WITH ORDINALITY i(id, n) JOIN trunkline.notification n ON n.id = i.id`, ids)
	if got := strings.Join(users, " "); got != "zoe ann zoe bob" {
		t.Errorf("ids are those of %q", got)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.notification"); n != 3 {
		t.Errorf("%d notifications", n)
	}
	eventually(t, "all are placed", func() bool { return counts(t, in, "bob").Unread == 1 && counts(t, in, "zoe").Unread == 1 })
}

// The same key again changes nothing and returns the id that is there; other users get theirs.
func TestDedupeKey(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	n := inbox.Notification{Users: []string{"ann"}, Kind: "k", DedupeKey: "invoice:1"}
	first := notifyOf(t, conn, n)
	if p := next(t, sub); p.Unread != 1 {
		t.Errorf("first: %+v", p)
	}
	if again, err := in.Notify(testContext(t), n); err != nil || !slices.Equal(again, first) {
		t.Errorf("again: %v, want %v (%v)", again, first, err)
	}
	n.Users = []string{"bob", "ann"}
	both := notifyOf(t, conn, n)
	if len(both) != 2 || both[1] != first[0] || both[0] == first[0] {
		t.Errorf("with another user: %v, first %v", both, first)
	}
	n.DedupeKey = "invoice:2"
	notifyOf(t, conn, n)
	if p := next(t, sub); p.Unread != 2 || p.Version != 2 {
		t.Errorf("another key: %+v", p)
	}
}

// Two that use the same key at once: the second waits, and gets the first one's id.
func TestDedupeKeyAtOnce(t *testing.T) {
	t.Parallel()
	in, _, conn := startNode(t)
	n := inbox.Notification{Users: []string{"ann"}, Kind: "k", DedupeKey: "x"}
	tx := begin(t, conn)
	first := notifyOf(t, tx, n)
	type answer struct {
		ids []int64
		err error
	}
	second := make(chan answer, 1)
	go func() {
		ids, err := in.Notify(testContext(t), n)
		second <- answer{ids, err}
	}()
	watcher := pgtest.Connect(t, conn.Config().ConnString())
	eventually(t, "the second waits", func() bool {
		return scan[bool](t, watcher, `SELECT EXISTS (
			SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
	})
	commit(t, tx)
	if a := <-second; a.err != nil || !slices.Equal(a.ids, first) {
		t.Errorf("the second got %v, %v; the first %v", a.ids, a.err, first)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.notification"); n != 1 {
		t.Errorf("%d notifications", n)
	}
}

// Two transactions that notify the same users in opposite order don't wait for each other.
func TestNotifyInOppositeOrder(t *testing.T) {
	t.Parallel()
	in, _, conn := startNode(t)
	other := pgtest.Connect(t, conn.Config().ConnString())
	one, two := begin(t, conn), begin(t, other)
	notify(t, one, "k", "ann")
	notify(t, two, "k", "bob")
	notify(t, one, "k", "bob")
	notify(t, two, "k", "ann")
	commit(t, two)
	commit(t, one)
	eventually(t, "both have both", func() bool { return counts(t, in, "ann").Unread == 2 && counts(t, in, "bob").Unread == 2 })
}

// What is deleted disappears from counts and devices: by cause, by group, by key, and by a plain DELETE of the owner's.
func TestRetract(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	for i, n := range []inbox.Notification{
		{Cause: "task:1", Group: "project:7", Kind: "a"},
		{Cause: "task:1", Group: "project:7", Kind: "b"},
		{Cause: "task:2", Group: "project:7", Kind: "a"},
		{Cause: "task:3", Group: "project:8", Kind: "a", DedupeKey: "key"},
		{Kind: "a"},
	} {
		n.Users = []string{"ann", "bob"}
		notifyOf(t, conn, n)
		if p := next(t, sub); p.Unread != i+1 {
			t.Fatalf("notification %d: %+v", i, p)
		}
	}
	items := listAll(t, in, "ann", inbox.StateAll)
	slices.Reverse(items)
	mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, IDs: []int64{items[2].ID}})
	next(t, sub)
	for _, step := range []struct {
		what    string
		retract inbox.Retraction
		removed int   // of all users
		gone    []int // of ann's, as notified
		unread  int
		version int64
	}{
		{"a cause and a kind", inbox.Retraction{Cause: "task:1", Kind: "b"}, 2, []int{1}, 3, 7},
		{"a cause", inbox.Retraction{Cause: "task:1"}, 2, []int{0}, 2, 8},
		{"a group of one user, one that was read", inbox.Retraction{Group: "project:7", User: "ann"}, 1, []int{2}, 2, 9},
		{"a key of one user", inbox.Retraction{User: "ann", DedupeKey: "key"}, 1, []int{3}, 1, 10},
	} {
		removed, err := in.Retract(testContext(t), step.retract)
		if err != nil || removed != step.removed {
			t.Fatalf("%s: removed %d, %v", step.what, removed, err)
		}
		p := next(t, sub)
		var gone []int64
		for _, n := range step.gone {
			gone = append(gone, items[n].ID)
		}
		want := inbox.Counts{Unseen: step.unread, Unread: step.unread, Version: step.version}
		if !slices.Equal(p.Removed, gone) || p.Counts != want {
			t.Errorf("%s: %+v, want removed %v, %+v", step.what, p, gone, want)
		}
	}
	exec(t, conn, "DELETE FROM trunkline.notification WHERE user_id = 'ann'")
	if p := next(t, sub); !slices.Equal(p.Removed, []int64{items[4].ID}) || p.Counts != (inbox.Counts{Version: 11}) {
		t.Errorf("a plain DELETE: %+v", p)
	}
	if n, err := in.Retract(testContext(t), inbox.Retraction{Cause: "task:1"}); err != nil || n != 0 {
		t.Errorf("retracted again: %d, %v", n, err)
	}
}

// Retracting doesn't wait for who is marking the same item: it goes as soon as that one has committed, or rolled back.
func TestRetractWhileMarked(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	ids := notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "k", Cause: "c"})
	next(t, sub)
	for _, end := range []func(pgx.Tx) error{
		func(tx pgx.Tx) error { return tx.Commit(testContext(t)) },
		func(tx pgx.Tx) error { return tx.Rollback(testContext(t)) },
	} {
		tx := begin(t, pgtest.Connect(t, conn.Config().ConnString()))
		if _, err := inbox.MarkTx(testContext(t), tx, "ann", inbox.Mark{State: inbox.StateArchived, IDs: ids}); err != nil {
			t.Fatal(err)
		}
		if n, err := in.Retract(testContext(t), inbox.Retraction{Cause: "c"}); err != nil || n != 1 {
			t.Errorf("retracted %d, %v", n, err)
		}
		if err := end(tx); err != nil {
			t.Fatal(err)
		}
		p := next(t, sub)
		for len(p.Removed) == 0 {
			p = next(t, sub)
		}
		if !slices.Equal(p.Removed, ids) || p.Unread != 0 {
			t.Errorf("%+v", p)
		}
		if items := listAll(t, in, "ann", inbox.StateAll); len(items) != 0 {
			t.Errorf("%+v", items)
		}
		ids = notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "k", Cause: "c"})
		next(t, sub)
	}
}

// What is retracted in the transaction that notified, or before it was placed, is never seen.
func TestRetractBeforeItIsPlaced(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	tx := begin(t, conn)
	notifyOf(t, tx, inbox.Notification{Users: []string{"ann"}, Kind: "k", Cause: "c"})
	if n, err := inbox.RetractTx(testContext(t), tx, inbox.Retraction{Cause: "c"}); err != nil || n != 1 {
		t.Fatalf("retracted %d, %v", n, err)
	}
	commit(t, tx)
	notify(t, conn, "k", "ann")
	if p := next(t, sub); p.Counts != (inbox.Counts{Unseen: 1, Unread: 1, Version: 1}) || p.Added[0].Seq != 1 || len(p.Removed) != 0 {
		t.Errorf("%+v", p)
	}
	if items := listAll(t, in, "ann", inbox.StateAll); len(items) != 1 {
		t.Errorf("%+v", items)
	}
}

// A notification that expires disappears, read or not, by itself.
func TestExpiry(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	// One that has expired before it could be placed is never seen: on a busy machine, one of longer life is needed.
	for life := 300 * time.Millisecond; ; life *= 2 {
		soon := notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "short", ExpiresAt: time.Now().Add(life)})
		notify(t, conn, "long", "ann")
		var added, removed []int64
		for arrived := false; !arrived || len(added) > len(removed); {
			p := next(t, sub)
			for _, it := range p.Added {
				arrived = arrived || it.Kind == "long"
				if it.Kind == "short" {
					added = append(added, it.ID)
				}
			}
			removed = append(removed, p.Removed...)
		}
		if !slices.Equal(removed, added) || len(added) > 0 && !slices.Equal(added, soon) {
			t.Errorf("added %v, removed %v, want %v", added, removed, soon)
		}
		exec(t, conn, "DELETE FROM trunkline.notification")
		for p := next(t, sub); p.Unread > 0; {
			p = next(t, sub)
		}
		if len(added) > 0 {
			break
		}
	}
	// One of tomorrow's goes as of tomorrow.
	tomorrow := time.Now().Add(24 * time.Hour)
	ids := notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "k", ExpiresAt: tomorrow})
	tomorrow = tomorrow.Truncate(time.Microsecond)
	if p := next(t, sub); len(p.Added) != 1 || p.Added[0].ID != ids[0] || !p.Added[0].ExpiresAt.Equal(tomorrow) {
		t.Errorf("%+v", p)
	}
	if err := in.Keep(testContext(t), tomorrow.Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if items := listAll(t, in, "ann", inbox.StateAll); len(items) != 1 {
		t.Errorf("before its time: %+v", items)
	}
	if err := in.Keep(testContext(t), tomorrow.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if p := next(t, sub); !slices.Equal(p.Removed, ids) || p.Unread != 0 {
		t.Errorf("%+v", p)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.notification"); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// Whoever may notify may do that and nothing else, and is told what grant is missing.
func TestNotifyWithoutTheGrant(t *testing.T) {
	t.Parallel()
	name, url, asRole := role(t, "app")
	owner, app := pgtest.Connect(t, url), pgtest.Connect(t, asRole)
	as := func(do func(tx pgx.Tx) error) error {
		t.Helper()
		tx := begin(t, app)
		defer func() { _ = tx.Rollback(testContext(t)) }()
		return do(tx)
	}
	notify := func(tx pgx.Tx) error {
		_, err := inbox.NotifyTx(testContext(t), tx, inbox.Notification{Users: []string{"ann"}, Kind: "k", Cause: "c"})
		return err
	}
	err := as(notify)
	var privilege *trunkline.PrivilegeError
	const grant = "SELECT trunkline.grant_notify('ROLE')"
	if !errors.As(err, &privilege) || privilege.Grant != grant || !strings.Contains(err.Error(), grant) {
		t.Errorf("without: %v", err)
	}
	exec(t, owner, "SELECT trunkline.grant_notify($1::text::regrole)", name)
	for what, do := range map[string]func(tx pgx.Tx) error{
		"notify": notify,
		"retract": func(tx pgx.Tx) error {
			_, err := inbox.RetractTx(testContext(t), tx, inbox.Retraction{Cause: "c"})
			return err
		},
		"kind":  func(tx pgx.Tx) error { return inbox.SetKind(testContext(t), tx, inbox.Kind{Name: "k"}) },
		"kinds": func(tx pgx.Tx) error { _, err := inbox.Kinds(testContext(t), tx); return err },
	} {
		if err := as(do); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	err = as(func(tx pgx.Tx) error {
		return inbox.SetKind(testContext(t), tx, inbox.Kind{Name: "k", Authorize: "app.may"})
	})
	if !errors.As(err, &privilege) || privilege.Grant != "SELECT trunkline.grant_admin('ROLE')" {
		t.Errorf("choosing a function: %v", err)
	}
	err = as(func(tx pgx.Tx) error {
		_, err := inbox.MarkTx(testContext(t), tx, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 1})
		return err
	})
	if !errors.As(err, &privilege) || privilege.Grant != "SELECT trunkline.grant_inbox('ROLE')" {
		t.Errorf("marking: %v", err)
	}
}
