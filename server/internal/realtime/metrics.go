package realtime

import (
	"fmt"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"
)

// Why clients were refused something, as the metric trunkline_realtime_refused_total counts it.
const (
	reasonToken           = "token"            // a bad connection token
	reasonOrigin          = "origin"           // a page of another host
	reasonConnections     = "connections"      // the node is full
	reasonUserConnections = "user_connections" // too many of one user
	reasonChannels        = "channels"         // too many of one connection
	reasonCommands        = "commands"         // too many per second of one connection
	reasonWorking         = "working"          // too many answers in the making for one connection
	reasonPublish         = "publish"          // too many messages per second of one user, or waiting on one connection
	reasonFrame           = "frame"            // a request's body too large (WebSocket frames are closed with 1009 uncounted)
	reasonPresence        = "presence"         // too many present for one answer
	reasonSlow            = "slow"             // disconnected because too much waited for it
	reasonWrite           = "write"            // disconnected because a write failed or took too long
	reasonDraining        = "draining"         // the node stops
)

type metrics struct {
	refused     *prometheus.CounterVec
	connections prometheus.Gauge
	gossip      *prometheus.CounterVec
	presence    *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	const namespace = "trunkline_realtime"
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "refused_total", Help: "What clients were refused because of a limit, by reason.",
		}, []string{"reason"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "connections", Help: "Clients that are connected to this node.",
		}),
		gossip: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "join_leave_total", Help: "Joins and leaves for other nodes: sent, received, or dropped.",
		}, []string{"what"}),
		presence: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "presence_total", Help: "Statements about presence: written, read, or failed.",
		}, []string{"what"}),
	}
	for _, reason := range []string{
		reasonToken, reasonOrigin, reasonConnections, reasonUserConnections, reasonChannels, reasonCommands, reasonWorking, reasonPublish,
		reasonFrame, reasonPresence, reasonSlow, reasonWrite, reasonDraining,
	} {
		m.refused.WithLabelValues(reason)
	}
	for _, what := range []string{"sent", "received", "dropped"} {
		m.gossip.WithLabelValues(what)
	}
	for _, what := range []string{"written", "read", "failed"} {
		m.presence.WithLabelValues(what)
	}
	for _, collector := range []prometheus.Collector{m.refused, m.connections, m.gossip, m.presence} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register the realtime metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) refuse(reason string) { m.refused.WithLabelValues(reason).Inc() }

// processed counts what the library refuses by itself.
func (m *metrics) processed(_ *centrifuge.Client, e centrifuge.CommandProcessedEvent) {
	if e.Error != nil && e.Command != nil && e.Command.Subscribe != nil && e.Error == error(centrifuge.ErrorLimitExceeded) { //nolint:errorlint // that very value
		m.refuse(reasonChannels)
	}
}
