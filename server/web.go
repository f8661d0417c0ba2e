package server

import (
	"net/http"
	"net/netip"

	"github.com/trunkline/trunkline/server/internal/auth"
)

// web is what plain HTTP, streams and REST alike, keeps between requests.
type web struct {
	origins   *origins
	proxies   proxies
	occupancy *occupancy
	streams   *streams
	requests  *meter[netip.Prefix]
	failures  *meter[netip.Prefix]
	publishes *meter[publisher]
	// working has room for the REST requests under way, and busy counts those of each address that come without a key.
	working chan struct{}
	busy    *counts[netip.Prefix]
	// onRefusal is told of each request that a limit refused.
	onRefusal func(limit string)
	// onSent is told of messages sent to streams, onSlow of each stream that ended because its client read too slowly.
	onSent func(messages int)
	onSlow func()
}

// publisher is what publishing is metered by.
type publisher struct{ user, namespace string }

// maxRequests is how many REST requests may be under way at once: with it the memory that their bodies take is bounded.
const maxRequests = 128

// maxRequestsPerAddress is how many of them may come from one address without an API key: bodies that never end come slowly, and
// must not keep everybody else out.
const maxRequestsPerAddress = maxRequests / 4

func newWeb(o Options, gate *auth.Gate) (*web, error) {
	trusted := proxies(o.TrustedProxies)
	allowed, err := newOrigins(o.Origins, o.Open, trusted)
	if err != nil {
		return nil, err
	}
	l := o.Limits
	return &web{
		origins: allowed, proxies: trusted, occupancy: newOccupancy(l, o.Open), streams: newStreams(gate),
		requests:  newMeter[netip.Prefix](l.RequestRate, 10*l.RequestRate),
		failures:  newMeter[netip.Prefix](l.FailureRate, 10*l.FailureRate),
		publishes: newMeter[publisher](l.PublishRate, 10*l.PublishRate),
		working:   make(chan struct{}, maxRequests),
		busy:      &counts[netip.Prefix]{most: maxRequestsPerAddress, of: map[netip.Prefix]int{}},
		onRefusal: func(string) {}, onSent: func(int) {}, onSlow: func() {},
	}, nil
}

// refuse answers with a problem, and counts it if a limit caused it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	s.countRefusal(p)
	if p.Status >= http.StatusInternalServerError && p.cause != nil {
		s.log.Warn("a request failed", "request_id", requestID(r.Context()), "method", r.Method, "path", r.URL.Path,
			"status", p.Status, "error", p.cause)
	}
	p.write(w, r)
}

func (s *Server) countRefusal(p *problem) {
	if p.Limit != "" {
		s.web.onRefusal(p.Limit)
	}
}

// identify finds out who sends a request. An address that keeps presenting bad tokens or keys is turned away without a look at
// them for a while.
func (s *Server) identify(r *http.Request) (*auth.Identity, *problem) {
	from := network(s.web.proxies.client(r))
	shown := presents(r)
	if shown {
		if wait := s.web.failures.wait(from); wait > 0 {
			return nil, limited(http.StatusTooManyRequests, limitFailureRate, wait,
				"too many bad tokens or keys came from this address: try again later, with a good one")
		}
	}
	id, err := s.gate.Bearer(r.Context(), r)
	if err == nil {
		return id, nil
	}
	p := asProblem(err)
	if p.Status == http.StatusUnauthorized && shown {
		s.web.failures.take(from, 1)
	}
	if p.Status == http.StatusForbidden && !shown {
		// Whoever has shown nothing yet can do something about it.
		p = problemOf(http.StatusUnauthorized, "%s", p.Detail)
	}
	if p.Status == http.StatusUnauthorized && !shown {
		p = p.with("WWW-Authenticate", "Bearer")
	}
	return nil, p
}

// presents tells whether a request carries a token or key, good or bad.
func presents(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" || r.Header.Get("X-API-Key") != "" ||
		(r.URL.Path == streamPath && r.URL.Query().Has("token"))
}

// maxURL is room for the longest stream request, 100 channels of 255 bytes, escaped, with a token.
const maxURL = 96 << 10

// admit does what every request needs first: it gives it a name, and refuses those of pages that may not use the server. Probes
// are for programs: of those only the name is wanted.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r = withRequestID(w, r)
	if len(r.RequestURI) > maxURL {
		p := problemOf(http.StatusRequestURITooLong, "the URL is longer than %d bytes: ask for less at once", maxURL)
		p.Limit = limitURLBytes
		s.refuse(w, r, p)
		return nil, false
	}
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics":
		return r, true
	}
	if pathIsUnsubscribe(r.URL.Path) {
		return r, s.web.origins.guardPeer(w, r)
	}
	return r, s.web.origins.guard(w, r)
}
