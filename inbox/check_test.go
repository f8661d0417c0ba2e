package inbox_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// The check finds counts that somebody has changed by hand, and those alone, repairs them when told to, and tells the devices.
func TestCheck(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	notify(t, conn, "k", "ann", "bob")
	next(t, sub)
	notify(t, conn, "k", "ann")
	next(t, sub)
	ctx := testContext(t)
	if drifts, err := in.Check(ctx, true); err != nil || len(drifts) != 0 {
		t.Errorf("all is well: %+v, %v", drifts, err)
	}
	exec(t, conn, "UPDATE trunkline.inbox SET unread = 7 WHERE user_id = 'ann'")
	want := []inbox.Drift{{User: "ann", Unseen: 2, Unread: 7, CountedUnseen: 2, CountedUnread: 2}}
	for _, repair := range []bool{false, true} {
		drifts, err := in.Check(ctx, repair)
		if diff := cmp.Diff(want, drifts); err != nil || diff != "" {
			t.Errorf("repair %v: %v\n%s", repair, err, diff)
		}
	}
	if p := next(t, sub); p.Counts != (inbox.Counts{Unseen: 2, Unread: 2, Version: 3}) {
		t.Errorf("%+v", p)
	}
	if drifts, err := in.Check(ctx, false); err != nil || len(drifts) != 0 {
		t.Errorf("repaired: %+v, %v", drifts, err)
	}
	// The next push goes on from there.
	notify(t, conn, "k", "ann")
	if p := next(t, sub); p.Counts != (inbox.Counts{Unseen: 3, Unread: 3, Version: 4}) {
		t.Errorf("%+v", p)
	}
}

// What isn't folded or placed yet is no drift.
func TestCheckKnowsWhatIsPending(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	in, conn := newInbox(t, engine), pgtest.Connect(t, url) // no keeper
	keep := func() {
		t.Helper()
		if err := in.Keep(testContext(t), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "k", Cause: "c"})
	}
	keep()
	if _, err := inbox.MarkTx(testContext(t), conn, "ann", inbox.Mark{State: inbox.StateSeen, UpToSeq: 2}); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "DELETE FROM trunkline.notification WHERE seq = 3")
	notify(t, conn, "k", "ann")
	for _, repair := range []bool{false, true} {
		if drifts, err := in.Check(testContext(t), repair); err != nil || len(drifts) != 0 {
			t.Errorf("%+v, %v", drifts, err)
		}
	}
	keep()
	if c := counts(t, in, "ann"); c.Unseen != 1 || c.Unread != 3 {
		t.Errorf("%+v", c)
	}
	wantCounted(t, in)
}

func wantCounted(t *testing.T, in *inbox.Inbox) {
	t.Helper()
	if drifts, err := in.Check(testContext(t), false); err != nil || len(drifts) != 0 {
		t.Errorf("drift: %+v, %v", drifts, err)
	}
}

// A snooze that ends before anybody has folded it in is told as what it came to: the item is in the inbox, as the newest.
func TestSnoozeThatEndsUnfolded(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	in, conn := newInbox(t, engine), pgtest.Connect(t, url) // no keeper
	ids := notify(t, conn, "k", "ann")
	notify(t, conn, "k", "ann")
	if err := in.Keep(testContext(t), time.Time{}); err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	snooze := inbox.Mark{State: inbox.StateSnoozed, IDs: ids, Until: tomorrow}
	if _, err := inbox.MarkTx(testContext(t), conn, "ann", snooze); err != nil {
		t.Fatal(err)
	}
	if err := in.Keep(testContext(t), tomorrow.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	d, sub := newDevice(), subscribe(t, engine, trunkline.FromBeginning(), "inbox:ann")
	for d.counts.Version < counts(t, in, "ann").Version {
		p := next(t, sub)
		if err := d.apply(p); err != nil {
			t.Errorf("%v: %+v", err, p)
		}
	}
	if it := d.items[ids[0]]; it.Seq != 3 || it.SnoozedUntil != nil || d.counts.Unread != 2 {
		t.Errorf("%+v with %+v", it, d.counts)
	}
	wantCounted(t, in)
}
