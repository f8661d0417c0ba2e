package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/trunkline/trunkline/digest"
)

// openMail makes ready what serve mails with; nil: it mails nothing.
func (c *serveCmd) openMail(a *app, l *listeners, log *slog.Logger) (*mailing, error) {
	if c.Mail.Digests == "off" {
		return nil, nil //nolint:nilnil // there is none
	}
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	elsewhere := c.elsewhere(l)
	m, err := c.Mail.open(elsewhere == "", dir, c.site(l.clients.Addr()), log)
	if errors.Is(err, errNoMail) && c.Mail.Digests == "auto" {
		log.Info("no digests are mailed by this node: it has no mail server, and "+elsewhere+", so that mail isn't kept for development either",
			"fix", "give --smtp-url-file and --mail-from, or run trunkline digest elsewhere")
		return nil, nil //nolint:nilnil // there is none
	}
	switch {
	case errors.Is(err, errNoMail):
		return nil, usagef("--digests=on: %s", err)
	case errors.Is(err, errNoBox) && c.Mail.Digests == "auto":
		log.Warn("no digests are mailed by this node: mail can't be kept in the data folder", "error", err)
		return nil, nil //nolint:nilnil // there is none
	}
	return m, err
}

// elsewhere says why others than programs of this machine may be served, to whom no mail is shown; empty: nothing speaks for it.
func (c *serveCmd) elsewhere(l *listeners) string {
	if tcp, ok := l.clients.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return "it serves other machines"
	}
	if len(c.Access.TrustedProxy) > 0 {
		return "it serves a proxy, as --trusted-proxy says"
	}
	if c.Mail.PublicURL != "" {
		// What isn't a URL is refused where it is used.
		if at, err := url.Parse(c.Mail.PublicURL); err != nil || !localName(at.Hostname()) {
			return "--public-url isn't on this machine"
		}
	}
	return ""
}

// localName tells whether a host is this machine.
func localName(host string) bool {
	address, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && address.Unmap().IsLoopback()
}

// site is where people reach the site, as far as serve knows.
func (c *serveCmd) site(address net.Addr) string {
	if c.Mail.PublicURL != "" {
		return c.Mail.PublicURL
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + reachable(address)
}

// checkMail tries the mail server, so that what is wrong with it is told now, and not when the first mail is due.
func (r *running) checkMail(ctx context.Context) {
	if r.mailing.server == nil {
		return
	}
	r.background.Go(func() {
		switch err := r.mailing.server.Check(ctx); {
		case ctx.Err() != nil:
		case err != nil:
			r.log.Warn("the mail server can't be used now: mail waits until it can", "error", err)
		default:
			r.log.Info("the mail server answers")
		}
	})
}

// mail begins to mail what stays unread.
func (r *running) mail(ctx context.Context) error {
	if r.mailing == nil {
		return nil
	}
	worker, err := r.mailing.worker(r.engine, true)
	if err != nil {
		return err
	}
	if err := r.registry.Register(newDigestCollector(worker)); err != nil {
		return err
	}
	life := r.lifetime(ctx)
	r.checkMail(life)
	r.background.Go(func() {
		switch err := worker.Run(life); {
		case errors.Is(err, digest.ErrKept):
			r.log.Warn("no digests are mailed by this node: " + errKept.Error())
		case err != nil:
			r.log.Error("no digests are mailed by this node any more", "error", err)
		}
	})
	return nil
}

// beside shows the mails that are kept beside what a server has.
func (m *mailing) beside(h http.Handler) http.Handler {
	if m == nil || m.box == nil {
		return h
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	kept := m.box.Handler()
	mux.Handle("/dev/mail", kept)
	mux.Handle("/dev/mail/", kept)
	mux.Handle("/dev/mail.json", kept)
	return mux
}
