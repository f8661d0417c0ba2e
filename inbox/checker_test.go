package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// Nothing is lost, doubled or invented: many writers notify, retract and mark at once, some of it rolled back, while two nodes keep
// and lose their connections at any moment. What every device was told by the pushes alone is in the end what the database holds.
func TestNothingIsLostDoubledOrInvented(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine, other := startEngine(t, url), startEngine(t, url)
	in, _ := startInbox(t, engine)
	otherIn, _ := startInbox(t, other)
	c := &contest{
		t: t, users: make([]string, 12), committed: map[int64]told{}, retracted: map[string]bool{}, deleted: map[int64]bool{},
	}
	for i := range c.users {
		c.users[i] = fmt.Sprintf("user %d", i)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	faults, endFaults := context.WithCancel(testContext(t))
	var faulty, writing sync.WaitGroup
	faulty.Go(func() { c.cut(faults, pgtest.Connect(t, url), rand.New(rand.NewPCG(seed, 1))) })
	for w := range 6 {
		conn, random, keeper := pgtest.Connect(t, url), rand.New(rand.NewPCG(seed, uint64(w)+2)), in
		if w%2 == 1 {
			keeper = otherIn
		}
		writing.Go(func() {
			for range 120 {
				if !c.await(conn) {
					return
				}
				c.write(conn, keeper, random)
				time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // the keepers are to have many turns
			}
		})
	}
	writing.Wait()
	endFaults()
	faulty.Wait()

	conn := pgtest.Connect(t, url)
	eventually(t, "all is placed and folded", func() bool {
		return scan[bool](t, conn, `SELECT NOT EXISTS (SELECT FROM trunkline.notification WHERE seq IS NULL)
			AND NOT EXISTS (SELECT FROM trunkline.inbox_change)`)
	})
	whole := newInbox(t, newEngine(t, url)) // whose connections nobody has cut
	wantCounted(t, whole)
	c.compare(whole, c.devices(conn, engine))
	t.Logf("%d committed, %d cuts, keepers %+v and %+v", len(c.committed), c.cuts, in.Stats(), otherIn.Stats())
	if c.cuts == 0 {
		t.Error("no connection was cut: the test has shown little")
	}
}

// A contest is what writers have done.
type contest struct {
	t     *testing.T
	users []string
	cuts  int

	mu        sync.Mutex
	committed map[int64]told  // notifications
	ids       []int64         // the same, in no particular order
	causes    int             // that were notified of
	retracted map[string]bool // causes
	deleted   map[int64]bool
}

// What a user was told, and of what.
type told struct{ user, cause string }

// A deed is what one transaction has done, if it commits.
type deed struct {
	notified  map[int64]told
	retracted map[string]bool
	deleted   map[int64]bool
}

// cut ends connections of keepers at random, and now and then all of both nodes'.
func (c *contest) cut(ctx context.Context, conn *pgx.Conn, random *rand.Rand) {
	for n := 0; ; n++ {
		which := "query LIKE '%inbox_keep%'"
		if n%15 == 0 {
			which = "application_name LIKE 'trunkline%'"
		}
		var cut int
		// Begun, it isn't cut short: all of the nodes' connections are cut once at least.
		err := conn.QueryRow(testContext(c.t), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "+
			"WHERE datname = current_database() AND pid <> pg_backend_pid() AND "+which).Scan(&cut)
		if err != nil {
			c.t.Errorf("cut: %v", err)
			return
		}
		c.cuts += cut
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(random.IntN(200)) * time.Millisecond):
		}
	}
}

func (c *contest) user(random *rand.Rand) string { return c.users[random.IntN(len(c.users))] }

func (c *contest) some(random *rand.Rand) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []int64
	for range min(len(c.ids), 1+random.IntN(5)) {
		ids = append(ids, c.ids[random.IntN(len(c.ids))])
	}
	return ids
}

// await waits while the keepers have fallen behind: a push that can't say all shows little.
func (c *contest) await(conn *pgx.Conn) bool {
	ctx := testContext(c.t)
	for {
		var pending int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM trunkline.notification WHERE seq IS NULL").Scan(&pending); err != nil {
			c.t.Errorf("wait for the keepers: %v", err)
			return false
		}
		if pending < 40 {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// mark makes up a mark.
func (c *contest) mark(random *rand.Rand) inbox.Mark {
	if ids := c.some(random); len(ids) > 0 && random.IntN(2) == 0 {
		states := []inbox.State{inbox.StateSeen, inbox.StateRead, inbox.StateUnread, inbox.StateArchived, inbox.StateInbox}
		return inbox.Mark{State: states[random.IntN(len(states))], IDs: ids}
	}
	return inbox.Mark{State: []inbox.State{inbox.StateSeen, inbox.StateRead}[random.IntN(2)], UpToSeq: 1 + random.Int64N(100)}
}

// write does something, mostly in a transaction that may roll back.
func (c *contest) write(conn *pgx.Conn, in *inbox.Inbox, random *rand.Rand) {
	ctx := testContext(c.t)
	if random.IntN(4) == 0 {
		// Through a pool whose connections are cut: whether it was done isn't known then.
		_, _, _ = in.Mark(ctx, c.user(random), c.mark(random))
		return
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		c.t.Errorf("begin: %v", err)
		return
	}
	done := deed{map[int64]told{}, map[string]bool{}, map[int64]bool{}}
	for range 1 + random.IntN(3) {
		if err = c.step(ctx, tx, random, &done); err != nil {
			break
		}
	}
	if err == nil && random.IntN(4) > 0 {
		err = tx.Commit(ctx)
	} else {
		done = deed{}
		err = errors.Join(err, tx.Rollback(ctx))
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "40P01" { // two writers, each other's rows
		return
	}
	if err != nil {
		c.t.Errorf("write: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.committed, done.notified)
	c.ids = slices.AppendSeq(c.ids, maps.Keys(done.notified))
	maps.Copy(c.retracted, done.retracted)
	maps.Copy(c.deleted, done.deleted)
}

// step does one thing in a transaction, and notes it.
func (c *contest) step(ctx context.Context, tx pgx.Tx, random *rand.Rand, done *deed) error {
	switch random.IntN(10) {
	case 0:
		cause := c.cause(random, 50)
		_, err := inbox.RetractTx(ctx, tx, inbox.Retraction{Cause: cause})
		done.retracted[cause] = true
		return err
	case 1:
		_, err := inbox.MarkTx(ctx, tx, c.user(random), c.mark(random))
		return err
	case 2:
		ids := c.some(random)
		_, err := tx.Exec(ctx, "DELETE FROM trunkline.notification WHERE id = any($1)", ids)
		for _, id := range ids {
			done.deleted[id] = true
		}
		return err
	case 3: // a savepoint that is rolled back
		inner, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		_, err = inbox.NotifyTx(ctx, inner, inbox.Notification{Users: c.users, Kind: "never"})
		return errors.Join(err, inner.Rollback(ctx))
	}
	users := []string{c.user(random)}
	if first := random.IntN(len(c.users)); random.IntN(3) == 0 {
		users = c.users[first:min(first+3, len(c.users))]
	}
	cause := c.cause(random, 0)
	ids, err := inbox.NotifyTx(ctx, tx, inbox.Notification{Users: users, Kind: "k", Cause: cause})
	for i, id := range ids {
		done.notified[id] = told{users[i], cause}
	}
	return err
}

// cause returns one of the last causes that were notified of, or a new one.
func (c *contest) cause(random *rand.Rand, last int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last == 0 {
		c.causes++
		return fmt.Sprintf("cause %d", c.causes)
	}
	return fmt.Sprintf("cause %d", c.causes-random.IntN(last))
}

// A device knows of an inbox what pushes have told it.
type device struct {
	counts inbox.Counts
	items  map[int64]change
	seen   map[int64]int // how often an item was added
	last   int64         // the highest seq that was added
	dirty  bool          // a push had more than it said
}

func newDevice() *device { return &device{items: map[int64]change{}, seen: map[int64]int{}} }

// devices follows every user's channel from its beginning, and checks each push.
func (c *contest) devices(conn *pgx.Conn, engine *trunkline.Engine) map[string]*device {
	c.t.Helper()
	devices := map[string]*device{}
	for _, user := range c.users {
		d := newDevice()
		devices[user] = d
		channel := "inbox:" + user
		sub := subscribe(c.t, engine, trunkline.FromBeginning(), channel)
		for range scan[int](c.t, conn, "SELECT count(*) FROM trunkline.message WHERE channel = $1", channel) {
			p := next(c.t, sub)
			if err := d.apply(p); err != nil {
				c.t.Errorf("%s: %v: %+v", user, err, p)
			}
		}
	}
	return devices
}

// apply does what a page would.
func (d *device) apply(p push) error {
	if p.Version != d.counts.Version+1 {
		return fmt.Errorf("version %d follows %d", p.Version, d.counts.Version)
	}
	d.counts, d.dirty = p.Counts, d.dirty || p.More
	var ids []int64
	for _, it := range p.Added {
		ids = append(ids, it.ID)
	}
	for _, changed := range p.Changed {
		ids = append(ids, changed.ID)
	}
	if ids = append(ids, p.Removed...); len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
		return fmt.Errorf("an item is in two lists: %v", ids)
	}
	slices.Reverse(p.Added) // they come newest first
	for _, it := range p.Added {
		if it.Seq != d.last+1 && !d.dirty {
			return fmt.Errorf("seq %d follows %d", it.Seq, d.last)
		}
		d.last = it.Seq
		d.seen[it.ID]++
		d.items[it.ID] = change{it.ID, it.Seq, it.SeenAt, it.ReadAt, it.ArchivedAt, it.SnoozedUntil}
	}
	for _, changed := range p.Changed {
		if before, there := d.items[changed.ID]; (!there || before.Seq != changed.Seq) && !d.dirty {
			return fmt.Errorf("item %d has changed, which was never added, or with another seq", changed.ID)
		}
		d.items[changed.ID] = changed
	}
	for _, id := range p.Removed {
		if _, there := d.items[id]; !there && !d.dirty {
			return fmt.Errorf("item %d was removed, which was never added", id)
		}
		delete(d.items, id)
	}
	return nil
}

// counted is what a device knows by counting.
func (d *device) counted() inbox.Counts {
	counted := inbox.Counts{Version: d.counts.Version}
	for _, it := range d.items {
		if it.ArchivedAt == nil && it.SnoozedUntil == nil {
			if it.SeenAt == nil {
				counted.Unseen++
			}
			if it.ReadAt == nil {
				counted.Unread++
			}
		}
	}
	return counted
}

// compare compares what devices know with what was committed and with what the database holds.
func (c *contest) compare(in *inbox.Inbox, devices map[string]*device) {
	c.t.Helper()
	kept := map[int64]bool{}
	dirty := 0
	for user, d := range devices {
		if got := counts(c.t, in, user); got != d.counts {
			c.t.Errorf("%s: counts %+v, pushed %+v", user, got, d.counts)
		}
		if counted := d.counted(); !d.dirty && counted != d.counts {
			c.t.Errorf("%s: pushed %+v, counting gives %+v", user, d.counts, counted)
		}
		seqs := map[int64]bool{}
		for _, it := range listAll(c.t, in, user, inbox.StateAll) {
			kept[it.ID] = true
			if seqs[it.Seq] || it.Seq < 1 || it.Seq > d.last && !d.dirty {
				c.t.Errorf("%s: seq %d of item %d is another's as well, or beyond the last, %d", user, it.Seq, it.ID, d.last)
			}
			seqs[it.Seq] = true
			if c.committed[it.ID].user != user || c.deleted[it.ID] {
				c.t.Errorf("%s has item %d, which was %q's, deleted %v", user, it.ID, c.committed[it.ID], c.deleted[it.ID])
			}
			if d.dirty {
				continue
			}
			last := d.items[it.ID]
			is := change{it.ID, it.Seq, it.SeenAt, it.ReadAt, it.ArchivedAt, it.SnoozedUntil}
			if d.seen[it.ID] != 1 || !cmp.Equal(last, is) {
				c.t.Errorf("%s: item %+v, told %d times, in the end %+v", user, it, d.seen[it.ID], last)
			}
			delete(d.items, it.ID)
		}
		if d.dirty {
			dirty++
			continue
		}
		for id := range d.items {
			c.t.Errorf("%s: item %d is gone, and nobody was told", user, id)
		}
		for id, times := range d.seen {
			if times != 1 || c.committed[id].user != user {
				c.t.Errorf("%s was told %d times of item %d, which was %q's", user, times, id, c.committed[id])
			}
		}
	}
	if dirty == len(devices) {
		c.t.Error("every user had a push with more: the test has shown little")
	}
	for id, what := range c.committed {
		if !kept[id] && !c.retracted[what.cause] && !c.deleted[id] {
			c.t.Errorf("item %d of %q is lost", id, what)
		}
	}
}
