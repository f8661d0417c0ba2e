package smtp

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/wneessen/go-mail/smtp"
)

// Mechanism is a way to authenticate.
type Mechanism string

const (
	// Auto is the best that the server offers: SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN, CRAM-MD5, in this order, and without
	// TLS, on this machine, CRAM-MD5 before those that show the password.
	Auto Mechanism = ""
	// Plain sends user and password at once.
	Plain Mechanism = "PLAIN"
	// Login sends them when asked for; it is older than Plain.
	Login Mechanism = "LOGIN"
	// CRAMMD5 proves the password without sending it, with a hash of the last century.
	CRAMMD5 Mechanism = "CRAM-MD5"
	// SCRAMSHA1 proves the password without sending it, and lets the server prove that it knows it, too.
	SCRAMSHA1 Mechanism = "SCRAM-SHA-1"
	// SCRAMSHA256 is the same with a better hash.
	SCRAMSHA256 Mechanism = "SCRAM-SHA-256"
	// SCRAMSHA1Plus is bound to the TLS connection. It fails where something between us and the server takes TLS off, so it is
	// used only if it is asked for.
	SCRAMSHA1Plus Mechanism = "SCRAM-SHA-1-PLUS"
	// SCRAMSHA256Plus is the same with a better hash.
	SCRAMSHA256Plus Mechanism = "SCRAM-SHA-256-PLUS"
)

var (
	mechanisms       = []Mechanism{SCRAMSHA256, SCRAMSHA1, Plain, Login, CRAMMD5}
	mechanismsInOpen = []Mechanism{SCRAMSHA256, SCRAMSHA1, CRAMMD5, Plain, Login}
)

func (m Mechanism) known() bool {
	return m == Auto || m == SCRAMSHA1Plus || m == SCRAMSHA256Plus || slices.Contains(mechanisms, m)
}

func mechanismNames() string {
	return "auto, plain, login, cram-md5, scram-sha-1, scram-sha-256, scram-sha-1-plus, scram-sha-256-plus"
}

// choose picks one of the mechanisms that a server offers; "" if there is none for us.
func (m Mechanism) choose(offered []string, secure bool) Mechanism {
	has := func(m Mechanism) bool {
		return slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, string(m)) })
	}
	if m != Auto {
		if has(m) {
			return m
		}
		return ""
	}
	ranked := mechanisms
	if !secure {
		ranked = mechanismsInOpen
	}
	for _, candidate := range ranked {
		if has(candidate) {
			return candidate
		}
	}
	return ""
}

// auth is the client's side of a mechanism. Whether the password may be sent has been decided before.
func (m Mechanism) auth(o *Options, state *tls.ConnectionState) smtp.Auth {
	switch m {
	case Login:
		return smtp.LoginAuth(o.Username, o.Password, o.Host, true)
	case CRAMMD5:
		return smtp.CRAMMD5Auth(o.Username, o.Password)
	case SCRAMSHA1:
		return smtp.ScramSHA1Auth(o.Username, o.Password)
	case SCRAMSHA256:
		return smtp.ScramSHA256Auth(o.Username, o.Password)
	case SCRAMSHA1Plus:
		return smtp.ScramSHA1PlusAuth(o.Username, o.Password, state)
	case SCRAMSHA256Plus:
		return smtp.ScramSHA256PlusAuth(o.Username, o.Password, state)
	default:
		return smtp.PlainAuth("", o.Username, o.Password, o.Host, true)
	}
}
