package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/projects"
)

// ErrNoSession says that somebody isn't signed in, or no longer.
var ErrNoSession = errors.New("account: not signed in")

// A CredentialsError says that somebody can't be let in with what they gave.
type CredentialsError struct {
	Sentence string // for people
}

func (e *CredentialsError) Error() string { return e.Sentence }

// A Client is where somebody comes from.
type Client struct {
	UserAgent string
	Address   netip.Addr // not valid: unknown
}

// An Identity is who has a session.
type Identity struct {
	Person    projects.Me
	SessionID string // also the jti of connection tokens
	NewCookie string // the session's secret has been changed, to this; "": it has not
}

// A Session is one that has just begun.
type Session struct {
	ID     string
	Cookie string // the cookie's value
	Me     projects.Me
}

const (
	// rotateAfter is how long a session's secret is used before it is exchanged.
	rotateAfter = 12 * time.Hour
	// grace is how long the former secret is good after that, for requests that were under way.
	grace = time.Minute
	// noteAfter is how often it is noted that a session is used, which also extends it.
	noteAfter = time.Minute
	// mostSessions is how many somebody may have: beginning another one ends the one that was not used for longest.
	mostSessions = 50
)

// CookieName is the name of the cookie that holds the session's secret. Over https, browsers vouch that it is this host's own.
func (a *Accounts) CookieName() string {
	if a.opts.Secure {
		return "__Host-session"
	}
	return "session"
}

// Cookie is the cookie with a session's secret. "" makes one that takes it away.
func (a *Accounts) Cookie(value string) *http.Cookie {
	cookie := &http.Cookie{ //nolint:gosec // not secure where the site has no https, as on one's own machine
		Name: a.CookieName(), Value: value, Path: "/", MaxAge: int(a.opts.SessionTTL / time.Second),
		Secure: a.opts.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	return cookie
}

// newSecret makes one of 256 bits, and its hash, which alone is kept. The hash needs no salt and no stretching: nobody guesses
// 256 bits.
func newSecret() (secret string, hash []byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	secret = base64.RawURLEncoding.EncodeToString(b[:])
	return secret, hashSecret(secret)
}

// secretLength is that of what newSecret writes.
var secretLength = base64.RawURLEncoding.EncodedLen(32)

func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// stored is a session as its row has it.
type stored struct {
	id                string
	current           bool // the secret presented is the newest one
	rotatedAt, usedAt time.Time
	me                projects.Me
}

// unseen tells that the newest secret has never come back: the answer that carried it may be lost, or still be on its way. Until it
// does, the former secret stays good, so that a broken connection signs nobody out.
func (s *stored) unseen() bool { return !s.usedAt.After(s.rotatedAt) }

// Authenticate finds the session that a cookie's value belongs to. Now and then it exchanges the session's secret: then the answer
// has to carry the new one. The error is ErrNoSession, or the database's.
func (a *Accounts) Authenticate(ctx context.Context, cookie string) (Identity, error) {
	return a.authenticate(ctx, cookie, true)
}

// Recognize is [Accounts.Authenticate] for requests that take long: it leaves the session's secret as it is, which until the answer
// arrives might have been exchanged again.
func (a *Accounts) Recognize(ctx context.Context, cookie string) (Identity, error) {
	return a.authenticate(ctx, cookie, false)
}

func (a *Accounts) authenticate(ctx context.Context, cookie string, rotate bool) (Identity, error) {
	if len(cookie) != secretLength {
		return Identity{}, ErrNoSession
	}
	hash, now := hashSecret(cookie), a.now()
	s, err := a.find(ctx, hash, now)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Person: s.me, SessionID: s.id}
	age := now.Sub(s.rotatedAt)
	switch {
	case rotate && s.current && age >= rotateAfter, rotate && !s.current && age >= grace:
		id.NewCookie, err = a.rotate(ctx, s, hash, now)
	case s.current && (s.unseen() || now.Sub(s.usedAt) >= noteAfter):
		_, err = a.pool.Exec(ctx, `UPDATE projects.session
			SET used_at = greatest($3, rotated_at + interval '1 microsecond'), expires_at = $4 WHERE id = $1 AND token_hash = $2`,
			s.id, hash, now, now.Add(a.opts.SessionTTL))
	}
	if err != nil {
		return Identity{}, fmt.Errorf("note the use of a session: %w", err)
	}
	return id, nil
}

// find reads the session that a secret belongs to.
func (a *Accounts) find(ctx context.Context, hash []byte, now time.Time) (*stored, error) {
	var s stored
	err := a.pool.QueryRow(ctx, `SELECT s.id::text, s.token_hash = $1, s.rotated_at, s.used_at, `+meColumns+`
		FROM projects.session s JOIN projects.person h ON h.id = s.person_id LEFT JOIN projects.organisation o ON o.id = h.organisation_id
		WHERE (s.token_hash = $1 OR s.previous_hash = $1 AND (s.used_at <= s.rotated_at OR s.rotated_at > $3))
		  AND s.expires_at > $2 AND h.deactivated_at IS NULL`, hash, now, now.Add(-grace)).
		Scan(append([]any{&s.id, &s.current, &s.rotatedAt, &s.usedAt}, meTargets(&s.me)...)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("find a session: %w", err)
	}
	return &s, nil
}

// rotate exchanges a session's secret. Of several requests with the same secret, on whichever nodes, one does; the others go on with
// the one they have, which is the former one from then on.
func (a *Accounts) rotate(ctx context.Context, s *stored, hash []byte, now time.Time) (string, error) {
	secret, fresh := newSecret()
	tag, err := a.pool.Exec(ctx, `UPDATE projects.session
		SET token_hash = $3, previous_hash = $2, rotated_at = $4, used_at = $4, expires_at = $5
		WHERE id = $1 AND rotated_at = $6 AND (token_hash = $2 OR previous_hash = $2 AND used_at <= rotated_at)`,
		s.id, hash, fresh, now, now.Add(a.opts.SessionTTL), s.rotatedAt)
	if err != nil || tag.RowsAffected() == 0 {
		return "", err
	}
	return secret, nil
}

// begin makes a session. Of the person at most [mostSessions] stay.
func (a *Accounts) begin(ctx context.Context, tx pgx.Tx, person int64, client Client) (Session, error) {
	now := a.now()
	secret, hash := newSecret()
	session := Session{Cookie: secret}
	err := tx.QueryRow(ctx, `INSERT INTO projects.session (person_id, token_hash, created_at, rotated_at, used_at, expires_at, user_agent, address)
		VALUES ($1, $2, $3, $3, $3, $4, $5, $6) RETURNING id::text`,
		person, hash, now, now.Add(a.opts.SessionTTL), cut(client.UserAgent, 300), addressText(client.Address)).Scan(&session.ID)
	if err != nil {
		return Session{}, fmt.Errorf("begin a session: %w", err)
	}
	if session.Me, err = me(ctx, tx, person); err != nil {
		return Session{}, err
	}
	return session, endSessions(ctx, tx, `id IN (SELECT id FROM projects.session WHERE person_id = $1 AND id <> $2::uuid
		ORDER BY used_at DESC, id OFFSET $3)`, person, session.ID, mostSessions-1)
}

// endSessions deletes those that fit a condition, and with their connection tokens their live connections.
func endSessions(ctx context.Context, tx pgx.Tx, condition string, args ...any) error {
	rows, err := tx.Query(ctx, "DELETE FROM projects.session WHERE "+condition+" RETURNING id::text", args...)
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	for _, id := range ended {
		if err := trunkline.RevokeToken(ctx, tx, id); err != nil {
			return fmt.Errorf("end the connections of a session: %w", err)
		}
	}
	return nil
}

// A SessionEntry is a session as its person sees it.
type SessionEntry struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at"` // to about a minute
	UserAgent string    `json:"user_agent"`
	Address   string    `json:"address"`
	Current   bool      `json:"current"` // the one that asks
}

// Sessions are those of the person, the one used last first.
func (a *Accounts) Sessions(ctx context.Context, id Identity) ([]SessionEntry, error) {
	rows, err := a.pool.Query(ctx, `SELECT id::text, created_at, used_at, user_agent, address, id = $2::uuid FROM projects.session
		WHERE person_id = $1 AND expires_at > $3 ORDER BY used_at DESC, id`, id.Person.ID, id.SessionID, a.now())
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[SessionEntry])
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return all, nil
}

// SignOut ends one session of the person's, and its live connections. ErrNotFound: the person has none of that id.
func (a *Accounts) SignOut(ctx context.Context, person int64, session string) error {
	if uuid.Validate(session) != nil {
		return projects.ErrNotFound
	}
	return a.write(ctx, func(tx pgx.Tx) error {
		var there bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM projects.session WHERE person_id = $1 AND id::text = $2)", person, session).Scan(&there)
		if err != nil {
			return fmt.Errorf("find a session: %w", err)
		}
		if !there {
			return projects.ErrNotFound
		}
		return endSessions(ctx, tx, "person_id = $1 AND id = $2::uuid", person, session)
	})
}

// SignOutEverywhere ends all sessions of the person, and all their live connections.
func (a *Accounts) SignOutEverywhere(ctx context.Context, person int64) error {
	return a.write(ctx, func(tx pgx.Tx) error { return endSessions(ctx, tx, "person_id = $1", person) })
}

// cut shortens what a client says of itself, and leaves out what no text may have.
func cut(s string, most int) string {
	runes := []rune(s)
	if len(runes) > most {
		runes = runes[:most]
	}
	kept := runes[:0]
	for _, r := range runes {
		if r >= ' ' && r != 0x7f {
			kept = append(kept, r)
		}
	}
	return string(kept)
}

func addressText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
