package devmail

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed page.css
var style string

//go:embed page.html
var pages string

var (
	templates = template.Must(template.New("").Funcs(template.FuncMap{"at": at, "iso": iso, "addresses": addresses}).Parse(pages))
	styleHash = sha256.Sum256([]byte(style))
	// policy lets a page show itself and the mail in its frame, and nothing else.
	policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(styleHash[:]) +
		"'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// mailPolicy is for the HTML of mails, which others have written: it runs no script, sends no form, loads nothing from anywhere,
// and has an origin of its own. Its links open other windows.
const mailPolicy = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; " +
	"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

func at(t time.Time) string { return t.UTC().Format(time.DateTime) }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// addresses are those of a header without the names.
func addresses(header string) string {
	list, err := mail.ParseAddressList(header)
	if err != nil {
		return header
	}
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.Address
	}
	return strings.Join(texts, ", ")
}

// A page is what its template needs.
type page struct {
	Style   template.CSS
	Mails   []entry
	Refresh bool
	Dir     string
	Keep    int
	Mail    *message
	Source  string
	Show    string
	Shows   []string
}

func (b *Box) write200(w http.ResponseWriter, r *http.Request, name string, p page) {
	p.Style = template.CSS(style) //nolint:gosec // ours
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, p); err != nil {
		b.fail(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	_, _ = w.Write(text.Bytes()) // to a client that went away there is nothing to say
}

func (b *Box) showList(w http.ResponseWriter, r *http.Request) {
	entries, err := b.list()
	if err != nil {
		b.fail(w, r, err)
		return
	}
	b.write200(w, r, "list", page{Mails: entries, Refresh: r.URL.Query().Has("refresh"), Dir: b.dir, Keep: b.keep})
}

// showPage shows a mail in one of the forms it has.
func (b *Box) showPage(w http.ResponseWriter, r *http.Request, m *message) {
	p := page{Mail: m, Source: readable(m.Source), Show: r.URL.Query().Get("show")}
	if m.HTML != "" {
		p.Shows = append(p.Shows, "html")
	}
	if m.Text != "" {
		p.Shows = append(p.Shows, "text")
	}
	p.Shows = append(p.Shows, "headers", "source")
	if !slices.Contains(p.Shows, p.Show) {
		p.Show = p.Shows[0]
	}
	b.write200(w, r, "mail", p)
}

var head = regexp.MustCompile(`(?i)<head(\s[^>]*)?>`)

// showHTML serves what a mail's author wrote, so that it can do no harm.
func (b *Box) showHTML(w http.ResponseWriter, r *http.Request) {
	m, err := b.message(r.PathValue("id"))
	if err != nil {
		b.fail(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", mailPolicy)
	// Within the frame a link would lead to a page that may do nothing.
	const windows = `<base target="_blank">`
	text := m.HTML
	if i := head.FindStringIndex(text); i != nil {
		text = text[:i[1]] + windows + text[i[1]:]
	} else {
		text = strings.TrimRight(text, "\n") + windows
	}
	_, _ = w.Write([]byte(text)) // to a client that went away there is nothing to say
}
