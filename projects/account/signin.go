package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline/projects"
)

// wrong is what everybody is told who can't be let in: whether there is such an address is not for strangers to know.
func wrong() error {
	return &CredentialsError{Sentence: "This e-mail address and this password don't belong together. Check both, or ask for a new password."}
}

// SignIn lets in whoever knows the password of an address. Errors: *CredentialsError; *projects.LimitError if it has failed too
// often.
func (a *Accounts) SignIn(ctx context.Context, email, password string, client Client) (Session, error) {
	byEmail, byAddress := emailLimit(email), addressLimit(client.Address)
	if err := a.reserve(ctx, byEmail, byAddress); err != nil {
		return Session{}, err
	}
	person, hashed, err := a.knows(ctx, email)
	if err != nil {
		return Session{}, err
	}
	ok, stale, err := a.hasher.verify(ctx, password, hashed)
	if err != nil {
		return Session{}, err
	}
	if !ok {
		return Session{}, wrong()
	}
	fresh := hashed
	if stale {
		if fresh, err = a.hasher.hash(ctx, password); err != nil {
			return Session{}, err
		}
	}
	var session Session
	err = a.write(ctx, func(tx pgx.Tx) error {
		// The password is the one still, and stays so until this is done: or a session would outlive its change.
		tag, err := tx.Exec(ctx, `UPDATE projects.person SET password_hash = $3
			WHERE id = $1 AND password_hash = $2 AND deactivated_at IS NULL`, person, hashed, fresh)
		if err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return wrong()
		}
		if err := forgiveTx(ctx, tx, byEmail.subject); err != nil {
			return err
		}
		if err := takeBack(ctx, tx, byAddress.subject); err != nil {
			return err
		}
		session, err = a.begin(ctx, tx, person, client)
		return err
	})
	return session, err
}

// knows finds who has an address and may sign in by password. Nobody: 0 and "".
func (a *Accounts) knows(ctx context.Context, email string) (person int64, hashed string, err error) {
	email = strings.TrimSpace(email)
	if !utf8.ValidString(email) || strings.ContainsRune(email, 0) {
		email = ""
	}
	err = a.pool.QueryRow(ctx, `SELECT id, password_hash FROM projects.person
		WHERE lower(email) = lower($1) AND password_hash IS NOT NULL AND deactivated_at IS NULL`, email).Scan(&person, &hashed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, "", fmt.Errorf("sign in: %w", err)
	}
	return person, hashed, nil
}

// A DemoPerson is somebody whom anybody may be, where the demo is shown.
type DemoPerson struct {
	ID      int64
	Name    string
	Email   string
	Company string
	Staff   bool
	Admin   bool
}

// DemoPeople are those whom anybody may be. ErrNotFound: there is no demo here.
func (a *Accounts) DemoPeople(ctx context.Context) ([]DemoPerson, error) {
	if !a.opts.Demo {
		return nil, projects.ErrNotFound
	}
	rows, err := a.pool.Query(ctx, `SELECT h.id, h.name, h.email, coalesce(o.name, h.company), h.organisation_id IS NOT NULL, h.admin
		FROM projects.person h LEFT JOIN projects.organisation o ON o.id = h.organisation_id
		WHERE h.demo AND h.deactivated_at IS NULL ORDER BY h.id LIMIT 100`)
	if err != nil {
		return nil, fmt.Errorf("list demo people: %w", err)
	}
	people, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DemoPerson])
	if err != nil {
		return nil, fmt.Errorf("list demo people: %w", err)
	}
	return people, nil
}

// SignInDemo lets anybody in as a demo person. ErrNotFound: this is none, or there is no demo here.
func (a *Accounts) SignInDemo(ctx context.Context, person int64, client Client) (Session, error) {
	if !a.opts.Demo {
		return Session{}, projects.ErrNotFound
	}
	var session Session
	err := a.write(ctx, func(tx pgx.Tx) error {
		var there bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM projects.person WHERE id = $1 AND demo AND deactivated_at IS NULL)", person).Scan(&there)
		if err != nil {
			return fmt.Errorf("find a demo person: %w", err)
		}
		if !there {
			return projects.ErrNotFound
		}
		session, err = a.begin(ctx, tx, person, client)
		return err
	})
	return session, err
}

// attempts is how often a transaction is tried that loses against another one.
const attempts = 4

// write runs do in a transaction, again if it lost against another one: do must change nothing but the transaction.
func (a *Accounts) write(ctx context.Context, do func(tx pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := pgx.BeginFunc(ctx, a.pool, do)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") && attempt < attempts && ctx.Err() == nil {
			continue
		}
		return err
	}
}
