package mail

import (
	"bytes"
	"fmt"
	htmltemplate "html/template"
	netmail "net/mail"
	texttemplate "text/template"
	"time"

	"github.com/trunkline/trunkline"
)

// Limits of letters, in characters. What is longer is shortened.
const (
	mostParagraph  = 2000
	mostParagraphs = 20
	mostButton     = 60
)

// A Letter is a single mail that isn't a digest: an invitation, a new password, a receipt. It looks as digests do, comes from the
// same sender and is signed by the same keys. Nobody can unsubscribe from it, so it should be what its recipient needs or asked for.
//
// Its texts may hold anything, such as names that people gave themselves: each becomes one line without control characters, and
// is escaped for wherever it stands. Its bytes depend on it and on the renderer's options alone (but for a signature's time).
type Letter struct {
	// Recipient's locale is that of the greeting and of the mail as a whole: write the other texts in it.
	Recipient Recipient
	// Subject, at most 150 characters. Required.
	Subject string
	// Greeting, such as "Hello Ann,". Empty: that, in the recipient's language or, if there are no words for it, in the site's.
	Greeting string
	// Heading, at most 150 characters. Empty: the subject.
	Heading string
	// Paragraphs of plain text, at most 20 of 2,000 characters.
	Paragraphs []string
	// Button is what the recipient is to do, if anything. Its address also stands below it, to be copied.
	Button *Button
	// Note stands below, small: such as why the mail was sent, and what to do if it wasn't asked for. May be empty.
	Note string
	// MessageID without angle brackets, stable across tries. Its domain should be [Renderer.Domain].
	MessageID string
	// At is the mail's date.
	At time.Time
}

// A Button is a link that stands out.
type Button struct {
	Text string // at most 60 characters
	// URL is absolute with the scheme http or https, or begins with a slash and is joined to the site's public URL.
	URL string
}

// letterContent is what a letter's templates are given: texts of one line, and URLs that are absolute.
type letterContent struct {
	Locale, Direction, Subject, Preview, Greeting, Heading string

	Paragraphs    []string
	Button        *Button
	Note          string
	Site, SiteURL string
}

var (
	letterHTML  = htmltemplate.Must(htmltemplate.ParseFS(builtinFiles(), "letter/letter.html.tmpl"))
	letterPlain = texttemplate.Must(texttemplate.New("letter.txt.tmpl").
			Funcs(texttemplate.FuncMap{"rule": rule}).ParseFS(builtinFiles(), "letter/letter.txt.tmpl"))
)

// Letter makes a mail of a letter, signed if there are keys. The templates of [Options] are those of digests, and aren't used.
// Neither does [Options].NoContent change a letter, since the site has written all of it.
//
// An error is a *[trunkline.ArgumentError] if no mail can be made of it, however often it is tried, or else one of signing.
func (r *Renderer) Letter(l Letter) (Envelope, error) {
	to, c, err := r.letter(&l)
	if err != nil {
		return Envelope{}, err
	}
	to.Name = name(l.Recipient.Name)
	b := r.buffers.Get().(*bytes.Buffer)
	defer func() { b.Reset(); r.buffers.Put(b) }()
	text := Text{Subject: c.Subject, Locale: c.Locale}
	b.Reset()
	if err := letterPlain.Execute(b, c); err != nil {
		return Envelope{}, fmt.Errorf("write the letter %s: %w", l.MessageID, err)
	}
	text.Plain = finish(b.String())
	b.Reset()
	if err := letterHTML.Execute(b, c); err != nil {
		return Envelope{}, fmt.Errorf("write the letter %s: %w", l.MessageID, err)
	}
	text.HTML = b.String()
	// It is in no list: what sorts notifications shouldn't put a forgotten password among them.
	mail, err := r.write(form{messageID: l.MessageID, at: l.At}, to, text)
	if err != nil {
		return Envelope{}, fmt.Errorf("write the letter %s: %w", l.MessageID, err)
	}
	if len(mail) > mostBytes {
		return Envelope{}, badLetter("paragraphs", fmt.Sprintf("the letter %q has %d bytes", l.MessageID, len(mail)),
			"Programs cut mails off at 100 kB: write less")
	}
	if mail, err = r.sign(mail); err != nil {
		return Envelope{}, err
	}
	return Envelope{From: r.bounce(l.MessageID), To: path(to), Data: mail}, nil
}

// letter checks a letter, and makes what its templates are given.
func (r *Renderer) letter(l *Letter) (netmail.Address, *letterContent, error) {
	v, locale := r.variant(l.Recipient.Locale)
	c := &letterContent{
		Locale: locale, Direction: direction(locale), Subject: line(l.Subject, mostSubject), Greeting: line(l.Greeting, mostSubject),
		Heading: line(l.Heading, mostSubject), Note: line(l.Note, mostText), Site: r.settings.site, SiteURL: r.settings.publicURL,
	}
	to, err := address("email", l.Recipient.Email)
	if err != nil {
		return to, nil, err
	}
	if err := datable("letter", l.MessageID, l.At); err != nil {
		return to, nil, err
	}
	if c.Subject == "" {
		return to, nil, badLetter("subject", fmt.Sprintf("the letter %q has no subject", l.MessageID), "Give one that has letters")
	}
	if len(l.Paragraphs) > mostParagraphs {
		return to, nil, badLetter("paragraphs", fmt.Sprintf("the letter %q has %d paragraphs", l.MessageID, len(l.Paragraphs)),
			fmt.Sprintf("Give at most %d", mostParagraphs))
	}
	for _, p := range l.Paragraphs {
		if p = line(p, mostParagraph); p != "" {
			c.Paragraphs = append(c.Paragraphs, p)
		}
	}
	if l.Button != nil {
		c.Button = &Button{Text: line(l.Button.Text, mostButton), URL: absolute(l.Button.URL, r.settings.publicURL)}
		// The URL may hold a secret, which has no place in an error.
		if c.Button.URL == "" || c.Button.Text == "" {
			return to, nil, badLetter("button", fmt.Sprintf("the button of the letter %q has no text, or leads nowhere", l.MessageID),
				"Give a text and an http or https URL; one that begins with a slash needs a public URL to be joined to")
		}
	}
	if c.Greeting == "" {
		c.Greeting = v.language.greeting(line(l.Recipient.Name, mostName))
	}
	if c.Heading == "" {
		c.Heading = c.Subject
	}
	if len(c.Paragraphs) > 0 {
		c.Preview = clip(c.Paragraphs[0], mostPreview)
	}
	return to, c, nil
}

func badLetter(argument, problem, fix string) error {
	return &trunkline.ArgumentError{Argument: argument, Problem: problem, Fix: fix}
}
