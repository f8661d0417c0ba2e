package projects

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/schema"
)

const settings = `SELECT concat_ws(' ', name, authorize, publish, presence, join_leave, conflate, retention)
	FROM trunkline.namespace WHERE name NOT IN ('trunkline', 'inbox') ORDER BY name`

var wantSettings = []string{
	"chat projects.may f t f 1 day",
	"person projects.may f f f 1 day",
	"progress projects.may f f f 00:00:00.25 1 day",
	"project projects.may f t t 30 days",
}

func TestMigrateTwice(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.EmptyDatabase(t))
	for range 2 {
		if err := Migrate(testContext(t), conn); err != nil {
			t.Fatal(err)
		}
		all, err := schema.Read(migrationFiles)
		if err != nil {
			t.Fatal(err)
		}
		if got := scan[int](t, conn, "SELECT count(*) FROM projects.migration"); got != len(all) {
			t.Errorf("%d migrations are recorded, want %d", got, len(all))
		}
		if diff := cmp.Diff(wantSettings, collect[string](t, conn, settings)); diff != "" {
			t.Errorf("namespaces (-want +got):\n%s", diff)
		}
		if got := scan[int](t, conn, `SELECT count(*) FROM pg_locks
			WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); got != 0 {
			t.Errorf("%d advisory locks are still held", got)
		}
	}
	// The second time nothing was written: nobody's caches were dropped, nobody's mail looked at again.
	if got := scan[int](t, conn, "SELECT count(*) FROM trunkline.message WHERE channel = 'trunkline:control'"); got != 1 {
		t.Errorf("the nodes were told %d times, want once", got)
	}
}

func TestMigrateAtOnce(t *testing.T) {
	url := pgtest.EmptyDatabase(t)
	var group errgroup.Group
	for range 4 {
		conn := pgtest.Connect(t, url)
		group.Go(func() error { return Migrate(testContext(t), conn) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestMigrateSetsChannelsRightButKeepsRetention(t *testing.T) {
	s := newStore(t)
	exec(t, s.pool, "UPDATE trunkline.namespace SET retention = '7 days', publish = true, authorize = NULL WHERE name = 'project'")
	exec(t, s.pool, "DELETE FROM trunkline.namespace WHERE name = 'chat'")
	conn := pgtest.Connect(t, s.pool.Config().ConnString())
	if err := Migrate(testContext(t), conn); err != nil {
		t.Fatal(err)
	}
	want := append([]string(nil), wantSettings...)
	want[3] = "project projects.may f t t 7 days"
	if diff := cmp.Diff(want, collect[string](t, conn, settings)); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) {
	s := newStore(t)
	exec(t, s.pool, "INSERT INTO projects.migration (version, name) VALUES (999, 'later')")
	err := Migrate(testContext(t), pgtest.Connect(t, s.pool.Config().ConnString()))
	if err == nil || !strings.Contains(err.Error(), "999") {
		t.Errorf("got %v, want an error that names version 999", err)
	}
}

func TestAFailedMigrationChangesNothing(t *testing.T) {
	conn := pgtest.Connect(t, newDatabase(t))
	bad := schema.Migration{Version: 999, Name: "bad", SQL: "CREATE TABLE projects.half (); SELECT 1/0"}
	if err := apply(testContext(t), conn, bad); err == nil || !strings.Contains(err.Error(), "999 (bad)") {
		t.Errorf("got %v, want an error that names the migration", err)
	}
	if conn.PgConn().TxStatus() != 'I' {
		t.Error("the connection is still in a transaction")
	}
	if scan[bool](t, conn, "SELECT to_regclass('projects.half') IS NOT NULL") {
		t.Error("half of the migration is there")
	}
}

// Mail finds people in the view, and only those who are active.
func TestRecipientsAreActivePeople(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	exec(t, s.pool, "UPDATE projects.person SET deactivated_at = now() WHERE id = $1", m.Staff)
	exec(t, s.pool, "UPDATE projects.person SET email = 'cleo@example.com', time_zone = 'Europe/Berlin', locale = 'de' WHERE id = $1", m.Customer)
	type recipient struct{ ID, Email, Name, Zone, Locale string }
	rows, err := s.pool.Query(testContext(t), `SELECT user_id, email, name, time_zone, locale
		FROM trunkline.recipients_of(ARRAY[$1::bigint::text, $2::bigint::text])`, m.Customer, m.Staff)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[recipient])
	if err != nil {
		t.Fatal(err)
	}
	id := scan[string](t, s.pool, "SELECT $1::bigint::text", m.Customer)
	if diff := cmp.Diff([]recipient{{id, "cleo@example.com", "Cleo", "Europe/Berlin", "de"}}, got); diff != "" {
		t.Errorf("recipients (-want +got):\n%s", diff)
	}
	// Touching somebody who has no row of Trunkline's own works as well.
	exec(t, s.pool, "SELECT trunkline.touch($1::bigint::text)", m.Customer)
	if !scan[bool](t, s.pool, "SELECT active_at IS NOT NULL FROM trunkline.recipients_of(ARRAY[$1::bigint::text])", m.Customer) {
		t.Error("who was active isn't known")
	}
}
