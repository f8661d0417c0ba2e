package letter

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/projects"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds all that a test does: long, since it only ends what hangs.
const patience = 3 * time.Minute

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A post is a sender that keeps what it is given, and fails as it is told.
type post struct {
	mu   sync.Mutex
	sent []mail.Envelope
	// fault is asked before each mail and may answer with what Send is to return; nil: it is sent.
	fault func(mail.Envelope) error
	// late is called between the mail's last line and the final dot.
	late func()
	// tookIt makes fault answer after the mail was taken.
	tookIt bool
}

func (p *post) Send(ctx context.Context, e mail.Envelope, commit func(context.Context) error) error {
	p.mu.Lock()
	fault, late, took := p.fault, p.late, p.tookIt
	p.mu.Unlock()
	var failed error
	if fault != nil {
		failed = fault(e)
	}
	if failed != nil && !took {
		return failed
	}
	if late != nil {
		late()
	}
	if err := commit(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.sent = append(p.sent, e)
	p.mu.Unlock()
	return failed
}

func (p *post) Close() error { return nil }

func (p *post) set(change func(*post)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *post) all() []mail.Envelope {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]mail.Envelope(nil), p.sent...)
}

// A clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A world is a database with a project, a post and a clock.
type world struct {
	t        testing.TB
	pool     *pgxpool.Pool
	post     *post
	clock    *clock
	log      *lockedBuffer
	renderer *mail.Renderer
	project  int64
	ben      int64 // who invites
	cleo     int64 // a customer with an account
}

func newWorld(t testing.TB) *world {
	t.Helper()
	url := pgtest.Prepared(t, "projects", projects.Migrate)
	renderer, err := mail.New(mail.Options{Site: "Projects", From: "projects@example.org", PublicURL: "https://projects.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, pool: pgtest.Pool(t, url), post: new(post), clock: &clock{now: time.Now().UTC().Truncate(time.Second)}, log: new(lockedBuffer), renderer: renderer}
	org := w.id(`INSERT INTO projects.organisation (name) VALUES ('Example Builders') RETURNING id`)
	w.ben = w.id(`INSERT INTO projects.person (organisation_id, email, name) VALUES ($1, 'ben@builders.example', 'Ben Okafor') RETURNING id`, org)
	w.cleo = w.id(`INSERT INTO projects.person (email, name, locale, time_zone) VALUES ('Cleo@example.com', 'Cleo Groß', 'de-AT', 'Europe/Vienna') RETURNING id`)
	w.project = w.id(`INSERT INTO projects.project (organisation_id, name, created_by) VALUES ($1, 'Kitchen renovation', $2) RETURNING id`, org, w.ben)
	return w
}

func (w *world) id(sql string, args ...any) int64 { return query[int64](w.t, w.pool, sql, args...) }

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(testContext(w.t), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (value T) {
	t.Helper()
	if err := pool.QueryRow(testContext(t), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// invite writes an invitation and its letter.
func (w *world) invite(email, name string) (invitation, letter int64) {
	w.t.Helper()
	invitation = w.id(`INSERT INTO projects.invitation (project_id, email, name, role, invited_by) VALUES ($1, $2, $3, 'customer', $4) RETURNING id`,
		w.project, email, name, w.ben)
	return invitation, w.letter("invitation_id", invitation)
}

func (w *world) letter(column string, of int64) int64 {
	w.t.Helper()
	purpose := map[string]string{"invitation_id": "invitation", "person_id": "reset"}[column]
	return w.id(`INSERT INTO projects.letter (purpose, `+column+`, created_at, next_at) VALUES ($1, $2, $3, $3) RETURNING id`, purpose, of, w.clock.Now())
}

// state is what has become of a letter: waiting, sent or failed, and its reply.
func (w *world) state(letter int64) (state, reply string) {
	w.t.Helper()
	err := w.pool.QueryRow(testContext(w.t), `SELECT CASE WHEN sent_at IS NOT NULL THEN 'sent' WHEN failed_at IS NOT NULL THEN 'failed' ELSE 'waiting' END, reply
		FROM projects.letter WHERE id = $1`, letter).Scan(&state, &reply)
	if err != nil {
		w.t.Fatal(err)
	}
	return state, reply
}

func (w *world) want(letter int64, want string) (reply string) {
	w.t.Helper()
	state, reply := w.state(letter)
	if state != want {
		w.t.Errorf("the letter %d is %s (%s), want %s", letter, state, reply, want)
	}
	return reply
}

func (w *world) worker() *Worker {
	w.t.Helper()
	made, err := New(w.pool, Options{
		Sender: w.post, Renderer: w.renderer, PublicURL: "https://projects.example.org/", Now: w.clock.Now, Logger: w.log.logger(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// once runs a worker once, and fails unless it has sent so many.
func (w *world) once(worker *Worker, want int) {
	w.t.Helper()
	if got, err := worker.Once(testContext(w.t)); err != nil || got != want {
		w.t.Errorf("sent %d mails, want %d: %v", got, want, err)
	}
}

var links = regexp.MustCompile(`https://projects\.example\.org/(invited|reset)/([A-Za-z0-9_-]+)`)

// link finds the link in a mail, and its secret.
func link(t testing.TB, e mail.Envelope) (page, secret string) {
	t.Helper()
	text := strings.ReplaceAll(string(e.Data), "=\r\n", "")
	found := links.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no link in\n%s", e.Data)
	}
	return found[1], found[2]
}

func temporary(e mail.Envelope) error {
	return &mail.SendError{Step: "rcpt", Blame: mail.BlameRecipient, Code: 451, Err: fmt.Errorf("451 try later")}
}
