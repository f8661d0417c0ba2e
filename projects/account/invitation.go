package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/projects"
)

// NewInvitationToken makes the secret of a link to accept an invitation, which is good for as long as the invitation. Links that
// were sent before stay good as well.
func NewInvitationToken(ctx context.Context, tx pgx.Tx, invitation int64) (secret string, err error) {
	secret, hash := newSecret()
	tag, err := tx.Exec(ctx, `INSERT INTO projects.token (hash, purpose, invitation_id, expires_at)
		SELECT $1, 'invitation', id, expires_at FROM projects.invitation WHERE id = $2`, hash, invitation)
	if err != nil {
		return "", fmt.Errorf("make a link to accept an invitation: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return "", projects.ErrNotFound
	}
	return secret, nil
}

// A MyInvitation is one as whoever is invited sees it.
type MyInvitation struct {
	ID          int64         `json:"id"`
	ProjectID   int64         `json:"project_id"`
	ProjectName string        `json:"project_name"`
	Inviter     string        `json:"inviter"` // "": gone
	Role        projects.Role `json:"role"`
	ExpiresAt   time.Time     `json:"expires_at"`
}

// Invited is what a link to accept an invitation shows.
type Invited struct {
	ProjectID   int64         `json:"project_id"`
	ProjectName string        `json:"project_name"`
	Inviter     string        `json:"inviter"` // "": gone
	Email       string        `json:"email"`
	Name        string        `json:"name"` // as the inviter wrote it, may be ""
	Role        projects.Role `json:"role"`
	HasAccount  bool          `json:"has_account"` // somebody has this address: who accepts must be signed in as them
}

// invitation is one as its row and its project's have it.
type invitation struct {
	MyInvitation
	email, name  string
	organisation int64
	orgName      string
	status       string // of the project
	acceptedAt   *time.Time
	revokedAt    *time.Time
	account      int64 // of the person who has the address, 0: nobody
}

const selectInvitation = `SELECT i.id, i.project_id, p.name, coalesce(b.name, ''), i.role, i.expires_at, i.email, i.name,
		p.organisation_id, o.name, p.status, i.accepted_at, i.revoked_at,
		coalesce((SELECT h.id FROM projects.person h WHERE lower(h.email) = lower(i.email)), 0)
	FROM projects.invitation i JOIN projects.project p ON p.id = i.project_id JOIN projects.organisation o ON o.id = p.organisation_id
	LEFT JOIN projects.person b ON b.id = i.invited_by `

func scanInvitation(row pgx.Row) (*invitation, error) {
	var i invitation
	err := row.Scan(&i.ID, &i.ProjectID, &i.ProjectName, &i.Inviter, &i.Role, &i.ExpiresAt, &i.email, &i.name,
		&i.organisation, &i.orgName, &i.status, &i.acceptedAt, &i.revokedAt, &i.account)
	return &i, err
}

// good says why an invitation can't be accepted any more, by anybody.
func (i *invitation) good(now time.Time) error {
	ask := "Ask whoever invited you"
	if i.Inviter != "" {
		ask = "Ask " + i.Inviter
	}
	switch {
	case i.acceptedAt != nil:
		return &projects.GoneError{Sentence: fmt.Sprintf("This invitation to “%s” has been used already. Sign in to get there.", i.ProjectName)}
	case i.revokedAt != nil:
		return &projects.GoneError{Sentence: fmt.Sprintf("This invitation to “%s” has been withdrawn. %s for another one.", i.ProjectName, ask)}
	case !i.ExpiresAt.After(now):
		return &projects.GoneError{Sentence: fmt.Sprintf("This invitation to “%s” was good until %s. %s for another one.",
			i.ProjectName, i.ExpiresAt.UTC().Format("2 January 2006"), ask)}
	case i.status == "archived":
		return &projects.GoneError{Sentence: fmt.Sprintf("“%s” is archived, so nobody can join it. %s whether that will change.", i.ProjectName, ask)}
	}
	return nil
}

// Invitations are those to the address of somebody who is signed in, that can be accepted, the newest first.
func (a *Accounts) Invitations(ctx context.Context, person int64) ([]MyInvitation, error) {
	rows, err := a.pool.Query(ctx, selectInvitation+`JOIN projects.person h ON lower(h.email) = lower(i.email)
		WHERE h.id = $1 AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > $2 AND p.status <> 'archived'
		ORDER BY i.id DESC LIMIT 100`, person, a.now())
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (MyInvitation, error) {
		i, err := scanInvitation(row)
		return i.MyInvitation, err
	})
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	return all, nil
}

// Accept lets somebody who is signed in into the project that their address was invited to. ErrNotFound: there is no such
// invitation to their address. *projects.GoneError: it can't be accepted any more. *projects.ForbiddenError: not by them.
func (a *Accounts) Accept(ctx context.Context, person, id int64) (project int64, err error) {
	err = a.write(ctx, func(tx pgx.Tx) error {
		i, err := a.lockInvitation(ctx, tx, "i.id = $1", id)
		if errors.Is(err, errUnknownToken) || err == nil && i.account != person {
			return projects.ErrNotFound
		}
		if err != nil {
			return err
		}
		if err := i.good(a.now()); err != nil {
			return err
		}
		project = i.ProjectID
		return a.join(ctx, tx, i, person)
	})
	return project, err
}

// lockInvitation reads an invitation and locks it, so that it is accepted once, and its project, as all do who change who takes part.
func (a *Accounts) lockInvitation(ctx context.Context, tx pgx.Tx, condition string, arg any) (*invitation, error) {
	var id int64
	err := tx.QueryRow(ctx, `SELECT i.id FROM projects.invitation i JOIN projects.project p ON p.id = i.project_id
		WHERE `+condition+` FOR NO KEY UPDATE OF p`, arg).Scan(&id)
	if err == nil {
		err = tx.QueryRow(ctx, "SELECT id FROM projects.invitation WHERE id = $1 FOR UPDATE", id).Scan(&id)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errUnknownToken
	}
	if err != nil {
		return nil, fmt.Errorf("lock an invitation: %w", err)
	}
	i, err := scanInvitation(tx.QueryRow(ctx, selectInvitation+"WHERE i.id = $1", id))
	if err != nil {
		return nil, fmt.Errorf("read an invitation: %w", err)
	}
	return i, nil
}

// join makes somebody a member by an invitation that is locked and good.
func (a *Accounts) join(ctx context.Context, tx pgx.Tx, i *invitation, person int64) error {
	m, err := me(ctx, tx, person)
	if err != nil {
		return err
	}
	if i.Role != projects.Customer && (m.OrganisationID == nil || *m.OrganisationID != i.organisation) {
		return &projects.ForbiddenError{Sentence: fmt.Sprintf(
			"This invitation is for staff of %s, and %s isn't: ask to be invited as a customer.", i.orgName, m.Email)}
	}
	tag, err := tx.Exec(ctx, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		i.ProjectID, person, i.Role)
	if err != nil {
		return fmt.Errorf("join a project: %w", err)
	}
	if _, err := tx.Exec(ctx, "UPDATE projects.invitation SET accepted_at = $2, accepted_by = $3 WHERE id = $1", i.ID, a.now(), person); err != nil {
		return fmt.Errorf("accept an invitation: %w", err)
	}
	_, err = tx.Exec(ctx, "UPDATE projects.token SET used_at = $2 WHERE invitation_id = $1 AND used_at IS NULL", i.ID, a.now())
	if err != nil {
		return fmt.Errorf("accept an invitation: %w", err)
	}
	if _, err := inbox.RetractTx(ctx, tx, inbox.Retraction{Cause: fmt.Sprintf("invitation:%d", i.ID)}); err != nil {
		return fmt.Errorf("take back the notification of an invitation: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil // was a member already, and stays what they are
	}
	return audit(ctx, tx, person, i.ProjectID, "member.joined", fmt.Sprintf("invitation:%d", i.ID))
}

const unknownInvitation = "There is no such invitation, or no longer: copy the whole link from the mail, or ask whoever invited you for another one."

// byToken is the condition for what a link leads to.
const byToken = "i.id = (SELECT t.invitation_id FROM projects.token t WHERE t.hash = $1 AND t.purpose = 'invitation')" //nolint:gosec // no credential

// InvitedBy tells what a link is an invitation to. The error is a *projects.GoneError if it is good for nothing.
func (a *Accounts) InvitedBy(ctx context.Context, token string, client Client) (Invited, error) {
	i, err := scanInvitation(a.pool.QueryRow(ctx, selectInvitation+"WHERE "+byToken, hashSecret(token)))
	if errors.Is(err, pgx.ErrNoRows) {
		return Invited{}, a.guessed(ctx, errUnknownToken, client, unknownInvitation)
	}
	if err != nil {
		return Invited{}, fmt.Errorf("read an invitation: %w", err)
	}
	if err := i.good(a.now()); err != nil {
		return Invited{}, err
	}
	return Invited{
		ProjectID: i.ProjectID, ProjectName: i.ProjectName, Inviter: i.Inviter, Email: i.email, Name: i.name, Role: i.Role, HasAccount: i.account != 0,
	}, nil
}

// A Newcomer is what somebody says who is new. Name and Password are needed.
type Newcomer struct {
	Name, Password string
	TimeZone       string // "": the site's
}

// AcceptBy accepts the invitation that a link leads to. Where somebody has the address that was invited, caller has to be them: then
// the session is the zero one, as they have theirs. Where nobody has, it makes an account and begins a session.
//
// Errors: ErrNoSession, *CredentialsError or *projects.ForbiddenError if it takes being signed in as somebody else;
// *projects.InvalidError; *projects.GoneError.
func (a *Accounts) AcceptBy(ctx context.Context, token string, caller projects.Me, n Newcomer, client Client) (Session, error) {
	invited, err := a.InvitedBy(ctx, token, client)
	if err != nil {
		return Session{}, err
	}
	hashed := ""
	if !invited.HasAccount {
		if n.Name, err = projects.CheckLine("name", "the name", n.Name, 100); err != nil {
			return Session{}, err
		}
		if err := checkPassword("password", n.Password); err != nil {
			return Session{}, err
		}
		if hashed, err = a.hasher.hash(ctx, n.Password); err != nil {
			return Session{}, err
		}
	}
	var session Session
	err = a.write(ctx, func(tx pgx.Tx) error {
		session = Session{}
		i, err := a.lockInvitation(ctx, tx, byToken, hashSecret(token))
		if err != nil {
			return err
		}
		if err := i.good(a.now()); err != nil {
			return err
		}
		if i.account != 0 {
			if err := mustBe(i, caller); err != nil {
				return err
			}
			return a.join(ctx, tx, i, caller.ID)
		}
		if hashed == "" { // there was an account a moment ago
			return &projects.ConflictError{Sentence: "The account of this address has just been removed. Open the link again."}
		}
		person, err := a.create(ctx, tx, i, n, hashed)
		if err != nil {
			return err
		}
		if err := a.join(ctx, tx, i, person); err != nil {
			return err
		}
		session, err = a.begin(ctx, tx, person, client)
		return err
	})
	return session, a.guessed(ctx, err, client, unknownInvitation)
}

// mustBe refuses whoever isn't the one who was invited.
func mustBe(i *invitation, caller projects.Me) error {
	switch caller.ID {
	case i.account:
		return nil
	case 0:
		return &CredentialsError{Sentence: fmt.Sprintf("There is an account with the address %s. Sign in with it to accept the invitation.", i.email)}
	}
	return &projects.ForbiddenError{Sentence: fmt.Sprintf("This invitation is for %s, and you are signed in as %s. Sign out, and open the link again.",
		i.email, caller.Email)}
}

// create makes the account of somebody who was invited: staff belong to the project's organisation.
func (a *Accounts) create(ctx context.Context, tx pgx.Tx, i *invitation, n Newcomer, hashed string) (person int64, err error) {
	if err := checkZone(ctx, tx, "time_zone", n.TimeZone); err != nil {
		return 0, err
	}
	var organisation *int64
	if i.Role != projects.Customer {
		organisation = &i.organisation
	}
	err = tx.QueryRow(ctx, `INSERT INTO projects.person (organisation_id, email, name, time_zone, password_hash)
		VALUES ($1, $2, $3, $4, $5) RETURNING id`, organisation, strings.ToLower(i.email), n.Name, n.TimeZone, hashed).Scan(&person)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return 0, &projects.ConflictError{Sentence: "Somebody has made an account with this address meanwhile. Sign in with it, and open the link again."}
	}
	if err != nil {
		return 0, fmt.Errorf("make an account: %w", err)
	}
	return person, audit(ctx, tx, person, 0, "account.created", fmt.Sprintf("person:%d", person))
}
