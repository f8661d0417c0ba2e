package smtptest

import (
	"strings"
	"testing"
	"time"
)

// Step is a point of the conversation.
type Step string

// The steps. A fault at a command comes instead of the server's answer to it, and the command is then without effect.
const (
	Connect   Step = "connect"  // instead of the greeting
	Hello     Step = "ehlo"     // EHLO, and HELO
	Handshake Step = "starttls" // STARTTLS; with implicit TLS, before the handshake
	Auth      Step = "auth"
	MailFrom  Step = "mail"
	Rcpt      Step = "rcpt"
	Data      Step = "data"
	Body      Step = "body" // within a mail, once Rule.After bytes of it have come
	Dot       Step = "dot"  // the final dot has come
	Reset     Step = "rset"
	Quit      Step = "quit"
)

var steps = map[string]Step{
	"EHLO": Hello, "HELO": Hello, "STARTTLS": Handshake, "AUTH": Auth, "MAIL": MailFrom, "RCPT": Rcpt, "DATA": Data,
	"RSET": Reset, "QUIT": Quit,
}

// A Rule says when a fault happens. Of several that match, the one that was set first counts.
type Rule struct {
	Step Step
	// To limits it to a recipient; for steps from Rcpt on. Empty: any.
	To string
	// Skip lets the first n that match pass.
	Skip int
	// Times is how often it happens, 0: for ever.
	Times int
	// After is how many bytes of the mail must have come; for Body.
	After int
}

// A Fault is what happens.
type Fault struct {
	kind  kind
	reply string
	delay time.Duration
	kept  bool
	of    *Handle // once it happens
}

type kind int

const (
	answers kind = iota
	closes
	stalls
	waits
)

// Answer gives an answer of the test's choice, such as "451 4.7.1 come back later"; several lines are separated by \n, and each
// has its code. After 421 the server closes, as servers do. Amid the body it is given at once; the rest is ignored, and then
// the server closes.
func Answer(reply string) Fault { return Fault{kind: answers, reply: reply} }

// Close closes without a word.
func Close() Fault { return Fault{kind: closes} }

// Stall says nothing any more, and keeps the connection until the client gives up. Amid the body it stops reading, too.
func Stall() Fault { return Fault{kind: stalls} }

// Slow goes on as usual after a while.
func Slow(d time.Duration) Fault { return Fault{kind: waits, delay: d} }

// Kept is the same fault after the dot, of a server that has taken the mail in spite of it.
func (f Fault) Kept() Fault {
	f.kept = true
	return f
}

// A Handle is a rule that was set.
type Handle struct {
	server  *Server
	rule    Rule
	fault   Fault
	matched int
	struck  int
	told    int
	removed bool
}

// On sets a rule.
func (s *Server) On(rule Rule, fault Fault) *Handle {
	h := &Handle{server: s, rule: rule, fault: fault}
	s.change(func() { s.rules = append(s.rules, h) })
	return h
}

// Clear removes all rules.
func (s *Server) Clear() {
	s.change(func() {
		for _, h := range s.rules {
			h.removed = true
		}
		s.rules = nil
	})
}

// Remove removes the rule. What it has struck goes on.
func (h *Handle) Remove() { h.server.change(func() { h.removed = true }) }

// Struck is how often it has happened.
func (h *Handle) Struck() int {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	return h.struck
}

// Wait waits until it has begun to happen n times.
func (h *Handle) Wait(t testing.TB, n int) {
	t.Helper()
	h.server.await(t, "a fault at "+string(h.rule.Step), func() bool { return h.struck >= n })
}

// WaitAnswered waits until its Answer has been given n times.
func (h *Handle) WaitAnswered(t testing.TB, n int) {
	t.Helper()
	h.server.await(t, "an answer at "+string(h.rule.Step), func() bool { return h.told >= n })
}

// strike finds the fault that happens now, if any does.
func (s *Server) strike(step Step, to []string) (Fault, bool) { return s.strikeBody(step, to, 0) }

func (s *Server) strikeBody(step Step, to []string, size int) (fault Fault, found bool) {
	s.mu.Lock()
	matched := false
	for _, h := range s.rules {
		if !h.matches(step, to, size) {
			continue
		}
		h.matched++
		if h.matched <= h.rule.Skip || (h.rule.Times > 0 && h.struck >= h.rule.Times) {
			continue
		}
		h.struck++
		matched, fault = true, h.fault
		fault.of = h
		break
	}
	s.mu.Unlock()
	if matched {
		s.change(func() {})
	}
	return fault, matched
}

func (h *Handle) matches(step Step, to []string, size int) bool {
	if h.removed || h.rule.Step != step || (step == Body && h.rule.After > size) {
		return false
	}
	if h.rule.To == "" {
		return true
	}
	for _, address := range to {
		if strings.EqualFold(address, h.rule.To) {
			return true
		}
	}
	return false
}
