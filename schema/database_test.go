package schema_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// database is a connection to a test's own database, failing the test on any error.
type database struct {
	*testing.T
	conn *pgx.Conn
	url  string
}

func open(t *testing.T) database {
	t.Helper()
	url := pgtest.Database(t)
	d := database{T: t, conn: pgtest.Connect(t, url), url: url}
	// The tests' role has the schema's name: without this, tables would land there.
	d.run("SET search_path = public")
	return d
}

// run executes a script of any number of statements.
func (d database) run(sql string) {
	d.Helper()
	if _, err := d.conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		d.Fatalf("%v\nin %s", err, sql)
	}
}

// fails executes a script that must raise, and returns what it raises.
func (d database) fails(sql string) *pgconn.PgError {
	d.Helper()
	_, err := d.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		d.Fatalf("got %v, want a PostgreSQL error\nfrom %s", err, sql)
	}
	return pg
}

// column returns the first column of a query's rows, as text; NULL reads <NULL>.
func (d database) column(sql string) []string {
	d.Helper()
	results, err := d.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		d.Fatalf("%v\nin %s", err, sql)
	}
	texts := []string{}
	for _, row := range results[len(results)-1].Rows {
		if row[0] == nil {
			texts = append(texts, "<NULL>")
			continue
		}
		texts = append(texts, string(row[0]))
	}
	return texts
}

// messages returns what was published, as "channel payload", in order.
func (d database) messages() []string {
	d.Helper()
	return d.column("SELECT channel || ' ' || payload::text FROM trunkline.message ORDER BY id")
}

func (d database) remarks() []string {
	d.Helper()
	return d.column("SELECT unnest(remarks) FROM trunkline.watches")
}

func (d database) want(got []string, want ...string) {
	d.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.Errorf("(-want +got)\n%s", diff)
	}
}

func (d database) version() (number int) {
	d.Helper()
	if err := d.conn.QueryRow(context.Background(), "SELECT current_setting('server_version_num')::int").Scan(&number); err != nil {
		d.Fatal(err)
	}
	return number
}

var roles atomic.Int64

// role makes a role that may publish and own tables in a schema of its name.
func (d database) role() string {
	d.Helper()
	name := fmt.Sprintf("watcher_%d_%d", d.conn.PgConn().PID(), roles.Add(1))
	d.run(fmt.Sprintf("CREATE ROLE %[1]s; CREATE SCHEMA %[1]s AUTHORIZATION %[1]s; SELECT trunkline.grant_publish('%[1]s')", name))
	d.Cleanup(func() { d.run(fmt.Sprintf("RESET ROLE; DROP OWNED BY %[1]s CASCADE; DROP ROLE %[1]s", name)) })
	return name
}
