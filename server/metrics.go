package server

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

const (
	// queueAge is how long an answer about the notification queue will do: more scrapes don't make more queries.
	queueAge = 5 * time.Second
	// queueTimeout bounds that query, so that a database that is away doesn't take the other metrics with it.
	queueTimeout = time.Second
)

// metrics are what /metrics shows beside what is collected from the engine: docs/metrics.md lists all. They stand in a registry
// of the server's, or one it was given, never in Prometheus's global one: a program may have several servers.
type metrics struct {
	// refused counts what a limit turned away, by the name of the limit.
	refused *prometheus.CounterVec
	// streamed counts what /v1/stream has sent, dropped the streams ended because their client took too long.
	streamed, dropped prometheus.Counter
	// silent counts the connections that ended before a whole request had arrived, idled those that ended between requests.
	silent, idled prometheus.Counter
}

// newMetrics registers the metrics of a server. Two servers can't share a registry.
func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_refused_total", Help: "Connections, requests and commands that a limit turned away, by limit.",
		}, []string{"limit"}),
		streamed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_stream_messages_total", Help: "Messages and signals sent to event streams.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_stream_slow_total", Help: "Event streams ended because their client read too slowly.",
		}),
		silent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_http_silent_total", Help: "Connections that ended before the headers of a first request had arrived.",
		}),
		idled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_http_idle_total", Help: "Connections that ended while they were kept for another request.",
		}),
	}
	for _, limit := range []string{ // so that they are there before the first time
		limitConnections, limitConnectionsPerUser, limitConnectionsPerAddress, limitRequestRate, limitRequestsAtOnce, limitRequestBytes,
		limitFailureRate, limitPublishRate, limitURLBytes,
	} {
		m.refused.WithLabelValues(limit)
	}
	for _, c := range []prometheus.Collector{
		m.refused, m.streamed, m.dropped, m.silent, m.idled, newEngineCollector(s),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := s.options.Registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// exposition writes the metrics in the format of Prometheus.
func (s *Server) exposition() http.Handler {
	return promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // some metrics are better than none
		MaxRequestsInFlight: 4,                        // scrapers are few; each costs a pass over everything
		Timeout:             10 * time.Second,
	})
}

// engineCollector reads the engine and the server whenever it is asked, so that nothing is counted twice.
type engineCollector struct {
	server *Server
	all    []reading
	queue  *prometheus.Desc
	usage  queueUsage
}

// A reading is a metric whose value is known elsewhere.
type reading struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*snapshot) float64
}

// snapshot is what one scrape reads, once.
type snapshot struct {
	stats trunkline.Stats
	state trunkline.State
	inbox inbox.Stats
	at    time.Time
}

func newEngineCollector(s *Server) *engineCollector {
	c := &engineCollector{server: s, usage: queueUsage{ask: s.askQueueUsage}}
	c.queue = prometheus.NewDesc("trunkline_notification_queue_usage_ratio",
		"How full PostgreSQL's notification queue is, from 0 to 1. A full one fails every commit that notifies. Absent if it can't be asked.", nil, nil)
	c.all = slices.Concat(engineReadings(), s.ownReadings(), s.inboxReadings())
	return c
}

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, r := range c.all {
		descs <- r.desc
	}
	descs <- c.queue
}

// Collect implements prometheus.Collector.
func (c *engineCollector) Collect(out chan<- prometheus.Metric) {
	now := &snapshot{stats: c.server.engine.Stats(), state: c.server.engine.State(), inbox: c.server.inbox.Stats(), at: time.Now()}
	for _, r := range c.all {
		out <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(now))
	}
	if usage, ok := c.usage.current(now.at); ok {
		out <- prometheus.MustNewConstMetric(c.queue, prometheus.GaugeValue, usage)
	}
}

func gauge(name, help string, value func(*snapshot) float64) reading {
	return reading{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(*snapshot) int64) reading {
	return reading{
		prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue,
		func(s *snapshot) float64 { return float64(value(s)) },
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// queueUsage remembers how full the notification queue is.
type queueUsage struct {
	ask func(context.Context) (float64, error)

	mu    sync.Mutex // held while the database is asked: whoever comes meanwhile wants the same answer
	asked time.Time
	usage float64
	err   error
}

// current is the usage, not older than queueAge; false if it isn't known.
func (q *queueUsage) current(now time.Time) (usage float64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked.IsZero() || now.Sub(q.asked) >= queueAge {
		ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
		defer cancel()
		q.usage, q.err = q.ask(ctx)
		q.asked = now
	}
	return q.usage, q.err == nil
}

func (s *Server) askQueueUsage(ctx context.Context) (usage float64, err error) {
	err = s.engine.Pool().QueryRow(ctx, "SELECT pg_notification_queue_usage()").Scan(&usage)
	return usage, err
}
