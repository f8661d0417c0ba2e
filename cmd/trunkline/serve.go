package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/server"
)

// maxHeader is room for the longest stream request: 100 channels of 255 bytes, escaped.
const maxHeader = 128 << 10

type serveCmd struct {
	Listen        string        `placeholder:"ADDRESS" default:"127.0.0.1:8000" help:"Where to serve HTTP: an address and a port (0: any). Default: 127.0.0.1:8000. Any other than this machine's loopback needs something to check tokens with."`
	MetricsListen string        `placeholder:"ADDRESS" help:"Where to serve /metrics, /healthz and /readyz to whoever can connect, such as 127.0.0.1:9000. Default: beside the rest, /metrics for this machine and admin keys only."`
	TLSCert       string        `name:"tls-cert" placeholder:"FILE" type:"path" help:"Serve HTTPS with this certificate and its chain, in PEM. It is read again on SIGHUP and when the file changes."`
	TLSKey        string        `name:"tls-key" placeholder:"FILE" type:"path" help:"The certificate's private key, in PEM."`
	Bridge        []string      `placeholder:"CHANNEL" help:"Forward what triggers send with NOTIFY on this channel, as signals. May be repeated."`
	PGPort        int           `name:"pg-port" placeholder:"N" help:"Port for serve's own PostgreSQL. Default: the one it had last, else any."`
	PGBinDir      string        `name:"pg-bin-dir" placeholder:"DIR" type:"path" help:"Folder with the programs of serve's own PostgreSQL. Default: the newest found, else they are fetched."`
	Config        string        `name:"config" placeholder:"FILE" type:"path" help:"Read settings from this YAML file: names of flags and their values. The command line and TRUNKLINE_ variables win over it."`
	Drain         time.Duration `placeholder:"DURATION" default:"3s" help:"How long clients may take to leave at the end, in turn: up to 1,000 a second, so that few leave at once. Default: 3s, which people at a terminal still wait for; 20s for tens of thousands."`
	DrainDelay    time.Duration `placeholder:"DURATION" default:"0s" help:"How long to go on at the end after /readyz has begun to say no, so that a load balancer sees it. Default: 0s."`

	Access   accessFlags  `embed:""`
	Limits   limitFlags   `embed:""`
	Timeouts timeoutFlags `embed:""`
	Mail     mailFlags    `embed:"" group:"mail"`
}

func (*serveCmd) Help() string {
	return `Without --database-url it starts a private PostgreSQL in the data folder, and stops it at the end; data stay there for the next
time. It writes how to connect to the file url in that folder, where the other commands and you find it.

    trunkline serve
    trunkline serve --listen 127.0.0.1:9000 --data-dir ./data
    trunkline serve --database-url postgres://owner@host/database --bridge broadcast
    trunkline serve --listen :443 --tls-cert cert.pem --tls-key key.pem --jwt-secret-file secret --origin https://app.example.org
    trunkline serve --config /etc/trunkline.yaml

    curl -N 'http://127.0.0.1:8000/v1/stream?channel=broadcast'
    curl http://127.0.0.1:8000/readyz

Without --jwt-secret, --jwt-public-key and --jwks-url it is open: anyone on this machine may do all. It then serves nobody else.

A file for --config has a line per flag, and lists for those that may be repeated:

    listen: 0.0.0.0:8000
    jwt-secret-file: /etc/trunkline.secret
    origin: [https://app.example.org, https://admin.example.org]

SIGINT or SIGTERM ends it: /readyz says no, --drain-delay passes, no more clients are taken, those who are there are sent away
spread over --drain, and requests are finished. With few clients that takes less than 5 s; a second signal ends it at once. SIGHUP
reads the certificate again, and ends a serve without one.`
}

func (c *serveCmd) Run(ctx context.Context, a *app) (err error) {
	log := a.logger(slog.LevelInfo)
	if err := c.check(a); err != nil {
		return err
	}
	options := server.Options{Logger: log, Limits: c.Limits.limits(), WriteTimeout: c.Timeouts.WriteTimeout, Registry: prometheus.NewRegistry()}
	if err := c.Access.options(&options, log); err != nil {
		return err
	}
	force := make(chan os.Signal, 2)
	signal.Notify(force, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(force)

	// The files and ports first: what is wrong with them should cost no wait for a database.
	var pair *certificate
	if c.TLSCert != "" {
		if pair, err = loadCertificate(c.TLSCert, c.TLSKey, log); err != nil {
			return err
		}
	}
	listeners, err := c.bindAll(ctx, a, pair)
	if err != nil {
		return err
	}
	defer listeners.close()
	mailing, err := c.openMail(a, listeners, log)
	if err != nil {
		return err
	}
	defer mailing.close()

	up := &running{
		log: log, begun: force, delay: c.DrainDelay, spread: c.Drain, mailing: mailing, registry: options.Registry, timeouts: c.Timeouts,
		lost: make(chan error, 1),
	}
	defer func() {
		stopErr := up.stop(ctx)
		if stopErr == nil {
			log.Info("stopped")
		}
		if err == nil {
			err = stopErr
		}
	}()
	if pair != nil {
		up.keepCertificate(ctx, pair)
	}
	if err := c.start(ctx, a, up, options); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while starting
		}
		return err
	}
	failed := up.serve(listeners)
	if dir, err := a.dataDir(); err == nil {
		up.publishSite(dir, c.site(listeners.clients.Addr()))
	}
	if err := up.mail(ctx); err != nil {
		return err
	}
	if err := c.greet(a, up, listeners.clients.Addr(), options.Open); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case err := <-up.lost:
		return err
	}
}

// check refuses what can't work together.
func (c *serveCmd) check(a *app) error {
	if a.DatabaseURL != "" && (c.PGPort != 0 || c.PGBinDir != "") {
		return usagef("--pg-port and --pg-bin-dir are for a private PostgreSQL, but --database-url names another: leave one out")
	}
	if a.DatabaseURL == "" && a.DirectURL != "" {
		return usagef("--direct-url is given without --database-url: give both, or none for a private PostgreSQL")
	}
	for flag, url := range map[string]string{"--database-url": a.DatabaseURL, "--direct-url": a.DirectURL} {
		if _, err := parseURL(url, flag); err != nil {
			return err
		}
	}
	if err := checkBridge(c.Bridge); err != nil {
		return err
	}
	if c.PGPort < 0 || c.PGPort > 65535 {
		return usagef("--pg-port=%d is no port: choose one up to 65535", c.PGPort)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usagef("--tls-cert and --tls-key belong together: give both, or none for plain HTTP")
	}
	for _, given := range []struct {
		flag  string
		value time.Duration
	}{{"--drain", c.Drain}, {"--drain-delay", c.DrainDelay}} {
		if given.value < 0 || given.value > time.Hour {
			return usagef("%s %s can't be taken: choose between 0s and 1h", given.flag, given.value)
		}
	}
	if err := c.Timeouts.check(); err != nil {
		return err
	}
	if err := c.Limits.check(); err != nil {
		return err
	}
	return c.checkListen()
}

// checkBridge refuses names that can't be both a channel and PostgreSQL's.
func checkBridge(channels []string) error {
	for _, channel := range channels {
		if err := trunkline.CheckChannel(channel); err != nil {
			return fmt.Errorf("--bridge: %w", err)
		}
		if len(channel) > 63 {
			return usagef("--bridge %s is %d bytes long: LISTEN and NOTIFY take names of 1 to 63 bytes", channel, len(channel))
		}
		if strings.HasPrefix(channel, "trunkline:") {
			return usagef("--bridge %s is in the namespace trunkline, which is Trunkline's own: choose another", channel)
		}
	}
	return nil
}

// start starts the private PostgreSQL unless another is named, and the engine.
func (c *serveCmd) start(ctx context.Context, a *app, up *running, options server.Options) (err error) {
	config := trunkline.Config{DatabaseURL: a.DatabaseURL, DirectURL: a.DirectURL, Logger: up.log, Bridge: c.Bridge}
	if a.DatabaseURL == "" {
		if up.dir, err = a.dataDir(); err != nil {
			return err
		}
		up.postgres, err = localpg.Start(ctx, localpg.Config{Dir: up.dir, Port: c.PGPort, BinDir: c.PGBinDir, Logger: up.log})
		if errors.Is(err, localpg.ErrPortTaken) && c.PGPort != 0 {
			return fmt.Errorf("port %d is taken by another program: choose another with --pg-port, or none for any (%w)", c.PGPort, err)
		}
		if err != nil {
			return err
		}
		config.DatabaseURL = up.postgres.URL()
		up.supervise(ctx)
	}
	if up.engine, err = trunkline.New(config); err != nil { // it lives until stop
		return err
	}
	if up.server, err = server.New(up.engine, options); err != nil {
		return usagef("%s", flagNames.Replace(err.Error()))
	}
	if err := up.engine.Start(ctx); err != nil {
		return err
	}
	return up.server.Wait(ctx)
}
