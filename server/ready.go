package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
)

const (
	// databaseTimeout is how long the database may take to answer before this node can't be called ready.
	databaseTimeout = 2 * time.Second
	// databaseAge is how long such an answer will do: a thousand who ask make one query.
	databaseAge = time.Second
	// listenGrace is how long the LISTEN connection may be down before that counts: a restart of the database takes less, and
	// clients that are sent elsewhere meanwhile find the same there.
	listenGrace = 5 * time.Second
	// lagGrace is how long nobody may sequence, or the log be silent, before that counts: a takeover takes less.
	lagGrace = 10 * time.Second
)

// readiness is what /readyz says.
type readiness struct {
	Ready  bool    `json:"ready"`
	Checks []check `json:"checks"`
}

// A check is one thing that has to be so.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not, and what to do
}

// ready answers whether this node should be given clients: 200, or 503 with the reasons.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, "GET, HEAD", http.MethodGet, http.MethodHead) {
		return
	}
	answer, code := s.readiness(r.Context()), http.StatusOK
	if !answer.Ready {
		code = http.StatusServiceUnavailable
	}
	s.answer(w, code, answer)
}

// Wait returns once this server knows who may do what, which it learns when its engine has started; before, it lets nobody in.
// Errors: ctx's; a *[trunkline.PrivilegeError], which names the grant, if the database's role may not read that. The server goes on
// trying all the same.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.loaded:
		return nil
	case <-s.barred:
		select {
		case <-s.loaded: // it was granted since
			return nil
		default:
			return s.lacks
		}
	case <-ctx.Done():
		return fmt.Errorf("read namespaces, API keys and revocations: %w", context.Cause(ctx))
	}
}

func (s *Server) readiness(ctx context.Context) readiness {
	state := s.engine.State()
	answer := readiness{Ready: true}
	for _, c := range []struct {
		name   string
		reason string
	}{
		{"drain", s.notDraining()},
		{"start", s.hasStarted(state)},
		{"database", s.pings.reason(ctx)},
		{"listen", listens(state, time.Now())},
		{"sequencer", sequenced(state, time.Now())},
	} {
		answer.Checks = append(answer.Checks, check{c.name, c.reason == "", c.reason})
		answer.Ready = answer.Ready && c.reason == ""
	}
	return answer
}

// The checks return why not, "" if all is well. Their reasons are for anyone to read: no addresses, no errors of the database.

func (s *Server) notDraining() string {
	if s.closing.retired.Load() {
		return "this node is about to stop and lets its clients go: use another"
	}
	return ""
}

func (s *Server) hasStarted(state trunkline.State) string {
	if state.Log.IsZero() {
		return "the engine has not started: it has to reach the database and read the log first"
	}
	select {
	case <-s.loaded:
		return ""
	default:
		return "namespaces, API keys and revocations have not been read yet: nobody is let in before"
	}
}

func listens(state trunkline.State, now time.Time) string {
	if down := now.Sub(state.Listen.Since); !state.Listen.Up && down > listenGrace {
		return fmt.Sprintf("the connection that listens to the database has been down for %s: see this node's log, or run trunkline doctor",
			down.Round(time.Second))
	}
	return ""
}

// pings tells whether the database answers.
type pings struct {
	ping func(context.Context) error

	mu    sync.Mutex // held while it is asked: whoever comes meanwhile wants the same answer
	asked time.Time
	err   error
}

func (p *pings) reason(ctx context.Context) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.asked) >= databaseAge {
		// Not the request's context: others wait for this answer too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
		defer cancel()
		p.err = p.ping(ctx)
		p.asked = time.Now()
	}
	if p.err != nil {
		return fmt.Sprintf("the database does not answer within %s: see this node's log, or run trunkline doctor", databaseTimeout)
	}
	return ""
}

// sequenced is about messages that have been committed and not been delivered by this node.
func sequenced(state trunkline.State, now time.Time) string {
	lag := state.Lag
	if lonely := now.Sub(lag.Unsequenced); !lag.Unsequenced.IsZero() && lonely > lagGrace {
		return fmt.Sprintf("nobody has been sequencing for %s: what is published is stored and waits; "+
			"start trunkline serve as the schema's owner, or an engine that may write the log", lonely.Round(time.Second))
	}
	if silent := now.Sub(lag.Heard); !lag.Heard.IsZero() && silent > lagGrace {
		return fmt.Sprintf("the log has given no sign for %s, and %d messages are known to wait: see this node's log, or run trunkline doctor",
			silent.Round(time.Second), lag.Messages)
	}
	return ""
}
