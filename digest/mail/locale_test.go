package mail_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/digest/mail"
)

func TestCanonicalLocales(t *testing.T) {
	for in, want := range map[string]string{
		"de": "de", "DE": "de", "de_AT": "de-AT", "de-at": "de-AT", "zh_hant_tw": "zh-Hant-TW", "en_US.UTF-8": "en-US", "sr@latin": "sr",
		"es-419": "es-419", "gsw": "gsw", "de-1996": "de-1996", "ca-valencia": "ca-valencia",
		"": "", "C": "", "POSIX": "", "x": "", "d e": "", "de--AT": "", "de-": "", "../de": "", "de\n": "", "<b>": "", "dé": "", strings.Repeat("de-", 20) + "x": "",
	} {
		if got := mail.Canonical(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// A recipient's locale, a wider one, the site's, English: the first that there is something for.
func TestLocaleChain(t *testing.T) {
	for _, c := range []struct{ site, recipient, want, greeting string }{
		{"", "", "en", "Hello"},
		{"", "de", "de", "Hallo"},
		{"", "de-AT", "de-AT", "Hallo"},
		{"", "de_CH.UTF-8", "de-CH", "Hallo"},
		{"", "fr", "en", "Hello"},
		{"de", "", "de", "Hallo"},
		{"de-AT", "", "de-AT", "Hallo"},
		{"de", "fr-CA", "de", "Hallo"},
		{"de", "en-GB", "en-GB", "Hello"},
		{"de", "garbage!", "de", "Hallo"},
		{"de", "den", "de", "Hallo"},
		{"en-GB", "fr", "en-GB", "Hello"},
		{"en-GB", "en", "en", "Hello"},
		{"en-GB", "en-US", "en-US", "Hello"},
	} {
		r := renderer(t, func(o *mail.Options) { o.Locale = c.site })
		d := digest(2)
		d.Recipient.Locale = c.recipient
		m, _ := render(t, r, d)
		_, text, _ := r.Render(d)
		if text.Locale != c.want || !strings.HasPrefix(m.plain, c.greeting) || !strings.Contains(m.html, `<html lang="`+c.want+`" dir="ltr">`) {
			t.Errorf("%+v: %s\n%s", c, text.Locale, m.plain)
		}
	}
}

func TestPlurals(t *testing.T) {
	for _, c := range []struct {
		locale             string
		n                  int
		heading, more, sum string
	}{
		{"en", 1, "1 unread notification at Example", "and 1 more", "X and 1 more"},
		{"en", 2, "2 unread notifications at Example", "and 2 more", "X and 2 more"},
		{"en", 1234, "1,234 unread notifications at Example", "and 1,234 more", "X and 1,234 more"},
		{"en", 1000000, "1,000,000 unread notifications at Example", "and 1,000,000 more", "X and 1,000,000 more"},
		{"de", 1, "1 ungelesene Benachrichtigung bei Example", "und eine weitere", "X und eine weitere"},
		{"de", 2, "2 ungelesene Benachrichtigungen bei Example", "und 2 weitere", "X und 2 weitere"},
		{"de", 21, "21 ungelesene Benachrichtigungen bei Example", "und 21 weitere", "X und 21 weitere"},
		{"de", 12345, "12.345 ungelesene Benachrichtigungen bei Example", "und 12.345 weitere", "X und 12.345 weitere"},
	} {
		got := []string{mail.Heading(c.locale, c.n), mail.More(c.locale, c.n), mail.Summary(c.locale, "X", c.n)}
		if diff := cmp.Diff([]string{c.heading, c.more, c.sum}, got); diff != "" {
			t.Errorf("%s, %d: %s", c.locale, c.n, diff)
		}
	}
}

func TestSubjects(t *testing.T) {
	long := "Cara wrote: " + strings.Repeat("the quick brown fox jumps over the lazy dog ", 10)
	for _, c := range []struct {
		locale, text string
		n            int
		want         string
	}{
		{"en", "Ann completed “Paint the door”", 1, "Ann completed “Paint the door”"},
		{"en", "Ann completed “Paint the door”", 14, "Ann completed “Paint the door” and 13 more"},
		{"de", "Ann hat „Tür streichen“ erledigt", 14, "Ann hat „Tür streichen“ erledigt und 13 weitere"},
		{"de", "Ann hat „Tür streichen“ erledigt.", 2, "Ann hat „Tür streichen“ erledigt und eine weitere"},
		{"en", "Your export is ready.", 1, "Your export is ready."},
		{"en", "Your export is ready.", 3, "Your export is ready and 2 more"},
		{"en", "Are you there?", 3, "Are you there? and 2 more"},
		{"en", long, 3, "Cara wrote: the quick brown fox jumps over the lazy dog the quick brown fox jumps over the lazy dog… and 2 more"},
		{"en", "", 1, "Task completed"},
	} {
		d := digest(c.n)
		d.Recipient.Locale, d.Items[0].Text = c.locale, c.text
		if m, _ := render(t, renderer(t, nil), d); m.get(t, "Subject") != c.want {
			t.Errorf("%q, want %q", m.get(t, "Subject"), c.want)
		}
	}
}

// Templates can be for a locale of their own: what isn't there for it is looked for in wider ones, then among those for all.
func TestTemplatesOfLocales(t *testing.T) {
	files := fstest.MapFS{
		"digest.txt.tmpl":       {Data: []byte("for all, {{.Words.Open}}, {{range .Groups}}{{range .Items}}{{.Time}} {{end}}{{end}}")},
		"digest.de.txt.tmpl":    {Data: []byte("für de, {{.Words.Open}}")},
		"digest.de-AT.txt.tmpl": {Data: []byte("für de-AT, {{.Words.Open}}")},
		"digest.fr.txt.tmpl":    {Data: []byte("pour fr, {{range .Groups}}{{range .Items}}{{.Time}} {{end}}{{end}}")},
		"digest.ar.html.tmpl":   {Data: []byte(`<html lang="{{.Locale}}" dir="{{.Direction}}">`)},
		"subject.fr.txt.tmpl":   {Data: []byte("{{.Count}} nouvelles")},
		"notes.md":              {Data: []byte("{{")},
		"old":                   {Mode: 0o755 | 1<<31},
	}
	r := renderer(t, func(o *mail.Options) { o.Templates = files })
	for locale, want := range map[string][2]string{
		"en":    {"for all, Open Example Projects, Sun, Nov 22, 1:33 PM Sun, Nov 22, 1:33 PM Sun,\nNov 22, 1:33 PM\n", "Ben completed “Paint the door” and 2 more"},
		"it":    {"for all, Open Example Projects, Sun, Nov 22, 1:33 PM Sun, Nov 22, 1:33 PM Sun,\nNov 22, 1:33 PM\n", "Ben completed “Paint the door” and 2 more"},
		"de":    {"für de, Example Projects öffnen\n", "Ben completed “Paint the door” und 2 weitere"},
		"de-CH": {"für de, Example Projects öffnen\n", "Ben completed “Paint the door” und 2 weitere"},
		"de-AT": {"für de-AT, Example Projects öffnen\n", "Ben completed “Paint the door” und 2 weitere"},
		"fr":    {"pour fr, 2026-11-22 13:33 2026-11-22 13:33 2026-11-22 13:33\n", "3 nouvelles"},
		"fr-CA": {"pour fr, 2026-11-22 13:33 2026-11-22 13:33 2026-11-22 13:33\n", "3 nouvelles"},
	} {
		d := digest(3)
		d.Items[1].CreatedAt, d.Items[2].CreatedAt = d.Items[0].CreatedAt, d.Items[0].CreatedAt
		d.Recipient.Locale = locale
		m, _ := render(t, r, d)
		if diff := cmp.Diff(want, [2]string{m.plain, m.get(t, "Subject")}); diff != "" {
			t.Errorf("%s: %s", locale, diff)
		}
	}
	d := digest(1)
	d.Recipient.Locale = "ar-EG"
	if m, _ := render(t, r, d); !strings.Contains(m.html, `lang="ar-EG" dir="rtl"`) {
		t.Error(m.html)
	}
	// A site may have templates in its own language alone.
	r = renderer(t, func(o *mail.Options) {
		o.Locale, o.Templates = "fr", fstest.MapFS{"digest.txt.tmpl": {Data: []byte("bonjour")}}
	})
	if m, _ := render(t, r, digest(1)); !strings.HasPrefix(m.plain, "bonjour") {
		t.Error(m.plain)
	}
}
