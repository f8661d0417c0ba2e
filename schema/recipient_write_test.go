package schema_test

import (
	"fmt"
	"net/mail"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRecipientRefusals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run("INSERT INTO trunkline.recipient (user_id, email, time_zone) VALUES ('ann', 'ann@example.com', 'Europe/Berlin')")
	for what, want := range map[string]string{ // user_id; email; name; time_zone; locale
		"NULL; 'a@b.c'":                "the user_id is missing",
		"''; 'a@b.c'":                  "the user_id is missing",
		"repeat('é', 125); NULL":       "is 250 bytes long, more than 249",
		"E'a\\nb'; NULL":               `user_id "a\nb" contains a control character`,
		"'u'; ''":                      "the address is empty",
		"'u'; 'nobody'":                `address "nobody" has no "@" (recipient "u")`,
		"'u'; 'Ann <ann@example.com>'": "contains a space",
		"'u'; '<ann@example.com>'":     "contains one of < >",
		"'u'; E'ann@example.com\\r\\nBcc: eve@example.com'":         `address "ann@example.com\r\nBcc: eve@example.com" contains a space, a control character`,
		"'u'; U&'ann@example.com\\2028'":                            "an invisible one",
		"'u'; repeat('a', 251) || '@b.c'":                           "is 255 bytes long, more than 254",
		"'u'; repeat('x', 1000000)":                                 "is 1000000 bytes long, more than 254",
		"'u'; 'a@b.c'; ''":                                          `name "" is empty`,
		"'u'; 'a@b.c'; E'Ann\\r\\nBcc: eve@example.com'":            `name "Ann\r\nBcc: eve@example.com" is empty, over 255 bytes long or contains a control character`,
		"'u'; 'a@b.c'; U&'Ann\\0085'":                               "contains a control character",
		"'u'; 'a@b.c'; U&'Ann\\2029'":                               "contains a control character",
		"'u'; 'a@b.c'; repeat('x', 256)":                            "over 255 bytes long",
		"'u'; 'a@b.c'; NULL; ''":                                    `there is no time zone ""`,
		"'u'; 'a@b.c'; NULL; 'Mars/Olympus'":                        `there is no time zone "Mars/Olympus"`,
		"'u'; 'a@b.c'; NULL; 'Europe/Foo5'":                         `there is no time zone "Europe/Foo5"`,
		"'u'; 'a@b.c'; NULL; 'Foo5Bar,M3.2.0,M11.1.0'":              `there is no time zone "Foo5Bar`,
		"'u'; 'a@b.c'; NULL; '<+03>-3'":                             `there is no time zone "<+03>-3"`,
		"'u'; 'a@b.c'; NULL; 'EDT'":                                 `there is no time zone "EDT"`,
		"'u'; 'a@b.c'; NULL; '+02:00'":                              `there is no time zone "+02:00"`,
		"'u'; 'a@b.c'; NULL; 'localtime'":                           `there is no time zone "localtime"`,
		"'u'; 'a@b.c'; NULL; 'posix/Europe/Berlin'":                 `there is no time zone "posix/Europe/Berlin"`,
		"'u'; 'a@b.c'; NULL; '../../etc/passwd'":                    `there is no time zone "../../etc/passwd"`,
		"'u'; 'a@b.c'; NULL; repeat('x', 1000000)":                  `there is no time zone "xxxx`,
		"'u'; 'a@b.c'; NULL; 'europe/berlin'":                       `there is no time zone "europe/berlin"`,
		"'u'; 'a@b.c'; NULL; NULL; ''":                              `there is no locale ""`,
		"'u'; 'a@b.c'; NULL; NULL; 'pt_BR'":                         `there is no locale "pt_BR"`,
		"'u'; 'a@b.c'; NULL; NULL; 'd'":                             `there is no locale "d"`,
		"'u'; 'a@b.c'; NULL; NULL; E'de\\n'":                        `there is no locale "de\n"`,
		"'u'; 'a@b.c'; NULL; NULL; 'de' || repeat('-x', 20)":        "there is no locale",
		"'u'; 'ann@example.com'; 'Ann'; 'Europe/Berlin'; '*'":       `there is no locale "*"`,
		"'u'; NULL; U&'\\202EnnA' || chr(127)":                      "contains a control character",
		"'u'; NULL; repeat('x', 1000000)":                           "over 255 bytes long",
		"'u'; 'a@b.c' || repeat('d', 300) || chr(10) || 'Bcc: x@y'": "bytes long, more than 254",
	} {
		values := strings.Split(what, "; ")
		for len(values) < 5 {
			values = append(values, "NULL")
		}
		arguments := "(" + strings.Join(values, ", ") + ")"
		d.refuses(map[string]string{"SELECT trunkline.set_recipient" + arguments: want})
		// The same in the table, whoever writes it and however.
		if values[0] != "NULL" {
			d.refuses(map[string]string{"INSERT INTO trunkline.recipient (user_id, email, name, time_zone, locale) VALUES " + arguments: want})
		}
	}
	if pg := d.fails("SELECT trunkline.set_recipient('u', 'a@b.c', NULL, 'america/new york')"); pg.Hint != "Write it as America/New_York." || pg.ColumnName != "time_zone" {
		t.Errorf("%+v", pg)
	}
	if pg := d.fails("SELECT trunkline.set_recipient('u', 'a')"); pg.ColumnName != "email" {
		t.Errorf("%+v", pg)
	}
	d.refuses(map[string]string{
		"UPDATE trunkline.recipient SET email = E'x@y\\n'":                                                                 `address "x@y\n" contains`,
		"UPDATE trunkline.recipient SET time_zone = 'Europe/Foo5'":                                                         `"Europe/Foo5"`,
		"UPDATE trunkline.recipient SET user_id = ''":                                                                      "the user_id is missing",
		"INSERT INTO trunkline.recipient (user_id) VALUES ('b'), ('ann') ON CONFLICT (user_id) DO UPDATE SET locale = '?'": `no locale "?"`,
	})
	d.want(d.column("SELECT concat_ws(' ', user_id, email, name, time_zone, locale) FROM trunkline.recipient"), "ann ann@example.com Europe/Berlin")
}

func TestRecipientsAreWritten(t *testing.T) {
	t.Parallel()
	d := open(t)
	row := "SELECT concat_ws(' ', email, name, time_zone, locale, bounces, bounced_email, xmin) FROM trunkline.recipient WHERE user_id = 'ann'"
	version := func() string { return d.column("SELECT xmin FROM trunkline.recipient WHERE user_id = 'ann'")[0] }
	d.run("SELECT trunkline.set_recipient('ann', 'ann@example.com', 'Ann Lee', 'Europe/Berlin', 'de')")
	d.want(d.column(row), "ann@example.com Ann Lee Europe/Berlin de 0 "+version())
	before := version()
	d.run("SELECT trunkline.set_recipient('ann', 'ann@example.com', 'Ann Lee', 'Europe/Berlin', 'de')")
	if after := version(); after != before {
		t.Error("the same again has written a new row")
	}
	// What bounced is another address's matter once there is a new one, and not before.
	d.run("UPDATE trunkline.recipient SET bounces = 2, bounced_at = now(), bounced_email = email, bounce_reason = 'no such user'")
	d.run("SELECT trunkline.set_recipient('ann', 'ann@example.com', 'Ann', 'UTC', 'pt-BR')")
	d.want(d.column(row), "ann@example.com Ann UTC pt-BR 2 ann@example.com "+version())
	d.want(d.column("SELECT bounces || bounce_reason FROM trunkline.recipients_of('{ann}')"), "2no such user")
	d.run("SELECT trunkline.set_recipient('ann', 'ann@example.org')")
	d.want(d.column(row), "ann@example.org 0 "+version())
	d.want(d.column("SELECT bounces FROM trunkline.recipients_of('{ann}')"), "0")
	d.want(d.column("SELECT (updated_at > created_at)::text FROM trunkline.recipient"), "true")
	// Nothing at all is fine, too: a user who is there, and gets no mail.
	d.run("SELECT trunkline.set_recipient('ann', NULL)")
	d.want(d.column(row), "0 "+version())
	d.want(d.column("SELECT user_id || email FROM trunkline.recipients_of('{ann,bob}')"), "<NULL>")
}

func TestForgetRecipient(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.set_recipient('ann', 'ann@example.com'), trunkline.set_recipient('bob', 'bob@example.com');
		SELECT trunkline.set_preferences(u, '{"time_zone": "UTC", "default": {"mail": "never"}, "muted_groups": ["g"]}') FROM unnest('{ann,bob}'::text[]) u;
		SELECT trunkline.new_unsubscribe_token(sha256(u::bytea), u, '{k}') FROM unnest('{ann,bob}'::text[]) u`)
	d.want(d.column("SELECT trunkline.forget_recipient('ann')"), "t")
	d.want(d.column("SELECT trunkline.forget_recipient('ann')"), "f")
	for _, table := range []string{"recipient", "mail_setting", "mail_preference", "mute"} {
		d.want(d.column("SELECT user_id FROM trunkline."+table), "bob")
	}
	d.want(d.column("SELECT user_id FROM trunkline.unsubscribe_token ORDER BY user_id"), "", "bob")
	d.refuses(map[string]string{"SELECT trunkline.forget_recipient('')": "the user_id is missing", "SELECT trunkline.forget_recipient(NULL)": "the user_id is missing"})
	// A user of whom only one thing is known is known.
	d.run("INSERT INTO trunkline.mute VALUES ('cat', 'g')")
	d.want(d.column("SELECT trunkline.forget_recipient('cat')"), "t")
}

// 100,000 recipients in one statement: zones are looked up once, and what is certainly fine isn't judged one by one.
func TestRecipientsInBulk(t *testing.T) {
	t.Parallel()
	d := open(t)
	// What was counted before in the same session may still be there.
	const counted = `SELECT funcname || ' ' || calls FROM pg_stat_xact_user_functions
		WHERE funcname IN ('unknown_zones', 'check_recipient', 'keep_recipients', 'change_recipient', 'email_problem') ORDER BY 1`
	calls := func(sql string) (made []string) {
		d.run("BEGIN; SET LOCAL track_functions = 'all'")
		before := map[string]int{}
		for _, one := range d.column(counted) {
			name, n, _ := strings.Cut(one, " ")
			before[name], _ = strconv.Atoi(n)
		}
		d.run(sql)
		for _, one := range d.column(counted) {
			name, n, _ := strings.Cut(one, " ")
			if after, _ := strconv.Atoi(n); after > before[name] {
				made = append(made, fmt.Sprint(name, " ", after-before[name]))
			}
		}
		d.run("COMMIT")
		return made
	}
	d.want(calls(`INSERT INTO trunkline.recipient (user_id, email, name, time_zone, locale)
		SELECT 'user:' || n, 'user.' || n || '@mail-' || n % 7 || '.example.com', 'Name ' || n, (ARRAY['Europe/Berlin', 'America/New_York', 'UTC', NULL])[n % 4 + 1],
			(ARRAY['de', 'pt-BR', 'en', NULL])[n % 4 + 1] FROM generate_series(1, 100000) n`),
		"keep_recipients 1", "unknown_zones 1")
	d.want(calls("UPDATE trunkline.recipient SET active_at = now() WHERE user_id LIKE 'user:1%'"), "keep_recipients 1")
	d.want(calls("UPDATE trunkline.recipient SET time_zone = 'Asia/Tokyo' WHERE user_id LIKE 'user:77%'"),
		"change_recipient 1111", "keep_recipients 1", "unknown_zones 1")
	// Only what isn't plain is looked at more closely.
	d.want(calls("INSERT INTO trunkline.recipient (user_id, email) VALUES ('a', 'a@b.example'), ('b', 'müller@b.example')"),
		"check_recipient 1", "email_problem 1", "keep_recipients 1", "unknown_zones 1")
	// One bad row among many is found.
	d.refuses(map[string]string{
		"UPDATE trunkline.recipient SET email = CASE user_id WHEN 'user:4711' THEN E'x@y\\nz' ELSE 'x' || email END": `(recipient "user:4711")`,
		"UPDATE trunkline.recipient SET time_zone = 'UTC0' WHERE user_id = 'user:4711'":                              `time zone "UTC0"`,
	})
	d.want(d.column("SELECT count(*) FROM trunkline.recipient"), "100002")
}

// An address that was stored before the rules got stricter must not stop what has nothing to do with it.
func TestOldAddressesDontDisturb(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`ALTER TABLE trunkline.recipient DISABLE TRIGGER USER;
		INSERT INTO trunkline.recipient (user_id, email, time_zone) VALUES ('ann', 'not an address', 'Nowhere');
		ALTER TABLE trunkline.recipient ENABLE TRIGGER USER;
		SELECT trunkline.touch('ann');
		UPDATE trunkline.recipient SET bounces = 1`)
	d.want(d.column("SELECT (active_at IS NOT NULL)::text || bounces FROM trunkline.recipient"), "true1")
}

func TestEmailProblem(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.want(d.column("SELECT trunkline.email_problem(NULL)"), "<NULL>")
	problem := func(address string) string {
		rows, err := d.conn.Query(bounded(t), "SELECT coalesce(trunkline.email_problem($1), '')", address)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var text string
		for rows.Next() {
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, fine := range []string{
		"a@b", "ann@example.com", "root@localhost", "Ann.Lee+tag@mail.example.co.uk", "o'brien@example.com", "x_y-z@ex-ample.com", "1@2.com",
		"!#$%&'*+/=?^_`{|}~-@example.com", "ann@xn--mnchen-3ya.example", "müller@münchen.example", "用户@例子.广告", "δοκιμή@παράδειγμα.δοκιμή",
		strings.Repeat("a", 64) + "@example.com", "a@" + strings.Repeat("b", 63) + ".example", "a@" + strings.Repeat("b.", 125) + "c",
		"a@" + strings.Repeat("ü", 40) + ".example", "a@4you.example", "a@1.2.3.example",
	} {
		if got := problem(fine); got != "" {
			t.Errorf("%q: %s", fine, got)
		}
	}
	for address, want := range map[string]string{
		"":                                    "is empty",
		"@":                                   "nothing before",
		"a":                                   `has no "@"`,
		"@b.c":                                "nothing before",
		"a@":                                  "nothing after",
		"a@b@c":                               "more than one",
		"a b@c.d":                             "a space",
		"a@b.c ":                              "a space",
		"a@b.c\n":                             "a control character",
		"a\x7f@b.c":                           "a control character",
		"a\u00a0@b.c":                         "a space",
		"a\u200b@b.c":                         "an invisible one",
		"a\u202e@b.c":                         "an invisible one",
		"a\ufeff@b.c":                         "an invisible one",
		`"a b"@c.d`:                           "a space",
		`"a"@c.d`:                             "contains one of",
		"a(c)@b.c":                            "contains one of",
		"a,b@c.d":                             "contains one of",
		"a@b.c,d@e.f":                         "contains one of",
		"a;b@c.d":                             "contains one of",
		"mailto:a@b.c":                        "contains one of",
		`a\b@c.d`:                             "contains one of",
		"a@[127.0.0.1]":                       "contains one of",
		"a@127.0.0.1":                         "a number for a domain",
		"a@b.1":                               "a number for a domain",
		".a@b.c":                              "a dot too many before",
		"a.@b.c":                              "a dot too many before",
		"a..b@c.d":                            "a dot too many before",
		"a@.b":                                "a dot too many after",
		"a@b.":                                "a dot too many after",
		"a@b..c":                              "a dot too many after",
		"a@-b.c":                              "a domain that can't be",
		"a@b-.c":                              "a domain that can't be",
		"a@b.c-":                              "a domain that can't be",
		"a@b_c.d":                             "a domain that can't be",
		"a@b!c":                               "a domain that can't be",
		"a@b/c":                               "a domain that can't be",
		"a@" + strings.Repeat("b", 64) + ".c": "a domain that can't be",
		strings.Repeat("a", 65) + "@b.c":      "65 bytes before",
		strings.Repeat("ü", 33) + "@b.c":      "66 bytes before",
		strings.Repeat("a", 255):              "255 bytes long",
	} {
		if got := problem(address); !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
	// Nothing gets through that the mail's header could take for something else.
	rapid.Check(t, func(r *rapid.T) {
		letter := rapid.SampledFrom([]rune("ab1@@..--+_<>\"',;:\\()[] \t\r\n\x00éß用\u200b\u202e\u2028!=?%"))
		address := strings.ReplaceAll(string(rapid.SliceOfN(letter, 0, 12).Draw(r, "letters")), "\x00", "")
		if rapid.Bool().Draw(r, "whole") {
			address += "@" + rapid.StringMatching(`[a-z0-9.-]{0,8}`).Draw(r, "domain")
		}
		if problem(address) != "" {
			return
		}
		parsed, err := mail.ParseAddress("Name <" + address + ">")
		if err != nil || parsed.Address != address {
			r.Fatalf("%q is said to be fine, and is read as %v: %v", address, parsed, err)
		}
		if strings.ContainsAny(address, "\r\n<> ") || !strconv.CanBackquote(strings.ReplaceAll(address, "`", "")) {
			r.Fatalf("%q is said to be fine", address)
		}
	})
}

// The zones that the table knows are those of IANA's names that the server has, and those that are missing there are found, too.
func TestZones(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.want(d.column("SELECT name FROM trunkline.time_zone WHERE name IN ('Europe/Berlin', 'UTC', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5') ORDER BY 1"),
		"America/Argentina/Buenos_Aires", "Etc/GMT+5", "Europe/Berlin", "UTC")
	d.want(d.column("SELECT name FROM trunkline.time_zone WHERE name ~ '^(posix|right)/' OR name IN ('localtime', 'posixrules', 'Factory')"))
	d.run("DELETE FROM trunkline.time_zone WHERE name = 'Europe/Berlin'")
	d.want(d.column("SELECT unnest(trunkline.unknown_zones('{Europe/Berlin,Europe/berlin,EUrope/BErlin,Europe/Foo,Foo5,UTC,NULL,Bar6,Foo5,europe/berlin,posix/UTC,Factory}'))"),
		"Bar6", "Europe/Foo", "Europe/berlin", "Factory", "Foo5", "europe/berlin", "posix/UTC", "EUrope/BErlin")
	d.run("SELECT trunkline.set_recipient('ann', NULL, NULL, 'Europe/Berlin')")
	d.want(d.column("SELECT trunkline.unknown_zones(NULL)"), "{}")
}
