package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// A problem is an error as RFC 9457 writes it. It is what REST and streams answer with whenever they don't do what was asked.
type problem struct {
	Type      string   `json:"type" doc:"Always about:blank: status and detail say all there is." example:"about:blank"`
	Title     string   `json:"title" doc:"The name of the status." example:"Forbidden"`
	Status    int      `json:"status" doc:"The HTTP status." example:"403"`
	Detail    string   `json:"detail" doc:"What is wrong, and what to do about it, in a sentence." example:"you may not subscribe to channel \"room:1\""`
	Limit     string   `json:"limit,omitempty" doc:"Which limit was reached." example:"request_rate"`
	Channels  []string `json:"channels,omitempty" doc:"The channels that were refused."`
	Errors    []fault  `json:"errors,omitempty" doc:"Which fields can't be taken, where it is about single ones."`
	RequestID string   `json:"request_id,omitempty" doc:"Names the request in the server's log." example:"9f86d081884c7d65"`

	header http.Header
	cause  error // for the log
}

// A fault is what is wrong with one field of a request.
type fault struct {
	Message  string `json:"message" doc:"What is wrong, and what to do about it, in a sentence."`
	Location string `json:"location" doc:"Where it is." example:"body.kinds.mention.delay"`
}

func problemOf(status int, format string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// limited is a refusal that a limit causes.
func limited(status int, limit string, after time.Duration, format string, args ...any) *problem {
	p := problemOf(status, format, args...).retryAfter(after)
	p.Limit = limit
	return p
}

// retryAfter says when to come again, in whole seconds and at least one.
func (p *problem) retryAfter(d time.Duration) *problem {
	seconds := max(1, int64((d+time.Second-1)/time.Second))
	return p.with("Retry-After", strconv.FormatInt(seconds, 10))
}

func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *problem) Error() string { return p.Detail }
func (p *problem) Unwrap() error { return p.cause }

// GetStatus, GetHeaders and ContentType are what huma asks an error for.
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) GetHeaders() http.Header   { return p.header }
func (*problem) ContentType(_ string) string { return "application/problem+json" }

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	p.RequestID = requestID(r.Context())
	header := w.Header()
	for name, values := range p.header {
		header[name] = values
	}
	header.Set("Content-Type", p.ContentType(""))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(jsonOf(p)) // to a client that went away there is nothing to say
}

// problemf answers with a problem that needs no more than a sentence.
func problemf(w http.ResponseWriter, status int, format string, args ...any) {
	p := problemOf(status, format, args...)
	header := w.Header()
	p.RequestID = header.Get(requestIDHeader)
	header.Set("Content-Type", p.ContentType(""))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(jsonOf(p)) // to a client that went away there is nothing to say
}

// jsonOf encodes what is always possible to encode, without escaping HTML: people read it.
func jsonOf(v any) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return []byte("{}\n")
	}
	return body.Bytes()
}

// asProblem turns whatever went wrong into what the client is told. What is no fault of the client's keeps its cause, for the
// log, and tells none of it.
func asProblem(err error) *problem {
	var p *problem
	var refusal *auth.Refusal
	var argument *trunkline.ArgumentError
	var conflict *trunkline.KeyConflictError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		return refused(refusal)
	case errors.Is(err, trunkline.ErrNotFound):
		return problemOf(http.StatusNotFound, "%s", err)
	case errors.As(err, &argument):
		return problemOf(http.StatusBadRequest, "%s", err)
	case errors.As(err, &conflict):
		return problemOf(http.StatusConflict, "key %q was already used in channel %q with another payload: use a new key for a new message",
			clip(conflict.Key), clip(conflict.Channel))
	case errors.Is(err, trunkline.ErrClosed), errors.Is(err, trunkline.ErrNotStarted):
		p = problemOf(http.StatusServiceUnavailable, "the server is starting or stopping: try again").retryAfter(5 * time.Second)
	case unavailable(err):
		p = problemOf(http.StatusServiceUnavailable, "the database can't be reached or didn't answer in time: try again").retryAfter(2 * time.Second)
	default:
		p = problemOf(http.StatusInternalServerError, "the server failed at this; its log says why")
	}
	p.cause = err
	return p
}

// refused says why somebody may not.
func refused(r *auth.Refusal) *problem {
	var p *problem
	switch r.Code {
	case auth.BadToken, auth.Expired:
		p = problemOf(http.StatusUnauthorized, "%s", r.Reason).with("WWW-Authenticate", `Bearer error="invalid_token"`)
	case auth.Unavailable:
		p = problemOf(http.StatusServiceUnavailable, "%s", r.Reason).retryAfter(2 * time.Second)
	case auth.Denied:
		p = problemOf(http.StatusForbidden, "%s", r.Reason)
	default:
		p = problemOf(http.StatusForbidden, "%s", r.Reason)
	}
	p.cause = r
	return p
}

// unavailable tells whether the same request may succeed later without anybody changing it: the database is away, busy, or short
// of something.
func unavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:min(2, len(pg.Code))] {
		case "08", "53", "57", "40", "55":
			return true
		}
		return pg.Code == "25006" // a standby, while a failover is under way
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		strings.Contains(err.Error(), "closed pool") || strings.Contains(err.Error(), "conn closed") ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// clip shortens what a stranger sent, for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
