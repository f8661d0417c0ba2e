package projects

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// told lists who has which notifications of a message, as person:kind.
func told(t testing.TB, s *Store, message int64) []string {
	t.Helper()
	return collect[string](t, s.pool, `SELECT user_id || ':' || kind FROM trunkline.notification WHERE cause = $1
		ORDER BY user_id::bigint, kind`, topic("message", message))
}

func TestWhoIsTold(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "Windows")
	other := newPerson(t, s.pool, 0, "Olga")
	gone := newPerson(t, s.pool, m.Organisation, "Gone")
	exec(t, s.pool, "INSERT INTO projects.membership VALUES ($1, $2, 'customer'), ($1, $3, 'staff')", m.Project, other, gone)
	exec(t, s.pool, "UPDATE projects.person SET deactivated_at = now() WHERE id = $1", gone)
	to := func(kind string, people ...int64) []string {
		told := make([]string, len(people))
		slices.Sort(people)
		for i, person := range people {
			told[i] = fmt.Sprint(person, ":", kind)
		}
		return told
	}
	at := func(person int64) string { return fmt.Sprintf(" @[Somebody](person:%d)", person) }
	for name, tt := range map[string]struct {
		author int64
		body   string
		want   []string
	}{
		"a question":                     {m.Customer, "When?", to(KindQuestion, m.Lead, m.Staff)},
		"an answer":                      {m.Staff, "Soon", to(KindAnswer, m.Customer, other)},
		"an admin's answer":              {m.Admin, "Soon", to(KindAnswer, m.Customer, other)},
		"a mention wins":                 {m.Customer, "When?" + at(m.Staff), append(to(KindQuestion, m.Lead), to(KindMention, m.Staff)...)},
		"of an admin who isn't member":   {m.Customer, at(m.Admin), append(to(KindMention, m.Admin), to(KindQuestion, m.Lead, m.Staff)...)},
		"twice":                          {m.Staff, at(m.Customer) + at(m.Customer), append(to(KindMention, m.Customer), to(KindAnswer, other)...)},
		"of oneself":                     {m.Staff, at(m.Staff), to(KindAnswer, m.Customer, other)},
		"of a stranger":                  {m.Staff, at(m.Outsider) + at(1<<40), to(KindAnswer, m.Customer, other)},
		"of somebody deactivated":        {m.Staff, at(gone), to(KindAnswer, m.Customer, other)},
		"in code it is none":             {m.Staff, "`" + at(m.Lead) + "`", to(KindAnswer, m.Customer, other)},
		"of staff by staff in an answer": {m.Staff, at(m.Lead), append(to(KindMention, m.Lead), to(KindAnswer, m.Customer, other)...)},
	} {
		t.Run(name, func(t *testing.T) {
			said := post(t, s, tt.author, talk, tt.body)
			got := told(t, s, said.ID)
			slices.Sort(tt.want)
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotification(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "Windows")
	said := post(t, s, m.Customer, talk, "Which **blue** is\n\n> `it`, @[Stan]("+topic("person", m.Lead)+")?\n")
	var text string
	row := s.pool.QueryRow(testContext(t), `SELECT json_build_object('group', "group", 'link', link, 'data', data)::text
		FROM trunkline.notification WHERE user_id = $1`, user(m.Staff))
	if err := row.Scan(&text); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Group, Link string
		Data        noticeData
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if want := (noticeData{
		Actor: "Cleo", ActorID: m.Customer, Project: "Website", ProjectID: m.Project, Subject: "Windows",
		Excerpt: "Which blue is it, @Stan?", GroupTitle: "Website: Windows", Seq: said.Seq,
	}); got.Data != want {
		t.Errorf("data %+v, want %+v", got.Data, want)
	}
	if want := fmt.Sprintf("/projects/%d/chat/%d?message=1", m.Project, talk); got.Link != want || got.Group != topic("chat", talk) {
		t.Errorf("link %s, group %s", got.Link, got.Group)
	}
}

func TestExcerpt(t *testing.T) {
	files := []Attachment{{Name: "plan.pdf"}, {Name: "photo.png"}}
	for text, want := range map[string]string{
		"short": "short", "": "plan.pdf, photo.png",
		strings.Repeat("ä", 140):          strings.Repeat("ä", 140),
		strings.Repeat("ä", 141):          strings.Repeat("ä", 139) + "…",
		strings.Repeat("a", 138) + " bcd": strings.Repeat("a", 138) + "…",
	} {
		if got := excerpt(text, files); got != want || utf8.RuneCountInString(got) > 140 {
			t.Errorf("excerpt of %q: %q", text, got)
		}
	}
}

// Whoever a message mentions only since it was edited is told, and those who were told of it aren't told again.
func TestEditTellsWhoIsNew(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	at := func(person int64) string { return fmt.Sprintf("@[Somebody](person:%d) ", person) }
	said := post(t, s, m.Staff, talk, at(m.Customer))
	edit := func(body string, want ...string) {
		t.Helper()
		if _, err := s.EditMessage(ctx, m.Staff, said.ID, body, nil); err != nil {
			t.Fatal(err)
		}
		got := told(t, s, said.ID)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", body, diff)
		}
	}
	customer, lead := fmt.Sprint(m.Customer, ":mention"), fmt.Sprint(m.Lead, ":mention")
	edit(at(m.Customer)+"!", customer)
	edit(at(m.Customer)+at(m.Lead)+at(m.Outsider), customer, lead)
	edit("nobody", customer, lead)
	edit(at(m.Lead), customer, lead)
}
