package trunkline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// grantAdmin is what a role lacks that may not change namespaces, revoke, or make keys.
const grantAdmin = "SELECT trunkline.grant_admin('ROLE')"

// Microseconds as numbers: how an interval of months or days counts is then the database's business alone.
const selectNamespaces = `SELECT name, coalesce(authorize, ''), (extract(epoch FROM authorize_cache) * 1000000)::bigint,
	(extract(epoch FROM authorize_timeout) * 1000000)::bigint, anonymous, coalesce((extract(epoch FROM retention) * 1000000)::bigint, 0),
	publish, presence, join_leave, coalesce((extract(epoch FROM conflate) * 1000000)::bigint, 0), coalesce(ring, 0), coalesce(publish_rate, 0)
	FROM trunkline.namespace `

// ReadNamespaces returns the settings of all namespaces that have a row, ordered by name; Trunkline's own is one of them.
// Errors: *[PrivilegeError] if the role may not read them, *[SchemaError] if the database has no schema.
func ReadNamespaces(ctx context.Context, db Tx) ([]Namespace, error) {
	namespaces, err := queryNamespaces(ctx, db, "ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("read namespaces: %w", needsRead(explain(err)))
	}
	return namespaces, nil
}

// ReadNamespace returns the settings of one namespace, and whether it has a row. Errors are those of [ReadNamespaces].
func ReadNamespace(ctx context.Context, db Tx, name string) (Namespace, bool, error) {
	if err := checkNamespaceName(name); err != nil {
		return Namespace{}, false, err
	}
	found, err := queryNamespaces(ctx, db, "WHERE name = $1", name)
	if err != nil {
		return Namespace{}, false, fmt.Errorf("read namespace %q: %w", clip(name), needsRead(explain(err)))
	}
	if len(found) == 0 {
		return Namespace{Name: name}, false, nil
	}
	return found[0], true, nil
}

func queryNamespaces(ctx context.Context, db Tx, which string, args ...any) ([]Namespace, error) {
	rows, err := db.Query(ctx, selectNamespaces+which, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Namespace, error) {
		var n Namespace
		var cache, timeout, retention, conflate int64
		err := row.Scan(&n.Name, &n.Authorize, &cache, &timeout, &n.Anonymous, &retention, &n.Publish, &n.Presence, &n.JoinLeave, &conflate,
			&n.Ring, &n.PublishRate)
		n.AuthorizeCache, n.AuthorizeTimeout = time.Duration(cache)*time.Microsecond, time.Duration(timeout)*time.Microsecond
		n.Retention, n.Conflate = time.Duration(retention)*time.Microsecond, time.Duration(conflate)*time.Microsecond
		return n, err
	})
}

// SetNamespace gives a namespace these settings, all of them, whether it has a row or not. An AuthorizeTimeout of 0 is the
// default, 1 s. Inside a transaction it takes effect, on every node, when that commits. Durations count in microseconds.
//
// Errors: *[ArgumentError] for what can't be, with the setting's name as its Argument; *[PrivilegeError] if the role may not
// change namespaces; *[SchemaError]. After an error that came from the database a transaction can only be rolled back.
func SetNamespace(ctx context.Context, db Tx, n Namespace) error {
	if err := checkNamespaceName(n.Name); err != nil {
		return err
	}
	if !utf8.ValidString(n.Authorize) || strings.ContainsRune(n.Authorize, 0) {
		return &ArgumentError{
			Argument: "authorize", Problem: fmt.Sprintf("authorize of namespace %q can't be the function %q", clip(n.Name), clip(n.Authorize)),
			Fix: "Write it as SQL does, such as app.may",
		}
	}
	if n.Ring < 0 || n.Ring > 100_000 { // beyond what an integer of SQL's can say, maybe
		return &ArgumentError{
			Argument: "ring", Problem: fmt.Sprintf("ring of namespace %q cannot be %d", clip(n.Name), n.Ring),
			Fix: "Choose between 1 and 100000 messages, or 0 for the node's own size",
		}
	}
	const sql = `INSERT INTO trunkline.namespace AS n (name, authorize, authorize_cache, authorize_timeout, anonymous, retention, publish, presence,
			join_leave, conflate, ring, publish_rate)
		VALUES ($1, $2, $3::bigint * interval '1 us', $4::bigint * interval '1 us', $5, $6::bigint * interval '1 us', $7, $8, $9,
			$10::bigint * interval '1 us', $11, $12)
		ON CONFLICT (name) DO UPDATE SET (authorize, authorize_cache, authorize_timeout, anonymous, retention, publish, presence, join_leave,
			conflate, ring, publish_rate) = (excluded.authorize, excluded.authorize_cache, excluded.authorize_timeout, excluded.anonymous,
			excluded.retention, excluded.publish, excluded.presence, excluded.join_leave, excluded.conflate, excluded.ring, excluded.publish_rate)`
	_, err := db.Exec(ctx, sql, n.Name, orNull(n.Authorize), n.AuthorizeCache.Microseconds(),
		defaultTo(n.AuthorizeTimeout, defaultAuthorizeTimeout).Microseconds(), n.Anonymous, microsecondsOrNull(n.Retention), n.Publish,
		n.Presence, n.JoinLeave, microsecondsOrNull(n.Conflate), unlessZero(int64(n.Ring)), unlessZero(n.PublishRate))
	return accessError("namespace", err)
}

// EditNamespace changes some settings of a namespace: it reads them (those of [NewNamespace] if there is no row), has change
// alter them, and stores and returns the result. Inside a transaction nobody else's change comes in between. The name can't be
// changed. Errors are those of [SetNamespace], or change's own.
func EditNamespace(ctx context.Context, tx Tx, name string, change func(*Namespace) error) (Namespace, error) {
	if err := checkNamespaceName(name); err != nil {
		return Namespace{}, err
	}
	found, err := queryNamespaces(ctx, tx, "WHERE name = $1 FOR UPDATE", name)
	if err != nil {
		return Namespace{}, accessError("namespace", err)
	}
	n := NewNamespace(name)
	if len(found) > 0 {
		n = found[0]
	}
	if err := change(&n); err != nil {
		return Namespace{}, err
	}
	n.Name = name
	if err := SetNamespace(ctx, tx, n); err != nil {
		return Namespace{}, err
	}
	// As it is stored: the function with its schema.
	stored, _, err := ReadNamespace(ctx, tx, name)
	return stored, err
}

// DeleteNamespace removes a namespace's row: its channels then have no settings, so that messages are kept for ever, and
// clients may do only what their tokens say. Errors: *[ArgumentError] if there is no such row; those of [SetNamespace].
func DeleteNamespace(ctx context.Context, db Tx, name string) error {
	if err := checkNamespaceName(name); err != nil {
		return err
	}
	tag, err := db.Exec(ctx, "DELETE FROM trunkline.namespace WHERE name = $1", name)
	if err != nil {
		return accessError("namespace", err)
	}
	if tag.RowsAffected() == 0 {
		return &ArgumentError{
			Argument: "name", Problem: fmt.Sprintf("there is no namespace %q", clip(name)), Fix: "trunkline namespace list shows all that have settings",
			err: ErrNotFound,
		}
	}
	return nil
}

// checkNamespaceName finds what PostgreSQL can't be asked with; the rest is the table's to refuse.
func checkNamespaceName(name string) error {
	if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return &ArgumentError{
			Argument: "name", Problem: fmt.Sprintf("the name of namespace %q is not UTF-8 or contains a NUL", clip(name)),
			Fix: `It is what stands before the first ":" of its channels, such as project`,
		}
	}
	return nil
}

// accessError says what an error means of a statement that administers: namespaces, keys, users.
func accessError(argument string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case stateInvalidParameter, stateDuplicateObject, stateUndefinedObject:
		e := &ArgumentError{Argument: defaultTo(pg.ColumnName, argument), Problem: pg.Message, Fix: strings.TrimSuffix(pg.Hint, "."), err: err}
		if pg.Code == stateUndefinedObject {
			e.err = errors.Join(ErrNotFound, err)
		}
		return e
	case stateIntervalOverflow, stateNumericOverflow, stateBadText:
		return &ArgumentError{Argument: argument, Problem: pg.Message, Fix: "Give a smaller or a plainer value", err: err}
	case statePrivilege:
		return &PrivilegeError{Grant: grantAdmin, err: err}
	}
	return explain(err)
}

func microsecondsOrNull(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	n := d.Microseconds()
	return &n
}

// unlessZero is the value, or NULL for none.
func unlessZero[T int | int64 | float64](value T) *T {
	if value == 0 {
		return nil
	}
	return &value
}
