package digest

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
)

// grantDigest is the grant that a *[trunkline.PrivilegeError] of this package names.
const grantDigest = "SELECT trunkline.grant_digest('ROLE')"

// An explained error is what PostgreSQL said, as the error that tells the operator what to do. errors.As finds both.
type explained struct {
	text  string
	means error
	cause error
}

func (e *explained) Error() string   { return e.text }
func (e *explained) Unwrap() []error { return []error{e.means, e.cause} }

// explain says what an error of the worker's own SQL means.
func explain(ctx context.Context, pool *pgxpool.Pool, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "42501":
		grant := grantDigest
		var role string
		if pool.QueryRow(ctx, "SELECT pg_catalog.quote_literal(current_user)").Scan(&role) == nil {
			grant = strings.ReplaceAll(grant, "'ROLE'", role)
		}
		return &explained{pg.Message + "; have Trunkline's owner run: " + grant, &trunkline.PrivilegeError{Grant: grant}, err}
	case "3F000", "42P01", "42883", "42703":
		if strings.Contains(pg.Message, "trunkline") {
			return &explained{
				"the database's schema of Trunkline's is missing, or older than this program: run `trunkline migrate` (" + pg.Message + ")",
				&trunkline.SchemaError{}, err,
			}
		}
	}
	return err
}

// reason is what an error says, without the prefixes of the layers it came through.
func reason(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	return err.Error()
}

// clip shortens untrusted text to so many bytes, by whole characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := 0
	for i := range s {
		if i > most-len("…") {
			break
		}
		cut = i
	}
	return s[:cut] + "…"
}
