package mail_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/digest/mail"
)

// message is a mail as a program reads it.
type message struct {
	header      netmail.Header
	fields      []string // in their order, as they are written
	plain, html string
}

// parsed reads a mail, and fails unless it is as strictly right as a mail can be: lines of at most 998 bytes that end with CRLF,
// ASCII only, a text part and an HTML part.
func parsed(t testing.TB, raw []byte) message {
	t.Helper()
	for i, l := range bytes.SplitAfter(raw, []byte("\r\n")) {
		l, found := bytes.CutSuffix(l, []byte("\r\n"))
		if !found && len(l) > 0 || len(l) > 998 || bytes.ContainsAny(l, "\r\n\x00") {
			t.Fatalf("line %d: %q", i+1, l)
		}
		for _, c := range l {
			if c >= 0x80 || c < ' ' && c != '\t' {
				t.Fatalf("line %d has byte %#x: %q", i+1, c, l)
			}
		}
	}
	read, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	m := message{header: read.Header}
	head, _, _ := strings.Cut(string(raw), "\r\n\r\n")
	for l := range strings.SplitSeq(head, "\r\n") {
		if strings.TrimSpace(l) == "" {
			t.Fatalf("a line of the header has nothing in it:\n%s", head)
		}
		if l[0] != ' ' && l[0] != '\t' {
			field, _, _ := strings.Cut(l, ":")
			m.fields = append(m.fields, field)
		}
	}
	kind, params, err := mime.ParseMediaType(m.header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s %v", kind, err)
	}
	parts := multipart.NewReader(read.Body, params["boundary"])
	for i, want := range []string{"text/plain; charset=UTF-8", "text/html; charset=UTF-8"} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		if got := part.Header.Get("Content-Type"); got != want || part.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Fatalf("part %d is %s", i, part.Header)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			m.plain = strings.ReplaceAll(string(text), "\r\n", "\n")
		} else {
			m.html = strings.ReplaceAll(string(text), "\r\n", "\n")
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Fatalf("a third part: %v", err)
	}
	return m
}

// get returns a field's decoded value, and fails if there isn't exactly one.
func (m message) get(t testing.TB, field string) string {
	t.Helper()
	values := m.header[field]
	if len(values) != 1 {
		t.Fatalf("%d fields %s: %q", len(values), field, values)
	}
	text, err := new(mime.WordDecoder).DecodeHeader(values[0])
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// render makes a mail and reads it.
func render(t testing.TB, r *mail.Renderer, d mail.Digest) (message, mail.Envelope) {
	t.Helper()
	e, text, err := r.Render(d)
	if err != nil {
		t.Fatal(err)
	}
	m := parsed(t, e.Data)
	if m.plain != text.Plain || m.html != strings.ReplaceAll(text.HTML, "\r\n", "\n") || m.get(t, "Subject") != text.Subject {
		t.Fatalf("the mail doesn't say what Render says it does:\n%q\n%q", m.plain, text.Plain)
	}
	return m, e
}
