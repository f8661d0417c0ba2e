package mail

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"unicode/utf8"

	"github.com/trunkline/trunkline"
)

//go:embed templates/*.tmpl templates/letter/*.tmpl
var builtin embed.FS

// The files of templates. A locale stands before the type: digest.de.html.tmpl.
const (
	htmlFile    = "digest.html.tmpl"
	plainFile   = "digest.txt.tmpl"
	subjectFile = "subject.txt.tmpl"
)

var templateName = regexp.MustCompile(`^(digest|subject)(?:\.([A-Za-z0-9-]+))?\.(html|txt)\.tmpl$`)

// mostTemplate is how large a file of a template may be, in bytes. Beyond, no mail of it would be within what programs show.
const mostTemplate = 256 << 10

// A template makes one part of a mail.
type template struct {
	name string // of its file
	own  bool   // the site's, not ours
	// source is its text.
	source string
	exec   interface {
		Execute(w io.Writer, content any) error
	}
}

// run executes it. An error begins with file and line.
func (t *template) run(b *bytes.Buffer, c *Content) error {
	err := t.exec.Execute(b, c)
	if err == nil {
		return nil
	}
	var escaping *htmltemplate.Error
	if errors.As(err, &escaping) && escaping.Node == nil && escaping.Line == 0 {
		return fmt.Errorf("%s:%d: %s", t.name, locate(t.source, escaping.ErrorCode), escaping.Description)
	}
	return errors.New(explain(err))
}

// locate finds the line of an error in HTML that came without one: the first after which there is such an error even if nothing
// follows.
func locate(source string, code htmltemplate.ErrorCode) int {
	parsed, err := htmltemplate.New("").Parse(source)
	if err != nil || code == htmltemplate.ErrEndContext { // what is open at the end is open before that as well
		return strings.Count(strings.TrimRight(source, "\n"), "\n") + 1
	}
	tree := parsed.Tree
	for i, node := range tree.Root.Nodes {
		text, ok := node.(*parse.TextNode)
		if !ok {
			continue
		}
		for end := range len(text.Text) + 1 {
			if end < len(text.Text) && text.Text[end] != '\n' {
				continue
			}
			start := tree.Copy()
			start.Root.Nodes = start.Root.Nodes[:i+1]
			start.Root.Nodes[i].(*parse.TextNode).Text = text.Text[:end]
			html, err := htmltemplate.New("").AddParseTree("", start)
			if err == nil {
				err = html.Execute(io.Discard, new(Content))
			}
			var found *htmltemplate.Error
			if errors.As(err, &found) && found.ErrorCode == code {
				return strings.Count(source[:int(text.Pos)+end], "\n") + 1
			}
		}
	}
	return 1
}

// speed compiles a template if that can be done.
func (t *template) speed() error {
	var tree *parse.Tree
	switch exec := t.exec.(type) {
	case *htmltemplate.Template:
		// It escapes when it is executed for the first time.
		if err := exec.Execute(io.Discard, new(Content)); err != nil {
			return err
		}
		tree = exec.Tree
	case *texttemplate.Template:
		tree = exec.Tree
	}
	compiled, err := compile(tree)
	if err == nil {
		t.exec = compiled
	}
	return err
}

// A variant is what is used for one locale.
type variant struct {
	language             *language
	words                Words // those that no digest changes
	html, plain, subject *template
}

// templates are all files that were read: by name without locale, then by locale, where "" is the file without one.
type templates map[string]map[string]*template

// builtinFiles are the files of the built-in templates.
func builtinFiles() fs.FS {
	files, err := fs.Sub(builtin, "templates")
	if err != nil {
		panic(err) // the name is no path
	}
	return files
}

// load reads and parses the built-in templates, then those of a site.
func load(own fs.FS) (ours, theirs templates, err error) {
	if ours, err = loadFrom(builtinFiles(), false); err != nil || own == nil {
		return ours, templates{}, err
	}
	theirs, err = loadFrom(own, true)
	return ours, theirs, err
}

func loadFrom(files fs.FS, own bool) (templates, error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, refused(fmt.Sprintf("the folder of mail templates can't be read: %v", err),
			"Give one that exists and that this program may read")
	}
	found := make(templates)
	var problems []error
	for _, entry := range entries {
		file := entry.Name()
		if entry.IsDir() || !strings.HasSuffix(file, ".tmpl") {
			continue
		}
		t, name, locale, err := parseFile(files, file)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if found[name] == nil {
			found[name] = make(map[string]*template)
		}
		if t.own = own; !own {
			_ = t.speed() // what can't be compiled is executed
		}
		found[name][locale] = t
	}
	return found, errors.Join(problems...)
}

// parseFile reads one template.
func parseFile(files fs.FS, file string) (t *template, name, locale string, err error) {
	const names = "The names are digest.html.tmpl, digest.txt.tmpl and subject.txt.tmpl, or with a locale digest.de.html.tmpl"
	match := templateName.FindStringSubmatch(file)
	if match == nil || match[1] == "subject" && match[3] == "html" {
		return nil, "", "", refused(fmt.Sprintf("the mail template %q has a name that nothing uses", file), names)
	}
	if locale = canonical(match[2]); locale == "" && match[2] != "" {
		return nil, "", "", refused(fmt.Sprintf("the mail template %q is for %q, which is no locale", file, match[2]), names)
	}
	name = match[1] + "." + match[3] + ".tmpl"
	text, err := fs.ReadFile(files, file)
	if err != nil {
		return nil, "", "", refused(fmt.Sprintf("the mail template %s can't be read: %v", file, err), "Let this program read it")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if len(text) > mostTemplate || !utf8.Valid(text) {
		return nil, "", "", refused(fmt.Sprintf("the mail template %s is over %d kB, or not UTF-8", file, mostTemplate>>10),
			"Programs cut mails off at 100 kB: write less, as UTF-8")
	}
	t = &template{name: file, source: string(text)}
	if match[3] == "html" {
		t.exec, err = htmltemplate.New(file).Option("missingkey=zero").Parse(t.source)
	} else {
		t.exec, err = texttemplate.New(file).Option("missingkey=zero").Funcs(texttemplate.FuncMap{"rule": rule}).Parse(t.source)
	}
	if err != nil {
		return nil, "", "", failing(explain(err))
	}
	return t, name, locale, nil
}

// explain leaves out of an error of a template whose it is: what remains begins with file and line.
func explain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"template: ", "html/template:", "html/template: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return strings.TrimSpace(text)
}

func failing(explained string) error {
	return refused("mail template "+explained, "What templates are given is in docs/mail.md")
}

func refused(problem, fix string) error {
	return &trunkline.ArgumentError{Argument: "templates", Problem: problem, Fix: fix}
}

// variants puts together what is used for each locale that there are words or templates for.
func variants(s *settings, ours, theirs templates) (map[string]*variant, error) {
	tags := []string{s.locale}
	for tag := range languages {
		tags = append(tags, tag)
	}
	for _, byLocale := range theirs {
		for tag := range byLocale {
			if tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	slices.Sort(tags)
	found := make(map[string]*variant)
	for _, tag := range slices.Compact(tags) {
		v := &variant{
			html: choose(tag, htmlFile, ours, theirs), plain: choose(tag, plainFile, ours, theirs),
			subject: choose(tag, subjectFile, ours, theirs),
		}
		l, known := words(tag)
		if !known && !v.html.own && !v.plain.own && !v.subject.own {
			return nil, &trunkline.ArgumentError{
				Argument: "locale", Problem: fmt.Sprintf("there are neither words nor templates for the locale %s", tag),
				Fix: "Choose en or de, or give templates that say everything in that language",
			}
		}
		if !known {
			if l, known = words(s.locale); !known {
				l = languages["en"]
			}
			// Nobody can tell what its months are called.
			neutral := *l
			neutral.when = whenAnywhere
			l = &neutral
		}
		v.language = l
		v.words = Words{Other: l.other, Open: l.open(s.site), Why: l.why(s.site), Preferences: l.preferences, StopAll: l.stopAll}
		found[tag] = v
	}
	return found, nil
}

// words finds the language of a locale, or of a wider one.
func words(tag string) (l *language, known bool) {
	for ; tag != ""; tag = parent(tag) {
		if l := languages[tag]; l != nil {
			return l, true
		}
	}
	return nil, false
}

// choose finds a file's template for a locale: the site's own for it or a wider one, the site's own for all, ours.
func choose(tag, file string, ours, theirs templates) *template {
	for ; tag != ""; tag = parent(tag) {
		if t := theirs[file][tag]; t != nil {
			return t
		}
	}
	if t := theirs[file][""]; t != nil {
		return t
	}
	return ours[file][""]
}
