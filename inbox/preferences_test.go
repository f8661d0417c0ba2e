package inbox_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func pointer[T any](v T) *T { return &v }

func TestPreferences(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	in := newInbox(t, newEngine(t, url))
	ctx := testContext(t)
	nothing := inbox.Preferences{Kinds: map[string]inbox.MailRule{}, MutedGroups: []string{}, KnownKinds: []inbox.KnownKind{}}
	got, err := in.Preferences(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(nothing, got); diff != "" {
		t.Error(diff)
	}

	if err := inbox.SetKind(ctx, conn, inbox.Kind{Name: "mention", Title: "You were mentioned"}); err != nil {
		t.Fatal(err)
	}
	wanted := inbox.Preferences{
		TimeZone:      pointer("Europe/Berlin"),
		QuietHours:    &inbox.QuietHours{From: "22:00", To: "07:00"},
		VacationUntil: pointer(time.Date(2027, 1, 7, 1, 0, 0, 0, time.FixedZone("", 3600))),
		Default:       &inbox.MailRule{Mail: inbox.MailAfter, Delay: inbox.Delay(90 * time.Minute)},
		Kinds: map[string]inbox.MailRule{
			"mention": {Mail: inbox.MailAtOnce}, "task.completed": {Mail: inbox.MailDaily, At: "18:00"}, "ü": {Mail: inbox.MailNever},
		},
		MutedGroups: []string{"project:7", "project:8"},
		KnownKinds:  []inbox.KnownKind{{Name: "ignored"}},
	}
	if err := in.SetPreferences(ctx, "ann", wanted); err != nil {
		t.Fatal(err)
	}
	wanted.VacationUntil = pointer(time.Date(2027, 1, 7, 0, 0, 0, 0, time.UTC))
	wanted.KnownKinds = []inbox.KnownKind{{Name: "mention", Title: "You were mentioned", Mail: inbox.MailAfter, Delay: pointer(inbox.Delay(4 * time.Hour))}}
	if got, err = in.Preferences(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
	const text = `{"time_zone":"Europe/Berlin","quiet_hours":{"from":"22:00","to":"07:00"},"vacation_until":"2027-01-07T00:00:00Z",` +
		`"default":{"mail":"after","delay":"1h30m"},"kinds":{"mention":{"mail":"at_once"},"task.completed":{"mail":"daily","at":"18:00"},` +
		`"ü":{"mail":"never"}},"muted_groups":["project:7","project:8"],"known_kinds":[{"name":"mention","title":"You were mentioned","mail":"after","delay":"4h"}]}`
	body, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(body)); diff != "" {
		t.Error(diff)
	}
	// What was read can be put back, as a client does that changes one thing of it.
	parsed, err := inbox.ParsePreferences(body)
	if err != nil {
		t.Fatal(err)
	}
	parsed.TimeZone = nil
	if err := in.SetPreferences(ctx, "ann", parsed); err != nil {
		t.Fatal(err)
	}
	wanted.TimeZone = nil
	if got, err = inbox.PreferencesTx(ctx, conn, "ann"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
	// In a transaction that is rolled back nothing was set.
	tx := begin(t, conn)
	if err := inbox.SetPreferencesTx(ctx, tx, "ann", inbox.Preferences{}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err = in.Preferences(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func TestPreferencesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	in := newInbox(t, newEngine(t, url))
	ctx := testContext(t)
	for what, one := range map[string]struct {
		p        inbox.Preferences
		argument string
	}{
		"an unknown zone":      {inbox.Preferences{TimeZone: pointer("Europe/Atlantis")}, "time_zone"},
		"an empty zone":        {inbox.Preferences{TimeZone: pointer("")}, "time_zone"},
		"Go's own zone":        {inbox.Preferences{TimeZone: pointer("Local")}, "time_zone"},
		"a POSIX zone":         {inbox.Preferences{TimeZone: pointer("Europe/Foo5")}, "time_zone"},
		"a zone in binary":     {inbox.Preferences{TimeZone: pointer("\xff")}, "time_zone"},
		"quiet all day":        {inbox.Preferences{QuietHours: &inbox.QuietHours{From: "08:00", To: "08:00"}}, "quiet_hours"},
		"half of quiet hours":  {inbox.Preferences{QuietHours: &inbox.QuietHours{From: "08:00"}}, "quiet_hours.to"},
		"a vacation for ever":  {inbox.Preferences{VacationUntil: pointer(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))}, "vacation_until"},
		"a year beyond JSON":   {inbox.Preferences{VacationUntil: pointer(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}, "vacation_until"},
		"no rule":              {inbox.Preferences{Default: &inbox.MailRule{}}, "default.mail"},
		"an unknown rule":      {inbox.Preferences{Default: &inbox.MailRule{Mail: "hourly"}}, "default.mail"},
		"no delay":             {inbox.Preferences{Default: &inbox.MailRule{Mail: inbox.MailAfter}}, "default.delay"},
		"a short delay":        {inbox.Preferences{Default: &inbox.MailRule{Mail: inbox.MailAfter, Delay: inbox.Delay(time.Second)}}, "default.delay"},
		"a negative delay":     {inbox.Preferences{Default: &inbox.MailRule{Mail: inbox.MailAfter, Delay: inbox.Delay(-time.Hour)}}, "default.delay"},
		"a fraction":           {inbox.Preferences{Default: &inbox.MailRule{Mail: inbox.MailAfter, Delay: inbox.Delay(time.Hour + 500*time.Millisecond)}}, "default.delay"},
		"a delay too many":     {inbox.Preferences{Default: &inbox.MailRule{Mail: inbox.MailNever, Delay: inbox.Delay(time.Hour)}}, "default.delay"},
		"no time":              {inbox.Preferences{Kinds: map[string]inbox.MailRule{"k": {Mail: inbox.MailDaily}}}, "kinds.k.at"},
		"a kind in binary":     {inbox.Preferences{Kinds: map[string]inbox.MailRule{"\xff": {Mail: inbox.MailNever}}}, "kinds"},
		"a kind with a NUL":    {inbox.Preferences{Kinds: map[string]inbox.MailRule{"a\x00": {Mail: inbox.MailNever}}}, "kinds"},
		"a kind with a tab":    {inbox.Preferences{Kinds: map[string]inbox.MailRule{"a\tb": {Mail: inbox.MailNever}}}, "kinds"},
		"a group in binary":    {inbox.Preferences{MutedGroups: []string{"\xff"}}, "muted_groups"},
		"an empty group":       {inbox.Preferences{MutedGroups: []string{""}}, "muted_groups"},
		"more than is allowed": {inbox.Preferences{MutedGroups: make([]string, 600_000)}, "preferences"},
	} {
		err := in.SetPreferences(ctx, "ann", one.p)
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != one.argument || argument.Problem == "" || argument.Fix == "" {
			t.Errorf("%s: %v (%+v)", what, err, argument)
		}
		if missing := what == "no rule" || what == "no delay" || what == "no time" || what == "half of quiet hours"; missing && !strings.Contains(err.Error(), argument.Argument+" is missing") {
			t.Errorf("%s: %v", what, err)
		}
	}
	var argument *trunkline.ArgumentError
	if err := in.SetPreferences(ctx, "", inbox.Preferences{}); !errors.As(err, &argument) || argument.Argument != "user_id" {
		t.Error(err)
	}
	if _, err := in.Preferences(ctx, ""); !errors.As(err, &argument) || argument.Argument != "user_id" {
		t.Error(err)
	}
}

func TestParsePreferences(t *testing.T) {
	for body, want := range map[string]string{
		``:                                    "preferences|not an object",
		`{`:                                   "preferences|not an object: {",
		`null`:                                "preferences|not an object: null",
		`[]`:                                  "preferences|not an object: []",
		`{} {}`:                               "preferences|not an object",
		`{"zone": "UTC"}`:                     `preferences|no field "zone"`,
		"{\"time_zone\": \"\xff\"}":           "preferences|not UTF-8",
		`{"time_zone": 4}`:                    "time_zone|time_zone can't be 4: a number doesn't fit",
		`{"quiet_hours": []}`:                 "quiet_hours|can't be []",
		`{"quiet_hours": {"from": 22}}`:       "quiet_hours.from|a number doesn't fit",
		`{"quiet_hours": {"until": "22:00"}}`: `quiet_hours|unknown field "until"`,
		`{"vacation_until": "tomorrow"}`:      `vacation_until|vacation_until can't be "tomorrow"`,
		`{"vacation_until": 7}`:               "vacation_until|can't be 7",
		`{"default": {"mail": 7}}`:            "default.mail|a number doesn't fit",
		`{"default": {"delay": "soon"}}`:      `default.delay|"soon" is not a duration such as 4h`,
		`{"default": {"delay": "4"}}`:         `default.delay|"4" is not a duration`,
		`{"default": {"delay": 4}}`:           "default.delay|a number doesn't fit",
		`{"kinds": {"a": {"mail": "never"}, "b": {"delay": "soon"}}}`: `kinds.b.delay|"soon" is not a duration`,
		`{"kinds": {"a": {"mails": "never"}}}`:                        `kinds|unknown field "mails"`,
		`{"kinds": []}`:                                               "kinds|can't be []: an array doesn't fit",
		`{"default": {"mail": {}}}`:                                   "default.mail|an object doesn't fit",
		`{"muted_groups": [1]}`:                                       "muted_groups|a number doesn't fit",
		`{"muted_groups": "a"}`:                                       "muted_groups|can't be",
		strings.Repeat(" ", 1<<20) + "{}":                             "preferences|1048578 bytes long",
		`{"kinds": ` + strings.Repeat("[", 2e5):                       "preferences|not an object",
	} {
		_, err := inbox.ParsePreferences([]byte(body))
		field, text, _ := strings.Cut(want, "|")
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != field || !strings.Contains(argument.Problem, text) || argument.Fix == "" {
			t.Errorf("%.100s: %+v, want %s", body, argument, want)
		}
		if err != nil && strings.Contains(err.Error(), "2006") {
			t.Errorf("%.100s: %s", body, err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%d characters of error", len(err.Error()))
		}
	}
	got, err := inbox.ParsePreferences([]byte(`{"time_zone": null, "known_kinds": "whatever", "default": {"mail": "after", "delay": "90m"}, "kinds": null}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inbox.Preferences{Default: &inbox.MailRule{Mail: inbox.MailAfter, Delay: inbox.Delay(90 * time.Minute)}}, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever is taken reads the same again.
func FuzzParsePreferences(f *testing.F) {
	f.Add([]byte(`{"time_zone": "Europe/Berlin", "quiet_hours": {"from": "22:00", "to": "07:00"}, "vacation_until": "2027-01-07T00:00:00Z",
		"default": {"mail": "after", "delay": "4h"}, "kinds": {"mention": {"mail": "daily", "at": "18:00"}}, "muted_groups": ["project:7"]}`))
	f.Add([]byte(`{"kinds": {"a": {}}, "default": null, "muted_groups": null, "known_kinds": [{"name": "x"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := inbox.ParsePreferences(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := inbox.ParsePreferences(again); err != nil || !cmp.Equal(p, q) {
			t.Errorf("%s reads %s: %v", again, cmp.Diff(p, q), err)
		}
	})
}

func TestDelayText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 4 * time.Hour: "4h", 90 * time.Minute: "1h30m",
		10 * time.Hour: "10h", 10 * time.Minute: "10m", time.Hour + time.Second: "1h0m1s", 30 * 24 * time.Hour: "720h", 100 * time.Minute: "1h40m", 20 * time.Second: "20s",
	} {
		if got := inbox.Delay(d).String(); got != want {
			t.Errorf("%v reads %s, want %s", d, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		d := inbox.Delay(rapid.Int64().Draw(r, "nanoseconds"))
		text, err := d.MarshalText()
		var back inbox.Delay
		if err != nil || back.UnmarshalText(text) != nil || back != d {
			r.Fatalf("%d reads %s, which is %d", d, text, back)
		}
	})
}
