package digest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// ownRecipients tells whether recipients are Trunkline's own table, which can be read behind locks. A relation of the application's
// can be anything, a view over a slow function among it.
func (w *Worker) ownRecipients(ctx context.Context) (own bool, err error) {
	if err := w.pool.QueryRow(ctx, "SELECT trunkline.digest_own_recipients()").Scan(&own); err != nil {
		return false, fmt.Errorf("find out where recipients are read from: %w", err)
	}
	return own, nil
}

// unreadable are users whose recipients couldn't be read, with why.
type unreadable map[string]error

// readRecipientsOf reads recipients in a transaction of its own, in which nothing else is locked, with a time limit. What fails is
// read by halves, so that one bad row doesn't stop everybody's mail, as far as the time goes.
func (w *Worker) readRecipientsOf(ctx context.Context, people map[string]*person) unreadable {
	failed := unreadable{}
	users := make([]string, 0, len(people))
	for user := range people {
		users = append(users, user)
	}
	slices.Sort(users)
	ctx, cancel := context.WithTimeout(ctx, askBudget*w.opts.AskTimeout)
	defer cancel()
	w.readSome(ctx, users, people, failed)
	return failed
}

func (w *Worker) readSome(ctx context.Context, users []string, people map[string]*person, failed unreadable) {
	err := w.readThese(ctx, users, people)
	if err == nil {
		return
	}
	w.counters.recipientFailures.Add(1)
	if len(users) == 1 || ctx.Err() != nil || !mayBeOne(err) {
		for _, user := range users {
			failed[user] = err
		}
		return
	}
	middle := len(users) / 2
	w.readSome(ctx, users[:middle], people, failed)
	w.readSome(ctx, users[middle:], people, failed)
}

func (w *Worker) readThese(ctx context.Context, users []string, people map[string]*person) error {
	// The database ends it in time; this is for a database that doesn't answer at all.
	ctx, cancel := context.WithTimeout(ctx, w.opts.AskTimeout+time.Second)
	defer cancel()
	var b pgx.Batch
	b.Queue("SELECT pg_catalog.set_config('statement_timeout', $1, true)", w.askMilliseconds())
	b.Queue(recipientsSQL, users).Query(func(rows pgx.Rows) error { return readRecipients(rows, people) })
	return w.pool.SendBatch(ctx, &b).Close()
}

// RecipientUnknown is decided about users whose recipients couldn't be read. It is no decision of [Plan].
const RecipientUnknown Kind = "recipient_unknown" // due, but the application's relation couldn't be read

// recipientUnknown decides to wait: a minute after the first failure, and longer with each that follows, up to an hour.
func recipientUnknown(user string, unknowns int, err error, at time.Time) Decision {
	p := plan{Candidate: Candidate{UserID: user, Unknowns: unknowns}}
	return Decision{
		Kind: RecipientUnknown, Zone: time.UTC, NextAt: storable(at.Add(p.patience())),
		Reason: fmt.Sprintf("Who the user is to mail couldn't be read: %s. Until it can be, nothing is mailed to the user, and nothing is lost.",
			clip(reason(err), 500)),
	}
}
