package inbox_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// Each state, what it does to the counts, and what every device is told of it.
func TestMark(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	var ids []int64
	version := int64(0)
	for range 4 {
		ids = append(ids, notify(t, conn, "k", "ann")...)
		version = next(t, sub).Version
	}
	one := ids[0]
	tomorrow := time.Now().Add(24 * time.Hour).Truncate(time.Microsecond)
	type times struct{ seen, read, archived, snoozed bool }
	upTo := func(state inbox.State, seq int64) inbox.Mark { return inbox.Mark{State: state, UpToSeq: seq} }
	these := func(state inbox.State, ids ...int64) inbox.Mark { return inbox.Mark{State: state, IDs: ids} }
	snoozed := inbox.Mark{State: inbox.StateSnoozed, IDs: ids[3:], Until: tomorrow}
	for _, step := range []struct {
		what           string
		mark           inbox.Mark
		unseen, unread int
		changed        []int64 // nil: none, and no push
		times          times   // of the first changed one
	}{
		{"seen up to the second", upTo(inbox.StateSeen, 2), 2, 4, ids[:2], times{seen: true}},
		{"the same again", upTo(inbox.StateSeen, 2), 2, 4, nil, times{}},
		{"read implies seen", these(inbox.StateRead, ids[2:3]...), 1, 3, ids[2:3], times{seen: true, read: true}},
		{"seen isn't taken back by reading", these(inbox.StateRead, one), 1, 2, []int64{one}, times{seen: true, read: true}},
		{"unread again: seen it stays", these(inbox.StateUnread, one), 1, 3, []int64{one}, times{seen: true}},
		{"archived: leaves the counts", these(inbox.StateArchived, one, one), 1, 2, []int64{one}, times{seen: true, archived: true}},
		{"read in the archive", these(inbox.StateRead, one), 1, 2, []int64{one}, times{seen: true, read: true, archived: true}},
		{"up to a seq leaves the archive alone", upTo(inbox.StateRead, 1), 1, 2, nil, times{}},
		{"unread in the archive", these(inbox.StateUnread, one), 1, 2, []int64{one}, times{seen: true, archived: true}},
		{"snoozed: leaves the counts", snoozed, 0, 1, ids[3:], times{snoozed: true}},
		{"up to a seq leaves what is snoozed alone", upTo(inbox.StateRead, 4), 0, 0, ids[1:2], times{seen: true, read: true}},
		{"up to nothing", inbox.Mark{State: inbox.StateRead}, 0, 0, nil, times{}},
		{"no ids", inbox.Mark{State: inbox.StateUnread, IDs: []int64{}}, 0, 0, nil, times{}},
		{"archived up to a seq", upTo(inbox.StateArchived, 99), 0, 0, ids[1:3], times{seen: true, read: true, archived: true}},
		{"archived ends a snooze", these(inbox.StateArchived, ids[3:]...), 0, 0, ids[3:], times{archived: true}},
		{"snoozed ends being archived", snoozed, 0, 0, ids[3:], times{snoozed: true}},
		{"read while snoozed", these(inbox.StateRead, ids[3:]...), 0, 0, ids[3:], times{seen: true, read: true, snoozed: true}},
		{"unread while snoozed", these(inbox.StateUnread, ids[3:]...), 0, 0, ids[3:], times{seen: true, snoozed: true}},
	} {
		got := mark(t, in, "ann", step.mark)
		if step.changed != nil {
			version++
			p := next(t, sub)
			changed := make([]int64, len(p.Changed))
			for i, c := range p.Changed {
				changed[i] = c.ID
			}
			slices.Sort(changed)
			if !slices.Equal(changed, step.changed) || p.Counts != got || len(p.Added) != 0 || len(p.Removed) != 0 || p.More {
				t.Errorf("%s: pushed %+v, want changed %v", step.what, p, step.changed)
			} else {
				c := p.Changed[slices.IndexFunc(p.Changed, func(c change) bool { return c.ID == step.changed[0] })]
				if set := (times{c.SeenAt != nil, c.ReadAt != nil, c.ArchivedAt != nil, c.SnoozedUntil != nil}); set != step.times {
					t.Errorf("%s: pushed times %+v, want %+v", step.what, set, step.times)
				}
			}
		}
		if want := (inbox.Counts{Unseen: step.unseen, Unread: step.unread, Version: version}); got != want {
			t.Errorf("%s: counts %+v, want %+v", step.what, got, want)
		}
		if c := counts(t, in, "ann"); c != got {
			t.Errorf("%s: counts read %+v, answered %+v", step.what, c, got)
		}
	}
	// Back from a snooze before its time, or from the archive, it arrives anew; devices may be told first that it is gone from where
	// it was.
	for n, id := range []int64{ids[3], one} {
		mark(t, in, "ann", inbox.Mark{State: inbox.StateInbox, IDs: []int64{id}})
		p := next(t, sub)
		if len(p.Added) == 0 {
			if !slices.Equal(p.Removed, []int64{id}) || p.Unread != n {
				t.Errorf("%d is back, at first: %+v", id, p)
			}
			p = next(t, sub)
		}
		if len(p.Added) != 1 || p.Added[0].ID != id || p.Added[0].Seq != int64(5+n) || p.Added[0].SeenAt == nil || len(p.Removed) != 0 ||
			p.Unseen != 0 || p.Unread != 1+n {
			t.Errorf("%d is back: %+v", id, p)
		}
	}
	wantCounted(t, in)
}

// Nobody marks another's items, not even by their ids.
func TestMarkAnothersItems(t *testing.T) {
	t.Parallel()
	in, _, conn := startNode(t)
	bobs := notify(t, conn, "k", "bob")
	eventually(t, "it is placed", func() bool { return counts(t, in, "bob").Unread == 1 })
	for _, state := range []inbox.State{inbox.StateSeen, inbox.StateRead, inbox.StateArchived} {
		if c := mark(t, in, "ann", inbox.Mark{State: state, IDs: append(bobs, 1<<60)}); c != (inbox.Counts{}) {
			t.Errorf("%s: %+v", state, c)
		}
		mark(t, in, "ann", inbox.Mark{State: state, UpToSeq: 1 << 60})
	}
	if c := counts(t, in, "bob"); c != (inbox.Counts{Unseen: 1, Unread: 1, Version: 1}) {
		t.Errorf("the other's: %+v", c)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.inbox WHERE user_id = 'ann'"); n != 0 {
		t.Error("marking nothing has made an inbox")
	}
}

// By group, all up to what was shown of that group, and nothing of another.
func TestMarkAGroup(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	for _, group := range []string{"a", "b", "a", "", "a"} {
		notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "k", Group: group})
		next(t, sub)
	}
	if c := mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 4, Group: "a"}); c.Unread != 3 || c.Unseen != 3 {
		t.Errorf("%+v", c)
	}
	var read []int64
	for _, it := range listAll(t, in, "ann", inbox.StateRead) {
		read = append(read, it.Seq)
	}
	if !slices.Equal(read, []int64{3, 1}) {
		t.Errorf("read are %v", read)
	}
}

// What was snoozed comes back by itself at the end of it, as the newest.
func TestSnooze(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	first := notify(t, conn, "first", "ann")
	next(t, sub)
	notify(t, conn, "second", "ann")
	next(t, sub)
	mark(t, in, "ann", inbox.Mark{State: inbox.StateSeen, IDs: first})
	next(t, sub)
	var until time.Time
	var c inbox.Counts
	for life := 500 * time.Millisecond; ; life *= 2 {
		until = time.Now().Add(life) // which a busy machine may take to mark it
		var err error
		_, c, err = in.Mark(testContext(t), "ann", inbox.Mark{State: inbox.StateSnoozed, IDs: first, Until: until})
		if err == nil {
			break
		}
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != "until" {
			t.Fatal(err)
		}
	}
	if p := next(t, sub); p.Counts != c || c.Unread != 1 || len(p.Changed) != 1 || p.Changed[0].SnoozedUntil == nil {
		t.Errorf("snoozed: %+v", p)
	}
	p := next(t, sub)
	if now := time.Now(); now.Before(until.Add(-50 * time.Millisecond)) {
		t.Errorf("it came back %v early", until.Sub(now))
	}
	if len(p.Added) != 1 || p.Added[0].ID != first[0] || p.Added[0].Seq != 3 || p.Added[0].SnoozedUntil != nil ||
		p.Unread != 2 || p.Version != 5 {
		t.Errorf("back: %+v", p)
	}
	items := listAll(t, in, "ann", inbox.StateInbox)
	if len(items) != 2 || items[0].ID != first[0] {
		t.Errorf("list: %+v", items)
	}
	if c := counts(t, in, "ann"); c != p.Counts || c.Unseen != 1 { // seen it stays
		t.Errorf("counts %+v", c)
	}
	// Far ahead, by hand.
	tomorrow := time.Now().Add(24 * time.Hour)
	mark(t, in, "ann", inbox.Mark{State: inbox.StateSnoozed, IDs: first, Until: tomorrow})
	next(t, sub)
	tomorrow = tomorrow.Truncate(time.Microsecond)
	if snoozed := listAll(t, in, "ann", inbox.StateSnoozed); len(snoozed) != 1 || !snoozed[0].SnoozedUntil.Equal(tomorrow) {
		t.Errorf("snoozed: %+v", snoozed)
	}
	if err := in.Keep(testContext(t), tomorrow.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if p := next(t, sub); len(p.Added) != 1 || p.Added[0].Seq != 4 {
		t.Errorf("as of tomorrow: %+v", p)
	}
	wantCounted(t, in)
}

// A mark that doesn't commit never was; one that does is pushed once, by the keeper, though nobody folded it.
func TestMarkTx(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	notify(t, conn, "k", "ann")
	next(t, sub)
	tx := begin(t, conn)
	if n, err := inbox.MarkTx(testContext(t), tx, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 1}); err != nil || n != 1 {
		t.Fatalf("changed %d, %v", n, err)
	}
	if err := tx.Rollback(testContext(t)); err != nil {
		t.Fatal(err)
	}
	tx = begin(t, conn)
	if n, err := inbox.MarkTx(testContext(t), tx, "ann", inbox.Mark{State: inbox.StateSeen, UpToSeq: 1}); err != nil || n != 1 {
		t.Fatalf("changed %d, %v", n, err)
	}
	commit(t, tx)
	if p := next(t, sub); p.Counts != (inbox.Counts{Unseen: 0, Unread: 1, Version: 2}) || len(p.Changed) != 1 {
		t.Errorf("%+v", p)
	}
	if items := listAll(t, in, "ann", inbox.StateUnread); len(items) != 1 || items[0].SeenAt == nil {
		t.Errorf("%+v", items)
	}
}

// Marking all that was rendered never touches what wasn't, wherever in between another notification is inserted, and commits.
func TestMarkAllWithAnInsertInBetween(t *testing.T) {
	t.Parallel()
	in, _, conn := startNode(t)
	url := conn.Config().ConnString()
	inserter, marker := pgtest.Connect(t, url), pgtest.Connect(t, url)
	const folded = 4
	points := []string{
		0: "before the list", 1: "between list and mark", 2: "in the mark's transaction", 3: "after it has marked",
		folded: "after it has folded", 5: "after it has committed",
	}
	for _, state := range []inbox.State{inbox.StateSeen, inbox.StateRead, inbox.StateArchived} {
		for inserted := range points {
			for committed := inserted; committed < len(points); committed++ {
				name := string(state) + ", inserted " + points[inserted] + ", committed " + points[committed]
				t.Run(name, func(t *testing.T) {
					user := name
					shown := notify(t, conn, "shown", user, "somebody else")[:1]
					shown = append(shown, notify(t, conn, "shown", user)...)
					eventually(t, "what is shown is placed", func() bool { return counts(t, in, user).Unread == 2 })
					var insert pgx.Tx
					var late int64
					at := func(point int) {
						t.Helper()
						if point == inserted {
							insert = begin(t, inserter)
							late = notify(t, insert, "late", user)[0]
						}
						if point != committed {
							return
						}
						commit(t, insert)
						if point != folded { // then the counts are the marker's until it commits
							eventually(t, "the late one is placed", func() bool {
								return scan[bool](t, conn, "SELECT seq IS NOT NULL FROM trunkline.notification WHERE id = $1", late)
							})
						}
					}

					at(0)
					page := list(t, in, user, inbox.ListOptions{})
					if committed == 0 {
						shown = append(shown, late)
					}
					at(1)
					tx := begin(t, marker)
					exec(t, tx, "SELECT 1")
					at(2)
					changed, err := inbox.MarkTx(testContext(t), tx, user, inbox.Mark{State: state, UpToSeq: page.Items[0].Seq})
					if err != nil || changed != len(shown) || len(page.Items) != len(shown) {
						t.Fatalf("changed %d of %d, shown %d, %v", changed, len(page.Items), len(shown), err)
					}
					at(3)
					exec(t, tx, "SELECT trunkline.inbox_fold($1)", user)
					at(folded)
					commit(t, tx)
					at(5)

					want := inbox.Counts{}
					if committed > 0 {
						want = inbox.Counts{Unseen: 1, Unread: 1}
					}
					if state == inbox.StateSeen {
						want.Unread = 3
					}
					eventually(t, "the late one is counted, and what was marked isn't", func() bool {
						c := counts(t, in, user)
						c.Version = 0
						return c == want
					})
					items := listAll(t, in, user, inbox.StateAll)
					for _, it := range items {
						touched := it.SeenAt != nil || it.ReadAt != nil || it.ArchivedAt != nil
						if touched != slices.Contains(shown, it.ID) {
							t.Errorf("%v touched, though shown were %v: %+v", touched, shown, it)
						}
					}
					if len(items) != 3 {
						t.Errorf("%d items", len(items))
					}
				})
			}
		}
	}
	wantCounted(t, in)
}

// Whoever holds a user's counts, in a transaction that stays open, holds up that user's inbox alone.
func TestAnOpenFoldHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	anns, bobs := pushesTo(t, engine, "ann"), pushesTo(t, engine, "bob")
	notify(t, conn, "k", "ann", "bob")
	next(t, anns)
	next(t, bobs)
	tx := begin(t, pgtest.Connect(t, conn.Config().ConnString()))
	if _, err := inbox.MarkTx(testContext(t), tx, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 1}); err != nil {
		t.Fatal(err)
	}
	exec(t, tx, "SELECT trunkline.inbox_fold('ann')")
	for n := range 20 {
		notify(t, conn, "k", "ann", "bob")
		if p := next(t, bobs); p.Unread != n+2 {
			t.Fatalf("%+v", p)
		}
	}
	if c := counts(t, in, "ann"); c.Version != 1 {
		t.Errorf("before the commit: %+v", c)
	}
	commit(t, tx)
	if p := next(t, anns); p.Counts != (inbox.Counts{Version: 2}) {
		t.Errorf("the fold: %+v", p)
	}
	for p := next(t, anns); p.Unread < 20; {
		p = next(t, anns)
	}
}
