package mail_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/inbox"
)

func TestTemplatesThatAreWrong(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       string
	}{
		"syntax":                {"digest.html.tmpl", "<p>\n<b>{{.Site}</b>", `mail template digest.html.tmpl:2: bad character U+007D '}'`},
		"unclosed":              {"digest.txt.tmpl", "a\n{{range .Groups}}\nb", "mail template digest.txt.tmpl:3: unexpected EOF"},
		"no such function":      {"subject.txt.tmpl", "\n{{shout .Site}}", `mail template subject.txt.tmpl:2: function "shout" not defined`},
		"no such field":         {"digest.html.tmpl", "<p>\n\n{{.Sight}}", "mail template digest.html.tmpl:3:2: executing \"digest.html.tmpl\" at <.Sight>: can't evaluate field Sight"},
		"no such field of item": {"digest.txt.tmpl", "{{range .Groups}}\n{{range .Items}}{{.Author}}{{end}}{{end}}", "digest.txt.tmpl:2:18: executing"},
		"in a branch":           {"digest.txt.tmpl", "x{{range .Groups}}{{with .MoreText}}\n{{.Nope}}{{end}}{{end}}", "digest.txt.tmpl:2:2"},
		"without links":         {"digest.txt.tmpl", "x{{if not .InboxURL}}\n{{.Nope}}{{end}}", "digest.txt.tmpl:2:2"},
		"without content":       {"digest.txt.tmpl", "x{{if .NoContent}}\n{{.Nope}}{{end}}", "digest.txt.tmpl:2:2"},
		"without a name":        {"digest.txt.tmpl", "x{{if not .Name}}\n{{.Nope}}{{end}}", "digest.txt.tmpl:2:2"},
		"with kinds":            {"digest.txt.tmpl", "x{{range .Kinds}}\n{{.Nope}}{{end}}", "digest.txt.tmpl:2:2"},
		"items that are few":    {"digest.txt.tmpl", "{{(index .Groups 3).Title}}", "digest.txt.tmpl:1:"},
		"unsafe context":        {"digest.html.tmpl", "<p>\n<a href={{if .Name}}\"x{{else}}y\"{{end}}>", `digest.html.tmpl:2: "\"" in unquoted attr`},
		"unsafe script":         {"digest.html.tmpl", "<p>{{.Site}}\n{{if .Name}}<b>\n\n{{end}}\n\n<i\n  title=a'b>", "digest.html.tmpl:7: \"'\" in unquoted attr"},
		"branches that differ":  {"digest.html.tmpl", "<p>\n{{if .Name}}<a href=\"{{end}}", "digest.html.tmpl:2:5: {{if}} branches end in different contexts"},
		"open tag":              {"digest.html.tmpl", "<p>\n<a href=\"\n\n", "digest.html.tmpl:2: ends in a non-text context"},
		"no subject":            {"subject.txt.tmpl", "{{if gt .Count 1}}{{.Summary}}{{end}}", "subject.txt.tmpl: nothing comes out of it, for 1 items"},
		"no HTML":               {"digest.de.html.tmpl", " \n", "digest.de.html.tmpl: nothing comes out of it"},
		"too large":             {"digest.html.tmpl", strings.Repeat("<p>long</p>", 6000), "digest.html.tmpl: 66000 bytes come out of it for one item"},
		"far too large":         {"digest.html.tmpl", strings.Repeat("<p>long</p>", 40000), "digest.html.tmpl is over 256 kB"},
		"not UTF-8":             {"digest.html.tmpl", "\xff", "digest.html.tmpl is over 256 kB, or not UTF-8"},
		"another name":          {"digets.html.tmpl", "x", `mail template "digets.html.tmpl" has a name that nothing uses. The names are`},
		"subject of HTML":       {"subject.html.tmpl", "x", `has a name that nothing uses`},
		"no locale":             {"digest.deutsch-.txt.tmpl", "x", `is for "deutsch-", which is no locale`},
	} {
		o := options()
		o.Templates = fstest.MapFS{c.file: {Data: []byte(c.text)}}
		_, err := mail.New(o)
		if diff := cmp.Diff([]string{"templates"}, arguments(err)); diff != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

// Each template that is wrong is told of, once.
func TestAllTemplatesThatAreWrong(t *testing.T) {
	o := options()
	o.Templates = fstest.MapFS{
		"digest.html.tmpl": {Data: []byte("{{.A}}")}, "digest.de.html.tmpl": {Data: []byte("{{.B}}")}, "subject.txt.tmpl": {Data: []byte("{{.C}}")},
	}
	_, err := mail.New(o)
	if diff := cmp.Diff([]string{"templates", "templates", "templates"}, arguments(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestOwnTemplates(t *testing.T) {
	files := fstest.MapFS{
		"subject.txt.tmpl": {Data: []byte("\ufeff[{{.Site}}]\r\n\t{{.Summary}}\n")},
		"digest.txt.tmpl": {Data: []byte(`{{.Subject}} for {{.Name}}
{{range .Groups}}{{.Heading | rule "="}}
{{range .Items}}{{.CreatedAt.Format "2006"}} {{.Kind}} {{.Title}} by {{.Data.actor}}: {{index .Data "task.id"}}/{{index .Data "task.none"}}/{{.Data.none}}/{{.Data.flag}}
{{end}}{{end}}`)},
		"digest.html.tmpl": {Data: []byte(`<title>{{.Subject}}</title><style>b{color:{{.Name}}}</style><b onclick="f({{.Name}})" title={{.Name}}>{{.Name}}</b>
<a href="{{.Name}}">{{range .Groups}}{{range .Items}}{{.Data.actor}}{{end}}{{end}}</a><script>x = {{.Name}}</script>`)},
	}
	r := renderer(t, func(o *mail.Options) { o.Templates = files })
	d := digest(1)
	d.Recipient.Name = `javascript:alert("x")</style></script>{{.Site}}`
	d.Items[0].Data = []byte(`{"actor": "<i>Ben</i>\r\n", "task": {"id": 17.50}, "flag": true, "none": null, "list": [1]}`)
	m, _ := render(t, r, d)
	if got, want := m.get(t, "Subject"), "[Example Projects] Ben completed “Paint the door”"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	want := "[Example Projects] Ben completed “Paint the door” for\n" + d.Recipient.Name + "\n" +
		"=============\n2026 task.completed Task completed by <i>Ben</i>: 17.50///true\n"
	if diff := cmp.Diff(want, m.plain); diff != "" {
		t.Error(diff)
	}
	// Each place in HTML has its own way of escaping.
	want = `<title>[Example Projects] Ben completed “Paint the door”</title><style>b{color:ZgotmplZ}</style>` +
		`<b onclick="f(&#34;javascript:alert(\&#34;x\&#34;)\u003c/style\u003e\u003c/script\u003e{{.Site}}&#34;)" ` +
		`title=javascript:alert(&#34;x&#34;)&lt;/style&gt;&lt;/script&gt;{{.Site}}>javascript:alert(&#34;x&#34;)&lt;/style&gt;&lt;/script&gt;{{.Site}}</b>` + "\n" +
		`<a href="#ZgotmplZ">&lt;i&gt;Ben&lt;/i&gt;</a><script>x = "javascript:alert(\"x\")\u003c/style\u003e\u003c/script\u003e{{.Site}}"</script>`
	if diff := cmp.Diff(want, m.html); diff != "" {
		t.Error(diff)
	}
}

// What no sample has shown: the mail is made with the built-in template, and the log says why, but not for each mail.
func TestTemplateThatFailsLater(t *testing.T) {
	var log bytes.Buffer
	files := fstest.MapFS{
		"digest.html.tmpl": {Data: []byte("<h1>own</h1>{{if eq .Count 4}}{{slice .Name 1000}}{{end}}")},
		"digest.txt.tmpl":  {Data: []byte("own text{{if eq .Count 5}}{{index .Groups 1000}}{{end}}")},
		"subject.txt.tmpl": {Data: []byte("{{if eq .Count 6}}\n{{else}}own subject{{end}}")},
	}
	r := renderer(t, func(o *mail.Options) {
		o.Templates, o.Logger = files, slog.New(slog.NewTextHandler(&log, nil))
	})
	for _, c := range []struct {
		n                  int
		html, text, header string
		logged             string
	}{
		{4, `<html lang="en"`, "own text", "own subject", "template=digest.html.tmpl"},
		{5, "<h1>own", "Hello Ann Lee,", "own subject", "template=digest.txt.tmpl"},
		{6, "<h1>own", "own text", "Ben completed", "template=subject.txt.tmpl"},
		{2, "<h1>own", "own text", "own subject", ""},
	} {
		for again := range 3 {
			log.Reset()
			m, _ := render(t, r, digest(c.n))
			if !strings.Contains(m.html, c.html) || !strings.HasPrefix(m.plain, c.text) || !strings.HasPrefix(m.get(t, "Subject"), c.header) {
				t.Errorf("%d items: %q\n%s\n%.200s", c.n, m.get(t, "Subject"), m.plain, m.html)
			}
			if c.logged != "" && again == 0 != strings.Contains(log.String(), c.logged) || c.logged == "" && log.Len() > 0 {
				t.Errorf("%d items, mail %d: logged %q", c.n, again, log.String())
			}
		}
	}
}

// A site's template that makes too much of what there is gives way as well.
func TestTemplateThatGrowsTooLarge(t *testing.T) {
	var log bytes.Buffer
	r := renderer(t, func(o *mail.Options) {
		o.Templates = fstest.MapFS{"digest.html.tmpl": {Data: []byte("own{{if eq .Count 4}}" + strings.Repeat("long ", 30000) + "{{end}}")}}
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	m, e := render(t, r, digest(4))
	if len(e.Data) > mail.MostBytes || strings.Count(m.html, `<li class="item"`) != 4 || !strings.Contains(log.String(), "larger than") {
		t.Errorf("%d bytes, logged %s", len(e.Data), log.String())
	}
}

// Items of which hardly anything is known still make a mail.
func TestEmptyItems(t *testing.T) {
	d := digest(1)
	d.Items = []inbox.Item{{}, {Group: ptr("\u202e"), Kind: "\x00"}}
	d.Kinds = nil
	m, _ := render(t, renderer(t, nil), d)
	if m.get(t, "Subject") != "… and 1 more" {
		t.Errorf("%q\n%s", m.get(t, "Subject"), m.plain)
	}
}
