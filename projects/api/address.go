package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops is how many addresses of a forwarding header are looked at.
const maxHops = 32

// clientAddress returns the address that a request comes from: the peer's or, where that is a trusted proxy, the nearest one
// before it in X-Forwarded-For that isn't. What is further left was written by nobody we know. The address is invalid if the peer
// has none (a Unix socket).
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	nearest, _ := parseHop(r.RemoteAddr)
	header := r.Header.Values("X-Forwarded-For")
	hops := 0
	for i := len(header) - 1; i >= 0; i-- {
		for rest := header[i]; rest != ""; {
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest, hop = "", rest
			}
			if !trusts(trusted, nearest) {
				return nearest
			}
			addr, ok := parseHop(strings.TrimSpace(hop))
			if hops++; !ok || hops > maxHops {
				return nearest
			}
			nearest = addr
		}
	}
	return nearest
}

func trusts(trusted []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
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
