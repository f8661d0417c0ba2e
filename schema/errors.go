package schema

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ServerVersionError says that the server is older than Trunkline supports.
type ServerVersionError struct {
	Version string
}

func (e *ServerVersionError) Error() string {
	return fmt.Sprintf("the server is PostgreSQL %s; Trunkline needs 14 or newer", e.Version)
}

// NewerSchemaError says that the database was migrated by a newer Trunkline.
type NewerSchemaError struct {
	Database int // the schema's version in the database
	Program  int // the latest version that this program knows
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the database's schema is version %d, this program knows versions up to %d: use a newer trunkline",
		e.Database, e.Program)
}

// PrivilegeError says which GRANT the role lacks to migrate.
type PrivilegeError struct {
	Role  string
	Grant string // the statement to be run by the owner or a superuser
	err   error
}

func (e *PrivilegeError) Error() string {
	return fmt.Sprintf("role %q may not migrate this database (%v): have its owner run %s", e.Role, e.err, e.Grant)
}

func (e *PrivilegeError) Unwrap() error { return e.err }

func newPrivilegeError(ctx context.Context, conn *pgx.Conn, cause *pgconn.PgError) error {
	e := &PrivilegeError{err: cause}
	var owner *string
	err := conn.QueryRow(ctx, `SELECT current_user,
		(SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'trunkline'),
		format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)`).Scan(&e.Role, &owner, &e.Grant)
	if err != nil {
		return fmt.Errorf("migrate: %w", cause)
	}
	if owner != nil {
		e.Grant = fmt.Sprintf("GRANT %s TO %s (the schema trunkline belongs to that role)", *owner, pgx.Identifier{e.Role}.Sanitize())
	}
	return e
}
