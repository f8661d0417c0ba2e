package digest

import (
	"sync"
	"time"
)

// A Report is what one pass has done: see [Worker.Once].
type Report struct {
	// At is the moment that the pass was made as of.
	At time.Time `json:"at"`
	// Decisions about users that were looked at, in the order they were made.
	Decisions []Looked `json:"decisions"`
	// Mails that were tried, in the order their tries ended.
	Mails []Tried `json:"mails"`
	// Stopped is why the pass ended before everything was done: the mail server is down. Empty: it wasn't.
	Stopped string `json:"stopped,omitempty"`
}

// A Looked is a decision about a user.
type Looked struct {
	User     string     `json:"user"`
	Decision Kind       `json:"decision"`
	Reason   string     `json:"reason"`
	NextAt   *time.Time `json:"next_at"`   // when the user is looked at again; nil: when something happens
	DigestID *int64     `json:"digest_id"` // of the mail, if there is to be one
	Items    int        `json:"items"`     // notifications in it
}

// A Tried is how a try at a mail ended.
type Tried struct {
	DigestID  int64      `json:"digest_id"`
	User      string     `json:"user"`
	Email     string     `json:"email"`
	MessageID string     `json:"message_id"`
	Subject   string     `json:"subject"` // empty if it never got that far
	Items     int        `json:"items"`   // notifications in it
	Attempt   int        `json:"attempt"`
	Phase     Phase      `json:"phase"`
	Uncertain bool       `json:"uncertain"` // the server may have it
	Reply     string     `json:"reply"`     // what the server said, or what went wrong
	NextAt    *time.Time `json:"next_at"`   // of the next try, if there is to be one
}

// A recorder writes a report. A nil one writes none.
type recorder struct {
	mu     sync.Mutex
	report Report
}

func (r *recorder) decided(v *verdicts, list []written) {
	if r == nil {
		return
	}
	index := make(map[string]int, len(v.users))
	for i, user := range v.users {
		index[user] = i
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range list {
		i := index[one.user]
		r.report.Decisions = append(r.report.Decisions, Looked{
			User: one.user, Decision: Kind(v.decisions[i]), Reason: v.reasons[i], NextAt: v.nextAts[i], DigestID: one.digest, Items: one.items,
		})
	}
}

func (r *recorder) tried(t Tried) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Mails = append(r.report.Mails, t)
}

func (r *recorder) stopped(why string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Stopped = why
}
