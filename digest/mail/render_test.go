package mail_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

var update = flag.Bool("update", false, "write what comes out to testdata")

// golden compares with a file in testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (go test -update writes it anew):\n%s", file, diff)
	}
}

// Files of mails, for people to read: `git diff` shows what a change does to them.
func TestGoldenMails(t *testing.T) {
	silent := renderer(t, func(o *mail.Options) { o.NoContent = true })
	full := renderer(t, func(o *mail.Options) {
		o.ReplyTo, o.FeedbackID, o.Bounces = "Help <help@example.org>", "digest:projects:notifications:example", "bounces+{token}@example.org"
		o.ListID = "Projekte & mehr <projects.example.org>"
	})
	all := digests()
	for name, c := range map[string]struct {
		renderer *mail.Renderer
		digest   mail.Digest
	}{
		"one":        {full, all["one"]},
		"some":       {renderer(t, nil), all["some"]},
		"german":     {renderer(t, nil), all["german"]},
		"alone":      {renderer(t, nil), all["alone"]},
		"no-content": {silent, all["some"]},
		"hostile":    {renderer(t, nil), all["hostile"]},
	} {
		m, e := render(t, c.renderer, c.digest)
		head, _, _ := strings.Cut(string(e.Data), "\r\n\r\n")
		golden(t, name+".txt", "MAIL FROM:<"+e.From+"> RCPT TO:<"+e.To+">\n\n"+strings.ReplaceAll(head, "\r\n", "\n")+"\n\n"+m.plain)
		golden(t, name+".html", m.html)
	}
}

func TestMailIsTheSameEachTime(t *testing.T) {
	r, again := renderer(t, nil), renderer(t, nil)
	for name, d := range digests() {
		first, _, err := r.Render(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*mail.Renderer{r, again} {
			next, _, err := r.Render(d)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, next); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		d.MessageID = "other" + d.MessageID
		other, _, _ := r.Render(d)
		if boundaryOf(t, first.Data) == boundaryOf(t, other.Data) {
			t.Errorf("%s: two mails have one boundary", name)
		}
	}
}

func boundaryOf(t *testing.T, raw []byte) string {
	_, value, found := bytes.Cut(raw, []byte("boundary="))
	if !found {
		t.Fatal("no boundary")
	}
	value, _, _ = bytes.Cut(value, []byte("\r\n"))
	return string(value)
}

// The boundary is known to whoever knows the Message-ID and the token; a text that has it can't end a part nevertheless.
func TestBoundaryInTheText(t *testing.T) {
	r, d := renderer(t, nil), digest(2)
	e, _, err := r.Render(d)
	if err != nil {
		t.Fatal(err)
	}
	was := boundaryOf(t, e.Data)
	d.Items[0].Text = "--" + was
	m, e := render(t, r, d)
	if boundaryOf(t, e.Data) == was || !strings.Contains(m.plain, was) || !strings.Contains(m.html, was) {
		t.Errorf("boundary %s\n%s", was, e.Data)
	}
}

func TestRenderByManyAtOnce(t *testing.T) {
	r := renderer(t, nil)
	want := make(map[string][]byte)
	for name, d := range digests() {
		e, _, err := r.Render(d)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = e.Data
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				for name, d := range digests() {
					if e, _, err := r.Render(d); err != nil || !bytes.Equal(e.Data, want[name]) {
						t.Errorf("%s: another mail, %v", name, err)
					}
				}
			}
		})
	}
	all.Wait()
}

// However much there is to say, a mail stays below what programs show, and still says how much there is.
func TestMailIsBounded(t *testing.T) {
	r := renderer(t, func(o *mail.Options) { o.PerGroup, o.Most = 60, 60 })
	for name, text := range map[string]string{
		"text": strings.Repeat("schön ", 90), "words": strings.Repeat("界", 600), "marks": strings.Repeat("z\u0335\u0336\u0337\u0338", 200),
		"quotes": strings.Repeat(`"&'+<`, 300), "emojis": strings.Repeat("👩‍👩‍👧‍👦", 100),
	} {
		d := hostileDigest(text, 1200)
		for i := range d.Items {
			d.Items[i].Link = ptr("https://example.org/?q=" + strings.Repeat("%C3%BC", 300))
		}
		m, e := render(t, r, d)
		if len(e.Data) > mail.MostBytes {
			t.Errorf("%s: %d bytes", name, len(e.Data))
		}
		if len(e.Data) < mail.MostBytes/8 {
			t.Errorf("%s: only %d bytes: more than need be was left out", name, len(e.Data))
		}
		if !strings.Contains(m.plain, "1,200 unread notifications") || !strings.Contains(m.html, "1,200 unread notifications") {
			t.Errorf("%s: doesn't say how many: %s", name, m.plain)
		}
	}
}

// A digest of which no mail can be made is refused with a sentence, and never panics.
func TestWhatNoMailCanBeMadeOf(t *testing.T) {
	r := renderer(t, nil)
	for want, change := range map[string]func(*mail.Digest){
		`has no items`:                func(d *mail.Digest) { d.Items = nil },
		`is of 0001-01-01 00:00`:      func(d *mail.Digest) { d.At = time.Time{} },
		`the address "" has no @`:     func(d *mail.Digest) { d.Recipient.Email = "" },
		`"ann@" has no valid domain`:  func(d *mail.Digest) { d.Recipient.Email = "ann@" },
		`"@example.org" is malformed`: func(d *mail.Digest) { d.Recipient.Email = "@example.org" },
		`"a b@example.org" is malfor`: func(d *mail.Digest) { d.Recipient.Email = "a b@example.org" },
		`org\r\nBcc: x@example.org"`:  func(d *mail.Digest) { d.Recipient.Email = "ann@example.org\r\nBcc: x@example.org" },
		`is malformed`:                func(d *mail.Digest) { d.Recipient.Email = "ann@x.org> RCPT TO:<b@example.org" },
		`"ann@-x.org" has no valid`:   func(d *mail.Digest) { d.Recipient.Email = "ann@-x.org" },
		`longer than 254`:             func(d *mail.Digest) { d.Recipient.Email = strings.Repeat("a", 65) + "@example.org" },
		`unsubscribe token of the`:    func(d *mail.Digest) { d.UnsubscribeToken = "a/b" },
		`token`:                       func(d *mail.Digest) { d.UnsubscribeToken = strings.Repeat("a", 129) },
		`Message-ID ""`:               func(d *mail.Digest) { d.MessageID = "" },
		`Message-ID "a@b>\r\nX: y"`:   func(d *mail.Digest) { d.MessageID = "a@b>\r\nX: y" },
		`Message-ID "<a@b>"`:          func(d *mail.Digest) { d.MessageID = "<a@b>" },
		`Message-ID "a b@c"`:          func(d *mail.Digest) { d.MessageID = "a b@c" },
	} {
		d := digest(3)
		change(&d)
		_, _, err := r.Render(d)
		var bad *trunkline.ArgumentError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	r := renderer(t, func(o *mail.Options) {
		o.From = "Bücher <post@bücher.example>"
		o.Bounces = "bounces+{token}@bücher.example"
	})
	for email, want := range map[string]string{
		"ann@example.com":         "ann@example.com",
		"Ann.Lee+x@Example.COM":   "Ann.Lee+x@example.com",
		"ann@münchen.example":     "ann@xn--mnchen-3ya.example",
		`"ann lee"@example.com`:   `"ann lee"@example.com`,
		`"a@b"@example.com`:       `"a@b"@example.com`,
		"o'hara/x=y@example.com":  "o'hara/x=y@example.com",
		"ann@xn--mnchen-3ya.test": "ann@xn--mnchen-3ya.test",
	} {
		d := digest(1)
		d.Recipient.Email = email
		m, e := render(t, r, d)
		to, err := m.header.AddressList("To")
		if e.To != want || err != nil || len(to) != 1 || to[0].Name != "Ann Lee" {
			t.Errorf("%s: sent to %s, addressed to %v %v", email, e.To, to, err)
		}
		from, err := m.header.AddressList("From")
		if err != nil || from[0].Name != "Bücher" || from[0].Address != "post@xn--bcher-kva.example" || e.From != "bounces+17.k3m9q2vx7c4d@xn--bcher-kva.example" {
			t.Errorf("from %v %v, bounces to %s", from, err, e.From)
		}
	}
	// What only servers with SMTPUTF8 take.
	d := digest(1)
	d.Recipient.Email = "jürgen@example.com"
	if e, _, err := r.Render(d); err != nil || e.To != "jürgen@example.com" || !bytes.Contains(e.Data, []byte("<jürgen@example.com>")) {
		t.Errorf("%s %v", e.To, err)
	}
}
