package mail_test

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
)

// Whatever a digest holds, a mail comes out that is one: with the fields that it should have, of the tags that are in the template,
// within the bounds, the same each time.
func FuzzRender(f *testing.F) {
	f.Add("Ann Lee", "Ben completed “Paint the door”", "project:7", "/tasks/7", `{"group_title": "Kitchen"}`, "de-AT", 14, false)
	f.Add(hostile, hostile, hostile, hostile, hostile, hostile, 3, false)
	f.Add("", "", "", "", "", "", 1, true)
	f.Add("=?utf-8?q?x?=", strings.Repeat("ü ", 300), "\u202e", "https://ü.example/?q='\"<>", "{", "zh_Hant_TW", 300, false)
	f.Add("a\r\n.\r\n", "--\r\n", "{{.}}", "javascript:x", `{"group_title": "\u0000\ud800"}`, "x", 25, true)
	plain, err := mail.New(options())
	if err != nil {
		f.Fatal(err)
	}
	o := options()
	o.NoContent = true
	silent, err := mail.New(o)
	if err != nil {
		f.Fatal(err)
	}
	tag := regexp.MustCompile(`<!?/?([a-z0-9]*)`)
	allowed := strings.Fields("a body br div doctype h1 h2 head html li meta p span style table td title tr ul")
	f.Fuzz(func(t *testing.T, name, text, group, link, data, locale string, n int, quiet bool) {
		d := digest(min(max(n, 1), 60))
		d.Recipient.Name, d.Recipient.Locale, d.Recipient.UserID = name, locale, name
		d.Kinds = map[string]string{text: group}
		d.Groups = map[string]string{"project:7": name}
		for i := range d.Items {
			item := &d.Items[i]
			switch i % 3 {
			case 0:
				item.Text, item.Group, item.Link, item.Data = text, &group, &link, []byte(data)
			case 1:
				item.Kind, item.Title = text, name
			case 2:
				item.Text, item.CreatedAt = strings.Repeat(text, 3), time.Unix(int64(n)*1e7, 0)
			}
		}
		r := plain
		if quiet {
			r = silent
		}
		e, said, err := r.Render(d)
		if err != nil {
			t.Fatal(err)
		}
		again, _, _ := r.Render(d)
		if !bytes.Equal(e.Data, again.Data) {
			t.Fatalf("another mail:\n%s\n%s", e.Data, again.Data)
		}
		if len(e.Data) > mail.MostBytes {
			t.Fatalf("%d bytes", len(e.Data))
		}
		m := parsed(t, e.Data)
		if m.get(t, "Subject") != said.Subject || said.Subject == "" || said.Subject != mail.Line(said.Subject, 150) {
			t.Fatalf("the subject is %q, Render says %q", m.get(t, "Subject"), said.Subject)
		}
		for _, field := range m.fields {
			if !slices.Contains(always, field) && !slices.Contains([]string{"In-Reply-To", "References", "List-Unsubscribe", "List-Unsubscribe-Post"}, field) {
				t.Fatalf("a field %s", field)
			}
		}
		if to, err := m.header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != "ann@example.com" {
			t.Fatalf("to %v, %v", to, err)
		}
		for _, found := range tag.FindAllStringSubmatch(m.html, -1) {
			if !slices.Contains(allowed, found[1]) {
				t.Fatalf("a tag %q in\n%s", found[0], m.html)
			}
		}
		for _, url := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(m.html, -1) {
			if !strings.HasPrefix(url[1], "https://") && !strings.HasPrefix(url[1], "http://") {
				t.Fatalf("a link to %s", url[1])
			}
		}
		if strings.ContainsAny(m.plain+m.html, "\x00\u202e\u2066") {
			t.Fatalf("hidden characters in\n%q", m.plain)
		}
		if err := mail.Both(r, d); err != nil {
			t.Fatal(err)
		}
	})
}
