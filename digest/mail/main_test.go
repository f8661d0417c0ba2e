package mail_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/inbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at is when the digests of the tests were claimed.
var at = time.Date(2026, time.November, 22, 13, 58, 30, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// options are those of a site that has everything.
func options() mail.Options {
	return mail.Options{
		Site: "Example Projects", From: "Example Projects <projects@example.org>", PublicURL: "https://projects.example.org",
		InboxURL: "/inbox", PreferencesURL: "/settings/mail",
	}
}

// renderer makes one of those options, after they were changed.
func renderer(t testing.TB, change func(*mail.Options)) *mail.Renderer {
	t.Helper()
	o := options()
	if change != nil {
		change(&o)
	}
	r, err := mail.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var happenings = []struct{ kind, title, text string }{
	{"task.completed", "Task completed", "Ben completed “Paint the door”"},
	{"mention", "Mention", "Cara mentioned you: could you look at the offer for the windows before Friday?"},
	{"task.completed", "Task completed", "Ben completed “Order tiles”"},
	{"file.added", "File added", "Dmitri added “floor plan, second version.pdf”"},
	{"task.overdue", "Task overdue", "“Choose handles” was due on Thursday"},
}

var places = []struct{ group, title string }{
	{"project:7", "Kitchen renovation"}, {"project:12", "Garden & terrace"}, {"conversation:3", "Ann, Ben and Cara"},
}

// digest has so many items, of a few kinds and groups.
func digest(n int) mail.Digest {
	d := mail.Digest{
		Recipient: mail.Recipient{UserID: "ann", Email: "ann@example.com", Name: "Ann Lee", Locale: "en"},
		Kinds:     map[string]string{}, MessageID: "17.k3m9q2vx7c4d@example.org", At: at, UnsubscribeToken: "5sQmFh0Yd3o9jVbT2uLwXw",
	}
	d.Zone, _ = time.LoadLocation("Europe/Berlin")
	for i := range n {
		what, where := happenings[i%len(happenings)], places[i%7%len(places)]
		d.Kinds[what.kind] = what.title
		d.Items = append(d.Items, inbox.Item{
			ID: int64(9000 - i), Seq: int64(500 - i), Kind: what.kind, Title: what.title, Text: what.text, Group: ptr(where.group),
			Link: ptr(fmt.Sprintf("/tasks/%d", 400-i)), CreatedAt: at.Add(-time.Duration(i*i+i+5) * 17 * time.Minute),
			Data: json.RawMessage(fmt.Sprintf(`{"group_title": %q, "actor": "Ben", "task": {"id": %d}}`, where.title, 400-i)),
		})
	}
	return d
}

// hostile has everything in it that could do harm somewhere.
const hostile = "Ann\r\nBcc: victim@example.net\r\n\r\n<script>alert(1)</script>\x00{{.Site}} \u202egnp.exe \u2066\u2028next =?utf-8?q?=0d=0aX:_y?= \"' +\xff\xfe\x1b[31m"

// digests are some of every shape.
func digests() map[string]mail.Digest {
	all := map[string]mail.Digest{"one": digest(1), "some": digest(13), "many": digest(200)}

	german := digest(13)
	german.Recipient.Locale, german.Recipient.Name = "de-AT", "Jürgen Groß"
	all["german"] = german

	alone := digest(3)
	for i := range alone.Items {
		alone.Items[i].Group, alone.Items[i].Link = nil, nil
	}
	alone.Recipient.Name, alone.UnsubscribeToken, alone.Zone = "", "", nil
	all["alone"] = alone

	group := digest(7)
	for i := range group.Items {
		group.Items[i].Group = ptr("project:7")
	}
	all["group"] = group

	empty := digest(4)
	for i := range empty.Items {
		empty.Items[i] = inbox.Item{Group: ptr(""), Link: ptr(""), Data: json.RawMessage("null")}
	}
	empty.Kinds = nil
	all["empty"] = empty

	all["hostile"] = hostileDigest(hostile, 6)
	return all
}

// hostileDigest has a text wherever one may be.
func hostileDigest(text string, n int) mail.Digest {
	d := digest(n)
	d.Recipient.Name, d.Recipient.UserID = text, text
	d.Kinds, d.Groups = map[string]string{text: text}, map[string]string{text + "1": text}
	data, _ := json.Marshal(map[string]any{"group_title": text, text: text})
	for i := range d.Items {
		item := &d.Items[i]
		item.Kind, item.Title, item.Text, item.Data = text, text, text, data
		item.Group = ptr(text + fmt.Sprint(i%3))
		item.Link = ptr([]string{text, "/" + text, "https://example.org/" + text, "javascript:alert(1)//" + text, "https://example.org/?q=" + text}[i%5])
	}
	return d
}
