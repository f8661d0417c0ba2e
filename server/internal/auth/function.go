package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// query asks a function all at once.
func (a *authorizer) query(l *line, batch []*flight) ([]bool, error) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
	a.queries.Add(1)
	// The database ends it in time; this is for a database that doesn't answer at all.
	ctx, cancel := context.WithTimeout(a.ctx, l.timeout+time.Second)
	defer cancel()
	name, err := a.resolve(ctx, l.function)
	if err != nil {
		return nil, err
	}
	allowed, err := a.call(ctx, name, l.timeout, batch)
	if err != nil {
		a.mu.Lock()
		delete(a.names, l.function)
		a.mu.Unlock()
	}
	return allowed, err
}

func (a *authorizer) call(ctx context.Context, function string, timeout time.Duration, batch []*flight) ([]bool, error) {
	users, channels, actions := make([]string, len(batch)), make([]string, len(batch)), make([]string, len(batch))
	for i, f := range batch {
		users[i], channels[i], actions[i] = f.user, f.channel, string(f.action)
	}
	// Both in one transaction and round trip: the setting ends with it.
	var queries pgx.Batch
	queries.Queue("SELECT pg_catalog.set_config('statement_timeout', $1, true)", strconv.FormatInt(max(1, timeout.Milliseconds()), 10))
	queries.Queue("SELECT q.n, "+function+"(q.u, q.c, q.a) FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), "+
		"pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[])) WITH ORDINALITY AS q(u, c, a, n)",
		users, channels, actions)
	results := a.pool.SendBatch(ctx, &queries)
	defer func() { _ = results.Close() }() // again; what it says counts below
	if _, err := results.Exec(); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	allowed := make([]bool, len(batch))
	var n int64
	var yes *bool
	tag, err := pgx.ForEachRow(rows, []any{&n, &yes}, func() error {
		if n >= 1 && n <= int64(len(batch)) {
			allowed[n-1] = yes != nil && *yes
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() != int64(len(batch)) {
		return nil, fmt.Errorf("function %s gave %d answers to %d questions: it must return one boolean", function, tag.RowsAffected(), len(batch))
	}
	// What the transaction still has to do may fail it: a deferred trigger of what the function wrote.
	return allowed, results.Close()
}

// resolve returns a function's name as the database quotes it, schema included: what stands in the namespace never becomes part
// of a query, and no search_path decides what is called.
func (a *authorizer) resolve(ctx context.Context, function string) (string, error) {
	a.mu.Lock()
	name, ok := a.names[function]
	a.mu.Unlock()
	if ok {
		return name, nil
	}
	err := a.pool.QueryRow(ctx, `
		SELECT pg_catalog.format('%I.%I', n.nspname, p.proname)
		FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
		WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure($1)::pg_catalog.oid
		  AND p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.bool'::pg_catalog.regtype::pg_catalog.oid AND NOT p.proretset`,
		function+"(pg_catalog.text,pg_catalog.text,pg_catalog.text)").Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("there is no function %s(text, text, text) that returns boolean", clip(function))
	}
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	a.names[function] = name
	a.mu.Unlock()
	return name, nil
}

// mayBeOneQuestion tells whether a query may have failed because of one of its questions, rather than of the function's absence or
// the database's.
func mayBeOneQuestion(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return timedOut(err)
	}
	switch pg.Code[:2] {
	case "08", "42", "53", "58", "XX": // connection, a missing function or privilege, resources, system
		return false
	case "57": // of operators' interventions only the timeout
		return timedOut(err)
	}
	return true
}

func timedOut(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "57014"
	}
	return errors.Is(err, context.DeadlineExceeded)
}
