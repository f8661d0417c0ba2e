package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
)

// The grants that a *[trunkline.PrivilegeError] of this package names.
const (
	grantNotify = "SELECT trunkline.grant_notify('ROLE')"
	grantInbox  = "SELECT trunkline.grant_inbox('ROLE')"
	grantAdmin  = "SELECT trunkline.grant_admin('ROLE')"
)

// SQLSTATEs that mean something to us.
const (
	stateInvalidParameter = "22023"
	stateNullNotAllowed   = "22004"
	stateInvalidText      = "22P02"
	stateBadText          = "22021"
	stateDatetimeOverflow = "22008"
	stateNumericOverflow  = "22003"
	stateLimitExceeded    = "54000"
	statePrivilege        = "42501"
	stateUndefinedSchema  = "3F000"
	stateUndefinedTable   = "42P01"
	stateUndefinedFunc    = "42883"
	stateUndefinedObject  = "42704"
	stateSerialization    = "40001"
	stateDeadlock         = "40P01"
)

// An explained error is what PostgreSQL said, as the error that tells the caller what to do. errors.As finds both.
type explained struct {
	text  string
	means error // *trunkline.ArgumentError, *trunkline.PrivilegeError or *trunkline.SchemaError
	cause error
}

func (e *explained) Error() string   { return e.text }
func (e *explained) Unwrap() []error { return []error{e.means, e.cause} }

// explain says what an error means of one of the inbox's SQL functions, which raise for arguments only, naming the one in COLUMN
// and the way out in HINT. argument is the one to name if the function doesn't; grant is what lets a role call it.
func explain(err error, argument, grant string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case stateInvalidParameter, stateNullNotAllowed, stateInvalidText, stateBadText, stateDatetimeOverflow, stateNumericOverflow,
		stateLimitExceeded, stateUndefinedObject:
		means := &trunkline.ArgumentError{Argument: argument, Problem: pg.Message, Fix: strings.TrimSuffix(pg.Hint, ".")}
		if pg.ColumnName != "" {
			means.Argument = pg.ColumnName
		}
		cause := err
		if pg.Code == stateUndefinedObject {
			cause = errors.Join(trunkline.ErrNotFound, err)
		}
		return &explained{means.Error(), means, cause}
	case statePrivilege:
		if pg.ColumnName != "" { // our functions' own refusal: of what only an admin may
			grant = grantAdmin
		}
		return refused(grant, err)
	case stateUndefinedSchema, stateUndefinedTable, stateUndefinedFunc:
		if strings.Contains(pg.Message, "trunkline") {
			return &explained{
				"the database's schema of Trunkline's is missing, or older than this program: run `trunkline migrate` (" + pg.Message + ")",
				&trunkline.SchemaError{}, err,
			}
		}
	}
	return err
}

// refused is the error of a role that lacks a grant.
func refused(grant string, err error) error {
	var pg *pgconn.PgError
	text := err.Error()
	if errors.As(err, &pg) {
		text = pg.Message
	}
	return &explained{text + "; have Trunkline's owner run: " + grant, &trunkline.PrivilegeError{Grant: grant}, err}
}

// withRole fills the role's name into the grant that a *trunkline.PrivilegeError names.
func (i *Inbox) withRole(ctx context.Context, err error) error {
	var privilege *trunkline.PrivilegeError
	if !errors.As(err, &privilege) {
		return err
	}
	var role string
	if i.pool.QueryRow(ctx, "SELECT pg_catalog.quote_literal(current_user)").Scan(&role) != nil {
		return err
	}
	var e *explained
	if errors.As(err, &e) {
		return refused(strings.ReplaceAll(privilege.Grant, "'ROLE'", role), e.cause)
	}
	return err
}

// collided tells whether a transaction failed because of another one, so that the same may succeed now.
func collided(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == stateSerialization || pg.Code == stateDeadlock)
}

// Limits in bytes.
const (
	maxUser  = 249 // its channel is inbox:<user>
	maxKind  = 64
	maxLabel = 255 // group, cause, dedupe key
	maxLink  = 2048
	maxData  = 64 << 10
)

// checkText finds what the database would refuse in a short text: doing so here leaves the caller's transaction as it is.
func checkText(argument, value string, most int, fix string) error {
	var problem string
	switch {
	case value == "":
		problem = argument + " is empty"
	case !utf8.ValidString(value):
		problem = fmt.Sprintf("%s %q is not UTF-8", argument, clip(value))
	case len(value) > most:
		problem = fmt.Sprintf("%s %q is %d bytes long, more than %d", argument, clip(value), len(value), most)
	case strings.ContainsFunc(value, unicode.IsControl):
		problem = fmt.Sprintf("%s %q contains a control character", argument, clip(value))
	default:
		return nil
	}
	return &trunkline.ArgumentError{Argument: argument, Problem: problem, Fix: fix}
}

// checkUser says why something can't be a user's id, or returns nil.
func checkUser(user string) error {
	return checkText("user_id", user, maxUser, "Give the user's id, 1 to 249 bytes without control characters")
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	for i := range s {
		if i >= most {
			return s[:i] + "…"
		}
	}
	return s
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
