package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/trunkline/trunkline/server"
)

// accessFlags say who is let in.
type accessFlags struct {
	JWTSecret     string        `name:"jwt-secret" placeholder:"SECRET" help:"Accept tokens signed with this secret (HS256, HS384, HS512). Others on this machine may see it in the list of processes: prefer --jwt-secret-file, or TRUNKLINE_JWT_SECRET."`
	JWTSecretFile string        `name:"jwt-secret-file" placeholder:"FILE" type:"path" help:"The same, read from a file; line ends at its end don't count."`
	JWTPublicKey  []string      `name:"jwt-public-key" placeholder:"FILE" help:"Accept tokens signed with the private key that belongs to this public one (RSA, ECDSA or Ed25519), in PEM. May be repeated."`
	JWKSURL       string        `name:"jwks-url" placeholder:"URL" help:"Accept tokens signed with a key that is published there, as identity providers do."`
	JWTIssuer     string        `name:"jwt-issuer" placeholder:"ISS" help:"Accept only tokens with this iss."`
	JWTAudience   string        `name:"jwt-audience" placeholder:"AUD" help:"Accept only tokens with this aud, or this among theirs."`
	ClockSkew     time.Duration `placeholder:"DURATION" help:"How far the clocks of those who sign tokens may be off, up to 5m. Default: 10s."`
	Origin        []string      `placeholder:"ORIGIN" help:"Let pages of this origin connect, such as https://app.example.org or https://*.example.org. Pages of the server's own host may always. May be repeated."`
	TrustedProxy  []string      `placeholder:"CIDR" help:"Believe X-Forwarded-For from these addresses, such as 127.0.0.1 or 10.0.0.0/8. May be repeated. Default: from none."`
}

// keys tells whether there is anything to check tokens with.
func (f *accessFlags) keys() bool {
	return f.JWTSecret != "" || f.JWTSecretFile != "" || len(f.JWTPublicKey) > 0 || f.JWKSURL != ""
}

// shortSecret is below what HS256 asks for: RFC 7518 wants a key as long as the hash.
const shortSecret = 32

// options writes down who is let in; keys are read from their files. Without any of them the server is open.
func (f *accessFlags) options(o *server.Options, log *slog.Logger) error {
	o.Open = !f.keys()
	o.JWKSURL, o.JWTIssuer, o.JWTAudience = f.JWKSURL, f.JWTIssuer, f.JWTAudience
	o.ClockSkew, o.Origins = f.ClockSkew, f.Origin
	if o.Open && (f.JWTIssuer != "" || f.JWTAudience != "") {
		return usagef("--jwt-issuer and --jwt-audience say which tokens are accepted, but there is nothing to check tokens with: %s", giveKeys)
	}
	secret, err := f.secret()
	if err != nil {
		return err
	}
	if o.JWTSecret = secret; len(secret) > 0 && len(secret) < shortSecret {
		log.Warn("the secret that tokens are signed with is short enough to be guessed from one of them: take 32 random bytes or more, "+
			"as openssl rand -hex 32 makes them", "bytes", len(secret))
	}
	for _, name := range f.JWTPublicKey {
		key, err := os.ReadFile(name)
		if err != nil {
			return usagef("--jwt-public-key: %s", err)
		}
		if !bytes.Contains(key, []byte("-----BEGIN ")) {
			return usagef("--jwt-public-key %s holds no key: give a file in PEM, which begins with -----BEGIN PUBLIC KEY-----", name)
		}
		if bytes.Contains(key, []byte("PRIVATE KEY-----")) {
			return usagef("--jwt-public-key %s holds a private key, which belongs to whoever signs: give the public one, as openssl pkey -pubout writes it", name)
		}
		o.JWTPublicKeys = append(append(o.JWTPublicKeys, key...), '\n')
	}
	for _, proxy := range f.TrustedProxy {
		prefix, err := parsePrefix(proxy)
		if err != nil {
			return err
		}
		o.TrustedProxies = append(o.TrustedProxies, prefix)
	}
	return nil
}

const giveKeys = "give --jwt-secret-file FILE, --jwt-public-key FILE or --jwks-url URL"

func (f *accessFlags) secret() ([]byte, error) {
	if f.JWTSecretFile == "" {
		return []byte(f.JWTSecret), nil
	}
	if f.JWTSecret != "" {
		return nil, usagef("--jwt-secret and --jwt-secret-file %s are both given: leave one out", f.JWTSecretFile)
	}
	text, err := os.ReadFile(f.JWTSecretFile)
	if err != nil {
		return nil, usagef("--jwt-secret-file: %s", err)
	}
	if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
		return nil, usagef("--jwt-secret-file %s is empty: write a secret into it, such as openssl rand -hex 32 makes", f.JWTSecretFile)
	}
	return text, nil
}

// parsePrefix reads a network, or an address, which is a network of one.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, usagef("--trusted-proxy %s is no network: write it as 10.0.0.0/8, or one address as 127.0.0.1", text)
	}
	if prefix != prefix.Masked() {
		return prefix, usagef("--trusted-proxy %s has bits behind its mask: write it as %s", text, prefix.Masked())
	}
	return prefix, nil
}

// limitFlags bound what clients can take. Their defaults are the server's.
type limitFlags struct {
	MaxConnections           int     `placeholder:"N" default:"${max_connections}" help:"Connections of all kinds at once: WebSockets, streams and their like. Default: ${max_connections}, which take about a gigabyte."`
	MaxConnectionsPerUser    int     `placeholder:"N" default:"${max_connections_per_user}" help:"Connections of one user. Default: ${max_connections_per_user}: tabs and devices, but no farm."`
	MaxConnectionsPerAddress int     `placeholder:"N" default:"${max_connections_per_address}" help:"Connections from one address. Default: ${max_connections_per_address}: an office behind one address. Behind a proxy give --trusted-proxy too."`
	MaxChannels              int     `placeholder:"N" default:"${max_channels}" help:"Channels of one connection. Default: ${max_channels}; each costs memory as long as it is open."`
	MaxFrame                 size    `placeholder:"SIZE" default:"${max_frame}" help:"What a client may send at once. Default: ${max_frame}, the largest payload and its envelope."`
	MaxRequest               size    `placeholder:"SIZE" default:"${max_request}" help:"The body of a REST request. Default: ${max_request}, a batch of large messages."`
	MaxQueue                 size    `placeholder:"SIZE" default:"${max_queue}" help:"What may wait for a client that reads slowly, before it is disconnected. Default and least: ${max_queue}, so that the largest messages get through."`
	CommandRate              float64 `placeholder:"N" default:"${command_rate}" help:"Commands per second of one connection, ten times as many at once. Default: ${command_rate}, far more than a page sends."`
	PublishRate              float64 `placeholder:"N" default:"${publish_rate}" help:"Messages per second that a user may publish, where the namespace has no rate of its own; ten times as many at once. Default: ${publish_rate}, faster than people type."`
	RequestRate              float64 `placeholder:"N" default:"${request_rate}" help:"REST requests per second of one address without an API key, ten times as many at once. Default: ${request_rate}."`
	FailureRate              float64 `placeholder:"N" default:"${failure_rate}" help:"Bad tokens per second of one address before it is turned away unread, ten times as many at once. Default: ${failure_rate}: guessing gets nowhere."`
	MaxHistory               int     `placeholder:"N" default:"${max_history}" help:"Messages in one answer of history. Default: ${max_history}; there are pages."`
}

func (f *limitFlags) limits() server.Limits {
	return server.Limits{
		Connections: f.MaxConnections, ConnectionsPerUser: f.MaxConnectionsPerUser, ConnectionsPerAddress: f.MaxConnectionsPerAddress,
		Channels: f.MaxChannels, FrameBytes: int(f.MaxFrame), RequestBytes: int(f.MaxRequest), QueueBytes: int(f.MaxQueue),
		CommandRate: f.CommandRate, PublishRate: f.PublishRate, RequestRate: f.RequestRate, FailureRate: f.FailureRate,
		HistoryMessages: f.MaxHistory,
	}
}

// flagNames are what the server's options are called here.
var flagNames = strings.NewReplacer(
	"Limits.ConnectionsPerUser", "--max-connections-per-user", "Limits.ConnectionsPerAddress", "--max-connections-per-address",
	"Limits.Connections", "--max-connections", "Limits.Channels", "--max-channels", "Limits.FrameBytes", "--max-frame",
	"Limits.RequestBytes", "--max-request", "Limits.QueueBytes", "--max-queue", "Limits.CommandRate", "--command-rate",
	"Limits.PublishRate", "--publish-rate", "Limits.RequestRate", "--request-rate", "Limits.FailureRate", "--failure-rate",
	"Limits.HistoryMessages", "--max-history", "Options.ClockSkew", "--clock-skew", "Options.Origins", "--origin",
	"Options.JWKSURL", "--jwks-url", "Options.JWTPublicKeys", "--jwt-public-key", "Options.JWTSecret", "--jwt-secret",
)

// check refuses zeros, which the server would take for its defaults. The other bounds are the server's to know.
func (f *limitFlags) check() error {
	for _, given := range []struct {
		flag  string
		value float64
	}{
		{"--max-connections", float64(f.MaxConnections)},
		{"--max-connections-per-user", float64(f.MaxConnectionsPerUser)},
		{"--max-connections-per-address", float64(f.MaxConnectionsPerAddress)},
		{"--max-channels", float64(f.MaxChannels)},
		{"--max-frame", float64(f.MaxFrame)},
		{"--max-request", float64(f.MaxRequest)},
		{"--max-queue", float64(f.MaxQueue)},
		{"--command-rate", f.CommandRate},
		{"--publish-rate", f.PublishRate},
		{"--request-rate", f.RequestRate},
		{"--failure-rate", f.FailureRate},
		{"--max-history", float64(f.MaxHistory)},
	} {
		if !(given.value > 0) { // also no number at all
			return usagef("%s %v lets nothing through: give more than 0, or leave it out", given.flag, given.value)
		}
	}
	return nil
}

// limitVars are the server's defaults, for the declaration of the flags.
func limitVars() kong.Vars {
	l := server.DefaultLimits()
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	return kong.Vars{
		"max_connections":             strconv.Itoa(l.Connections),
		"max_connections_per_user":    strconv.Itoa(l.ConnectionsPerUser),
		"max_connections_per_address": strconv.Itoa(l.ConnectionsPerAddress),
		"max_channels":                strconv.Itoa(l.Channels),
		"max_frame":                   size(l.FrameBytes).String(),
		"max_request":                 size(l.RequestBytes).String(),
		"max_queue":                   size(l.QueueBytes).String(),
		"command_rate":                number(l.CommandRate),
		"publish_rate":                number(l.PublishRate),
		"request_rate":                number(l.RequestRate),
		"failure_rate":                number(l.FailureRate),
		"max_history":                 strconv.Itoa(l.HistoryMessages),
	}
}

// size is a number of bytes, written as 1048576, 1024KiB or 1MiB.
type size int

var sizeUnits = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func (s size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && int(s)%unit.bytes == 0 {
			return strconv.Itoa(int(s)/unit.bytes) + unit.name
		}
	}
	return strconv.Itoa(int(s))
}

// UnmarshalText reads what String writes.
func (s *size) UnmarshalText(text []byte) error {
	number, factor := string(text), 1
	for _, unit := range sizeUnits {
		if head, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = head, unit.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n > 1<<40/uint64(factor) {
		return fmt.Errorf("%q is no size: write it as 1048576, 1024KiB or 1MiB", text)
	}
	*s = size(n) * size(factor)
	return nil
}

// loopback tells whether an address of --listen can be reached from this machine alone, going by what it says.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.Unmap().IsLoopback())
}
