package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// People are who takes part in a project, and who could.
type People struct {
	Members     []PersonHere `json:"members" nullable:"false" doc:"By name."`
	Invitations []Invitation `json:"invitations" nullable:"false" doc:"Those that are open, for staff."`
	Colleagues  []Person     `json:"colleagues" nullable:"false" doc:"Staff who could be added, for leads."`
}

// A PersonHere is a member with the address that staff see.
type PersonHere struct {
	Member
	Email string `json:"email,omitempty" doc:"For staff only."`
}

const personColumns = `w.id, w.name, coalesce(o.name, w.company), w.organisation_id IS NOT NULL`

func (p *Person) fields() []any { return []any{&p.ID, &p.Name, &p.Company, &p.Staff} }

func (m *Member) fields() []any { return append(m.Person.fields(), &m.Role, &m.JoinedAt) }

// People returns who takes part in a project. Members may.
func (s *Store) People(ctx context.Context, person, project int64) (People, error) {
	var all People
	err := s.read(ctx, func(tx pgx.Tx) error {
		a, err := look(ctx, tx, person, project)
		if err != nil {
			return err
		}
		all = People{Invitations: []Invitation{}, Colleagues: []Person{}}
		rows, err := tx.Query(ctx, `SELECT `+personColumns+`, m.role, m.joined_at, CASE WHEN $2 THEN '' ELSE w.email END
			FROM projects.membership m JOIN projects.person w ON w.id = m.person_id LEFT JOIN projects.organisation o ON o.id = w.organisation_id
			WHERE m.project_id = $1 AND w.deactivated_at IS NULL ORDER BY w.name, w.id`, project, a.role == Customer)
		if err != nil {
			return fmt.Errorf("members: %w", err)
		}
		all.Members, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p PersonHere, err error) {
			err = row.Scan(append(p.Member.fields(), &p.Email)...)
			utc(&p.JoinedAt)
			return p, err
		})
		if err != nil {
			return fmt.Errorf("members: %w", err)
		}
		if a.role == Customer {
			return nil
		}
		if all.Invitations, err = invitations(ctx, tx, project); err != nil || a.role != Lead {
			return err
		}
		rows, err = tx.Query(ctx, `SELECT `+personColumns+`
			FROM projects.person w JOIN projects.organisation o ON o.id = w.organisation_id
			WHERE w.organisation_id = $2 AND w.deactivated_at IS NULL
				AND NOT EXISTS (SELECT FROM projects.membership m WHERE m.project_id = $1 AND m.person_id = w.id)
			ORDER BY w.name, w.id LIMIT 1000`, project, a.organisation)
		if err != nil {
			return fmt.Errorf("colleagues: %w", err)
		}
		all.Colleagues, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Person, err error) {
			return p, row.Scan(p.fields()...)
		})
		if err != nil {
			return fmt.Errorf("colleagues: %w", err)
		}
		return nil
	})
	return all, err
}

// member reads a member, or ErrNotFound.
func member(ctx context.Context, tx pgx.Tx, project, person int64) (*Member, error) {
	m := &Member{}
	err := tx.QueryRow(ctx, `SELECT `+personColumns+`, m.role, m.joined_at
		FROM projects.membership m JOIN projects.person w ON w.id = m.person_id LEFT JOIN projects.organisation o ON o.id = w.organisation_id
		WHERE m.project_id = $1 AND m.person_id = $2`, project, person).Scan(m.fields()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("member: %w", err)
	}
	utc(&m.JoinedAt)
	return m, nil
}

// AddMember lets a colleague, staff of the project's organisation, take part as staff or lead. Leads may.
func (s *Store) AddMember(ctx context.Context, person, project, colleague int64, role Role) (Member, error) {
	var added Member
	if err := checkStaffRole(role); err != nil {
		return added, err
	}
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		if err := first(a.leads(), a.open()); err != nil {
			return err
		}
		var name string
		err = tx.QueryRow(ctx, `SELECT name FROM projects.person WHERE id = $1 AND organisation_id = $2 AND deactivated_at IS NULL`,
			colleague, a.organisation).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return &InvalidError{Field: "person_id", Problem: fmt.Sprintf("There is no colleague %d: choose one of your organisation's staff. Others can be invited by e-mail.", colleague)}
		}
		if err != nil {
			return fmt.Errorf("colleague: %w", err)
		}
		if err := s.roomForMember(ctx, tx, a); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, project, colleague, role)
		if err != nil {
			return fmt.Errorf("add member: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return &ConflictError{fmt.Sprintf("%s takes part in “%s” already.", name, a.name)}
		}
		// Who was invited by mail needn't accept that any more.
		err = closeInvitations(ctx, tx, `UPDATE projects.invitation i SET accepted_at = now(), accepted_by = w.id FROM projects.person w
			WHERE w.id = $2 AND i.project_id = $1 AND lower(i.email) = lower(w.email) AND i.accepted_at IS NULL AND i.revoked_at IS NULL
			RETURNING i.id`, project, colleague)
		if err != nil {
			return err
		}
		m, err := member(ctx, tx, project, colleague)
		if err != nil {
			return err
		}
		added = *m
		return audit(ctx, tx, person, project, "member.added", topic("person", colleague), map[string]any{"name": name, "role": role})
	})
	return added, err
}

func checkStaffRole(role Role) error {
	if role == Lead || role == Staff {
		return nil
	}
	return &InvalidError{Field: "role", Problem: fmt.Sprintf("Staff can't be “%s” in a project: choose lead or staff. Customers come by invitation.", clip(printable(string(role))))}
}

// roomForMember refuses another member where there are enough. Who is invited counts.
func (s *Store) roomForMember(ctx context.Context, tx pgx.Tx, a *access) error {
	var count int
	err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM projects.membership WHERE project_id = $1) + (
		SELECT count(*) FROM projects.invitation
		WHERE project_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now())`, a.project).Scan(&count)
	if err != nil {
		return fmt.Errorf("count members: %w", err)
	}
	if count >= s.limits.Members {
		return &LimitError{Sentence: fmt.Sprintf("“%s” has %s members and open invitations, which is the most: remove some first.", a.name, thousands(count))}
	}
	return nil
}

// ChangeRole makes a lead of a member who is staff, or the other way round. Leads may. The last lead stays one, and customers stay
// customers.
func (s *Store) ChangeRole(ctx context.Context, person, project, whom int64, role Role) (Member, error) {
	var result Member
	if err := checkStaffRole(role); err != nil {
		return result, err
	}
	err := s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		if err := first(a.leads(), a.open()); err != nil {
			return err
		}
		m, err := member(ctx, tx, project, whom)
		if err != nil {
			return err
		}
		if result = *m; m.Role == role {
			return nil
		}
		if m.Role == Customer {
			return &InvalidError{Field: "role", Problem: fmt.Sprintf("%s is a customer and can't be %s: only staff of the organisation can.", m.Name, role)}
		}
		if err := keepLead(ctx, tx, a, m); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE projects.membership SET role = $3 WHERE project_id = $1 AND person_id = $2`, project, whom, role); err != nil {
			return fmt.Errorf("change role: %w", err)
		}
		result.Role = role
		return audit(ctx, tx, person, project, "member.role", topic("person", whom), map[string]any{"name": m.Name, "from": m.Role, "to": role})
	})
	return result, err
}

// keepLead refuses to take the lead from whoever is the last one. The project is locked, so nobody else is going at this moment.
func keepLead(ctx context.Context, tx pgx.Tx, a *access, m *Member) error {
	if m.Role != Lead {
		return nil
	}
	var others bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM projects.membership m JOIN projects.person w ON w.id = m.person_id
		WHERE m.project_id = $1 AND m.role = 'lead' AND m.person_id <> $2 AND w.deactivated_at IS NULL)`, a.project, m.ID).Scan(&others)
	if err != nil {
		return fmt.Errorf("leads: %w", err)
	}
	if !others {
		return &ConflictError{fmt.Sprintf("%s is the only lead of “%s”: make somebody else lead first.", m.Name, a.name)}
	}
	return nil
}

// RemoveMember ends somebody's part in a project: one's own, as anybody may except for the last lead; a customer's, as staff may; or a
// colleague's, as leads may. Tasks they haven't done are nobody's then, their notifications of the project disappear, and what they
// have open of it ends (a trigger of the table sees to that).
func (s *Store) RemoveMember(ctx context.Context, person, project, whom int64) error {
	return s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, exclusive)
		if err != nil {
			return err
		}
		m, err := member(ctx, tx, project, whom)
		if err != nil {
			return err
		}
		action := "member.left"
		if whom != person {
			action = "member.removed"
			if err := a.guides(); err != nil {
				return err
			}
			if m.Role != Customer {
				if err := a.leads(); err != nil {
					return err
				}
			}
		}
		if err := a.open(); err != nil {
			return err
		}
		if err := keepLead(ctx, tx, a, m); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE projects.task SET assignee_id = NULL
			WHERE project_id = $1 AND assignee_id = $2 AND completed_at IS NULL`, project, whom); err != nil {
			return fmt.Errorf("unassign tasks: %w", err)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM projects.membership WHERE project_id = $1 AND person_id = $2`, project, whom); err != nil {
			return fmt.Errorf("remove member: %w", err)
		}
		if err := forget(ctx, tx, project, whom); err != nil {
			return err
		}
		return audit(ctx, tx, person, project, action, topic("person", whom), map[string]any{"name": m.Name, "role": m.Role})
	})
}

// forget takes back what somebody was notified of in a project that they don't see any more. An admin of the organisation does.
func forget(ctx context.Context, tx pgx.Tx, project, person int64) error {
	_, err := tx.Exec(ctx, `SELECT trunkline.retract("group" => g.name, user_id => $2::bigint::text) FROM (
			SELECT 'project:' || $1::bigint AS name UNION ALL SELECT 'chat:' || id FROM projects.conversation WHERE project_id = $1
		) g WHERE projects.role($2, $1) IS NULL`, project, person)
	if err != nil {
		return fmt.Errorf("retract notifications: %w", err)
	}
	return nil
}
