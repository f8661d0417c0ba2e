package account

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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

const password = "correct horse battery"

var here = Client{UserAgent: "Firefox", Address: netip.MustParseAddr("192.0.2.7")}

// cheap are parameters that cost nothing worth waiting for.
var cheap = parameters{memory: 8, passes: 1, threads: 1}

// site is a database with people, and nodes of accounts on it that share a clock.
type site struct {
	t    testing.TB
	pool *pgxpool.Pool
	*Accounts
	cleo, stan   int64 // a customer, and staff; both have the password
	organisation int64
	project      int64

	mu  sync.Mutex
	now time.Time // stands still until forward moves it
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, pool: pgtest.Pool(t, pgtest.Prepared(t, "projects", projects.Migrate)), now: time.Now()}
	s.Accounts = s.node()
	s.organisation = scan[int64](t, s.pool, "INSERT INTO projects.organisation (name) VALUES ('Acme') RETURNING id")
	s.cleo = s.person(0, "cleo@example.com")
	s.stan = s.person(s.organisation, "stan@example.com")
	s.project = scan[int64](t, s.pool, "INSERT INTO projects.project (organisation_id, name) VALUES ($1, 'Website') RETURNING id", s.organisation)
	s.exec("INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')", s.project, s.stan)
	return s
}

// node is another node of the site.
func (s *site) node() *Accounts {
	a := New(s.pool, Options{Now: s.clock, Demo: true})
	a.hasher = newHasher(cheap, 4)
	return a
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *site) forward(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *site) person(organisation int64, email string) int64 {
	s.t.Helper()
	return scan[int64](s.t, s.pool, `INSERT INTO projects.person (organisation_id, email, name, password_hash)
		VALUES (nullif($1, 0), $2, split_part($2, '@', 1), $3) RETURNING id`, organisation, email, cheap.hash(password))
}

func (s *site) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(testContext(s.t), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (value T) {
	t.Helper()
	if err := pool.QueryRow(testContext(t), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// in signs cleo in.
func (s *site) in() Session {
	s.t.Helper()
	session, err := s.SignIn(testContext(s.t), "cleo@example.com", password, here)
	if err != nil {
		s.t.Fatal(err)
	}
	return session
}

// tx runs do in a transaction.
func (s *site) tx(do func(tx pgx.Tx) error) {
	s.t.Helper()
	if err := pgx.BeginFunc(testContext(s.t), s.pool, do); err != nil {
		s.t.Fatal(err)
	}
}
