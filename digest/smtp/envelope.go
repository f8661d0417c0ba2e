package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trunkline/trunkline/digest/mail"
)

// maxAddress is how long an address may be, in bytes (RFC 5321, 4.5.3.1.3).
const maxAddress = 254

// A letter is an envelope that was looked through, and what it asks of the server.
type letter struct {
	mail.Envelope
	utf8  bool // an address or a header isn't ASCII
	eight bool // something isn't ASCII
}

// inspect refuses what can't be sent as it is. The text is sent byte for byte, since it may be signed: line ends that aren't CRLF
// aren't mended but refused, because servers differ in what they take for a line's end, and a dot between two of those ends the
// mail for some and lets the rest be another one.
func inspect(e mail.Envelope) (letter, *mail.SendError) {
	refuse := func(step string, blame mail.Blame, format string, args ...any) (letter, *mail.SendError) {
		return letter{}, &mail.SendError{Step: step, Blame: blame, Permanent: true, Err: fmt.Errorf(format, args...)}
	}
	if e.From != "" {
		if err := checkAddress(e.From); err != nil {
			return refuse(stepMail, mail.BlameMessage, "the sender's address %q %w", clip(e.From), err)
		}
	}
	if err := checkAddress(e.To); err != nil {
		return refuse(stepRcpt, mail.BlameRecipient, "the address %q %w", clip(e.To), err)
	}
	if len(e.Data) == 0 {
		return refuse(stepData, mail.BlameMessage, "the mail is empty")
	}
	for rest, at := e.Data, 0; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n\x00")
		if i < 0 {
			break
		}
		at += i
		if rest[i] != '\r' || i+1 == len(rest) || rest[i+1] != '\n' {
			return refuse(stepData, mail.BlameMessage, "byte %d of the mail is a %q by itself: lines end with \\r\\n", at, rest[i])
		}
		rest, at = rest[i+2:], at+2
	}
	header, _, _ := bytes.Cut(e.Data, []byte("\r\n\r\n"))
	l := letter{Envelope: e, utf8: !isASCII(e.From) || !isASCII(e.To) || !isASCII(header)}
	l.eight = l.utf8 || !isASCII(e.Data)
	return l, nil
}

func checkAddress(address string) error {
	at := strings.LastIndexByte(address, '@')
	switch {
	case len(address) > maxAddress:
		return fmt.Errorf("is longer than %d bytes", maxAddress)
	case !utf8.ValidString(address) || strings.ContainsFunc(address, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || r == '<' || r == '>'
	}):
		return errors.New("has a character that addresses can't have")
	case at < 1 || at == len(address)-1:
		return errors.New("isn't one: it needs something before and after an @")
	}
	return nil
}

func isASCII[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func clip(text string) string {
	if len(text) > 80 {
		return text[:80] + "…"
	}
	return text
}
