package digest

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A History says why a user was mailed, or not, and what comes next.
type History struct {
	User string `json:"user"`
	// Now is what would be decided at this moment, about what is unread and not part of a mail.
	Now Decided `json:"now"`
	// LookAt is when the user is looked at next; nil: when something happens.
	LookAt *time.Time `json:"look_at"`
	// Decisions that were made, newest first.
	Decisions []Decided `json:"decisions"`
	// Mails that were claimed, newest first: those that are under way, and those that ended.
	Mails []Mail `json:"mails"`
}

// A Decided is a decision. The same one for the same reason, look after look, is one.
type Decided struct {
	FirstAt  time.Time  `json:"first_at"` // when it was made first, in a row
	At       time.Time  `json:"at"`       // when it was made last
	Decision Kind       `json:"decision"`
	Reason   string     `json:"reason"`
	NextAt   *time.Time `json:"next_at"`
	DigestID *int64     `json:"digest_id"`
}

// A Mail is what became of a mail.
type Mail struct {
	ID         int64      `json:"id"`
	Email      string     `json:"email"`
	MessageID  string     `json:"message_id"`
	Items      []int64    `json:"items"` // notifications in it, as of the last try
	Phase      Phase      `json:"phase"`
	Attempts   int        `json:"attempts"`
	Uncertain  bool       `json:"uncertain"` // the server may have it, though nobody heard it say so
	ClaimedAt  time.Time  `json:"claimed_at"`
	NextAt     *time.Time `json:"next_at"` // of the next try
	FinishedAt *time.Time `json:"finished_at"`
	Reply      string     `json:"reply"` // what the server said, or what went wrong with the last try
}

// historyMost is how many decisions, and how many mails, a History has at most.
const historyMost = 100

// Why returns what was decided about a user and why, what became of their mails, and what would be decided now. It changes
// nothing; authorize functions are asked. A user that nothing is known of has an empty history.
//
// Errors: ctx's; *[trunkline.PrivilegeError]; the database's, or what reading the application's recipients raises.
func (w *Worker) Why(ctx context.Context, user string) (*History, error) {
	h, err := w.why(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("find out why %q was mailed or not: %w", clip(user, 80), explain(ctx, w.pool, err))
	}
	return h, nil
}

func (w *Worker) why(ctx context.Context, user string) (*History, error) {
	h := &History{User: user}
	rows, err := w.pool.Query(ctx, `SELECT first_at, at, decision, reason, next_at, digest_id
		FROM trunkline.digest_decision WHERE user_id = $1 ORDER BY id DESC LIMIT $2`, user, historyMost)
	if err != nil {
		return nil, err
	}
	h.Decisions, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d Decided, err error) {
		err = row.Scan(&d.FirstAt, &d.At, &d.Decision, &d.Reason, &d.NextAt, &d.DigestID)
		return d, err
	})
	if err != nil {
		return nil, err
	}
	rows, err = w.pool.Query(ctx, `SELECT id, email, message_id, items, phase, attempt, uncertain, claimed_at, next_at, finished_at,
		coalesce(reply, '') FROM trunkline.digest WHERE user_id = $1 ORDER BY claimed_at DESC, id DESC LIMIT $2`, user, historyMost)
	if err != nil {
		return nil, err
	}
	h.Mails, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m Mail, err error) {
		err = row.Scan(&m.ID, &m.Email, &m.MessageID, &m.Items, &m.Phase, &m.Attempts, &m.Uncertain, &m.ClaimedAt, &m.NextAt, &m.FinishedAt, &m.Reply)
		return m, err
	})
	if err != nil {
		return nil, err
	}
	var unknowns int
	err = w.pool.QueryRow(ctx, "SELECT (SELECT due_at FROM trunkline.digest_due WHERE user_id = $1), "+
		"coalesce((SELECT unknowns FROM trunkline.digest_due WHERE user_id = $1), 0)", user).Scan(&h.LookAt, &unknowns)
	if err != nil {
		return nil, err
	}
	return h, w.whatNow(ctx, h, unknowns)
}

// whatNow decides about the user as a look would, and does nothing of it.
func (w *Worker) whatNow(ctx context.Context, h *History, unknowns int) error {
	at := w.opts.Now()
	kinds, err := w.kinds(ctx)
	if err != nil {
		return err
	}
	people := w.people([]string{h.User})
	if err := w.readRecipientsOf(ctx, people)[h.User]; err != nil {
		return err
	}
	if err := w.candidates(ctx, w.pool, at, people, kinds, false); err != nil {
		return err
	}
	p := people[h.User]
	p.Unknowns = unknowns
	d := Plan(p.Candidate, w.opts.Rules, at)
	if d.Kind == Ask {
		known := answers{}
		w.ask(ctx, questions(h.User, d.Ask, kinds), known)
		known.give(p, kinds)
		d = Plan(p.Candidate, w.opts.Rules, at)
	}
	h.Now = Decided{FirstAt: at, At: at, Decision: d.Kind, Reason: d.Reason}
	if !d.NextAt.IsZero() {
		h.Now.NextAt = &d.NextAt
	}
	return nil
}
