package schema_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A modelItem is a notification, and what should be so of it.
type modelItem struct {
	user                 string
	cause, key           string
	seq                  int // 0: to be placed
	seen, read, archived bool
	snoozed, expires     int // the hour; 0: not
}

func (m *modelItem) String() string {
	return fmt.Sprintf("%d seen=%v read=%v archived=%v snoozed=%v", m.seq, m.seen, m.read, m.archived, m.snoozed > 0)
}

// state is the same of what was read.
func (i item) state() string {
	m := modelItem{seq: i.Seq, seen: i.SeenAt != nil, read: i.ReadAt != nil, archived: i.ArchivedAt != nil}
	if i.SnoozedUntil != nil {
		m.snoozed = 1
	}
	return m.String()
}

// inboxModel is what a few inboxes should be after what was done to them.
type inboxModel struct {
	t     *rapid.T
	d     database
	begun time.Time // a full hour
	hour  int       // hours since the beginning, and one more
	items map[int]*modelItem
	last  map[string]int // the last seq given
	// Users of whom something is to be pushed, by version.
	touched  map[string]bool
	versions map[string]int
	pushed   int // messages read so far
	// What a client has that started with nothing and follows the pushes.
	client map[string]map[int]string
}

var modelUsers = []string{"ann", "bob", "cid"}

func newInboxModel(t *rapid.T, d database) *inboxModel {
	// As new, so that a run that fails can be told again.
	d.run(`SET session_replication_role = replica; TRUNCATE trunkline.notification, trunkline.inbox, trunkline.inbox_change,
		trunkline.digest_due, trunkline.message RESTART IDENTITY; RESET session_replication_role`)
	m := &inboxModel{
		t: t, d: d, begun: time.Now().Truncate(time.Hour), hour: 1, items: map[int]*modelItem{}, last: map[string]int{}, touched: map[string]bool{}, versions: map[string]int{},
		client: map[string]map[int]string{},
	}
	for _, user := range modelUsers {
		m.client[user] = map[int]string{}
	}
	return m
}

func (m *inboxModel) user() string { return rapid.SampledFrom(modelUsers).Draw(m.t, "user") }

// at is the moment of an hour, in SQL: those from the second on are to come, so that one can be snoozed until any of them. They are the
// same however late it gets meanwhile.
func (m *inboxModel) at(hour int) string {
	return "'" + m.begun.Add(time.Duration(hour)*time.Hour).Format(time.RFC3339) + "'"
}

func (m *inboxModel) scan(sql string, into any) {
	if err := m.d.conn.QueryRow(context.Background(), sql).Scan(into); err != nil {
		m.t.Fatalf("%v\nin %s", err, sql)
	}
}

func (m *inboxModel) notify() {
	users := rapid.SliceOfN(rapid.SampledFrom(modelUsers), 1, 4).Draw(m.t, "users")
	cause := rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(m.t, "cause")
	key := rapid.SampledFrom([]string{"", "", "k1", "k2"}).Draw(m.t, "key")
	expires := rapid.IntRange(0, 6).Draw(m.t, "expires in")
	sql := fmt.Sprintf("SELECT trunkline.notify_many('{%s}', 'k', cause => nullif('%s', ''), dedupe_key => nullif('%s', '')",
		strings.Join(users, ","), cause, key)
	if expires > 0 {
		expires += m.hour
		sql += ", expires_at => " + m.at(expires)
	}
	var ids []int
	m.scan(sql+")", &ids)
	for n, user := range users {
		if i, ok := m.items[ids[n]]; ok {
			if i.user != user || key != i.key && slices.Index(users, user) == n {
				m.t.Fatalf("notification %d of %+v was returned for %s, %s", ids[n], i, user, key)
			}
			continue
		}
		m.items[ids[n]] = &modelItem{user: user, cause: cause, key: key, expires: expires}
	}
	for _, user := range users {
		keys := map[string]int{}
		for _, i := range m.items {
			if i.user == user && i.key != "" {
				if keys[i.key]++; keys[i.key] > 1 {
					m.t.Fatalf("%s has key %s twice", user, i.key)
				}
			}
		}
	}
}

// change does something to a notification, and tells whether that was a change.
func (m *inboxModel) change(i *modelItem, f func(i *modelItem)) bool {
	before := *i
	f(i)
	if *i == before {
		return false
	}
	if before.seq > 0 {
		m.touched[i.user] = true
	}
	return true
}

func (m *inboxModel) mark() {
	user := m.user()
	state := rapid.SampledFrom([]string{"seen", "read", "unread", "archived", "inbox", "snoozed"}).Draw(m.t, "state")
	until := m.hour + rapid.IntRange(1, 5).Draw(m.t, "hours")
	change := map[string]func(i *modelItem){
		"seen":     func(i *modelItem) { i.seen = true },
		"read":     func(i *modelItem) { i.seen, i.read = true, true },
		"unread":   func(i *modelItem) { i.read = false },
		"archived": func(i *modelItem) { i.archived, i.snoozed = true, 0 },
		"snoozed":  func(i *modelItem) { i.archived, i.snoozed = false, until },
		"inbox": func(i *modelItem) {
			if i.archived || i.snoozed > 0 {
				i.seq = 0
			}
			i.archived, i.snoozed = false, 0
		},
	}[state]
	sql := "SELECT trunkline.mark('" + user + "', '" + state + "'"
	want := 0
	if slices.Contains([]string{"seen", "read", "archived"}, state) && rapid.Bool().Draw(m.t, "up to") {
		upTo := rapid.IntRange(0, m.last[user]+1).Draw(m.t, "up to seq")
		sql += fmt.Sprintf(", up_to_seq => %d)", upTo)
		for _, i := range m.items {
			if i.user == user && i.seq > 0 && i.seq <= upTo && !i.archived && i.snoozed == 0 && m.change(i, change) {
				want++
			}
		}
	} else {
		ids := rapid.SliceOfN(rapid.SampledFrom(append(slices.Sorted(maps.Keys(m.items)), 1<<40)), 0, 6).Draw(m.t, "ids")
		sql += ", ids => '{" + strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ",") + "}'"
		if state == "snoozed" {
			sql += ", until => " + m.at(until)
		}
		sql += ")"
		for _, id := range ids {
			if i, ok := m.items[id]; ok && i.user == user && m.change(i, change) {
				want++
			}
		}
	}
	var changed int
	m.scan(sql, &changed)
	if changed != want {
		m.t.Fatalf("%s changed %d, want %d", sql, changed, want)
	}
}

// remove has those disappear that gone is true of.
func (m *inboxModel) remove(gone func(i *modelItem) bool) (removed int) {
	maps.DeleteFunc(m.items, func(_ int, i *modelItem) bool {
		if !gone(i) {
			return false
		}
		removed++
		if i.seq > 0 {
			m.touched[i.user] = true
		}
		return true
	})
	return removed
}

func (m *inboxModel) retract() {
	cause, user := rapid.SampledFrom([]string{"c1", "c2"}).Draw(m.t, "cause"), ""
	sql := "SELECT trunkline.retract(cause => '" + cause + "'"
	if rapid.Bool().Draw(m.t, "of one user") {
		user = m.user()
		sql += ", user_id => '" + user + "'"
	}
	want := m.remove(func(i *modelItem) bool { return i.cause == cause && (user == "" || i.user == user) })
	var removed int
	m.scan(sql+")", &removed)
	if removed != want {
		m.t.Fatalf("%s removed %d, want %d", sql, removed, want)
	}
}

// byHand is what the owner does without Trunkline's functions.
func (m *inboxModel) byHand() {
	user := m.user()
	parity := rapid.IntRange(0, 1).Draw(m.t, "parity")
	where := fmt.Sprintf(" WHERE user_id = '%s' AND id %% 2 = %d", user, parity)
	of := func(id int, i *modelItem) bool { return i.user == user && id%2 == parity }
	switch rapid.SampledFrom([]string{"delete", "see", "archive", "nothing"}).Draw(m.t, "by hand") {
	case "delete":
		m.d.run("DELETE FROM trunkline.notification" + where)
		maps.DeleteFunc(m.items, func(id int, i *modelItem) bool {
			if of(id, i) && i.seq > 0 {
				m.touched[user] = true
			}
			return of(id, i)
		})
	case "see":
		m.d.run("UPDATE trunkline.notification SET seen_at = coalesce(seen_at, now())" + where)
		for id, i := range m.items {
			if of(id, i) {
				m.change(i, func(i *modelItem) { i.seen = true })
			}
		}
	case "archive":
		m.d.run("UPDATE trunkline.notification SET archived_at = coalesce(archived_at, now()), snoozed_until = NULL" + where)
		for id, i := range m.items {
			if of(id, i) {
				m.change(i, func(i *modelItem) { i.archived, i.snoozed = true, 0 })
			}
		}
	case "nothing":
		m.d.run("UPDATE trunkline.notification SET link = '/x', digest_id = 1" + where)
	}
}

// fold folds one user's changes, as a server does for who has marked.
func (m *inboxModel) fold() {
	user := m.user()
	m.d.run("SELECT * FROM trunkline.inbox_fold('" + user + "')")
	m.wantPushed(map[string]bool{user: m.touched[user]})
	delete(m.touched, user)
}

func (m *inboxModel) keep() {
	m.hour += rapid.IntRange(0, 2).Draw(m.t, "hours pass")
	placed := m.d.keep(m.at(m.hour))
	for _, i := range m.items {
		if i.snoozed > 0 && i.snoozed <= m.hour {
			// One that was never placed, and expires with its snooze, nobody has heard of.
			m.touched[i.user] = m.touched[i.user] || i.seq > 0
			i.snoozed, i.seq = 0, 0
		}
	}
	m.remove(func(i *modelItem) bool { return i.expires > 0 && i.expires <= m.hour })
	want := 0
	for _, id := range slices.Sorted(maps.Keys(m.items)) {
		if i := m.items[id]; i.seq == 0 {
			m.last[i.user]++
			i.seq = m.last[i.user]
			m.touched[i.user] = true
			want++
		}
	}
	if placed != want {
		m.t.Fatalf("%d were placed, want %d", placed, want)
	}
	m.wantPushed(m.touched)
	clear(m.touched)
	for _, user := range modelUsers {
		m.wantClient(user)
	}
}

// counts are a user's unseen and unread.
func (m *inboxModel) counts(user string) (unseen, unread int) {
	for _, i := range m.items {
		if i.user == user && i.seq > 0 && !i.archived && i.snoozed == 0 {
			if !i.seen {
				unseen++
			}
			if !i.read {
				unread++
			}
		}
	}
	return unseen, unread
}

// wantPushed checks that each of the users was pushed to once since the last time, and nobody else, with counts that are right and
// the next version. The client follows.
func (m *inboxModel) wantPushed(users map[string]bool) {
	var got, want []string
	for _, p := range m.d.pushes(m.pushed) {
		m.pushed++
		user := strings.TrimPrefix(p.Channel, "inbox:")
		got = append(got, fmt.Sprintf("%s %d/%d v%d %v", user, p.Unseen, p.Unread, p.Version, p.More))
		for _, id := range p.Removed {
			delete(m.client[user], id)
		}
		for _, i := range slices.Concat(p.Added, p.Changed) {
			m.client[user][i.ID] = i.state()
		}
	}
	for user, is := range users {
		if is {
			m.versions[user]++
			unseen, unread := m.counts(user)
			want = append(want, fmt.Sprintf("%s %d/%d v%d false", user, unseen, unread, m.versions[user]))
		}
	}
	slices.SortFunc(got, cmp.Compare)
	slices.SortFunc(want, cmp.Compare)
	if diff := gocmp.Diff(want, got); diff != "" {
		m.t.Fatalf("pushes (-want +got)\n%s", diff)
	}
}

// wantClient checks that who has followed the pushes alone, the database, and the model have the same.
func (m *inboxModel) wantClient(user string) {
	want := map[int]string{}
	for id, i := range m.items {
		if i.user == user {
			want[id] = i.String()
		}
	}
	if diff := gocmp.Diff(want, m.client[user]); diff != "" {
		m.t.Fatalf("who follows %s (-want +got)\n%s", user, diff)
	}
	got := map[int]string{}
	for _, i := range m.d.list("'" + user + "', state => 'all', max_rows => 200") {
		got[i.ID] = i.state()
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		m.t.Fatalf("list of %s (-want +got)\n%s", user, diff)
	}
}

// Whatever is done to inboxes in whatever order, their counts are what counting gives, each push says so, and who follows the pushes
// has what the database has.
func TestInboxesAreWhatTheyShouldBe(t *testing.T) {
	t.Parallel()
	d := open(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newInboxModel(t, d)
		t.Repeat(map[string]func(*rapid.T){
			"notify":  func(*rapid.T) { m.notify() },
			"mark":    func(*rapid.T) { m.mark() },
			"retract": func(*rapid.T) { m.retract() },
			"by hand": func(*rapid.T) { m.byHand() },
			"fold":    func(*rapid.T) { m.fold() },
			"keep":    func(*rapid.T) { m.keep() },
			// After each step: with what isn't folded in, the counts are right at every moment.
			"": func(*rapid.T) {
				for _, drift := range d.column("SELECT inbox_check FROM trunkline.inbox_check()") {
					t.Fatalf("drift: %s", drift)
				}
			},
		})
		m.keep()
	})
}
