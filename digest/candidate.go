package digest

import "time"

// A Candidate is all that [Plan] wants to know about one user. The zero value of a field means that nothing is known, or
// nothing is set.
type Candidate struct {
	UserID string
	// Email is where mails go; empty: nowhere.
	Email string
	// Zones are names of IANA time zones in order of preference: what the user set, the recipient's, the site's. The first that
	// is known here counts; empty ones are skipped. UTC if none is left.
	Zones []string
	// ActiveAt is when the user last did something.
	ActiveAt time.Time
	// Bounces is how often the address has refused mail, eroded as of BouncedAt: see [BounceScore].
	Bounces   float64
	BouncedAt time.Time
	// Quiet hours; nil: none.
	Quiet *Quiet
	// VacationUntil is when mail is wanted again.
	VacationUntil time.Time
	// Preferences by kind; "" holds for the kinds that have none of their own.
	Preferences map[string]Preference
	// Muted groups are true.
	Muted map[string]bool
	// Sent are the moments at which the user's mails of the last 24 hours were claimed, in any order: also of those that are
	// still under way, not of those that were given up.
	Sent []time.Time
	// Unknowns is how many looks in a row, before this one, ended with MembershipUnknown.
	Unknowns int
	// Items are the user's notifications that are unread, placed, and neither archived, snoozed nor part of a digest, in any
	// order. It does no harm to leave out some that can't be mailed: too old ones, say.
	Items []Item
}

// An Item is a notification that may be mailed.
type Item struct {
	ID, Seq   int64
	Kind      string
	Group     string // empty: none
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	// KindDelay is the delay that the kind was registered with; nil: none, or the kind isn't registered.
	KindDelay *time.Duration
	// Asks says that the kind has an authorize function and the item a group, so that the item is mailed only with Access
	// Allowed.
	Asks   bool
	Access Access
}

// Access is what an authorize function answered about a user and a group.
type Access string

// What it can answer.
const (
	NotAsked Access = ""        // it wasn't asked yet: Plan says Ask when it needs to know
	Allowed  Access = "allowed" // true
	Denied   Access = "denied"  // false: the item is left out
	Unknown  Access = "unknown" // an error or NULL: everything of the user waits
)
