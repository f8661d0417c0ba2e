package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
	"github.com/trunkline/trunkline/projects/api"
	"github.com/trunkline/trunkline/projects/demo"
	"github.com/trunkline/trunkline/projects/site"
	"github.com/trunkline/trunkline/server"
	"github.com/trunkline/trunkline/web"
)

// channelsPerClient is how many channels a connection may follow: an overview follows the progress of each project on screen.
const channelsPerClient = 512

type serveCmd struct {
	Listen       string   `placeholder:"ADDRESS" default:"127.0.0.1:8000" help:"Where to serve HTTP: an address and a port (0: any). Default: 127.0.0.1:8000."`
	PublicURL    string   `name:"public-url" placeholder:"URL" help:"Where people reach the site, such as https://projects.example.org: cookies and links in mails follow it. Default: where serve listens."`
	TrustedProxy []string `placeholder:"NETWORK" help:"Believe X-Forwarded-For of a proxy at this address, such as 127.0.0.1 or 10.0.0.0/8. May be repeated."`

	Demo     string `enum:"auto,on,off" default:"auto" placeholder:"WHEN" help:"Show demo people and let anybody in as one of them: on, off, or auto (the default), which is on with a PostgreSQL of its own that only this machine reaches."`
	Simulate bool   `help:"Let the other demo people work, so that something moves."`

	Mail mailFlags `embed:""`
}

func (*serveCmd) Help() string {
	return `Without --database-url it starts a private PostgreSQL in the data folder, with demo people and projects in it, and keeps mail
instead of sending it: see /dev/mail.

    projects serve
    projects serve --simulate --listen 127.0.0.1:9000 --data-dir ./data

For people to use, name a database, a mail server and the address they know, and put a proxy with TLS in front:

    projects serve --database-url postgres://owner@host/projects --public-url https://projects.example.org --trusted-proxy 127.0.0.1
      --smtp-url-file /etc/projects.smtp --mail-from 'Projects <projects@example.org>'

SIGINT or SIGTERM ends it: clients are told to come again, requests are finished. A second signal ends it at once.`
}

func (c *serveCmd) Run(ctx context.Context, a *app) (err error) {
	log := a.logger()
	// A second signal ends it at once.
	force := make(chan os.Signal, 2)
	signal.Notify(force, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(force)

	proxies, err := parseProxies(c.TrustedProxy)
	if err != nil {
		return err
	}
	listener, err := c.bind(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // mostly closed already
	public, err := c.public(listener.Addr())
	if err != nil {
		return err
	}
	inDemo, err := c.demo(a, listener.Addr())
	if err != nil {
		return err
	}
	mails, err := c.Mail.open(a, c.private(listener.Addr()), public, inDemo, log)
	if err != nil {
		return err
	}
	defer mails.close()

	up := &running{log: log, force: force, lost: make(chan error, 4)}
	defer func() { err = up.stop(ctx, err) }()
	if err := up.start(ctx, a, options{proxies: proxies, public: public, demo: inDemo, simulate: c.Simulate, mails: mails}); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while starting
		}
		return err
	}
	up.serve(listener)
	c.greet(a, up, public)
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-up.lost:
		return err
	}
}

// options are what flags have come to.
type options struct {
	proxies        []netip.Prefix
	public         *url.URL
	demo, simulate bool
	mails          *mails
}

// start starts everything but HTTP.
func (r *running) start(ctx context.Context, a *app, o options) (err error) {
	var databaseURL string
	if databaseURL, r.private, err = a.openDatabase(ctx, r.log); err != nil {
		return err
	}
	if r.private != nil {
		r.lifetime(ctx, func(ctx context.Context) error { return r.private.Supervise(ctx, r.log) })
	}
	if err := migrate(ctx, databaseURL); err != nil {
		return err
	}
	if r.engine, err = trunkline.New(trunkline.Config{DatabaseURL: databaseURL, Logger: r.log}); err != nil {
		return err
	}
	boxes, err := inbox.New(r.engine, inbox.Options{Logger: r.log})
	if err != nil {
		return err
	}
	pool := r.engine.Pool()
	if err := projects.SetKinds(ctx, pool, o.mails.after); err != nil {
		return err
	}
	secret, err := account.TokenSecret(ctx, pool)
	if err != nil {
		return err
	}
	store := projects.New(pool, projects.Options{Engine: r.engine, Inbox: boxes, Logger: r.log})
	accounts := account.New(pool, account.Options{Secure: o.public.Scheme == "https", Demo: o.demo, Logger: r.log})
	if o.demo {
		if err := demo.Seed(ctx, pool, store); err != nil {
			return err
		}
	}
	limits := server.DefaultLimits()
	limits.Channels = channelsPerClient
	r.server, err = server.New(r.engine, server.Options{
		Logger: r.log, JWTSecret: secret, Inbox: boxes, TrustedProxies: o.proxies, Origins: []string{o.public.Scheme + "://" + o.public.Host}, Limits: limits,
	})
	if err != nil {
		return err
	}
	apiOptions := api.Options{
		Store: store, Accounts: accounts, Inbox: boxes, TokenSecret: secret, Public: o.public, TrustedProxies: o.proxies, Logger: r.log,
	}
	if o.demo {
		apiOptions.Demo = &api.Demo{Simulate: o.simulate, Strip: demoStrip(o), Titles: demo.Titles()}
	}
	rest, err := api.New(apiOptions)
	if err != nil {
		return err
	}
	page, err := site.New(web.Page())
	if err != nil {
		return err
	}
	r.handler = routes(rest, r.server, page, o.mails)
	if err := r.engine.Start(ctx); err != nil {
		return err
	}
	if err := r.server.Wait(ctx); err != nil {
		return err
	}
	if err := o.mails.run(ctx, r, pool); err != nil {
		return err
	}
	r.lifetime(ctx, func(ctx context.Context) error { return sweep(ctx, store, r.log) })
	if o.simulate {
		if !o.demo {
			return usagef("--simulate lets the demo people work, and there is no demo here: add --demo on, on a database that is only tried out")
		}
		r.lifetime(ctx, func(ctx context.Context) error {
			return demo.Simulation{Pool: pool, Store: store, Logger: r.log}.Run(ctx)
		})
	}
	return nil
}

// routes puts what answers beside each other.
func routes(rest, live, page http.Handler, m *mails) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", rest)
	for _, path := range []string{"/v1/", "/connection/", "/emulation", "/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, live)
	}
	if m.box != nil {
		kept := m.box.Handler()
		mux.Handle("/dev/mail", kept)
		mux.Handle("/dev/mail/", kept)
		mux.Handle("/dev/mail.json", kept)
	}
	mux.Handle("/", page)
	return mux
}

// sweepInterval is how often what has had its time is removed.
const sweepInterval = 10 * time.Minute

// sweep removes what has had its time: expired sessions and tokens, files that were never sent, old letters.
func sweep(ctx context.Context, store *projects.Store, log *slog.Logger) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		if _, err := store.Sweep(ctx); err != nil && ctx.Err() == nil {
			log.Warn("what has had its time could not be removed: trying again later", "in", sweepInterval, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// demoStrip is what somebody is told who comes to try it.
func demoStrip(o options) []string {
	lines := []string{
		"Open a second window, in private mode, and sign in as somebody else of the same project.",
		"Complete a task in one window: the bar moves in the other. Ask something in the chat, and answer it there.",
	}
	if o.mails.box != nil {
		lines = append(lines, fmt.Sprintf("Leave a notification unread for %s and close its window: a mail is at /dev/mail.", o.mails.delay()))
	}
	return lines
}

// loopback tells whether only this machine reaches an address.
func loopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// localHost tells whether a host is this machine.
func localHost(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}
