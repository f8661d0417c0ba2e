package digest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// A source is what candidates are read from: a transaction, or the pool.
type source interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// A kind of notification, as far as it matters to mail.
type kindRow struct {
	name      string
	title     string
	delay     *time.Duration
	authorize string // "": nobody is asked
}

// kinds reads the kinds that are registered, by name.
func (w *Worker) kinds(ctx context.Context) (map[string]kindRow, error) {
	rows, err := w.pool.Query(ctx, "SELECT name, title, extract(epoch FROM delay)::float8, coalesce(authorize, '') FROM trunkline.kind")
	if err != nil {
		return nil, fmt.Errorf("read kinds: %w", err)
	}
	kinds := map[string]kindRow{}
	var k kindRow
	var delay *float64
	_, err = pgx.ForEachRow(rows, []any{&k.name, &k.title, &delay, &k.authorize}, func() error {
		k.delay = seconds(delay)
		kinds[k.name] = k
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read kinds: %w", err)
	}
	return kinds, nil
}

func seconds(s *float64) *time.Duration {
	if s == nil {
		return nil
	}
	d := time.Duration(*s * float64(time.Second))
	return &d
}

// The queries that candidates are made of, but for their items.
const (
	settingsSQL = `SELECT user_id, time_zone, quiet_from, quiet_to, vacation_until, preferences, sent
		FROM trunkline.digest_settings($1, $2)`
	recipientsSQL = `SELECT user_id, email, name, time_zone, locale, active_at, bounces, bounced_at FROM trunkline.recipients_of($1)`
)

// A person is a candidate with what a mail to it needs beside.
type person struct {
	Candidate
	name, locale string
	more         bool // there are unread items beyond those that were read
}

// people begins a candidate for each user.
func (w *Worker) people(users []string) map[string]*person {
	people := make(map[string]*person, len(users))
	for _, user := range users {
		people[user] = &person{Candidate: Candidate{UserID: user, Zones: []string{"", "", w.opts.Zone}}}
	}
	return people
}

// readSettings adds what users prefer, and what they were mailed in the last 24 hours. rows are those of settingsSQL.
func readSettings(rows pgx.Rows, people map[string]*person) error {
	var user string
	var zone *string
	var from, to pgtype.Time
	var vacation *time.Time
	var preferences []byte
	var sent []time.Time
	_, err := pgx.ForEachRow(rows, []any{&user, &zone, &from, &to, &vacation, &preferences, &sent}, func() error {
		p := people[user]
		if p == nil {
			return nil
		}
		if zone != nil {
			p.Zones[0] = *zone
		}
		if from.Valid && to.Valid {
			p.Quiet = &Quiet{From: clockOf(from), To: clockOf(to)}
		}
		if vacation != nil {
			p.VacationUntil = *vacation
		}
		p.Sent = append([]time.Time(nil), sent...)
		return p.readPreferences(preferences)
	})
	return err
}

func clockOf(t pgtype.Time) Clock { return Clock(time.Duration(t.Microseconds) * time.Microsecond) }

func (p *person) readPreferences(text []byte) error {
	if text == nil {
		return nil
	}
	var list []struct {
		Kind  string   `json:"kind"`
		Mail  Mode     `json:"mail"`
		Delay *float64 `json:"delay"`
		At    *float64 `json:"at"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("preferences of %q: %w", p.UserID, err)
	}
	p.Preferences = make(map[string]Preference, len(list))
	for _, row := range list {
		preference := Preference{Mode: row.Mail, Delay: seconds(row.Delay)}
		if at := seconds(row.At); at != nil {
			clock := Clock(*at)
			preference.At = &clock
		}
		p.Preferences[row.Kind] = preference
	}
	return nil
}

// readRecipients adds who users are to mail. rows are those of recipientsSQL.
func readRecipients(rows pgx.Rows, people map[string]*person) error {
	var user string
	var email, name, zone, locale *string
	var active, bounced *time.Time
	var bounces *float64
	_, err := pgx.ForEachRow(rows, []any{&user, &email, &name, &zone, &locale, &active, &bounces, &bounced}, func() error {
		p := people[user]
		if p == nil {
			return nil
		}
		p.Email, p.name, p.Zones[1], p.locale = deref(email), deref(name), deref(zone), deref(locale)
		p.ActiveAt, p.BouncedAt, p.Bounces = deref(active), deref(bounced), deref(bounces)
		return nil
	})
	return err
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// look back this far for mails that count against the cap: see [Candidate.Sent].
const capWindow = 24 * time.Hour

// Of one user's notifications so many are read at first. More are read for that user alone, and only those that are wanted by mail.
const unreadFirst = 1000

// unreadMost is how many are read then. Many of them may be out of the question (of a group that the user has left, say), so it is more
// than a mail holds. Who has even more unread is looked at again, whatever is decided.
const unreadMost = 100_000

// oldest is when an item was created at the earliest that may still be mailed: [Rules.MaxAge] counts from when it was due, and
// that is at most 31 days later.
func (w *Worker) oldest(at time.Time) time.Time {
	if w.opts.Rules.MaxAge == 0 {
		return time.Unix(0, 0)
	}
	return at.Add(-w.opts.Rules.MaxAge - 31*oneDay)
}

// candidates reads all about users but their answers, from one transaction that has locked them. recipients says whether that is
// to be read here, too; otherwise people have it already.
func (w *Worker) candidates(ctx context.Context, db source, at time.Time, people map[string]*person, kinds map[string]kindRow, recipients bool) error {
	users := make([]string, 0, len(people))
	for user := range people {
		users = append(users, user)
	}
	var b pgx.Batch
	b.Queue(settingsSQL, users, at.Add(-capWindow)).Query(func(rows pgx.Rows) error { return readSettings(rows, people) })
	counts := make(map[string]int, len(users))
	items := func(rows pgx.Rows) error { return readUnread(rows, people, kinds, counts) }
	b.Queue(unreadSQL, users, w.oldest(at), unreadFirst, false).Query(items)
	if recipients {
		b.Queue(recipientsSQL, users).Query(func(rows pgx.Rows) error { return readRecipients(rows, people) })
	}
	if err := db.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("read what is unread: %w", err)
	}
	for user, n := range counts {
		if n < unreadFirst {
			continue
		}
		p := people[user]
		p.Items, p.Muted = nil, nil
		counts[user] = 0
		most := max(w.opts.Rules.MostItems+1, unreadMost)
		rows, err := db.Query(ctx, unreadSQL, []string{user}, w.oldest(at), most, true)
		if err == nil {
			err = items(rows)
		}
		if err != nil {
			return fmt.Errorf("read what is unread of %q: %w", user, err)
		}
		p.more = counts[user] >= most
	}
	return nil
}

const unreadSQL = `SELECT user_id, id, seq, kind, "group", created_at, expires_at, muted FROM trunkline.digest_unread($1, $2, $3, $4)`

// readUnread adds users' items, and counts them.
func readUnread(rows pgx.Rows, people map[string]*person, kinds map[string]kindRow, counts map[string]int) error {
	var user string
	var item Item
	var group *string
	var expires *time.Time
	var muted bool
	_, err := pgx.ForEachRow(rows, []any{&user, &item.ID, &item.Seq, &item.Kind, &group, &item.CreatedAt, &expires, &muted}, func() error {
		p := people[user]
		if p == nil {
			return nil
		}
		counts[user]++
		item.Group, item.ExpiresAt = deref(group), deref(expires)
		p.add(item, kinds, muted)
		return nil
	})
	return err
}

// add adds an item, with what is known of its kind.
func (p *person) add(item Item, kinds map[string]kindRow, muted bool) {
	kind := kinds[item.Kind]
	item.KindDelay, item.Asks = kind.delay, kind.authorize != "" && item.Group != ""
	p.Items = append(p.Items, item)
	if muted {
		if p.Muted == nil {
			p.Muted = map[string]bool{}
		}
		p.Muted[item.Group] = true
	}
}
