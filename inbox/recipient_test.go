package inbox_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

const recipientRow = "SELECT concat_ws('|', user_id, email, name, time_zone, locale) FROM trunkline.recipient"

func TestSetRecipient(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ctx := testContext(t)
	ann := inbox.Recipient{User: "ann", Email: "ann@example.com", Name: "Ann Lee", TimeZone: "Europe/Berlin", Locale: "de"}
	tx := begin(t, conn)
	if err := inbox.SetRecipient(ctx, tx, ann); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.recipient"); n != 0 {
		t.Error("a transaction that was rolled back has set a recipient")
	}
	if err := inbox.SetRecipient(ctx, conn, ann); err != nil {
		t.Fatal(err)
	}
	for what, one := range map[string]struct {
		r        inbox.Recipient
		argument string
	}{
		"no user":            {inbox.Recipient{}, "user_id"},
		"a long user":        {inbox.Recipient{User: strings.Repeat("x", 250)}, "user_id"},
		"a user in binary":   {inbox.Recipient{User: "\xff\xfe"}, "user_id"},
		"no address":         {inbox.Recipient{User: "ann", Email: "ann"}, "email"},
		"an injected header": {inbox.Recipient{User: "ann", Email: "a@b.c\r\nBcc: eve@example.com"}, "email"},
		"a NUL":              {inbox.Recipient{User: "ann", Email: "a@b.c\x00"}, "email"},
		"an injected name":   {inbox.Recipient{User: "ann", Name: "Ann\r\nBcc: eve@example.com"}, "name"},
		"a name in Latin-1":  {inbox.Recipient{User: "ann", Name: "J\xf6rg"}, "name"},
		"a long name":        {inbox.Recipient{User: "ann", Name: strings.Repeat("x", 256)}, "name"},
		"no zone":            {inbox.Recipient{User: "ann", TimeZone: "Mars/Olympus"}, "time_zone"},
		"POSIX's zone":       {inbox.Recipient{User: "ann", TimeZone: "Europe/Foo5"}, "time_zone"},
		"Go's own zone":      {inbox.Recipient{User: "ann", TimeZone: "Local"}, "time_zone"},
		"a path":             {inbox.Recipient{User: "ann", TimeZone: "../../etc/passwd"}, "time_zone"},
		"no locale":          {inbox.Recipient{User: "ann", Locale: "Deutsch, bitte"}, "locale"},
	} {
		var argument *trunkline.ArgumentError
		if err := inbox.SetRecipient(ctx, conn, one.r); !errors.As(err, &argument) || argument.Argument != one.argument || argument.Fix == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := scan[string](t, conn, recipientRow); got != "ann|ann@example.com|Ann Lee|Europe/Berlin|de" {
		t.Error(got)
	}
	if err := inbox.SetRecipient(ctx, conn, inbox.Recipient{User: "ann"}); err != nil {
		t.Fatal(err)
	}
	if got := scan[string](t, conn, recipientRow); got != "ann" {
		t.Error(got)
	}
	for _, want := range []bool{true, false} {
		if had, err := inbox.ForgetRecipient(ctx, conn, "ann"); err != nil || had != want {
			t.Errorf("forgotten: %v, %v", had, err)
		}
	}
	var argument *trunkline.ArgumentError
	if _, err := inbox.ForgetRecipient(ctx, conn, ""); !errors.As(err, &argument) {
		t.Error(err)
	}
}

func TestRecipientsFrom(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ctx := testContext(t)
	exec(t, conn, `CREATE SCHEMA app; CREATE TABLE app."The People" (user_id bigint, email text); INSERT INTO app."The People" VALUES (7, 'seven@example.com');
		CREATE TABLE app.half (user_id bigint)`)
	if err := inbox.RecipientsFrom(ctx, conn, `app."The People"`); err != nil {
		t.Fatal(err)
	}
	if got := scan[string](t, conn, "SELECT email FROM trunkline.recipients_of('{7}')"); got != "seven@example.com" {
		t.Error(got)
	}
	for relation, want := range map[string]string{
		"app.nothing":            `relation "app.nothing" does not exist`,
		"nothing.at_all":         `schema "nothing" does not exist`,
		"app.half":               "app.half has no column email",
		"trunkline.recipient":    "recipients can't be read from trunkline.recipient",
		"a.b.c.d":                "improper",
		"not a name; DROP TABLE": "invalid name syntax",
		"a\x00":                  "contains a NUL",
	} {
		err := inbox.RecipientsFrom(ctx, conn, relation)
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != "relation" || argument.Fix == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", relation, err)
		}
	}
	if err := inbox.RecipientsFrom(ctx, conn, ""); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.recipients_of('{7}')"); n != 0 {
		t.Error("the relation is still read")
	}
}

// What a role lacks is named with the statement that gives it.
func TestRecipientsNeedGrants(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ctx := testContext(t)
	const role = "inbox_recipients_stranger"
	exec(t, conn, "CREATE ROLE "+role)
	t.Cleanup(func() {
		exec(t, conn, "RESET ROLE")
		exec(t, conn, "DROP OWNED BY "+role)
		exec(t, conn, "DROP ROLE "+role)
	})
	exec(t, conn, "GRANT USAGE ON SCHEMA trunkline TO "+role)
	exec(t, conn, "SET ROLE "+role)
	for what, do := range map[string]func() error{
		"set a recipient":      func() error { return inbox.SetRecipient(ctx, conn, inbox.Recipient{User: "ann"}) },
		"forget a recipient":   func() error { _, err := inbox.ForgetRecipient(ctx, conn, "ann"); return err },
		"touch":                func() error { return inbox.TouchTx(ctx, conn, "ann") },
		"read preferences":     func() error { _, err := inbox.PreferencesTx(ctx, conn, "ann"); return err },
		"set preferences":      func() error { return inbox.SetPreferencesTx(ctx, conn, "ann", inbox.Preferences{}) },
		"store a token":        func() error { return inbox.AddUnsubscribeToken(ctx, conn, make([]byte, 32), "ann") },
		"choose the relation":  func() error { return inbox.RecipientsFrom(ctx, conn, "pg_class") },
		"go back to our table": func() error { return inbox.RecipientsFrom(ctx, conn, "") },
	} {
		var privilege *trunkline.PrivilegeError
		if err := do(); !errors.As(err, &privilege) || !strings.HasPrefix(privilege.Grant, "SELECT trunkline.") || !strings.Contains(err.Error(), privilege.Grant) {
			t.Errorf("%s: %v", what, err)
		}
	}
	exec(t, conn, "RESET ROLE")
	exec(t, conn, "SELECT trunkline.grant_recipients('"+role+"')")
	exec(t, conn, "SET ROLE "+role)
	if err := inbox.SetRecipient(ctx, conn, inbox.Recipient{User: "ann", Email: "ann@example.com"}); err != nil {
		t.Error(err)
	}
}
