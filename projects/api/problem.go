package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
)

// A problem is an error as RFC 9457 writes it.
type problem struct {
	Type      string  `json:"type" doc:"Always about:blank: status and detail say all there is." example:"about:blank"`
	Title     string  `json:"title" doc:"The name of the status." example:"Conflict"`
	Status    int     `json:"status" doc:"The HTTP status." example:"409"`
	Detail    string  `json:"detail" doc:"What is wrong, and what to do about it: sentences for people."`
	Errors    []fault `json:"errors,omitempty" doc:"What is wrong with which part of the request."`
	RequestID string  `json:"request_id,omitempty" doc:"Names the request in the server's log." example:"9f86d081884c7d65"`

	header http.Header
	cause  error // for the log
}

// A fault is what is wrong with one part of a request.
type fault struct {
	Location string `json:"location" doc:"Such as body.title, or query.limit."`
	Message  string `json:"message" doc:"A sentence for people."`
}

var problemType = reflect.TypeFor[problem]()

func problemOf(status int, format string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

// retryAfter says when to come again. 0 seconds: never.
func (p *problem) retryAfter(seconds int) *problem {
	if seconds <= 0 {
		return p
	}
	return p.with("Retry-After", strconv.Itoa(seconds))
}

// inQuery says that what is wrong was given in the query, as where there is no body.
func (p *problem) inQuery() {
	for i, f := range p.Errors {
		if field, ok := strings.CutPrefix(f.Location, "body."); ok {
			p.Errors[i].Location = "query." + field
		}
	}
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
	w.WriteHeader(p.Status)
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

// problem turns an error of package projects or account into what the client is told. What is none of theirs becomes a plain
// status 500 or 503, and is logged by [register], which calls this for what handlers return: they may do so themselves, and need not.
func (*api) problem(err error) error { return asProblem(err) }

func asProblem(err error) *problem {
	var (
		p           *problem
		forbidden   *projects.ForbiddenError
		invalid     *projects.InvalidError
		conflict    *projects.ConflictError
		gone        *projects.GoneError
		limit       *projects.LimitError
		credentials *account.CredentialsError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, account.ErrNoSession):
		return problemOf(http.StatusUnauthorized, "You aren't signed in, or no longer. Sign in, and try again.")
	case errors.As(err, &credentials):
		return problemOf(http.StatusUnauthorized, "%s", credentials.Sentence)
	case errors.Is(err, projects.ErrNotFound):
		return problemOf(http.StatusNotFound, "This isn't there, or isn't for you. It may have been deleted, or you may have been removed from its project.")
	case errors.As(err, &forbidden):
		return problemOf(http.StatusForbidden, "%s", forbidden.Sentence)
	case errors.As(err, &invalid):
		p = problemOf(http.StatusUnprocessableEntity, "%s", invalid.Problem)
		p.Errors = []fault{{Location: "body." + invalid.Field, Message: invalid.Problem}}
		return p
	case errors.As(err, &conflict):
		return problemOf(http.StatusConflict, "%s", conflict.Sentence)
	case errors.As(err, &gone):
		return problemOf(http.StatusGone, "%s", gone.Sentence)
	case errors.As(err, &limit):
		return problemOf(http.StatusTooManyRequests, "%s", limit.Sentence).retryAfter(limit.RetryAfter)
	case unavailable(err):
		p = problemOf(http.StatusServiceUnavailable, "The database can't be reached, or doesn't answer in time. Try again in a moment.").retryAfter(2)
	default:
		p = failed()
	}
	p.cause = err
	return p
}

func failed() *problem {
	return problemOf(http.StatusInternalServerError, "The server failed at this. Try again; if it stays so, tell whoever runs it.")
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
		errors.Is(err, trunkline.ErrClosed) || errors.Is(err, trunkline.ErrNotStarted) ||
		strings.Contains(err.Error(), "closed pool") || strings.Contains(err.Error(), "conn closed") ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// explain makes problems of huma's own errors. A path that names nothing possible names nothing that is there.
func (a *api) explain(ctx huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problemOf(e.Status, "%s", e.Detail)
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		p = tooLarge(ctx.Operation().MaxBodyBytes)
	case http.StatusRequestTimeout:
		p = problemOf(http.StatusRequestTimeout, "What was sent didn't arrive in time. Check the connection, and try again.")
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		p = faulty(e)
	}
	p.RequestID = requestID(ctx.Context())
	ctx.SetStatus(p.Status)
	return p, nil
}

func tooLarge(most int64) *problem {
	size := strconv.FormatInt(most, 10) + " bytes"
	switch {
	case most >= 1<<20:
		size = strconv.FormatInt(most>>20, 10) + " MiB"
	case most >= 1<<10:
		size = strconv.FormatInt(most>>10, 10) + " KiB"
	}
	return problemOf(http.StatusRequestEntityTooLarge, "This is larger than %s, which is the most. Send less at once.", size)
}
