package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/digest"
)

// digestCollector reads a worker whenever it is asked, so that nothing is counted twice.
type digestCollector struct {
	worker *digest.Worker
	all    []digestReading
}

// A digestReading is a metric whose value the worker knows.
type digestReading struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*digest.Stats) float64
}

func newDigestCollector(worker *digest.Worker) *digestCollector {
	c := &digestCollector{worker: worker}
	for _, r := range []struct {
		name, help string
		value      func(*digest.Stats) int64
	}{
		{"looks", "Users that were looked at.", func(s *digest.Stats) int64 { return s.Looks }},
		{"claimed", "Mails that were begun.", func(s *digest.Stats) int64 { return s.Claimed }},
		{"sent", "Mails that the mail server took.", func(s *digest.Stats) int64 { return s.Sent }},
		{"retries", "Tries that failed, to be made again.", func(s *digest.Stats) int64 { return s.Retries }},
		{"cancelled", "Mails that nothing of was to be mailed any more.", func(s *digest.Stats) int64 { return s.Cancelled }},
		{"bounced", "Mails whose address the mail server refused.", func(s *digest.Stats) int64 { return s.Bounced }},
		{"failed", "Mails that were given up or refused.", func(s *digest.Stats) int64 { return s.Failed }},
		{"parked", "Mails that wait for somebody to decide.", func(s *digest.Stats) int64 { return s.Parked }},
		{"uncertain", "Tries that broke off behind the final dot.", func(s *digest.Stats) int64 { return s.Uncertain }},
		{"overtaken", "Tries that another one had taken the place of.", func(s *digest.Stats) int64 { return s.Overtaken }},
		{"questions", "Questions put to authorize functions.", func(s *digest.Stats) int64 { return s.Questions }},
		{"ask_failures", "Questions, alone or together, that had no answer.", func(s *digest.Stats) int64 { return s.AskFailures }},
		{"recipient_failures", "Attempts to read recipients that failed.", func(s *digest.Stats) int64 { return s.RecipientFailures }},
		{"server_failures", "Times that the mail server failed.", func(s *digest.Stats) int64 { return s.ServerFailures }},
		{"breaks", "Times that sending paused because the mail server kept failing.", func(s *digest.Stats) int64 { return s.Breaks }},
		{"failures", "Passes that the database failed in, to be made again.", func(s *digest.Stats) int64 { return s.Failures }},
	} {
		c.all = append(c.all, digestReading{
			prometheus.NewDesc("trunkline_digest_"+r.name+"_total", r.help, nil, nil), prometheus.CounterValue,
			func(s *digest.Stats) float64 { return float64(r.value(s)) },
		})
	}
	c.all = append(c.all, digestReading{
		prometheus.NewDesc("trunkline_digest_breaker_open", "1 while sending pauses because the mail server keeps failing, else 0.", nil, nil),
		prometheus.GaugeValue, func(s *digest.Stats) float64 {
			if s.Open {
				return 1
			}
			return 0
		},
	})
	return c
}

// Describe implements prometheus.Collector.
func (c *digestCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, r := range c.all {
		descs <- r.desc
	}
}

// Collect implements prometheus.Collector.
func (c *digestCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.worker.Stats()
	for _, r := range c.all {
		out <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(&stats))
	}
}
