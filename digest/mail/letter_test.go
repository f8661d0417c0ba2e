package mail_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

// invitation is a letter as sites write them.
func invitation() mail.Letter {
	return mail.Letter{
		Recipient: mail.Recipient{Email: "ann@example.com", Name: "Ann Lee", Locale: "en"},
		Subject:   "Ben Okafor invites you to “Kitchen renovation”", Heading: "Ben Okafor invites you to a project",
		Paragraphs: []string{
			"Ben Okafor of Example Builders would like you to follow “Kitchen renovation”: see how far it is, what is left to do, and ask " +
				"what you want to know.",
			"The invitation is good until December 6.",
		},
		Button:    &mail.Button{Text: "Join the project", URL: "/invited/hV3xqk0Yd3o9jVbT2uLwXw"},
		Note:      "This mail was sent because Ben Okafor entered your address. If you don’t know what it is about, do nothing.",
		MessageID: "letter.12@example.org", At: at,
	}
}

// letter makes a mail and reads it.
func letter(t testing.TB, r *mail.Renderer, l mail.Letter) (message, mail.Envelope) {
	t.Helper()
	e, err := r.Letter(l)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, e.Data), e
}

var letterFields = []string{
	"Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To", "X-Auto-Response-Suppress",
}

func TestGoldenLetters(t *testing.T) {
	german := invitation()
	german.Recipient.Locale, german.Recipient.Name = "de-AT", ""
	german.Subject, german.Heading, german.Note = "Neues Passwort", "", ""
	german.Paragraphs = []string{"Wählen Sie in der nächsten Stunde ein neues."}
	german.Button = &mail.Button{Text: "Passwort wählen", URL: "https://projects.example.org/reset/abc?x=1&y=2"}
	bare := mail.Letter{Recipient: mail.Recipient{Email: "ann@example.com"}, Subject: "Hello", Greeting: "Dear Ann,", MessageID: "1@example.org", At: at}
	for name, l := range map[string]mail.Letter{"letter": invitation(), "letter-german": german, "letter-bare": bare, "letter-hostile": hostileLetter(hostile)} {
		m, e := letter(t, renderer(t, nil), l)
		head, _, _ := strings.Cut(string(e.Data), "\r\n\r\n")
		golden(t, name+".txt", "MAIL FROM:<"+e.From+"> RCPT TO:<"+e.To+">\n\n"+strings.ReplaceAll(head, "\r\n", "\n")+"\n\n"+m.plain)
		golden(t, name+".html", m.html)
	}
}

// hostileLetter has a text wherever one may be.
func hostileLetter(text string) mail.Letter {
	l := invitation()
	l.Recipient.Name, l.Recipient.Locale, l.Recipient.UserID = text, text, text
	l.Subject, l.Heading, l.Greeting, l.Note = text, text, text, text
	l.Paragraphs = []string{text, text}
	l.Button = &mail.Button{Text: text, URL: `https://example.org/?q=<script>"'+{{.Site}}`}
	return l
}

// Whatever is in its texts, a letter has the fields of an innocent one, and no markup but the template's.
func TestLetterInjection(t *testing.T) {
	r := renderer(t, nil)
	innocent, _ := letter(t, r, invitation())
	for _, attack := range []string{
		hostile, "a\nBcc: x@example.net", "x\r\n\r\nbody", "=?utf-8?q?=0D=0ABcc=3A_x=40example=2Enet?=", `"q" <x@example.net>, b@example.net`, "</title><b>", "--", ".",
		strings.Repeat("👩‍👩‍👧‍👦", 100), strings.Repeat("x", 3000), "&lt;b&gt;", "<!--", "{{.Site}}",
	} {
		m, e := letter(t, r, hostileLetter(attack))
		if diff := cmp.Diff(innocent.fields, m.fields); diff != "" {
			t.Errorf("%q: %s", attack, diff)
		}
		if e.To != "ann@example.com" || e.From != "projects@example.org" {
			t.Errorf("%q: from %s to %s", attack, e.From, e.To)
		}
		if to, err := m.header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != "ann@example.com" {
			t.Errorf("%q: To is %v, %v", attack, to, err)
		}
		if subject := m.get(t, "Subject"); subject == "" || subject != mail.Line(subject, 150) {
			t.Errorf("%q: the subject is %q", attack, subject)
		}
		if got, want := strings.Count(m.html, "<"), strings.Count(innocent.html, "<"); got != want {
			t.Errorf("%q: %d tags, an innocent letter has %d:\n%s", attack, got, want, m.html)
		}
	}
}

func TestLetterHeader(t *testing.T) {
	r := renderer(t, func(o *mail.Options) {
		signing(o)
		o.Bounces, o.FeedbackID = "bounces+{token}@example.org", "digest:projects:notifications:example"
	})
	m, e := letter(t, r, invitation())
	for field, want := range map[string]string{
		"Auto-Submitted": "auto-generated",
		"Date":           "Sun, 22 Nov 2026 13:58:30 +0000",
		"From":           `"Example Projects" <projects@example.org>`,
		"Message-Id":     "<letter.12@example.org>",
		"Reply-To":       "<help@example.org>",
		"Subject":        "Ben Okafor invites you to “Kitchen renovation”",
		"To":             `"Ann Lee" <ann@example.com>`,
	} {
		if got := m.get(t, field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if e.From != "bounces+letter.12@example.org" {
		t.Errorf("bounces to %s", e.From)
	}
	for _, v := range verify(t, e.Data) {
		if v.Err != nil {
			t.Errorf("the signature of %s: %v", v.Domain, v.Err)
		}
	}
	// Neither of a list, nor to be unsubscribed from.
	m, _ = letter(t, renderer(t, nil), invitation())
	if diff := cmp.Diff(letterFields, slices.Sorted(slices.Values(m.fields))); diff != "" {
		t.Error(diff)
	}
	// The same letter is the same mail, and what hides the content of digests doesn't hide it.
	_, first := letter(t, renderer(t, nil), invitation())
	if m, again := letter(t, renderer(t, func(o *mail.Options) { o.NoContent = true }), invitation()); !cmp.Equal(first, again) ||
		!strings.Contains(m.plain, "https://projects.example.org/invited/hV3xqk0Yd3o9jVbT2uLwXw\n") {
		t.Errorf("another mail:\n%s", again.Data)
	}
}

func TestWhatNoLetterCanBeMadeOf(t *testing.T) {
	const secret = "hV3xqk0Yd3o9jVbT2uLwXw"
	for name, c := range map[string]struct {
		want     string
		argument string
		public   bool
		change   func(*mail.Letter)
	}{
		"no address":          {`the address "" has no @`, "email", true, func(l *mail.Letter) { l.Recipient.Email = "" }},
		"two addresses":       {`malformed`, "email", true, func(l *mail.Letter) { l.Recipient.Email = "a@x.org\r\nBcc: b@x.org" }},
		"no date":             {`the letter "letter.12@example.org" is of 0001`, "at", true, func(l *mail.Letter) { l.At = time.Time{} }},
		"no Message-ID":       {`Message-ID ""`, "message_id", true, func(l *mail.Letter) { l.MessageID = "" }},
		"no subject":          {`has no subject`, "subject", true, func(l *mail.Letter) { l.Subject = "\r\n\u202e" }},
		"a button to nowhere": {`leads nowhere`, "button", true, func(l *mail.Letter) { l.Button.URL = "javascript:" + secret }},
		"a relative button":   {`leads nowhere`, "button", false, func(*mail.Letter) {}},
		"a mute button":       {`has no text`, "button", true, func(l *mail.Letter) { l.Button.Text = " " }},
		"too many paragraphs": {`has 21 paragraphs`, "paragraphs", true, func(l *mail.Letter) { l.Paragraphs = make([]string, 21) }},
		"too long": {`bytes`, "paragraphs", true, func(l *mail.Letter) {
			l.Paragraphs = []string{strings.Repeat("界", 2000), strings.Repeat("界", 2000), strings.Repeat("界", 2000)}
		}},
	} {
		r := renderer(t, func(o *mail.Options) {
			if !c.public {
				*o = mail.Options{Site: o.Site, From: o.From}
			}
		})
		l := invitation()
		c.change(&l)
		e, err := r.Letter(l)
		var bad *trunkline.ArgumentError
		if !errors.As(err, &bad) || bad.Argument != c.argument || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) || e.Data != nil {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

// What the documentation shows is what comes out.
func TestDocumentedLetter(t *testing.T) {
	m, _ := letter(t, renderer(t, nil), invitation())
	if !strings.Contains(documentation(t), strings.TrimSpace(m.plain)) {
		t.Errorf("docs/mail.md doesn't show the letter:\n%s", m.plain)
	}
}
