package inbox

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// A Kind is what notifications can be about, and what all of one kind have in common.
type Kind struct {
	// Name is 1 to 64 bytes without control characters, such as task.completed.
	Name string `json:"name"`
	// Title is what people call it: Task completed. "": the name.
	Title string `json:"title"`
	// Template makes one line of a notification's data: {actor} completed {task.title}. What stands in braces is a path into the
	// data, up to 20 times; {{ and }} are braces. "": the title.
	Template string `json:"template"`
	// Delay is how long a notification may stay unread before it is mailed, unless its user prefers otherwise: 0 (at once) to 30 days.
	// Nil: four hours.
	Delay *time.Duration `json:"delay"`
	// Authorize names the application's function (user_id text, "group" text, action text) → boolean, which is asked with the action
	// mail before anything is mailed whether the user may still see the group. "": it isn't asked. It is looked up as the caller
	// would; choosing one takes grant_admin.
	Authorize string `json:"authorize"`
}

// SetKind registers a kind, or replaces all that is registered of it. Inside a transaction it takes effect when that commits, also
// on notifications that are there already.
//
// Errors: *[trunkline.ArgumentError] for what can't be, such as a template with an unclosed brace; *[trunkline.PrivilegeError] if
// the role may not notify, or would change Authorize without grant_admin; *[trunkline.SchemaError].
func SetKind(ctx context.Context, db trunkline.Tx, kind Kind) error {
	if err := checkKind("name", kind.Name); err != nil {
		return err
	}
	for _, text := range []struct{ argument, value string }{
		{"title", kind.Title}, {"template", kind.Template}, {"authorize", kind.Authorize},
	} {
		if !utf8.ValidString(text.value) || strings.ContainsRune(text.value, 0) {
			return &trunkline.ArgumentError{
				Argument: text.argument,
				Problem:  fmt.Sprintf("%s of kind %q is not UTF-8 or contains a NUL: %q", text.argument, kind.Name, clip(text.value)),
				Fix:      "Write it in UTF-8",
			}
		}
	}
	_, err := db.Exec(ctx, `SELECT trunkline.kind($1, title => $2, delay => $3::interval, template => $4, "authorize" => $5)`,
		kind.Name, orNull(kind.Title), kind.Delay, orNull(kind.Template), orNull(kind.Authorize))
	if err != nil {
		return fmt.Errorf("register kind %q: %w", clip(kind.Name), explain(err, "kind", grantNotify))
	}
	return nil
}

// RemoveKind forgets a kind: its notifications stay, and have the defaults of one that isn't registered. Errors: those of
// [SetKind]; one that is [trunkline.ErrNotFound] if there is no such kind.
func RemoveKind(ctx context.Context, db trunkline.Tx, name string) error {
	if err := checkKind("name", name); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, "SELECT trunkline.remove_kind($1)", name); err != nil {
		return fmt.Errorf("remove kind %q: %w", clip(name), explain(err, "name", grantNotify))
	}
	return nil
}

// Kinds returns the kinds that are registered, ordered by name. Errors: *[trunkline.PrivilegeError] if the role may not read them,
// *[trunkline.SchemaError].
func Kinds(ctx context.Context, db trunkline.Tx) ([]Kind, error) {
	// Microseconds as a number: how an interval of months or days counts is then the database's business alone.
	rows, err := db.Query(ctx, `SELECT name, title, coalesce(template, ''), (extract(epoch FROM delay) * 1000000)::bigint,
		coalesce("authorize", '') FROM trunkline.kind ORDER BY name`)
	if err == nil {
		var kinds []Kind
		kinds, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Kind, error) {
			var k Kind
			var delay *int64
			err := row.Scan(&k.Name, &k.Title, &k.Template, &delay, &k.Authorize)
			if delay != nil {
				d := time.Duration(*delay) * time.Microsecond
				k.Delay = &d
			}
			return k, err
		})
		if err == nil {
			return kinds, nil
		}
	}
	return nil, fmt.Errorf("read kinds: %w", explain(err, "kind", grantNotify))
}

func checkKind(argument, name string) error {
	return checkText(argument, name, maxKind, "A kind is 1 to 64 bytes without control characters, such as task.completed")
}
