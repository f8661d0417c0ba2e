package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/trunkline/trunkline/internal/localpg"
)

// greet says how to connect.
func (c *serveCmd) greet(a *app, up *running, address net.Addr, open bool) error {
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
	secure, bearer := "", ""
	if c.TLSCert != "" {
		secure = "s"
	}
	if !open {
		bearer = `-H "Authorization: Bearer $TOKEN" ` //nolint:gosec // the name of a variable
	}
	host := reachable(address)
	var b strings.Builder
	fmt.Fprintf(&b, "%s with %s\n\n", colors.bold("Trunkline is running"), database)
	line := func(what, how string) { b.WriteString(fmt.Sprintf("  %-9s  ", what) + colors.blue(how) + "\n") }
	line("WebSocket", fmt.Sprintf("ws%s://%s/connection/websocket", secure, host))
	if !open {
		line("token", fmt.Sprintf("TOKEN=$(trunkline token --sub ann --channel %s %s)", channel, c.Access.signWith()))
	}
	line("stream", fmt.Sprintf("curl -N %s'http%s://%s/v1/stream?channel=%s'", bearer, secure, host, channel))
	line("listen", "trunkline listen "+channel+flags)
	line("publish", "trunkline publish "+channel+` '{"hello": "world"}'`+flags)
	line("notify", "trunkline notify bob task.completed '{\"actor\": \"Ann\"}'"+flags)
	if up.mailing != nil && up.mailing.box != nil {
		line("mail", fmt.Sprintf("http%s://%s/dev/mail", secure, host))
	}
	line("SQL", "trunkline psql"+flags)
	if up.postgres != nil {
		line("", `psql "$(cat `+shellQuote(filepath.Join(up.dir, "url"))+`)"`)
	}
	line("stop", "Ctrl-C")
	if open {
		b.WriteString("\nOpen: anyone on this machine may do all. With --jwt-secret, --jwt-public-key or --jwks-url, tokens say who may do what.\n")
	}
	_, err := fmt.Fprintln(a.stdout, b.String())
	return err
}

// signWith is what trunkline token needs to make a token that this server accepts; not the secret itself.
func (f *accessFlags) signWith() string {
	switch {
	case f.JWTSecretFile != "":
		return "--jwt-secret-file " + shellQuote(f.JWTSecretFile)
	case f.JWTSecret != "":
		return "--jwt-secret …"
	}
	return "--jwt-key …"
}

// reachable is an address to connect to: what is bound to all of them is reached at loopback.
func reachable(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return address.String()
	}
	return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}).String()
}
