package realtime

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/centrifugal/centrifuge"
)

// Register adds the endpoints, at the paths that the SDKs expect:
//
//	/connection/websocket    WebSocket, JSON or Protobuf (?cf_protocol=protobuf)
//	/connection/http_stream  HTTP streaming
//	/connection/sse          server-sent events
//	/emulation               what clients of the latter two send
//
// The http.Server that serves them must have no WriteTimeout.
func (n *Node) Register(mux *http.ServeMux) {
	ping := centrifuge.PingPongConfig{PingInterval: n.cfg.PingInterval, PongTimeout: n.cfg.PongTimeout}
	frame := n.cfg.Limits.FrameBytes
	mux.Handle("/connection/websocket", n.guard(centrifuge.NewWebsocketHandler(n.lib, centrifuge.WebsocketConfig{
		CheckOrigin:      func(*http.Request) bool { return true }, // guard has done it
		MessageSizeLimit: frame, WriteTimeout: n.cfg.WriteTimeout, PingPongConfig: ping,
		// Idle connections are many: their buffers are small, or borrowed while they are needed.
		ReadBufferSize: 1024, UseWriteBufferPool: true,
	})))
	mux.Handle("/connection/http_stream", n.guard(centrifuge.NewHTTPStreamHandler(n.lib, centrifuge.HTTPStreamConfig{MaxRequestBodySize: frame, PingPongConfig: ping})))
	mux.Handle("/connection/sse", n.guard(centrifuge.NewSSEHandler(n.lib, centrifuge.SSEConfig{MaxRequestBodySize: frame, PingPongConfig: ping})))
	mux.Handle("/emulation", n.guard(centrifuge.NewEmulationHandler(n.lib, centrifuge.EmulationConfig{MaxRequestBodySize: frame})))
}

// guard turns away pages of other hosts, bodies that are too large, and everybody who would connect while the node drains. Pages
// that are let in from other hosts get the headers that browsers want to see.
func (n *Node) guard(next http.Handler) http.Handler {
	check := n.cfg.CheckOrigin
	if check == nil {
		check = sameHost
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "" {
			if !check(r) {
				n.metrics.refuse(reasonOrigin)
				http.Error(w, "pages of this origin may not connect: the server has to be told of it", http.StatusForbidden)
				return
			}
			if header := w.Header(); header.Get("Access-Control-Allow-Origin") == "" {
				header.Set("Access-Control-Allow-Origin", origin)
				header.Add("Vary", "Origin")
				if r.Method == http.MethodOptions {
					header.Set("Access-Control-Allow-Headers", "Content-Type")
				}
			}
		}
		if r.ContentLength > int64(n.cfg.Limits.FrameBytes) {
			n.metrics.refuse(reasonFrame)
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		if n.draining.Load() && r.URL.Path != "/emulation" {
			n.metrics.refuse(reasonDraining)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the server is stopping: connect again", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameHost tells whether a page comes from the host that it connects to.
func sameHost(r *http.Request) bool {
	origin, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && strings.EqualFold(origin.Host, r.Host)
}
