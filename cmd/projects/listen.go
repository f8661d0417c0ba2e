package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"syscall"
)

// bind takes the port.
func (c *serveCmd) bind(ctx context.Context) (net.Listener, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, usagef("--listen=%s can't be read: write it as 127.0.0.1:8000", c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, usagef("--listen=%s has no port up to 65535: write it as 127.0.0.1:8000", c.Listen)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %s of %s is taken by another program: end that one, or choose another port, such as --listen %s",
			port, host, net.JoinHostPort(host, "0"))
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("this user may not use port %s: choose one above 1023, such as --listen %s", port, net.JoinHostPort(host, "8000"))
	}
	return nil, fmt.Errorf("--listen %s: %w", c.Listen, err)
}

// public is the address that people know.
func (c *serveCmd) public(address net.Addr) (*url.URL, error) {
	if c.PublicURL == "" {
		host := address.String()
		if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
			host = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}).String()
		}
		return &url.URL{Scheme: "http", Host: host}, nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, usagef("--public-url %s can't be taken: write it as https://projects.example.org, without a path", c.PublicURL)
	}
	u.Path = ""
	return u, nil
}

// private tells whether only programs of this machine are served, as far as can be known.
func (c *serveCmd) private(address net.Addr) bool {
	if !loopback(address) || len(c.TrustedProxy) > 0 {
		return false
	}
	u, err := url.Parse(c.PublicURL)
	return c.PublicURL == "" || err == nil && localHost(u.Hostname())
}

// demo tells whether demo people are shown.
func (c *serveCmd) demo(a *app, address net.Addr) (bool, error) {
	switch {
	case c.Demo == "off":
		return false, nil
	case c.Demo == "on" && !c.private(address):
		return false, usagef("--demo on lets anybody in who reaches %s, and that isn't only this machine: listen on 127.0.0.1, without --trusted-proxy and --public-url", address)
	case c.Demo == "on":
		return true, nil
	}
	return a.DatabaseURL == "" && c.private(address), nil
}

// parseProxies reads addresses and networks.
func parseProxies(texts []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usagef("--trusted-proxy %s is no address and no network: write 127.0.0.1 or 10.0.0.0/8", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}
