package projects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

// What a project can be.
const (
	statusActive   = "active"
	statusFinished = "finished" // tasks don't change, but one can still talk
	statusArchived = "archived" // nothing changes
)

// A ProjectDraft is a project that is to be.
type ProjectDraft struct {
	Name    string  `json:"name" doc:"1 to 120 characters."`
	Summary string  `json:"summary,omitempty" doc:"Up to 2,000 characters."`
	DueOn   *Date   `json:"due_on" required:"false"`
	Key     *string `json:"key,omitempty" doc:"The maker's own name for it, 1 to 64 bytes, such as a UUID. Who sends the same key again gets what was made with it, and nothing more is made."`
}

// A ProjectChange is what is to be different about a project.
type ProjectChange struct {
	Name    Optional[string] `json:"name,omitzero" required:"false"`
	Summary Optional[string] `json:"summary,omitzero" required:"false"`
	DueOn   Optional[*Date]  `json:"due_on,omitzero" required:"false" doc:"Null: none."`
	Status  Optional[string] `json:"status,omitzero" required:"false" doc:"active, finished or archived."`
	Version Optional[int64]  `json:"version,omitzero" required:"false" doc:"The one that was seen: if it is no longer that, nothing changes."`
}

// A ProjectHead is what is said of a project itself.
type ProjectHead struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Summary string `json:"summary"`
	Status  string `json:"status"`
	DueOn   *Date  `json:"due_on"`
	Version int64  `json:"version"`
}

// CreateProject makes a project of the person's organisation, with the person as its lead and a first conversation. Staff may. If
// the person has made one with the same key, that is returned, and made is false.
func (s *Store) CreateProject(ctx context.Context, person int64, draft ProjectDraft) (p Project, made bool, err error) {
	name, err1 := line("name", "the name", draft.Name, mostName)
	summary, err2 := text("summary", "the summary", draft.Summary, mostSummary)
	if err := first(err1, err2, checkDate("due_on", draft.DueOn), checkOptionalKey(keyedProject.what, draft.Key)); err != nil {
		return p, false, err
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		id, err := keyedProject.made(ctx, tx, person, 0, draft.Key)
		if made = err == nil && id == 0; made {
			id, err = s.createProjectTx(ctx, tx, person, name, summary, draft)
		}
		if err != nil {
			return err
		}
		p, err = snapshot(ctx, tx, person, id)
		return err
	})
	return p, made && err == nil, err
}

// createProjectTx makes a project. That name and summary are ones is the caller's to know.
func (s *Store) createProjectTx(ctx context.Context, tx pgx.Tx, person int64, name, summary string, draft ProjectDraft) (id int64, err error) {
	var organisation *int64
	err = tx.QueryRow(ctx, `SELECT organisation_id FROM projects.person WHERE id = $1 AND deactivated_at IS NULL`, person).Scan(&organisation)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("create project: %w", err)
	}
	if organisation == nil {
		return 0, &ForbiddenError{"Only staff can create projects: ask the people who guide you."}
	}
	var count int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM projects.project WHERE organisation_id = $1`, *organisation).Scan(&count); err != nil {
		return 0, fmt.Errorf("count projects: %w", err)
	}
	if count >= s.limits.Projects {
		return 0, &LimitError{Sentence: fmt.Sprintf("Your organisation has %s projects, which is the most: delete some that aren't needed.", thousands(count))}
	}
	err = tx.QueryRow(ctx, `INSERT INTO projects.project (organisation_id, name, summary, due_on, created_by, client_key)
		VALUES ($1, $2, $3, $4::text::date, $5, $6) RETURNING id`, *organisation, name, summary, draft.DueOn, person, draft.Key).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("create project: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')`, id, person); err != nil {
		return 0, fmt.Errorf("create project: %w", err)
	}
	if err := audit(ctx, tx, person, id, "project.created", topic("project", id), map[string]any{"name": name}); err != nil {
		return 0, err
	}
	_, err = createConversationTx(ctx, tx, person, id, ConversationDraft{Subject: "General"})
	return id, err
}

// Project returns a project with all that its page shows, and the position to follow its changes from. Members may.
func (s *Store) Project(ctx context.Context, person, project int64) (Project, error) {
	var p Project
	err := s.read(ctx, func(tx pgx.Tx) (err error) {
		p, err = snapshot(ctx, tx, person, project)
		return err
	})
	return p, err
}

// snapshot reads a project as somebody sees it. The position is read first: where the two statements don't see the same, what
// comes after the position may be in the state already, and never the other way round.
func snapshot(ctx context.Context, tx pgx.Tx, person, project int64) (p Project, err error) {
	at, err := positions(ctx, tx, topic("project", project))
	if err != nil {
		return p, err
	}
	var state []byte
	if err := tx.QueryRow(ctx, `SELECT projects.snapshot($1, $2)`, person, project).Scan(&state); err != nil {
		return p, fmt.Errorf("project: %w", err)
	}
	if state == nil {
		return p, ErrNotFound
	}
	if err := json.Unmarshal(state, &p); err != nil {
		return p, fmt.Errorf("project: %w", err)
	}
	p.Positions = at
	return p, nil
}

// EditProject changes what is said of a project itself. Leads may; other staff may change its summary and date, finish it, and make
// it active again. Finishing notifies everybody.
func (s *Store) EditProject(ctx context.Context, person, project int64, change ProjectChange) (ProjectHead, error) {
	var now ProjectHead
	if err := change.check(); err != nil {
		return now, err
	}
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		old := ProjectHead{}
		err = tx.QueryRow(ctx, `SELECT `+headColumns+` FROM projects.project p WHERE id = $1`, project).Scan(old.fields()...)
		if err != nil {
			return fmt.Errorf("project: %w", err)
		}
		now = change.apply(old)
		if err := first(a.guides(), a.mayChange(&old, &now)); err != nil {
			return err
		}
		if change.Version.Set && change.Version.Value != old.Version {
			return stale(old.Name)
		}
		if now.Name == old.Name && now.Summary == old.Summary && now.Status == old.Status && same(now.DueOn, old.DueOn) {
			return nil
		}
		err = tx.QueryRow(ctx, `UPDATE projects.project p SET name = $2, summary = $3, status = $4, due_on = $5::text::date WHERE id = $1
			RETURNING `+headColumns, project, now.Name, now.Summary, now.Status, now.DueOn).Scan(now.fields()...)
		if err != nil {
			return fmt.Errorf("edit project: %w", err)
		}
		if err := auditProject(ctx, tx, a, &old, &now); err != nil {
			return err
		}
		a.name = now.Name
		return s.tellFinished(ctx, tx, a, old.Status, now.Status)
	})
	return now, err
}

const headColumns = `p.id, p.name, p.summary, p.status, to_char(p.due_on, 'YYYY-MM-DD'), p.version`

func (h *ProjectHead) fields() []any {
	return []any{&h.ID, &h.Name, &h.Summary, &h.Status, &h.DueOn, &h.Version}
}

// check trims what is given, and refuses what can't be.
func (c *ProjectChange) check() (err error) {
	if c.Name.Set {
		if c.Name.Value, err = line("name", "the name", c.Name.Value, mostName); err != nil {
			return err
		}
	}
	if c.Summary.Set {
		if c.Summary.Value, err = text("summary", "the summary", c.Summary.Value, mostSummary); err != nil {
			return err
		}
	}
	if c.Status.Set {
		switch c.Status.Value {
		case statusActive, statusFinished, statusArchived:
		default:
			return &InvalidError{Field: "status", Problem: fmt.Sprintf("A project can't be “%s”: choose active, finished or archived.", clip(printable(c.Status.Value)))}
		}
	}
	return checkDate("due_on", c.DueOn.Value)
}

func (c *ProjectChange) apply(h ProjectHead) ProjectHead {
	if c.Name.Set {
		h.Name = c.Name.Value
	}
	if c.Summary.Set {
		h.Summary = c.Summary.Value
	}
	if c.DueOn.Set {
		h.DueOn = c.DueOn.Value
	}
	if c.Status.Set {
		h.Status = c.Status.Value
	}
	return h
}

// mayChange refuses what is the leads' from other staff, and everything but taking it out from an archived project.
func (a *access) mayChange(old, now *ProjectHead) error {
	if now.Name != old.Name || (now.Status != old.Status && (now.Status == statusArchived || old.Status == statusArchived)) {
		if err := a.leads(); err != nil {
			return err
		}
	}
	if old.Status == statusArchived && now.Status == statusArchived {
		return a.open()
	}
	return nil
}

// auditProject writes a line for the status, and one for all else.
func auditProject(ctx context.Context, tx pgx.Tx, a *access, old, now *ProjectHead) error {
	subject := topic("project", now.ID)
	if old.Status != now.Status {
		action := map[string]string{statusActive: "project.activated", statusFinished: "project.finished", statusArchived: "project.archived"}[now.Status]
		if err := audit(ctx, tx, a.person, a.project, action, subject, map[string]any{"name": now.Name, "was": old.Status}); err != nil {
			return err
		}
	}
	c := changes{}
	c.note("name", old.Name != now.Name, old.Name, now.Name)
	c.note("summary", old.Summary != now.Summary, nil, nil)
	c.note("due_on", !same(old.DueOn, now.DueOn), old.DueOn, now.DueOn)
	if len(c) == 0 {
		return nil
	}
	return audit(ctx, tx, a.person, a.project, "project.edited", subject, map[string]any{"name": now.Name, "changed": c})
}

// changes are the fields that an edit has changed, for the audit trail: from what to what, or true for long texts.
type changes map[string]any

func (c changes) note(field string, changed bool, from, to any) {
	switch {
	case !changed:
	case from == nil && to == nil:
		c[field] = true
	default:
		c[field] = map[string]any{"from": from, "to": to}
	}
}

// tellFinished notifies everybody of a project that is finished now, and takes that back when it is active again.
func (s *Store) tellFinished(ctx context.Context, tx pgx.Tx, a *access, old, now string) error {
	cause := topic("project", a.project)
	switch {
	case now == statusActive && old != statusActive:
		return retract(ctx, tx, inbox.Retraction{Cause: cause, Kind: KindFinished})
	case old == statusActive && now == statusFinished:
		to, err := people(ctx, tx, `SELECT m.person_id FROM projects.membership m JOIN projects.person w ON w.id = m.person_id
			WHERE m.project_id = $1 AND m.person_id <> $2 AND w.deactivated_at IS NULL ORDER BY 1`, a.project, a.person)
		if err != nil {
			return err
		}
		_, err = s.notify(ctx, tx, notice{
			Kind: KindFinished, To: to, Group: cause, Cause: cause, Key: topic(KindFinished, a.project), Link: fmt.Sprintf("/projects/%d", a.project),
			Data: noticeData{Actor: a.actor, ActorID: a.person, Project: a.name, ProjectID: a.project, GroupTitle: a.name},
		})
		return err
	}
	return nil
}

// people reads the ids of who is to be notified.
func people(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]int64, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("who is to be notified: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("who is to be notified: %w", err)
	}
	return ids, nil
}

// DeleteProject removes a project with all that is in it, for ever, and what was notified about it. Leads may, unless it is
// archived. Of the audit trail only the line that says so remains.
func (s *Store) DeleteProject(ctx context.Context, person, project int64) error {
	return s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		if err := first(a.leads(), a.open()); err != nil {
			return err
		}
		if err := retract(ctx, tx, inbox.Retraction{Group: topic("project", project)}); err != nil {
			return err
		}
		const chats = `SELECT trunkline.retract("group" => 'chat:' || id) FROM projects.conversation WHERE project_id = $1`
		if _, err := tx.Exec(ctx, chats, project); err != nil {
			return fmt.Errorf("retract notifications: %w", err)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM projects.project WHERE id = $1`, project); err != nil {
			return fmt.Errorf("delete project: %w", err)
		}
		return audit(ctx, tx, person, 0, "project.deleted", topic("project", project), map[string]any{"name": a.name})
	})
}
