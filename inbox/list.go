package inbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline/trunkline"
)

// How many items a page has.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// ListOptions say which of a user's items are listed. The zero value is the inbox's first page.
type ListOptions struct {
	// Before is where the page begins: at the items whose seq is lower. 0: at the newest. See [Page.Next].
	Before int64
	// Limit is how many items a page has at most, 1 to 200. 0: 50.
	Limit int
	// State is inbox (the default), unseen, unread, read, archived, snoozed or all.
	State State
	// Kind and Group narrow it, unless they are "".
	Kind, Group string
}

// A Page is some of a user's items, newest first, and the counts of the inbox at the very same moment: of the pushes on the user's
// channel, those with a version up to that of the counts are contained in it.
type Page struct {
	// Items is never nil.
	Items  []Item
	Counts Counts
	// Next is what [ListOptions.Before] is for the next page; 0: there is none.
	Next int64
}

// List returns a page of a user's items. Whoever has none has an empty page.
//
// Errors: *[trunkline.ArgumentError] for what can't be; *[trunkline.PrivilegeError] if the role may not read inboxes;
// *[trunkline.SchemaError].
func (i *Inbox) List(ctx context.Context, user string, opts ListOptions) (Page, error) {
	if err := checkUser(user); err != nil {
		return Page{}, err
	}
	if opts.Limit == 0 {
		opts.Limit = defaultLimit
	}
	if opts.State == "" {
		opts.State = StateInbox
	}
	if err := opts.check(); err != nil {
		return Page{}, err
	}
	page, err := i.readPage(ctx, user, opts)
	if err != nil {
		return Page{}, i.withRole(ctx, fmt.Errorf("list the inbox of %q: %w", clip(user), explain(err, "state", grantInbox)))
	}
	return page, nil
}

// readPage reads a page and the counts with one statement, that is, from one snapshot.
func (i *Inbox) readPage(ctx context.Context, user string, opts ListOptions) (Page, error) {
	const sql = `SELECT c.unseen, c.unread, c.version, l.id, l.seq, l.kind, l.title, l.text, l."group", l.cause, l.link, l.data,
			l.created_at, l.expires_at, l.seen_at, l.read_at, l.archived_at, l.snoozed_until
		FROM trunkline.inbox_counts($1) c
		LEFT JOIN trunkline.list_inbox($1, before => $2, max_rows => $3, state => $4, kind => $5, "group" => $6) l ON true
		ORDER BY l.seq DESC`
	var before *int64
	if opts.Before != 0 {
		before = &opts.Before
	}
	page := Page{Items: []Item{}}
	rows, err := i.pool.Query(ctx, sql, user, before, opts.Limit, string(opts.State), orNull(opts.Kind), orNull(opts.Group))
	if err != nil {
		return Page{}, err
	}
	defer rows.Close()
	for rows.Next() {
		// An empty page is one row, which has the counts alone.
		var id, seq *int64
		var kind, title, text *string
		var createdAt *time.Time
		var it Item
		err := rows.Scan(&page.Counts.Unseen, &page.Counts.Unread, &page.Counts.Version, &id, &seq, &kind, &title, &text, &it.Group,
			&it.Cause, &it.Link, &it.Data, &createdAt, &it.ExpiresAt, &it.SeenAt, &it.ReadAt, &it.ArchivedAt, &it.SnoozedUntil)
		if err != nil {
			return Page{}, err
		}
		if id == nil {
			continue
		}
		it.ID, it.Seq, it.Kind, it.Title, it.Text, it.CreatedAt = *id, *seq, *kind, *title, *text, *createdAt
		it.inUTC()
		page.Items = append(page.Items, it)
	}
	if err := rows.Err(); err != nil || len(page.Items) < opts.Limit {
		return page, err
	}
	// Whether anything is behind a full page.
	last := page.Items[len(page.Items)-1].Seq
	const more = `SELECT EXISTS (SELECT FROM trunkline.list_inbox($1, before => $2, max_rows => 1, state => $3, kind => $4,
		"group" => $5))`
	var there bool
	err = i.pool.QueryRow(ctx, more, user, last, string(opts.State), orNull(opts.Kind), orNull(opts.Group)).Scan(&there)
	if there {
		page.Next = last
	}
	return page, err
}

// listed are the states that items can be listed by.
var listed = []State{StateInbox, StateUnseen, StateUnread, StateRead, StateArchived, StateSnoozed, StateAll}

// check finds what the database would refuse.
func (o *ListOptions) check() error {
	switch {
	case o.Limit < 1 || o.Limit > maxLimit:
		return &trunkline.ArgumentError{
			Argument: "limit", Problem: fmt.Sprintf("a page can't have %d items", o.Limit),
			Fix: fmt.Sprintf("Choose between 1 and %d", maxLimit),
		}
	case o.Before < 0:
		return &trunkline.ArgumentError{
			Argument: "before", Problem: fmt.Sprintf("before cannot be %d", o.Before), Fix: "Give the seq that the previous page ended with",
		}
	case !slices.Contains(listed, o.State):
		return &trunkline.ArgumentError{
			Argument: "state", Problem: fmt.Sprintf("items can't be listed by the state %q", clip(string(o.State))),
			Fix: "Use inbox, unseen, unread, read, archived, snoozed or all",
		}
	}
	if o.Kind != "" {
		if err := checkKind("kind", o.Kind); err != nil {
			return err
		}
	}
	if o.Group == "" {
		return nil
	}
	return checkText("group", o.Group, maxLabel, "Give it as it was given to notify")
}
