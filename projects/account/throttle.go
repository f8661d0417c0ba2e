package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects"
)

// window is how long a failed attempt counts.
const window = 15 * time.Minute

// A limit is how often something may be tried within the window.
type limit struct {
	subject string
	most    int
	// what was tried too often, as a sentence begins.
	what string
}

// emailLimit is that of failed sign-ins with an address, whether somebody has it or not. The address is hashed: people mistake
// fields, and what they then write is nobody's business.
func emailLimit(email string) limit {
	return limit{subject: "email:" + digest(email), most: 10, what: "Signing in with this e-mail address has failed too often"}
}

// addressLimit is that of failures from an address of the network.
func addressLimit(addr netip.Addr) limit {
	return limit{subject: "address:" + network(addr), most: 50, what: "Signing in has failed too often from where you are"}
}

// passwordLimit is that of wrong current passwords of somebody who is signed in.
func passwordLimit(person int64) limit {
	return limit{subject: fmt.Sprintf("person:%d", person), most: 10, what: "The current password was wrong too often"}
}

// resetLimit and resetEmailLimit are those of asking for a new password.
func resetLimit(addr netip.Addr) limit {
	return limit{subject: "reset-address:" + network(addr), most: 20, what: "New passwords were asked for too often from where you are"}
}

func resetEmailLimit(email string) limit {
	return limit{subject: "reset-email:" + digest(email), most: 3}
}

func digest(email string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(email))))
	return hex.EncodeToString(sum[:16])
}

// network is what counts together: an IPv4 address, or an IPv6 network of 64 bits, all of which one subscriber has.
func network(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	if addr.Is4() {
		return addr.String()
	}
	prefix, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return "unknown"
	}
	return prefix.String()
}

// reserve counts an attempt before it is made, so that many at once, on however many nodes, are no more than many one after the
// other. If one of the limits is reached nothing is counted, and the error is a *projects.LimitError. An attempt that then succeeds
// is taken back with forgive.
func (a *Accounts) reserve(ctx context.Context, limits ...limit) error {
	return a.write(ctx, func(tx pgx.Tx) error { return a.reserveTx(ctx, tx, limits...) })
}

func (a *Accounts) reserveTx(ctx context.Context, tx pgx.Tx, limits ...limit) error {
	// In one order everywhere, or two could wait for each other.
	slices.SortFunc(limits, func(l, m limit) int { return strings.Compare(l.subject, m.subject) })
	for _, l := range limits {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('projects.attempt ' || $1, 0))", l.subject); err != nil {
			return fmt.Errorf("count an attempt: %w", err)
		}
	}
	now := a.now()
	for _, l := range limits {
		// The one that has to be forgotten before there may be another.
		var at time.Time
		err := tx.QueryRow(ctx, "SELECT at FROM projects.attempt WHERE subject = $1 AND at > $2 ORDER BY at DESC OFFSET $3 LIMIT 1",
			l.subject, now.Add(-window), l.most-1).Scan(&at)
		if err == nil {
			wait := at.Add(window).Sub(now)
			return &projects.LimitError{
				Sentence:   fmt.Sprintf("%s. Try again in %s.", l.what, minutes(wait)),
				RetryAfter: max(1, int((wait+time.Second-1)/time.Second)),
			}
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("count attempts: %w", err)
		}
	}
	for _, l := range limits {
		if _, err := tx.Exec(ctx, "INSERT INTO projects.attempt (subject, at) VALUES ($1, $2)", l.subject, now); err != nil {
			return fmt.Errorf("count an attempt: %w", err)
		}
	}
	return nil
}

func minutes(d time.Duration) string {
	n := int((d + time.Minute - 1) / time.Minute)
	if n <= 1 {
		return "a minute"
	}
	return fmt.Sprintf("%d minutes", n)
}

// forgive forgets all attempts of a subject.
func (a *Accounts) forgive(ctx context.Context, subject string) error {
	return a.write(ctx, func(tx pgx.Tx) error { return forgiveTx(ctx, tx, subject) })
}

func forgiveTx(ctx context.Context, tx pgx.Tx, subject string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM projects.attempt WHERE subject = $1", subject); err != nil {
		return fmt.Errorf("forget attempts: %w", err)
	}
	return nil
}

// takeBack forgets the newest attempt of a subject: the one that turned out to be none.
func takeBack(ctx context.Context, tx pgx.Tx, subject string) error {
	_, err := tx.Exec(ctx, `DELETE FROM projects.attempt WHERE ctid = (
		SELECT ctid FROM projects.attempt WHERE subject = $1 ORDER BY at DESC LIMIT 1 FOR UPDATE SKIP LOCKED)`, subject)
	if err != nil {
		return fmt.Errorf("take back an attempt: %w", err)
	}
	return nil
}
