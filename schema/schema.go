// Package schema holds Trunkline's SQL, as numbered migrations, and applies them.
package schema

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql
var files embed.FS

// MinServerVersion is the oldest PostgreSQL that Trunkline works with, as server_version_num counts.
const MinServerVersion = 140000

// lockKey is the advisory lock under which migrations run: 'trun' in ASCII, 3.
const lockKey = "1953656430, 3"

// bootstrap makes the place where applied versions are recorded. It can run any number of times.
const bootstrap = `CREATE SCHEMA IF NOT EXISTS trunkline;
CREATE TABLE IF NOT EXISTS trunkline.migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
`

// A Migration is one step of the schema. Once released, its SQL never changes.
type Migration struct {
	Version int
	Name    string
	SQL     string
}

// Migrations returns all steps in the order they are applied; versions count 1, 2, 3 ….
func Migrations() ([]Migration, error) { return Read(files) }

// Read returns the migrations that the folder migrations of a file system has, named NNN_NAME.sql and numbered from 001 without a
// gap, in their order: also those of an application that keeps its own SQL so.
func Read(from fs.FS) ([]Migration, error) {
	entries, err := fs.ReadDir(from, "migrations")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	migrations := make([]Migration, 0, len(entries))
	for i, entry := range entries {
		number, name, ok := strings.Cut(strings.TrimSuffix(entry.Name(), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil || version != i+1 {
			return nil, fmt.Errorf("migration file %q is not named %03d_NAME.sql", entry.Name(), i+1)
		}
		sql, err := fs.ReadFile(from, "migrations/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration %d: %w", version, err)
		}
		migrations = append(migrations, Migration{Version: version, Name: name, SQL: string(sql)})
	}
	return migrations, nil
}

// Latest returns the version that Migrate brings a database to.
func Latest() (int, error) {
	migrations, err := Migrations()
	return len(migrations), err
}

// Print returns the SQL of all migrations after version, for people who apply SQL with a tool of their own. It records the
// versions as Migrate does, so that both can be used on one database.
func Print(version int) (string, error) {
	migrations, err := Migrations()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("-- Trunkline's schema, for psql -v ON_ERROR_STOP=1 or a migration tool. One transaction.\nBEGIN;\n")
	b.WriteString("SELECT pg_advisory_xact_lock(" + lockKey + ");\n")
	b.WriteString("SET LOCAL client_min_messages = warning;\n")
	b.WriteString(bootstrap)
	for _, m := range migrations {
		if m.Version > version {
			fmt.Fprintf(&b, "\n-- %d: %s\n\n%s\n%s;\n", m.Version, m.Name, m.SQL, m.record())
		}
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String(), nil
}

// record is the statement that notes a migration as applied. Names come from our own files.
func (m Migration) record() string {
	return fmt.Sprintf("INSERT INTO trunkline.migration (version, name) VALUES (%d, '%s')", m.Version, m.Name)
}

// Version returns the version of the database's schema, 0 if it has none.
func Version(ctx context.Context, conn *pgx.Conn) (int, error) {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('trunkline.migration') IS NOT NULL").Scan(&exists); err != nil {
		return 0, fmt.Errorf("look for trunkline's schema: %w", err)
	}
	if !exists {
		return 0, nil
	}
	var version int
	err := conn.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM trunkline.migration").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version, nil
}

// Migrate brings the database to the latest version, each migration in a transaction of its own. Any number of processes
// may call it at once: the first does the work under an advisory lock, the others wait and find it done. A failed
// migration leaves the database at the version before it.
//
// It needs CREATE on the database the first time and the schema's ownership later; what lacks is named in a
// *PrivilegeError. A PostgreSQL older than 14 is refused with a *ServerVersionError, a schema newer than this program with
// a *NewerSchemaError.
func Migrate(ctx context.Context, conn *pgx.Conn) error {
	latest, err := Latest()
	if err != nil {
		return err
	}
	return MigrateTo(ctx, conn, latest)
}

// MigrateTo is Migrate up to a version, for tests of upgrades. It never goes back.
func MigrateTo(ctx context.Context, conn *pgx.Conn, target int) (err error) {
	migrations, err := Migrations()
	if err != nil {
		return err
	}
	if err := checkServer(ctx, conn); err != nil {
		return err
	}
	current, err := Version(ctx, conn)
	if err != nil {
		return err
	}
	if current > len(migrations) {
		return &NewerSchemaError{Database: current, Program: len(migrations)}
	}
	if current >= target {
		return nil
	}

	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock("+lockKey+")"); err != nil {
		return fmt.Errorf("wait for other migrations: %w", err)
	}
	defer func() {
		// The lock would otherwise stay with a pooled connection.
		_, unlockErr := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock("+lockKey+")")
		if err == nil && unlockErr != nil {
			err = fmt.Errorf("release the migration lock: %w", unlockErr)
		}
	}()

	current, err = Version(ctx, conn)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		if m.Version > current && m.Version <= target {
			if err := apply(ctx, conn, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func apply(ctx context.Context, conn *pgx.Conn, m Migration) error {
	script := "BEGIN; SET LOCAL client_min_messages = warning;\n" + bootstrap + m.SQL + "\n" + m.record() + "; COMMIT"
	// The simple protocol takes the whole script at once.
	if _, err := conn.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		_, rollbackErr := conn.PgConn().Exec(context.WithoutCancel(ctx), "ROLLBACK").ReadAll()
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42501" {
			return newPrivilegeError(ctx, conn, pg)
		}
		return errors.Join(fmt.Errorf("apply migration %d (%s): %w", m.Version, m.Name, err), rollbackErr)
	}
	return nil
}

func checkServer(ctx context.Context, conn *pgx.Conn) error {
	var number int
	var version, encoding string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('server_encoding')`).Scan(&number, &version, &encoding)
	if err != nil {
		return fmt.Errorf("ask for the server's version: %w", err)
	}
	if number < MinServerVersion {
		return &ServerVersionError{Version: version}
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s; Trunkline needs UTF8: create the database with ENCODING 'UTF8'", encoding)
	}
	return nil
}
