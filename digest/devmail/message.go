package devmail

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxMail is how many bytes of a file are read, maxHeader how many for the list.
const (
	maxMail   = 16 << 20
	maxHeader = 64 << 10
)

// An entry is a mail in the list.
type entry struct {
	ID      string     `json:"id"`
	From    string     `json:"from"`
	To      string     `json:"to"`
	Subject string     `json:"subject"`
	Date    *time.Time `json:"date"` // by its header, null if that has none that can be read
	KeptAt  time.Time  `json:"kept_at"`
	Size    int64      `json:"size"` // bytes
	// Problem says why the mail can't be read, or only in part.
	Problem string `json:"problem,omitempty"`
}

// A message is a mail that was read.
type message struct {
	entry
	Envelope envelope `json:"envelope"`
	Headers  []field  `json:"headers"`
	Text     string   `json:"text"`
	HTML     string   `json:"html"`
	// Links are those of the HTML, or of the text if there is no HTML, each once.
	Links []link `json:"links"`
	// ListUnsubscribe are the addresses of that header, OneClick tells whether a POST to the first unsubscribes.
	ListUnsubscribe []string `json:"list_unsubscribe"`
	OneClick        bool     `json:"one_click"`
	Source          string   `json:"source"` // the file, as far as it is UTF-8

	source []byte
}

type envelope struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type field struct {
	Name  string `json:"name"`
	Value string `json:"value"` // unfolded and decoded
}

type link struct {
	URL  string `json:"url"`
	Text string `json:"text"`
}

// list reads the headers of all mails, newest first. Files don't change, so each is read once.
func (b *Box) list() ([]entry, error) {
	ids, err := b.ids()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	entries := make([]entry, 0, len(ids))
	known := make(map[string]entry, len(ids))
	for _, id := range ids {
		e, ok := b.entries[id]
		if !ok {
			source, size, err := b.read(id, maxHeader)
			if err != nil {
				continue // it was removed meanwhile, or isn't ours to read
			}
			e = parse(id, source, size, false).entry
		}
		known[id] = e
		entries = append(entries, e)
	}
	b.entries = known
	return entries, nil
}

// message reads a mail; [fs.ErrNotExist] if there is none of that id.
func (b *Box) message(id string) (*message, error) {
	if !isID(id) {
		return nil, fmt.Errorf("mail %q: %w", id, fs.ErrNotExist)
	}
	source, size, err := b.read(id, maxMail)
	if err != nil {
		return nil, err
	}
	return parse(id, source, size, true), nil
}

func (b *Box) read(id string, most int64) (source []byte, size int64, err error) {
	about, err := os.Lstat(b.path(id))
	if err != nil {
		return nil, 0, err
	}
	if !about.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("mail %q: %w", id, fs.ErrNotExist)
	}
	file, err := os.Open(b.path(id))
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	source, err = io.ReadAll(io.LimitReader(file, most))
	return source, about.Size(), err
}

// parse makes what can be made of a file: it may be anything.
func parse(id string, source []byte, size int64, whole bool) *message {
	m := &message{
		entry:  entry{ID: id, KeptAt: keptAt(id), Size: size},
		source: source, Source: strings.ToValidUTF8(string(source), "�"), Headers: []field{}, Links: []link{}, ListUnsubscribe: []string{},
	}
	headers, body, ok := cutHeader(source)
	if !ok {
		m.Problem = "this file isn't a mail"
		return m
	}
	raw := textproto.MIMEHeader{}
	for _, h := range headers {
		raw.Add(h.Name, h.Value)
		m.Headers = append(m.Headers, field{h.Name, decodeWords(h.Value)})
	}
	get := func(name string) string { return decodeWords(raw.Get(name)) }
	m.From, m.To, m.Subject = get("From"), get("To"), get("Subject")
	m.Envelope = envelope{From: strings.Trim(raw.Get("Return-Path"), "<>"), To: raw.Get("Delivered-To")}
	if at, err := mail.ParseDate(raw.Get("Date")); err == nil {
		at = at.UTC()
		m.Date = &at
	}
	if !whole {
		return m
	}
	if size > int64(len(source)) {
		m.Problem = fmt.Sprintf("the mail has %d bytes, of which %d are shown", size, len(source))
	}
	if err := m.part(raw, bytes.NewReader(body), 0); err != nil && m.Problem == "" {
		m.Problem = "the mail can't be read to its end: " + err.Error()
	}
	m.unsubscribing(raw)
	m.findLinks()
	return m
}

// cutHeader splits a mail into its header fields, in their order, and its body.
func cutHeader(source []byte) (fields []field, body []byte, ok bool) {
	rest := source
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = after
		text := string(bytes.TrimSuffix(line, []byte("\r")))
		if text == "" {
			break
		}
		if text[0] == ' ' || text[0] == '\t' {
			if len(fields) == 0 {
				return nil, nil, false
			}
			last := &fields[len(fields)-1]
			last.Value = strings.TrimSpace(last.Value + " " + readable(strings.TrimSpace(text)))
			continue
		}
		name, value, found := strings.Cut(text, ":")
		if !found || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, nil, false
		}
		fields = append(fields, field{name, readable(strings.TrimSpace(value))})
	}
	return fields, rest, len(fields) > 0
}

func decodeWords(value string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		return value
	}
	return readable(decoded)
}

// readable replaces what isn't UTF-8 or can't be shown.
func readable(text string) string {
	text = strings.ToValidUTF8(text, "�")
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\n' && r != '\t') || r == 0x7f {
			return -1
		}
		return r
	}, text)
}

// maxDepth is how deep parts are looked for in parts.
const maxDepth = 10

// part finds the first text and the first HTML in a part and in the parts of that.
func (m *message) part(header textproto.MIMEHeader, body io.Reader, depth int) error {
	kind, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && depth < maxDepth {
		parts := multipart.NewReader(body, parameters["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := m.part(part.Header, part, depth+1); err != nil {
				return err
			}
		}
	}
	if disposition, _, _ := mime.ParseMediaType(header.Get("Content-Disposition")); disposition == "attachment" {
		return nil
	}
	var into *string
	switch kind {
	case "text/plain":
		into = &m.Text
	case "text/html":
		into = &m.HTML
	}
	if into == nil || *into != "" {
		return nil
	}
	text, err := io.ReadAll(decoder(header.Get("Content-Transfer-Encoding"), body))
	*into = strings.ReplaceAll(decodeCharset(text, parameters["charset"]), "\r\n", "\n")
	return err
}

func decoder(encoding string, body io.Reader) io.Reader {
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		return quotedprintable.NewReader(body)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body)
	default:
		return body
	}
}

func decodeCharset(text []byte, charset string) string {
	if strings.EqualFold(charset, "iso-8859-1") && !utf8.Valid(text) {
		runes := make([]rune, len(text))
		for i, b := range text {
			runes[i] = rune(b)
		}
		return string(runes)
	}
	return strings.ToValidUTF8(string(text), "�")
}

var angled = regexp.MustCompile(`<([^<>\s]+)>`)

func (m *message) unsubscribing(header textproto.MIMEHeader) {
	for _, found := range angled.FindAllStringSubmatch(header.Get("List-Unsubscribe"), -1) {
		m.ListUnsubscribe = append(m.ListUnsubscribe, found[1])
	}
	m.OneClick = strings.EqualFold(strings.ReplaceAll(header.Get("List-Unsubscribe-Post"), " ", ""), "List-Unsubscribe=One-Click") &&
		len(m.ListUnsubscribe) > 0
}

var (
	anchor  = regexp.MustCompile(`(?is)<a\s[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')[^>]*>(.*?)</a\s*>`)
	tag     = regexp.MustCompile(`(?s)<[^>]*>`)
	address = regexp.MustCompile(`https?://[^\s<>"]+`)
)

func (m *message) findLinks() {
	add := func(url, text string) {
		if url != "" && !slices.ContainsFunc(m.Links, func(l link) bool { return l.URL == url }) {
			m.Links = append(m.Links, link{url, strings.Join(strings.Fields(text), " ")})
		}
	}
	if m.HTML == "" {
		scanner := bufio.NewScanner(strings.NewReader(m.Text))
		scanner.Buffer(nil, maxMail)
		for scanner.Scan() {
			for _, url := range address.FindAllString(scanner.Text(), -1) {
				add(strings.TrimRight(url, ".,;:!?)"), "")
			}
		}
		return
	}
	for _, found := range anchor.FindAllStringSubmatch(m.HTML, -1) {
		add(html.UnescapeString(found[1]+found[2]), html.UnescapeString(tag.ReplaceAllString(found[3], " ")))
	}
}
