package digest

import (
	"sync/atomic"
	"time"
)

// Stats are totals since the Worker was made, and what it is at.
type Stats struct {
	Looks     int64 // users that were looked at
	Claimed   int64 // mails
	Sent      int64
	Retries   int64 // tries that failed, to be made again
	Cancelled int64 // mails that nothing of was to be mailed any more
	Bounced   int64
	Failed    int64 // given up or refused
	Parked    int64
	Uncertain int64 // tries that broke off behind the final dot
	Overtaken int64 // tries that another one had taken the place of
	Questions int64 // to authorize functions

	AskFailures       int64 // questions, alone or together, that had no answer
	RecipientFailures int64 // attempts to read recipients
	ServerFailures    int64 // of the mail server
	Breaks            int64 // times that the circuit breaker opened
	Failures          int64 // of the database, to be tried again

	// Open tells whether the circuit breaker keeps mails back; it lets one through at OpenUntil.
	Open      bool
	OpenUntil time.Time
}

type counters struct {
	looks, claimed, sent, retries, cancelled, bounced, failed, parked, uncertain, overtaken, questions atomic.Int64
	askFailures, recipientFailures, serverFailures, breaks, failures                                   atomic.Int64
}

// Stats returns what the worker has done.
func (w *Worker) Stats() Stats {
	c := &w.counters
	s := Stats{
		Looks: c.looks.Load(), Claimed: c.claimed.Load(), Sent: c.sent.Load(), Retries: c.retries.Load(), Cancelled: c.cancelled.Load(),
		Bounced: c.bounced.Load(), Failed: c.failed.Load(), Parked: c.parked.Load(), Uncertain: c.uncertain.Load(),
		Overtaken: c.overtaken.Load(), Questions: c.questions.Load(), AskFailures: c.askFailures.Load(),
		RecipientFailures: c.recipientFailures.Load(), ServerFailures: c.serverFailures.Load(), Breaks: c.breaks.Load(), Failures: c.failures.Load(),
	}
	s.Open, s.OpenUntil, _ = w.breaker.state()
	return s
}
