package mail

import (
	"fmt"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// A Digest is what a mail is made of. Its bytes depend on this and on the options alone (but for a signature's time), so that
// another try with the same digest is the same mail.
type Digest struct {
	Recipient Recipient
	// Items, newest first. At least one.
	Items []inbox.Item
	// Kinds that occur among the items, by name: their titles.
	Kinds map[string]string
	// Groups that occur among the items, by name: their titles. One that isn't here is called what the data of its newest item
	// says as group_title, and else by its name.
	Groups map[string]string
	// MessageID without angle brackets, stable across tries.
	MessageID string
	// At is when it was claimed: the mail's date.
	At time.Time
	// Zone is the recipient's, in which times are shown. Nil: UTC.
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

// check finds what no mail can be made of, and returns the recipient's address. It says nothing of the recipient's name, the
// texts and the links: whatever is wrong with those is left out.
func (d *Digest) check() (netmail.Address, error) {
	if len(d.Items) == 0 {
		return netmail.Address{}, &trunkline.ArgumentError{
			Argument: "items", Problem: fmt.Sprintf("the digest %q has no items", d.MessageID), Fix: "A mail needs at least one",
		}
	}
	if err := datable("digest", d.MessageID, d.At); err != nil {
		return netmail.Address{}, err
	}
	if strings.ContainsFunc(d.UnsubscribeToken, func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }) ||
		len(d.UnsubscribeToken) > mostSecret {
		return netmail.Address{}, &trunkline.ArgumentError{
			Argument: "unsubscribe_token", Problem: fmt.Sprintf("the unsubscribe token of the digest %q is none", d.MessageID),
			Fix: fmt.Sprintf("Give up to %d letters, digits, - and _", mostSecret),
		}
	}
	return address("email", d.Recipient.Email)
}

// datable checks what identifies a mail: when it was made, and its Message-ID.
func datable(what, messageID string, at time.Time) error {
	if at.IsZero() || at.Year() < 1970 || at.Year() > 9999 {
		return &trunkline.ArgumentError{
			Argument: "at", Problem: fmt.Sprintf("the %s %q is of %v", what, messageID, at), Fix: "Give the time at which it was claimed",
		}
	}
	if !isMessageID(messageID) {
		return &trunkline.ArgumentError{
			Argument: "message_id", Problem: "the Message-ID " + quoted(messageID) + " is not one",
			Fix: "Give one such as 17.k3m9q2@example.org, without angle brackets",
		}
	}
	return nil
}

// mostSecret is how long a token that unsubscribes may be: the URLs that it is in have to fit into a line.
const mostSecret = 128

// isMessageID reports whether a text is what stands between the angle brackets: at most 200 bytes, so that no line grows too long.
func isMessageID(s string) bool {
	local, domain, found := strings.Cut(s, "@")
	return found && len(s) <= 200 && isAtom(local) && isAtom(domain)
}

// isAtom tells what needs no quotes in addresses and in Message-IDs.
func isAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(rune(c)) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) < 0 {
			return false
		}
	}
	return true
}

// isAlphanumeric tells letters and digits of ASCII.
func isAlphanumeric(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9' }

// address checks a bare address. Its domain comes back in ASCII; what is before the @ may be in any script, and then only servers
// with SMTPUTF8 take it.
func address(argument, text string) (netmail.Address, error) {
	bad := func(why string) (netmail.Address, error) {
		return netmail.Address{}, &trunkline.ArgumentError{
			Argument: argument, Problem: "the address " + quoted(text) + " " + why, Fix: "Give one such as ann@example.org",
		}
	}
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return bad("has no @")
	}
	local, domain := text[:at], text[at+1:]
	if len(text) > 254 || len(local) > 64 {
		return bad("is longer than 254 bytes, or than 64 before the @")
	}
	if !isAtom(local) {
		// Quoted ones, and those in other scripts, are for the parser that knows all of it. What it takes, it can write.
		parsed, err := netmail.ParseAddress("<" + text + ">")
		if err != nil || strings.ContainsFunc(parsed.Address, func(r rune) bool {
			return unicode.IsControl(r) || r == '<' || r == '>' || isHidden(r)
		}) {
			return bad("is malformed")
		}
		at := strings.LastIndexByte(parsed.Address, '@')
		local, domain = parsed.Address[:at], parsed.Address[at+1:]
	}
	ascii, err := asciiDomain(domain)
	if err != nil {
		return bad("has no valid domain")
	}
	return netmail.Address{Address: local + "@" + ascii}, nil
}

// path writes an address as it stands in an envelope, where what is before the @ may need quotes.
func path(a netmail.Address) string {
	return strings.Trim((&netmail.Address{Address: a.Address}).String(), "<>")
}
