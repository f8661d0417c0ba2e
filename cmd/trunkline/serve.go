package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/server"
)

const (
	// serveStop bounds the end of serve after a signal: with what follows the deadline it stays under 5 s.
	serveStop = 4500 * time.Millisecond
	// httpStop bounds the end of HTTP requests within that.
	httpStop = 500 * time.Millisecond
	// forcedStop is how long it still takes after a second signal.
	forcedStop = time.Second
	// maxHeader is room for the longest stream request: 100 channels of 255 bytes, escaped.
	maxHeader = 128 << 10
	// pgCheck is how often serve looks whether its PostgreSQL runs, pgCalm how long that has to run to count as steady.
	pgCheck = time.Second
	pgCalm  = time.Minute
)

// pgDelays follow the attempts to bring a dead PostgreSQL back, the last one each that comes after.
var pgDelays = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

type serveCmd struct {
	Listen   string   `placeholder:"ADDRESS" default:"127.0.0.1:8000" help:"Where to serve HTTP: an address of this machine's loopback, and a port (0: any). Default: 127.0.0.1:8000."`
	Bridge   []string `placeholder:"CHANNEL" help:"Forward what triggers send with NOTIFY on this channel, as signals. May be repeated."`
	PGPort   int      `name:"pg-port" placeholder:"N" help:"Port for serve's own PostgreSQL. Default: the one it had last, else any."`
	PGBinDir string   `name:"pg-bin-dir" placeholder:"DIR" type:"path" help:"Folder with the programs of serve's own PostgreSQL. Default: the newest found, else they are fetched."`
}

func (*serveCmd) Help() string {
	return `Without --database-url it starts a private PostgreSQL in the data folder, and stops it at the end; data stay there for the next
time. It writes how to connect to the file url in that folder, where the other commands and you find it.

    trunkline serve
    trunkline serve --listen 127.0.0.1:9000 --data-dir ./data
    trunkline serve --database-url postgres://owner@host/database --bridge broadcast

    curl -N 'http://127.0.0.1:8000/v1/stream?channel=broadcast'
    curl http://127.0.0.1:8000/healthz

SIGINT or SIGTERM ends it within 5 s, a second one at once.`
}

func (c *serveCmd) Run(ctx context.Context, a *app) (err error) {
	log := a.logger(slog.LevelInfo)
	if err := c.check(a); err != nil {
		return err
	}
	force := make(chan os.Signal, 2)
	signal.Notify(force, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(force)

	// The port first: what is wrong with it should cost no wait for a database.
	listener, err := c.bind(ctx, a)
	if err != nil {
		return err
	}
	defer listener.Close()

	up := &running{log: log, begun: force, lost: make(chan error, 1)}
	defer func() {
		stopErr := up.stop(ctx)
		if stopErr == nil {
			log.Info("stopped")
		}
		if err == nil {
			err = stopErr
		}
	}()
	if err := c.start(ctx, a, up); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while starting
		}
		return err
	}
	handler, err := server.New(up.engine, server.Options{Logger: log})
	if err != nil {
		return err
	}
	up.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- up.http.Serve(listener) }()
	if err := c.greet(a, up, listener.Addr()); err != nil {
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
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usagef("--listen=%s can't be read: write it as 127.0.0.1:8000", c.Listen)
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil {
		return usagef("--listen=%s has no port up to 65535: write it as 127.0.0.1:8000", c.Listen)
	} else if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return usagef("--listen=%s would serve other machines, but who may read what isn't checked yet: use 127.0.0.1:%d", c.Listen, number)
	}
	return nil
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

func (c *serveCmd) bind(ctx context.Context, a *app) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	host, port, _ := net.SplitHostPort(c.Listen)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		if dir, ok := c.servedDir(a); ok {
			return nil, fmt.Errorf("a Trunkline already serves the data folder %s, and port %s of %s is taken: use that one, or end it first, or serve beside it with --listen %s",
				dir, port, host, net.JoinHostPort(host, nextPort(port)))
		}
		return nil, fmt.Errorf("port %s of %s is taken by another program: choose another, such as --listen %s",
			port, host, net.JoinHostPort(host, nextPort(port)))
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("this user may not use port %s: choose one above 1023, such as --listen %s", port, net.JoinHostPort(host, "8000"))
	}
	return nil, fmt.Errorf("--listen %s: %w", c.Listen, err)
}

// servedDir is the data folder if another process serves it already.
func (*serveCmd) servedDir(a *app) (dir string, served bool) {
	if a.DatabaseURL != "" {
		return "", false
	}
	dir, err := a.dataDir()
	return dir, err == nil && localpg.InUse(dir)
}

func nextPort(port string) string {
	number, err := strconv.Atoi(port)
	if err != nil || number == 65535 {
		return "0"
	}
	return strconv.Itoa(number + 1)
}

// start starts the private PostgreSQL unless another is named, and the engine.
func (c *serveCmd) start(ctx context.Context, a *app, up *running) (err error) {
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
	return up.engine.Start(ctx)
}

// greet says how to connect.
func (c *serveCmd) greet(a *app, up *running, address net.Addr) error {
	colors := colorsOf(a.stdout)
	flags, database := "", "the database of --database-url"
	if up.postgres != nil {
		database = fmt.Sprintf("PostgreSQL %d in %s", up.postgres.Major(), up.dir)
		if standard, err := localpg.DefaultDir(); err != nil || standard != up.dir {
			flags = " --data-dir " + shellQuote(up.dir)
		}
	} else if _, ok := a.env(variable("database-url")); !ok {
		flags = " --database-url …"
	}
	const channel = "broadcast"
	var b strings.Builder
	fmt.Fprintf(&b, "%s with %s\n\n", colors.bold("Trunkline is running"), database)
	line := func(what, how string) { b.WriteString(fmt.Sprintf("  %-8s  ", what) + colors.blue(how) + "\n") }
	line("stream", fmt.Sprintf("curl -N 'http://%s/v1/stream?channel=%s'", address, channel))
	line("listen", "trunkline listen "+channel+flags)
	line("publish", "trunkline publish "+channel+` '{"hello": "world"}'`+flags)
	line("SQL", "trunkline psql"+flags)
	if up.postgres != nil {
		line("", `psql "$(cat `+shellQuote(filepath.Join(up.dir, "url"))+`)"`)
	}
	line("stop", "Ctrl-C")
	_, err := fmt.Fprintln(a.stdout, b.String())
	return err
}

// running is what serve has started so far.
type running struct {
	log      *slog.Logger
	begun    <-chan os.Signal // every signal since serve began: the first is the one that ends it
	dir      string
	postgres *localpg.Server
	engine   *trunkline.Engine
	http     *http.Server

	lost      chan error    // why serve can't go on with its PostgreSQL
	unwatch   func()        // ends the supervision of PostgreSQL; nil if there is none
	unwatched chan struct{} // closed when that has ended
}

// supervise brings the private PostgreSQL back whenever it dies, until stopAll or the end of ctx.
func (r *running) supervise(ctx context.Context) {
	ctx, r.unwatch = context.WithCancel(ctx)
	r.unwatched = make(chan struct{})
	go func() {
		defer close(r.unwatched)
		r.keepPostgres(ctx)
	}()
}

func (r *running) keepPostgres(ctx context.Context) {
	url := r.postgres.URL()
	tick := time.NewTicker(pgCheck)
	defer tick.Stop()
	attempts := 0 // since it last was steady
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.postgres.Runs() {
			if time.Since(last) > pgCalm {
				attempts = 0
			}
			continue
		}
		if attempts > 0 && time.Since(last) < retryDelay(attempts) {
			continue
		}
		attempts++
		r.revive(ctx, attempts)
		last = time.Now()
		if r.postgres.URL() != url {
			// The engine, and whoever was told the old URL, would look for it in vain.
			r.lost <- fmt.Errorf("PostgreSQL was started by another process with other connection data (port %d): start `trunkline serve` again", r.postgres.Port())
			return
		}
	}
}

// retryDelay is the pause after that many attempts.
func retryDelay(attempts int) time.Duration { return pgDelays[min(attempts, len(pgDelays))-1] }

// revive is one attempt, told in one sentence.
func (r *running) revive(ctx context.Context, attempt int) {
	old := r.postgres.PID()
	started, err := r.postgres.Revive(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.log.Error("PostgreSQL died and could not be started: trying again", "attempt", attempt, "in", retryDelay(attempt), "error", err)
	case started:
		r.log.Warn("PostgreSQL died and was started again", "attempt", attempt, "old_pid", old, "pid", r.postgres.PID())
	default:
		r.log.Warn("PostgreSQL died and another process started it again", "attempt", attempt, "old_pid", old, "pid", r.postgres.PID())
	}
}

// stop ends everything in turn, at once after a second signal.
func (r *running) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveStop)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.stopAll(ctx) }()
	for signals := 0; ; {
		select {
		case err := <-done:
			return err
		case <-r.begun:
			if signals++; signals < 2 {
				continue
			}
			r.log.Warn("stopping at once")
			cancel()
			select {
			case err := <-done:
				r.log.Debug("stopped", "error", err)
			case <-time.After(forcedStop):
			}
			return errors.New("stopped at once, after a second signal")
		}
	}
}

func (r *running) stopAll(ctx context.Context) error {
	var errs []error
	if r.unwatch != nil {
		r.unwatch() // first: what it is starting has to be called off
	}
	if r.http != nil {
		httpCtx, cancel := context.WithTimeout(ctx, httpStop)
		if err := r.http.Shutdown(httpCtx); err != nil {
			_ = r.http.Close()
		}
		cancel()
	}
	if r.engine != nil {
		if err := r.engine.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop the engine: %w", err))
		}
	}
	if r.unwatched != nil {
		<-r.unwatched // a start that was called off ends within about a second
	}
	if r.postgres != nil {
		if err := r.postgres.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop PostgreSQL: %w", err))
		}
	}
	return errors.Join(errs...)
}
