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
