package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
	"github.com/trunkline/trunkline/server"
)

func TestMain(m *testing.M) {
	// What the realtime library and its client leave behind for a while, or for ever.
	pgtest.Main(m, goleak.IgnoreAnyFunction("github.com/FZambia/eagle.(*Eagle).aggregate"),
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge.(*Node).removeSubscription.func1"),
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge.(*WebsocketHandler).ServeHTTP.func2"),
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge-go.(*Client).sendAsync.func1"),
	)
}

// patience bounds what should happen at once. It is for a machine that is busy with other things.
const patience = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// clock is one that tests set.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// node is a program that serves the interface.
type node struct {
	t        testing.TB
	url      string // of the database
	pool     *pgxpool.Pool
	engine   *trunkline.Engine
	inbox    *inbox.Inbox
	store    *projects.Store
	accounts *account.Accounts
	secret   []byte
	clock    *clock
	log      *lines
	handler  http.Handler
	server   *httptest.Server
}

// newNode makes one on a database of its own. Its engine doesn't run unless live is called.
func newNode(t testing.TB) *node {
	t.Helper()
	return nodeAt(t, pgtest.Prepared(t, "projects", func(ctx context.Context, conn *pgx.Conn) error {
		if err := projects.Migrate(ctx, conn); err != nil {
			return err
		}
		return projects.SetKinds(ctx, conn, nil)
	}), &clock{})
}

// another is a second node of the same site.
func (n *node) another() *node { return nodeAt(n.t, n.url, n.clock) }

func nodeAt(t testing.TB, url string, c *clock) *node {
	t.Helper()
	ctx := testContext(t)
	n := &node{t: t, url: url, pool: pgtest.Pool(t, url), clock: c, log: &lines{}}
	var err error
	if n.engine, err = trunkline.New(trunkline.Config{DatabaseURL: url, SkipMigrate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.engine.Stop(ctx); err != nil {
			t.Errorf("stop the engine: %v", err)
		}
	})
	if n.inbox, err = inbox.New(n.engine, inbox.Options{}); err != nil {
		t.Fatal(err)
	}
	if n.secret, err = account.TokenSecret(ctx, n.pool); err != nil {
		t.Fatal(err)
	}
	n.store = projects.New(n.pool, projects.Options{Engine: n.engine, Inbox: n.inbox})
	n.accounts = account.New(n.pool, account.Options{Demo: true, Now: c.now})
	n.handle(Options{Demo: &Demo{Strip: []string{"Open a second window."}, Titles: map[string]string{"demo@example.com": "Customer"}}})
	return n
}

// handle serves the interface with further options.
func (n *node) handle(opts Options) {
	n.t.Helper()
	opts.Store, opts.Accounts, opts.Inbox, opts.TokenSecret = n.store, n.accounts, n.inbox, n.secret
	if opts.ChangesPerSecond == 0 {
		opts.ChangesPerSecond = 1000 // tests are quick
	}
	opts.Logger = slog.New(slog.NewTextHandler(n.log, nil))
	handler, err := New(opts)
	if err != nil {
		n.t.Fatal(err)
	}
	n.handler = handler
	n.server = httptest.NewServer(handler)
	if transport, ok := n.server.Client().Transport.(*http.Transport); ok {
		transport.ExpectContinueTimeout = patience
	}
	n.t.Cleanup(n.server.Close)
	n.t.Cleanup(n.server.CloseClientConnections)
}

// live runs the engine, and serves live connections beside the interface. It returns the address of both.
func (n *node) live() string {
	n.t.Helper()
	if err := n.engine.Start(testContext(n.t)); err != nil {
		n.t.Fatal(err)
	}
	h, err := server.New(n.engine, server.Options{JWTSecret: n.secret, Inbox: n.inbox})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(h.Close)
	if err := h.Wait(testContext(n.t)); err != nil {
		n.t.Fatal(err)
	}
	s := httptest.NewServer(h)
	n.t.Cleanup(s.Close)
	n.t.Cleanup(s.CloseClientConnections)
	return s.URL
}

func (n *node) exec(sql string, args ...any) {
	n.t.Helper()
	if _, err := n.pool.Exec(testContext(n.t), sql, args...); err != nil {
		n.t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t testing.TB, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, sql string, args ...any,
) (value T) {
	t.Helper()
	if err := db.QueryRow(testContext(t), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// caller sends requests as somebody, or as nobody.
type caller struct {
	*node
	cookie string // "": none
	header http.Header
}

func (n *node) stranger() *caller { return &caller{node: n, header: http.Header{}} }

// as begins a session for a person, without a password.
func (n *node) as(person int64) *caller {
	n.t.Helper()
	c := n.stranger()
	n.exec("UPDATE projects.person SET demo = true WHERE id = $1", person)
	defer n.exec("UPDATE projects.person SET demo = false WHERE id = $1", person)
	session, err := n.accounts.SignInDemo(testContext(n.t), person, account.Client{Address: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		n.t.Fatal(err)
	}
	c.cookie = session.Cookie
	return c
}

// reply is an answer.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   []byte
}

// do sends a request; a body that isn't a string is sent as JSON.
func (c *caller) do(method, path string, body any) *reply {
	c.t.Helper()
	var sent io.Reader = http.NoBody
	kind := ""
	switch b := body.(type) {
	case nil:
	case string:
		sent, kind = strings.NewReader(b), "application/json"
	case []byte:
		sent, kind = bytes.NewReader(b), "application/octet-stream"
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		sent, kind = bytes.NewReader(encoded), "application/json"
	}
	r, err := http.NewRequestWithContext(testContext(c.t), method, c.server.URL+path, sent)
	if err != nil {
		c.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if r.ContentLength >= bodyBytes {
		// What is refused unread isn't sent: else the connection may break under it before the answer is read.
		r.Header.Set("Expect", "100-continue")
	}
	if c.cookie != "" {
		r.Header.Set("Cookie", c.accounts.CookieName()+"="+c.cookie)
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	response, err := c.server.Client().Do(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return &reply{t: c.t, what: method + " " + path, status: response.StatusCode, header: response.Header, body: got}
}

// is checks the status.
func (r *reply) is(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: status %d instead of %d: %s", r.what, r.status, status, r.body)
	}
	return r
}

// problem is what the answer says is wrong.
func (r *reply) problem(status int) problem {
	r.t.Helper()
	r.is(status)
	if kind := r.header.Get("Content-Type"); kind != "application/problem+json" {
		r.t.Errorf("%s: a problem comes as %q", r.what, kind)
	}
	var p problem
	r.into(&p)
	if p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" || p.RequestID != r.header.Get("X-Request-Id") {
		r.t.Errorf("%s: problem %s", r.what, r.body)
	}
	return p
}

func (r *reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: %s: %v", r.what, r.body, err)
	}
}

// secret is the session that the answer sets; "" if it sets none.
func (r *reply) secret() string {
	r.t.Helper()
	given := r.header.Values("Set-Cookie")
	if len(given) == 0 {
		return ""
	}
	cookie, err := http.ParseSetCookie(given[len(given)-1])
	if err != nil {
		r.t.Fatal(err)
	}
	return cookie.Value
}

// person makes somebody; organisation 0: a customer.
func (n *node) person(organisation int64, email, password string) int64 {
	n.t.Helper()
	var hashed *string
	if password != "" {
		h, err := account.HashPassword(password)
		if err != nil {
			n.t.Fatal(err)
		}
		hashed = &h
	}
	name, _, _ := strings.Cut(email, "@")
	return scan[int64](n.t, n.pool, `INSERT INTO projects.person (organisation_id, email, name, password_hash)
		VALUES (nullif($1, 0), $2, $3, $4) RETURNING id`, organisation, email, name, hashed)
}

func (n *node) organisation(name string) int64 {
	n.t.Helper()
	return scan[int64](n.t, n.pool, "INSERT INTO projects.organisation (name) VALUES ($1) RETURNING id", name)
}

func (n *node) project(organisation int64, name string) int64 {
	n.t.Helper()
	return scan[int64](n.t, n.pool, "INSERT INTO projects.project (organisation_id, name) VALUES ($1, $2) RETURNING id", organisation, name)
}

func (n *node) member(project, person int64, role projects.Role) {
	n.t.Helper()
	n.exec("INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, $3)", project, person, role)
}

// invitation makes one, and the secret of its link.
func (n *node) invitation(project, inviter int64, email string, role projects.Role) (id int64, secret string) {
	n.t.Helper()
	id = scan[int64](n.t, n.pool, `INSERT INTO projects.invitation (project_id, email, name, role, invited_by)
		VALUES ($1, $2, 'New', $3, nullif($4, 0)) RETURNING id`, project, email, role, inviter)
	err := pgx.BeginFunc(testContext(n.t), n.pool, func(tx pgx.Tx) (err error) {
		secret, err = account.NewInvitationToken(testContext(n.t), tx, id)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return id, secret
}

// lines are what was logged, all of it.
type lines struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written.String()
}

var _ fmt.Stringer = (*lines)(nil)
