package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/inbox"
)

// TestMailInChromium looks at mails as their readers do: in a wide window and a narrow one, light and dark, zoomed, and without
// style sheets, which some programs leave out. `go test -run MailInChromium -artifacts ./e2e` keeps the pictures.
func TestMailInChromium(t *testing.T) {
	t.Parallel()
	browser := startDriver(t, "mail", "", need(t, "chromium", "chromium-browser", "google-chrome", "Chromium"))
	pictures := "" // they take most of the time, and are for people
	if keep := flag.Lookup("test.artifacts"); keep != nil && keep.Value.String() == "true" {
		pictures = t.ArtifactDir()
	}
	for name, html := range sampleMails(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, l := range looks {
				if !l.all && name != "many" && name != "hostile" && pictures == "" {
					continue // nothing there that these two don't have
				}
				picture := ""
				if pictures != "" {
					picture = filepath.Join(pictures, name+"-"+l.name+".png")
				}
				lookAt(t, browser, html, l, picture)
			}
		})
	}
}

// look is a way to look at a mail.
type look struct {
	name   string
	width  int // of the window
	zoom   float64
	scheme string
	bare   bool // without style sheets
	all    bool // for every mail
}

var looks = []look{
	{"light", 800, 1, "light", false, true},
	{"dark", 800, 1, "dark", false, false},
	{"narrow", 320, 1, "light", false, false},
	{"narrow-dark", 320, 1, "dark", false, true},
	{"zoomed", 640, 2, "light", false, false},
	{"bare", 600, 1, "light", true, false},
	{"bare-dark", 320, 1, "dark", true, false},
}

func lookAt(t *testing.T, browser *driver, html string, l look, picture string) {
	answer, err := browser.ask(t, map[string]any{
		"html": html, "width": l.width, "zoom": l.zoom, "scheme": l.scheme, "bare": l.bare, "png": picture,
	})
	if err != nil {
		t.Fatalf("%s: %v", l.name, err)
	}
	var seen struct {
		Requests, Faint, Problems []string
		Overflow, Texts, Links    int
	}
	if err := json.Unmarshal(answer, &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Texts < 3 || seen.Links < 2 {
		t.Errorf("%s: only %d texts and %d links were looked at", l.name, seen.Texts, seen.Links)
	}
	if seen.Overflow > 0 {
		t.Errorf("%s: %d px wider than the window", l.name, seen.Overflow)
	}
	for what, found := range map[string][]string{"asks the network for": seen.Requests, "is too faint": seen.Faint, "has a problem": seen.Problems} {
		if len(found) > 0 {
			t.Errorf("%s %s:\n%s", l.name, what, strings.Join(found, "\n"))
		}
	}
}

// sampleMails are the HTML of mails of every shape.
func sampleMails(t *testing.T) map[string]string {
	at := time.Date(2026, time.November, 22, 13, 58, 0, 0, time.UTC)
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	render := func(locale string, noContent bool, texts ...string) string {
		r, err := mail.New(mail.Options{
			Site: "Example Projects", From: "projects@example.org", PublicURL: "https://projects.example.org", InboxURL: "/inbox",
			PreferencesURL: "/settings/mail", NoContent: noContent,
		})
		if err != nil {
			t.Fatal(err)
		}
		d := mail.Digest{
			Recipient: mail.Recipient{UserID: "ann", Email: "ann@example.com", Name: "Ann Lee", Locale: locale},
			Kinds:     map[string]string{"task": "Task completed", "mention": "Mention"},
			MessageID: "1.abc@example.org", At: at, Zone: zone, UnsubscribeToken: strings.Repeat("t0K_", 8),
		}
		for i, text := range texts {
			title, text, _ := strings.Cut(text, "|")
			item := inbox.Item{
				ID: int64(100 - i), Kind: []string{"task", "mention"}[i%2], Text: text, CreatedAt: at.Add(-time.Duration(i*i) * 37 * time.Minute),
			}
			if title != "" {
				item.Group = &title
			}
			if link := fmt.Sprintf("/tasks/%d", 400-i); i%4 != 3 {
				item.Link = &link
			}
			d.Items = append(d.Items, item)
		}
		_, text, err := r.Render(d)
		if err != nil {
			t.Fatal(err)
		}
		return text.HTML
	}
	long := strings.Repeat("Donaudampfschifffahrtselektrizitäten", 12)
	many := []string{
		"Kitchen renovation|Ben completed “Paint the door”", "Kitchen renovation|Cara mentioned you: could you look at the offer for the windows before Friday?",
		"Garden & terrace|“Choose handles” was due on Thursday", "|Your export is ready", "Garden & terrace|Dmitri added “floor plan.pdf”",
		"Kitchen renovation|Ben completed “Order tiles”",
	}
	for i := range 12 {
		many = append(many, fmt.Sprintf("Kitchen renovation|Ben completed “Task %d”", i))
	}
	return map[string]string{
		"one":        render("en", false, "Kitchen renovation|Ben completed “Paint the door”"),
		"alone":      render("en-GB", false, "|Your export is ready", "|Your import is ready"),
		"many":       render("en", false, many...),
		"german":     render("de-AT", false, many...),
		"no-content": render("de", true, many...),
		"hostile": render("en", false,
			long+"|"+long, "<b>x</b></title><style>*{display:none}</style>|</a><script>alert(1)</script><img src=https://tracker.example.net/x.png>",
			"\u202egnp.exe|\u202etxet desrever", strings.Repeat("W", 300)+"|"+strings.Repeat("W", 300)),
		"right-to-left": render("en", false, "تجديد المطبخ|أكملت آنا «طلاء الباب»", "تجديد المطبخ|Ben completed “Paint the door”"),
		"wide":          render("en", false, "厨房装修|"+strings.Repeat("安完成了油漆门的任务", 20)),
	}
}
