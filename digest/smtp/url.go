package smtp

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const urlFix = "Write smtp://user:password@mail.example.com:587, or smtps://… for TLS from the start; " +
	"characters of user and password other than letters and digits are written as %40 and the like"

// ParseURL reads Options from a URL:
//
//	smtp://user:password@mail.example.com:587?rate=10
//	smtps://user:password@mail.example.com
//	smtp://localhost:1025
//
// smtps is TLS from the start, by default on port 465. Parameters: tls (starttls, implicit, none), allow_plain_text (true),
// server_name, ca (a file), auth (auto, plain, login, cram-md5, scram-sha-1, scram-sha-256, scram-sha-1-plus,
// scram-sha-256-plus), hello, connections, mails_per_connection, rate (mails per second), and as durations such as 30s:
// idle, connect, command, body, dot, total, grace.
//
// Errors are *[trunkline.ArgumentError] and quote neither user nor password.
func ParseURL(text string) (Options, error) {
	// What url.Parse says quotes what it was given, and with it the password.
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return Options{}, argument("url", urlFix, "the mail server's URL can't be read")
	}
	if (u.Path != "" && u.Path != "/") || u.Fragment != "" {
		return Options{}, argument("url", urlFix, "the mail server's URL has a path or a fragment: perhaps the password has a / or #")
	}
	o := Options{Host: u.Hostname()}
	if text := u.Port(); text != "" {
		if o.Port, err = strconv.Atoi(text); err != nil || o.Port < 1 || o.Port > math.MaxUint16 {
			return Options{}, argument("port", "Give a port from 1 to 65535", "the mail server's port is %s", text)
		}
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	parameters, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Options{}, argument("url", urlFix, "the parameters of the mail server's URL can't be read")
	}
	for name, values := range parameters {
		if len(values) > 1 {
			return Options{}, argument(name, "Give it once", "%s is given %d times", name, len(values))
		}
		if err := o.parameter(name, values[0]); err != nil {
			return Options{}, err
		}
	}
	switch u.Scheme {
	case "smtps":
		if o.TLS != "" && o.TLS != Implicit {
			return Options{}, argument("tls", "Write smtp://, or leave tls out", "smtps:// is TLS from the start, and tls is %q", o.TLS)
		}
		o.TLS = Implicit
	case "smtp":
		if o.Port == 465 && o.TLS == "" {
			return Options{}, argument("url", "Write smtps://, or say with tls= what is spoken there",
				"port 465 is for TLS from the start, and smtp:// begins in plain text")
		}
	default:
		return Options{}, argument("url", urlFix, "the mail server's URL begins with %q", u.Scheme+"://")
	}
	if _, err := o.withDefaults(); err != nil {
		return Options{}, err
	}
	return o, nil
}

// FromURL is New with the Options of ParseURL.
func FromURL(text string) (*Sender, error) {
	options, err := ParseURL(text)
	if err != nil {
		return nil, err
	}
	return New(options)
}

// parameter sets an option from the URL's query.
func (o *Options) parameter(name, value string) error {
	var err error
	number := func(to *int) {
		if *to, err = strconv.Atoi(value); err != nil || *to < 1 {
			err = argument(name, "Give a whole number from 1", "%s is %q", name, value)
		}
	}
	duration := func(to *time.Duration) {
		if *to, err = time.ParseDuration(value); err != nil || *to <= 0 {
			err = argument(name, "Give a duration above zero, such as 30s or 2m", "%s is %q", name, value)
		}
	}
	t := &o.Timeouts
	switch name {
	case "tls":
		if o.TLS = TLS(strings.ToLower(value)); !slices.Contains([]TLS{StartTLS, Implicit, None}, o.TLS) {
			err = argument(name, "Use starttls, implicit or none", "tls is %q", value)
		}
	case "allow_plain_text":
		if o.AllowPlainText, err = strconv.ParseBool(value); err != nil {
			err = argument(name, "Use true or false", "%s is %q", name, value)
		}
	case "server_name":
		o.ServerName = value
	case "ca":
		o.CAFile = value
	case "auth":
		if o.Auth = Mechanism(strings.ToUpper(value)); o.Auth == "AUTO" {
			o.Auth = Auto
		}
	case "hello":
		o.Hello = value
	case "connections":
		number(&o.Connections)
	case "mails_per_connection":
		number(&o.MailsPerConnection)
	case "rate":
		if o.Rate, err = strconv.ParseFloat(value, 64); err != nil {
			err = argument(name, "Give mails per second, such as 10 or 0.5", "rate is %q", value)
		}
	case "idle":
		duration(&o.IdleTimeout)
	case "connect":
		duration(&t.Connect)
	case "command":
		duration(&t.Command)
	case "body":
		duration(&t.Body)
	case "dot":
		duration(&t.Dot)
	case "total":
		duration(&t.Total)
	case "grace":
		duration(&t.Grace)
	default:
		err = argument(name, "Parameters are tls, allow_plain_text, server_name, ca, auth, hello, connections, mails_per_connection, "+
			"rate, idle, connect, command, body, dot, total and grace",
			"the mail server's URL has the parameter %q, which means nothing", name)
	}
	return err
}
