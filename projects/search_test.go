package projects

import (
	"fmt"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "Windows")
	blue := post(t, s, m.Customer, talk, "The **kitchen** in dark blue, <script>alert('kitchen')</script> & more, @[Stan]("+topic("person", m.Staff)+")")
	green := post(t, s, m.Staff, talk, "The garden in dark green \uE000kitchen\uE001")
	secret := newProject(t, s.pool, m.Organisation, "Secret")
	post(t, s, m.Admin, newConversation(t, s.pool, secret, "Hidden"), "kitchen kitchen kitchen")
	search := func(person int64, query string) []int64 {
		t.Helper()
		found, err := s.Search(ctx, person, query, 0, 0)
		if err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		ids := []int64{}
		for _, hit := range found.Hits {
			ids = append(ids, hit.MessageID)
			if snippet := strings.NewReplacer("<mark>", "", "</mark>", "").Replace(hit.Snippet); strings.ContainsAny(snippet, "<>\uE000\uE001") {
				t.Errorf("%q: snippet %q", query, hit.Snippet)
			}
		}
		return ids
	}
	for query, want := range map[string][]int64{
		"dark": {green.ID, blue.ID}, "KITCHEN dark": {green.ID, blue.ID}, `"dark blue"`: {blue.ID}, "dark -blue": {green.ID},
		"blue or green": {green.ID, blue.ID}, "nothing": {}, "": {}, "!!! ((": {}, `"`: {}, "' OR 1=1 --": {}, "stan": {blue.ID}, "\x00\xff": {},
	} {
		if got := search(m.Customer, query); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q found %v, want %v", query, got, want)
		}
	}
	if got := search(m.Admin, "kitchen"); len(got) != 3 {
		t.Errorf("the organisation's admin found %v", got)
	}
	found, err := s.Search(ctx, m.Customer, "kitchen blue", 0, 0)
	if err != nil || len(found.Hits) != 1 || found.Next != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	hit := found.Hits[0]
	if want := "<mark>kitchen</mark> in dark <mark>blue</mark>, &lt;script&gt;alert(&#39;<mark>kitchen</mark>&#39;)&lt;/script&gt; &amp; more, @Stan"; hit.Snippet != want {
		t.Errorf("snippet %q, want %q", hit.Snippet, want)
	}
	if hit.ProjectID != m.Project || hit.ProjectName != "Website" || hit.Subject != "Windows" || hit.Seq != 1 || hit.AuthorName != "Cleo" || hit.ConversationID != talk {
		t.Errorf("hit %+v", hit)
	}
	_, err = s.Search(ctx, m.Customer, strings.Repeat("a", 201), 0, 0)
	wantError(t, err, &InvalidError{Field: "q"})
	_, err = s.Search(ctx, m.Customer, "a", 0, 101)
	wantError(t, err, &InvalidError{Field: "limit"})
}

func TestSearchPages(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	want := []int64{}
	for i := range 7 {
		post(t, s, m.Staff, talk, "noise")
		want = append([]int64{post(t, s, m.Customer, talk, fmt.Sprint("needle ", i)).ID}, want...)
	}
	for _, limit := range []int{1, 3, 7, 8} {
		var got []int64
		before, pages := int64(0), 0
		for pages == 0 || before != 0 {
			found, err := s.Search(testContext(t), m.Customer, "needle", before, limit)
			if err != nil || len(found.Hits) > limit || pages > 8 {
				t.Fatalf("page %d: %+v, %v", pages, found, err)
			}
			for _, hit := range found.Hits {
				got = append(got, hit.MessageID)
			}
			before, pages = found.Next, pages+1
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("by %d: %v, want %v", limit, got, want)
		}
	}
}
