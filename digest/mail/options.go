package mail

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	netmail "net/mail"
	"strings"

	"github.com/trunkline/trunkline"
)

// Options configure a [Renderer]. Site and From are required; the zero value of every other field is a good default.
type Options struct {
	// Site is what people know the site as. At most 60 characters.
	Site string
	// From is the sender: an address, or 'Name <address>'. Without a name it is the site's.
	From string
	// ReplyTo is where answers go, in the same form. Empty: to the sender.
	ReplyTo string

	// PublicURL is where the site is, such as https://example.org: links that begin with a slash are joined to it. Empty: such
	// links are left out.
	PublicURL string
	// InboxURL is the page that shows the inbox. It may be relative. Empty: the public URL.
	InboxURL string
	// PreferencesURL is the page on which users say what is mailed. It may be relative. Empty: no such link.
	PreferencesURL string
	// UnsubscribeURL is what tokens are appended to, with a slash between. Empty: PublicURL + /v1/unsubscribe, which is right
	// where the site and Trunkline's server share an origin. With neither, mails have no links that unsubscribe.
	UnsubscribeURL string

	// ListID is the List-Id, by which people sort mail: such as notifications.example.org. Empty: that, with From's domain.
	ListID string
	// FeedbackID is the Feedback-ID, by which Gmail reports complaints: four fields with colons between. Empty: none.
	FeedbackID string
	// Bounces is the address that bounces go to: such as bounces@example.org, or bounces+{token}@example.org where each mail is
	// to have its own; {token} is then what stands before the @ of its Message-ID. Empty: From.
	Bounces string

	// NoContent makes mails that say only how many notifications there are, with a link to the inbox.
	NoContent bool
	// Locale is that of mails to recipients without one, or with one that there are no words for. BCP 47; default: en.
	Locale string

	// PerGroup is how many items of a group are shown in full. 1 to 100; default 5.
	PerGroup int
	// Most is how many items are shown in full in all. 1 to 200; default 20.
	Most int

	// Templates has files that replace the built-in ones: digest.html.tmpl, digest.txt.tmpl and subject.txt.tmpl, each also for
	// one locale, such as digest.de.html.tmpl. Any may be missing. Nil: none is replaced.
	Templates fs.FS

	// DKIM are the keys to sign with; each makes a signature of its own. Empty: mails aren't signed.
	DKIM []DKIM

	// Logger gets a warning where a template failed and the built-in one was used instead. Nil: discarded.
	Logger *slog.Logger
}

// settings are options that were checked.
type settings struct {
	site           string
	from           netmail.Address
	replyTo        *netmail.Address
	domain         string // From's
	publicURL      string
	inboxURL       string
	preferencesURL string
	unsubscribeURL string
	listID         string
	feedbackID     string
	bounces        string // may have a {token}
	noContent      bool
	locale         string
	limits         limits
	logger         *slog.Logger
}

// check returns what is wrong with all of them at once.
func (o *Options) check() (*settings, error) {
	var problems []error
	failed := func(err error) bool {
		if err != nil {
			problems = append(problems, err)
		}
		return err != nil
	}
	refuse := func(argument, problem, fix string) {
		problems = append(problems, &trunkline.ArgumentError{Argument: argument, Problem: problem, Fix: fix})
	}
	s := &settings{site: o.Site, noContent: o.NoContent, logger: o.Logger}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if o.Site == "" || line(o.Site, 60) != o.Site {
		refuse("site", "the name of the site, "+quoted(o.Site)+", is empty, over 60 characters, or no plain line",
			"Give what people know the site as, such as Example Projects")
	}

	from, err := mailbox("from", o.From)
	if !failed(err) {
		if from.Name == "" {
			from.Name = o.Site
		}
		s.from = from
		_, s.domain, _ = strings.Cut(from.Address, "@")
	}
	if o.ReplyTo != "" {
		replyTo, err := mailbox("reply-to", o.ReplyTo)
		failed(err)
		s.replyTo = &replyTo
	}
	s.bounces = s.from.Address
	if o.Bounces != "" {
		bounces, err := address("bounces", o.Bounces)
		if failed(err); err == nil {
			s.bounces = bounces.Address
		}
		local, _, _ := strings.Cut(strings.Replace(o.Bounces, "{token}", strings.Repeat("x", mostToken), 1), "@")
		if len(local) > 64 {
			refuse("bounces", "the bounce address "+quoted(o.Bounces)+" is too long with a token in it",
				fmt.Sprintf("At most 64 bytes may stand before an @, and a token has up to %d", mostToken))
		}
	}

	if s.publicURL, err = site("public-url", o.PublicURL); failed(err) {
		s.publicURL = "https://example.org" // so that what is joined to it isn't wrong as well
	}
	s.inboxURL, err = page("inbox-url", o.InboxURL, s.publicURL)
	failed(err)
	if o.InboxURL == "" {
		s.inboxURL = s.publicURL
	}
	s.preferencesURL, err = page("preferences-url", o.PreferencesURL, s.publicURL)
	failed(err)
	unsubscribe := o.UnsubscribeURL
	if unsubscribe == "" && s.publicURL != "" {
		unsubscribe = "/v1/unsubscribe"
	}
	s.unsubscribeURL, err = page("unsubscribe-url", unsubscribe, s.publicURL)
	failed(err)
	s.unsubscribeURL = strings.TrimSuffix(s.unsubscribeURL, "/")
	if strings.ContainsAny(s.unsubscribeURL, "?#") || len(s.unsubscribeURL) > 500 {
		refuse("unsubscribe-url", "the unsubscribe url "+quoted(o.UnsubscribeURL)+" has a query or is over 500 bytes",
			"Tokens are appended to it: give one such as https://example.org/v1/unsubscribe")
	}

	s.listID, err = o.list(s.domain)
	failed(err)
	s.feedbackID = o.FeedbackID
	if len(o.FeedbackID) > 127 || strings.ContainsFunc(o.FeedbackID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		refuse("feedback-id", "the Feedback-ID "+quoted(o.FeedbackID)+" is over 127 bytes, or has spaces, or isn't ASCII",
			"Give fields with colons between, such as digest:projects:notifications:example")
	}
	if s.locale = canonical(o.Locale); o.Locale == "" {
		s.locale = "en"
	} else if s.locale == "" {
		refuse("locale", "the locale "+quoted(o.Locale)+" is not one", "Give a BCP 47 tag such as de or pt-BR")
	}
	s.limits = limits{group: o.PerGroup, all: o.Most, text: mostText}
	if s.limits.group == 0 {
		s.limits.group = 5
	}
	if s.limits.all == 0 {
		s.limits.all = 20
	}
	if s.limits.group < 0 || s.limits.group > 100 {
		refuse("per-group", fmt.Sprintf("%d items of a group can't be shown", o.PerGroup), "Give 1 to 100")
	}
	if s.limits.all < 0 || s.limits.all > 200 {
		refuse("most", fmt.Sprintf("%d items can't be shown", o.Most), "Give 1 to 200")
	}
	for i := range o.DKIM {
		failed(o.DKIM[i].check())
	}
	return s, errors.Join(problems...)
}

// list returns the List-Id.
func (o *Options) list(domain string) (string, error) {
	id, name := o.ListID, line(o.Site, 60)
	if id == "" {
		id = "notifications." + domain
	} else if open := strings.LastIndexByte(id, '<'); open >= 0 && strings.HasSuffix(id, ">") {
		name, id = strings.TrimSpace(id[:open]), id[open+1:len(id)-1]
	}
	if domain == "" && o.ListID == "" {
		return "", nil // From is wrong, and said to be
	}
	if !isAtom(id) || !strings.Contains(id, ".") || len(id) > 200 || line(name, 60) != name {
		return "", &trunkline.ArgumentError{
			Argument: "list-id", Problem: "the List-Id " + quoted(o.ListID) + " is not one",
			Fix: "Give one such as notifications.example.org, or 'Notifications <notifications.example.org>'",
		}
	}
	return strings.TrimSpace(phrase(name) + " <" + id + ">"), nil
}

// mailbox checks an address with or without a name.
func mailbox(argument, text string) (netmail.Address, error) {
	parsed, err := netmail.ParseAddress(text)
	if err != nil {
		// One in a script of its own may have a domain that the parser doesn't know.
		if parsed, err := address(argument, text); err == nil {
			return parsed, nil
		}
		return netmail.Address{}, &trunkline.ArgumentError{
			Argument: argument, Problem: "the " + argument + " address " + quoted(text) + " is none",
			Fix: "Give one such as notifications@example.org, or 'Example <notifications@example.org>'",
		}
	}
	found, err := address(argument, path(*parsed))
	if err != nil {
		return netmail.Address{}, err
	}
	found.Name = name(parsed.Name)
	return found, nil
}

// name makes any name fit for a header. Something that looks like an encoded word isn't left as one: many programs decode those
// even within quotes. And net/mail leaves a backslash as it is in the encoded words of a name, where none may be.
func name(s string) string {
	s = strings.ReplaceAll(line(s, mostName), "=?", "= ?")
	if !isASCII(s) {
		s = strings.ReplaceAll(s, `\`, "/")
	}
	return s
}

// phrase writes a name in a header that isn't one of addresses.
func phrase(s string) string {
	if s = name(s); !isASCII(s) {
		return mime.BEncoding.Encode("utf-8", s)
	}
	if isAtom(strings.ReplaceAll(s, " ", "")) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// spaced makes words of the name of an option.
func spaced(argument string) string { return strings.ReplaceAll(argument, "-", " ") }

// quoted writes an untrusted text into an error.
func quoted(s string) string {
	if len(s) > 80 {
		s = line(s, 80)
	}
	return fmt.Sprintf("%q", s)
}
