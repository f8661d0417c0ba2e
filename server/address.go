package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops is how many addresses of a forwarding header are looked at.
const maxHops = 32

// proxies are the networks whose word is taken for whom they forward.
type proxies []netip.Prefix

// client returns the address that a request comes from: the peer's or, where that is a trusted proxy, the nearest address
// before it that isn't one. What is further left in X-Forwarded-For or Forwarded was written by nobody we know. The address
// is invalid if the peer has none (a Unix socket).
func (p proxies) client(r *http.Request) netip.Addr {
	peer := peerOf(r)
	if !p.trust(peer) {
		return peer
	}
	plain, standard := r.Header.Values("X-Forwarded-For"), r.Header.Values("Forwarded")
	switch {
	case len(standard) == 0:
		return p.behind(peer, plain, parseHop)
	case len(plain) == 0:
		return p.behind(peer, standard, parseForwarded)
	}
	// A proxy writes one of them, and may pass on the other as a client forged it. Where they disagree neither is believed.
	a, b := p.behind(peer, plain, parseHop), p.behind(peer, standard, parseForwarded)
	if a == b {
		return a
	}
	return peer
}

func (p proxies) trust(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// behind walks from the peer towards the client for as long as the hops are trusted.
func (p proxies) behind(peer netip.Addr, header []string, parse func(string) (netip.Addr, bool)) netip.Addr {
	nearest := peer
	hops := 0
	for i := len(header) - 1; i >= 0; i-- {
		for rest := header[i]; rest != ""; {
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest, hop = "", rest
			}
			addr, ok := parse(strings.TrimSpace(hop))
			if hops++; !ok || hops > maxHops {
				return nearest
			}
			if nearest = addr; !p.trust(addr) {
				return addr
			}
		}
	}
	return nearest
}

func peerOf(r *http.Request) netip.Addr {
	addr, _ := parseHop(r.RemoteAddr)
	return addr
}

// parseHop reads an address, with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return addr.Unmap().WithZone(""), err == nil
	}
	addr, err := netip.ParseAddrPort(s)
	return addr.Addr().Unmap().WithZone(""), err == nil
}

// parseForwarded reads the for= of one element of a Forwarded header (RFC 7239).
func parseForwarded(element string) (netip.Addr, bool) {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "for") {
			return parseHop(strings.Trim(strings.TrimSpace(value), `"`))
		}
	}
	return netip.Addr{}, false
}

// network is what limits by address count together: an IPv4 address, or an IPv6 network of 64 bits, all of which one
// subscriber has.
func network(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: they all count together
	}
	return prefix
}
