package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest"
	"github.com/trunkline/trunkline/digest/devmail"
	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
)

// mailFlags say what is mailed of what stays unread, how it looks, and who takes it.
type mailFlags struct {
	PublicURL string `name:"public-url" placeholder:"URL" help:"Where people reach the site, such as https://app.example.org: links in mails begin with it. Default, for mail that is only kept: where serve serves."`
	SiteName  string `placeholder:"NAME" default:"Trunkline" help:"What people know the site as. Default: Trunkline."`
	Digests   string `enum:"auto,on,off" default:"auto" placeholder:"WHEN" help:"Mail what stays unread: on, off, or auto (the default), which is on where there is somewhere to send mail to, or to keep it."`

	SMTPURL     string `name:"smtp-url" placeholder:"URL" help:"Send mail through this server, such as smtp://user:password@mail.example.org:587 or smtps://…:465. Others on this machine may see it in the list of processes: prefer --smtp-url-file, or TRUNKLINE_SMTP_URL. Default: mail is kept in the data folder and shown at /dev/mail, if only this machine is served, without --trusted-proxy and without a --public-url elsewhere."`
	SMTPURLFile string `name:"smtp-url-file" placeholder:"FILE" type:"path" help:"The same, read from a file."`
	SMTPCA      string `name:"smtp-ca" placeholder:"FILE" type:"path" help:"Trust this certificate authority, in PEM, for the mail server, besides the system's."`

	MailFrom        string `placeholder:"ADDRESS" help:"Who mails are from: an address, or 'Name <address>'. Needed to send any."`
	MailReplyTo     string `placeholder:"ADDRESS" help:"Where answers go. Default: to the sender."`
	MailBounces     string `placeholder:"ADDRESS" help:"Where bounces go, such as bounces+{token}@example.org, where each mail has its own. Default: to the sender."`
	MailListID      string `name:"mail-list-id" placeholder:"ID" help:"The List-Id, by which people sort mail. Default: notifications. and the sender's domain."`
	MailFeedbackID  string `name:"mail-feedback-id" placeholder:"ID" help:"The Feedback-ID, by which large mail providers report complaints. Default: none."`
	MailNoContent   bool   `help:"Say in mails only how many notifications there are, with a link."`
	MailLocale      string `placeholder:"TAG" default:"en" help:"Language of mails to people without one: en (the default), de, or what --mail-templates has."`
	MailTimeZone    string `placeholder:"ZONE" default:"UTC" help:"Time zone of people without one, such as Europe/Berlin. Default: UTC."`
	MailTemplates   string `placeholder:"DIR" type:"path" help:"Folder with templates that replace the built-in ones: digest.html.tmpl, digest.txt.tmpl, subject.txt.tmpl."`
	MailInbox       string `placeholder:"URL" help:"Page that shows the inbox. Default: the public URL."`
	MailPreferences string `placeholder:"URL" help:"Page on which people say what is mailed. Default: none is linked."`
	DKIMKey         string `name:"dkim-key" placeholder:"FILE" type:"path" help:"Sign mails with this private key (RSA or Ed25519), in PEM."`
	DKIMDomain      string `name:"dkim-domain" placeholder:"DOMAIN" help:"Domain that signs. Default: the sender's."`
	DKIMSelector    string `name:"dkim-selector" placeholder:"NAME" default:"trunkline" help:"Selector under which the domain publishes the key. Default: trunkline."`
	DailyCap        int    `placeholder:"N" default:"10" help:"Mail nobody more than N times in 24 hours, up to 1,000; 0: no limit. Default: 10."`
	Uncertain       string `enum:"resend,park" default:"resend" placeholder:"WHAT" help:"What to do when the connection breaks just as a mail was handed over: resend it under the same Message-ID (the default), or park it for you to decide."`
}

// mailing is what flags have made: what the worker needs, and the box where mails are kept if they are.
type mailing struct {
	options digest.Options
	sender  mail.Sender
	box     *devmail.Box // nil where mails are sent
	server  *smtp.Sender // nil where they are kept
}

// close ends what sends.
func (m *mailing) close() {
	if m != nil {
		_ = m.sender.Close()
	}
}

// errNoMail says that there is nowhere to send mail to.
var errNoMail = errors.New("there is nowhere to send mail to: give --smtp-url-file FILE (or TRUNKLINE_SMTP_URL) and --mail-from ADDRESS")

// errKept says that mail is sent by somebody else.
var errKept = errors.New("this database's mails are sent by a worker with a mail server, and keeping them here would take them from their recipients: give --smtp-url-file FILE, --mail-from ADDRESS and --public-url URL, or name another database with --database-url")

// errNoBox says that mail can't be kept.
var errNoBox = errors.New("keep mail instead of sending it")

// open makes ready what flags say; what is wrong is found here, and not when the first mail is due. keep: mail may be kept in the folder dir where
// no server is named. Where there is nowhere to send it to, it returns errNoMail.
func (f *mailFlags) open(keep bool, dir, publicURL string, log *slog.Logger) (*mailing, error) {
	url, err := f.url()
	if err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.PublicURL != "" {
		publicURL = f.PublicURL
	}
	options := mail.Options{
		Site: f.SiteName, From: f.MailFrom, ReplyTo: f.MailReplyTo, PublicURL: publicURL, InboxURL: f.MailInbox, PreferencesURL: f.MailPreferences,
		ListID: f.MailListID, FeedbackID: f.MailFeedbackID, Bounces: f.MailBounces, NoContent: f.MailNoContent, Locale: f.MailLocale, Logger: log,
	}
	if options.From == "" {
		if url != "" {
			return nil, usagef("--smtp-url is given without --mail-from: give the address that mails come from, such as notifications@example.org")
		}
		options.From = "notifications@localhost.localdomain"
	}
	if url != "" && f.PublicURL == "" {
		return nil, usagef("--smtp-url is given without --public-url: links in mails need it, such as https://app.example.org")
	}
	if f.MailTemplates != "" {
		if entry, err := os.Stat(f.MailTemplates); err != nil || !entry.IsDir() {
			return nil, usagef("--mail-templates %s is no folder that can be read", f.MailTemplates)
		}
		options.Templates = os.DirFS(f.MailTemplates)
	}
	if err := f.sign(&options); err != nil {
		return nil, err
	}
	renderer, err := mail.New(options)
	if err != nil {
		return nil, usagef("%s", withMailFlags(err))
	}
	if url == "" && !keep {
		return nil, errNoMail
	}
	m := &mailing{options: f.options(renderer, log)}
	if url == "" {
		if m.box, err = devmail.Open(filepath.Join(dir, "mail"), 0); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoBox, err)
		}
		m.sender, m.options.Kept = m.box, true
	} else {
		if m.server, m.options.Concurrency, err = f.dial(url); err != nil {
			return nil, err
		}
		m.sender = m.server
	}
	m.options.Sender = m.sender
	return m, nil
}

// nowhere is the sender of a worker that only answers questions.
type nowhere struct{}

func (nowhere) Send(context.Context, mail.Envelope, func(context.Context) error) error {
	return errNoMail
}

func (nowhere) Close() error { return nil }

// rules are what decides who is mailed when, without anything to send mail with.
func (f *mailFlags) rules(log *slog.Logger) (*mailing, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	m := &mailing{sender: nowhere{}}
	renderer, err := mail.New(mail.Options{Site: "Trunkline", From: "notifications@localhost.localdomain"})
	if err != nil {
		return nil, err
	}
	m.options = f.options(renderer, log)
	m.options.Sender = m.sender
	return m, nil
}

// check refuses rules that can't be.
func (f *mailFlags) check() error {
	if _, err := time.LoadLocation(f.MailTimeZone); err != nil || f.MailTimeZone == "" || f.MailTimeZone == "Local" {
		return usagef("--mail-time-zone %q is no time zone that is known: give an IANA name, such as Europe/Berlin", f.MailTimeZone)
	}
	if f.DailyCap < 0 || f.DailyCap > 1000 {
		return usagef("--daily-cap %d is out of range: give 1 to 1,000, or 0 for no limit", f.DailyCap)
	}
	return nil
}

// options are the worker's.
func (f *mailFlags) options(renderer *mail.Renderer, log *slog.Logger) digest.Options {
	dailyCap := f.DailyCap
	if dailyCap == 0 {
		dailyCap = -1 // no such rule
	}
	return digest.Options{
		Renderer: renderer, Logger: log, Zone: f.MailTimeZone, Rules: digest.Rules{DailyCap: dailyCap}, Uncertain: digest.Policy(f.Uncertain),
	}
}

// url is the mail server's, with its password.
func (f *mailFlags) url() (string, error) {
	if f.SMTPURLFile == "" {
		return f.SMTPURL, nil
	}
	if f.SMTPURL != "" {
		return "", usagef("--smtp-url and --smtp-url-file are given: leave one out")
	}
	text, err := os.ReadFile(f.SMTPURLFile)
	if err != nil {
		return "", usagef("--smtp-url-file: %s", err)
	}
	url := strings.TrimSpace(string(text))
	if url == "" {
		return "", usagef("--smtp-url-file %s is empty: write one such as smtp://user:password@mail.example.org:587 into it", f.SMTPURLFile)
	}
	return url, nil
}

// dial makes the sender, which connects when there is something to send, and says how many mails may be under way: twice as many
// as there are connections, so that the next one is ready when a connection is free.
func (f *mailFlags) dial(url string) (sender *smtp.Sender, concurrency int, err error) {
	options, err := smtp.ParseURL(url)
	if err != nil {
		return nil, 0, usagef("--smtp-url: %s", err)
	}
	if f.SMTPCA != "" {
		options.CAFile = f.SMTPCA
	}
	if options.Connections == 0 {
		options.Connections = smtpConnections
	}
	if sender, err = smtp.New(options); err != nil {
		return nil, 0, usagef("--smtp-url: %s", err)
	}
	return sender, 2 * options.Connections, nil
}

// smtpConnections is how many connections to the mail server there are, unless its URL says otherwise.
const smtpConnections = 4

// sign reads the key that mails are signed with.
func (f *mailFlags) sign(options *mail.Options) error {
	if f.DKIMKey == "" {
		if f.DKIMDomain != "" {
			return usagef("--dkim-domain is given without --dkim-key: give the file with the private key, or leave it out")
		}
		return nil
	}
	text, err := os.ReadFile(f.DKIMKey)
	if err != nil {
		return usagef("--dkim-key: %s", err)
	}
	key, err := mail.ParseKey(bytes.TrimSpace(text))
	if err != nil {
		return usagef("--dkim-key %s: %s", f.DKIMKey, err)
	}
	domain := f.DKIMDomain
	if domain == "" {
		_, domain, _ = strings.Cut(strings.TrimSuffix(f.MailFrom, ">"), "@")
	}
	options.DKIM = []mail.DKIM{{Domain: domain, Selector: f.DKIMSelector, Key: key}}
	return nil
}

// mailFlagOf has the flags behind the arguments that errors are about, where they are called otherwise.
var mailFlagOf = map[string]string{
	"site": "site-name", "from": "mail-from", "reply-to": "mail-reply-to", "bounces": "mail-bounces", "inbox-url": "mail-inbox",
	"preferences-url": "mail-preferences", "unsubscribe-url": "public-url", "list-id": "mail-list-id", "feedback-id": "mail-feedback-id", "locale": "mail-locale",
	"templates": "mail-templates", "Zone": "mail-time-zone", "DailyCap": "daily-cap",
}

// withMailFlags says what is wrong with options, with the flag of each.
func withMailFlags(err error) string {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		texts := make([]string, 0, 1)
		for _, one := range several.Unwrap() {
			texts = append(texts, withMailFlags(one))
		}
		return strings.Join(texts, "; ")
	}
	var wrong *trunkline.ArgumentError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	flag, ok := mailFlagOf[wrong.Argument]
	if !ok {
		flag = wrong.Argument
	}
	return "--" + flag + ": " + err.Error()
}

// worker makes what finds out who is to be mailed, and mails it. wake: the engine runs, and wakes it.
func (m *mailing) worker(engine *trunkline.Engine, wake bool) (*digest.Worker, error) {
	options := m.options
	if wake {
		options.Engine = engine
	}
	worker, err := digest.New(engine.Pool(), options)
	if err != nil {
		return nil, usagef("%s", withMailFlags(err))
	}
	return worker, nil
}
