package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// localOnly serves programs and pages of this machine, and nobody else.
//
// The peer's address alone doesn't tell: a page of any site that a browser on this machine has open reaches loopback too.
// Its Origin gives a foreign page away; where it has none (its own name made to resolve to 127.0.0.1), its Host does.
func (h *Server) localOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := checkLocal(r); err != nil {
			problemf(w, http.StatusForbidden, "%s: for now this server gives streams to its own machine only", err)
			return
		}
		w.Header().Set("Vary", "Origin")
		if origin := r.Header.Get("Origin"); origin != "" {
			// A page served from another port, such as a development server's.
			w.Header().Set("Access-Control-Allow-Origin", origin)
		}
		next(w, r)
	}
}

func checkLocal(r *http.Request) error {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("the request comes from %s", clip(r.RemoteAddr))
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For"} {
		if value := r.Header.Get(name); value != "" {
			return fmt.Errorf("the request was forwarded by a proxy (%s: %s)", name, clip(value))
		}
	}
	if !localHost(r.Host) {
		return fmt.Errorf("the request is for host %q", clip(r.Host))
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !localHost(u.Host) {
			return fmt.Errorf("the request comes from a page of %q", clip(origin))
		}
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
