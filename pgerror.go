package trunkline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that mean something to us.
const (
	stateUniqueViolation  = "23505"
	stateInvalidParameter = "22023"
	stateNullNotAllowed   = "22004"
	stateInvalidText      = "22P02"
	stateLimitExceeded    = "54000"
	statePrivilege        = "42501"
	stateUndefinedSchema  = "3F000"
	stateUndefinedTable   = "42P01"
	stateUndefinedFunc    = "42883"
	stateUndefinedFile    = "58P01" // "could not access status of transaction …"
	stateDuplicateObject  = "42710"
	stateUndefinedObject  = "42704"
	stateIntervalOverflow = "22008"
	stateNumericOverflow  = "22003"
	stateBadText          = "22021"
)

// reason is what an error says, without the prefixes of the layers it came through.
func reason(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// retryable tells whether the same call may succeed later without anybody changing it: the connection failed, or the
// server is starting, stopping, or short of something.
func retryable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57", "40", "55":
			return true
		}
		return pg.Code == stateUndefinedFile
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "unexpected EOF") ||
		errors.Is(err, context.DeadlineExceeded)
}

// explain turns what a publishing function raised into the error that says what the caller can do.
func explain(err error) error {
	var pg *pgconn.PgError
	if err == nil || !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case stateInvalidParameter, stateNullNotAllowed, stateLimitExceeded, stateInvalidText:
		return &ArgumentError{Argument: "publication", Problem: pg.Message, Fix: pg.Hint, err: err}
	case statePrivilege:
		return &PrivilegeError{Grant: "SELECT trunkline.grant_publish('ROLE')", err: err}
	case stateUndefinedSchema, stateUndefinedTable, stateUndefinedFunc:
		if strings.Contains(pg.Message, "trunkline") {
			return fmt.Errorf("%w (%w)", &SchemaError{Want: schemaVersion()}, err)
		}
	}
	return err
}

// withRole fills the role's name into a *PrivilegeError's grant, and returns that error bare: what is wrapped around it has
// its text already.
func withRole(ctx context.Context, db Tx, err error) error {
	var privilege *PrivilegeError
	if !errors.As(err, &privilege) {
		return err
	}
	var role string
	if db.QueryRow(ctx, "SELECT quote_literal(current_user)").Scan(&role) == nil {
		privilege.Grant = strings.ReplaceAll(privilege.Grant, "'ROLE'", role)
	}
	return privilege
}

// needsRead makes a *PrivilegeError name the grant for reading.
func needsRead(err error) error { return needs("SELECT trunkline.grant_read('ROLE')", err) }

// needs makes a *PrivilegeError name another grant.
func needs(grant string, err error) error {
	var privilege *PrivilegeError
	if errors.As(err, &privilege) {
		privilege.Grant = grant
	}
	return err
}

// Tx is what publishing needs of a transaction: pgx.Tx, *pgx.Conn, *pgxpool.Pool and *pgxpool.Conn all have it.
type Tx interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}
