package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// origins decide which pages' scripts may use the server. A request without Origin comes from no page, or from one of the
// server's own.
type origins struct {
	open     bool            // this machine's alone
	any      bool            // "*"
	exact    map[string]bool // scheme://host or scheme://host:port
	suffixes []originSuffix
	proxies  proxies
}

// originSuffix is https://*.example.org: any name below, not example.org itself.
type originSuffix struct{ scheme, domain, port string }

const originFix = `write it as https://app.example.org, https://*.example.org, or "*" for all`

func newOrigins(allowed []string, open bool, trusted proxies) (*origins, error) {
	o := &origins{open: open, exact: map[string]bool{}, proxies: trusted}
	for _, given := range allowed {
		if given == "*" {
			o.any = true
			continue
		}
		origin, ok := parseOrigin(given)
		if !ok {
			return nil, fmt.Errorf("origin %q can't be read: %s", clip(given), originFix)
		}
		domain, wild := strings.CutPrefix(origin.host, "*.")
		switch {
		case strings.Contains(domain, "*"):
			return nil, fmt.Errorf("origin %q has a * elsewhere than at the beginning of its host: %s", clip(given), originFix)
		case wild && !strings.Contains(domain, "."):
			return nil, fmt.Errorf("origin %q lets in a whole top-level domain: %s", clip(given), originFix)
		case wild:
			o.suffixes = append(o.suffixes, originSuffix{origin.scheme, "." + domain, origin.port})
		default:
			o.exact[origin.String()] = true
		}
	}
	return o, nil
}

// check says why the page that sent a request may not use the server, or returns nil.
func (o *origins) check(r *http.Request) error {
	if o.open {
		return checkLocal(r)
	}
	given := r.Header.Values("Origin")
	switch {
	case len(given) == 0:
		return nil
	case len(given) > 1:
		return errors.New("the request has several Origin headers")
	}
	origin, ok := parseOrigin(given[0])
	switch {
	case !ok: // "null" among them: a sandboxed frame, or a file, of anybody's
		return fmt.Errorf("the request comes from a page without an origin of its own (%q)", clip(given[0]))
	case o.any || o.exact[origin.String()] || o.same(r, origin):
		return nil
	}
	for _, s := range o.suffixes {
		if s.scheme == origin.scheme && s.port == origin.port && len(origin.host) > len(s.domain) &&
			strings.HasSuffix(origin.host, s.domain) {
			return nil
		}
	}
	return fmt.Errorf("pages of %s may not use this server: its operator has to allow that origin", clip(given[0]))
}

// same tells whether a page is the server's own. Which scheme the client uses is known only where the connection is ours, or
// a trusted proxy says it.
func (o *origins) same(r *http.Request, origin pageOrigin) bool {
	host, scheme := r.Host, ""
	if r.TLS != nil {
		scheme = "https"
	}
	if o.proxies.trust(peerOf(r)) {
		if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" {
			host = forwarded
		}
		scheme = strings.ToLower(r.Header.Get("X-Forwarded-Proto"))
	}
	if scheme != "" && scheme != origin.scheme {
		return false
	}
	own, ok := parseOrigin(origin.scheme + "://" + host)
	return ok && own == origin
}

// guard refuses what check refuses, tells browsers which pages may read the answer, and answers their preflights. It tells
// whether the request is to go on.
func (o *origins) guard(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	header.Add("Vary", "Origin")
	if err := o.check(r); err != nil {
		o.refuse(w, err)
		return false
	}
	origin := r.Header.Get("Origin")
	if origin != "" {
		// No credentials: what identifies somebody here is a token that the page's script holds, not a cookie.
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, Link, Location, WWW-Authenticate")
	}
	if r.Method != http.MethodOptions || origin == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return true
	}
	header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
	header.Set("Access-Control-Allow-Headers",
		"Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key, X-Request-Id")
	header.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return false
}

// guardPeer is guard for what pages and programs of any origin may send, because it is of no use to those who don't know a secret.
// In open mode the server stays this machine's alone.
func (o *origins) guardPeer(w http.ResponseWriter, r *http.Request) bool {
	if !o.open {
		return true
	}
	if err := checkLocalPeer(r); err != nil {
		o.refuse(w, err)
		return false
	}
	return true
}

func (o *origins) refuse(w http.ResponseWriter, why error) {
	detail := why.Error()
	if o.open {
		detail += ": in open mode the server is for its own machine alone"
	}
	problemf(w, http.StatusForbidden, "%s", detail)
}

// forwarding are the headers by which proxies give themselves away: a proxy on this machine is a peer on loopback.
var forwarding = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// checkLocal lets in programs and pages of this machine, and nobody else.
//
// The peer's address alone doesn't tell: a page of any site that a browser on this machine has open reaches loopback too.
// Its Origin gives a foreign page away; where it has none (its own name made to resolve to 127.0.0.1), its Host does.
func checkLocal(r *http.Request) error {
	if err := checkLocalPeer(r); err != nil {
		return err
	}
	for _, given := range r.Header.Values("Origin") {
		if origin, ok := parseOrigin(given); !ok || !localHost(origin.host) {
			return fmt.Errorf("the request comes from a page of %q", clip(given))
		}
	}
	return nil
}

// checkLocalPeer is checkLocal but for the page's origin.
func checkLocalPeer(r *http.Request) error {
	if !peerOf(r).IsLoopback() {
		return fmt.Errorf("the request comes from %s", clip(r.RemoteAddr))
	}
	for _, name := range forwarding {
		// All of them: the first may be an empty one of the client's, before the proxy's own.
		if values := r.Header.Values(name); len(values) > 0 {
			return fmt.Errorf("the request was forwarded by a proxy (%s: %s)", name, clip(strings.Join(values, ", ")))
		}
	}
	if !localHost(r.Host) {
		return fmt.Errorf("the request is for host %q", clip(r.Host))
	}
	return nil
}

// localHost tells whether a host, with or without a port, is this machine's loopback by its very name.
func localHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if inner, ok := strings.CutPrefix(hostport, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return false
		}
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}

// pageOrigin is an origin in one spelling: lower case, without the scheme's own port.
type pageOrigin struct{ scheme, host, port string }

func (o pageOrigin) String() string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if o.port == "" {
		return o.scheme + "://" + host
	}
	return o.scheme + "://" + host + ":" + o.port
}

// parseOrigin reads scheme://host or scheme://host:port, with http or https and nothing else.
func parseOrigin(s string) (pageOrigin, bool) {
	if len(s) > 512 {
		return pageOrigin{}, false
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.Path != "" ||
		u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") || u.Hostname() == "" {
		return pageOrigin{}, false
	}
	port := u.Port()
	if (u.Scheme == "http" && port == "80") || (u.Scheme == "https" && port == "443") {
		port = ""
	}
	return pageOrigin{u.Scheme, strings.ToLower(u.Hostname()), port}, true
}
