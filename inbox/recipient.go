package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
)

// grantRecipients is what a role lacks that may not say who recipients are, nor what they prefer.
const grantRecipients = "SELECT trunkline.grant_recipients('ROLE')"

// A Recipient is who a user is to mail. A user without one has an inbox, and gets no mail.
type Recipient struct {
	User string
	// Email is an address without a name, at most 254 bytes. "": no mail. Letters beyond ASCII are fine.
	Email string
	// Name is what the mail calls the user, at most 255 bytes without control characters. "": nothing.
	Name string
	// TimeZone is an IANA name such as Europe/Berlin. "": the site's.
	TimeZone string
	// Locale is as BCP 47 has it, such as de or pt-BR. "": the site's.
	Locale string
}

// SetRecipient says who a user is to mail: all of it, so what is empty is none. Inside a transaction it counts when that commits,
// and mail that had no address goes out then. Another address starts without bounces.
//
// Where recipients are read from a relation of the application's ([RecipientsFrom]), what is set here is kept, but not used. For
// thousands at once, write to the table trunkline.recipient with SQL: it checks the same.
//
// Errors: *[trunkline.ArgumentError] for what can't be, such as a zone that there isn't; *[trunkline.PrivilegeError];
// *[trunkline.SchemaError]. After an error that came from the database a transaction can only be rolled back.
func SetRecipient(ctx context.Context, db trunkline.Tx, r Recipient) error {
	if err := checkUser(r.User); err != nil {
		return err
	}
	for _, field := range []struct{ argument, value string }{{"email", r.Email}, {"name", r.Name}, {"locale", r.Locale}} {
		if err := checkUTF8(field.argument, field.value); err != nil {
			return err
		}
	}
	if err := checkZone("time_zone", r.TimeZone); err != nil {
		return err
	}
	_, err := db.Exec(ctx, "SELECT trunkline.set_recipient($1, $2, $3, $4, $5)",
		r.User, orNull(r.Email), orNull(r.Name), orNull(r.TimeZone), orNull(r.Locale))
	if err != nil {
		return fmt.Errorf("set recipient %q: %w", clip(r.User), explain(err, "recipient", grantRecipients))
	}
	return nil
}

// ForgetRecipient removes what is known of a user to mail: address, preferences and mutes. No mail is sent any more. Notifications
// stay, see [RetractTx], and links in mails that were sent before still answer, without knowing whom. It returns whether there was
// anything. Errors are those of [SetRecipient].
func ForgetRecipient(ctx context.Context, db trunkline.Tx, user string) (bool, error) {
	if err := checkUser(user); err != nil {
		return false, err
	}
	var had bool
	if err := db.QueryRow(ctx, "SELECT trunkline.forget_recipient($1)", user).Scan(&had); err != nil {
		return false, fmt.Errorf("forget recipient %q: %w", clip(user), explain(err, "user_id", grantRecipients))
	}
	return had, nil
}

// RecipientsFrom has recipients read from a table or view of the application's, named as SQL names it (app.recipient, or quoted),
// or from Trunkline's own table again if relation is "". Its columns are found by name: user_id and email, and name, time_zone,
// locale and active_at if it has them. It is looked up by its name each time, so it may be replaced.
//
// Only Trunkline's owner can say so, and has to be able to read it. Errors: *[trunkline.ArgumentError] if it isn't there, lacks a
// column, has one of a type that doesn't fit, or can't be read; *[trunkline.PrivilegeError]; *[trunkline.SchemaError].
func RecipientsFrom(ctx context.Context, db trunkline.Tx, relation string) error {
	if err := checkUTF8("relation", relation); err != nil {
		return err
	}
	_, err := db.Exec(ctx, "SELECT trunkline.recipients_from($1::text::regclass)", orNull(relation))
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	ours := strings.Contains(pg.Message, "trunkline.") || strings.Contains(pg.Message, `"trunkline"`)
	switch {
	case pg.Code == statePrivilege && !strings.HasPrefix(pg.Message, "recipients can't be read"):
		statement := "SELECT trunkline.recipients_from('" + strings.ReplaceAll(relation, "'", "''") + "')"
		if relation == "" {
			statement = "SELECT trunkline.recipients_from(NULL)"
		}
		return fmt.Errorf("choose where recipients are read: %w", refused(statement, err))
	case (strings.HasPrefix(pg.Code, "42") || pg.Code == stateUndefinedSchema) && (!ours || pg.Code == stateWrongObject):
		fix := strings.TrimSuffix(pg.Hint, ".")
		if fix == "" {
			fix = "Name a table or view as SQL does, such as app.recipient"
		}
		means := &trunkline.ArgumentError{Argument: "relation", Problem: pg.Message, Fix: fix}
		return &explained{means.Error(), means, err}
	}
	return fmt.Errorf("choose where recipients are read: %w", explain(err, "relation", grantRecipients))
}

const stateWrongObject = "42809"

// checkUTF8 finds what would not even reach the database, which judges the rest.
func checkUTF8(argument, value string) error {
	if utf8.ValidString(value) && !strings.ContainsRune(value, 0) {
		return nil
	}
	return &trunkline.ArgumentError{
		Argument: argument, Problem: fmt.Sprintf("%s %q is not UTF-8 or contains a NUL", argument, clip(value)),
		Fix: "Write it in UTF-8",
	}
}
