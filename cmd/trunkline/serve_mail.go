package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
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
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	address := l.clients.Addr()
	tcp, ok := address.(*net.TCPAddr)
	m, err := c.Mail.open(ok && tcp.IP.IsLoopback(), dir, scheme+"://"+reachable(address), log)
	if errors.Is(err, errNoMail) && c.Mail.Digests == "auto" {
		log.Info("no digests are mailed by this node: it has no mail server", "fix", "give --smtp-url-file and --mail-from, or run trunkline digest elsewhere")
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

// mail begins to mail what stays unread.
func (r *running) mail(ctx context.Context) error {
	if r.mailing == nil {
		return nil
	}
	worker, err := r.mailing.worker(r.engine, true)
	if err != nil {
		return err
	}
	life := r.lifetime(ctx)
	r.background.Go(func() {
		if err := worker.Run(life); err != nil {
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
