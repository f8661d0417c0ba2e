package digest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

// recheck applies the rules anew to mails that were claimed a while ago: in hours of trying, users unsubscribe, move, leave groups
// and go to bed. It leaves out what is no longer to be mailed, notes new addresses, and ends the tries of mails that have to wait:
// those give their notifications back, to be claimed when the time has come; only one that the server may have waits as it is,
// to keep its Message-ID. It returns the others.
func (w *Worker) recheck(ctx context.Context, at time.Time, tries []*try, report *recorder) ([]*try, error) {
	old := make(map[string][]*try)
	var users []string
	for _, t := range tries {
		if t.attempt > 1 || at.Sub(t.claimedAt) >= recheckAfter {
			if old[t.user] == nil {
				users = append(users, t.user)
			}
			old[t.user] = append(old[t.user], t)
		}
	}
	if len(old) == 0 {
		return tries, nil
	}
	kinds, err := w.kinds(ctx)
	if err != nil {
		return nil, err
	}
	people := w.people(users)
	rows, err := w.pool.Query(ctx, settingsSQL, users, at.Add(-capWindow))
	if err == nil {
		err = readSettings(rows, people)
	}
	if err != nil {
		return nil, fmt.Errorf("read preferences: %w", err)
	}
	if err := w.readMutes(ctx, people, tries); err != nil {
		return nil, err
	}
	failed := w.readRecipientsOf(ctx, people)
	ended := map[*try]bool{}
	known := answers{}
	for round := range 2 { // the second time with answers
		var ask []question
		for _, user := range users {
			for _, t := range old[user] {
				if ended[t] {
					continue
				}
				if err := failed[user]; err != nil {
					ended[t] = true
					o := outcome{phase: Claimed, reply: "Who the user is to mail couldn't be read: " + reason(err), nextAt: at.Add(retryWait(t.attempt))}
					w.finish(ctx, t, o, at, report)
					continue
				}
				d := w.planAgain(t, people[user], kinds, known, at)
				if d.Kind == Ask && round == 0 {
					ask = append(ask, questions(user, d.Ask, kinds)...)
				} else if d.Kind != Mailed && len(t.items) > 0 {
					ended[t] = true
					w.finish(ctx, t, postponed(t, d), at, report)
				} else {
					t.reduce(d, people[user])
				}
			}
		}
		if len(ask) == 0 {
			break
		}
		w.ask(ctx, ask, known)
	}
	return slices.DeleteFunc(tries, func(t *try) bool { return ended[t] }), nil
}

// planAgain asks Plan about what is left of a mail.
func (w *Worker) planAgain(t *try, p *person, kinds map[string]kindRow, known answers, at time.Time) Decision {
	again := *p
	again.Items = nil
	for i := range t.items {
		item := &t.items[i]
		again.add(Item{
			ID: item.ID, Seq: item.Seq, Kind: item.Kind, Group: deref(item.Group), CreatedAt: item.CreatedAt, ExpiresAt: deref(item.ExpiresAt),
		}, kinds, false)
	}
	known.give(&again, kinds)
	// It doesn't count against itself.
	again.Sent = slices.Clone(again.Sent)
	if i := slices.IndexFunc(again.Sent, t.claimedAt.Equal); i >= 0 {
		again.Sent = slices.Delete(again.Sent, i, i+1)
	}
	return Plan(again.Candidate, w.opts.Rules, at)
}

// postponed is how a try ends that the rules have something against by now.
func postponed(t *try, d Decision) outcome {
	if !t.uncertain {
		return outcome{phase: Cancelled, reply: "It waited, and then there was something against it. " + d.Reason, againAt: d.NextAt}
	}
	next := d.NextAt
	if next.IsZero() {
		// Nothing of it is to be mailed any more.
		return outcome{phase: Cancelled, reply: "It was to be sent again, as the server may have it or not, and then there was something against it. " + d.Reason}
	}
	return outcome{phase: Claimed, reply: d.Reason, nextAt: next}
}

// reduce leaves out what is no longer to be mailed, and notes another address.
func (t *try) reduce(d Decision, p *person) {
	keep := make(map[int64]bool, len(d.Items))
	for _, id := range d.Items {
		keep[id] = true
	}
	t.items = slices.DeleteFunc(t.items, func(item inbox.Item) bool { return !keep[item.ID] })
	kinds := map[string]string{}
	for i := range t.items {
		kinds[t.items[i].Kind] = t.items[i].Title
	}
	t.kinds = kinds
	if len(t.items) > 0 && p.Email != t.email {
		t.email, t.newAddress = p.Email, true
	}
}

// readMutes adds which groups of the mails' notifications are muted.
func (w *Worker) readMutes(ctx context.Context, people map[string]*person, tries []*try) error {
	var users, groups []string
	for _, t := range tries {
		for i := range t.items {
			if group := t.items[i].Group; group != nil && people[t.user] != nil {
				users, groups = append(users, t.user), append(groups, *group)
			}
		}
	}
	if len(users) == 0 {
		return nil
	}
	rows, err := w.pool.Query(ctx, `SELECT user_id, "group" FROM trunkline.digest_mutes($1, $2)`, users, groups)
	if err != nil {
		return fmt.Errorf("read mutes: %w", err)
	}
	var user, group string
	_, err = pgx.ForEachRow(rows, []any{&user, &group}, func() error {
		if p := people[user]; p.Muted == nil {
			p.Muted = map[string]bool{}
		}
		people[user].Muted[group] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("read mutes: %w", err)
	}
	return nil
}
