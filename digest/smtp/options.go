package smtp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/trunkline/trunkline"
)

// TLS is how the connection is protected.
type TLS string

const (
	// StartTLS begins in plain text, demands that the server switch to TLS before anything of note is said, and sends nothing
	// if it doesn't. It is the default, except for a server on this very machine.
	StartTLS TLS = "starttls"
	// Implicit speaks TLS from the first byte, as on port 465.
	Implicit TLS = "implicit"
	// None sends mails in plain text: to a server on this machine, for which it is the default, or where
	// Options.AllowPlainText says that it may.
	None TLS = "none"
)

// Options are where and how mail is sent. What is zero gets the default that is named with it. Printing them shows no password.
type Options struct {
	// Host is a name or an IP address.
	Host string
	// Port, by default 587, or 465 with Implicit.
	Port int
	TLS  TLS
	// ServerName is the name that the server's certificate must have, by default Host.
	ServerName string
	// CAFile names a PEM file with certificates that are trusted besides those of the operating system.
	CAFile string
	// Username and Password, if the server wants to know who sends. They are never sent in plain text over a network.
	Username string
	Password string `json:"-"`
	// Auth is the mechanism, by default the best that the server offers.
	Auth Mechanism
	// AllowPlainText lets None be used with a server on another machine: anyone on the way can read the mails.
	AllowPlainText bool
	// Hello is the name we give ourselves: by default the host's name if it is one with a dot, else our IP address.
	Hello string
	// Connections is how many there may be at a time, which is how many mails can be under way: by default 4.
	Connections int
	// MailsPerConnection is how many a connection carries before it is replaced, by default 100.
	MailsPerConnection int
	// IdleTimeout is how long a connection waits for the next mail before it is closed, by default 30 s.
	IdleTimeout time.Duration
	// Rate is how many mails a second may be sent, 0: as many as go.
	Rate     float64
	Timeouts Timeouts
}

// Timeouts are how long a server may take. Servers that are busy or suspicious take their time.
type Timeouts struct {
	// Connect is for the TCP connection, and again for the TLS handshake; by default 30 s.
	Connect time.Duration
	// Command is for the answer to each command, by default 1 min.
	Command time.Duration
	// Body is for taking the mail's text, by default 3 min.
	Body time.Duration
	// Dot is for the answer to the final dot, by default 5 min: giving up on it may mean that the mail is sent twice.
	Dot time.Duration
	// Total is for a mail from connecting to the final dot, by default 10 min. Waiting for a connection to be free, or for
	// Options.Rate, isn't part of it.
	Total time.Duration
	// Grace is how long the answer to the final dot is waited for when the context ends meanwhile, by default 5 s: a program that
	// stops would rather know whether the mail was taken.
	Grace time.Duration
}

// Limits of options.
const (
	maxConnections = 1000
	maxName        = 255
)

// withDefaults checks options and fills in what they leave open.
func (o Options) withDefaults() (Options, error) {
	if err := o.check(); err != nil {
		return o, err
	}
	if o.TLS == "" {
		o.TLS = StartTLS
		if isLoopback(o.Host) {
			o.TLS = None
		}
	}
	if err := o.checkTLS(); err != nil {
		return o, err
	}
	if o.Port == 0 {
		o.Port = 587
		if o.TLS == Implicit {
			o.Port = 465
		}
	}
	o.ServerName = cmp.Or(o.ServerName, o.Host)
	o.Connections = cmp.Or(o.Connections, 4)
	o.MailsPerConnection = cmp.Or(o.MailsPerConnection, 100)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 30*time.Second)
	t := &o.Timeouts
	t.Connect = cmp.Or(t.Connect, 30*time.Second)
	t.Command = cmp.Or(t.Command, time.Minute)
	t.Body = cmp.Or(t.Body, 3*time.Minute)
	t.Dot = cmp.Or(t.Dot, 5*time.Minute)
	t.Total = cmp.Or(t.Total, 10*time.Minute)
	t.Grace = cmp.Or(t.Grace, 5*time.Second)
	return o, nil
}

func argument(name, fix, problem string, args ...any) error {
	return &trunkline.ArgumentError{Argument: name, Problem: fmt.Sprintf(problem, args...), Fix: fix}
}

func (o *Options) check() error {
	if !isHost(o.Host) {
		return argument("host", "Give the name or the IP address of a mail server, such as mail.example.com",
			"the mail server's host is %q", o.Host)
	}
	if o.Port < 0 || o.Port > math.MaxUint16 {
		return argument("port", "Give a port from 1 to 65535: 587 is usual, 465 with TLS from the start",
			"the mail server's port is %d", o.Port)
	}
	for _, name := range []struct{ argument, value string }{{"server_name", o.ServerName}, {"hello", o.Hello}} {
		if name.value != "" && !isHost(strings.TrimPrefix(strings.Trim(name.value, "[]"), "IPv6:")) {
			return argument(name.argument, "Give the name of a host, such as app.example.com", "%s is %q", name.argument, name.value)
		}
	}
	if (o.Username == "") != (o.Password == "") {
		return argument("username", "Give both, or neither for a server that takes mail without",
			"of the mail server's user name and password only one is given")
	}
	if strings.ContainsFunc(o.Username+o.Password, unicode.IsControl) {
		return argument("username", "Look whether a line end was copied along",
			"the mail server's user name or password has a control character")
	}
	if !o.Auth.known() {
		return argument("auth", "Use one of "+mechanismNames(), "the way to authenticate is %q", o.Auth)
	}
	if o.Connections < 0 || o.Connections > maxConnections {
		return argument("connections", "Use 1 to "+strconv.Itoa(maxConnections), "connections is %d", o.Connections)
	}
	if o.MailsPerConnection < 0 {
		return argument("mails_per_connection", "Use 1 or more", "mails_per_connection is %d", o.MailsPerConnection)
	}
	if o.Rate < 0 || math.IsNaN(o.Rate) || math.IsInf(o.Rate, 0) {
		return argument("rate", "Give mails per second, such as 10 or 0.5, or 0 for no limit", "rate is %v", o.Rate)
	}
	t := o.Timeouts
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"idle", o.IdleTimeout},
		{"connect", t.Connect},
		{"command", t.Command},
		{"body", t.Body},
		{"dot", t.Dot},
		{"total", t.Total},
		{"grace", t.Grace},
	} {
		if d.value < 0 {
			return argument(d.name, "Give a duration above zero, such as 30s", "the time limit %q is %s", d.name, d.value)
		}
	}
	return nil
}

func (o *Options) checkTLS() error {
	switch o.TLS {
	case StartTLS, Implicit:
	case None:
		if isLoopback(o.Host) {
			break
		}
		if !o.AllowPlainText {
			return argument("tls", "Use starttls, or implicit; only if nobody else is on that network, allow plain text",
				"mail to %s would go in plain text", o.Host)
		}
		if o.Username != "" {
			return argument("tls", "Use starttls or implicit, or leave the password out",
				"the password for %s would go over the network in plain text", o.Host)
		}
	default:
		return argument("tls", "Use starttls, implicit or none", "tls is %q", o.TLS)
	}
	return nil
}

// tlsConfig reads CAFile.
func (o *Options) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{ServerName: o.ServerName, MinVersion: tls.VersionTLS12}
	if o.CAFile == "" {
		return config, nil
	}
	const fix = "Give a PEM file with one or more certificates"
	text, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, argument("ca", fix, "the certificates of the mail server's authority can't be read: %s", err)
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, argument("ca", fix, "%s holds no certificate", o.CAFile)
	}
	return config, nil
}

// Address is host:port.
func (o Options) Address() string { return net.JoinHostPort(o.Host, strconv.Itoa(o.Port)) }

// Format shows where mail goes, without the password, whatever the verb.
func (o Options) Format(f fmt.State, _ rune) {
	user := ""
	if o.Username != "" {
		user = o.Username + ":…@"
	}
	_, _ = fmt.Fprintf(f, "smtp://%s%s?tls=%s", user, o.Address(), o.TLS) // what f does with it is its own affair
}

func isHost(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// isLoopback tells whether a host is this very machine by its name or address alone. When the connection is there, its address is
// looked at as well.
func isLoopback(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
