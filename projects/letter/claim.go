package letter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects/account"
)

// A claimed letter is one that this worker is to send.
type claimed struct {
	id           int64
	attempt      int
	purpose      string // reset or invitation
	personID     int64  // 0: none
	invitationID int64  // 0: none
	createdAt    time.Time
	now          time.Time // when it was claimed

	email, name, locale, zone string
	inviter, company, project string
	expires                   time.Time // of an invitation
	void                      string    // why there is nothing to send any more; empty: there is

	secret string // empty: nothing is to be sent
}

// redact keeps the secret out of what servers said of the mail: some quote the address that they dislike.
func (c *claimed) redact(text string) string {
	text = strings.ReplaceAll(text, c.secret, "…")
	if r := []rune(text); len(r) > 500 {
		text = string(r[:499]) + "…"
	}
	return text
}

// A voidError says that a letter isn't wanted any more.
type voidError struct{ reason string }

func (e *voidError) Error() string { return "the letter isn't wanted any more: " + e.reason }

// wanted is a letter with all that it says, and why it is void. It expects the letter as l, and the time as $1.
const wanted = `
	SELECT l.id, l.attempts, l.purpose, coalesce(l.person_id, 0), coalesce(l.invitation_id, 0), l.created_at, coalesce($1, now()),
	       coalesce(i.email, r.email, ''), coalesce(r.name, x.name, i.name, ''), coalesce(r.locale, x.locale, ''), coalesce(r.time_zone, x.time_zone, ''),
	       coalesce(b.name, ''), coalesce(o.name, ''), coalesce(j.name, ''), coalesce(i.expires_at, now()),
	       CASE
	         WHEN EXISTS (SELECT FROM projects.letter n WHERE n.id > l.id AND n.purpose = l.purpose AND n.failed_at IS NULL
	                        AND (n.person_id = l.person_id OR n.invitation_id = l.invitation_id)) THEN 'A newer mail takes its place.'
	         WHEN coalesce(r.deactivated_at, x.deactivated_at) IS NOT NULL THEN 'The account was closed.'
	         WHEN l.purpose = 'reset' THEN CASE WHEN r.id IS NULL THEN 'There is no such account.' ELSE '' END
	         WHEN i.id IS NULL OR i.revoked_at IS NOT NULL THEN 'The invitation was withdrawn.'
	         WHEN i.accepted_at IS NOT NULL THEN 'The invitation was accepted.'
	         WHEN i.expires_at <= coalesce($1, now()) THEN 'The invitation has expired.'
	         ELSE ''
	       END
	FROM l
	LEFT JOIN projects.invitation i ON i.id = l.invitation_id
	LEFT JOIN projects.person r ON r.id = l.person_id
	LEFT JOIN projects.person x ON lower(x.email) = lower(i.email) -- the invited one, if known already
	LEFT JOIN projects.person b ON b.id = i.invited_by
	LEFT JOIN projects.project j ON j.id = i.project_id
	LEFT JOIN projects.organisation o ON o.id = j.organisation_id`

func scan(row pgx.CollectableRow) (*claimed, error) {
	c := new(claimed)
	err := row.Scan(&c.id, &c.attempt, &c.purpose, &c.personID, &c.invitationID, &c.createdAt, &c.now, &c.email, &c.name, &c.locale, &c.zone,
		&c.inviter, &c.company, &c.project, &c.expires, &c.void)
	return c, err
}

// claim takes the letter that has waited longest and puts it out of the reach of others for the lease. In the same transaction it
// makes the secret of its link; what isn't wanted any more is given up instead. It returns nil if nothing is due.
func (w *Worker) claim(ctx context.Context) (*claimed, error) {
	var c *claimed
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH due AS (
			    SELECT id FROM projects.letter
			    WHERE sent_at IS NULL AND failed_at IS NULL AND next_at <= coalesce($1, now())
			    ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
			), l AS (
			    UPDATE projects.letter t SET attempts = t.attempts + 1, next_at = coalesce($1, now()) + $2
			    FROM due WHERE t.id = due.id RETURNING t.*
			)`+wanted, w.time(), lease)
		if err != nil {
			return err
		}
		if c, err = pgx.CollectExactlyOneRow(rows, scan); errors.Is(err, pgx.ErrNoRows) {
			c = nil
			return nil
		} else if err != nil {
			return err
		}
		if c.void != "" {
			_, err = tx.Exec(ctx, `UPDATE projects.letter SET failed_at = $2, reply = $3 WHERE id = $1`, c.id, c.now, c.void)
			return err
		}
		if c.purpose == "reset" {
			c.secret, err = account.NewResetToken(ctx, tx, c.personID)
		} else {
			c.secret, err = account.NewInvitationToken(ctx, tx, c.invitationID)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim a letter: %w", err)
	}
	return c, nil
}

// time is what $1 is: NULL means the database's own.
func (w *Worker) time() *time.Time {
	if w.opts.Now == nil {
		return nil
	}
	now := w.opts.Now()
	return &now
}

// stillWanted is asked when the server has all of a mail but its end: the last moment at which it can be held back because the
// invitation was withdrawn, or because another node has taken the letter over.
func (w *Worker) stillWanted(ctx context.Context, c *claimed) error {
	rows, err := w.pool.Query(ctx, `
		WITH l AS (SELECT * FROM projects.letter WHERE id = $2 AND attempts = $3 AND sent_at IS NULL AND failed_at IS NULL)`+wanted,
		w.time(), c.id, c.attempt)
	if err != nil {
		return fmt.Errorf("look whether a letter is still wanted: %w", err)
	}
	now, err := pgx.CollectExactlyOneRow(rows, scan)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return &voidError{"It was taken over or taken back."}
	case err != nil:
		return fmt.Errorf("look whether a letter is still wanted: %w", err)
	case now.void != "":
		return &voidError{now.void}
	}
	return nil
}

// What came of a letter is only noted by who has claimed it last.

func (w *Worker) done(ctx context.Context, c *claimed) error {
	return w.note(ctx, c, `sent_at = coalesce($3, now()), reply = ''`, w.time())
}

func (w *Worker) giveUp(ctx context.Context, c *claimed, reply string) error {
	return w.note(ctx, c, `failed_at = coalesce($3, now()), reply = $4`, w.time(), reply)
}

func (w *Worker) postpone(ctx context.Context, c *claimed, wait time.Duration, reply string) error {
	return w.note(ctx, c, `next_at = coalesce($3, now()) + $4, reply = $5`, w.time(), wait, reply)
}

func (w *Worker) release(ctx context.Context, c *claimed) error {
	return w.note(ctx, c, `next_at = coalesce($3, now())`, w.time())
}

func (w *Worker) note(ctx context.Context, c *claimed, set string, args ...any) error {
	_, err := w.pool.Exec(ctx, `UPDATE projects.letter SET `+set+` WHERE id = $1 AND attempts = $2 AND sent_at IS NULL AND failed_at IS NULL`,
		append([]any{c.id, c.attempt}, args...)...)
	if err != nil {
		return fmt.Errorf("note what came of the letter %d: %w", c.id, err)
	}
	return nil
}
