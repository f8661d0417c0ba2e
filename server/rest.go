package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/trunkline/trunkline/server/internal/auth"
)

const (
	// bodyTime bounds how long a request's body may take to come, and answerTime how long the database then may take. Between
	// them a function of the application's may be asked, which the namespace gives up to 30 s.
	bodyTime   = 30 * time.Second
	askTime    = 32 * time.Second
	answerTime = 10 * time.Second
	// requestTime is all of them.
	requestTime = bodyTime + askTime + answerTime
)

// rest is the REST interface under /v1/.
type rest struct {
	server *Server
	mux    *http.ServeMux
	api    huma.API
}

// newREST makes the handler of /v1/ and below.
func newREST(s *Server) *rest {
	h := &rest{server: s, mux: http.NewServeMux()}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Trunkline", Version: "1",
				Description: "Publish, read and administer channels. Live messages come from /v1/stream as text/event-stream, and over the " +
					"Centrifuge protocol from /connection/websocket.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "A user's JSON Web Token, or an API key."},
					"apiKey": {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "An API key."},
				},
			},
			Security: []map[string][]string{{"bearer": {}}, {"apiKey": {}}},
			Tags: []*huma.Tag{
				{Name: "messages", Description: "Publish and read messages."},
				{Name: "channels", Description: "What channels there are, and who is there."},
				{Name: "inbox", Description: "What a user was notified of. For the user's own token; in open mode, and for admin keys, user names whose."},
				{Name: "notifications", Description: "Notify users. For API keys with the scope publish."},
				{Name: "users", Description: "Disconnect users and revoke what they were allowed. For admin keys."},
				{Name: "namespaces", Description: "The settings of channels, by the first part of their names. For admin keys."},
			},
		},
		OpenAPIPath: "/v1/openapi", DefaultFormat: "application/json",
		// "json" stands for what ends in +json: problems.
		Formats:                      map[string]huma.Format{"application/json": asJSON, "json": asJSON},
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{h.explain},
	}
	h.api = humago.New(h.mux, config)
	h.api.UseMiddleware(h.identify)
	h.messages()
	h.channels()
	h.presence()
	h.inbox()
	h.notifications()
	h.users()
	h.namespaces()
	schemas := h.api.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own: ours is Problem
	delete(schemas, "ErrorDetail")
	h.mux.HandleFunc("GET /v1/docs", newDocs(h.api.OpenAPI()).serve)
	return h
}

var asJSON = huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}

// marshal writes an answer. That the client has gone is no error of the server's.
func marshal(w io.Writer, v any) error {
	_, _ = w.Write(jsonOf(v))
	return nil
}

// ServeHTTP finds the operation, bounds what the request may take, and answers in problems where the router would in plain text.
func (h *rest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.server
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.miss(w, r)
		return
	}
	select {
	case s.web.working <- struct{}{}:
		defer func() { <-s.web.working }()
	default:
		s.refuse(w, r, limited(http.StatusServiceUnavailable, limitRequestsAtOnce, time.Second,
			"%d requests are under way, which is the most: try again", maxRequests))
		return
	}
	if p := h.checkBody(r); p != nil {
		w.Header().Set("Connection", "close") // rather than read what isn't wanted
		s.refuse(w, r, p)
		return
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(requestTime + s.options.WriteTimeout))
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection may serve other requests
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	w.Header().Set("Cache-Control", "no-store")
	h.mux.ServeHTTP(w, r.WithContext(ctx))
}

// checkBody refuses what isn't worth reading.
func (h *rest) checkBody(r *http.Request) *problem {
	if most := int64(h.server.options.Limits.RequestBytes); r.ContentLength > most {
		return tooLarge(most)
	}
	given := r.Header.Get("Content-Type")
	if given == "" || r.ContentLength == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(given)
	if err != nil || kind != "application/json" {
		return problemOf(http.StatusUnsupportedMediaType, "the body is said to be %q: send JSON, with the header Content-Type: application/json", clip(given))
	}
	return nil
}

func tooLarge(most int64) *problem {
	p := problemOf(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes: send less at once", most)
	p.Limit = limitRequestBytes
	return p
}

// miss answers a request that no operation is for, as the router would, but with a problem.
func (h *rest) miss(w http.ResponseWriter, r *http.Request) {
	answer := &routing{header: http.Header{}}
	h.mux.ServeHTTP(answer, r)
	p := problemOf(http.StatusNotFound, "there is nothing at %s: see /v1/docs", clip(r.URL.Path))
	if answer.status == http.StatusMethodNotAllowed {
		allowed := answer.header.Get("Allow")
		p = problemOf(http.StatusMethodNotAllowed, "%s can't be done at %s: use %s", clip(r.Method), clip(r.URL.Path), allowed).with("Allow", allowed)
	}
	h.server.refuse(w, r, p)
}

// routing takes down what the router answers by itself.
type routing struct {
	header http.Header
	status int
}

func (a *routing) Header() http.Header         { return a.header }
func (a *routing) WriteHeader(status int)      { a.status = status }
func (a *routing) Write(b []byte) (int, error) { return len(b), nil }

type callerKey struct{}

// caller is who sent the request.
func caller(ctx context.Context) *auth.Identity {
	id, _ := ctx.Value(callerKey{}).(*auth.Identity)
	return id
}

// program tells whether somebody is let in as a program of the operator's, not as a user.
func program(id *auth.Identity) bool { return id.Open || id.Key != "" }

type originKey struct{}

// identify finds out who sends a request before its body is read, and whether they may do more at all.
func (h *rest) identify(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	s := h.server
	id, refusal := s.identify(r)
	user := ""
	if refusal == nil {
		user, refusal = h.admit(ctx.Operation(), id, r)
	}
	from := network(s.web.proxies.client(r))
	if refusal == nil && !program(id) {
		if wait := s.web.requests.take(from, 1); wait > 0 {
			refusal = limited(http.StatusTooManyRequests, limitRequestRate, wait, "too many requests came from this address: try again later")
		}
	}
	if refusal == nil && !program(id) {
		if leave, ok := s.web.busy.enter(from); ok {
			defer leave() // once next has read the body and answered
		} else {
			refusal = limited(http.StatusTooManyRequests, limitRequestsAtOnce, time.Second,
				"%d requests from this address are under way, which is the most: wait for some", maxRequestsPerAddress)
		}
	}
	if refusal != nil {
		s.refuse(w, r, refusal)
		return
	}
	ctx = huma.WithValue(ctx, callerKey{}, id)
	ctx = huma.WithValue(ctx, ownerKey{}, user)
	next(plain{huma.WithValue(ctx, originKey{}, from.String())})
}

// admit tells whether somebody may ask for an operation at all, before the body is read. Of one on an inbox it returns whose.
func (h *rest) admit(op *huma.Operation, id *auth.Identity, r *http.Request) (user string, refusal *problem) {
	var err error
	switch {
	case op.Metadata["admin"] == true:
		err = h.server.gate.Admin(id)
	case op.Metadata["notify"] == true:
		err = h.server.gate.Notify(id)
	case op.Metadata["inbox"] == true:
		if user, err = ownerOf(id, r); err == nil {
			err = h.server.gate.Inbox(id, user)
		}
	}
	if err == nil {
		return user, nil
	}
	refusal = asProblem(err)
	if !presents(r) && (refusal.Status == http.StatusForbidden || refusal.Status == http.StatusUnauthorized) {
		// Whoever has shown nothing yet can do something about it.
		refusal = problemOf(http.StatusUnauthorized, "%s", refusal.Detail).with("WWW-Authenticate", "Bearer")
	}
	return "", refusal
}

// plain makes one status of what huma tells apart: a request that can't be understood, and one that can't be taken, are both bad.
type plain struct{ humaContext }

// humaContext gives the field another name than its method has.
type humaContext = huma.Context

func (c plain) SetStatus(status int) {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	c.humaContext.SetStatus(status)
}

// Unwrap is how the adapter finds the request.
func (c plain) Unwrap() huma.Context { return c.humaContext }

// explain makes problems of huma's own errors.
func (h *rest) explain(ctx huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	var p *problem
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		p = tooLarge(int64(h.server.options.Limits.RequestBytes))
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		p = problemOf(http.StatusBadRequest, "%s", faults(e))
	case http.StatusRequestTimeout:
		p = problemOf(http.StatusRequestTimeout, "the body didn't arrive within %v", bodyTime)
	default:
		p = problemOf(e.Status, "%s", faults(e))
	}
	p.RequestID = requestID(ctx.Context())
	h.server.countRefusal(p)
	return p, nil
}

// faults says in a sentence what huma found wrong, without repeating what was sent.
func faults(e *huma.ErrorModel) string {
	var said []string
	for _, fault := range e.Errors {
		where := strings.TrimPrefix(fault.Location, "body.")
		if where == "" {
			said = append(said, fault.Message)
		} else {
			said = append(said, fmt.Sprintf("%s: %s", clip(where), fault.Message))
		}
		if len(said) == 5 {
			break
		}
	}
	if len(said) == 0 {
		return e.Detail
	}
	return strings.Join(said, "; ")
}

// register adds an operation. Its errors become problems, and those that are the server's fault are logged.
func register[I, O any](h *rest, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	s := h.server
	schema := h.api.OpenAPI().Components.Schemas.Schema(problemType, true, "Problem")
	op.Responses = map[string]*huma.Response{"default": {
		Description: "A problem, as RFC 9457 writes it.",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
	}}
	op.MaxBodyBytes = int64(s.options.Limits.RequestBytes) + 1
	op.BodyReadTimeout = bodyTime
	if op.Metadata["admin"] == true {
		op.Description = strings.TrimSpace(op.Description + " Needs an API key with the scope admin.")
	}
	if op.Metadata["notify"] == true {
		op.Description = strings.TrimSpace(op.Description + " Needs an API key with the scope publish.")
	}
	huma.Register(h.api, op, func(ctx context.Context, input *I) (*O, error) {
		working := ctx
		if op.Metadata["asks"] != true {
			var cancel context.CancelFunc
			working, cancel = s.answering(ctx)
			defer cancel()
		}
		output, err := handle(working, input)
		if err == nil {
			return output, nil
		}
		p := asProblem(err)
		if silent(err) {
			p = s.unanswered("try again")
			p.cause = err
		}
		p.RequestID = requestID(ctx)
		s.countRefusal(p)
		if p.Status >= http.StatusInternalServerError && p.cause != nil && !errors.Is(p.cause, context.Canceled) {
			s.log.Warn("a request failed", "request_id", p.RequestID, "operation", op.OperationID, "status", p.Status, "error", p.cause)
		}
		return nil, p
	})
}

// admin marks an operation as one for admin keys.
var admin = map[string]any{"admin": true}

// ofInbox marks an operation on a user's inbox, which is the user's own.
var ofInbox = map[string]any{"inbox": true}

// notifies marks an operation for those who may notify users.
var notifies = map[string]any{"notify": true}

// asks marks an operation that asks first whether it is allowed, which has a time of its own; then it calls answering.
var asks = map[string]any{"asks": true}

// answering bounds what the database may take.
func (s *Server) answering(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.answerTime)
}

// silent tells whether the database didn't answer in time, where nothing else was said to be the reason.
func silent(err error) bool {
	var said *problem
	var refusal *auth.Refusal
	return errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &said) && !errors.As(err, &refusal)
}

// unanswered says that the database was silent, and what to do about it.
func (s *Server) unanswered(fix string) *problem {
	return problemOf(http.StatusServiceUnavailable, "the database didn't answer within %v: %s", s.answerTime, fix).retryAfter(5 * time.Second)
}

// link is the URL of another page of the same list.
func link(path string, query url.Values) string { return path + "?" + query.Encode() }

// raw is a body that is JSON already, byte for byte.
type raw struct {
	ContentType string `header:"Content-Type"`
	Link        string `header:"Link"`
	Body        []byte
}

func rawJSON(body []byte) *raw { return &raw{ContentType: "application/json", Body: body} }

// describe gives an operation whose body is raw the schema that it has.
func (h *rest) describe(path *huma.Operation, schema *huma.Schema) {
	path.Responses["200"].Content = map[string]*huma.MediaType{"application/json": {Schema: schema}}
}
