package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/trunkline/trunkline"
)

// maxLevels is how deeply data may be nested.
const maxLevels = 100

// maxUsers is how many users one call can notify.
const maxUsers = 10_000

// A Notification tells users that something has happened. It has to have a Kind, and all else may be left out.
type Notification struct {
	// Users it is for: their ids, 1 to 249 bytes without control characters; up to 10,000 of them. One that is named twice gets it
	// once. An id that nobody has is an inbox that nobody reads; without users, nobody is notified.
	Users []string
	// Kind is what it is about, such as task.completed: 1 to 64 bytes. One that isn't registered (see [SetKind]) has defaults.
	Kind string
	// Data is JSON that the kind's template and the application's pages make something of, up to 64 KiB and nested up to 100 levels
	// deep. Nil: {}.
	Data json.RawMessage
	// Group is what it belongs to, such as a project or a conversation: up to 255 bytes.
	Group string
	// Link is where it leads: beginning with /, http:// or https://, up to 2,048 bytes.
	Link string
	// Cause is what it is about, such as a task: up to 255 bytes. With the cause gone, [RetractTx] removes it.
	Cause string
	// DedupeKey makes notifying idempotent: a user that has a notification with this key gets no other. Up to 255 bytes.
	DedupeKey string
	// ExpiresAt is when it disappears by itself, read or not. Zero: never.
	ExpiresAt time.Time
}

// NotifyTx puts a notification into its users' inboxes inside the caller's transaction, and returns its ids in the order of the
// users. When the transaction commits, it is announced; when it rolls back, it never was. No Inbox needs to run, but nothing is
// seen of it until one does.
//
// Two transactions that notify the same users don't wait for each other, in whatever order they do so, unless they use the same
// dedupe key. Errors: *[trunkline.ArgumentError] for what can't be; *[trunkline.PrivilegeError] if the role may not notify;
// *[trunkline.SchemaError]. After an error that came from the database the transaction can only be rolled back.
func NotifyTx(ctx context.Context, tx trunkline.Tx, n Notification) ([]int64, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	if len(n.Users) == 0 {
		return nil, nil
	}
	data := "{}"
	if n.Data != nil {
		data = string(n.Data)
	}
	var expires *time.Time
	if !n.ExpiresAt.IsZero() {
		expires = &n.ExpiresAt
	}
	var ids []int64
	const sql = `SELECT trunkline.notify_many($1, $2, $3::json, "group" => $4, link => $5, cause => $6, dedupe_key => $7,
		expires_at => $8)`
	row := tx.QueryRow(ctx, sql, n.Users, n.Kind, data, orNull(n.Group), orNull(n.Link), orNull(n.Cause), orNull(n.DedupeKey), expires)
	err := row.Scan(&ids)
	if err != nil {
		return nil, fmt.Errorf("notify %s: %w", n.whom(), explain(err, "notification", grantNotify))
	}
	return ids, nil
}

// Notify is [NotifyTx] in a transaction of its own. If the connection fails, the outcome is unknown: give a DedupeKey to repeat it
// safely.
func (i *Inbox) Notify(ctx context.Context, n Notification) (ids []int64, err error) {
	err = i.repeat(ctx, func() error {
		ids, err = NotifyTx(ctx, i.pool, n)
		return err
	})
	return ids, err
}

// whom names the users for an error message.
func (n *Notification) whom() string {
	if len(n.Users) == 1 {
		return fmt.Sprintf("%q", clip(n.Users[0]))
	}
	return fmt.Sprintf("%d users", len(n.Users))
}

// check finds what the database would refuse.
func (n *Notification) check() error {
	if len(n.Users) > maxUsers {
		return &trunkline.ArgumentError{
			Argument: "user_ids", Problem: fmt.Sprintf("a notification is for %d users, more than %d", len(n.Users), maxUsers),
			Fix: "Make several calls in the same transaction",
		}
	}
	for _, user := range n.Users {
		if err := checkUser(user); err != nil {
			return err
		}
	}
	if err := checkKind("kind", n.Kind); err != nil {
		return err
	}
	const labelFix = "Use a short identifier, 1 to 255 bytes without control characters"
	for _, label := range []struct{ argument, value string }{{"group", n.Group}, {"cause", n.Cause}, {"dedupe_key", n.DedupeKey}} {
		if label.value == "" {
			continue
		}
		if err := checkText(label.argument, label.value, maxLabel, labelFix); err != nil {
			return err
		}
	}
	if err := checkLink(n.Link); err != nil {
		return err
	}
	return checkData(n.Data)
}

// checkLink accepts what a page can lead to, and nothing that a page would run.
func checkLink(link string) error {
	const fix = "Begin it with / and a path, http:// or https://, and use at most 2048 bytes"
	if link == "" {
		return nil
	}
	if err := checkText("link", link, maxLink, fix); err != nil {
		return err
	}
	// Browsers read a backslash as a slash: //evil.example and /\evil.example lead away.
	scheme := strings.ToLower(link[:min(len(link), len("https://"))])
	onSite := link[0] == '/' && (len(link) == 1 || link[1] != '/' && link[1] != '\\')
	if onSite || strings.HasPrefix(scheme, "http://") || scheme == "https://" {
		return nil
	}
	return &trunkline.ArgumentError{
		Argument: "link", Problem: fmt.Sprintf("link %q leads nowhere that is known to be safe", clip(link)), Fix: fix,
	}
}

func checkData(data json.RawMessage) error {
	if data == nil {
		return nil
	}
	// First, since whether something deeper is JSON json.Valid doesn't say.
	if nestedDeeper(data, maxLevels) {
		return &trunkline.ArgumentError{
			Argument: "data", Problem: fmt.Sprintf("data is nested deeper than %d levels", maxLevels),
			Fix: "Keep what is large elsewhere, and give its id",
		}
	}
	if !json.Valid(data) || !utf8.Valid(data) {
		return &trunkline.ArgumentError{
			Argument: "data", Problem: fmt.Sprintf("data is not JSON: %s", clip(string(data))),
			Fix: `An object such as {"task": 7} can fill a template`,
		}
	}
	if len(data) > maxData {
		return &trunkline.ArgumentError{
			Argument: "data", Problem: fmt.Sprintf("data is %d bytes long, more than %d", len(data), maxData),
			Fix: "Keep what is large elsewhere, and give its id",
		}
	}
	return nil
}

// nestedDeeper tells whether arrays and objects in JSON are nested deeper than so many levels.
func nestedDeeper(data []byte, levels int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > levels {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// A Retraction says which notifications disappear: those that fit all that is given. It has to give Cause, or Group, or both User
// and DedupeKey.
type Retraction struct {
	Cause, Group, User, Kind, DedupeKey string
}

// RetractTx removes notifications, read or not, inside the caller's transaction, and returns how many. When the transaction commits
// they disappear from their users' inboxes and counts, on every device. Errors are those of [NotifyTx].
func RetractTx(ctx context.Context, tx trunkline.Tx, r Retraction) (int, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	var removed int
	err := tx.QueryRow(ctx, `SELECT trunkline.retract(cause => $1, "group" => $2, user_id => $3, kind => $4, dedupe_key => $5)`,
		orNull(r.Cause), orNull(r.Group), orNull(r.User), orNull(r.Kind), orNull(r.DedupeKey)).Scan(&removed)
	if err != nil {
		return 0, fmt.Errorf("retract notifications: %w", explain(err, "retraction", grantNotify))
	}
	return removed, nil
}

// Retract is [RetractTx] in a transaction of its own.
func (i *Inbox) Retract(ctx context.Context, r Retraction) (removed int, err error) {
	err = i.repeat(ctx, func() error {
		removed, err = RetractTx(ctx, i.pool, r)
		return err
	})
	return removed, err
}

func (r *Retraction) check() error {
	if r.Cause == "" && r.Group == "" && (r.User == "" || r.DedupeKey == "") {
		return &trunkline.ArgumentError{
			Argument: "cause", Problem: "a retraction doesn't say of what", Fix: "Give a cause, a group, or a user and a dedupe key",
		}
	}
	for _, field := range []struct {
		argument, value string
		most            int
	}{
		{"cause", r.Cause, maxLabel},
		{"group", r.Group, maxLabel},
		{"user_id", r.User, maxUser},
		{"kind", r.Kind, maxKind},
		{"dedupe_key", r.DedupeKey, maxLabel},
	} {
		if field.value == "" {
			continue
		}
		if err := checkText(field.argument, field.value, field.most, "Give it as it was given to notify"); err != nil {
			return err
		}
	}
	return nil
}
