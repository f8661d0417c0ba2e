package projects

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
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

// newDatabase returns the URL of a fresh database that is ready for a Store. It is dropped when the test ends.
func newDatabase(t testing.TB) string {
	t.Helper()
	return pgtest.Prepared(t, "projects", Migrate)
}

// newStore makes a store on a fresh database, s.pool. Its engine is made but doesn't run: nothing is delivered, while what is
// published can be read from trunkline.message (published does so).
func newStore(t testing.TB) *Store {
	t.Helper()
	return storeAt(t, newDatabase(t), false)
}

// newLiveStore is newStore with an engine that runs, so that there are positions and deliveries.
func newLiveStore(t testing.TB) *Store {
	t.Helper()
	return storeAt(t, newDatabase(t), true)
}

func storeAt(t testing.TB, url string, live bool) *Store {
	t.Helper()
	pool := pgtest.Pool(t, url)
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url, SkipMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := engine.Stop(ctx); err != nil {
			t.Errorf("stop the engine: %v", err)
		}
	})
	if live {
		if err := engine.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	in, err := inbox.New(engine, inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return New(pool, Options{Engine: engine, Inbox: in})
}

// database is what a test's statements run on: a pool, a connection or a transaction.
type database interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var _ database = (*pgxpool.Pool)(nil)

func exec(t testing.TB, db database, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(testContext(t), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// scan reads one value.
func scan[T any](t testing.TB, db database, sql string, args ...any) (value T) {
	t.Helper()
	if err := db.QueryRow(testContext(t), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// collect reads the values of a column.
func collect[T any](t testing.TB, db database, sql string, args ...any) []T {
	t.Helper()
	rows, err := db.Query(testContext(t), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return values
}

// published returns the payloads published to a channel so far, oldest first, whether or not an engine runs.
func published(t testing.TB, db database, channel string) []string {
	t.Helper()
	return collect[string](t, db, "SELECT payload::text FROM trunkline.message WHERE channel = $1 ORDER BY id", channel)
}

// A team is an organisation with a project of two members.
type team struct {
	Organisation int64
	Admin        int64 // of the organisation, no member
	Lead         int64
	Staff        int64
	Customer     int64
	Outsider     int64 // a customer of nothing
	Project      int64
}

// newTeam makes an organisation, people and a project with plain SQL.
func newTeam(t testing.TB, db database) team {
	t.Helper()
	var m team
	m.Organisation = scan[int64](t, db, "INSERT INTO projects.organisation (name) VALUES ('Acme') RETURNING id")
	m.Admin = newPerson(t, db, m.Organisation, "Ada")
	exec(t, db, "UPDATE projects.person SET admin = true WHERE id = $1", m.Admin)
	m.Lead = newPerson(t, db, m.Organisation, "Lea")
	m.Staff = newPerson(t, db, m.Organisation, "Stan")
	m.Customer = newPerson(t, db, 0, "Cleo")
	m.Outsider = newPerson(t, db, 0, "Otto")
	m.Project = newProject(t, db, m.Organisation, "Website")
	exec(t, db, `INSERT INTO projects.membership (project_id, person_id, role)
		VALUES ($1, $2, 'lead'), ($1, $3, 'staff'), ($1, $4, 'customer')`, m.Project, m.Lead, m.Staff, m.Customer)
	return m
}

// newPerson makes somebody; organisation 0: a customer.
func newPerson(t testing.TB, db database, organisation int64, name string) int64 {
	t.Helper()
	return scan[int64](t, db, `INSERT INTO projects.person (organisation_id, email, name)
		VALUES (nullif($1, 0), lower($2) || '-' || gen_random_uuid() || '@example.com', $2) RETURNING id`, organisation, name)
}

func newProject(t testing.TB, db database, organisation int64, name string) int64 {
	t.Helper()
	return scan[int64](t, db, "INSERT INTO projects.project (organisation_id, name) VALUES ($1, $2) RETURNING id", organisation, name)
}

func newTask(t testing.TB, db database, project int64, title string) int64 {
	t.Helper()
	return scan[int64](t, db, `INSERT INTO projects.task (project_id, title, rank)
		VALUES ($1, $2, (SELECT coalesce(max(rank), 0) + 1 FROM projects.task WHERE project_id = $1)) RETURNING id`, project, title)
}

func newConversation(t testing.TB, db database, project int64, subject string) int64 {
	t.Helper()
	return scan[int64](t, db, "INSERT INTO projects.conversation (project_id, subject) VALUES ($1, $2) RETURNING id", project, subject)
}

// say writes a message with plain SQL as the program does, and returns its id.
func say(t testing.TB, db database, conversation, person int64, body string) int64 {
	t.Helper()
	return scan[int64](t, db, `WITH c AS (
			UPDATE projects.conversation c SET last_seq = last_seq + 1, last_message_at = clock_timestamp(), awaiting_since =
				CASE WHEN projects.role($2, c.project_id) = 'customer' THEN coalesce(awaiting_since, clock_timestamp()) END
			WHERE id = $1 RETURNING last_seq)
		INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html)
		SELECT $1, last_seq, $2, gen_random_uuid(), $3, '<p>' || $3 || '</p>' FROM c RETURNING id`, conversation, person, body)
}

// decode decodes JSON that has exactly the fields of T, in all its depth.
func decode[T any](t testing.TB, raw string) (value T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	again, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fields(t, again), fields(t, []byte(raw))); diff != "" {
		t.Fatalf("fields of %s (-type +got):\n%s", raw, diff)
	}
	return value
}

// fields returns JSON with every value that is no object and no array replaced by nil.
func fields(t testing.TB, raw []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	var strip func(any) any
	strip = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name := range v {
				v[name] = strip(v[name])
			}
			return v
		case []any:
			for i := range v {
				v[i] = strip(v[i])
			}
			return v
		}
		return nil
	}
	return strip(value)
}

// wantJSON compares JSON with the value it should be of, field by field.
func wantJSON[T any](t testing.TB, want T, raw string) {
	t.Helper()
	if diff := cmp.Diff(want, decode[T](t, raw)); diff != "" {
		t.Errorf("%T (-want +got):\n%s", want, diff)
	}
}
