package schema_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/schema"
)

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func latest(t *testing.T) int {
	t.Helper()
	n, err := schema.Latest()
	if err != nil || n < 1 {
		t.Fatal(n, err)
	}
	return n
}

// aged is a database on its way through the versions.
type aged struct {
	t        *testing.T
	url      string
	conn     *pgx.Conn
	payloads []string
}

func newAged(t *testing.T) *aged {
	t.Helper()
	url := pgtest.EmptyDatabase(t)
	return &aged{t: t, url: url, conn: pgtest.Connect(t, url)}
}

func (a *aged) exec(sql string, args ...any) {
	a.t.Helper()
	if _, err := a.conn.Exec(bounded(a.t), sql, args...); err != nil {
		a.t.Fatalf("%s: %v", sql, err)
	}
}

func (a *aged) migrate(version int) {
	a.t.Helper()
	if err := schema.MigrateTo(bounded(a.t), a.conn, version); err != nil {
		a.t.Fatalf("to version %d: %v", version, err)
	}
	if got, err := schema.Version(bounded(a.t), a.conn); err != nil || got != version {
		a.t.Fatalf("version %d after migrating to %d: %v", got, version, err)
	}
}

// insert stores messages as every version can take them: straight into the table. Some of a transaction that rolls back,
// too.
func (a *aged) insert() {
	a.t.Helper()
	for _, commit := range []bool{true, false, true} {
		a.exec("BEGIN")
		for i := range 3 {
			payload := fmt.Sprintf(`{"n": %d,  "x": "\u00e9"}`, len(a.payloads)+i)
			a.exec("INSERT INTO trunkline.message (channel, payload, sender) VALUES ('c', $1, 'ann')", payload)
		}
		if commit {
			for range 3 {
				a.payloads = append(a.payloads, fmt.Sprintf(`{"n": %d,  "x": "\u00e9"}`, len(a.payloads)))
			}
			a.exec("COMMIT")
		} else {
			a.exec("ROLLBACK")
		}
	}
}

// wantAll starts a node and reads everything.
func (a *aged) wantAll() {
	a.t.Helper()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: a.url, SkipMigrate: true})
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() {
		if err := engine.Stop(bounded(a.t)); err != nil {
			a.t.Error(err)
		}
	}()
	if err := engine.Start(bounded(a.t)); err != nil {
		a.t.Fatal(err)
	}
	sub, err := engine.Subscribe(bounded(a.t), []string{"c"}, trunkline.SubscribeOptions{From: trunkline.FromBeginning()})
	if err != nil {
		a.t.Fatal(err)
	}
	defer sub.Close()
	var got []string
	for range a.payloads {
		m, err := sub.Next(bounded(a.t))
		if err != nil {
			a.t.Fatalf("after %d of %d messages: %v", len(got), len(a.payloads), err)
		}
		if m.Sender != "ann" || m.Seq != int64(len(got)+1) {
			a.t.Errorf("message %d: %+v", len(got), m)
		}
		got = append(got, string(m.Payload))
	}
	if diff := cmp.Diff(a.payloads, got); diff != "" {
		a.t.Error(diff)
	}
	page, err := engine.History(bounded(a.t), "c", 0, 1000)
	if err != nil || len(page.Messages) != len(a.payloads) {
		a.t.Errorf("history holds %d messages, want %d: %v", len(page.Messages), len(a.payloads), err)
	}
}

// From each version at once to the latest, with messages in the database.
func TestUpgradeFromEachVersion(t *testing.T) {
	t.Parallel()
	for from := 1; from <= latest(t); from++ {
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			t.Parallel()
			a := newAged(t)
			a.migrate(from)
			a.insert()
			if err := schema.Migrate(bounded(t), a.conn); err != nil {
				t.Fatal(err)
			}
			a.insert()
			a.wantAll()
		})
	}
}

// Through all versions, with messages stored at each, and back to none of them.
func TestUpgradeStepByStep(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	for version := 1; version <= latest(t); version++ {
		a.migrate(version)
		a.insert()
	}
	if err := schema.MigrateTo(bounded(t), a.conn, 1); err != nil {
		t.Errorf("to version 1 again: %v", err)
	}
	if version, err := schema.Version(bounded(t), a.conn); err != nil || version != latest(t) {
		t.Errorf("then the version is %d: %v", version, err)
	}
	a.wantAll()
}

func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	var wg sync.WaitGroup
	for range 8 {
		conn := pgtest.Connect(t, a.url)
		wg.Go(func() {
			if err := schema.Migrate(bounded(t), conn); err != nil {
				t.Error(err)
			}
			// The lock isn't left behind.
			var locked bool
			err := conn.QueryRow(bounded(t), "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())").Scan(&locked)
			if err != nil || locked {
				t.Errorf("the migration lock is still held: %v, %v", locked, err)
			}
		})
	}
	wg.Wait()
	var versions []int
	if err := a.conn.QueryRow(bounded(t), "SELECT array_agg(version ORDER BY version) FROM trunkline.migration").Scan(&versions); err != nil {
		t.Fatal(err)
	}
	if len(versions) != latest(t) || versions[len(versions)-1] != latest(t) {
		t.Errorf("applied: %v", versions)
	}
	a.insert()
	a.wantAll()
}

func TestMigrateNamesTheMissingGrant(t *testing.T) {
	t.Parallel()
	var name string
	t.Cleanup(func() { // when the database is gone
		admin := pgtest.Connect(t, pgtest.Server(t).URLFor("postgres"))
		if _, err := admin.Exec(bounded(t), "DROP ROLE "+name); err != nil {
			t.Error(err)
		}
	})
	a := newAged(t)
	u, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	name = strings.TrimPrefix(u.Path, "/") + "_migrator"
	a.exec("CREATE ROLE " + name + " LOGIN PASSWORD 'secret'")
	u.User = url.UserPassword(name, "secret")
	plain := pgtest.Connect(t, u.String())

	err = schema.Migrate(bounded(t), plain)
	var privilege *schema.PrivilegeError
	if !errors.As(err, &privilege) || privilege.Role != name || !strings.HasPrefix(privilege.Grant, "GRANT CREATE ON DATABASE ") {
		t.Fatalf("without CREATE: %v", err)
	}
	if version, err := schema.Version(bounded(t), a.conn); version != 0 || err != nil {
		t.Errorf("something is done: version %d, %v", version, err)
	}
	// What it asks for is enough.
	a.exec(privilege.Grant)
	if err := schema.Migrate(bounded(t), plain); err != nil {
		t.Fatalf("with the grant: %v", err)
	}
	a.conn = plain
	a.insert()
	a.url = u.String()
	a.wantAll()

	// Where another role has begun, that one has to go on.
	b := newAged(t)
	b.migrate(1)
	other, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	other.User = u.User
	b.exec("GRANT CREATE ON DATABASE " + strings.TrimPrefix(other.Path, "/") + " TO " + name)
	b.exec("GRANT USAGE ON SCHEMA trunkline TO " + name)
	b.exec("GRANT SELECT ON trunkline.migration TO " + name)
	err = schema.Migrate(bounded(t), pgtest.Connect(t, other.String()))
	if !errors.As(err, &privilege) || !strings.Contains(privilege.Grant, "belongs to that role") {
		t.Errorf("on another's schema: %v", err)
	}
	b.exec("DROP OWNED BY " + name)
}

// A migration that fails leaves nothing behind, and succeeds once its obstacle is gone.
func TestFailedMigrationLeavesNothing(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	a.exec("CREATE SCHEMA trunkline")
	a.exec("CREATE TABLE trunkline.log (mine int)")
	if err := schema.Migrate(bounded(t), a.conn); err == nil || !strings.Contains(err.Error(), "migration 1 (log)") {
		t.Errorf("over a table of another's: %v", err)
	}
	if version, err := schema.Version(bounded(t), a.conn); version != 0 || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
	a.exec("DROP TABLE trunkline.log")
	a.migrate(latest(t))
	a.insert()
	a.wantAll()
}

func TestOtherEncodingsAreRefused(t *testing.T) {
	t.Parallel()
	if err := schema.Migrate(bounded(t), pgtest.Connect(t, pgtest.ASCIIDatabase(t))); err == nil || !strings.Contains(err.Error(), "SQL_ASCII") {
		t.Errorf("in SQL_ASCII: %v", err)
	}
}

// What Print prints makes the same schema as Migrate, from nothing and from each version.
func TestPrintedMigrations(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("there is no psql on the PATH")
	}
	migrated := newAged(t)
	migrated.migrate(latest(t))
	want := migrated.dump()
	for from := range latest(t) {
		a := newAged(t)
		if from > 0 {
			a.migrate(from)
		}
		script, err := schema.Print(from)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(bounded(t), psql, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--output", os.DevNull, a.url)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("psql from version %d: %v\n%s", from, err, out)
		}
		if diff := cmp.Diff(want, a.dump()); diff != "" {
			t.Errorf("from version %d: %s", from, diff)
		}
		// Both can be used on one database: there is nothing left to do.
		a.migrate(latest(t))
		if from == 0 {
			a.insert()
			a.wantAll()
		}
	}
}

// dump returns the schema and the versions recorded, without what differs from dump to dump.
func (a *aged) dump() string {
	a.t.Helper()
	server := pgtest.Server(a.t)
	program := filepath.Join(server.BinDir(), "pg_dump")
	if _, err := os.Stat(program); err != nil {
		var found error
		if program, found = exec.LookPath("pg_dump"); found != nil {
			a.t.Skip("there is no pg_dump beside the server or on the PATH")
		}
	}
	out, err := exec.CommandContext(bounded(a.t), program, "--schema-only", a.url).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "server version mismatch") {
			a.t.Skipf("%s is older than the server", program)
		}
		a.t.Fatalf("pg_dump: %v\n%s", err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) {
			lines = append(lines, line)
		}
	}
	var applied string
	err = a.conn.QueryRow(bounded(a.t), "SELECT string_agg(version || ' ' || name, ', ' ORDER BY version) FROM trunkline.migration").Scan(&applied)
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Join(lines, "") + applied
}
