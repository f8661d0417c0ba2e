package projects

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

// EditTask changes what is said of a task, its place, whom it is assigned to, or its project. Staff may; moving it to another
// project takes being staff there too. There it loses its milestone, its conversation, which stays where it is, and its assignee
// if they aren't a member.
func (s *Store) EditTask(ctx context.Context, person, task int64, change TaskChange) (Task, error) {
	var result Task
	if err := change.check(task); err != nil {
		return result, err
	}
	how := shared
	if change.After.Set || change.MilestoneID.Set || change.ProjectID.Set {
		how = exclusive
	}
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, old, err := enterTask(ctx, tx, person, task, change.ProjectID.Value, how)
		if err != nil {
			return err
		}
		if err := first(a.guides(), a.active()); err != nil {
			return err
		}
		if change.Version.Set && change.Version.Value != old.Version {
			return stale(old.Title)
		}
		target, err := s.target(ctx, tx, a, change.ProjectID)
		if err != nil {
			return err
		}
		now, err := change.apply(ctx, tx, target, *old)
		if err != nil {
			return err
		}
		edited := edits(old, &now)
		if len(edited) == 0 && now.ProjectID == old.ProjectID {
			result = *old
			return nil
		}
		t, err := scanTask(tx.QueryRow(ctx, `UPDATE projects.task t SET project_id = $2, milestone_id = $3, title = $4, description = $5,
				rank = $6, assignee_id = $7, due_on = $8::text::date WHERE id = $1 RETURNING `+taskColumns,
			task, now.ProjectID, now.MilestoneID, now.Title, now.Description, now.Rank, now.AssigneeID, now.DueOn))
		if err != nil {
			return fmt.Errorf("edit task: %w", err)
		}
		result = *t
		if err := auditTask(ctx, tx, a, target, t, edited); err != nil {
			return err
		}
		return s.tellEdited(ctx, tx, target, old, t)
	})
	return result, err
}

// check trims what is given, and refuses what can't be.
func (c *TaskChange) check(task int64) (err error) {
	if c.Title.Set {
		if c.Title.Value, err = line("title", "the title", c.Title.Value, mostTitle); err != nil {
			return err
		}
	}
	if c.Description.Set {
		if c.Description.Value, err = text("description", "the description", c.Description.Value, mostDescription); err != nil {
			return err
		}
	}
	if c.After.Set && c.After.Value == task {
		return &InvalidError{Field: "after", Problem: "A task can't stand behind itself: choose another one, or 0 to put it first."}
	}
	return checkDate("due_on", c.DueOn.Value)
}

// target is the project that a task is in after a change: its own, or one that it moves to.
func (s *Store) target(ctx context.Context, tx pgx.Tx, a *access, project Optional[int64]) (*access, error) {
	if !project.Set || project.Value == a.project {
		return a, nil
	}
	// It is locked already.
	target, err := look(ctx, tx, a.person, project.Value)
	if err != nil {
		return nil, err
	}
	return target, first(target.guides(), target.active(), s.roomForTask(ctx, tx, target))
}

// apply is the task after the change. What the change names has to be in the target project.
func (c *TaskChange) apply(ctx context.Context, tx pgx.Tx, target *access, t Task) (Task, error) {
	old := t
	if c.Title.Set {
		t.Title = c.Title.Value
	}
	if c.Description.Set {
		t.Description = c.Description.Value
	}
	if c.DueOn.Set {
		t.DueOn = c.DueOn.Value
	}
	if t.ProjectID = target.project; t.ProjectID != old.ProjectID {
		t.MilestoneID = nil
		if t.AssigneeID != nil {
			member, err := isMember(ctx, tx, target.project, *t.AssigneeID)
			if err != nil {
				return t, err
			}
			if !member {
				t.AssigneeID = nil
			}
		}
	}
	if c.AssigneeID.Set && !same(t.AssigneeID, c.AssigneeID.Value) {
		t.AssigneeID = c.AssigneeID.Value
		if err := checkAssignee(ctx, tx, target, t.AssigneeID); err != nil {
			return t, err
		}
	}
	if c.MilestoneID.Set && !same(t.MilestoneID, c.MilestoneID.Value) {
		t.MilestoneID = c.MilestoneID.Value
		if err := checkMilestone(ctx, tx, target, t.MilestoneID); err != nil {
			return t, err
		}
	}
	if !c.After.Set && t.ProjectID == old.ProjectID && same(t.MilestoneID, old.MilestoneID) {
		return t, nil
	}
	var after *int64
	if c.After.Set {
		after = &c.After.Value
	}
	rank, err := taskOrder.place(ctx, tx, t.ProjectID, t.MilestoneID, t.ID, after)
	t.Rank = rank
	return t, err
}

// edits are the fields that differ, but for the project.
func edits(old, now *Task) changes {
	c := changes{}
	c.note("title", old.Title != now.Title, old.Title, now.Title)
	c.note("description", old.Description != now.Description, nil, nil)
	c.note("milestone_id", !same(old.MilestoneID, now.MilestoneID), old.MilestoneID, now.MilestoneID)
	c.note("assignee_id", !same(old.AssigneeID, now.AssigneeID), old.AssigneeID, now.AssigneeID)
	c.note("due_on", !same(old.DueOn, now.DueOn), old.DueOn, now.DueOn)
	c.note("rank", old.Rank != now.Rank, nil, nil)
	return c
}

// auditTask writes what an edit has changed; a move into the trails of both projects.
func auditTask(ctx context.Context, tx pgx.Tx, from, to *access, t *Task, edited changes) error {
	subject := topic("task", t.ID)
	if from.project != to.project {
		detail := map[string]any{"title": t.Title, "from": from.project, "to": to.project}
		if err := audit(ctx, tx, from.person, from.project, "task.moved", subject, detail); err != nil {
			return err
		}
		detail["changed"] = edited
		return audit(ctx, tx, from.person, to.project, "task.moved", subject, detail)
	}
	return audit(ctx, tx, from.person, to.project, "task.edited", subject, map[string]any{"title": t.Title, "changed": edited})
}

// tellEdited notifies whoever the task is assigned to now. What others were told that no longer holds is taken back: all of it if the
// task has left the project, since its links lead nowhere.
func (s *Store) tellEdited(ctx context.Context, tx pgx.Tx, target *access, old, t *Task) error {
	gone := inbox.Retraction{Cause: topic("task", t.ID)}
	moved, reassigned := old.ProjectID != t.ProjectID, !same(old.AssigneeID, t.AssigneeID)
	if !moved && reassigned && old.AssigneeID != nil {
		gone.Kind, gone.User = KindAssigned, user(*old.AssigneeID)
	}
	if moved || gone.User != "" {
		if err := retract(ctx, tx, gone); err != nil {
			return err
		}
	}
	if !reassigned {
		return nil
	}
	return s.tellAssigned(ctx, tx, target, t)
}
