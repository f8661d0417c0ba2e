package auth

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait of a test: long, since it only ends what hangs.
const patience = 60 * time.Second

var testSecret = []byte("a secret of thirty-two bytes, ok")

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// settings are namespaces that a test can change.
type settings struct {
	mu   sync.Mutex
	rows map[string]trunkline.Namespace
}

// set gives a function that is not about time as much as it may take.
func (s *settings) set(ns trunkline.Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ns.AuthorizeTimeout == 0 {
		ns.AuthorizeTimeout = 30 * time.Second
	}
	if s.rows == nil {
		s.rows = make(map[string]trunkline.Namespace)
	}
	s.rows[ns.Name] = ns
}

func (s *settings) of(channel string) trunkline.Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := trunkline.NamespaceOf(channel)
	if ns, ok := s.rows[name]; ok {
		return ns
	}
	return trunkline.Namespace{Name: name}
}

func (s *settings) all() (all []trunkline.Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ns := range s.rows {
		all = append(all, ns)
	}
	return all
}

// offline makes a gate that needs no database because nothing was revoked.
func offline(t testing.TB, cfg Config) *Gate {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), "postgres://nobody@127.0.0.1:1/none") // connects when used, which it isn't
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if cfg.Pool = pool; cfg.Open {
		cfg.Pool = nil
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	g.state.Store(&state{revoked: &revocations{}})
	return g
}

// online makes a gate on a database of its own.
func online(t testing.TB, change ...func(*Config)) (*Gate, *pgxpool.Pool, *settings) {
	t.Helper()
	pool := pgtest.Pool(t, pgtest.Database(t))
	namespaces := &settings{}
	cfg := Config{Pool: pool, Secret: testSecret, Namespace: namespaces.of, Namespaces: namespaces.all}
	for _, c := range change {
		c(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	reload(t, g)
	return g, pool, namespaces
}

func reload(t testing.TB, g *Gate) {
	t.Helper()
	if err := g.Load(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(testContext(t), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// token signs claims with the secret of the tests.
func token(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	return signed(t, jwt.SigningMethodHS256, testSecret, claims, "")
}

func signed(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims, id string) string {
	t.Helper()
	made := jwt.NewWithClaims(method, claims)
	if id != "" {
		made.Header["kid"] = id
	}
	text, err := made.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func privatePEM(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// wantRefusal checks an error's code, and that its sentence has some words.
func wantRefusal(t testing.TB, err error, code Code, words string) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v (%T), want a refusal with code %d: %s", err, err, code, words)
	}
	if refusal.Code != code || !strings.Contains(refusal.Reason, words) {
		t.Fatalf("refused with code %d: %s\nwant %d: …%s…", refusal.Code, refusal.Reason, code, words)
	}
}

func connect(t testing.TB, g *Gate, text string) *Identity {
	t.Helper()
	id, err := g.Connect(testContext(t), text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
