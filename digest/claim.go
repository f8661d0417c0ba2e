package digest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/retry"
)

// lookLease is for how long the users of a look are kept from other workers: longer than the application's code may take twice.
func (w *Worker) lookLease() time.Duration { return 3*askBudget*w.opts.AskTimeout + 30*time.Second }

// lookRounds is how often a look tries to decide about all of its users: where a function has to be asked, and where somebody
// has locked a user for a moment, it takes another round.
const lookRounds = 5

// beginClaim opens the transaction that decides. It waits for nobody's lock, and should this process hang in it, the server ends
// it: the inbox's keeper waits for the rows that it has locked.
const beginClaim = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '30s';
SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL jit = off`

// A look at users whose time has come. The application's code, which may take its time or fail, is asked while nothing is locked
// but by a note of whose look it is; everything else is read and written in one transaction, behind locks on the users.
type look struct {
	worker  *Worker
	id      int64
	at      time.Time
	kinds   map[string]kindRow
	own     bool               // recipients are read behind the locks
	people  map[string]*person // with the application's recipients, unless own
	unknown map[string]int     // looks in a row that couldn't be answered
	answers answers
	report  *recorder
}

// claim looks at users whose time has come, at most so many, and claims what is to be mailed. It returns how many it looked at, and
// how many mails it claimed.
func (w *Worker) claim(ctx context.Context, at time.Time, most int, report *recorder) (looked, claimed int, err error) {
	lease := w.lookLease()
	// Ours ends before others may believe it has.
	ctx, cancel := context.WithTimeout(ctx, lease-5*time.Second)
	defer cancel()
	l := &look{worker: w, id: newLook(), at: at, unknown: map[string]int{}, answers: answers{}, report: report}
	if err := l.begin(ctx, at.Add(lease), most); err != nil || len(l.unknown) == 0 {
		return 0, 0, err
	}
	w.point(ctx, "looked", 0)
	pending := slices.Sorted(maps.Keys(l.unknown))
	defer func() { l.giveBack(ctx, pending) }()
	w.counters.looks.Add(int64(len(pending)))

	if l.kinds, err = w.kinds(ctx); err != nil {
		return 0, 0, err
	}
	if l.own, err = w.ownRecipients(ctx); err != nil {
		return 0, 0, err
	}
	l.people = w.people(pending)
	if !l.own {
		failed := w.readRecipientsOf(ctx, l.people)
		if pending, err = l.wait(ctx, pending, failed); err != nil {
			return 0, 0, err
		}
	}
	for round := 1; len(pending) > 0 && round <= lookRounds; round++ {
		if round > 2 && !retry.Sleep(ctx, time.Duration(round)*10*time.Millisecond) { // somebody has them locked, though not for long
			break
		}
		left, n, err := l.decideAll(ctx, pending)
		if err != nil {
			return looked, claimed, fmt.Errorf("decide what to mail: %w", err)
		}
		looked += len(pending) - len(left)
		claimed += n
		pending = left
	}
	return looked, claimed, nil
}

func newLook() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:]) >> 1)
}

// begin notes whose look it is.
func (l *look) begin(ctx context.Context, until time.Time, most int) error {
	rows, err := l.worker.pool.Query(ctx, "SELECT user_id, unknowns FROM trunkline.digest_look($1, $2, $3, $4)", l.id, l.at, until, most)
	if err != nil {
		return fmt.Errorf("look who is due: %w", err)
	}
	var user string
	var unknowns int
	_, err = pgx.ForEachRow(rows, []any{&user, &unknowns}, func() error {
		l.unknown[user] = unknowns
		return nil
	})
	if err != nil {
		return fmt.Errorf("look who is due: %w", err)
	}
	return nil
}

// giveBack lets others look at users that nothing was decided about. If that fails, they have to wait until the look is over.
func (l *look) giveBack(ctx context.Context, users []string) {
	if len(users) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, err := l.worker.pool.Exec(ctx, "SELECT trunkline.digest_unlook($1, $2)", l.id, users); err != nil {
		l.worker.opts.Logger.Debug("users who were looked at can't be given back now; they are when the look is over", "error", err, "users", len(users))
	}
}

// wait decides to wait for those whose recipients couldn't be read, and returns the others.
func (l *look) wait(ctx context.Context, users []string, failed unreadable) ([]string, error) {
	if len(failed) == 0 {
		return users, nil
	}
	var v verdicts
	var others []string
	var last error
	for _, user := range users {
		if err := failed[user]; err != nil {
			last = err
			v.add(user, recipientUnknown(user, l.unknown[user], err, l.at), l.unknown[user]+1)
		} else {
			others = append(others, user)
		}
	}
	l.worker.opts.Logger.Error("recipients can't be read, so their mail waits", "error", reason(last), "users", len(failed))
	written, err := l.write(ctx, l.worker.pool, &v)
	l.report.decided(&v, written)
	return others, err
}

// LookFailed is decided about users that nothing could be decided about. It is no decision of [Plan].
const LookFailed Kind = "look_failed" // an error in the database that has to do with this user

// decideAll decides about users. What fails is tried by halves, down to the one that it is about, so that whatever is wrong with that
// one doesn't stop everybody's mail.
func (l *look) decideAll(ctx context.Context, users []string) (left []string, claimed int, err error) {
	left, claimed, err = l.decide(ctx, users)
	switch {
	case err == nil || ctx.Err() != nil || !mayBeOne(err):
		return left, claimed, err
	case len(users) == 1:
		l.worker.opts.Logger.Error("a user can't be looked at, so their mail waits", "user", users[0], "error", err)
		d := Decision{
			Kind: LookFailed, Zone: time.UTC, NextAt: storable(l.at.Add(lookHourly)),
			Reason: fmt.Sprintf("The user couldn't be looked at: %s. It is tried again, and nothing is lost.", clip(reason(err), 500)),
		}
		var v verdicts
		v.add(users[0], d, 0)
		written, err := l.write(ctx, l.worker.pool, &v)
		l.report.decided(&v, written)
		return nil, 0, err
	}
	middle := len(users) / 2
	first, n, err := l.decideAll(ctx, users[:middle])
	if err != nil {
		return nil, n, err
	}
	second, m, err := l.decideAll(ctx, users[middle:])
	return append(first, second...), n + m, err
}

// decide decides about users in one transaction. It returns those that nothing was decided about, and how many mails it claimed.
func (l *look) decide(ctx context.Context, users []string) (left []string, claimed int, err error) {
	w := l.worker
	var ask []question
	var v verdicts
	var written []written
	err = pgx.BeginTxFunc(ctx, w.pool, pgx.TxOptions{BeginQuery: beginClaim}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT trunkline.digest_lock($1, $2)", l.id, users)
		if err != nil {
			return err
		}
		locked, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(locked) == 0 {
			return err
		}
		people := l.these(locked)
		if err := w.candidates(ctx, tx, l.at, people, l.kinds, l.own); err != nil {
			return err
		}
		slices.Sort(locked)
		for _, user := range locked {
			p := people[user]
			p.Unknowns = l.unknown[user]
			l.answers.give(p, l.kinds)
			d := Plan(p.Candidate, w.opts.Rules, l.at)
			if p.more && d.NextAt.IsZero() && d.Kind != Ask {
				d.NextAt = storable(l.at.Add(lookHourly)) // what was read may be out of the question, and what wasn't due
			}
			switch d.Kind {
			case Ask:
				ask = append(ask, questions(user, d.Ask, l.kinds)...)
			case MembershipUnknown:
				v.add(user, d, p.Unknowns+1)
			case Mailed:
				v.mail(p, d, w.opts.Renderer.Domain())
			default:
				v.add(user, d, 0)
			}
		}
		w.point(ctx, "decided", 0)
		written, err = l.write(ctx, tx, &v)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	l.report.decided(&v, written)
	for _, one := range written {
		if one.digest != nil {
			claimed++
			w.point(ctx, "claimed", *one.digest)
		}
	}
	w.counters.claimed.Add(int64(claimed))
	decided := make(map[string]bool, len(v.users))
	for _, user := range v.users {
		decided[user] = true
	}
	left = slices.DeleteFunc(slices.Clone(users), func(user string) bool { return decided[user] })
	w.ask(ctx, ask, l.answers)
	return left, claimed, nil
}

// these returns people anew: what a round reads of them must not add to what the last one did.
func (l *look) these(users []string) map[string]*person {
	people := make(map[string]*person, len(users))
	for _, user := range users {
		p := *l.people[user]
		p.Zones = slices.Clone(p.Zones)
		people[user] = &p
	}
	return people
}

// verdicts are what is written of decisions: columns, one element per user.
type verdicts struct {
	users, decisions, reasons               []string
	nextAts                                 []*time.Time
	unknowns                                []int32
	emails, names, locales, zones, messages []*string
	itemUsers                               []int32 // from 1
	items                                   []int64
}

func (v *verdicts) add(user string, d Decision, unknowns int) {
	v.users, v.decisions, v.reasons = append(v.users, user), append(v.decisions, string(d.Kind)), append(v.reasons, storableText(d.Reason))
	var next *time.Time
	if !d.NextAt.IsZero() {
		next = &d.NextAt
	}
	v.nextAts, v.unknowns = append(v.nextAts, next), append(v.unknowns, int32(min(unknowns, 1000)))
	v.emails, v.names, v.locales = append(v.emails, nil), append(v.names, nil), append(v.locales, nil)
	v.zones, v.messages = append(v.zones, nil), append(v.messages, nil)
}

// mail adds a decision to mail.
func (v *verdicts) mail(p *person, d Decision, domain string) {
	v.add(p.UserID, d, 0)
	i := len(v.users) - 1
	zone, id := d.Zone.String(), messageID(domain)
	v.emails[i], v.zones[i], v.messages[i] = &p.Email, &zone, &id
	v.names[i], v.locales[i] = orNull(p.name), orNull(p.locale)
	for _, item := range d.Items {
		v.itemUsers, v.items = append(v.itemUsers, int32(i+1)), append(v.items, item)
	}
}

// messageID makes a Message-ID without its angle brackets. Random, so that nobody can guess the address that a mail's bounces go
// to, and in lower case, as some servers write it.
func messageID(domain string) string { return strings.ToLower(rand.Text()) + "@" + domain }

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// storableText leaves out what a text in PostgreSQL can't hold.
func storableText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// written is a decision that was written, with the mail it led to.
type written struct {
	user   string
	digest *int64
	items  int
}

// executor is what one statement needs: a transaction, or the pool.
type executor interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// write writes verdicts, and returns those that were written: not those about users that are no longer this look's, nor those to
// mail what was read meanwhile.
func (l *look) write(ctx context.Context, db executor, v *verdicts) ([]written, error) {
	if len(v.users) == 0 {
		return nil, nil
	}
	rows, err := db.Query(ctx, `SELECT user_id, digest_id, item_count
		FROM trunkline.digest_decide($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		l.id, l.at, v.users, v.decisions, v.reasons, v.nextAts, v.unknowns, v.emails, v.names, v.locales, v.zones, v.messages, v.itemUsers, v.items)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w written, err error) {
		err = row.Scan(&w.user, &w.digest, &w.items)
		return w, err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
