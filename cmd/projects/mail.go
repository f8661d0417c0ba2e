package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/digest"
	"github.com/trunkline/trunkline/digest/devmail"
	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/digest/smtp"
	"github.com/trunkline/trunkline/projects/letter"
)

// mailFlags say who takes mails, and when what stays unread is mailed.
type mailFlags struct {
	SiteName    string        `placeholder:"NAME" default:"Projects" help:"What people know the site as. Default: Projects."`
	SMTPURL     string        `name:"smtp-url" placeholder:"URL" help:"Send mail through this server, such as smtp://user:password@mail.example.org:587. Others on this machine may see it in the list of processes: prefer --smtp-url-file. Default: mail is kept in the data folder and shown at /dev/mail, if only this machine is served."`
	SMTPURLFile string        `name:"smtp-url-file" placeholder:"FILE" type:"path" help:"The same, read from a file."`
	MailFrom    string        `placeholder:"ADDRESS" help:"Who mails are from: an address, or 'Name <address>'. Needed to send any."`
	MailAfter   time.Duration `placeholder:"DURATION" help:"Mail what stays unread for that long, whatever it is: from 1s to 720h. Default: what each kind of notification has, such as 4h; in the demo 2m."`
	DKIMKey     string        `name:"dkim-key" placeholder:"FILE" type:"path" help:"Sign mails with this private key (RSA or Ed25519), in PEM."`
	DKIMDomain  string        `name:"dkim-domain" placeholder:"DOMAIN" help:"Domain that signs. Default: the sender's."`
	DKIMName    string        `name:"dkim-selector" placeholder:"NAME" default:"projects" help:"Selector under which the domain publishes the key. Default: projects."`
}

// demoDelay is how long something stays unread in the demo before it is mailed: nobody who tries it waits for hours.
const demoDelay = 2 * time.Minute

// mails is what mails are made and sent with.
type mails struct {
	after    *time.Duration // nil: each kind's own delay
	public   string
	renderer *mail.Renderer
	sender   mail.Sender  // nil: there is nowhere to send mail to
	box      *devmail.Box // nil where mails aren't kept
	server   *smtp.Sender // nil where they aren't sent
	log      *slog.Logger
}

// open makes ready what flags say; what is wrong is found here, and not when the first mail is due. keep: without a mail server mail may
// be kept.
func (f *mailFlags) open(a *app, keep bool, public *url.URL, inDemo bool, log *slog.Logger) (*mails, error) {
	m := &mails{public: public.String(), log: log}
	switch {
	case f.MailAfter < 0 || f.MailAfter > 0 && f.MailAfter < time.Second || f.MailAfter > 720*time.Hour:
		return nil, usagef("--mail-after %s can't be taken: choose between 1s and 720h", f.MailAfter)
	case f.MailAfter > 0:
		m.after = &f.MailAfter
	case inDemo:
		m.after = new(time.Duration)
		*m.after = demoDelay
	}
	server, err := f.url()
	if err != nil {
		return nil, err
	}
	from := f.MailFrom
	switch {
	case from == "" && server != "":
		return nil, usagef("--smtp-url is given without --mail-from: give the address that mails come from, such as projects@example.org")
	case from == "":
		from = "projects@localhost.localdomain"
	}
	o := mail.Options{Site: f.SiteName, From: from, PublicURL: m.public, InboxURL: "/inbox", PreferencesURL: "/preferences", Logger: log}
	if err := f.sign(&o); err != nil {
		return nil, err
	}
	if m.renderer, err = mail.New(o); err != nil {
		return nil, usagef("mail can't be made with these settings: %s", err)
	}
	switch {
	case server != "":
		if m.server, err = smtp.FromURL(server); err != nil {
			return nil, usagef("--smtp-url: %s", err)
		}
		m.sender = m.server
	case keep:
		dir, err := a.dataDir()
		if err != nil {
			return nil, err
		}
		if m.box, err = devmail.Open(filepath.Join(dir, "mail"), 0); err != nil {
			return nil, err
		}
		m.sender = m.box
	default:
		log.Warn("no mail is sent by this node: invitations, new passwords and digests wait for one that does", "fix", "give --smtp-url-file and --mail-from")
	}
	return m, nil
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
	if server := strings.TrimSpace(string(text)); server != "" {
		return server, nil
	}
	return "", usagef("--smtp-url-file %s is empty: write smtp://user:password@mail.example.org:587 into it", f.SMTPURLFile)
}

// sign has mails signed if there is a key.
func (f *mailFlags) sign(o *mail.Options) error {
	if f.DKIMKey == "" {
		if f.DKIMDomain != "" {
			return usagef("--dkim-domain is given without --dkim-key: give both, or none")
		}
		return nil
	}
	text, err := os.ReadFile(f.DKIMKey)
	if err != nil {
		return usagef("--dkim-key: %s", err)
	}
	key, err := mail.ParseKey(text)
	if err != nil {
		return usagef("--dkim-key %s: %s", f.DKIMKey, err)
	}
	o.DKIM = []mail.DKIM{{Domain: f.DKIMDomain, Selector: f.DKIMName, Key: key}}
	return nil
}

func (m *mails) close() {
	if m.sender != nil {
		_ = m.sender.Close()
	}
}

// delay is how long something may stay unread, for people.
func (m *mails) delay() string {
	if m.after == nil {
		return "some hours"
	}
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := *m.after / u.size; n > 0 && *m.after%u.size == 0 {
			if n == 1 {
				return "one " + u.name
			}
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return m.after.String()
}

// run sends mails until the end: letters that people have caused, and digests of what stays unread.
func (m *mails) run(ctx context.Context, r *running, pool *pgxpool.Pool) error {
	if m.sender == nil {
		return nil
	}
	letters, err := letter.New(pool, letter.Options{Sender: m.sender, Renderer: m.renderer, PublicURL: m.public, Logger: m.log})
	if err != nil {
		return err
	}
	worker, err := digest.New(pool, digest.Options{
		Renderer: m.renderer, Sender: m.sender, Kept: m.box != nil, Engine: r.engine, Rules: m.rules(), Logger: m.log,
	})
	if err != nil {
		return err
	}
	r.lifetime(ctx, letters.Run)
	r.lifetime(ctx, func(ctx context.Context) error {
		err := worker.Run(ctx)
		if errors.Is(err, digest.ErrKept) {
			m.log.Warn("no digests are mailed by this node, which only keeps mail: another one sends this database's", "fix", "give --smtp-url-file and --mail-from")
			return nil
		}
		return err
	})
	if m.server != nil {
		r.lifetime(ctx, func(ctx context.Context) error {
			if err := m.server.Check(ctx); err != nil && ctx.Err() == nil {
				m.log.Warn("the mail server can't be used now: mail waits until it can", "error", err)
			}
			return nil
		})
	}
	return nil
}

// rules are in proportion where mail goes out sooner than anybody would have it in earnest.
func (m *mails) rules() digest.Rules {
	if m.after == nil {
		return digest.Rules{}
	}
	return digest.Rules{
		ActiveWindow: max(time.Second, min(*m.after/2, 5*time.Minute)),
		MaxPostpone:  max(time.Second, min(*m.after, time.Hour)),
		DailyCap:     -1,
	}
}
