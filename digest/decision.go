package digest

import "time"

// A Kind of decision.
type Kind string

// What can be decided. Only of these Ask is no end: the questions are answered, and Plan is called again.
const (
	Mailed            Kind = "mailed"             // the items are to be mailed now
	Ask               Kind = "ask"                // mailed, if the authorize functions of Decision.Ask say so
	Nothing           Kind = "nothing"            // no unread item is left that could be mailed
	Waiting           Kind = "waiting"            // none is due yet
	NoAddress         Kind = "no_address"         // due, but there is no address
	BadAddress        Kind = "bad_address"        // due, but the address can't be one
	Bouncing          Kind = "bouncing"           // due, but the address has refused too many mails
	Vacation          Kind = "vacation"           // due, but the user is away
	QuietHours        Kind = "quiet"              // due, but it is the user's quiet time
	Capped            Kind = "capped"             // due, but the user had enough mails for a day
	Postponed         Kind = "postponed"          // due, but the user is active, and may be reading it now
	MembershipUnknown Kind = "membership_unknown" // due, but an authorize function couldn't answer
)

// A Decision is what is to be done about a user, and why.
type Decision struct {
	Kind Kind
	// Reason in one or more sentences, for people who support users, with times in the user's zone. It stays the same from look
	// to look while nothing changes.
	Reason string
	// NextAt is when to look at the user again, always after now; zero: when something happens, and with Ask.
	NextAt time.Time
	// Due is when the first item was due or will be; zero with Nothing.
	Due time.Time
	// Zone is the user's, never nil.
	Zone *time.Location
	// Items to mail, oldest first: with Mailed and Ask.
	Items []int64
	// Ask are the questions to ask, in a stable order without doubles: with Ask.
	Ask []Question
	// Left are the items that weren't considered, oldest first.
	Left []Left
}

// A Question for the authorize function of a kind: may the user still see the group?
type Question struct{ Kind, Group string }

// A Left item isn't part of the mail, or of what a mail is waited for.
type Left struct {
	ID  int64
	Why Why
}

// Why an item is left out.
type Why string

// What can be said of an item.
const (
	Never    Why = "never"     // the user wants no mail of its kind
	Muted    Why = "muted"     // the user muted its group
	NoMember Why = "no_member" // the authorize function said no
	Expired  Why = "expired"   // its time is over
	TooOld   Why = "too_old"   // it has been due for too long
	OwnHour  Why = "own_hour"  // it goes out daily, and its hour hasn't come
	NotYet   Why = "not_yet"   // it was created after the moment that is looked at
	NextMail Why = "next_mail" // the mail is full
)
