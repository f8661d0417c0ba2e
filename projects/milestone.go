package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// mostMilestones is how many a project may have.
const mostMilestones = 200

// A MilestoneDraft is a milestone that is to be.
type MilestoneDraft struct {
	Name  string  `json:"name" doc:"1 to 120 characters."`
	DueOn *Date   `json:"due_on" required:"false"`
	After *int64  `json:"after" required:"false" doc:"The milestone it stands behind; 0: before all. Null: behind all."`
	Key   *string `json:"key,omitempty" doc:"The maker's own name for it, 1 to 64 bytes, such as a UUID. Who sends the same key again gets what was made with it, and nothing more is made."`
}

// A MilestoneChange is what is to be different about a milestone.
type MilestoneChange struct {
	Name    Optional[string] `json:"name,omitzero" required:"false"`
	DueOn   Optional[*Date]  `json:"due_on,omitzero" required:"false" doc:"Null: none."`
	After   Optional[int64]  `json:"after,omitzero" required:"false" doc:"The milestone it is to stand behind; 0: before all."`
	Version Optional[int64]  `json:"version,omitzero" required:"false" doc:"The one that was seen: if it is no longer that, nothing changes."`
}

const milestoneColumns = `m.id, m.project_id, m.name, to_char(m.due_on, 'YYYY-MM-DD'), m.rank, m.version`

func (m *Milestone) fields() []any {
	return []any{&m.ID, &m.ProjectID, &m.Name, &m.DueOn, &m.Rank, &m.Version}
}

// enterMilestone locks the project of a milestone, and returns both. ErrNotFound if somebody is nothing there.
func enterMilestone(ctx context.Context, tx pgx.Tx, person, milestone int64) (*access, *Milestone, error) {
	var project int64
	err := tx.QueryRow(ctx, `SELECT project_id FROM projects.milestone WHERE id = $1`, milestone).Scan(&project)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("milestone: %w", err)
	}
	a, err := enter(ctx, tx, person, project, exclusive)
	if err != nil {
		return nil, nil, err
	}
	m := &Milestone{}
	err = tx.QueryRow(ctx, `SELECT `+milestoneColumns+` FROM projects.milestone m WHERE id = $1 AND project_id = $2 FOR UPDATE`, milestone, project).Scan(m.fields()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("milestone: %w", err)
	}
	return a, m, nil
}

// CreateMilestone adds a milestone to a project. Staff may. If the person has made one with the same key, that is returned, and made
// is false.
func (s *Store) CreateMilestone(ctx context.Context, person, project int64, draft MilestoneDraft) (m Milestone, made bool, err error) {
	name, err := line("name", "the name", draft.Name, mostName)
	if err := first(err, checkDate("due_on", draft.DueOn), checkOptionalKey(keyedMilestone.what, draft.Key)); err != nil {
		return m, false, err
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		before, err := keyedMilestone.made(ctx, tx, person, project, draft.Key)
		if err != nil {
			return err
		}
		if made = before == 0; !made {
			return tx.QueryRow(ctx, `SELECT `+milestoneColumns+` FROM projects.milestone m WHERE id = $1`, before).Scan(m.fields()...)
		}
		if err := first(a.guides(), a.active()); err != nil {
			return err
		}
		var count int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM projects.milestone WHERE project_id = $1`, project).Scan(&count); err != nil {
			return fmt.Errorf("count milestones: %w", err)
		}
		if count >= mostMilestones {
			return &LimitError{Sentence: fmt.Sprintf("“%s” has %d milestones, which is the most: delete some that aren't needed.", a.name, count)}
		}
		rank, err := milestoneOrder.place(ctx, tx, project, nil, 0, draft.After)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `INSERT INTO projects.milestone AS m (project_id, name, due_on, rank, created_by, client_key)
			VALUES ($1, $2, $3::text::date, $4, $5, $6) RETURNING `+milestoneColumns,
			project, name, draft.DueOn, rank, person, draft.Key).Scan(m.fields()...)
		if err != nil {
			return fmt.Errorf("create milestone: %w", err)
		}
		return audit(ctx, tx, person, project, "milestone.created", topic("milestone", m.ID), map[string]any{"name": m.Name})
	})
	return m, made && err == nil, err
}

// EditMilestone changes a milestone's name, date or place. Staff may.
func (s *Store) EditMilestone(ctx context.Context, person, milestone int64, change MilestoneChange) (Milestone, error) {
	var result Milestone
	if err := change.check(milestone); err != nil {
		return result, err
	}
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, old, err := enterMilestone(ctx, tx, person, milestone)
		if err != nil {
			return err
		}
		if err := first(a.guides(), a.active()); err != nil {
			return err
		}
		if change.Version.Set && change.Version.Value != old.Version {
			return stale(old.Name)
		}
		now := *old
		if change.Name.Set {
			now.Name = change.Name.Value
		}
		if change.DueOn.Set {
			now.DueOn = change.DueOn.Value
		}
		if change.After.Set {
			now.Rank, err = milestoneOrder.place(ctx, tx, now.ProjectID, nil, milestone, &change.After.Value)
			if err != nil {
				return err
			}
		}
		c := changes{}
		c.note("name", old.Name != now.Name, old.Name, now.Name)
		c.note("due_on", !same(old.DueOn, now.DueOn), old.DueOn, now.DueOn)
		c.note("rank", old.Rank != now.Rank, nil, nil)
		if result = *old; len(c) == 0 {
			return nil
		}
		err = tx.QueryRow(ctx, `UPDATE projects.milestone m SET name = $2, due_on = $3::text::date, rank = $4 WHERE id = $1
			RETURNING `+milestoneColumns, milestone, now.Name, now.DueOn, now.Rank).Scan(result.fields()...)
		if err != nil {
			return fmt.Errorf("edit milestone: %w", err)
		}
		return audit(ctx, tx, person, a.project, "milestone.edited", topic("milestone", milestone), map[string]any{"name": now.Name, "changed": c})
	})
	return result, err
}

func (c *MilestoneChange) check(milestone int64) (err error) {
	if c.Name.Set {
		if c.Name.Value, err = line("name", "the name", c.Name.Value, mostName); err != nil {
			return err
		}
	}
	if c.After.Set && c.After.Value == milestone {
		return &InvalidError{Field: "after", Problem: "A milestone can't stand behind itself: choose another one, or 0 to put it first."}
	}
	return checkDate("due_on", c.DueOn.Value)
}

// DeleteMilestone removes a milestone. Its tasks stay, in the same order behind those that are in none. Staff may.
func (s *Store) DeleteMilestone(ctx context.Context, person, milestone int64) error {
	return s.write(ctx, func(tx pgx.Tx) error {
		a, m, err := enterMilestone(ctx, tx, person, milestone)
		if err != nil {
			return err
		}
		if err := first(a.guides(), a.active()); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE projects.task t SET milestone_id = NULL, rank = n.rank FROM (
				SELECT id, $3::float8 * row_number() OVER (ORDER BY rank, id) + coalesce((
					SELECT max(rank) FROM projects.task WHERE project_id = $1 AND milestone_id IS NULL), 0) AS rank
				FROM projects.task WHERE project_id = $1 AND milestone_id = $2
			) n WHERE t.id = n.id`, a.project, milestone, float64(rankStep))
		if err != nil {
			return fmt.Errorf("delete milestone: %w", err)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM projects.milestone WHERE id = $1`, milestone); err != nil {
			return fmt.Errorf("delete milestone: %w", err)
		}
		return audit(ctx, tx, person, a.project, "milestone.deleted", topic("milestone", milestone), map[string]any{"name": m.Name, "tasks": tag.RowsAffected()})
	})
}
