package mail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/inbox"
)

// try runs every template that is in use on samples of every shape that content has.
func (r *Renderer) try() error {
	told := make(map[string]bool)
	var problems []error
	tags := make([]string, 0, len(r.variants))
	for tag := range r.variants {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	for _, tag := range tags {
		v := r.variants[tag]
		for _, sample := range r.samples(tag) {
			for _, t := range []*template{v.subject, v.plain, v.html} {
				if err := r.tryOne(t, sample); err != nil && !told[t.name] {
					told[t.name] = true // one problem of each is enough to begin with
					problems = append(problems, failing(err.Error()))
				}
				sample.Subject = sample.Summary // bodies have one
			}
		}
	}
	return errors.Join(problems...)
}

func (r *Renderer) tryOne(t *template, sample *Content) error {
	var b bytes.Buffer
	if err := t.run(&b, sample); err != nil {
		return err
	}
	if len(bytes.TrimSpace(b.Bytes())) == 0 {
		return fmt.Errorf("%s: nothing comes out of it, for %d items", t.name, sample.Count)
	}
	// What is long because of its items is shortened, the rest can't be.
	if sample.Count == 1 && b.Len() > mostBytes/2 {
		return fmt.Errorf("%s: %d bytes come out of it for one item, more than %d: programs cut mails off at 100 kB",
			t.name, b.Len(), mostBytes/2)
	}
	return nil
}

// samples are contents of every shape: one item and many, in groups and without, with links and without any URL, with texts that
// mean harm, without content, and with everything empty that may be.
func (r *Renderer) samples(tag string) []*Content {
	at := time.Date(2026, time.November, 22, 14, 58, 0, 0, time.UTC)
	items := func(n int, change func(i int, item *inbox.Item)) []inbox.Item {
		made := make([]inbox.Item, n)
		for i := range made {
			made[i] = inbox.Item{
				ID: int64(n - i), Seq: int64(n - i), Kind: "sample", Title: "Sample", Text: fmt.Sprintf("Sample %d", n-i),
				Data:      json.RawMessage(`{"actor": "Ann", "task": {"title": "Paint the door"}}`),
				CreatedAt: at.Add(-time.Duration(i) * time.Hour * 24),
			}
			if change != nil {
				change(i, &made[i])
			}
		}
		return made
	}
	hostile := "</title><script>alert(1)</script>\r\nBcc: x@example.org\x00 {{.Site}} \u202e\xff " + strings.Repeat("long", 100)
	ann := Recipient{UserID: "ann", Name: "Ann"}
	digests := []Digest{
		{Recipient: ann, Items: items(1, nil)},
		{Recipient: ann, UnsubscribeToken: "token", Items: items(1, func(_ int, item *inbox.Item) {
			group, link := "project:7", "/projects/7"
			item.Group, item.Link = &group, &link
		})},
		{Recipient: Recipient{UserID: "ann"}, UnsubscribeToken: "token", Items: items(200, func(i int, item *inbox.Item) {
			if group := fmt.Sprintf("project:%d", i%30); i%30 != 0 {
				item.Group = &group
			}
			if link := fmt.Sprintf("https://example.org/tasks/%d", i); i%2 == 0 {
				item.Link = &link
			}
			item.Kind = fmt.Sprintf("kind.%d", i%20)
		})},
		{Recipient: Recipient{Name: hostile}, UnsubscribeToken: "token", Items: items(7, func(_ int, item *inbox.Item) {
			item.Group, item.Link, item.Text, item.Title, item.Kind = &hostile, &hostile, hostile, hostile, hostile
			item.Data, _ = json.Marshal(map[string]string{"actor": hostile})
		})},
		{Recipient: Recipient{UserID: "ann"}, UnsubscribeToken: "token", Items: items(3, func(_ int, item *inbox.Item) {
			empty := ""
			item.Group, item.Link, item.Text, item.Title, item.Data = &empty, &empty, "", "", nil
		})},
	}
	var samples []*Content
	for i := range digests {
		d := &digests[i]
		d.At, d.Zone, d.MessageID = at, time.UTC, "sample@example.org"
		c := r.compose(d, r.variants[tag], tag, r.settings.limits)
		samples = append(samples, c)
		// What other options, and other recipients, make of the same.
		bare := *c
		bare.SiteURL, bare.InboxURL, bare.PreferencesURL, bare.UnsubscribeURL, bare.Kinds = "", "", "", "", nil
		full := *c
		full.SiteURL, full.InboxURL = "https://example.org", "https://example.org/inbox"
		full.PreferencesURL = "https://example.org/mail"
		silent := full
		silent.NoContent, silent.Groups, silent.More, silent.MoreText, silent.Kinds, silent.Preview = true, nil, 0, "", nil, ""
		silent.Summary = silent.Words.Heading
		samples = append(samples, &bare, &full, &silent)
	}
	return samples
}
