package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

// CompleteTask completes a task. Any member may. Who has completed it already changes nothing by doing so again; that somebody
// else has is a *ConflictError which says who and when. The members of the other side and the assignee are notified.
func (s *Store) CompleteTask(ctx context.Context, person, task int64) (Task, error) {
	var result Task
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, old, err := enterTask(ctx, tx, person, task, 0, shared)
		if err != nil {
			return err
		}
		if err := a.active(); err != nil {
			return err
		}
		if result = *old; old.CompletedAt != nil {
			return alreadyCompleted(ctx, tx, a, old)
		}
		t, err := s.turn(ctx, tx, a, old, "task.completed", `UPDATE projects.task t SET completed_at = now(), completed_by = $2 WHERE id = $1 RETURNING `+taskColumns)
		if err != nil {
			return err
		}
		result = *t
		return nil
	})
	return result, err
}

// ReopenTask takes back that a task is complete. Any member may. Who has reopened it already changes nothing by doing so again.
// Whoever completed it and the assignee are notified; that it was completed is taken back.
func (s *Store) ReopenTask(ctx context.Context, person, task int64) (Task, error) {
	var result Task
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, old, err := enterTask(ctx, tx, person, task, 0, shared)
		if err != nil {
			return err
		}
		if err := a.active(); err != nil {
			return err
		}
		if result = *old; old.CompletedAt == nil {
			return alreadyOpen(ctx, tx, a, old)
		}
		t, err := s.turn(ctx, tx, a, old, "task.reopened", `UPDATE projects.task t SET completed_at = NULL, completed_by = NULL, reopened_at = now(), reopened_by = $2
			WHERE id = $1 RETURNING `+taskColumns)
		if err != nil {
			return err
		}
		result = *t
		return nil
	})
	return result, err
}

func alreadyCompleted(ctx context.Context, tx pgx.Tx, a *access, t *Task) error {
	if t.CompletedBy != nil && *t.CompletedBy == a.person {
		return nil
	}
	who, err := nameOf(ctx, tx, t.CompletedBy)
	if err != nil {
		return err
	}
	return &ConflictError{fmt.Sprintf("%s completed “%s” already, on %s.", who, t.Title, a.moment(*t.CompletedAt))}
}

func alreadyOpen(ctx context.Context, tx pgx.Tx, a *access, t *Task) error {
	switch {
	case t.ReopenedAt == nil:
		return &ConflictError{fmt.Sprintf("“%s” isn't complete, so there is nothing to reopen.", t.Title)}
	case t.ReopenedBy != nil && *t.ReopenedBy == a.person:
		return nil
	}
	who, err := nameOf(ctx, tx, t.ReopenedBy)
	if err != nil {
		return err
	}
	return &ConflictError{fmt.Sprintf("%s reopened “%s” already, on %s.", who, t.Title, a.moment(*t.ReopenedAt))}
}

// Who hears that a task ($2: who it is assigned to) of a project ($1) was completed by somebody ($3): those of the other side, which
// are the customers or ($4) those who aren't, and the assignee.
const hearCompleted = `SELECT m.person_id FROM projects.membership m JOIN projects.person w ON w.id = m.person_id
	WHERE m.project_id = $1 AND m.person_id <> $3 AND w.deactivated_at IS NULL
		AND ((m.role = 'customer') <> $4 OR m.person_id = $2) ORDER BY 1`

// Who hears that a task ($2: who it is assigned to) of a project ($1) was reopened by somebody ($3): who completed it ($4), and the
// assignee, if they may still see it.
const hearReopened = `SELECT w.id FROM projects.person w
	WHERE w.id IN ($2::bigint, $4::bigint) AND w.id <> $3 AND projects.role(w.id, $1) IS NOT NULL ORDER BY 1`

// turn completes or reopens a task by a statement ($1: task, $2: who), notifies, and takes the opposite notification back.
func (s *Store) turn(ctx context.Context, tx pgx.Tx, a *access, old *Task, action, update string) (t *Task, err error) {
	kind, opposite := KindCompleted, KindReopened
	var batch pgx.Batch
	batch.Queue(update, old.ID, a.person)
	batch.Queue(auditSQL, a.person, a.project, action, topic("task", old.ID), map[string]any{"title": old.Title})
	if old.CompletedAt == nil {
		batch.Queue(hearCompleted, a.project, old.AssigneeID, a.person, a.role == Customer)
	} else {
		kind, opposite = KindReopened, KindCompleted
		batch.Queue(hearReopened, a.project, old.AssigneeID, a.person, old.CompletedBy)
	}
	t, to, err := readTurn(tx.SendBatch(ctx, &batch))
	if err != nil {
		return nil, err
	}
	if old.ReopenedAt != nil || old.CompletedAt != nil {
		if err := retract(ctx, tx, inbox.Retraction{Cause: topic("task", t.ID), Kind: opposite}); err != nil {
			return nil, err
		}
	}
	_, err = s.notify(ctx, tx, taskNotice(kind, a, t, to))
	return t, err
}

func readTurn(results pgx.BatchResults) (t *Task, to []int64, err error) {
	defer func() { err = errors.Join(err, results.Close()) }()
	if t, err = scanTask(results.QueryRow()); err != nil {
		return nil, nil, fmt.Errorf("turn task: %w", err)
	}
	if _, err := results.Exec(); err != nil {
		return nil, nil, fmt.Errorf("audit trail: %w", err)
	}
	rows, err := results.Query()
	if err != nil {
		return nil, nil, fmt.Errorf("who is to be notified: %w", err)
	}
	if to, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
		return nil, nil, fmt.Errorf("who is to be notified: %w", err)
	}
	return t, to, nil
}
