package trunkline

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// WatchOptions describe a rule that publishes a table's changes.
type WatchOptions struct {
	// Table as SQL writes it: message, "Mixed Case", other_schema.orders.
	Table string
	// Channel is a template: {column} stands for the row's value, {{ and }} for braces. Such as project:{project_id}.
	Channel string
	// Ops are insert, update, delete and truncate. Default: the first three.
	Ops []string
	// Columns to carry. Default: all.
	Columns []string
	// Where is a boolean SQL expression over the row; only rows for which it is true are published. It runs with the rights
	// of the table's owner.
	Where string
	// Payload is row (the row as to_json gives it, the default) or change ({op, table, new, old}).
	Payload string
	// TruncateChannel gets one message when the table is truncated. Without it TRUNCATE is not watched.
	TruncateChannel string
	// Notify repeats the payload with NOTIFY on the raw channel of the same name, for direct listeners.
	Notify bool
}

// A Watch is a rule as the database has it.
type Watch struct {
	ID              int      `json:"id"`
	Table           string   `json:"table"`
	Channel         string   `json:"channel"`
	Ops             []string `json:"ops"`
	Columns         []string `json:"columns,omitempty"`
	Where           string   `json:"where,omitempty"`
	Payload         string   `json:"payload"`
	TruncateChannel string   `json:"truncate_channel,omitempty"`
	Notify          bool     `json:"notify"`
	CreatedBy       string   `json:"created_by"`
	Skipped         int64    `json:"skipped"`  // rows whose template was NULL
	Rejected        int64    `json:"rejected"` // rows that could not be published, and were reported instead
	Remarks         []string `json:"remarks,omitempty"`
}

// AddWatch installs a watch, inside the caller's transaction if db is one, and returns its id. The caller's role must own
// the table. What can't be watched is an *[ArgumentError].
func AddWatch(ctx context.Context, db Tx, w WatchOptions) (int, error) {
	ops := w.Ops
	if len(ops) == 0 {
		ops = []string{"insert", "update", "delete"}
	}
	var id int
	err := db.QueryRow(ctx, `SELECT trunkline.watch($1::text::regclass, $2, op => $3, columns => $4, predicate => $5, payload => $6,
		truncate_channel => $7, notify => $8)`,
		w.Table, w.Channel, ops, w.Columns, orNull(w.Where), defaultTo(w.Payload, "row"), orNull(w.TruncateChannel), w.Notify).Scan(&id)
	if err != nil {
		return 0, watchError(w.Table, err)
	}
	return id, nil
}

// RemoveWatch removes the watch of a table with this channel template.
func RemoveWatch(ctx context.Context, db Tx, table, channel string) error {
	_, err := db.Exec(ctx, "SELECT trunkline.unwatch($1::text::regclass, $2)", table, channel)
	return watchError(table, err)
}

// Watches lists the watches of the database.
func Watches(ctx context.Context, db Tx) ([]Watch, error) {
	rows, err := db.Query(ctx, `SELECT id, "table"::text, channel, op, columns, coalesce(predicate, ''), payload, coalesce(truncate_channel, ''), notify, created_by, skipped, rejected, remarks
		FROM trunkline.watches ORDER BY id`)
	if err != nil {
		return nil, explain(err)
	}
	watches, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Watch])
	return watches, explain(err)
}

// watchError says what a *pgconn.PgError of watch or unwatch means: they raise for arguments only, with a hint.
func watchError(table string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	if pg.Code == stateUndefinedFunc || pg.Code == stateUndefinedSchema {
		return explain(err)
	}
	if pg.Code == statePrivilege && pg.Hint == "" {
		// PostgreSQL's own refusal, on the way to the function.
		return &PrivilegeError{Grant: "SELECT trunkline.grant_publish('ROLE')", err: err}
	}
	if pg.Code == stateUndefinedTable {
		return &ArgumentError{
			Argument: "table", Problem: fmt.Sprintf("there is no table %s: %s", clip(table), pg.Message),
			Fix: `Write it as in SQL, with its schema where that isn't in the search path: shop.orders, "Mixed Case"`, err: err,
		}
	}
	return &ArgumentError{Argument: "watch", Problem: pg.Message, Fix: pg.Hint, err: err}
}
