package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/text/language"

	"github.com/trunkline/trunkline/projects"
)

// meColumns are those of a projects.Me, of a person h and their organisation o, in the order of meTargets.
const meColumns = `h.id, h.name, coalesce(o.name, h.company), h.organisation_id IS NOT NULL, h.email, h.admin, h.organisation_id,
	h.time_zone, h.locale, h.password_hash IS NOT NULL`

func meTargets(m *projects.Me) []any {
	return []any{&m.ID, &m.Name, &m.Company, &m.Staff, &m.Email, &m.Admin, &m.OrganisationID, &m.TimeZone, &m.Locale, &m.HasPassword}
}

// me reads somebody who may be here.
func me(ctx context.Context, tx pgx.Tx, person int64) (m projects.Me, err error) {
	err = tx.QueryRow(ctx, `SELECT `+meColumns+` FROM projects.person h LEFT JOIN projects.organisation o ON o.id = h.organisation_id
		WHERE h.id = $1 AND h.deactivated_at IS NULL`, person).Scan(meTargets(&m)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return m, ErrNoSession
	}
	if err != nil {
		return m, fmt.Errorf("read a person: %w", err)
	}
	return m, nil
}

// Changes are what somebody may change of themselves. What isn't set stays.
type Changes struct {
	Name     projects.Optional[string]
	Company  projects.Optional[string] // of customers alone
	TimeZone projects.Optional[string] // IANA; "": the site's
	Locale   projects.Optional[string] // BCP 47; "": the site's
}

// Edit changes what a person says of themselves. Mail goes by it from then on.
func (a *Accounts) Edit(ctx context.Context, person int64, c Changes) (projects.Me, error) {
	var after projects.Me
	err := a.write(ctx, func(tx pgx.Tx) error {
		before, err := me(ctx, tx, person)
		if err != nil {
			return err
		}
		if err := a.check(ctx, tx, &c, &before); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE projects.person SET name = coalesce($2, name), company = coalesce($3, company),
			time_zone = coalesce($4, time_zone), locale = coalesce($5, locale) WHERE id = $1`,
			person, orNull(c.Name), orNull(c.Company), orNull(c.TimeZone), orNull(c.Locale))
		if err != nil {
			return fmt.Errorf("change a person: %w", err)
		}
		after, err = me(ctx, tx, person)
		return err
	})
	return after, err
}

// check puts changes into the form that is kept.
func (a *Accounts) check(ctx context.Context, tx pgx.Tx, c *Changes, before *projects.Me) (err error) {
	if c.Name.Set {
		if c.Name.Value, err = projects.CheckLine("name", "the name", c.Name.Value, 100); err != nil {
			return err
		}
	}
	if c.Company.Set && before.Staff {
		if strings.TrimSpace(c.Company.Value) != before.Company {
			return &projects.InvalidError{
				Field:   "company",
				Problem: fmt.Sprintf("You are staff of %s, which is what others see as your company: it can't be changed here.", before.Company),
			}
		}
		c.Company = projects.Optional[string]{}
	}
	if c.Company.Set {
		if c.Company.Value, err = projects.CheckOptionalLine("company", "the company", c.Company.Value, 100); err != nil {
			return err
		}
	}
	if c.TimeZone.Set {
		if err := checkZone(ctx, tx, "time_zone", c.TimeZone.Value); err != nil {
			return err
		}
	}
	if c.Locale.Set {
		c.Locale.Value, err = checkLocale("locale", c.Locale.Value)
	}
	return err
}

func orNull(o projects.Optional[string]) *string {
	if !o.Set {
		return nil
	}
	return &o.Value
}

// checkZone takes the name of a time zone that the program and the database know alike.
func checkZone(ctx context.Context, tx pgx.Tx, field, zone string) error {
	if zone == "" {
		return nil
	}
	unknown := &projects.InvalidError{
		Field: field, Problem: fmt.Sprintf("There is no time zone %q: choose one such as Europe/Berlin.", cut(zone, 64)),
	}
	if _, err := time.LoadLocation(zone); err != nil || zone == "Local" || len(zone) > 64 {
		return unknown
	}
	// In a savepoint: the database answers what it doesn't know with an error.
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT now() AT TIME ZONE $1", zone)
		return err
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "22023" {
		return unknown
	}
	return err
}

// checkLocale takes a language tag, and writes it as BCP 47 prefers.
func checkLocale(field, locale string) (string, error) {
	if locale == "" {
		return "", nil
	}
	tag, err := language.Parse(locale)
	if err != nil || len(tag.String()) > 35 || tag == language.Und {
		return "", &projects.InvalidError{
			Field: field, Problem: fmt.Sprintf("There is no language %q: choose one such as en, de or pt-BR.", cut(locale, 35)),
		}
	}
	return tag.String(), nil
}

// ChangePassword sets another password, ends all other sessions, and exchanges this one's secret: the answer has to carry the new
// cookie. Who has no password yet, as demo people may, gives none.
func (a *Accounts) ChangePassword(ctx context.Context, id Identity, current, fresh string) (cookie string, err error) {
	if err := checkPassword("new", fresh); err != nil {
		return "", err
	}
	var known *string
	if err := a.pool.QueryRow(ctx, "SELECT password_hash FROM projects.person WHERE id = $1", id.Person.ID).Scan(&known); err != nil {
		return "", fmt.Errorf("read a password: %w", err)
	}
	if known != nil {
		if err := a.reserve(ctx, passwordLimit(id.Person.ID)); err != nil {
			return "", err
		}
		ok, _, err := a.hasher.verify(ctx, current, *known)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", &projects.InvalidError{Field: "current", Problem: "This isn't your current password: try again, or ask for a new one by mail."}
		}
	}
	hashed, err := a.hasher.hash(ctx, fresh)
	if err != nil {
		return "", err
	}
	secret, hash := newSecret()
	err = a.write(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE projects.person SET password_hash = $2 WHERE id = $1 AND password_hash IS NOT DISTINCT FROM $3`,
			id.Person.ID, hashed, known)
		if err != nil {
			return fmt.Errorf("change a password: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return &projects.ConflictError{Sentence: "The password has been changed elsewhere meanwhile. Sign in with the new one."}
		}
		if err := a.passwordChanged(ctx, tx, id.Person.ID, id.SessionID, "password.changed"); err != nil {
			return err
		}
		tag, err = tx.Exec(ctx, `UPDATE projects.session SET token_hash = $2, previous_hash = NULL, rotated_at = $3, used_at = $3 WHERE id = $1::uuid`,
			id.SessionID, hash, a.now())
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNoSession
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return secret, a.forgive(ctx, passwordLimit(id.Person.ID).subject)
}

// passwordChanged ends what the former password has opened, but for one session, "" for none, and writes it down.
func (a *Accounts) passwordChanged(ctx context.Context, tx pgx.Tx, person int64, but, action string) error {
	if err := endSessions(ctx, tx, "person_id = $1 AND id::text <> $2", person, but); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "UPDATE projects.token SET used_at = $2 WHERE person_id = $1 AND purpose = 'reset' AND used_at IS NULL", person, a.now())
	if err != nil {
		return fmt.Errorf("end the links to reset a password: %w", err)
	}
	return audit(ctx, tx, person, 0, action, fmt.Sprintf("person:%d", person))
}

// audit writes a line of the audit trail. Project 0: of none.
func audit(ctx context.Context, tx pgx.Tx, person, project int64, action, subject string) error {
	_, err := tx.Exec(ctx, "INSERT INTO projects.audit (person_id, project_id, action, subject) VALUES ($1, nullif($2::bigint, 0), $3, $4)",
		person, project, action, subject)
	if err != nil {
		return fmt.Errorf("audit trail: %w", err)
	}
	return nil
}
