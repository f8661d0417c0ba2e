package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/internal/localpg"
)

// listeners are the ports that serve has.
type listeners struct {
	clients   net.Listener
	operation net.Listener // nil: none of its own
}

func (l *listeners) close() {
	_ = l.clients.Close() // mostly closed already
	if l.operation != nil {
		_ = l.operation.Close()
	}
}

// checkListen refuses addresses that can't be bound to, and those that would let strangers do all.
func (c *serveCmd) checkListen() error {
	if err := checkAddress("--listen", c.Listen, "127.0.0.1:8000"); err != nil {
		return err
	}
	if c.MetricsListen != "" {
		if err := checkAddress("--metrics-listen", c.MetricsListen, "127.0.0.1:9000"); err != nil {
			return err
		}
	}
	if !c.Access.keys() && !loopback(c.Listen) {
		_, port, _ := net.SplitHostPort(c.Listen)
		return usagef("--listen=%s serves other machines, and there is nothing to check tokens with, so that anyone could do all: %s, or serve this machine alone with --listen 127.0.0.1:%s",
			c.Listen, giveKeys, port)
	}
	return nil
}

func checkAddress(flag, address, example string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return usagef("%s=%s can't be read: write it as %s", flag, address, example)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return usagef("%s=%s has no port up to 65535: write it as %s", flag, address, example)
	}
	return nil
}

// bindAll takes the ports; that of the clients speaks TLS if there is a certificate.
func (c *serveCmd) bindAll(ctx context.Context, a *app, pair *certificate) (*listeners, error) {
	clients, err := c.bind(ctx, a)
	if err != nil {
		return nil, err
	}
	l := &listeners{clients: clients}
	// A name may stand for another address than it says.
	if tcp, ok := clients.Addr().(*net.TCPAddr); !c.Access.keys() && (!ok || !tcp.IP.IsLoopback()) {
		l.close()
		return nil, usagef("--listen=%s is %s here, which other machines reach: %s", c.Listen, clients.Addr(), giveKeys)
	}
	if pair != nil {
		l.clients = tls.NewListener(clients, pair.config())
	}
	if c.MetricsListen != "" {
		if l.operation, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.MetricsListen); err != nil {
			l.close()
			return nil, fmt.Errorf("--metrics-listen %s: %w", c.MetricsListen, err)
		}
	}
	return l, nil
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

// keepCertificate reads the pair again when its files change, and on SIGHUP.
func (r *running) keepCertificate(ctx context.Context, pair *certificate) {
	hangups := takeHangups(ctx)
	life := r.lifetime(ctx)
	r.background.Go(func() {
		tick := time.NewTicker(certificatePoll)
		defer tick.Stop()
		pair.watch(life, tick.C, hangups)
	})
}

// lifetime is of what runs in the background: until clients have left.
func (r *running) lifetime(ctx context.Context) context.Context {
	if r.life == nil {
		r.life, r.endLife = context.WithCancel(context.WithoutCancel(ctx))
	}
	return r.life
}

// serve begins to answer. What it returns tells why that ended early.
func (r *running) serve(l *listeners) <-chan error {
	failed := make(chan error, 2)
	begin := func(listener net.Listener, handler http.Handler) {
		s := newHTTPServer(handler, r.timeouts, r.log)
		s.ConnState = r.server.ConnState
		r.http = append(r.http, s)
		go func() {
			if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	begin(l.clients, r.mailing.beside(r.server))
	if l.operation != nil {
		r.log.Info("metrics, health and readiness have an address of their own", "metrics_listen", l.operation.Addr().String())
		begin(l.operation, r.server.Operation())
	}
	return failed
}

// newHTTPServer bounds what doesn't bound itself. There is no timeout for whole requests: a stream has no end, and each of its
// writes has a deadline of its own.
func newHTTPServer(handler http.Handler, t timeoutFlags, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: t.HeaderTimeout, IdleTimeout: t.IdleTimeout, MaxHeaderBytes: maxHeader,
		// Over HTTP/2 a peer that is gone is found by asking it.
		HTTP2:    &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: t.WriteTimeout},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
