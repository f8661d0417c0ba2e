package projects

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

// A TaskDraft is a task that is to be.
type TaskDraft struct {
	Title       string  `json:"title" doc:"1 to 200 characters."`
	Description string  `json:"description,omitempty" doc:"Up to 10,000 characters."`
	MilestoneID *int64  `json:"milestone_id" required:"false" doc:"Null: in none."`
	AssigneeID  *int64  `json:"assignee_id" required:"false" doc:"A member. Null: nobody."`
	DueOn       *Date   `json:"due_on" required:"false"`
	After       *int64  `json:"after" required:"false" doc:"The task it stands behind; 0: before all. Null: behind all."`
	Key         *string `json:"key,omitempty" doc:"The maker's own name for it, 1 to 64 bytes, such as a UUID. Who sends the same key again gets what was made with it, and nothing more is made."`
}

// A TaskChange is what is to be different about a task.
type TaskChange struct {
	Title       Optional[string] `json:"title,omitzero" required:"false"`
	Description Optional[string] `json:"description,omitzero" required:"false"`
	MilestoneID Optional[*int64] `json:"milestone_id,omitzero" required:"false" doc:"Null: in none. Without after it goes behind all there."`
	AssigneeID  Optional[*int64] `json:"assignee_id,omitzero" required:"false" doc:"A member. Null: nobody."`
	DueOn       Optional[*Date]  `json:"due_on,omitzero" required:"false" doc:"Null: none."`
	After       Optional[int64]  `json:"after,omitzero" required:"false" doc:"The task it is to stand behind; 0: before all."`
	ProjectID   Optional[int64]  `json:"project_id,omitzero" required:"false" doc:"Moves it to another project, where one has to be staff as well."`
	Version     Optional[int64]  `json:"version,omitzero" required:"false" doc:"The one that was seen: if it is no longer that, nothing changes."`
}

const taskColumns = `t.id, t.project_id, t.milestone_id, t.title, t.description, t.rank, t.assignee_id, to_char(t.due_on, 'YYYY-MM-DD'),
	t.completed_at, t.completed_by, t.reopened_at, t.reopened_by,
	(SELECT c.id FROM projects.conversation c WHERE c.task_id = t.id AND c.project_id = t.project_id), t.created_at, t.version`

func (t *Task) fields() []any {
	return []any{
		&t.ID, &t.ProjectID, &t.MilestoneID, &t.Title, &t.Description, &t.Rank, &t.AssigneeID, &t.DueOn,
		&t.CompletedAt, &t.CompletedBy, &t.ReopenedAt, &t.ReopenedBy, &t.ConversationID, &t.CreatedAt, &t.Version,
	}
}

func scanTask(row pgx.Row) (*Task, error) {
	t := &Task{}
	if err := row.Scan(t.fields()...); err != nil {
		return nil, err
	}
	utc(&t.CreatedAt, t.CompletedAt, t.ReopenedAt)
	return t, nil
}

// enterTask locks the project of a task, and another one (0: none) that it is to go to, and then the task. It returns what somebody
// is in the task's project. ErrNotFound if nothing, or if there is no such task.
func enterTask(ctx context.Context, tx pgx.Tx, person, task, other int64, how lock) (*access, *Task, error) {
	lockSQL := `SELECT id FROM projects.project WHERE id = ANY (ARRAY[(SELECT project_id FROM projects.task WHERE id = $1), $2::bigint])
		ORDER BY id FOR SHARE`
	if how == exclusive {
		lockSQL = `SELECT id FROM projects.project WHERE id = ANY (ARRAY[(SELECT project_id FROM projects.task WHERE id = $1), $2::bigint])
			ORDER BY id FOR NO KEY UPDATE`
	}
	var batch pgx.Batch
	batch.Queue(lockSQL, task, other)
	batch.Queue(`SELECT `+accessColumns+`, `+taskColumns+`
		FROM projects.task t JOIN projects.project p ON p.id = t.project_id, projects.person w
		WHERE t.id = $1 AND w.id = $2 FOR NO KEY UPDATE OF t`, task, person)
	return readTask(tx.SendBatch(ctx, &batch))
}

// errMoved says that a task was moved while its project was being locked. To lock the other one now would be in the wrong order, so
// the transaction begins anew.
var errMoved = &ConflictError{"The task is being moved from project to project: try again in a moment."}

// readTask reads what enterTask asks.
func readTask(results pgx.BatchResults) (a *access, t *Task, err error) {
	defer func() { err = errors.Join(err, results.Close()) }()
	rows, err := results.Query()
	if err != nil {
		return nil, nil, fmt.Errorf("lock project: %w", err)
	}
	locked, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, nil, fmt.Errorf("lock project: %w", err)
	}
	t = &Task{}
	a, err = scanAccess(results.QueryRow(), t.fields()...)
	if err != nil {
		return nil, nil, err
	}
	utc(&t.CreatedAt, t.CompletedAt, t.ReopenedAt)
	if !slices.Contains(locked, t.ProjectID) {
		return nil, nil, errMoved
	}
	return a, t, nil
}

// CreateTask adds a task to a project. Staff may. If the person has made one with the same key, that is returned, made is false, and
// nobody is notified again.
func (s *Store) CreateTask(ctx context.Context, person, project int64, draft TaskDraft) (task Task, made bool, err error) {
	title, err1 := line("title", "the title", draft.Title, mostTitle)
	description, err2 := text("description", "the description", draft.Description, mostDescription)
	if err := first(err1, err2, checkDate("due_on", draft.DueOn), checkOptionalKey(keyedTask.what, draft.Key)); err != nil {
		return task, false, err
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		before, err := keyedTask.made(ctx, tx, person, project, draft.Key)
		if err != nil {
			return err
		}
		if made = before == 0; !made {
			task, err = readTaskAt(ctx, tx, before)
			return err
		}
		if err := first(a.guides(), a.active()); err != nil {
			return err
		}
		if err := s.roomForTask(ctx, tx, a); err != nil {
			return err
		}
		if err := checkMilestone(ctx, tx, a, draft.MilestoneID); err != nil {
			return err
		}
		if err := checkAssignee(ctx, tx, a, draft.AssigneeID); err != nil {
			return err
		}
		rank, err := taskOrder.place(ctx, tx, project, draft.MilestoneID, 0, draft.After)
		if err != nil {
			return err
		}
		t, err := scanTask(tx.QueryRow(ctx, `INSERT INTO projects.task AS t
				(project_id, milestone_id, title, description, rank, assignee_id, due_on, created_by, client_key)
			VALUES ($1, $2, $3, $4, $5, $6, $7::text::date, $8, $9) RETURNING `+taskColumns,
			project, draft.MilestoneID, title, description, rank, draft.AssigneeID, draft.DueOn, person, draft.Key))
		if err != nil {
			return fmt.Errorf("create task: %w", err)
		}
		task = *t
		if err := audit(ctx, tx, person, project, "task.created", topic("task", t.ID), map[string]any{"title": t.Title}); err != nil {
			return err
		}
		return s.tellAssigned(ctx, tx, a, t)
	})
	return task, made && err == nil, err
}

// readTaskAt reads a task as it is by now.
func readTaskAt(ctx context.Context, tx pgx.Tx, id int64) (Task, error) {
	t, err := scanTask(tx.QueryRow(ctx, `SELECT `+taskColumns+` FROM projects.task t WHERE id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return Task{}, ErrNotFound
	}
	if err != nil {
		return Task{}, fmt.Errorf("task: %w", err)
	}
	return *t, nil
}

// roomForTask refuses another task where there are enough. The counter is exact: the project is locked.
func (s *Store) roomForTask(ctx context.Context, tx pgx.Tx, a *access) error {
	var total int
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT total FROM projects.progress WHERE project_id = $1), 0)`, a.project).Scan(&total)
	if err != nil {
		return fmt.Errorf("count tasks: %w", err)
	}
	if total >= s.limits.Tasks {
		return &LimitError{Sentence: fmt.Sprintf("“%s” has %s tasks, which is the most: delete some that aren't needed.", a.name, thousands(total))}
	}
	return nil
}

// checkMilestone refuses a milestone that isn't one of the project's, and keeps it there.
func checkMilestone(ctx context.Context, tx pgx.Tx, a *access, milestone *int64) error {
	if milestone == nil {
		return nil
	}
	tag, err := tx.Exec(ctx, `SELECT FROM projects.milestone WHERE id = $1 AND project_id = $2 FOR KEY SHARE`, *milestone, a.project)
	if err != nil {
		return fmt.Errorf("milestone: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return &InvalidError{Field: "milestone_id", Problem: fmt.Sprintf("“%s” has no milestone %d: it may have been deleted. Choose another one.", a.name, *milestone)}
	}
	return nil
}

// checkAssignee refuses somebody who isn't a member. That they stay one is what the lock on the project is for.
func checkAssignee(ctx context.Context, tx pgx.Tx, a *access, assignee *int64) error {
	if assignee == nil {
		return nil
	}
	member, err := isMember(ctx, tx, a.project, *assignee)
	if err == nil && !member {
		err = &InvalidError{Field: "assignee_id", Problem: fmt.Sprintf("Person %d doesn't take part in “%s”: choose one of its members.", *assignee, a.name)}
	}
	return err
}

func isMember(ctx context.Context, tx pgx.Tx, project, person int64) (member bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM projects.membership m JOIN projects.person w ON w.id = m.person_id
		WHERE m.project_id = $1 AND m.person_id = $2 AND w.deactivated_at IS NULL)`, project, person).Scan(&member)
	if err != nil {
		return false, fmt.Errorf("member: %w", err)
	}
	return member, nil
}

// tellAssigned notifies whoever an outstanding task is assigned to, unless they did it themselves.
func (s *Store) tellAssigned(ctx context.Context, tx pgx.Tx, a *access, t *Task) error {
	if t.AssigneeID == nil || *t.AssigneeID == a.person || t.CompletedAt != nil {
		return nil
	}
	_, err := s.notify(ctx, tx, taskNotice(KindAssigned, a, t, []int64{*t.AssigneeID}))
	return err
}

// DeleteTask removes a task, and what was notified because of it. Its conversation stays. Staff may.
func (s *Store) DeleteTask(ctx context.Context, person, task int64) error {
	return s.write(ctx, func(tx pgx.Tx) error {
		a, t, err := enterTask(ctx, tx, person, task, 0, shared)
		if err != nil {
			return err
		}
		if err := first(a.guides(), a.active()); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM projects.task WHERE id = $1`, task); err != nil {
			return fmt.Errorf("delete task: %w", err)
		}
		if err := retract(ctx, tx, inbox.Retraction{Cause: topic("task", task)}); err != nil {
			return err
		}
		return audit(ctx, tx, person, a.project, "task.deleted", topic("task", task), map[string]any{"title": t.Title})
	})
}
