package mail_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/digest/mail"
)

// always are the fields that each mail has.
var always = []string{
	"Auto-Submitted", "Content-Type", "Date", "From", "List-Id", "MIME-Version", "Message-ID", "Subject", "To", "X-Auto-Response-Suppress",
}

// wantFields fails unless a mail has just these fields, each once, and those that each has.
func wantFields(t *testing.T, m message, more ...string) {
	t.Helper()
	got := slices.Sorted(slices.Values(m.fields))
	if diff := cmp.Diff(slices.Sorted(slices.Values(append(more, always...))), got); diff != "" {
		t.Errorf("fields:\n%s", diff)
	}
}

func TestHeader(t *testing.T) {
	r := renderer(t, func(o *mail.Options) {
		o.ReplyTo, o.FeedbackID = "Help & Co <help@example.org>", "digest:projects:notifications:example"
		o.Bounces, o.ListID = "bounces+{token}@example.org", "Bücher, neue <list.example.org>"
	})
	m, e := render(t, r, digests()["group"])
	wantFields(t, m, "Reply-To", "Feedback-ID", "In-Reply-To", "References", "List-Unsubscribe", "List-Unsubscribe-Post")
	for field, want := range map[string]string{
		"Auto-Submitted":           "auto-generated",
		"Date":                     "Sun, 22 Nov 2026 13:58:30 +0000",
		"Feedback-Id":              "digest:projects:notifications:example",
		"From":                     `"Example Projects" <projects@example.org>`,
		"List-Id":                  "Bücher, neue <list.example.org>",
		"List-Unsubscribe":         "<https://projects.example.org/v1/unsubscribe/5sQmFh0Yd3o9jVbT2uLwXw>",
		"List-Unsubscribe-Post":    "List-Unsubscribe=One-Click",
		"Message-Id":               "<17.k3m9q2vx7c4d@example.org>",
		"Mime-Version":             "1.0",
		"Reply-To":                 `"Help & Co" <help@example.org>`,
		"Subject":                  "Ben completed “Paint the door” and 6 more",
		"To":                       `"Ann Lee" <ann@example.com>`,
		"X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply",
	} {
		if got := m.get(t, field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if diff := cmp.Diff([]string{"bounces+17.k3m9q2vx7c4d@example.org", "ann@example.com"}, []string{e.From, e.To}); diff != "" {
		t.Error(diff)
	}

	// What isn't there leaves no field behind.
	m, e = render(t, renderer(t, nil), digests()["alone"])
	wantFields(t, m)
	if got := m.get(t, "List-Id"); got != "Example Projects <notifications.example.org>" || e.From != "projects@example.org" {
		t.Errorf("List-Id: %s, bounces to %s", got, e.From)
	}
	if strings.Contains(m.plain+m.html, "unsubscribe") || strings.Contains(m.plain, "Stop") {
		t.Errorf("links to unsubscribe without a token:\n%s", m.plain)
	}
}

// Whatever is in names and texts, the fields are those of an innocent mail, and say it in one line.
func TestHeaderInjection(t *testing.T) {
	for _, attack := range []string{
		hostile, "\r\n\r\nbody", "a\nBcc: x@example.net", "a\rBcc: x@example.net", "\r\n .\r\n", "\u2028Bcc: x", "\u0085Bcc: x", "\vX: y", "\x00", "\xff\xff",
		"=?utf-8?q?=0D=0ABcc=3A_x=40example=2Enet?=", "=?utf-8?b?DQpCY2M6IHg=?= =?utf-8?b?DQpCY2M6IHg=?=",
		`"quoted" <x@example.net>, b@example.net`, `\`, `ü\n`, `a\"b`, "(comment", "a;b,c:d@e<f>[g]", strings.Repeat("a  ", 200), strings.Repeat("x", 2000),
		strings.Repeat("ü", 600), strings.Repeat("👩‍👩‍👧‍👦", 100), " leading and trailing ", ".", "\r\n.\r\n",
		"Ann\u202eeoD\u202c", "{{.Site}}{{template \"x\"}}", "&lt;b&gt;", "%0d%0aX: y", strings.Repeat(" ", 500),
	} {
		r := renderer(t, func(o *mail.Options) { o.Bounces = "bounces+{token}@example.org" })
		m, e := render(t, r, hostileDigest(attack, 1))
		wantFields(t, m, "In-Reply-To", "References", "List-Unsubscribe", "List-Unsubscribe-Post")
		if e.To != "ann@example.com" || e.From != "bounces+17.k3m9q2vx7c4d@example.org" {
			t.Errorf("%q: from %s to %s", attack, e.From, e.To)
		}
		to, err := m.header.AddressList("To")
		if err != nil || len(to) != 1 || to[0].Address != "ann@example.com" || strings.ContainsAny(to[0].Name, "\r\n\x00") {
			t.Errorf("%q: To is %v, %v", attack, to, err)
		}
		if subject := m.get(t, "Subject"); subject == "" || subject != mail.Line(subject, 150) {
			t.Errorf("%q: the subject is %q", attack, subject)
		}
	}
}

// What looks like an encoded word is shown as it is, not as what it decodes to.
func TestSubjectThatLooksEncoded(t *testing.T) {
	d := digest(1)
	for _, text := range []string{"=?utf-8?q?You_won?=", "where id=?1 and x?=", strings.Repeat("=?a?b?c?= ", 9) + "end"} {
		d.Items[0].Text = text
		m, _ := render(t, renderer(t, nil), d)
		if got := m.get(t, "Subject"); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestThreads(t *testing.T) {
	r := renderer(t, nil)
	thread := func(r *mail.Renderer, change func(*mail.Digest)) string {
		d := digests()["group"]
		if change != nil {
			change(&d)
		}
		m, _ := render(t, r, d)
		if m.header.Get("References") != m.header.Get("In-Reply-To") || m.header.Get("References") == m.header.Get("Message-ID") {
			t.Errorf("%v", m.header)
		}
		return m.header.Get("References")
	}
	root := thread(r, nil)
	if !strings.HasPrefix(root, "<thread.") || !strings.HasSuffix(root, "@example.org>") {
		t.Errorf("the thread is %q", root)
	}
	for name, c := range map[string]struct {
		same   bool
		change func(*mail.Digest)
	}{
		"another mail, later": {true, func(d *mail.Digest) {
			d.MessageID, d.At, d.Items = "18.x@example.org", d.At.Add(time.Hour), d.Items[2:]
		}},
		"another user":  {false, func(d *mail.Digest) { d.Recipient.UserID = "ben" }},
		"another group": {false, func(d *mail.Digest) { d.Items = d.Items[:1]; d.Items[0].Group = ptr("project:8") }},
		"user and group shifted": {false, func(d *mail.Digest) {
			d.Recipient.UserID = "an"
			d.Items = d.Items[:1]
			d.Items[0].Group = ptr("nproject:7")
		}},
	} {
		if got := thread(r, c.change); got == "" || got == root != c.same {
			t.Errorf("%s: %s, before %s", name, got, root)
		}
	}
	for name, change := range map[string]func(*mail.Digest){
		"two groups": func(d *mail.Digest) { d.Items[6].Group = ptr("project:8") },
		"no group":   func(d *mail.Digest) { d.Items[3].Group = nil },
	} {
		if got := thread(r, change); got != "" {
			t.Errorf("%s are of the thread %s", name, got)
		}
	}
	if got := thread(renderer(t, func(o *mail.Options) { o.NoContent = true }), nil); got != "" {
		t.Errorf("a mail without content is of the thread %s", got)
	}
}

// The token of a bounce address can be told from the Message-ID, and survives servers that change its case.
func TestBounceAddresses(t *testing.T) {
	r := renderer(t, func(o *mail.Options) { o.Bounces = "bounces+{token}@example.org" })
	seen := make(map[string]bool)
	for id, want := range map[string]string{
		"17.k3m9@example.org":                   "bounces+17.k3m9@example.org",
		"a-b_c.d@other.example":                 "bounces+a-b_c.d@example.org",
		"17.K3M9@example.org":                   "",
		"17.k3m9+x@example.org":                 "",
		strings.Repeat("a", 41) + "@ex.example": "",
	} {
		d := digest(1)
		d.MessageID = id
		_, e := render(t, r, d)
		local, _, _ := strings.Cut(e.From, "@")
		if want != "" && e.From != want || strings.ToLower(e.From) != e.From || len(local) > 64 || seen[e.From] {
			t.Errorf("mail %s bounces to %s", id, e.From)
		}
		seen[e.From] = true
	}
	plain := renderer(t, func(o *mail.Options) { o.Bounces = "bounces@example.org" })
	if _, e := render(t, plain, digest(1)); e.From != "bounces@example.org" {
		t.Errorf("bounces to %s", e.From)
	}
}
