package mail

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/trunkline/trunkline/inbox"
)

// Content is what templates are given. Every text in it is one line without control characters, and every URL is absolute with
// the scheme http or https, or empty.
type Content struct {
	Locale    string // of the mail's own words and times, such as de-AT
	Direction string // in which that is written: ltr or rtl
	Subject   string // empty in the subject's own template
	Site      string // the site's name
	SiteURL   string
	Name      string // the recipient's, may be empty
	Count     int    // how many items there are, shown or not
	NoContent bool   // there may be none of the items in the mail: Groups, Kinds, Preview are empty
	Summary   string // Ann completed “Paint the door” and 13 more
	Preview   string // what programs show next to the subject, may be empty
	Groups    []Group
	More      int    // how many items there are in groups of which none is shown
	MoreText  string // and 9 more, or empty
	Kinds     []Kind // that occur and can be unsubscribed from
	Words     Words
	TimeZone  string // such as Europe/Berlin
	At        time.Time

	InboxURL       string
	PreferencesURL string
	UnsubscribeURL string // from all mail
}

// A Group is items that belong together, such as those of a project, newest first.
type Group struct {
	Name     string // such as project:7; empty: of what belongs to none
	Title    string // empty: there is nothing to tell it from
	Heading  string // the title and the count: Kitchen renovation (7)
	Count    int    // how many items it has, shown or not
	Items    []Item
	More     int    // how many of them aren't shown
	MoreText string // and 3 more, or empty
}

// An Item is one notification.
type Item struct {
	Text      string // Ann completed “Paint the door”
	Kind      string // task.completed
	Title     string // its kind's: Task completed
	Link      string
	Time      string // when it happened, in the recipient's zone and locale
	CreatedAt time.Time

	raw json.RawMessage
}

// Data returns the scalars of the notification's data by their names, {{.Data.actor}}, or with dots where they are in objects:
// {{index .Data "task.title"}}. What isn't there is empty.
func (i Item) Data() map[string]string { return flatten(i.raw) }

// A Kind is one that occurs among the items.
type Kind struct {
	Name           string // task.completed
	Title          string // Task completed
	StopText       string // label of the link
	UnsubscribeURL string
}

// limits are how much of a digest a mail shows.
type limits struct{ group, all, text int }

// mostKinds is how many kinds have links of their own; the page that the last link leads to has them all.
const mostKinds = 8

// compose makes the content of a digest's mail.
func (r *Renderer) compose(d *Digest, v *variant, locale string, most limits) *Content {
	l, s := v.language, r.settings
	zone := d.Zone
	if zone == nil {
		zone = time.UTC
	}
	c := &Content{
		Locale: locale, Direction: direction(locale), Site: s.site, SiteURL: s.publicURL, Name: line(d.Recipient.Name, mostName),
		Count: len(d.Items), NoContent: s.noContent, TimeZone: zone.String(), At: d.At.In(zone),
		InboxURL: s.inboxURL, PreferencesURL: s.preferencesURL,
	}
	c.Words = v.words
	c.Words.Greeting = l.greeting(c.Name)
	c.Words.Heading = l.heading(c.Count, s.site)
	c.Words.TimeZone = l.timeZone + c.TimeZone
	if d.UnsubscribeToken != "" && s.unsubscribeURL != "" {
		c.UnsubscribeURL = s.unsubscribeURL + "/" + url.PathEscape(d.UnsubscribeToken)
	}
	c.Summary = c.Words.Heading
	if c.NoContent {
		return c
	}
	r.arrange(c, d, l, most)
	if c.UnsubscribeURL != "" {
		c.Kinds = kinds(c.UnsubscribeURL, d, l)
	}
	newest := clip(textOf(&d.Items[0], d), mostSubject*2/3)
	if c.Summary = newest; c.Count > 1 {
		c.Summary = l.summary(trimStop(newest), c.Count-1)
	}
	c.Preview = preview(c)
	return c
}

// arrange fills in the groups: the newest items in full, those of a group together.
func (r *Renderer) arrange(c *Content, d *Digest, l *language, most limits) {
	// Few enough that looking through them is faster than a map.
	find := func(name string) *Group {
		for i := range c.Groups {
			if c.Groups[i].Name == name {
				return &c.Groups[i]
			}
		}
		return nil
	}
	shown := 0
	var hidden map[string]int
	for i := range d.Items {
		item := &d.Items[i]
		name := ""
		if item.Group != nil {
			name = *item.Group
		}
		g := find(name)
		if g == nil && shown < most.all {
			if c.Groups == nil {
				c.Groups = make([]Group, 0, 4)
			}
			c.Groups = append(c.Groups, Group{Name: name, Title: r.groupTitle(name, item, d)})
			g = &c.Groups[len(c.Groups)-1]
		}
		if g == nil {
			if hidden == nil {
				hidden = make(map[string]int)
			}
			hidden[name]++
			c.More++
			continue
		}
		g.Count++
		if shown == most.all || len(g.Items) == most.group {
			g.More++
			continue
		}
		shown++
		if g.Items == nil {
			g.Items = make([]Item, 0, min(most.group, len(d.Items)-i))
		}
		at := item.CreatedAt.In(c.At.Location())
		g.Items = append(g.Items, Item{
			Text: clip(textOf(item, d), most.text), Kind: item.Kind, Title: kindTitle(item.Kind, d),
			Link: linkOf(item, r.settings.publicURL),
			Time: l.when(at, c.Locale, at.Year() == c.At.Year()), CreatedAt: at, raw: item.Data,
		})
	}
	for i := range c.Groups {
		g := &c.Groups[i]
		if g.Name == "" && (len(c.Groups) > 1 || len(hidden) > 0) {
			g.Title = l.other
		}
		if g.Title != "" {
			g.Heading = g.Title + " (" + strconv.Itoa(g.Count) + ")"
		}
		if g.More > 0 {
			g.MoreText = l.more(g.More)
		}
	}
	if c.More > 0 {
		c.MoreText = l.more(c.More)
	}
}

// textOf is the line that says what an item is about.
func textOf(item *inbox.Item, d *Digest) string {
	if text := line(item.Text, mostText); text != "" {
		return text
	}
	if text := line(item.Title, mostTitle); text != "" {
		return text
	}
	return kindTitle(item.Kind, d)
}

func kindTitle(kind string, d *Digest) string {
	if title := line(d.Kinds[kind], mostTitle); title != "" {
		return title
	}
	if title := line(kind, mostTitle); title != "" {
		return title
	}
	return "…"
}

func linkOf(item *inbox.Item, public string) string {
	if item.Link == nil {
		return ""
	}
	return absolute(*item.Link, public)
}

// groupTitle is the heading of a group, whose newest item is given.
func (r *Renderer) groupTitle(name string, newest *inbox.Item, d *Digest) string {
	if name == "" {
		return ""
	}
	if title := line(d.Groups[name], mostTitle); title != "" {
		return title
	}
	if bytes.Contains(newest.Data, []byte(`"group_title"`)) {
		var said struct {
			Title json.RawMessage `json:"group_title"`
		}
		var title string
		if json.Unmarshal(newest.Data, &said) == nil && json.Unmarshal(said.Title, &title) == nil {
			if title = line(title, mostTitle); title != "" {
				return title
			}
		}
	}
	return line(name, mostTitle)
}

// kinds are those that occur, in the order in which they do.
func kinds(unsubscribe string, d *Digest, l *language) []Kind {
	var found []Kind
	for i := range d.Items {
		name := d.Items[i].Kind
		known := false
		for j := range found {
			known = known || found[j].Name == name
		}
		if known {
			continue
		}
		if len(found) == mostKinds {
			break
		}
		title := kindTitle(name, d)
		found = append(found, Kind{
			Name: name, Title: title, StopText: l.stop(title), UnsubscribeURL: unsubscribe + "?kind=" + url.QueryEscape(name),
		})
	}
	return found
}

// preview says what the subject doesn't: what the next items are.
func preview(c *Content) string {
	var b strings.Builder
	b.Grow(4 * mostPreview)
	for i := range c.Groups {
		for j := range c.Groups[i].Items {
			if i == 0 && j == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(" · ")
			}
			if b.WriteString(c.Groups[i].Items[j].Text); b.Len() > 3*mostPreview {
				return clip(b.String(), mostPreview)
			}
		}
	}
	if b.Len() == 0 {
		return c.Words.Heading
	}
	return clip(b.String(), mostPreview)
}

// trimStop removes the full stop of a sentence that goes on.
func trimStop(s string) string {
	if n := len(s) - 1; n > 0 && s[n] == '.' && s[n-1] != '.' {
		return s[:n]
	}
	return s
}

// flatten makes a map of the scalars in data.
func flatten(raw json.RawMessage) map[string]string {
	found := make(map[string]string)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return found
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, inner := range value {
				if path != "" {
					key = path + "." + key
				}
				walk(key, inner)
			}
		case string:
			found[path] = line(value, mostText)
		case json.Number:
			found[path] = line(value.String(), mostText)
		case bool:
			found[path] = strconv.FormatBool(value)
		}
	}
	walk("", value)
	return found
}
