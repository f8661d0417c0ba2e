package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects"
)

// resetTTL is how long a link to choose a new password is good.
const resetTTL = time.Hour

// NewResetToken makes the secret of a link to choose a new password, which is good for an hour and once.
func NewResetToken(ctx context.Context, tx pgx.Tx, person int64) (secret string, err error) {
	secret, hash := newSecret()
	_, err = tx.Exec(ctx, `INSERT INTO projects.token (hash, purpose, person_id, expires_at)
		VALUES ($1, 'reset', $2, now() + make_interval(secs => $3))`, hash, person, resetTTL.Seconds())
	if err != nil {
		return "", fmt.Errorf("make a link to choose a new password: %w", err)
	}
	return secret, nil
}

// AskReset has a link to choose a new password sent to an address, if somebody has it. Whether somebody does can't be told from
// what it returns, nor from how long it takes. It sends an address three in a quarter of an hour at most, and others quietly not.
// Its error is a *projects.LimitError if too many were asked for from one place, or the database's.
func (a *Accounts) AskReset(ctx context.Context, email string, client Client) error {
	if !utf8.ValidString(email) || strings.ContainsRune(email, 0) {
		email = ""
	}
	if err := a.reserve(ctx, resetLimit(client.Address)); err != nil {
		return err
	}
	err := a.write(ctx, func(tx pgx.Tx) error {
		if err := a.reserveTx(ctx, tx, resetEmailLimit(email)); err != nil {
			return err
		}
		// One that waits to be sent is enough.
		_, err := tx.Exec(ctx, `INSERT INTO projects.letter (purpose, person_id)
			SELECT 'reset', h.id FROM projects.person h
			WHERE lower(h.email) = lower($1) AND h.deactivated_at IS NULL AND NOT EXISTS (
				SELECT FROM projects.letter l
				WHERE l.person_id = h.id AND l.purpose = 'reset' AND l.sent_at IS NULL AND l.failed_at IS NULL)`, strings.TrimSpace(email))
		if err != nil {
			return fmt.Errorf("ask for a new password: %w", err)
		}
		return nil
	})
	var limit *projects.LimitError
	if errors.As(err, &limit) {
		return nil
	}
	return err
}

const askAgain = " Ask for a new one on the sign-in page."

// resetToken finds whose password a link is to change, and locks it if lock says so.
func (a *Accounts) resetToken(ctx context.Context, tx pgx.Tx, token string, lock bool) (person int64, email string, err error) {
	var used *time.Time
	var expires time.Time
	forUpdate := ""
	if lock {
		forUpdate = " FOR UPDATE OF t"
	}
	err = tx.QueryRow(ctx, `SELECT h.id, h.email, t.used_at, t.expires_at FROM projects.token t JOIN projects.person h ON h.id = t.person_id
		WHERE t.hash = $1 AND t.purpose = 'reset' AND h.deactivated_at IS NULL`+forUpdate, hashSecret(token)).
		Scan(&person, &email, &used, &expires)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, "", errUnknownToken
	case err != nil:
		return 0, "", fmt.Errorf("read a link to choose a new password: %w", err)
	case used != nil:
		return 0, "", &projects.GoneError{Sentence: "This link has been used already, or another one has." + askAgain}
	case !expires.After(a.now()):
		return 0, "", &projects.GoneError{Sentence: "This link has expired: it was good for an hour." + askAgain}
	}
	return person, email, nil
}

// errUnknownToken says that there is no such token: only who guesses, or loses half of a link, meets it.
var errUnknownToken = errors.New("account: unknown token")

// guessed answers an unknown token, and counts it.
func (a *Accounts) guessed(ctx context.Context, err error, client Client, sentence string) error {
	if !errors.Is(err, errUnknownToken) {
		return err
	}
	limit := addressLimit(client.Address)
	limit.what = "Links that don't exist were opened too often from where you are"
	if err := a.reserve(ctx, limit); err != nil {
		return err
	}
	return &projects.GoneError{Sentence: sentence}
}

const unknownReset = "There is no such link, or no longer: copy the whole of it from the mail, or ask for a new one on the sign-in page."

// ResetFor tells whose password a link is to change. The error is a *projects.GoneError if it is good for nothing.
func (a *Accounts) ResetFor(ctx context.Context, token string, client Client) (email string, err error) {
	err = a.write(ctx, func(tx pgx.Tx) error {
		_, email, err = a.resetToken(ctx, tx, token, false)
		return err
	})
	return email, a.guessed(ctx, err, client, unknownReset)
}

// Reset sets the password of whom a link was sent to, ends all their sessions, and begins one.
func (a *Accounts) Reset(ctx context.Context, token, password string, client Client) (Session, error) {
	if _, err := a.ResetFor(ctx, token, client); err != nil {
		return Session{}, err
	}
	if err := checkPassword("password", password); err != nil {
		return Session{}, err
	}
	hashed, err := a.hasher.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	var session Session
	err = a.write(ctx, func(tx pgx.Tx) error {
		person, email, err := a.resetToken(ctx, tx, token, true)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE projects.person SET password_hash = $2 WHERE id = $1", person, hashed); err != nil {
			return fmt.Errorf("set a password: %w", err)
		}
		if err := a.passwordChanged(ctx, tx, person, "", "password.reset"); err != nil {
			return err
		}
		if err := forgiveTx(ctx, tx, emailLimit(email).subject); err != nil {
			return err
		}
		session, err = a.begin(ctx, tx, person, client)
		return err
	})
	return session, a.guessed(ctx, err, client, unknownReset)
}
