package projects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An access is what somebody is in a project, and what they need to know of it to change something there, as a transaction sees it.
type access struct {
	person       int64
	actor        string // the person's name
	zone         string // the person's time zone; "": none known
	project      int64
	organisation int64
	name         string // the project's
	status       string
	role         Role
}

// A lock is what a transaction keeps others from doing to a project until it ends. Projects are locked before anything in them,
// and several in the order of their ids.
type lock int

const (
	// shared keeps the project's status and who takes part as they are. Any number may hold it.
	shared lock = iota
	// exclusive is for who changes that, or the order of tasks or milestones, which depends on what stands beside.
	exclusive
)

const accessColumns = `projects.role(w.id, p.id), p.id, p.organisation_id, p.name, p.status, w.id, w.name, w.time_zone`

func (a *access) fields(role **Role) []any {
	return []any{role, &a.project, &a.organisation, &a.name, &a.status, &a.person, &a.actor, &a.zone}
}

// enter locks a project and returns what somebody is in it: ErrNotFound if nothing.
func enter(ctx context.Context, tx pgx.Tx, person, project int64, how lock) (*access, error) {
	sql := `SELECT FROM projects.project WHERE id = $1 FOR SHARE`
	if how == exclusive {
		sql = `SELECT FROM projects.project WHERE id = $1 FOR NO KEY UPDATE`
	}
	// What the lock had to wait for shows in a statement of its own only.
	var batch pgx.Batch
	batch.Queue(sql, project)
	batch.Queue(`SELECT `+accessColumns+` FROM projects.project p, projects.person w WHERE p.id = $1 AND w.id = $2`, project, person)
	results := tx.SendBatch(ctx, &batch)
	defer func() { _ = results.Close() }()
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("lock project: %w", err)
	}
	a, err := scanAccess(results.QueryRow())
	if err != nil {
		return nil, err
	}
	return a, results.Close()
}

// look returns what somebody is in a project without locking it, for reading: ErrNotFound if nothing.
func look(ctx context.Context, tx pgx.Tx, person, project int64) (*access, error) {
	return scanAccess(tx.QueryRow(ctx, `SELECT `+accessColumns+` FROM projects.project p, projects.person w WHERE p.id = $1 AND w.id = $2`, project, person))
}

// scanAccess reads a row of accessColumns, and further ones into what is given.
func scanAccess(row pgx.Row, further ...any) (*access, error) {
	a := &access{}
	var role *Role
	err := row.Scan(append(a.fields(&role), further...)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("access: %w", err)
	case role == nil:
		return nil, ErrNotFound
	}
	a.role = *role
	return a, nil
}

// guides refuses whoever is neither staff nor lead.
func (a *access) guides() error {
	if a.role == Lead || a.role == Staff {
		return nil
	}
	return &ForbiddenError{fmt.Sprintf("Only staff can do this in “%s”: ask one of them.", a.name)}
}

// leads refuses whoever isn't lead.
func (a *access) leads() error {
	if a.role == Lead {
		return nil
	}
	return &ForbiddenError{fmt.Sprintf("Only a lead of “%s” can do this: ask one of them.", a.name)}
}

// open refuses changes of what is archived.
func (a *access) open() error {
	if a.status != statusArchived {
		return nil
	}
	return &ForbiddenError{fmt.Sprintf("“%s” is archived, and nothing in it can change: a lead can take it out of the archive first.", a.name)}
}

// active refuses changes of tasks and milestones where the project is archived or finished.
func (a *access) active() error {
	if a.status == statusFinished {
		return &ForbiddenError{fmt.Sprintf("“%s” is finished, and its tasks can't change any more: staff can make it active again first.", a.name)}
	}
	return a.open()
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// moment writes a time as the person reads it: in their zone, or in UTC where none is known.
func (a *access) moment(t time.Time) string {
	zone, err := time.LoadLocation(a.zone)
	if err != nil {
		zone = time.UTC
	}
	return t.In(zone).Format("2 January 2006 at 15:04 MST")
}

// nameOf is somebody's name for a sentence.
func nameOf(ctx context.Context, tx pgx.Tx, person *int64) (string, error) {
	name := "Somebody"
	if person == nil {
		return name, nil
	}
	err := tx.QueryRow(ctx, `SELECT name FROM projects.person WHERE id = $1`, *person).Scan(&name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("a person's name: %w", err)
	}
	return name, nil
}

// stale is the error for a change of what has changed since it was read.
func stale(what string) error {
	return &ConflictError{fmt.Sprintf("“%s” has changed since you opened it: look at it again, and repeat your change if it still applies.", what)}
}

// same tells whether two pointers mean the same.
func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// utc makes times read as REST and pushes write them.
func utc(times ...*time.Time) {
	for _, t := range times {
		if t != nil {
			*t = t.UTC()
		}
	}
}
