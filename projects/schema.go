package projects

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/schema"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrationLock is the advisory lock under which migrations run: 'proj' in ASCII, 1.
const migrationLock = "1886547818, 1"

// migrationTable makes the place where applied versions are recorded. It can run any number of times.
const migrationTable = `CREATE SCHEMA IF NOT EXISTS projects;
CREATE TABLE IF NOT EXISTS projects.migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
`

// namespaces are the settings of the channels. How long messages are kept is set once: whoever changes that keeps it. Those of chat:ID
// have the texts of the chat, which is in tables of its own: were they kept, what people delete could still be read there.
const namespaces = `INSERT INTO trunkline.namespace AS n (name, authorize, publish, presence, join_leave, conflate, retention)
VALUES ('project', 'projects.may', false, true, true, NULL, interval '30 days'),
       ('progress', 'projects.may', false, false, false, interval '250 ms', interval '1 day'),
       ('chat', 'projects.may', false, true, false, NULL, interval '1 day'),
       ('person', 'projects.may', false, false, false, NULL, interval '1 day')
ON CONFLICT (name) DO UPDATE SET authorize = excluded.authorize, publish = excluded.publish, presence = excluded.presence,
    join_leave = excluded.join_leave, conflate = excluded.conflate
WHERE (n.authorize, n.publish, n.presence, n.join_leave, n.conflate) IS DISTINCT FROM
      (excluded.authorize, excluded.publish, excluded.presence, excluded.join_leave, excluded.conflate)`

// Migrate makes the database ready: Trunkline's schema, then our own tables, functions and triggers, each migration in a
// transaction of its own, then the settings of our channels and where recipients of mail are read. It can be called any number of
// times, and by any number of processes at once: one does the work under an advisory lock, the others wait and find it done. A failed
// migration leaves the database at the version before it.
//
// It needs CREATE on the database the first time, and the ownership of both schemas later. A database that a newer program has
// migrated is refused.
func Migrate(ctx context.Context, conn *pgx.Conn) (err error) {
	if err := trunkline.Migrate(ctx, conn); err != nil {
		return err
	}
	all, err := schema.Read(migrationFiles)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock("+migrationLock+")"); err != nil {
		return fmt.Errorf("wait for other migrations: %w", err)
	}
	defer func() {
		// The lock would otherwise stay with a pooled connection.
		_, unlockErr := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock("+migrationLock+")")
		if err == nil && unlockErr != nil {
			err = fmt.Errorf("release the migration lock: %w", unlockErr)
		}
	}()

	current, err := version(ctx, conn)
	if err != nil {
		return err
	}
	if current > len(all) {
		return fmt.Errorf("the database has version %d of the projects' tables, this program knows %d: start a newer one", current, len(all))
	}
	for _, m := range all[current:] {
		if err := apply(ctx, conn, m); err != nil {
			return err
		}
	}
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return configure(ctx, tx) }); err != nil {
		return fmt.Errorf("set up channels and recipients: %w", err)
	}
	return nil
}

// version returns the version of the database's schema, 0 if it has none.
func version(ctx context.Context, conn *pgx.Conn) (int, error) {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('projects.migration') IS NOT NULL").Scan(&exists); err != nil {
		return 0, fmt.Errorf("look for the projects' schema: %w", err)
	}
	if !exists {
		return 0, nil
	}
	var version int
	if err := conn.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM projects.migration").Scan(&version); err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version, nil
}

func apply(ctx context.Context, conn *pgx.Conn, m schema.Migration) error {
	// Version and name come from our own files. The simple protocol takes the whole script at once.
	record := fmt.Sprintf("INSERT INTO projects.migration (version, name) VALUES (%d, '%s')", m.Version, m.Name)
	script := "BEGIN; SET LOCAL client_min_messages = warning;\n" + migrationTable + m.SQL + "\n" + record + "; COMMIT"
	if _, err := conn.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		_, rollbackErr := conn.PgConn().Exec(context.WithoutCancel(ctx), "ROLLBACK").ReadAll()
		return errors.Join(fmt.Errorf("apply migration %d (%s) of projects: %w", m.Version, m.Name, err), rollbackErr)
	}
	return nil
}

// configure sets what Trunkline has to know, where it isn't so already.
func configure(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, namespaces); err != nil {
		return err
	}
	// Naming the relation again, when it is set already, would have everybody's mail looked at anew.
	var set bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM trunkline.recipient_relation
		WHERE schema_name = 'projects' AND relation_name = 'recipient' AND owner = (
			SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'projects.recipient'::regclass))`).Scan(&set)
	if err != nil || set {
		return err
	}
	return inbox.RecipientsFrom(ctx, tx, "projects.recipient")
}
