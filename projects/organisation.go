package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// StaffDraft is an account for somebody of an organisation's staff.
type StaffDraft struct {
	Organisation string // by its name; it is made if there is none
	Email, Name  string
	Admin        bool // sees and changes all projects of the organisation
}

// AddStaff gives somebody of an organisation's staff an account, without a password, and returns their id. Who has one already keeps
// it: their name and whether they are an admin are then as the draft says. It is for those who run the program, and asks for nobody's
// permission.
//
// Errors: *[InvalidError]; *[ConflictError] if the address belongs to a customer, or to staff of another organisation.
func (s *Store) AddStaff(ctx context.Context, d StaffDraft) (person int64, err error) {
	company, err1 := line("organisation", "the organisation", d.Organisation, 100)
	name, err2 := line("name", "the name", d.Name, 100)
	email, err3 := CheckEmail("email", d.Email)
	if err := first(err1, err2, err3); err != nil {
		return 0, err
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		organisation, err := organisationOf(ctx, tx, company)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `INSERT INTO projects.person AS h (organisation_id, admin, email, name) VALUES ($1, $2, $3, $4)
			ON CONFLICT (lower(email)) DO UPDATE SET admin = excluded.admin, name = excluded.name
				WHERE h.organisation_id = excluded.organisation_id AND h.deactivated_at IS NULL
			RETURNING h.id`, organisation, d.Admin, email, name).Scan(&person)
		if errors.Is(err, pgx.ErrNoRows) {
			return &ConflictError{Sentence: fmt.Sprintf("%s has an account already that isn't one of %s: use another address.", email, company)}
		}
		if err != nil {
			return fmt.Errorf("add staff: %w", err)
		}
		return audit(ctx, tx, 0, 0, "staff.added", topic("person", person), map[string]any{"organisation": company, "admin": d.Admin})
	})
	return person, err
}

// organisationOf finds the organisation of that name, or makes it.
func organisationOf(ctx context.Context, tx pgx.Tx, name string) (id int64, err error) {
	// Two that make the same one wait for each other.
	if _, err := tx.Exec(ctx, "LOCK TABLE projects.organisation IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return 0, fmt.Errorf("lock the organisations: %w", err)
	}
	err = tx.QueryRow(ctx, "SELECT id FROM projects.organisation WHERE lower(name) = lower($1) ORDER BY id LIMIT 1", name).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = tx.QueryRow(ctx, "INSERT INTO projects.organisation (name) VALUES ($1) RETURNING id", name).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("find the organisation: %w", err)
	}
	return id, nil
}
