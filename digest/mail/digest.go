package mail

import (
	"time"

	"github.com/trunkline/trunkline/inbox"
)

// A Digest is what a mail is made of.
type Digest struct {
	Recipient Recipient
	// Items, newest first.
	Items []inbox.Item
	// Kinds that occur among the items, by name: their titles.
	Kinds map[string]string
	// MessageID without angle brackets, stable across tries.
	MessageID string
	// At is when it was claimed.
	At time.Time
	// Zone is the recipient's, in which times are shown.
	Zone *time.Location
	// UnsubscribeToken is the secret of the links that unsubscribe; empty: there are none.
	UnsubscribeToken string
}

// A Recipient is whom a mail is for.
type Recipient struct {
	UserID string
	Email  string
	Name   string
	Locale string // BCP 47; empty: the site's
}
