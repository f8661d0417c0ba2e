package projects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

const (
	// letterPause is how long it takes until the same address gets another letter about the same project.
	letterPause = time.Minute
	// lettersAnHour is how many letters go out for a project within an hour.
	lettersAnHour = 200
)

// An InvitationDraft is an invitation that is to be.
type InvitationDraft struct {
	Email string `json:"email" doc:"Up to 254 bytes."`
	Name  string `json:"name,omitempty" doc:"What to call them, up to 100 characters."`
	Role  Role   `json:"role" doc:"customer; or staff, by leads."`
}

const invitationColumns = `i.id, i.project_id, i.email, i.name, i.role, i.invited_by, i.created_at, i.expires_at, coalesce((
	SELECT CASE WHEN l.failed_at IS NOT NULL THEN 'failed' WHEN l.sent_at IS NOT NULL THEN 'sent' ELSE 'waiting' END
	FROM projects.letter l WHERE l.invitation_id = i.id ORDER BY l.id DESC LIMIT 1), 'waiting')`

func (i *Invitation) fields() []any {
	return []any{&i.ID, &i.ProjectID, &i.Email, &i.Name, &i.Role, &i.InvitedBy, &i.CreatedAt, &i.ExpiresAt, &i.Mail}
}

// invitations are a project's open ones, those that have expired among them.
func invitations(ctx context.Context, tx pgx.Tx, project int64) ([]Invitation, error) {
	rows, err := tx.Query(ctx, `SELECT `+invitationColumns+` FROM projects.invitation i
		WHERE i.project_id = $1 AND i.accepted_at IS NULL AND i.revoked_at IS NULL ORDER BY i.id`, project)
	if err != nil {
		return nil, fmt.Errorf("invitations: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i Invitation, err error) {
		err = row.Scan(i.fields()...)
		utc(&i.CreatedAt, &i.ExpiresAt)
		return i, err
	})
	if err != nil {
		return nil, fmt.Errorf("invitations: %w", err)
	}
	return list, nil
}

// Invite invites somebody to a project by e-mail. Staff may invite customers, leads staff as well. Who has an account is notified, too.
func (s *Store) Invite(ctx context.Context, person, project int64, draft InvitationDraft) (Invitation, error) {
	var made Invitation
	email, err1 := CheckEmail("email", draft.Email)
	name, err2 := optionalLine("name", "the name", draft.Name, mostPersonName)
	if err := first(err1, err2); err != nil {
		return made, err
	}
	if draft.Role != Staff && draft.Role != Customer {
		return made, &InvalidError{Field: "role", Problem: fmt.Sprintf("Nobody can be invited as “%s”: choose customer or staff.", clip(printable(string(draft.Role))))}
	}
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		if err := a.guides(); err != nil {
			return err
		}
		if draft.Role == Staff {
			if err := a.leads(); err != nil {
				return err
			}
		}
		if err := a.open(); err != nil {
			return err
		}
		known, err := s.mayInvite(ctx, tx, a, email, draft.Role)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `INSERT INTO projects.invitation AS i (project_id, email, name, role, invited_by) VALUES ($1, $2, $3, $4, $5)
			RETURNING `+invitationColumns, project, email, name, draft.Role, person).Scan(made.fields()...)
		if err != nil {
			return fmt.Errorf("invite: %w", err)
		}
		utc(&made.CreatedAt, &made.ExpiresAt)
		if err := queueLetter(ctx, tx, made.ID); err != nil {
			return err
		}
		if err := auditInvitation(ctx, tx, a, "invitation.created", &made); err != nil || known == 0 {
			return err
		}
		_, err = s.notify(ctx, tx, notice{
			Kind: KindInvitation, To: []int64{known}, Group: topic("project", project), Link: "/invitations",
			Cause: topic("invitation", made.ID), Key: topic(KindInvitation, made.ID),
			Data: noticeData{Actor: a.actor, ActorID: person, Project: a.name, ProjectID: project, GroupTitle: a.name},
		})
		return err
	})
	return made, err
}

// mayInvite refuses an invitation that makes no sense, or comes too often. It returns the person whose address it is, 0 if nobody's.
func (s *Store) mayInvite(ctx context.Context, tx pgx.Tx, a *access, email string, role Role) (known int64, err error) {
	var name string
	var organisation *int64
	var takesPart bool
	err = tx.QueryRow(ctx, `SELECT w.id, w.name, w.organisation_id, m.person_id IS NOT NULL
		FROM projects.person w LEFT JOIN projects.membership m ON m.project_id = $2 AND m.person_id = w.id
		WHERE lower(w.email) = $1 AND w.deactivated_at IS NULL`, email, a.project).Scan(&known, &name, &organisation, &takesPart)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("invite: %w", err)
	}
	colleague := organisation != nil && *organisation == a.organisation
	switch {
	case takesPart:
		return 0, &ConflictError{fmt.Sprintf("%s (%s) takes part in “%s” already.", name, email, a.name)}
	case colleague && role == Customer:
		return 0, &InvalidError{Field: "role", Problem: fmt.Sprintf("%s is a colleague of yours and can't be a customer: a lead can add them as staff.", name)}
	case known != 0 && !colleague && role == Staff:
		return 0, &InvalidError{Field: "role", Problem: fmt.Sprintf("%s belongs to somebody who isn't of your organisation: invite them as a customer.", email)}
	}
	var by *int64
	var at, until time.Time
	var last *time.Time
	err = tx.QueryRow(ctx, `SELECT invited_by, created_at, expires_at FROM projects.invitation
		WHERE project_id = $1 AND lower(email) = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()`, a.project, email).Scan(&by, &at, &until)
	if err == nil {
		who, err := nameOf(ctx, tx, by)
		if err != nil {
			return 0, err
		}
		return 0, &ConflictError{fmt.Sprintf("%s invited %s on %s, and that is still open: send it again, or revoke it first.", who, email, a.moment(at))}
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("invite: %w", err)
	}
	if err := s.roomForMember(ctx, tx, a); err != nil {
		return 0, err
	}
	// One that has expired makes room for the new one.
	if err := closeInvitations(ctx, tx, `UPDATE projects.invitation SET revoked_at = now()
		WHERE project_id = $1 AND lower(email) = $2 AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id`, a.project, email); err != nil {
		return 0, err
	}
	err = tx.QueryRow(ctx, `SELECT max(l.created_at) FROM projects.letter l JOIN projects.invitation i ON i.id = l.invitation_id
		WHERE i.project_id = $1 AND lower(i.email) = $2`, a.project, email).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("invite: %w", err)
	}
	return known, notTooOften(ctx, tx, a, email, last)
}

// closeInvitations ends invitations by a statement that returns their ids, and takes back what was notified of them.
func closeInvitations(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("end invitations: %w", err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("end invitations: %w", err)
	}
	for _, id := range ended {
		if err := retract(ctx, tx, inbox.Retraction{Cause: topic("invitation", id)}); err != nil {
			return err
		}
	}
	return nil
}

// notTooOften refuses another letter to an address that has just had one, and to anybody where a project sends too many.
func notTooOften(ctx context.Context, tx pgx.Tx, a *access, email string, last *time.Time) error {
	var now time.Time
	var sent int
	err := tx.QueryRow(ctx, `SELECT now(), count(*) FROM projects.letter l JOIN projects.invitation i ON i.id = l.invitation_id
		WHERE i.project_id = $1 AND l.created_at > now() - interval '1 hour'`, a.project).Scan(&now, &sent)
	if err != nil {
		return fmt.Errorf("letters: %w", err)
	}
	if last != nil && now.Sub(*last) < letterPause {
		wait := max(1, int((letterPause - now.Sub(*last) + time.Second - 1).Seconds()))
		return &LimitError{Sentence: fmt.Sprintf("A mail went to %s less than a minute ago: wait %d seconds.", email, wait), RetryAfter: wait}
	}
	if sent >= lettersAnHour {
		return &LimitError{
			Sentence:   fmt.Sprintf("%d mails went out for “%s” within an hour, which is the most: invite others later.", sent, a.name),
			RetryAfter: int(time.Hour.Seconds()),
		}
	}
	return nil
}

// queueLetter has a letter sent to whom an invitation is for.
func queueLetter(ctx context.Context, tx pgx.Tx, invitation int64) error {
	if _, err := tx.Exec(ctx, `INSERT INTO projects.letter (purpose, invitation_id) VALUES ('invitation', $1)`, invitation); err != nil {
		return fmt.Errorf("letter: %w", err)
	}
	return nil
}

func auditInvitation(ctx context.Context, tx pgx.Tx, a *access, action string, i *Invitation) error {
	return audit(ctx, tx, a.person, a.project, action, topic("invitation", i.ID), map[string]any{"email": i.Email, "role": i.Role})
}

// enterInvitation returns an invitation of a project that may still be changed, and locks both.
func enterInvitation(ctx context.Context, tx pgx.Tx, person, project, invitation int64) (*access, *Invitation, error) {
	a, err := enter(ctx, tx, person, project, exclusive)
	if err != nil {
		return nil, nil, err
	}
	if err := a.guides(); err != nil {
		return nil, nil, err
	}
	i := &Invitation{}
	var accepted, revoked *time.Time
	err = tx.QueryRow(ctx, `SELECT i.accepted_at, i.revoked_at, `+invitationColumns+` FROM projects.invitation i
		WHERE i.id = $1 AND i.project_id = $2 FOR UPDATE`, invitation, project).Scan(append([]any{&accepted, &revoked}, i.fields()...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("invitation: %w", err)
	}
	utc(&i.CreatedAt, &i.ExpiresAt)
	if i.Role == Staff {
		if err := a.leads(); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case a.open() != nil:
		return nil, nil, a.open()
	case accepted != nil:
		return nil, nil, &GoneError{fmt.Sprintf("The invitation of %s was accepted on %s.", i.Email, a.moment(*accepted))}
	case revoked != nil:
		return nil, nil, &GoneError{fmt.Sprintf("The invitation of %s was revoked on %s: invite them anew.", i.Email, a.moment(*revoked))}
	}
	return a, i, nil
}

// Resend has the letter of an open invitation sent again, at most once a minute; it is good for another 14 days then. Who may invite
// for its role may.
func (s *Store) Resend(ctx context.Context, person, project, invitation int64) (Invitation, error) {
	var result Invitation
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, i, err := enterInvitation(ctx, tx, person, project, invitation)
		if err != nil {
			return err
		}
		var last *time.Time
		if err := tx.QueryRow(ctx, `SELECT max(created_at) FROM projects.letter WHERE invitation_id = $1`, invitation).Scan(&last); err != nil {
			return fmt.Errorf("letters: %w", err)
		}
		if err := notTooOften(ctx, tx, a, i.Email, last); err != nil {
			return err
		}
		if err := queueLetter(ctx, tx, invitation); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `UPDATE projects.invitation i SET expires_at = now() + interval '14 days' WHERE id = $1
			RETURNING `+invitationColumns, invitation).Scan(result.fields()...)
		if err != nil {
			return fmt.Errorf("resend invitation: %w", err)
		}
		utc(&result.CreatedAt, &result.ExpiresAt)
		return auditInvitation(ctx, tx, a, "invitation.resent", &result)
	})
	return result, err
}

// Revoke ends an invitation that wasn't accepted yet: the link in its letter and its notification lead nowhere then. Who may invite
// for its role may.
func (s *Store) Revoke(ctx context.Context, person, project, invitation int64) error {
	return s.write(ctx, func(tx pgx.Tx) error {
		a, i, err := enterInvitation(ctx, tx, person, project, invitation)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE projects.invitation SET revoked_at = now() WHERE id = $1`, invitation); err != nil {
			return fmt.Errorf("revoke invitation: %w", err)
		}
		if err := retract(ctx, tx, inbox.Retraction{Cause: topic("invitation", invitation)}); err != nil {
			return err
		}
		return auditInvitation(ctx, tx, a, "invitation.revoked", i)
	})
}
