package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestInboxInNode and TestInboxInChromium follow an inbox with the unmodified SDK, in two tabs of a user's.
func TestInboxInNode(t *testing.T) {
	t.Parallel()
	runAll(t, inNode(t), inboxScenarios)
}

func TestInboxInChromium(t *testing.T) {
	t.Parallel()
	runAll(t, inChromium(t), inboxScenarios)
}

var inboxScenarios = []scenario{{"Tabs", inboxTabs}, {"ServerKilled", inboxServerKilled}}

// inboxCounts and inboxItem are as REST and the channel have them.
type inboxCounts struct {
	Unseen  int   `json:"unseen"`
	Unread  int   `json:"unread"`
	Version int64 `json:"version"`
}

type inboxItem struct {
	ID     int64      `json:"id"`
	Seq    int64      `json:"seq"`
	Kind   string     `json:"kind"`
	ReadAt *time.Time `json:"read_at"`
}

// inboxTab does what a page does: it subscribes, then reads the inbox, and from then on takes in what has a higher version than
// what it knows.
type inboxTab struct {
	*client
	user, token, base string

	inboxCounts
	items   map[int64]inboxItem
	ignored int // pushes that were too old
}

func (p place) inboxTab(t *testing.T, v variant, user string) *inboxTab {
	t.Helper()
	tab := &inboxTab{user: user, token: token(t, user), base: p.base}
	tab.client = p.connect(t, v, tab.token)
	if e := tab.subscribe(t, tab.channel(), recoverable); !e.Recoverable || !e.Positioned {
		t.Errorf("%s: subscribed with %s", tab.name, e.raw)
	}
	tab.load(t)
	return tab
}

func (tab *inboxTab) channel() string { return "inbox:" + tab.user }

// rest makes a request with the user's token.
func (tab *inboxTab) rest(t *testing.T, method, path, body string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, tab.base+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+tab.token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d: %s", method, path, response.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
}

// load reads the inbox.
func (tab *inboxTab) load(t *testing.T) {
	t.Helper()
	var page struct {
		Items  []inboxItem `json:"items"`
		Counts inboxCounts `json:"counts"`
	}
	tab.rest(t, http.MethodGet, "/v1/inbox?limit=200", "", &page)
	tab.inboxCounts, tab.items = page.Counts, map[int64]inboxItem{}
	for _, item := range page.Items {
		tab.items[item.ID] = item
	}
}

// takeIn takes in what came, unless it is older than what the tab knows.
func (tab *inboxTab) takeIn(t *testing.T, e event) {
	t.Helper()
	var push struct {
		inboxCounts
		Added   []inboxItem `json:"added"`
		Changed []inboxItem `json:"changed"`
		Removed []int64     `json:"removed"`
		More    bool        `json:"more"`
	}
	if err := json.Unmarshal(e.Data, &push); err != nil {
		t.Fatalf("%s: %s: %v", tab.name, e.raw, err)
	}
	if push.Version <= tab.Version {
		tab.ignored++
		return
	}
	tab.inboxCounts = push.inboxCounts
	if push.More {
		t.Fatalf("%s: so much at once: %s", tab.name, e.raw)
	}
	for _, item := range push.Added {
		tab.items[item.ID] = item
	}
	for _, change := range push.Changed {
		if item, ok := tab.items[change.ID]; ok {
			item.ReadAt = change.ReadAt
			tab.items[change.ID] = item
		}
	}
	for _, id := range push.Removed {
		delete(tab.items, id)
	}
}

// until takes in what comes until the counts are so.
func (tab *inboxTab) until(t *testing.T, unseen, unread int) {
	t.Helper()
	for tab.Unseen != unseen || tab.Unread != unread {
		tab.takeIn(t, tab.await(t, "publication", tab.channel()))
	}
}

// agrees compares what the tab knows with what somebody who comes now is told.
func (tab *inboxTab) agrees(t *testing.T) {
	t.Helper()
	fresh := &inboxTab{user: tab.user, token: tab.token, base: tab.base}
	fresh.load(t)
	if diff := cmp.Diff(fresh.inboxCounts, tab.inboxCounts); diff != "" {
		t.Errorf("%s: counts (-fresh +kept):\n%s", tab.name, diff)
	}
	if diff := cmp.Diff(fresh.items, tab.items); diff != "" {
		t.Errorf("%s: items (-fresh +kept):\n%s", tab.name, diff)
	}
}

// notifyUser notifies in a transaction each, with SQL alone.
func notifyUser(t *testing.T, pool *pgxpool.Pool, user string, n int) {
	t.Helper()
	for i := range n {
		run(t, pool, "SELECT trunkline.notify($1, 'note', json_build_object('n', $2::int), cause => 'note:' || $2)", user, i)
	}
}

// inboxTabs: what is notified is counted alike in both tabs, what is marked in one is seen by the other, and who comes late and is
// told everything once more takes none of it twice.
func inboxTabs(t *testing.T, d *driver) {
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here, there := d.at(t, n.base()), d.at(t, n.base())
	eachVariant(t, func(t *testing.T, v variant) {
		user := "ann " + v.String() + " é"
		one, two := here.inboxTab(t, v, user), there.inboxTab(t, variants[0], user)
		var start position
		beginning := one.must(t, map[string]any{"op": "history", "channel": one.channel(), "limit": 0})
		if err := json.Unmarshal(beginning, &start); err != nil || start.Epoch == "" {
			t.Fatalf("the channel is at %s: %v", beginning, err)
		}

		notifyUser(t, pool, user, 3)
		notifyUser(t, pool, "somebody else", 1)
		for _, tab := range []*inboxTab{one, two} {
			tab.until(t, 3, 3)
			tab.agrees(t)
		}

		// In one tab everything that it shows is read, and what comes in the same moment is not.
		shown := slices.MaxFunc(slices.Collect(maps.Values(one.items)), func(a, b inboxItem) int { return int(a.Seq - b.Seq) }).Seq
		notifyUser(t, pool, user, 1)
		var marked struct {
			Changed int `json:"changed"`
			inboxCounts
		}
		one.rest(t, http.MethodPost, "/v1/inbox/mark", fmt.Sprintf(`{"state":"read","up_to_seq":%d}`, shown), &marked)
		if marked.Changed != 3 {
			t.Errorf("%d were marked", marked.Changed)
		}
		two.until(t, 1, 1)
		two.agrees(t)
		one.until(t, 1, 1)
		one.agrees(t)

		// The answer to a mark has the version that the push about it has: whichever comes first, the other is of no more use.
		one.rest(t, http.MethodPost, "/v1/inbox/mark", fmt.Sprintf(`{"state":"read","up_to_seq":%d}`, shown+1), &marked)
		before := one.ignored
		one.inboxCounts = marked.inboxCounts
		for one.ignored == before {
			one.takeIn(t, one.await(t, "publication", one.channel()))
		}
		if diff := cmp.Diff(marked.inboxCounts, one.inboxCounts); diff != "" || one.Unread != 0 {
			t.Errorf("after an old push (-answer +tab):\n%s", diff)
		}

		// A retracted cause is gone in both.
		run(t, pool, "SELECT trunkline.retract(cause => 'note:2', user_id => $1)", user)
		for len(two.items) != 3 {
			two.takeIn(t, two.await(t, "publication", two.channel()))
		}
		two.agrees(t)

		// Late, and told everything from the beginning: all of it is older than what the tab has read.
		late := &inboxTab{user: user, token: one.token, base: n.base()}
		late.client = here.connect(t, v, late.token)
		late.load(t)
		was := late.inboxCounts
		if e := late.subscribe(t, late.channel(), recoverable, map[string]any{"since": start}); !e.Recovered {
			t.Errorf("%s: not recovered: %s", late.name, e.raw)
		}
		for newest := late.top(t); ; {
			e := late.await(t, "publication", late.channel())
			late.takeIn(t, e)
			if e.Offset == newest {
				break
			}
		}
		if late.ignored == 0 {
			t.Errorf("%s: nothing was too old", late.name)
		}
		if diff := cmp.Diff(was, late.inboxCounts); diff != "" {
			t.Errorf("%s: after old pushes (-before +after):\n%s", late.name, diff)
		}
		late.agrees(t)
		for _, tab := range []*inboxTab{one, two, late} {
			tab.never(t, "disconnected", "unsubscribed", "error")
		}

		// And another's inbox is nobody's.
		one.trySubscribe(t, "inbox:somebody else")
		if e := one.await(t, "unsubscribed", "inbox:somebody else"); e.Code != 103 {
			t.Errorf("refused with %s", e.raw)
		}
	})
}

// top is the offset of the newest push.
func (tab *inboxTab) top(t *testing.T) int64 {
	t.Helper()
	return tab.history(t, tab.channel(), 0, nil).Offset
}

// inboxServerKilled: what is notified, marked and retracted while the server is away is in every tab once it is back.
func inboxServerKilled(t *testing.T, d *driver) {
	const user = "ann"
	url, pool := newDatabase(t)
	n := startNode(t, url, d.flags()...)
	here := d.at(t, n.base())
	var tabs []*inboxTab
	for _, v := range variants {
		tabs = append(tabs, here.inboxTab(t, v, user))
	}
	notifyUser(t, pool, user, 5)
	for _, tab := range tabs {
		tab.until(t, 5, 5)
	}
	for round := range 2 {
		unread := tabs[0].Unread
		n.kill()
		// What its sessions are at goes on for a moment, and could take in some of this by itself: it is to come in one push.
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			var left int
			const sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'trunkline%'"
			if err := pool.QueryRow(t.Context(), sessions).Scan(&left); err != nil {
				t.Fatal(err)
			}
			if left == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d sessions of a killed server are still there", left)
			}
		}
		notifyUser(t, pool, user, 4)
		const unreadOnes = "SELECT id FROM trunkline.notification WHERE user_id = $1 AND read_at IS NULL AND seq IS NOT NULL ORDER BY seq"
		run(t, pool, "SELECT trunkline.mark($1, 'read', ids => ARRAY("+unreadOnes+" LIMIT 2))", user)
		run(t, pool, "DELETE FROM trunkline.notification WHERE id = ("+unreadOnes+" LIMIT 1)", user)
		n.start(t)
		for _, tab := range tabs {
			if e := tab.await(t, "subscribed", tab.channel()); !e.WasRecovering || !e.Recovered {
				t.Errorf("%s: not recovered: %s", tab.name, e.raw)
			}
			tab.until(t, unread+4-3, unread+4-3)
			tab.agrees(t)
			if tab.ignored != 0 {
				t.Errorf("%s, round %d: %d pushes were too old", tab.name, round, tab.ignored)
			}
			tab.never(t, "publication", "disconnected", "unsubscribed")
		}
	}
}
