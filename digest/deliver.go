package digest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/retry"
)

// A try is one attempt at sending a mail. It is this worker's until its lease ends, and what it writes counts only while it is
// the current one.
type try struct {
	id         int64
	user       string
	email      string
	name       string
	locale     string
	zone       string
	messageID  string
	claimed    []int64 // notifications that it had so far
	phase      Phase
	attempt    int
	uncertain  bool
	claimedAt  time.Time
	items      []inbox.Item // what is still to be mailed, newest first
	token      string
	subject    string
	kinds      map[string]string
	newAddress bool
	committed  bool      // the final dot may have followed
	deadline   time.Time // by this process's clock: when this try ends, before its lease does
}

// leaseMargin is how much longer than a try its lease lasts: clocks and networks need some.
const leaseMargin = time.Minute

// recheckAfter is how old a mail is when all rules are applied to it anew before it is tried. Until then only what happened to its
// notifications counts.
const recheckAfter = time.Minute

// take begins tries, at most so many, and makes them ready to be sent. It returns those that are to be sent, and how many it
// began: some have nothing left to send.
func (w *Worker) take(ctx context.Context, at time.Time, most int, report *recorder) (ready []*try, began int, err error) {
	deadline := w.clock().Add(w.opts.TryTimeout)
	rows, err := w.pool.Query(ctx, `SELECT id, user_id, email, coalesce(name, ''), coalesce(locale, ''), time_zone, message_id, items,
		phase, attempt, uncertain, claimed_at FROM trunkline.digest_take($1, $2, $3, $4)`,
		at, at.Add(w.opts.TryTimeout+leaseMargin), most, w.opts.Uncertain == Park)
	if err != nil {
		return nil, 0, fmt.Errorf("begin to send mails: %w", err)
	}
	tries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*try, error) {
		t := &try{deadline: deadline}
		err := row.Scan(&t.id, &t.user, &t.email, &t.name, &t.locale, &t.zone, &t.messageID, &t.claimed,
			&t.phase, &t.attempt, &t.uncertain, &t.claimedAt)
		return t, err
	})
	if err != nil || len(tries) == 0 {
		return nil, 0, err
	}
	began = len(tries)
	for _, t := range tries {
		w.point(ctx, "taken", t.id)
	}
	tries = slices.DeleteFunc(tries, func(t *try) bool {
		if t.phase == Parked {
			w.counters.parked.Add(1)
			report.tried(t.tried(outcome{phase: Parked, uncertain: true, reply: "whoever sent it didn't live to hear the answer"}))
		}
		return t.phase == Parked
	})
	if len(tries) == 0 {
		return nil, began, nil
	}
	ready, err = w.makeReady(ctx, at, tries, report)
	return ready, began, err
}

// makeReady finds out what tries are to send. What fails is done by halves, down to the mail that it is about, so that whatever is
// wrong with that one doesn't hold up the others.
func (w *Worker) makeReady(ctx context.Context, at time.Time, tries []*try, report *recorder) (ready []*try, err error) {
	ready, err = w.makeAllReady(ctx, at, slices.Clone(tries), report)
	switch {
	case err == nil || ctx.Err() != nil || !mayBeOne(err):
		return ready, err
	case len(tries) == 1:
		t := tries[0]
		w.opts.Logger.Error("a mail can't be made ready, so it waits", "digest", t.id, "error", err)
		w.finish(ctx, t, w.later(t, outcome{reply: "The mail couldn't be made ready: " + reason(err)}, at), at, report)
		return nil, nil
	}
	for _, t := range tries {
		t.items, t.kinds = nil, nil
	}
	middle := len(tries) / 2
	first, err := w.makeReady(ctx, at, tries[:middle], report)
	if err != nil {
		return first, err
	}
	second, err := w.makeReady(ctx, at, tries[middle:], report)
	return append(first, second...), err
}

func (w *Worker) makeAllReady(ctx context.Context, at time.Time, tries []*try, report *recorder) (ready []*try, err error) {
	if err := w.readContents(ctx, at, tries); err != nil {
		return nil, err
	}
	if tries, err = w.recheck(ctx, at, tries, report); err != nil {
		return nil, err
	}
	var finishing sync.WaitGroup
	for _, t := range tries {
		if len(t.items) > 0 {
			ready = append(ready, t)
			continue
		}
		o := outcome{phase: Cancelled, reply: "Nothing of it was unread any more."}
		if t.uncertain {
			o.reply = "Nothing of it was unread any more when it was to be sent again. The server may have it."
		}
		finishing.Go(func() { w.finish(ctx, t, o, at, report) })
	}
	finishing.Wait()
	if err := w.prepare(ctx, at, ready); err != nil {
		return nil, err
	}
	return ready, nil
}

// readContents reads what is still to be mailed.
func (w *Worker) readContents(ctx context.Context, at time.Time, tries []*try) error {
	byID := make(map[int64]*try, len(tries))
	ids := make([]int64, len(tries))
	for i, t := range tries {
		ids[i], byID[t.id] = t.id, t
		t.kinds = map[string]string{}
	}
	rows, err := w.pool.Query(ctx, `SELECT digest_id, id, seq, kind, title, coalesce("text", title), "group", cause, link, coalesce(data, 'null'),
		created_at, expires_at, seen_at FROM trunkline.digest_contents($1, $2, $3, $4)`, ids, at, w.perGroup, w.most)
	if err != nil {
		return fmt.Errorf("read what is to be mailed: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var item inbox.Item
		err := rows.Scan(&id, &item.ID, &item.Seq, &item.Kind, &item.Title, &item.Text, &item.Group, &item.Cause, &item.Link, &item.Data,
			&item.CreatedAt, &item.ExpiresAt, &item.SeenAt)
		if err != nil {
			return fmt.Errorf("read what is to be mailed: %w", err)
		}
		if t := byID[id]; t != nil {
			t.items = append(t.items, item)
			t.kinds[item.Kind] = item.Title
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read what is to be mailed: %w", err)
	}
	return nil
}

// prepare writes what is known now of tries that are about to begin, and gives each its token to unsubscribe.
func (w *Worker) prepare(ctx context.Context, at time.Time, tries []*try) error {
	if len(tries) == 0 {
		return nil
	}
	n := len(tries)
	ids, attempts, hashes, kinds, emails := make([]int64, n), make([]int32, n), make([][]byte, n), make([]string, n), make([]*string, n)
	changed, leftDigests, leftItems := []int64{}, []int64{}, []int64{}
	for i, t := range tries {
		ids[i], attempts[i] = t.id, int32(t.attempt)
		t.token, hashes[i] = inbox.NewUnsubscribeToken()
		kinds[i] = joined(t.kinds)
		if t.newAddress {
			emails[i] = &t.email
		}
		if len(t.items) < len(t.claimed) {
			changed = append(changed, t.id)
			for j := range t.items {
				leftDigests, leftItems = append(leftDigests, t.id), append(leftItems, t.items[j].ID)
			}
		}
	}
	if len(changed) > 0 {
		w.unsettled.Store(true)
	}
	_, err := w.pool.Exec(ctx, "SELECT trunkline.digest_prepare($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		ids, attempts, hashes, kinds, emails, changed, leftDigests, leftItems, at)
	if err != nil {
		return fmt.Errorf("prepare mails: %w", err)
	}
	return nil
}

// joined lists the names of kinds, with a character between that no kind has.
func joined(kinds map[string]string) string {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	text := ""
	for i, name := range names {
		if i > 0 {
			text += "\x1f"
		}
		text += name
	}
	return text
}

// digest is what the mail is made of.
func (t *try) digest() mail.Digest {
	zone, known := loadZone(t.zone)
	if !known {
		zone = time.UTC
	}
	return mail.Digest{
		Recipient: mail.Recipient{UserID: t.user, Email: t.email, Name: t.name, Locale: t.locale},
		Items:     t.items, Kinds: t.kinds, MessageID: t.messageID, At: t.claimedAt, Zone: zone, UnsubscribeToken: t.token,
	}
}

// deliver makes the mail and sends it, and writes how that ended. now is the clock. It tells whether the mail is to be tried again at
// once.
func (w *Worker) deliver(ctx context.Context, t *try, now func() time.Time, report *recorder) (again bool) {
	w.point(ctx, "leased", t.id)
	err := w.send(ctx, t)
	w.point(ctx, "answered", t.id)
	at := now()
	o := w.judge(ctx, t, err, at)
	w.heed(o, err, at)
	w.finish(ctx, t, o, at, report)
	w.point(ctx, "recorded", t.id)
	return errors.Is(err, errChanged)
}

// send renders and sends a mail. No error: the server has it.
func (w *Worker) send(ctx context.Context, t *try) (err error) {
	// Templates and senders may be the application's: one mail that they fail at must not end the program.
	defer func() {
		if what := recover(); what != nil {
			w.opts.Logger.Error("making or sending a mail panicked", "digest", t.id, "panic", what, "stack", string(debug.Stack()))
			err = &mail.SendError{Step: "panic", Blame: mail.BlameMessage, Uncertain: t.committed, Err: fmt.Errorf("panic: %v", what)}
		}
	}()
	envelope, text, err := w.opts.Renderer.Render(t.digest())
	if err != nil {
		return err
	}
	t.subject = text.Subject
	w.point(ctx, "rendered", t.id)
	ctx, cancel := context.WithDeadline(ctx, t.deadline)
	defer cancel()
	return w.opts.Sender.Send(ctx, envelope, func(ctx context.Context) error {
		w.point(ctx, "body sent", t.id)
		s := &step{id: t.id, attempt: t.attempt}
		current, err := w.group.write(ctx, s)
		t.committed = err != nil || current && s.whole
		w.point(ctx, "committed", t.id)
		switch {
		case err != nil:
			return &unwrittenError{err}
		case !current:
			return errOvertaken
		case !s.whole:
			return errChanged
		case w.clock().After(t.deadline):
			return errTooLate // this process was stopped for a while
		}
		return nil
	})
}

// heed has the circuit breaker know what a try says about the server.
func (w *Worker) heed(o outcome, err error, now time.Time) {
	switch o.server {
	case nothing:
		w.breaker.unknown()
	case answered:
		if w.breaker.answered() {
			w.opts.Logger.Info("the mail server works again")
		}
	case down:
		w.counters.serverFailures.Add(1)
		if wait := w.breaker.failed(now, err); wait > 0 {
			w.counters.breaks.Add(1)
			w.opts.Logger.Warn("the mail server doesn't work, so nothing is mailed for a while", "error", err, "for", wait.Round(time.Second))
		}
	}
}

// finish writes how a try ended, for as long as that takes: until its lease ends nobody else may begin another one. What can't be
// written stays as it is, and is tried again when the lease has ended.
func (w *Worker) finish(ctx context.Context, t *try, o outcome, at time.Time, report *recorder) {
	if o.written {
		w.counters.overtaken.Add(1)
		return
	}
	// Whoever stops the worker would rather have this written.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), t.deadline.Add(leaseMargin/2))
	defer cancel()
	for attempt := 0; ; attempt++ {
		current, err := w.group.write(ctx, &step{id: t.id, attempt: t.attempt, outcome: &o, at: at})
		if err == nil {
			if !current {
				w.counters.overtaken.Add(1)
				return
			}
			break
		}
		if ctx.Err() != nil || w.closing.Load() && attempt >= closingAttempts || !retry.Sleep(ctx, reconnectWait(attempt)) {
			w.opts.Logger.Error("what became of a mail can't be written; it is tried again, under the same Message-ID", "error", err,
				"digest", t.id, "phase", string(o.phase), "reply", o.reply)
			return
		}
	}
	w.count(o)
	report.tried(t.tried(o))
	if o.phase != Sent {
		level := slog.LevelInfo
		if o.phase == Cancelled {
			level = slog.LevelDebug
		}
		w.opts.Logger.Log(ctx, level, "a mail wasn't sent", "digest", t.id, "user", t.user, "phase", string(o.phase), "uncertain", o.uncertain,
			"attempt", t.attempt, "reply", o.reply)
	}
}

// closingAttempts is how often an outcome is written by a worker that is to stop.
const closingAttempts = 5

func (w *Worker) count(o outcome) {
	c := &w.counters
	switch o.phase {
	case Sent:
		c.sent.Add(1)
	case Claimed, DataSent:
		c.retries.Add(1)
	case Cancelled:
		c.cancelled.Add(1)
	case Bounced:
		c.bounced.Add(1)
	case Failed:
		c.failed.Add(1)
	case Parked:
		c.parked.Add(1)
	}
	if o.uncertain {
		c.uncertain.Add(1)
	}
	if o.phase == Cancelled || o.phase == Bounced || o.phase == Failed {
		w.unsettled.Store(true)
	}
}

func (t *try) tried(o outcome) Tried {
	r := Tried{
		DigestID: t.id, User: t.user, Email: t.email, MessageID: t.messageID, Subject: t.subject, Items: len(t.items), Attempt: t.attempt,
		Phase: o.phase, Uncertain: t.uncertain || o.uncertain, Reply: o.reply,
	}
	if !o.nextAt.IsZero() {
		r.NextAt = &o.nextAt
	}
	return r
}

// settle does what mails that weren't sent have left to be done: their notifications can be mailed again, their users are looked
// at again, bounces are counted. What somebody has locked stays for the next time.
func (w *Worker) settle(ctx context.Context, at time.Time) error {
	const some = 10 // what it locks, the inboxes' keeper may wait for
	for last := int64(0); ; {
		var looked int
		err := w.pool.QueryRow(ctx, "SELECT looked, last FROM trunkline.digest_settle($1, $2, $3)", last, some, at).Scan(&looked, &last)
		if err != nil {
			return fmt.Errorf("settle mails that weren't sent: %w", err)
		}
		if looked < some {
			return nil
		}
	}
}
