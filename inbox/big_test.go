package inbox_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// One call may notify 10,000 users, and each of them is told.
func TestNotifyTenThousandUsers(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	users := make([]string, 10_000)
	for i := range users {
		users[i] = fmt.Sprintf("user %d", i)
	}
	first, last := pushesTo(t, engine, users[0]), pushesTo(t, engine, users[9_999])
	ids := notifyOf(t, conn, inbox.Notification{Users: users, Kind: "k", Cause: "everybody"})
	if len(ids) != len(users) || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(users) {
		t.Fatalf("%d ids", len(ids))
	}
	for _, sub := range []*trunkline.Subscription{first, last} {
		if p := next(t, sub); p.Counts != (inbox.Counts{Unseen: 1, Unread: 1, Version: 1}) {
			t.Errorf("%+v", p)
		}
	}
	eventually(t, "all are placed", func() bool { return in.Stats().Placed == 10_000 })
	const right = "SELECT count(*) FROM trunkline.inbox WHERE unread = 1 AND unseen = 1 AND last_seq = 1 AND version = 1"
	if n := scan[int](t, conn, right); n != 10_000 {
		t.Errorf("%d inboxes are right", n)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.message WHERE channel LIKE 'inbox:user %'"); n != 10_000 {
		t.Errorf("%d pushes", n)
	}
	if n, err := in.Retract(testContext(t), inbox.Retraction{Cause: "everybody"}); err != nil || n != 10_000 {
		t.Errorf("retracted %d, %v", n, err)
	}
	for _, sub := range []*trunkline.Subscription{first, last} {
		if p := next(t, sub); p.Unread != 0 || len(p.Removed) != 1 {
			t.Errorf("%+v", p)
		}
	}
	eventually(t, "all are folded", func() bool {
		return scan[bool](t, conn, `SELECT NOT EXISTS (SELECT FROM trunkline.inbox_change)
			AND NOT EXISTS (SELECT FROM trunkline.inbox WHERE unread > 0 OR unseen > 0)`)
	})
}

// A user with 20,000 notifications: they are placed in batches whose pushes stay small and say that there is more; everything can
// be listed, and marked with one call.
func TestTwentyThousandOfOneUser(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	const many = 20_000
	tx := begin(t, conn)
	for from := 1; from <= many; from += 1000 {
		exec(t, tx, `SELECT count(trunkline.notify('ann', 'k', json_build_object('n', n))) FROM generate_series($1::int, $2::int) n`, from, from+999)
	}
	commit(t, tx)
	version := int64(0)
	for unread := 0; unread < many; {
		m, err := sub.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		p := pushOf(t, m)
		if p.Version != version+1 || p.Unread <= unread || p.Unseen != p.Unread || len(m.Payload) > 160<<10 {
			t.Fatalf("version %d with %d unread and %d bytes follows %d", p.Version, p.Unread, len(m.Payload), version)
		}
		if n := p.Unread - unread; len(p.Added) != min(n, 20) || p.More != (n > 20) {
			t.Fatalf("%d of %d added, more: %v", len(p.Added), n, p.More)
		}
		version, unread = p.Version, p.Unread
		if newest := p.Added[0].Seq; int(newest) != unread {
			t.Fatalf("the newest is seq %d, %d are unread", newest, unread)
		}
	}
	wantWhole(t, conn, "ann")
	items := listAll(t, in, "ann", inbox.StateUnread)
	if len(items) != many {
		t.Fatalf("%d are listed", len(items))
	}
	// Those of one transaction come in the order in which they were made.
	for i, it := range items {
		if want := fmt.Sprintf(`{"n" : %d}`, many-i); it.Seq != int64(many-i) || string(it.Data) != want {
			t.Fatalf("item %d is %+v with %s, want %s", i, it, it.Data, want)
		}
	}
	c := mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: many - 10})
	if c != (inbox.Counts{Unseen: 10, Unread: 10, Version: version + 1}) {
		t.Errorf("%+v", c)
	}
	if p := next(t, sub); p.Counts != c || !p.More || len(p.Changed) > 100 {
		t.Errorf("%+v", p)
	}
}

// Items with as much data as is allowed: a push holds what fits, and says that there is more.
func TestDataAtTheLimit(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	// Escapes of control characters are the longest that anything gets on its way.
	most := json.RawMessage(`"` + strings.Repeat(`\u0001`, (64<<10-2)/6) + `"`)
	const many = 60
	tx := begin(t, conn)
	for range many {
		notifyOf(t, tx, inbox.Notification{Users: []string{"ann", "bob"}, Kind: "k", Data: most})
	}
	commit(t, tx)
	for unread := 0; unread < many; {
		m, err := sub.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		p := pushOf(t, m)
		arrived := p.Unread - unread
		fits := len(m.Payload) <= 140<<10 && len(p.Added) > 0 && len(p.Added) <= 2
		if !fits || p.More != (arrived > len(p.Added)) || int(p.Added[0].Seq) != p.Unread {
			t.Fatalf("a push of %d bytes with %d of %d, more: %v", len(m.Payload), len(p.Added), arrived, p.More)
		}
		unread = p.Unread
	}
	page := list(t, in, "ann", inbox.ListOptions{Limit: 200})
	if len(page.Items) != many || string(page.Items[0].Data) != string(most) {
		t.Errorf("%d listed, the first with %d bytes", len(page.Items), len(page.Items[0].Data))
	}
}
