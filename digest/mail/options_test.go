package mail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

// arguments are those that an error of New is about.
func arguments(err error) []string {
	var found []string
	var bad *trunkline.ArgumentError
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			found = append(found, arguments(one)...)
		}
	} else if errors.As(err, &bad) {
		found = append(found, bad.Argument)
	}
	slices.Sort(found)
	return found
}

func TestOptionsThatAreWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mail.Options)
		want   string // argument: text
	}{
		"no site":                 {func(o *mail.Options) { o.Site = "" }, `site: the name of the site, ""`},
		"site of two lines":       {func(o *mail.Options) { o.Site = "A\nB" }, `site: the name of the site, "A\nB"`},
		"no sender":               {func(o *mail.Options) { o.From = "" }, `from: the from address ""`},
		"sender without domain":   {func(o *mail.Options) { o.From = "projects" }, `from: the from address "projects" is none`},
		"two senders":             {func(o *mail.Options) { o.From = "a@example.org, b@example.org" }, `from: the from address "a@example.org, b@`},
		"header in the sender":    {func(o *mail.Options) { o.From = "a@example.org\r\nBcc: b@example.org" }, `from: the from address`},
		"reply to nobody":         {func(o *mail.Options) { o.ReplyTo = "help" }, `reply-to: the reply-to address "help" is none`},
		"relative public URL":     {func(o *mail.Options) { o.PublicURL = "example.org" }, `public-url: the public url "example.org" is not`},
		"public URL of a file":    {func(o *mail.Options) { o.PublicURL = "file:///x" }, `public-url:`},
		"public URL with a query": {func(o *mail.Options) { o.PublicURL = "https://example.org/?x=1" }, `public-url:`},
		"public URL with a user":  {func(o *mail.Options) { o.PublicURL = "https://a:b@example.org" }, `public-url:`},
		"public URL of two lines": {func(o *mail.Options) { o.PublicURL = "https://example.org\r\nX: y" }, `public-url:`},
		"inbox nowhere":           {func(o *mail.Options) { o.InboxURL = "inbox" }, `inbox-url: the inbox url "inbox" leads nowhere`},
		"inbox without a site":    {func(o *mail.Options) { o.PublicURL, o.PreferencesURL = "", "" }, `inbox-url: the inbox url "/inbox" leads nowhere. Without a public URL`},
		"preferences in script":   {func(o *mail.Options) { o.PreferencesURL = "javascript:x" }, `preferences-url:`},
		"unsubscribe by query":    {func(o *mail.Options) { o.UnsubscribeURL = "https://example.org/?u=" }, `unsubscribe-url:`},
		"unsubscribe by mail":     {func(o *mail.Options) { o.UnsubscribeURL = "mailto:x@example.org" }, `unsubscribe-url:`},
		"list without a dot":      {func(o *mail.Options) { o.ListID = "projects" }, `list-id: the List-Id "projects"`},
		"header in the list":      {func(o *mail.Options) { o.ListID = "a\r\nX: y <a.example.org>" }, `list-id:`},
		"feedback with spaces":    {func(o *mail.Options) { o.FeedbackID = "a b" }, `feedback-id:`},
		"header in feedback":      {func(o *mail.Options) { o.FeedbackID = "a\r\nX:y" }, `feedback-id:`},
		"bounces nowhere":         {func(o *mail.Options) { o.Bounces = "bounces" }, `bounces: the address "bounces" has no @`},
		"bounces too long":        {func(o *mail.Options) { o.Bounces = strings.Repeat("b", 30) + "{token}@example.org" }, `bounces: the bounce address "bbb`},
		"locale of words":         {func(o *mail.Options) { o.Locale = "Deutsch, bitte" }, `locale: the locale "Deutsch, bitte" is not one`},
		"locale without words":    {func(o *mail.Options) { o.Locale = "fr-CA" }, `locale: there are neither words nor templates for the locale fr-CA`},
		"too few":                 {func(o *mail.Options) { o.Most = -1 }, `most: -1 items can't be shown`},
		"too many":                {func(o *mail.Options) { o.PerGroup = 101 }, `per-group: 101 items of a group`},
		"no folder":               {func(o *mail.Options) { o.Templates = noFolder{} }, `templates: the folder of mail templates can't be read`},
		"key without domain":      {func(o *mail.Options) { o.DKIM = []mail.DKIM{{Selector: "a", Key: ed25519Key}} }, `dkim-domain: the DKIM domain ""`},
		"key without selector":    {func(o *mail.Options) { o.DKIM = []mail.DKIM{{Domain: "example.org", Key: ed25519Key}} }, `dkim-selector: the DKIM selector ""`},
		"tag in the domain": {func(o *mail.Options) {
			o.DKIM = []mail.DKIM{{Domain: "example.org; t=1", Selector: "a", Key: ed25519Key}}
		}, `dkim-domain:`},
		"no key": {func(o *mail.Options) { o.DKIM = []mail.DKIM{{Domain: "example.org", Selector: "a"}} }, `dkim-key: there is no DKIM key`},
		"key of a wrong kind": {func(o *mail.Options) {
			key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			o.DKIM = []mail.DKIM{{Domain: "example.org", Selector: "a", Key: key}}
		}, `dkim-key: the DKIM key is of the type *ecdsa.PublicKey`},
	} {
		o := options()
		c.change(&o)
		_, err := mail.New(o)
		argument, text, _ := strings.Cut(c.want, ": ")
		if diff := cmp.Diff([]string{strings.TrimSuffix(argument, ":")}, arguments(err)); diff != "" || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

type noFolder struct{ fstest.MapFS }

func (noFolder) ReadDir(string) ([]fs.DirEntry, error) { return nil, errors.New("no such folder") }

// Who starts a server wants to know all that is wrong, not the first of it again and again.
func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	_, err := mail.New(mail.Options{
		From: "x", PublicURL: "y", ListID: "z", Bounces: "b", Locale: "!", FeedbackID: " ", Most: 999, DKIM: []mail.DKIM{{}, {}},
		Templates: fstest.MapFS{"digest.html.tmpl": {Data: []byte("{{.Site")}, "digest.text.tmpl": {}},
	})
	want := []string{"bounces", "dkim-domain", "dkim-domain", "feedback-id", "from", "list-id", "locale", "most", "public-url", "site", "templates", "templates"}
	if diff := cmp.Diff(want, arguments(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestURLsAreJoined(t *testing.T) {
	d := digest(1)
	for name, c := range map[string]struct {
		change func(*mail.Options)
		want   []string // in the text part
		never  string
	}{
		"site below a path": {
			func(o *mail.Options) { o.PublicURL = "https://example.org/app/" },
			[]string{"https://example.org/app/tasks/400", "https://example.org/app/inbox", "https://example.org/app/settings/mail", "https://example.org/app/v1/unsubscribe/5sQ"},
			"app//",
		},
		"pages elsewhere": {
			func(o *mail.Options) {
				o.PublicURL, o.InboxURL, o.PreferencesURL = "http://localhost:8080", "", "https://id.example.org/me"
				o.UnsubscribeURL = "https://live.example.org/v1/unsubscribe/"
			},
			[]string{"\nhttp://localhost:8080\n", "https://id.example.org/me", "https://live.example.org/v1/unsubscribe/5sQ"},
			"unsubscribe//",
		},
		"no site at all": {
			func(o *mail.Options) { o.PublicURL, o.InboxURL, o.PreferencesURL = "", "", "" },
			[]string{"Paint the door"},
			"http",
		},
		"unsubscribing alone": {
			func(o *mail.Options) {
				o.PublicURL, o.InboxURL, o.PreferencesURL, o.UnsubscribeURL = "", "", "", "https://live.example.org/u"
			},
			[]string{"\nhttps://live.example.org/u/5sQmFh0Yd3o9jVbT2uLwXw\n"},
			"tasks",
		},
	} {
		r := renderer(t, c.change)
		m, _ := render(t, r, d)
		for _, want := range c.want {
			if !strings.Contains(m.plain, want) {
				t.Errorf("%s: no %q in\n%s", name, want, m.plain)
			}
		}
		if strings.Contains(m.plain, c.never) || strings.Contains(m.html, c.never) {
			t.Errorf("%s: %q in\n%s", name, c.never, m.plain)
		}
		if _, has := m.header["List-Unsubscribe"]; has != strings.Contains(m.plain, "5sQ") {
			t.Errorf("%s: %v", name, m.header)
		}
	}
}

func TestNoContent(t *testing.T) {
	r := renderer(t, func(o *mail.Options) { o.NoContent = true })
	for name, d := range digests() {
		for i := range d.Items {
			d.Items[i].Text += " SECRET"
		}
		m, e := render(t, r, d)
		for _, secret := range []string{"SECRET", "Ben ", "Ben_", "Kitchen", "project", "Task", "task", "completed", "kind=", "tasks/"} {
			for part, text := range map[string]string{"header": strings.ReplaceAll(string(e.Data[:900]), "projects", ""), "text": strings.ReplaceAll(m.plain, "projects", ""), "HTML": strings.ReplaceAll(m.html, "projects", "")} {
				if strings.Contains(text, secret) {
					t.Errorf("%s: %q is in the %s:\n%s", name, secret, part, text)
				}
			}
		}
		if !strings.Contains(m.plain, "unread notification") && !strings.Contains(m.plain, "ungelesene Benachrichtigung") || !strings.Contains(m.plain, "https://projects.example.org/inbox") {
			t.Errorf("%s:\n%s", name, m.plain)
		}
	}
}

func TestHowManyAreShown(t *testing.T) {
	for _, c := range []struct{ perGroup, most, items, shown int }{{0, 0, 200, 15}, {0, 0, 3, 3}, {1, 0, 200, 3}, {100, 7, 200, 7}, {100, 200, 200, 200}, {1, 1, 1, 1}} {
		r := renderer(t, func(o *mail.Options) { o.PerGroup, o.Most = c.perGroup, c.most })
		m, _ := render(t, r, digest(c.items))
		if got := strings.Count(m.plain, "\n* "); got != c.shown {
			t.Errorf("%+v: %d are shown", c, got)
		}
		// What isn't shown is counted: in its group, or below.
		if got := strings.Count(m.html, `<li class="item"`); got != c.shown {
			t.Errorf("%+v: %d are shown in HTML", c, got)
		}
	}
	// Items beyond those that Shown names need no texts and no data: the mail is the same.
	for _, o := range [][2]int{{0, 0}, {2, 5}, {100, 4}, {3, 200}} {
		r := renderer(t, func(opts *mail.Options) { opts.PerGroup, opts.Most = o[0], o[1] })
		perGroup, most := r.Shown()
		d, bare := digest(40), digest(40)
		shown := make(map[string]int)
		for i := range bare.Items {
			item := &bare.Items[i]
			if shown[*item.Group] < perGroup && shown[""] < most {
				shown[*item.Group]++
				shown[""]++
				continue
			}
			item.Text, item.Data, item.Link = "", nil, nil
		}
		_, want := render(t, r, d)
		_, got := render(t, r, bare)
		if diff := cmp.Diff(string(want.Data), string(got.Data)); diff != "" {
			t.Errorf("%v: %s", o, diff)
		}
	}
	if perGroup, most := renderer(t, func(o *mail.Options) { o.NoContent = true }).Shown(); perGroup != 0 || most != 0 {
		t.Errorf("without content %d and %d are shown", perGroup, most)
	}

	// More groups than items are shown: those that aren't are counted together.
	d := digest(60)
	for i := range d.Items {
		d.Items[i].Group = ptr(strings.Repeat("g", 1+i%30))
	}
	m, _ := render(t, renderer(t, nil), d)
	if got := strings.Count(m.plain, "\n* "); got != 20 {
		t.Errorf("%d are shown", got)
	}
	// 20 groups of 2 show one each, 10 groups of 2 none.
	if strings.Count(m.plain, "  and 1 more") != 20 || !strings.Contains(m.plain, "\nand 20 more\n") {
		t.Errorf("\n%s", m.plain)
	}
}

// What a group is called: what the digest says, else what its newest item says, else its name.
func TestGroupTitles(t *testing.T) {
	d := digest(6)
	for i := range d.Items {
		d.Items[i].Group, d.Items[i].Data = ptr("g"+string(rune('0'+i))), nil
	}
	d.Groups = map[string]string{"g0": "From the digest", "g1": " \n"}
	d.Items[0].Data = []byte(`{"group_title": "not this one"}`)
	d.Items[1].Data = []byte(`{"group_title": "From the item"}`)
	d.Items[2].Data = []byte(`{"group_title": {"a": 1}}`)
	d.Items[3].Data = []byte(`{"group_title": "  "}`)
	d.Items[4].Data = []byte(`not JSON "group_title"`)
	d.Items[5].Group = nil
	m, _ := render(t, renderer(t, nil), d)
	var got []string
	lines := strings.Split(m.plain, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "---") {
			got = append(got, lines[i-1])
		}
	}
	if diff := cmp.Diff([]string{"From the digest (1)", "From the item (1)", "g2 (1)", "g3 (1)", "g4 (1)", "Other (1)"}, got); diff != "" {
		t.Error(diff)
	}
}
