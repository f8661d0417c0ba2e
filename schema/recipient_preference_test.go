package schema_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

const preferred = `SELECT (trunkline.preferences('%s')::jsonb - 'known_kinds')::text`

func TestPreferenceRefusals(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.set_preferences('ann', '{"time_zone": "UTC"}')`)
	many := func(n int, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, ", ")
	}
	for preferences, want := range map[string]string{ // want: the error's COLUMN, then its text
		`[]`:                                 "preferences|preferences is [], not an object",
		`null`:                               "preferences|is null, not an object",
		`"a"`:                                `preferences|is "a", not an object`,
		`7`:                                  "preferences|is 7, not an object",
		`{"timezone": "UTC"}`:                `preferences|has no field "timezone"`,
		`{"": 1}`:                            `preferences|has no field ""`,
		`{"a": "\u0000"}`:                    "preferences|can't be read",
		`{"a": "\ud800"}`:                    "preferences|can't be read",
		`{"a": 1e1000000}`:                   "preferences|can't be read",
		`{"time_zone": 4}`:                   "time_zone|time_zone is 4, not a text",
		`{"time_zone": {}}`:                  "time_zone|time_zone is {}, not a text",
		`{"time_zone": ""}`:                  `time_zone|there is no time zone ""`,
		`{"time_zone": "Mars"}`:              `time_zone|there is no time zone "Mars"`,
		`{"time_zone": "UTC+2"}`:             `time_zone|there is no time zone "UTC+2"`,
		`{"time_zone": "Europe/Foo5"}`:       `time_zone|there is no time zone "Europe/Foo5"`,
		`{"quiet_hours": []}`:                "quiet_hours|is [], not an object",
		`{"quiet_hours": "22-7"}`:            "quiet_hours|not an object",
		`{"quiet_hours": {}}`:                "quiet_hours.from|quiet_hours.from is missing, not a time",
		`{"quiet_hours": {"from": "22:00"}}`: "quiet_hours.to|quiet_hours.to is missing",
		`{"quiet_hours": {"from": "22:00", "to": null}}`:                   "quiet_hours.to|quiet_hours.to is null",
		`{"quiet_hours": {"from": "22:00", "to": "24:00"}}`:                `quiet_hours.to|is "24:00", not a time`,
		`{"quiet_hours": {"from": "9:00", "to": "10:00"}}`:                 `quiet_hours.from|is "9:00", not a time`,
		`{"quiet_hours": {"from": "09:00:01", "to": "10:00"}}`:             `quiet_hours.from|is "09:00:01", not a time`,
		`{"quiet_hours": {"from": 22, "to": 7}}`:                           "quiet_hours.from|is 22, not a time",
		`{"quiet_hours": {"from": "22:00", "to": "22:00"}}`:                "quiet_hours|last from 22:00 to 22:00",
		`{"quiet_hours": {"from": "22:00", "to": "07:00", "days": 1}}`:     `quiet_hours|has no field "days"`,
		`{"vacation_until": "tomorrow"}`:                                   `vacation_until|is "tomorrow", not a moment`,
		`{"vacation_until": "infinity"}`:                                   `vacation_until|is "infinity", not a moment`,
		`{"vacation_until": "2027-01-07"}`:                                 "vacation_until|not a moment",
		`{"vacation_until": "2027-01-07T00:00:00"}`:                        "vacation_until|not a moment",
		`{"vacation_until": "2027-02-30T00:00:00Z"}`:                       "vacation_until|not a moment",
		`{"vacation_until": "2027-01-07T00:00:00Z\n"}`:                     "vacation_until|not a moment",
		`{"vacation_until": 1767225600}`:                                   "vacation_until|is 1767225600, not a moment",
		`{"vacation_until": "9999-01-07T00:00:00Z"}`:                       "vacation_until|more than ten years away",
		`{"default": "never"}`:                                             `default|is "never", not an object`,
		`{"default": []}`:                                                  "default|not an object",
		`{"default": {}}`:                                                  "default.mail|default.mail is missing",
		`{"default": {"mail": "sometimes"}}`:                               `default.mail|default.mail is "sometimes"`,
		`{"default": {"mail": 1}}`:                                         "default.mail|default.mail is 1",
		`{"default": {"mail": "never", "until": 1}}`:                       `default|has no field "until"`,
		`{"default": {"mail": "after"}}`:                                   "default.delay|default.delay is missing",
		`{"default": {"mail": "after", "delay": 4}}`:                       "default.delay|default.delay is 4",
		`{"default": {"mail": "after", "delay": "4"}}`:                     `default.delay|default.delay is "4"`,
		`{"default": {"mail": "after", "delay": "soon"}}`:                  "default.delay|soon",
		`{"default": {"mail": "after", "delay": "-4h"}}`:                   "default.delay|-4h",
		`{"default": {"mail": "after", "delay": "59s"}}`:                   "default.delay|59s",
		`{"default": {"mail": "after", "delay": "90.5s"}}`:                 "default.delay|90.5s",
		`{"default": {"mail": "after", "delay": "721h"}}`:                  "default.delay|721h",
		`{"default": {"mail": "after", "delay": "99999999999999999999h"}}`: "default.delay|h",
		`{"default": {"mail": "after", "delay": "4h", "at": "18:00"}}`:     `default.at|default.at is "18:00", but mail is "after"`,
		`{"default": {"mail": "daily"}}`:                                   "default.at|default.at is missing",
		`{"default": {"mail": "daily", "at": "18:60"}}`:                    `default.at|is "18:60", not a time`,
		`{"default": {"mail": "daily", "at": "18:00", "delay": "4h"}}`:     `default.delay|default.delay is "4h", but mail is "daily"`,
		`{"default": {"mail": "never", "delay": "4h"}}`:                    `default.delay|but mail is "never"`,
		`{"kinds": []}`:                                                     "kinds|is [], not an object",
		`{"kinds": {"mention": "never"}}`:                                   `kinds.mention|is "never", not an object`,
		`{"kinds": {"mention": null}}`:                                      "kinds.mention|is null, not an object",
		`{"kinds": {"mention": {"mail": "after", "delay": "1s"}}}`:          `kinds.mention.delay|kinds.mention.delay is "1s"`,
		`{"kinds": {"": {"mail": "never"}}}`:                                `kinds|has a rule for "", which can't be a kind`,
		`{"kinds": {"a\nb": {"mail": "never"}}}`:                            `kinds|has a rule for "a\nb", which can't be a kind`,
		`{"kinds": {"` + strings.Repeat("k", 65) + `": {"mail": "never"}}}`: "kinds|which can't be a kind",
		`{"kinds": {` + many(201, `"k%d": {"mail": "never"}`) + `}}`:        "kinds|has 201 rules, more than 200",
		`{"muted_groups": {}}`:                                              "muted_groups|is {}, not a list of texts",
		`{"muted_groups": "project:7"}`:                                     "muted_groups|not a list of texts",
		`{"muted_groups": [7]}`:                                             "muted_groups|is [7], not a list of texts",
		`{"muted_groups": [null]}`:                                          "muted_groups|not a list of texts",
		`{"muted_groups": [["a"]]}`:                                         "muted_groups|not a list of texts",
		`{"muted_groups": [""]}`:                                            `muted_groups|has "", which can't be a group`,
		`{"muted_groups": ["a\tb"]}`:                                        `muted_groups|has "a\tb", which can't be a group`,
		`{"muted_groups": ["` + strings.Repeat("g", 256) + `"]}`:            "muted_groups|which can't be a group",
		`{"muted_groups": [` + many(1001, `"g%d"`) + `]}`:                   "muted_groups|has 1001 groups, more than 1000",
	} {
		column, text, _ := strings.Cut(want, "|")
		pg := d.fails("SELECT trunkline.set_preferences('ann', $json$" + preferences + "$json$)")
		if pg.Code != "22023" || pg.ColumnName != column || !strings.Contains(pg.Message, text) || pg.Hint == "" {
			t.Errorf("%.200s\nraises %s %q of %q with the hint %q, want %s", preferences, pg.Code, pg.Message, pg.ColumnName, pg.Hint, want)
		}
		if len(pg.Message) > 300 {
			t.Errorf("%d characters of error", len(pg.Message))
		}
	}
	d.refuses(map[string]string{
		"SELECT trunkline.set_preferences('', '{}')":                                                                       "the user_id is missing",
		"SELECT trunkline.set_preferences(NULL, '{}')":                                                                     "the user_id is missing",
		"SELECT trunkline.set_preferences('ann', NULL)":                                                                    "22004|preferences are missing",
		"SELECT trunkline.set_preferences('ann', ('[' || repeat(' ', 1048576) || ']')::json)":                              "54000|preferences are 1048578 bytes, more than 1048576",
		"SELECT trunkline.preferences('')":                                                                                 "the user_id is missing",
		"SELECT trunkline.set_preferences('ann', ('{\"time_zone\": \"' || repeat('x', 1000000) || '\"}')::json)":           `there is no time zone "xxxx`,
		"SELECT trunkline.set_preferences('ann', ('{\"default\": {\"mail\": \"' || repeat('x', 1000000) || '\"}}')::json)": `default.mail is "xxxx`,
	})
	if pg := d.fails("SELECT trunkline.set_preferences('ann', '{')"); pg.Code != "22P02" {
		t.Error(pg)
	}
	d.want(d.column(fmt.Sprintf(preferred, "ann")), `{"kinds": {}, "default": null, "time_zone": "UTC", "quiet_hours": null, "muted_groups": [], "vacation_until": null}`)
}

func TestPreferencesRoundTrip(t *testing.T) {
	t.Parallel()
	d := open(t)
	const nothing = `{"kinds": {}, "default": null, "time_zone": null, "quiet_hours": null, "muted_groups": [], "vacation_until": null}`
	ask := fmt.Sprintf(preferred, "ann")
	d.want(d.column(ask), nothing)
	for _, set := range []string{
		`{"kinds": {}, "default": null, "time_zone": "Europe/Berlin", "quiet_hours": null, "muted_groups": [], "vacation_until": null}`,
		`{"kinds": {}, "default": null, "time_zone": null, "quiet_hours": {"to": "07:30", "from": "22:00"}, "muted_groups": [], "vacation_until": null}`,
		`{"kinds": {}, "default": {"mail": "after", "delay": "4h"}, "time_zone": null, "quiet_hours": null, "muted_groups": [], "vacation_until": "2027-01-07T00:00:00Z"}`,
		`{"kinds": {"a": {"at": "00:00", "mail": "daily"}, "task.done": {"mail": "never"}}, "default": {"mail": "at_once"}, "time_zone": null, "quiet_hours": {"to": "00:00", "from": "23:59"}, "muted_groups": ["project:7", "ü"], "vacation_until": null}`,
		`{"kinds": {"a": {"mail": "at_once"}, "b": {"mail": "after", "delay": "1m"}}, "default": {"at": "18:05", "mail": "daily"}, "time_zone": null, "quiet_hours": null, "muted_groups": ["project:8"], "vacation_until": "1999-12-31T23:59:59.25Z"}`,
		nothing,
	} {
		d.run("SELECT trunkline.set_preferences('ann', '" + set + "')")
		d.want(d.column(ask), set)
		// What was read can be put back, known kinds and all.
		d.run("SELECT trunkline.set_preferences('ann', trunkline.preferences('ann'))")
		d.want(d.column(ask), set)
	}
	d.want(d.column(fmt.Sprintf(preferred, "bob")), nothing)

	for given, want := range map[string]string{
		"1h30m": "1h30m", "4h0m0s": "4h", "90m": "1h30m", "1.5h": "1h30m", "2 days": "48h", "720h": "720h", "1 hour 5 minutes 7 seconds": "1h5m7s", "04:30:00": "4h30m", "60s": "1m",
	} {
		d.run(`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "after", "delay": "` + given + `"}}')`)
		d.want(d.column("SELECT trunkline.preferences('ann') -> 'default' ->> 'delay'"), want)
	}
	for given, want := range map[string]string{
		"2027-01-07T08:00:00+01:00": "2027-01-07T07:00:00Z", "2027-01-07t08:00Z": "2027-01-07T08:00:00Z", "2027-01-07 08:00:10.100000z": "2027-01-07T08:00:10.1Z",
	} {
		d.run(`SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SELECT trunkline.set_preferences('ann', '{"vacation_until": "` + given + `"}')`)
		d.want(d.column("SELECT trunkline.preferences('ann') ->> 'vacation_until'"), want)
	}
	// Twice the same group is one; the later of two fields counts, as JSON parsers have it.
	d.run(`SELECT trunkline.set_preferences('ann', '{"muted_groups": ["b", "a", "b"], "time_zone": "UTC", "time_zone": null, "known_kinds": 7}')`)
	d.want(d.column(ask), `{"kinds": {}, "default": null, "time_zone": null, "quiet_hours": null, "muted_groups": ["a", "b"], "vacation_until": null}`)
	// The most there can be.
	kinds, groups := map[string]any{}, []string{}
	for i := range 200 {
		kinds[fmt.Sprintf("%064d", i)] = map[string]string{"mail": "never"}
	}
	for i := range 1000 {
		groups = append(groups, fmt.Sprintf("%0255d", i))
	}
	most, err := json.Marshal(map[string]any{"kinds": kinds, "muted_groups": groups})
	if err != nil {
		t.Fatal(err)
	}
	d.run("SELECT trunkline.set_preferences('ann', '" + string(most) + "')")
	d.want(d.column("SELECT count(*) FROM trunkline.mail_preference UNION ALL SELECT count(*) FROM trunkline.mute"), "200", "1000")
	d.run("SELECT trunkline.set_preferences('ann', trunkline.preferences('ann'))")
}

func TestKnownKinds(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.want(d.column("SELECT trunkline.preferences('ann') ->> 'known_kinds'"), "[]")
	d.run(`SELECT trunkline.kind('task.done', 'Task completed'), trunkline.kind('mention', 'You were mentioned', delay => '0'), trunkline.kind('z', delay => '1 day 90 s')`)
	d.want(d.column("SELECT e::jsonb::text FROM json_array_elements(trunkline.preferences('ann') -> 'known_kinds') e"),
		`{"mail": "at_once", "name": "mention", "delay": null, "title": "You were mentioned"}`,
		`{"mail": "after", "name": "task.done", "delay": "4h", "title": "Task completed"}`,
		`{"mail": "after", "name": "z", "delay": "24h1m30s", "title": "z"}`)
}

// Two that set a user's preferences at once leave those of one of them, whole.
func TestPreferencesAreSetAsAWhole(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.run(`SELECT trunkline.set_preferences('ann', '{"kinds": {"old": {"mail": "never"}}}')`)
	other := pgtest.Connect(t, d.url)
	tx, err := other.Begin(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(bounded(t), `SELECT trunkline.set_preferences('ann', '{"kinds": {"a": {"mail": "never"}}, "muted_groups": ["a"]}')`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	third := pgtest.Connect(t, d.url)
	go func() {
		_, err := third.Exec(bounded(t), `SELECT trunkline.set_preferences('ann', '{"kinds": {"b": {"mail": "never"}}, "muted_groups": ["b"]}')`)
		done <- err
	}()
	for d.column("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())")[0] == "0" {
		select {
		case err := <-done:
			t.Fatalf("it didn't wait: %v", err)
		default:
		}
	}
	if err := tx.Commit(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.want(d.column("SELECT kind FROM trunkline.mail_preference UNION ALL SELECT \"group\" FROM trunkline.mute"), "b", "b")
}

// What is written by hand can't be what the worker doesn't understand.
func TestPreferenceTablesAreConstrained(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, sql := range []string{
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'after', NULL, NULL)",
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'never', '4 h', NULL)",
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'after', '59 s', NULL)",
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'after', '31 days', NULL)",
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'daily', NULL, NULL)",
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'at_once', NULL, '18:00')",
		"INSERT INTO trunkline.mail_preference VALUES ('ann', '', 'hourly', NULL, NULL)",
		"INSERT INTO trunkline.mail_setting (user_id, quiet_from) VALUES ('ann', '18:00')",
		"INSERT INTO trunkline.mail_setting (user_id, quiet_from, quiet_to) VALUES ('ann', '18:00', '18:00')",
		"INSERT INTO trunkline.mail_setting (user_id, vacation_until) VALUES ('ann', 'infinity')",
		"INSERT INTO trunkline.recipient (user_id, bounces) VALUES ('ann', -1)",
		"INSERT INTO trunkline.recipient (user_id, bounces) VALUES ('ann', 'NaN')",
		"INSERT INTO trunkline.unsubscribe_token (hash, user_id, kinds) VALUES ('short', 'ann', '{}')",
	} {
		if pg := d.fails(sql); pg.Code != "23514" {
			t.Errorf("%s raises %v", sql, pg)
		}
	}
}
