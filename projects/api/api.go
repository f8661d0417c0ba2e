package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
)

// Options of the interface. Store and Accounts are needed.
type Options struct {
	Store    *projects.Store
	Accounts *account.Accounts
	// Inbox is told who does something, which postpones their mail. Nil: nobody is.
	Inbox *inbox.Inbox
	// TokenSecret signs connection tokens: see [account.TokenSecret]. At least 32 bytes.
	TokenSecret []byte
	// Public is the address that people's browsers show, such as https://projects.example.org. Nil: only what browsers say about
	// where a request comes from is believed.
	Public *url.URL
	// TrustedProxies are the networks whose X-Forwarded-For is believed. Default: none.
	TrustedProxies []netip.Prefix
	// Demo lets anybody in as one of the demo people. Nil: nobody.
	Demo *Demo
	// ChangesPerSecond bounds how fast one person may change things on this node; ten seconds' worth may come at once. Default: 10.
	ChangesPerSecond int
	Logger           *slog.Logger // nil: discarded
}

// A Demo is what somebody sees who comes to try it.
type Demo struct {
	Simulate bool              // others work as well
	Strip    []string          // sentences that say what to try
	Titles   map[string]string // what demo people are, by e-mail address; without one: their company
}

const (
	// bodyBytes bounds a body of JSON where the operation says nothing else.
	bodyBytes = 64 << 10
	// bodyTime bounds how long a body may take to come where the operation says nothing else.
	bodyTime = 30 * time.Second
	// answerTime bounds how long what is asked may take once the body is there.
	answerTime = 20 * time.Second
	// writeTime bounds a request as a whole: a large file needs some, on a slow line.
	writeTime = 3 * time.Minute
)

// api is the handler of /api/ and below.
type api struct {
	Options
	mux   *http.ServeMux
	huma  huma.API
	cross *http.CrossOriginProtection
	log   *slog.Logger
	docs  *docs
	files *places // of uploads
	paces *paces  // of changes
	// touchTime bounds how long an answer waits for it to be noted that somebody did something.
	touchTime time.Duration
}

// New returns the handler of /api/ and below. The http.Server that serves it must have no WriteTimeout: a deadline is set for
// each request.
func New(opts Options) (http.Handler, error) {
	switch {
	case opts.Store == nil || opts.Accounts == nil:
		return nil, errors.New("api.New needs a Store and Accounts")
	case len(opts.TokenSecret) < 32:
		return nil, fmt.Errorf("the secret that tokens are signed with has %d bytes: take the one of account.TokenSecret", len(opts.TokenSecret))
	case opts.ChangesPerSecond < 0:
		return nil, fmt.Errorf("ChangesPerSecond is %d: take a positive number, or 0 for %d", opts.ChangesPerSecond, changesPerSecond)
	case opts.ChangesPerSecond == 0:
		opts.ChangesPerSecond = changesPerSecond
	}
	a := &api{
		Options: opts, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection(), log: opts.Logger,
		files: newPlaces(uploadsAtOnce, uploadsOfOne), paces: newPaces(opts.ChangesPerSecond, time.Now), touchTime: 2 * time.Second,
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if opts.Public != nil {
		origin := opts.Public.Scheme + "://" + opts.Public.Host
		if err := a.cross.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("the public address %q can't be used: %w", origin, err)
		}
	}
	a.huma = humago.New(a.mux, a.describe())
	a.huma.UseMiddleware(a.identify)
	a.registerAccount()
	a.registerWork()
	a.registerChat()
	schemas := a.huma.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own: ours is Problem
	delete(schemas, "ErrorDetail")
	a.docs = newDocs(a.huma.OpenAPI())
	a.mux.HandleFunc("GET /api/docs", a.docs.serve)
	return a, nil
}

// describe is what stands above the operations.
func (a *api) describe() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Projects", Version: "1",
				Description: "Everything that the page of Projects can do, except what it reads live: for that, take a token from /api/token and " +
					"follow channels over the Centrifuge protocol, or as text/event-stream. Notifications are at /v1/inbox, with the same token.",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"session": {Type: "apiKey", In: "cookie", Name: a.Accounts.CookieName(), Description: "What POST /api/session sets."},
				},
			},
			Security: []map[string][]string{{"session": {}}},
			Tags: []*huma.Tag{
				{Name: "account", Description: "Signing in and out, and what people say of themselves."},
				{Name: "projects", Description: "Projects, their milestones and tasks."},
				{Name: "people", Description: "Who takes part in a project."},
				{Name: "chat", Description: "Conversations, their messages and files."},
			},
		},
		OpenAPIPath: "/api/openapi", DefaultFormat: "application/json",
		// "json" stands for what ends in +json: problems.
		Formats:                      map[string]huma.Format{"application/json": asJSON, "json": asJSON},
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{a.explain},
	}
}

var asJSON = huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}

// marshal writes an answer. That the client has gone is no error of the server's.
func marshal(w io.Writer, v any) error {
	_, _ = w.Write(jsonOf(v))
	return nil
}

// ServeHTTP refuses what comes from other sites' pages, bounds what a request may take, and answers in problems where the router
// would in plain text.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = withRequestID(w, r)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	defer a.recover(w, r)
	if err := a.cross.Check(r); err != nil {
		problemOf(http.StatusForbidden, "This request comes from a page of another site. Open this site itself, and do it there.").write(w, r)
		return
	}
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.miss(w, r)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) // in a test there may be no connection
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	a.mux.ServeHTTP(w, r.WithContext(ctx))
}

// recover answers a request whose handler panicked, and says in the log what and where.
func (a *api) recover(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	// The path may hold the secret of a link.
	_, pattern := a.mux.Handler(r)
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http panics with this very value
		panic(v)
	}
	a.log.Error("a request panicked", "request_id", requestID(r.Context()), "method", r.Method, "pattern", pattern, "panic", v,
		"stack", string(debug.Stack()))
	failed().write(w, r)
}

// miss answers a request that no operation is for, as the router would, but with a problem.
func (a *api) miss(w http.ResponseWriter, r *http.Request) {
	answer := &routing{header: http.Header{}}
	a.mux.ServeHTTP(answer, r)
	p := problemOf(http.StatusNotFound, "There is nothing at %s.", clip(r.URL.Path))
	if answer.status == http.StatusMethodNotAllowed {
		allowed := answer.header.Get("Allow")
		p = problemOf(http.StatusMethodNotAllowed, "%s can't be done at %s. Use %s.", clip(r.Method), clip(r.URL.Path), allowed).with("Allow", allowed)
	}
	p.write(w, r)
}

// routing takes down what the router answers by itself.
type routing struct {
	header http.Header
	status int
}

func (a *routing) Header() http.Header         { return a.header }
func (a *routing) WriteHeader(status int)      { a.status = status }
func (a *routing) Write(b []byte) (int, error) { return len(b), nil }

// register adds an operation that needs a session, unless it is marked as [open]. What handle returns as an error becomes a
// problem by [api.problem]; those that are the server's fault are logged. A body may have bodyBytes unless op.MaxBodyBytes says
// otherwise, and has to be JSON unless op is marked as an [upload].
func register[I, O any](a *api, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(problemType, true, "Problem")
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem, as RFC 9457 writes it.",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
	}
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = bodyBytes
	}
	if op.BodyReadTimeout == 0 {
		op.BodyReadTimeout = bodyTime
	}
	if isOpen(&op) {
		op.Security = []map[string][]string{}
	}
	huma.Register(a.huma, op, func(ctx context.Context, input *I) (*O, error) {
		working, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		output, err := handle(working, input)
		if err == nil {
			return output, nil
		}
		p := a.report(ctx, op.OperationID, err)
		if op.Method == http.MethodGet {
			p.inQuery()
		}
		return nil, p
	})
}

// report makes a problem of an error, and logs what is no fault of the client's.
func (a *api) report(ctx context.Context, operation string, err error) *problem {
	p := asProblem(err)
	p.RequestID = requestID(ctx)
	if p.Status >= http.StatusInternalServerError && p.cause != nil && !errors.Is(p.cause, context.Canceled) {
		a.log.Warn("a request failed", "request_id", p.RequestID, "operation", operation, "status", p.Status, "error", p.cause)
	}
	return p
}

// open marks an operation that needs no session.
var open = map[string]any{"open": true}

func isOpen(op *huma.Operation) bool { return op.Metadata["open"] == true }

// background marks an operation that the page calls by itself: it says nothing about whether somebody is there.
var background = map[string]any{"background": true}

// upload marks an operation whose body is the bytes of a file, application/octet-stream, rather than JSON.
var upload = map[string]any{"upload": true}

func isUpload(op *huma.Operation) bool { return op.Metadata["upload"] == true }

// clip shortens what a stranger sent, for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
