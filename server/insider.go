package server

import (
	"net/http"
	"strings"
)

// Operation returns a handler for those who operate this server: /metrics, /healthz and /readyz, for anyone who reaches it.
// Serve it on an address that clients don't reach.
func (s *Server) Operation() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", s.exposition())
	mux.HandleFunc("/healthz", s.health)
	mux.HandleFunc("/readyz", s.ready)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problemf(w, http.StatusNotFound, "there is nothing at %s: see /metrics, /healthz and /readyz", clip(r.URL.Path))
	})
	return mux
}

// metricsForInsiders serves /metrics where clients come too: to programs of this machine, and to those with an API key of scope
// admin. What it shows is nobody's business otherwise: how many users there are, and how busy they are.
func (s *Server) metricsForInsiders(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, "GET, HEAD", http.MethodGet, http.MethodHead) {
		return
	}
	if err := checkLocal(r); err != nil && !s.hasAdminKey(r) {
		if !s.options.Open {
			w.Header().Set("WWW-Authenticate", `Bearer realm="trunkline"`)
		}
		problemf(w, http.StatusUnauthorized, "%s: metrics are for programs of this machine, and for API keys of scope admin", err)
		return
	}
	s.exposition().ServeHTTP(w, r)
}

// hasAdminKey tells whether a request carries a key that may administer. Without one it asks nobody.
func (s *Server) hasAdminKey(r *http.Request) bool {
	if r.Header.Get("X-API-Key") == "" && !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		return false
	}
	id, err := s.gate.Bearer(r.Context(), r)
	return err == nil && id != nil && !id.Open && s.gate.Admin(id) == nil
}
