package inbox_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// What can't be notified is refused with a sentence that names the argument, before the database is asked, so that the caller's
// transaction goes on; and the SQL function refuses the same, naming the same argument.
func TestBadNotifications(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ann := []string{"ann"}
	many := make([]string, 10_001)
	for i := range many {
		many[i] = "ann"
	}
	for _, test := range []struct {
		n        inbox.Notification
		argument string
		notSQL   bool // can't even be said there
	}{
		{n: inbox.Notification{Kind: "k", Users: many}, argument: "user_ids"},
		{n: inbox.Notification{Kind: "k", Users: []string{"ann", ""}}, argument: "user_id"},
		{n: inbox.Notification{Kind: "k", Users: []string{strings.Repeat("x", 250)}}, argument: "user_id"},
		{n: inbox.Notification{Kind: "k", Users: []string{"a\tb"}}, argument: "user_id"},
		{n: inbox.Notification{Kind: "k", Users: []string{"a\x85b"}}, argument: "user_id", notSQL: true},
		{n: inbox.Notification{Kind: "k", Users: []string{"a\x00b"}}, argument: "user_id", notSQL: true},
		{n: inbox.Notification{Users: ann}, argument: "kind"},
		{n: inbox.Notification{Users: ann, Kind: strings.Repeat("k", 65)}, argument: "kind"},
		{n: inbox.Notification{Users: ann, Kind: "a\nb"}, argument: "kind"},
		{n: inbox.Notification{Users: ann, Kind: "k", Group: strings.Repeat("g", 256)}, argument: "group"},
		{n: inbox.Notification{Users: ann, Kind: "k", Group: "a\u009fb"}, argument: "group"},
		{n: inbox.Notification{Users: ann, Kind: "k", Cause: "a\x7fb"}, argument: "cause"},
		{n: inbox.Notification{Users: ann, Kind: "k", DedupeKey: strings.Repeat("g", 256)}, argument: "dedupe_key"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: "javascript:alert(1)"}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: "//evil.example/x"}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: `/\evil.example/x`}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: `https:/evil.example`}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: "projects/7"}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: "HTTP//x"}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: "/a\r\nb"}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Link: "/" + strings.Repeat("x", 2048)}, argument: "link"},
		{n: inbox.Notification{Users: ann, Kind: "k", Data: json.RawMessage("{")}, argument: "data"},
		{n: inbox.Notification{Users: ann, Kind: "k", Data: json.RawMessage("")}, argument: "data"},
		{n: inbox.Notification{Users: ann, Kind: "k", Data: json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)}, argument: "data"},
		{n: inbox.Notification{Users: ann, Kind: "k", ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, argument: "expires_at"},
	} {
		tx := begin(t, conn)
		_, err := inbox.NotifyTx(testContext(t), tx, test.n)
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != test.argument || argument.Fix == "" || len(err.Error()) > 400 {
			t.Errorf("%s %.60v: %v", test.argument, test.n, err)
		}
		if test.argument != "expires_at" { // whose limit is the database's
			exec(t, tx, "SELECT 1")
		}
		_ = tx.Rollback(testContext(t))
		if test.notSQL {
			continue
		}
		var expires *time.Time
		if !test.n.ExpiresAt.IsZero() {
			expires = &test.n.ExpiresAt
		}
		orNull := func(s string) any {
			if s == "" {
				return nil
			}
			return s
		}
		data := "{}"
		if test.n.Data != nil {
			data = string(test.n.Data)
		}
		_, err = conn.Exec(testContext(t), `SELECT trunkline.notify_many($1, $2, $3::text::json, "group" => $4, link => $5, cause => $6,
			dedupe_key => $7, expires_at => $8)`, test.n.Users, test.n.Kind, data, orNull(test.n.Group), orNull(test.n.Link),
			orNull(test.n.Cause), orNull(test.n.DedupeKey), expires)
		var pg *pgconn.PgError
		// What isn't JSON is PostgreSQL's own to refuse.
		if !errors.As(err, &pg) || pg.Code != "22P02" && (pg.ColumnName != test.argument || pg.Hint == "") {
			t.Errorf("in SQL: %s %.60v: %v", test.argument, test.n, err)
		}
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.notification"); n != 0 {
		t.Errorf("%d were notified", n)
	}
	for _, link := range []string{"/", "/x", "/x//y", "http://x", "HTTPS://x", "https://x/y?z#a"} {
		notifyOf(t, conn, inbox.Notification{Users: ann, Kind: "k", Link: link})
	}
	if ids := notifyOf(t, conn, inbox.Notification{Kind: "k"}); len(ids) != 0 {
		t.Errorf("nobody was notified as %v", ids)
	}
	// What is at the limit is fine.
	notifyOf(t, conn, inbox.Notification{
		Users: []string{strings.Repeat("u", 249)}, Kind: strings.Repeat("k", 64), Group: strings.Repeat("g", 255),
		Cause: strings.Repeat("c", 255), DedupeKey: strings.Repeat("d", 255), Link: "/" + strings.Repeat("l", 2047),
		Data:      json.RawMessage(`"` + strings.Repeat("x", 64<<10-2) + `"`),
		ExpiresAt: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	})
}

func TestBadMarksListsAndRetractions(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	in := newInbox(t, newEngine(t, url))
	conn := pgtest.Connect(t, url)
	ctx := testContext(t)
	tomorrow := time.Now().Add(24 * time.Hour)
	mark := func(m inbox.Mark) func(pgx.Tx) error {
		return func(tx pgx.Tx) error { return second(inbox.MarkTx(ctx, tx, "ann", m)) }
	}
	read := inbox.Mark{State: inbox.StateRead}
	snooze := func(until time.Time) inbox.Mark {
		return inbox.Mark{State: inbox.StateSnoozed, IDs: []int64{1}, Until: until}
	}
	list := func(o inbox.ListOptions) func(pgx.Tx) error {
		return func(pgx.Tx) error { return second(in.List(ctx, "ann", o)) }
	}
	retract := func(r inbox.Retraction) func(pgx.Tx) error {
		return func(tx pgx.Tx) error { return second(inbox.RetractTx(ctx, tx, r)) }
	}
	for name, test := range map[string]struct {
		do       func(tx pgx.Tx) error
		argument string
		inSQL    bool // the transaction is lost
	}{
		"mark without a state":         {mark(inbox.Mark{UpToSeq: 1}), "state", false},
		"mark as unseen":               {mark(inbox.Mark{State: inbox.StateUnseen, IDs: []int64{1}}), "state", false},
		"mark as nonsense":             {mark(inbox.Mark{State: "a\x00\xff", IDs: []int64{1}}), "state", false},
		"both":                         {mark(inbox.Mark{State: inbox.StateRead, UpToSeq: 1, IDs: []int64{1}}), "ids", false},
		"too many":                     {mark(inbox.Mark{State: inbox.StateRead, IDs: make([]int64, 1001)}), "ids", false},
		"negative":                     {mark(inbox.Mark{State: inbox.StateRead, UpToSeq: -1}), "up_to_seq", false},
		"unread up to":                 {mark(inbox.Mark{State: inbox.StateUnread, UpToSeq: 1}), "ids", false},
		"snoozed up to":                {mark(inbox.Mark{State: inbox.StateSnoozed, UpToSeq: 1, Until: tomorrow}), "ids", false},
		"ids of a group":               {mark(inbox.Mark{State: inbox.StateRead, IDs: []int64{1}, Group: "g"}), "group", false},
		"a bad group":                  {mark(inbox.Mark{State: inbox.StateRead, UpToSeq: 1, Group: "\n"}), "group", false},
		"snoozed for ever":             {mark(inbox.Mark{State: inbox.StateSnoozed, IDs: []int64{1}}), "until", false},
		"read until":                   {mark(inbox.Mark{State: inbox.StateRead, IDs: []int64{1}, Until: tomorrow}), "until", false},
		"snoozed until yesterday":      {mark(snooze(time.Now().Add(-time.Hour))), "until", true},
		"snoozed for years":            {mark(snooze(time.Now().AddDate(2, 0, 0))), "until", true},
		"list by seen":                 {list(inbox.ListOptions{State: inbox.StateSeen}), "state", false},
		"list by nonsense":             {list(inbox.ListOptions{State: "x"}), "state", false},
		"a page of -1":                 {list(inbox.ListOptions{Limit: -1}), "limit", false},
		"a page of 201":                {list(inbox.ListOptions{Limit: 201}), "limit", false},
		"before -1":                    {list(inbox.ListOptions{Before: -1}), "before", false},
		"list a bad kind":              {list(inbox.ListOptions{Kind: "\n"}), "kind", false},
		"list a bad group":             {list(inbox.ListOptions{Group: "\n"}), "group", false},
		"retract everything":           {retract(inbox.Retraction{}), "cause", false},
		"retract a kind":               {retract(inbox.Retraction{Kind: "k"}), "cause", false},
		"retract all of a user":        {retract(inbox.Retraction{User: "ann", Kind: "k"}), "cause", false},
		"retract by a key of nobody's": {retract(inbox.Retraction{DedupeKey: "k"}), "cause", false},
		"retract a bad cause":          {retract(inbox.Retraction{Cause: "\n"}), "cause", false},
		"mark nobody's":                {func(tx pgx.Tx) error { return second(inbox.MarkTx(ctx, tx, "", read)) }, "user_id", false},
		"list nobody's":                {func(pgx.Tx) error { return second(in.List(ctx, "", inbox.ListOptions{})) }, "user_id", false},
		"count nobody's":               {func(pgx.Tx) error { return second(in.Counts(ctx, "\xff")) }, "user_id", false},
		"remove no kind":               {func(tx pgx.Tx) error { return inbox.RemoveKind(ctx, tx, "") }, "name", false},
	} {
		tx := begin(t, conn)
		err := test.do(tx)
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != test.argument || argument.Problem == "" || argument.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := tx.Exec(ctx, "SELECT 1"); (err != nil) != test.inSQL {
			t.Errorf("%s: the transaction: %v", name, err)
		}
		_ = tx.Rollback(ctx)
	}
}

// A database without the schema says so.
func TestWithoutASchema(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyDatabase(t)
	in := newInbox(t, newEngine(t, url))
	ctx := testContext(t)
	for what, err := range map[string]error{
		"notify": second(in.Notify(ctx, inbox.Notification{Users: []string{"ann"}, Kind: "k"})),
		"list":   second(in.List(ctx, "ann", inbox.ListOptions{})),
		"counts": second(in.Counts(ctx, "ann")),
		"check":  second(in.Check(ctx, false)),
		"keep":   in.Keep(ctx, time.Time{}),
		"kinds":  second(inbox.Kinds(ctx, pgtest.Connect(t, url))),
	} {
		var missing *trunkline.SchemaError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "run `trunkline migrate`") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
