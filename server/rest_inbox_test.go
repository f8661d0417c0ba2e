package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/inbox"
)

// notify puts n notifications into an inbox, each in a transaction of its own, and waits until they are placed.
func (s *service) notify(t *testing.T, user, kind string, n int) []int64 {
	t.Helper()
	before := s.counts(t, user)
	ids := make([]int64, n)
	for i := range ids {
		const sql = `SELECT trunkline.notify($1, $2, json_build_object('n', $3::int), "group" => 'project:' || $3 % 2)`
		if err := s.engine.Pool().QueryRow(t.Context(), sql, user, kind, i).Scan(&ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.until(t, "they are placed", func() bool { return s.counts(t, user).Unread == before.Unread+n })
	return ids
}

func (s *service) counts(t *testing.T, user string) inbox.Counts {
	t.Helper()
	counts, err := s.handler.inbox.Counts(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// send makes a request with a body as ann, expects it to be done, and reads the answer.
func (s *service) send(t *testing.T, method, path, body string, into any) {
	t.Helper()
	a := s.ask(t, method, path+"?user=ann", body)
	if a.status >= 300 {
		t.Fatalf("%s %s %s: status %d: %s", method, path, body, a.status, a.body)
	}
	if into != nil {
		if err := json.Unmarshal(a.body, into); err != nil {
			t.Fatalf("%s: %v: %s", path, err, a.body)
		}
	}
}

type marked struct {
	Changed int
	inbox.Counts
}

func seqs(items []inbox.Item) []int64 {
	all := []int64{}
	for i := range items {
		all = append(all, items[i].Seq)
	}
	return all
}

func TestInboxPages(t *testing.T) {
	s := newService(t)
	s.notify(t, "ann", "note", 7)
	s.notify(t, "bob", "note", 2)
	s.notify(t, "ann", "task.completed", 3)
	for _, limit := range []int{1, 3, 10, 200} {
		var got []int64
		pages := 0
		for path := fmt.Sprintf("/v1/inbox?user=ann&limit=%d", limit); path != ""; pages++ {
			var page inboxPage
			a := s.ask(t, http.MethodGet, path, "")
			if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
				t.Fatalf("%s: status %d: %s", path, a.status, a.body)
			}
			if page.Counts.Unseen != 10 || page.Counts.Unread != 10 || page.Counts.Version < 1 {
				t.Errorf("%s: counts %+v", path, page.Counts)
			}
			if link := a.header.Get("Link"); (page.Next != "") != (link == "<"+page.Next+`>; rel="next"`) {
				t.Errorf("%s: next is %q, Link %q", path, page.Next, link)
			}
			got = append(got, seqs(page.Items)...)
			path = page.Next
		}
		if !slices.Equal(got, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}) || pages != (10+limit-1)/limit {
			t.Errorf("by %d, in %d pages: %v", limit, pages, got)
		}
	}
	for query, want := range map[string][]int64{
		"kind=task.completed":                     {10, 9, 8},
		"group=project:1":                         {9, 6, 4, 2},
		"group=project:1&kind=note":               {6, 4, 2},
		"group=project:1&kind=note&limit=1":       {6, 4, 2},
		"state=unread&before=3":                   {2, 1},
		"state=read":                              {},
		"kind=never":                              {},
		"group=" + url.QueryEscape("project:1 '"): {},
	} {
		got := []int64{}
		for path := "/v1/inbox?user=ann&" + query; path != ""; {
			var page inboxPage
			s.get(t, path, &page)
			got = append(got, seqs(page.Items)...)
			path = page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	// Whoever was never notified has an inbox, and nothing in it.
	a := s.ask(t, http.MethodGet, "/v1/inbox?user=never", "")
	if want := `{"items":[],"counts":{"unseen":0,"unread":0,"version":0}}`; strings.TrimSpace(string(a.body)) != want {
		t.Errorf("an empty inbox: %s", a.body)
	}
}

func TestItemsAreWhole(t *testing.T) {
	s := newService(t)
	s.sql(t, `SELECT trunkline.kind('task.completed', title => 'Task completed', template => '{actor} completed {task.title}')`)
	a := s.ask(t, http.MethodPost, "/v1/notify", `{"users":["ann"],"kind":"task.completed","group":"project:7","cause":"task:12",`+
		`"link":"/projects/7#task-12","data":{"actor":"Bob","task":{"title":"Order <tiles>"},"n":1e999},"expires_at":"2999-12-31T23:59:59+01:00"}`)
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	s.until(t, "it is placed", func() bool { return s.counts(t, "ann").Unread == 1 })
	var page struct{ Items []map[string]json.RawMessage }
	s.get(t, "/v1/inbox?user=ann", &page)
	if len(page.Items) != 1 {
		t.Fatalf("%+v", page)
	}
	item := page.Items[0]
	for name, want := range map[string]string{
		"seq": `1`, "kind": `"task.completed"`, "title": `"Task completed"`, "text": `"Bob completed Order <tiles>"`, "group": `"project:7"`,
		"cause": `"task:12"`, "link": `"/projects/7#task-12"`, "data": `{"actor":"Bob","task":{"title":"Order <tiles>"},"n":1e999}`,
		"expires_at": `"2999-12-31T22:59:59Z"`, "seen_at": `null`, "read_at": `null`, "archived_at": `null`, "snoozed_until": `null`,
	} {
		if string(item[name]) != want {
			t.Errorf("%s is %s, want %s", name, item[name], want)
		}
	}
	if len(item) != 15 {
		t.Errorf("an item has %d fields: %v", len(item), item)
	}
	var created time.Time
	if err := json.Unmarshal(item["created_at"], &created); err != nil || !strings.HasSuffix(string(item["created_at"]), `Z"`) {
		t.Errorf("created_at is %s: %v", item["created_at"], err)
	}
}

func TestMarking(t *testing.T) {
	s := newService(t)
	ids := s.notify(t, "ann", "note", 4)
	others := s.notify(t, "bob", "note", 1)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	last := s.counts(t, "ann").Version
	for i, step := range []struct {
		body                    string
		changed, unseen, unread int
		states                  map[string][]int64 // seqs
	}{
		{`{"state":"seen","up_to_seq":2}`, 2, 2, 4, map[string][]int64{"unseen": {4, 3}, "unread": {4, 3, 2, 1}}},
		{`{"state":"seen","up_to_seq":2}`, 0, 2, 4, nil},
		{
			fmt.Sprintf(`{"state":"read","ids":[%d,%d,%d,999999]}`, ids[2], ids[2], others[0]), 1, 1, 3,
			map[string][]int64{"read": {3}, "unseen": {4}},
		},
		{fmt.Sprintf(`{"state":"unread","ids":[%d]}`, ids[2]), 1, 1, 4, map[string][]int64{"read": {}, "unseen": {4}}},
		{
			fmt.Sprintf(`{"state":"archived","ids":[%d]}`, ids[0]), 1, 1, 3,
			map[string][]int64{"inbox": {4, 3, 2}, "archived": {1}, "all": {4, 3, 2, 1}},
		},
		{
			fmt.Sprintf(`{"state":"snoozed","ids":[%d],"until":%q}`, ids[3], until), 1, 0, 2,
			map[string][]int64{"inbox": {3, 2}, "snoozed": {4}},
		},
		{`{"state":"read","up_to_seq":1000,"group":"project:0"}`, 1, 0, 1, map[string][]int64{"read": {3}, "unread": {2}}},
		{`{"state":"read","up_to_seq":0}`, 0, 0, 1, nil},
	} {
		var m marked
		s.send(t, http.MethodPost, "/v1/inbox/mark", step.body, &m)
		if m.Changed != step.changed || m.Unseen != step.unseen || m.Unread != step.unread {
			t.Errorf("step %d, %s: %+v, want %d changed, %d unseen, %d unread", i, step.body, m, step.changed, step.unseen, step.unread)
		}
		if grew := m.Version > last; grew != (step.changed > 0) {
			t.Errorf("step %d, %s: version %d after %d", i, step.body, m.Version, last)
		}
		last = m.Version
		var counts inbox.Counts
		s.get(t, "/v1/inbox/counts?user=ann", &counts)
		if counts != m.Counts {
			t.Errorf("step %d: counts %+v after %+v", i, counts, m.Counts)
		}
		for state, want := range step.states {
			var page inboxPage
			s.get(t, "/v1/inbox?user=ann&state="+state, &page)
			if got := seqs(page.Items); !slices.Equal(got, want) {
				t.Errorf("step %d, %s: %s has %v, want %v", i, step.body, state, got, want)
			}
		}
	}
	// Back from the archive it arrives anew, at the top.
	var m marked
	s.send(t, http.MethodPost, "/v1/inbox/mark", fmt.Sprintf(`{"state":"inbox","ids":[%d]}`, ids[0]), &m)
	if m.Changed != 1 {
		t.Errorf("back from the archive: %+v", m)
	}
	s.until(t, "it is back", func() bool { return s.counts(t, "ann").Unread == 2 })
	for state, want := range map[string][]int64{"inbox": {5, 3, 2}, "archived": {}} {
		var page inboxPage
		s.get(t, "/v1/inbox?user=ann&state="+state, &page)
		if got := seqs(page.Items); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", state, got, want)
		}
	}
	if got := s.counts(t, "bob"); got.Unread != 1 || got.Unseen != 1 {
		t.Errorf("bob's counts are %+v", got)
	}
}

func TestInboxRefusesBadRequests(t *testing.T) {
	s := newService(t)
	s.notify(t, "ann", "note", 1)
	for _, test := range []struct{ method, path, body, says string }{
		{"GET", "/v1/inbox?limit=0", "", "limit"},
		{"GET", "/v1/inbox?limit=201", "", "limit"},
		{"GET", "/v1/inbox?before=0", "", "before"},
		{"GET", "/v1/inbox?before=x", "", "before"},
		{"GET", "/v1/inbox?state=nonsense", "", "state"},
		{"GET", "/v1/inbox?stat=all", "", "stat"},
		{"GET", "/v1/inbox?kind=" + strings.Repeat("k", 65), "", "kind"},
		{"GET", "/v1/inbox?group=%00", "", "group"},
		{"POST", "/v1/inbox/mark?", `{"state":"read"}`, "up_to_seq"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","up_to_seq":1,"ids":[1]}`, "up_to_seq"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","ids":null}`, "ids"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","ids":[]}`, "ids"},
		{"POST", "/v1/inbox/mark?", `{"state":"nonsense","ids":[1]}`, "state"},
		{"POST", "/v1/inbox/mark?", `{"ids":[1]}`, "state"},
		{"POST", "/v1/inbox/mark?", `{"state":"unseen","ids":[1]}`, "state"},
		{"POST", "/v1/inbox/mark?", `{"state":"unread","up_to_seq":1}`, "up_to_seq"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","up_to_seq":-1}`, "up_to_seq"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","up_to_seq":99999999999999999999}`, "up_to_seq"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","up_to_seq":"1"}`, "up_to_seq"},
		{"POST", "/v1/inbox/mark?", `{"state":"snoozed","ids":[1]}`, "until"},
		{"POST", "/v1/inbox/mark?", `{"state":"snoozed","ids":[1],"until":"2001-01-01T00:00:00Z"}`, "until"},
		{"POST", "/v1/inbox/mark?", `{"state":"snoozed","ids":[1],"until":"9999-01-01T00:00:00Z"}`, "until"},
		{"POST", "/v1/inbox/mark?", `{"state":"snoozed","ids":[1],"until":"tomorrow"}`, "until"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","ids":[1],"until":"2999-01-01T00:00:00Z"}`, "until"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","ids":[1],"group":"project:7"}`, "group"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","ids":[1` + strings.Repeat(",1", 1000) + `]}`, "ids"},
		{"POST", "/v1/inbox/mark?", `{"state":"read","ids":[1],"nonsense":1}`, "nonsense"},
		{"POST", "/v1/inbox/mark?", `[1]`, "object"},
		{"POST", "/v1/inbox/mark?", `{`, "JSON"},
		{"POST", "/v1/inbox/mark?", ``, "body"},
	} {
		a := s.ask(t, test.method, test.path+"&user=ann", test.body)
		if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, test.says) {
			t.Errorf("%s %s: status %d: %+v, want %q", test.path, test.body, a.status, p, test.says)
		}
	}
	if got := s.counts(t, "ann"); got.Unread != 1 || got.Unseen != 1 {
		t.Errorf("counts %+v", got)
	}
}

// What arrives after the user was shown the list stays as it is, however late the mark comes.
func TestMarkAllLeavesWhatArrivedMeanwhile(t *testing.T) {
	s := newService(t)
	s.notify(t, "ann", "note", 3)
	var page inboxPage
	s.get(t, "/v1/inbox?user=ann", &page)
	s.notify(t, "ann", "note", 2)
	var m marked
	s.send(t, http.MethodPost, "/v1/inbox/mark", fmt.Sprintf(`{"state":"read","up_to_seq":%d}`, page.Items[0].Seq), &m)
	if m.Changed != 3 || m.Unread != 2 || m.Unseen != 2 {
		t.Errorf("%+v", m)
	}
}

func TestNotifying(t *testing.T) {
	s := newService(t)
	var first, again struct{ IDs []int64 }
	body := `{"users":["ann","bob","ann"],"kind":"note"}`
	for i, into := range []any{&first, &again} {
		a := s.ask(t, http.MethodPost, "/v1/notify", body, "Idempotency-Key: once")
		if err := json.Unmarshal(a.body, into); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d: status %d: %s", i, a.status, a.body)
		}
	}
	if len(first.IDs) != 3 || first.IDs[0] != first.IDs[2] || first.IDs[0] == first.IDs[1] || !slices.Equal(first.IDs, again.IDs) {
		t.Errorf("ids %v, then %v", first.IDs, again.IDs)
	}
	a := s.ask(t, http.MethodPost, "/v1/notify", `{"users":["ann"],"kind":"note","cause":null,"group":null,"link":null,"expires_at":null}`)
	if a.status != http.StatusOK {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	s.until(t, "all are placed", func() bool { return s.counts(t, "ann").Unread == 2 && s.counts(t, "bob").Unread == 1 })
}

func TestRetracting(t *testing.T) {
	s := newService(t)
	for _, body := range []string{
		`{"users":["ann","bob"],"kind":"note","cause":"task:1"}`,
		`{"users":["ann","bob"],"kind":"note","cause":"task:2","dedupe_key":"k"}`,
	} {
		if a := s.ask(t, http.MethodPost, "/v1/notify", body); a.status != http.StatusOK {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	s.until(t, "they are placed", func() bool { return s.counts(t, "ann").Unread == 2 && s.counts(t, "bob").Unread == 2 })
	for _, test := range []struct {
		body    string
		removed int
	}{
		{`{"user":"ann","dedupe_key":"k"}`, 1},
		{`{"user":"ann","dedupe_key":"k"}`, 0},
		{`{"cause":"task:1","kind":"other"}`, 0},
		{`{"cause":"task:1"}`, 2},
		{`{"group":"never"}`, 0},
	} {
		a := s.ask(t, http.MethodPost, "/v1/retract", test.body)
		if want := fmt.Sprintf(`{"removed":%d}`, test.removed); a.status != http.StatusOK || strings.TrimSpace(string(a.body)) != want {
			t.Errorf("%s: status %d: %s, want %s", test.body, a.status, a.body, want)
		}
	}
	s.until(t, "the counts say so", func() bool { return s.counts(t, "ann").Unread == 0 && s.counts(t, "bob").Unread == 1 })
	for _, body := range []string{`{}`, `{"user":"ann"}`, `{"kind":"note"}`, `{"user":"ann","kind":"note"}`, `{"cuase":"task:1"}`} {
		if a := s.ask(t, http.MethodPost, "/v1/retract", body); a.status != http.StatusBadRequest {
			t.Errorf("%s: status %d: %s", body, a.status, a.body)
		} else {
			a.problem(t)
		}
	}
}

func TestNotifyRefusesBadRequests(t *testing.T) {
	s := newService(t)
	for _, test := range []struct{ body, says string }{
		{``, "body"},
		{`{`, "JSON"},
		{`[]`, `"users"`},
		{`{} {}`, "follows"},
		{`{}`, "users is missing"},
		{`{"kind":"note"}`, "users is missing"},
		{`{"users":[],"kind":"note"}`, "users is missing or empty"},
		{`{"users":"ann","kind":"note"}`, "no array"},
		{`{"users":[1],"kind":"note"}`, "user 0 is no text"},
		{`{"users":[""],"kind":"note"}`, "empty"},
		{`{"users":["a\nb"],"kind":"note"}`, "control character"},
		{`{"users":["` + strings.Repeat("u", 250) + `"],"kind":"note"}`, "249"},
		{`{"users":["a"` + strings.Repeat(`,"a"`, 10_000) + `],"kind":"note"}`, "10000"},
		{`{"users":["ann"]}`, "kind is missing"},
		{`{"users":["ann"],"kind":""}`, "kind is missing"},
		{`{"users":["ann"],"kind":"` + strings.Repeat("k", 65) + `"}`, "kind"},
		{`{"users":["ann"],"kind":"note","kind":"note"}`, "twice"},
		{`{"users":["ann"],"kind":"note","grup":"x"}`, "grup"},
		{`{"users":["ann"],"kind":"note","group":7}`, "group is no text"},
		{`{"users":["ann"],"kind":"note","link":"javascript:alert(1)"}`, "link"},
		{`{"users":["ann"],"kind":"note","link":"//evil.example"}`, "link"},
		{`{"users":["ann"],"kind":"note","data":"` + strings.Repeat("x", 65_536) + `"}`, "65538"},
		{`{"users":["ann"],"kind":"note","data":}`, "JSON"},
		{`{"users":["ann"],"kind":"note","expires_at":"soon"}`, "2027-01-31T12:00:00Z"},
		{"{\"users\":[\"\xff\"],\"kind\":\"note\"}", "UTF-8"},
	} {
		a := s.ask(t, http.MethodPost, "/v1/notify", test.body)
		if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, test.says) {
			t.Errorf("%s: status %d: %+v, want %q", clip(test.body), a.status, p, test.says)
		}
	}
	a := s.ask(t, http.MethodPost, "/v1/notify", `{"users":["ann"],"kind":"note","dedupe_key":"a"}`, "Idempotency-Key: b")
	if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, "one of them") {
		t.Errorf("two keys: %+v", p)
	}
	if n := s.stored(t); n != 0 {
		t.Errorf("%d notifications were stored", n)
	}
}

// stored is how many notifications there are.
func (s *service) stored(t *testing.T) (n int) {
	t.Helper()
	if err := s.engine.Pool().QueryRow(t.Context(), "SELECT count(*) FROM trunkline.notification").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
