package mail

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// mostBytes is how large a mail may be: Gmail cuts off what is beyond 102 kB, and with it the links that unsubscribe.
const mostBytes = 100_000

// A Renderer makes mails of digests. It may be used by several goroutines at once.
type Renderer struct {
	settings *settings
	variants map[string]*variant // by locale
	builtin  map[string]*variant // the same without the site's templates
	signers  []signer
	buffers  sync.Pool

	mu     sync.Mutex
	warned map[string]time.Time // when a template's failure was last told of
}

// Text is what a mail says, for people and logs.
type Text struct {
	Subject string
	Plain   string // lines end with \n
	HTML    string
	Locale  string // that it was written in
}

// New checks the options, and tries the templates on samples of what they will be given, so that what is wrong with them is known
// now. The error names all that is wrong at once; errors.As finds a *[trunkline.ArgumentError] in it.
func New(o Options) (*Renderer, error) {
	s, err := o.check()
	if err != nil {
		// Templates are parsed nevertheless, but can't be tried.
		_, _, other := load(o.Templates)
		return nil, errors.Join(err, other)
	}
	ours, theirs, err := load(o.Templates)
	if err != nil {
		return nil, err
	}
	r := &Renderer{settings: s, warned: make(map[string]time.Time)}
	r.buffers.New = func() any { return new(bytes.Buffer) }
	if r.variants, err = variants(s, ours, theirs); err != nil {
		return nil, err
	}
	r.builtin = make(map[string]*variant, len(r.variants))
	for tag, v := range r.variants {
		plain := *v
		plain.html, plain.plain, plain.subject = ours[htmlFile][""], ours[plainFile][""], ours[subjectFile][""]
		r.builtin[tag] = &plain
	}
	for i := range o.DKIM {
		r.signers = append(r.signers, o.DKIM[i].signer())
	}
	if err := r.try(); err != nil {
		return nil, err
	}
	return r, nil
}

// Domain is that of the sender's address, which Message-IDs should have.
func (r *Renderer) Domain() string { return r.settings.domain }

// Shown is how many items a mail shows in full: so many of each group, and so many in all, the newest ones. Of all others only the
// kind and the group are looked at, so that their texts and data needn't be fetched. With [Options].NoContent it is none.
func (r *Renderer) Shown() (perGroup, most int) {
	if r.settings.noContent {
		return 0, 0
	}
	return r.settings.limits.group, r.settings.limits.all
}

// Render makes the mail of a digest, signed if there are keys. Where a template of the site's fails, the built-in one takes its
// place, which is logged: a notification isn't lost for it.
//
// An error is a *[trunkline.ArgumentError] if no mail can be made of the digest, however often it is tried, or else one of signing.
func (r *Renderer) Render(d Digest) (Envelope, Text, error) {
	to, err := d.check()
	if err != nil {
		return Envelope{}, Text{}, err
	}
	to.Name = name(d.Recipient.Name)
	v, locale := r.variant(d.Recipient.Locale)
	for most := r.settings.limits; ; most = most.smaller() {
		c := r.compose(&d, v, locale, most)
		text, err := r.text(v, c)
		if err != nil {
			return Envelope{}, Text{}, fmt.Errorf("write the mail %s: %w", d.MessageID, err)
		}
		mail, err := r.write(r.form(&d), to, text)
		if err != nil {
			return Envelope{}, Text{}, fmt.Errorf("write the mail %s: %w", d.MessageID, err)
		}
		if len(mail) > mostBytes && (most != smallest || v.own()) {
			if most == smallest {
				// It isn't the items: the site's templates are that large by themselves.
				r.warn(v.html.name, fmt.Sprintf("the mail is larger than %d bytes", mostBytes))
				v, most = r.builtin[r.tag(locale)], r.settings.limits
			}
			continue
		}
		mail, err = r.sign(mail)
		if err != nil {
			return Envelope{}, Text{}, err
		}
		return Envelope{From: r.bounce(d.MessageID), To: path(to), Data: mail}, text, nil
	}
}

// smallest is what is left of a mail that would be too large otherwise.
var smallest = limits{group: 1, all: 1, text: 100}

func (l limits) smaller() limits {
	if l.all <= 2 {
		return smallest
	}
	return limits{group: max(l.group/2, 1), all: l.all / 2, text: max(l.text*2/3, 100)}
}

// own reports whether any template is the site's own.
func (v *variant) own() bool { return v.html.own || v.plain.own || v.subject.own }

// variant finds what is used for a locale, and the locale that the mail is then in.
func (r *Renderer) variant(locale string) (*variant, string) {
	full := canonical(locale)
	tag := r.tag(full)
	if full != tag && !strings.HasPrefix(full, tag+"-") {
		full = tag
	}
	return r.variants[tag], full
}

// tag is what there are words or templates for: a locale itself, or a wider one, or else the site's.
func (r *Renderer) tag(locale string) string {
	for tag := locale; tag != ""; tag = parent(tag) {
		if r.variants[tag] != nil {
			return tag
		}
	}
	return r.settings.locale
}

// text runs the templates.
func (r *Renderer) text(v *variant, c *Content) (Text, error) {
	b := r.buffers.Get().(*bytes.Buffer)
	defer func() { b.Reset(); r.buffers.Put(b) }()
	tag := r.tag(c.Locale)
	subject := func(t *template) (string, error) {
		b.Reset()
		if err := t.run(b, c); err != nil {
			return "", err
		}
		s := line(b.String(), mostSubject)
		if s == "" {
			return "", errors.New(t.name + ": the subject is empty")
		}
		return s, nil
	}
	body := func(t *template) (string, error) {
		b.Reset()
		if err := t.run(b, c); err != nil {
			return "", err
		}
		if len(bytes.TrimSpace(b.Bytes())) == 0 {
			return "", errors.New(t.name + ": nothing comes out of it")
		}
		return b.String(), nil
	}
	fallback := r.builtin[tag]
	t := Text{Locale: c.Locale}
	var err error
	if t.Subject, err = r.orElse(subject, v.subject, fallback.subject); err != nil {
		return Text{}, err
	}
	c.Subject = t.Subject
	plain, err := r.orElse(body, v.plain, fallback.plain)
	if err != nil {
		return Text{}, err
	}
	t.Plain = finish(plain)
	t.HTML, err = r.orElse(body, v.html, fallback.html)
	return t, err
}

// orElse runs a template, or the built-in one if that fails. That the latter fails as well was never seen.
func (r *Renderer) orElse(run func(*template) (string, error), t, builtin *template) (string, error) {
	s, err := run(t)
	if err != nil && t != builtin {
		r.warn(t.name, err.Error())
		s, err = run(builtin)
	}
	return s, err
}

// warn tells of a template's failure, but of each only once a minute: it might fail for thousands of mails.
func (r *Renderer) warn(template, problem string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, told := r.warned[template]; told && now.Sub(last) < time.Minute {
		return
	}
	r.warned[template] = now
	r.settings.logger.Warn("a mail template failed, mails are made with the built-in one instead",
		"template", template, "error", problem)
}
