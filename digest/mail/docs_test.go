package mail_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trunkline/trunkline/digest/mail"
)

// documented is the digest of the mail that docs/mail.md shows.
func documented() mail.Digest {
	d := digest(14)
	kitchen, garden := "project:7", "project:12"
	for i := range d.Items {
		item := &d.Items[i]
		if item.Group, item.Data = &kitchen, []byte(`{"group_title": "Kitchen renovation", "actor": "Ben"}`); i == 2 || i == 5 {
			item.Group, item.Data = &garden, []byte(`{"group_title": "Garden & terrace", "actor": "Ben"}`)
		}
		if item.Kind == "task.overdue" || item.Kind == "file.added" {
			item.Kind, item.Title = "task.completed", "Task completed"
		}
	}
	return d
}

func documentation(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/mail.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the documentation shows is what comes out.
func TestDocumentedMail(t *testing.T) {
	r := renderer(t, nil)
	m, e := render(t, r, documented())
	head, _, _ := strings.Cut(string(e.Data), "\r\n\r\n")
	d := documented()
	d.Recipient.Locale = "de"
	german, _ := render(t, r, d)
	silent, _ := render(t, renderer(t, func(o *mail.Options) { o.NoContent = true }), documented())
	text := documentation(t)
	for name, want := range map[string]string{
		"header": strings.ReplaceAll(head, "\r\n", "\n"), "text": m.plain, "German": german.get(t, "Subject"),
		"without content": silent.plain,
	} {
		if !strings.Contains(text, strings.TrimSpace(want)) {
			t.Errorf("docs/mail.md doesn't show the %s:\n%s", name, want)
		}
	}
	_, err := mail.New(mail.Options{
		Site: "Example Projects", From: "projects@example.org",
		Templates: fstest.MapFS{"digest.html.tmpl": {Data: []byte("<p>\n\n{{.Sight}}")}},
	})
	if !strings.Contains(text, err.Error()) {
		t.Errorf("docs/mail.md doesn't show the error %v", err)
	}
}

// Templates in the documentation work: each is a block of its own, after a line with its name.
func TestDocumentedTemplates(t *testing.T) {
	files := fstest.MapFS{}
	blocks := regexp.MustCompile("(?s)`([a-z.]+\\.tmpl)`:\n\n```gotemplate\n(.*?)```")
	for _, block := range blocks.FindAllStringSubmatch(documentation(t), -1) {
		files[block[1]] = &fstest.MapFile{Data: []byte(block[2])}
	}
	if len(files) < 2 {
		t.Fatalf("only %d templates in docs/mail.md", len(files))
	}
	m, _ := render(t, renderer(t, func(o *mail.Options) { o.Templates = files }), documented())
	if m.get(t, "Subject") != "[Example Projects] Ben completed “Paint the door” and 13 more" ||
		!strings.Contains(m.plain, "* Ben: Ben completed “Paint the door”") {
		t.Errorf("%s\n%s", m.get(t, "Subject"), m.plain)
	}
}

// Whatever templates are given is in the documentation.
func TestDocumentedFields(t *testing.T) {
	text := documentation(t)
	for _, typ := range []reflect.Type{
		reflect.TypeFor[mail.Content](), reflect.TypeFor[mail.Group](), reflect.TypeFor[mail.Item](), reflect.TypeFor[mail.Kind](),
		reflect.TypeFor[mail.Words](), reflect.TypeFor[mail.Options](),
	} {
		for field := range typ.Fields() {
			name := "." + field.Name
			if typ == reflect.TypeFor[mail.Options]() {
				name = field.Name
			}
			if field.IsExported() && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("docs/mail.md says nothing of %s's `%s`", typ, name)
			}
		}
	}
}
