package inbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a user's zone must not depend on what this machine has installed
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// Preferences are when a user wants mail, and when not. The zero value prefers nothing: mail goes out after each kind's own delay.
type Preferences struct {
	// TimeZone is an IANA name such as Europe/Berlin; it goes before the recipient's and the site's.
	TimeZone   *string     `json:"time_zone"`
	QuietHours *QuietHours `json:"quiet_hours"`
	// VacationUntil is when mail begins again; what is due before waits for it.
	VacationUntil *time.Time `json:"vacation_until"`
	// Default holds for all kinds that have no rule of their own. Nil: each kind's own delay.
	Default *MailRule `json:"default"`
	// Kinds has rules by the names of kinds, registered or not; at most 200.
	Kinds map[string]MailRule `json:"kinds"`
	// MutedGroups are groups of which nothing is mailed; at most 1,000.
	MutedGroups []string `json:"muted_groups"`
	// KnownKinds are those that are registered, for a page to choose from. Only read: it is ignored when preferences are set.
	KnownKinds []KnownKind `json:"known_kinds"`
}

// QuietHours are the hours of the day in which nothing is mailed, in the user's zone, as HH:MM. To may be on the next day.
type QuietHours struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// When mail goes out.
type When string

const (
	// MailAtOnce is as soon as it can be.
	MailAtOnce When = "at_once"
	// MailAfter is when it has stayed unread for a delay.
	MailAfter When = "after"
	// MailDaily is once a day at a time, if it is still unread then.
	MailDaily When = "daily"
	// MailNever is not at all: it stays in the inbox.
	MailNever When = "never"
)

// A MailRule says when a notification is mailed that stays unread.
type MailRule struct {
	Mail When `json:"mail"`
	// Delay goes with MailAfter and nothing else: whole seconds from 1 minute to 30 days.
	Delay Delay `json:"delay,omitzero"`
	// At goes with MailDaily and nothing else: HH:MM in the user's zone.
	At string `json:"at,omitempty"`
}

// A KnownKind is a kind that is registered, with what holds for users who prefer nothing.
type KnownKind struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Mail  When   `json:"mail"`
	// Delay is nil unless Mail is MailAfter.
	Delay *Delay `json:"delay"`
}

// A Delay is a duration that reads in JSON as in Go, shortened: 4h, 1h30m, 45s.
type Delay time.Duration

// String writes it as JSON does.
func (d Delay) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes it as JSON does.
func (d Delay) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes whatever [time.ParseDuration] does.
func (d *Delay) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return &delayError{string(text)}
	}
	*d = Delay(parsed)
	return nil
}

// A delayError is about a delay that is none.
type delayError struct{ text string }

func (e *delayError) Error() string {
	return fmt.Sprintf("%q is not a duration such as 4h or 1h30m", clip(e.text))
}

// PreferencesTx returns what a user prefers, as the transaction sees it. Kinds, MutedGroups and KnownKinds are never nil. Errors:
// *[trunkline.ArgumentError] for what is no user; *[trunkline.PrivilegeError]; *[trunkline.SchemaError].
func PreferencesTx(ctx context.Context, tx trunkline.Tx, user string) (Preferences, error) {
	return readPreferences(ctx, tx, user, grantRecipients)
}

// Preferences returns what a user prefers. See [PreferencesTx].
func (i *Inbox) Preferences(ctx context.Context, user string) (Preferences, error) {
	p, err := readPreferences(ctx, i.pool, user, grantInbox)
	return p, i.withRole(ctx, err)
}

func readPreferences(ctx context.Context, db trunkline.Tx, user, grant string) (Preferences, error) {
	if err := checkUser(user); err != nil {
		return Preferences{}, err
	}
	var stored []byte
	if err := db.QueryRow(ctx, "SELECT trunkline.preferences($1)", user).Scan(&stored); err != nil {
		return Preferences{}, fmt.Errorf("read the preferences of %q: %w", clip(user), explain(err, "user_id", grant))
	}
	var p Preferences
	if err := json.Unmarshal(stored, &p); err != nil {
		return Preferences{}, fmt.Errorf("read the preferences of %q: %w", clip(user), err)
	}
	return p, nil
}

// SetPreferencesTx replaces all that a user prefers: what is left out is none. When the transaction commits it counts, also for
// what is unread already. Callers for the same user wait for each other.
//
// Errors: *[trunkline.ArgumentError] for what can't be or makes no sense, with the field as its Argument, such as
// kinds.mention.delay; *[trunkline.PrivilegeError]; *[trunkline.SchemaError]. After an error that came from the database the
// transaction can only be rolled back.
func SetPreferencesTx(ctx context.Context, tx trunkline.Tx, user string, p Preferences) error {
	return writePreferences(ctx, tx, user, p, grantRecipients)
}

// SetPreferences is [SetPreferencesTx] in a transaction of its own.
func (i *Inbox) SetPreferences(ctx context.Context, user string, p Preferences) error {
	return i.inTx(ctx, func(tx pgx.Tx) error { return writePreferences(ctx, tx, user, p, grantInbox) })
}

// writePreferences leaves to the database what it can judge: it does so for callers in SQL, too.
func writePreferences(ctx context.Context, db trunkline.Tx, user string, p Preferences, grant string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	if p.TimeZone != nil {
		if *p.TimeZone == "" {
			return &trunkline.ArgumentError{
				Argument: "time_zone", Problem: "time_zone is empty", Fix: "Give a name such as Europe/Berlin, or none",
			}
		}
		if err := checkZone("time_zone", *p.TimeZone); err != nil {
			return err
		}
	}
	if err := checkMissing(p); err != nil {
		return err
	}
	for _, group := range p.MutedGroups {
		if err := checkUTF8("muted_groups", group); err != nil {
			return err
		}
	}
	p.KnownKinds = nil
	wanted, err := json.Marshal(p)
	if err != nil { // a time that RFC 3339 can't write
		return &trunkline.ArgumentError{
			Argument: "vacation_until", Problem: "preferences can't be written: " + err.Error(),
			Fix: "Give a time in the next ten years",
		}
	}
	if _, err := db.Exec(ctx, "SELECT trunkline.set_preferences($1, $2::json)", user, string(wanted)); err != nil {
		return fmt.Errorf("set the preferences of %q: %w", clip(user), explain(err, "preferences", grant))
	}
	return nil
}

// checkMissing finds what has to be there and is empty: the database would see a value.
func checkMissing(p Preferences) error {
	missing := func(field, fix string) error {
		return &trunkline.ArgumentError{Argument: field, Problem: field + " is missing", Fix: fix}
	}
	if q := p.QuietHours; q != nil && q.From == "" {
		return missing("quiet_hours.from", shapes["quiet_hours"])
	} else if q != nil && q.To == "" {
		return missing("quiet_hours.to", shapes["quiet_hours"])
	}
	if p.Default != nil && p.Default.Mail == "" {
		return missing("default.mail", shapes["default"])
	}
	for _, kind := range slices.Sorted(maps.Keys(p.Kinds)) {
		if err := checkUTF8("kinds", kind); err != nil {
			return err
		}
		if p.Kinds[kind].Mail == "" {
			return missing("kinds."+clip(kind)+".mail", shapes["kinds"])
		}
	}
	return nil
}

// maxPreferences is how many bytes of JSON are read.
const maxPreferences = 1 << 20

// ParsePreferences reads preferences from JSON as strangers send it: unknown fields and wrong types are refused, known_kinds is
// ignored, and null is the same as nothing. Whether they make sense is found when they are set. Errors: *[trunkline.ArgumentError],
// with the field as its Argument, or preferences.
func ParsePreferences(body []byte) (Preferences, error) {
	const fields = "Its fields are time_zone, quiet_hours, vacation_until, default, kinds and muted_groups"
	refuse := func(field, problem, fix string) (Preferences, error) {
		return Preferences{}, &trunkline.ArgumentError{Argument: field, Problem: problem, Fix: fix}
	}
	if len(body) > maxPreferences {
		problem := fmt.Sprintf("preferences are %d bytes long, more than %d", len(body), maxPreferences)
		return refuse("preferences", problem, "Mute fewer groups")
	}
	if !utf8.Valid(body) {
		return refuse("preferences", "preferences are not UTF-8", "Write JSON in UTF-8")
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(body, &parts); err != nil || parts == nil {
		return refuse("preferences", "preferences are not an object: "+clip(strings.TrimSpace(string(body))), fields)
	}
	var p Preferences
	targets := map[string]any{
		"time_zone": &p.TimeZone, "quiet_hours": &p.QuietHours, "vacation_until": &p.VacationUntil,
		"default": &p.Default, "kinds": &p.Kinds, "muted_groups": &p.MutedGroups,
	}
	for field, part := range parts {
		if field == "known_kinds" {
			continue
		}
		target := targets[field]
		if target == nil {
			return refuse("preferences", fmt.Sprintf("preferences have no field %q", clip(field)), fields)
		}
		if err := decodeStrictly(part, target); err != nil {
			problem := fmt.Sprintf("%s can't be %s", field, clip(string(part)))
			if why := plain(err); why != "" {
				problem += ": " + why
			}
			return refuse(fieldOf(field, part, err), problem, shapes[field])
		}
	}
	return p, nil
}

// shapes are what fields look like.
var shapes = map[string]string{
	"time_zone":      `Write a name such as "Europe/Berlin", or null`,
	"quiet_hours":    `Write {"from": "22:00", "to": "07:00"}, or null`,
	"vacation_until": `Write it as 2027-01-07T00:00:00Z, in quotes, or null`,
	"default": `Write {"mail": "at_once"}, {"mail": "after", "delay": "4h"}, {"mail": "daily", "at": "18:00"}, ` +
		`{"mail": "never"}, or null`,
	"kinds":        `Write {"mention": {"mail": "at_once"}}, with a rule for each kind, or null`,
	"muted_groups": `Write ["project:7"], or null`,
}

func decodeStrictly(part json.RawMessage, target any) error {
	decoder := json.NewDecoder(bytes.NewReader(part))
	decoder.DisallowUnknownFields()
	return decoder.Decode(target)
}

// fieldOf names the part of a field that an error of encoding/json is about, where it can be known.
func fieldOf(field string, part json.RawMessage, err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return field + "." + wrong.Field
	}
	var delay *delayError
	if !errors.As(err, &delay) {
		return field
	}
	if field != "kinds" {
		return field + ".delay"
	}
	var rules map[string]json.RawMessage
	if json.Unmarshal(part, &rules) != nil {
		return field
	}
	for _, kind := range slices.Sorted(maps.Keys(rules)) {
		if errors.As(decodeStrictly(rules[kind], new(MailRule)), &delay) {
			return field + "." + clip(kind) + ".delay"
		}
	}
	return field
}

// plain is what an error of encoding/json says, in words that mean something to who doesn't know Go; empty if it says nothing that
// does.
func plain(err error) string {
	var wrong *json.UnmarshalTypeError
	var moment *time.ParseError
	switch {
	case errors.As(err, &wrong):
		article := "a "
		if strings.HasPrefix(wrong.Value, "array") || strings.HasPrefix(wrong.Value, "object") {
			article = "an "
		}
		return article + wrong.Value + " doesn't fit"
	case errors.As(err, &moment), strings.HasPrefix(err.Error(), "Time."):
		return ""
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// checkZone finds what isn't an IANA zone that mail could be timed by. "" is none.
func checkZone(field, zone string) error {
	if zone == "" {
		return nil
	}
	if _, err := time.LoadLocation(zone); err == nil && zone != "Local" {
		return nil
	}
	return &trunkline.ArgumentError{
		Argument: field, Problem: fmt.Sprintf("there is no time zone %q", clip(zone)),
		Fix: "Give a name of the IANA's, such as Europe/Berlin or UTC",
	}
}
