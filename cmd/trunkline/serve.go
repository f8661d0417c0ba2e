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
)

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
	listener, err := c.bind(ctx)
	if err != nil {
		return err
	}
	defer listener.Close()

	up := &running{log: log, begun: force}
	defer func() {
		if stopErr := up.stop(ctx); err == nil {
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

func (c *serveCmd) bind(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	host, port, _ := net.SplitHostPort(c.Listen)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %s of %s is taken by another program: choose another, such as --listen %s",
			port, host, net.JoinHostPort(host, nextPort(port)))
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("this user may not use port %s: choose one above 1023, such as --listen %s", port, net.JoinHostPort(host, "8000"))
	}
	return nil, fmt.Errorf("--listen %s: %w", c.Listen, err)
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
	}
	if up.engine, err = trunkline.New(config); err != nil { //nolint:contextcheck // it lives until stop
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
	if r.postgres != nil {
		if err := r.postgres.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop PostgreSQL: %w", err))
		}
	}
	return errors.Join(errs...)
}
