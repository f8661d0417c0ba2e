package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	netmail "net/mail"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
)

// mostToken is how long the token of a bounce address may be.
const mostToken = 40

// A form is what is in a header besides From, To and Subject.
type form struct {
	messageID string
	salt      string // of the boundary: what nobody knows who knows the Message-ID
	at        time.Time
	thread    string // Message-ID of what it answers, with brackets; empty: nothing
	listID    string // empty: it is of no list
	feedback  string
	// unsubscribe is the URL that unsubscribes in one click. Empty: there is nothing to unsubscribe from.
	unsubscribe string
}

// form is that of a digest's mail.
func (r *Renderer) form(d *Digest) form {
	s := r.settings
	f := form{
		messageID: d.MessageID, salt: d.UnsubscribeToken, at: d.At, thread: r.thread(d), listID: s.listID, feedback: s.feedbackID,
	}
	if d.UnsubscribeToken != "" && s.unsubscribeURL != "" {
		f.unsubscribe = s.unsubscribeURL + "/" + url.PathEscape(d.UnsubscribeToken)
	}
	return f
}

// write makes the message: header, text and HTML. Every value that isn't ours was made one line of (see line) or checked before,
// which matters twice here: the library folds headers at spaces, and two in a row could end up as a line of nothing but spaces.
func (r *Renderer) write(f form, to netmail.Address, text Text) ([]byte, error) {
	s := r.settings
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary(f.boundary(text)))
	m.FromMailAddress(&s.from)
	m.ToMailAddress(&to)
	if s.replyTo != nil {
		m.ReplyToMailAddress(s.replyTo)
	}
	m.SetGenHeader(gomail.HeaderSubject, encoded(text.Subject))
	m.SetDateWithValue(f.at.UTC())
	m.SetMessageIDWithValue(f.messageID)
	if f.thread != "" {
		m.SetGenHeader(gomail.HeaderInReplyTo, f.thread)
		m.SetGenHeader(gomail.HeaderReferences, f.thread)
	}
	// Nobody is to answer by machine (RFC 3834), and Exchange wants to be told in its own way. Bounces are wanted, so it is not
	// told All. There is no Precedence: it is no standard, and to some filters it means advertising.
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "DR, RN, NRN, OOF, AutoReply")
	if f.listID != "" {
		m.SetGenHeader("List-Id", f.listID)
	}
	if f.feedback != "" {
		m.SetGenHeader("Feedback-ID", f.feedback)
	}
	if f.unsubscribe != "" {
		m.SetGenHeader(gomail.HeaderListUnsubscribe, "<"+f.unsubscribe+">")
		m.SetGenHeader(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	}
	m.SetBodyWriter(gomail.TypeTextPlain, writer(text.Plain))
	m.AddAlternativeWriter(gomail.TypeTextHTML, writer(text.HTML))

	b := bytes.NewBuffer(make([]byte, 0, 2048+(len(text.Plain)+len(text.HTML))*5/4))
	if _, err := m.WriteTo(b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writer(s string) func(io.Writer) (int64, error) {
	return func(w io.Writer) (int64, error) {
		n, err := io.WriteString(w, s)
		return int64(n), err
	}
}

// boundary is the same for the same mail, and occurs nowhere in it.
func (f form) boundary(text Text) string {
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "boundary\x00%s\x00%s\x00%d", f.messageID, f.salt, i))
		b := hex.EncodeToString(sum[:16])
		if !strings.Contains(text.Plain, b) && !strings.Contains(text.HTML, b) {
			return b
		}
	}
}

// thread is the Message-ID that all mails about one group have in common as the one they answer, so that programs show them
// together. There has never been a mail of that ID. Mails without content have none: it would tell which belong together.
func (r *Renderer) thread(d *Digest) string {
	first := d.Items[0].Group
	if first == nil || r.settings.noContent {
		return ""
	}
	for i := range d.Items {
		if g := d.Items[i].Group; g == nil || *g != *first {
			return ""
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "thread\x00%s\x00%s", d.Recipient.UserID, *first))
	return "<thread." + hex.EncodeToString(sum[:16]) + "@" + r.settings.domain + ">"
}

// bounce is the address that a mail comes back to.
func (r *Renderer) bounce(messageID string) string {
	token, _, _ := strings.Cut(messageID, "@")
	// Servers may lower the case of an address, and not all that a Message-ID may have is wanted in one.
	if len(token) > mostToken || strings.ToLower(token) != token ||
		strings.ContainsFunc(token, func(r rune) bool { return !isAlphanumeric(r) && r != '.' && r != '-' && r != '_' }) {
		sum := sha256.Sum256([]byte(messageID))
		token = hex.EncodeToString(sum[:16])
	}
	return path(netmail.Address{Address: strings.Replace(r.settings.bounces, "{token}", token, 1)})
}

// encoded writes a text for a header. Beyond ASCII it is made encoded words of, and so is ASCII that looks as if it were one: the
// reader's program would show what it decodes to.
func encoded(s string) string {
	if !isASCII(s) {
		return mime.QEncoding.Encode("utf-8", s)
	}
	if !strings.Contains(s, "=?") {
		return s
	}
	var words []string
	for s != "" {
		n := min(len(s), 45)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}
