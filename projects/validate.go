package projects

import (
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The most characters that texts may have, as the tables check them.
const (
	mostName        = 120 // of projects and milestones
	mostPersonName  = 100
	mostSummary     = 2_000
	mostTitle       = 200 // of tasks, subjects
	mostDescription = 10_000
	mostEmail       = 254 // bytes
)

// line takes a text of one line: trimmed, not empty, without characters that can't be seen, at most so many characters. What says
// what it is to people, as in "the title".
func line(field, what, value string, most int) (string, error) {
	value, err := optionalLine(field, what, value, most)
	if err == nil && !visible(value) {
		return "", &InvalidError{Field: field, Problem: capital(what) + " is empty: write at least one character."}
	}
	return value, err
}

// optionalLine is line for what may be empty.
func optionalLine(field, what, value string, most int) (string, error) {
	value = strings.TrimSpace(value)
	if err := checkText(field, what, value, most); err != nil {
		return "", err
	}
	if at := strings.IndexFunc(value, breaksLine); at >= 0 {
		r, _ := utf8.DecodeRuneInString(value[at:])
		return "", controlCharacter(field, what, r)
	}
	return value, nil
}

// text takes a text of any number of lines, which may be empty. Line ends become \n, and spaces around the whole are removed.
func text(field, what, value string, most int) (string, error) {
	value = strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\r", "\n"))
	if err := checkText(field, what, value, most); err != nil {
		return "", err
	}
	for _, r := range value {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return "", controlCharacter(field, what, r)
		}
	}
	return value, nil
}

func checkText(field, what, value string, most int) error {
	if !utf8.ValidString(value) {
		return &InvalidError{Field: field, Problem: capital(what) + " isn't UTF-8: write it anew."}
	}
	if n := utf8.RuneCountInString(value); n > most {
		return &InvalidError{Field: field, Problem: fmt.Sprintf("%s has %s characters, and may have %s: shorten it.", capital(what), thousands(n), thousands(most))}
	}
	return nil
}

func controlCharacter(field, what string, r rune) error {
	return &InvalidError{Field: field, Problem: fmt.Sprintf("%s contains the control character U+%04X: remove it.", capital(what), r)}
}

// breaksLine tells what has no place in a single line: it would break it, or turn around what stands beside it.
func breaksLine(r rune) bool {
	switch {
	case r >= '\u202A' && r <= '\u202E', r >= '\u2066' && r <= '\u2069', r == '\u2028', r == '\u2029':
		return true
	}
	return unicode.IsControl(r)
}

// visible tells whether there is anything to see.
func visible(value string) bool {
	return strings.ContainsFunc(value, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Mn, r) })
}

func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:]
}

// thousands writes a number as people read it.
func thousands(n int) string {
	digits := fmt.Sprint(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// clip shortens what people wrote for a sentence about it.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// checkDate takes a day in this century or the nine that follow. Nil stays nil.
func checkDate(field string, date *Date) error {
	if date == nil {
		return nil
	}
	day, err := time.Parse(time.DateOnly, string(*date))
	if err != nil {
		return &InvalidError{Field: field, Problem: fmt.Sprintf("“%s” is no date: write it as YYYY-MM-DD, such as 2027-03-31.", clip(printable(string(*date))))}
	}
	if year := day.Year(); year < 2000 || year > 2999 {
		return &InvalidError{Field: field, Problem: fmt.Sprintf("%s is too far away: choose a day from 2000-01-01 to 2999-12-31.", *date)}
	}
	return nil
}

// CheckEmail takes an e-mail address as somebody wrote it: without a name, at most 254 bytes. It returns it trimmed and in lower
// case, which is how addresses are kept and compared. Its error is an *InvalidError of that field.
func CheckEmail(field, address string) (string, error) {
	address = strings.ToLower(strings.TrimSpace(address))
	if address == "" {
		return "", &InvalidError{Field: field, Problem: "The e-mail address is empty: write one such as ann@example.com."}
	}
	if len(address) > mostEmail {
		return "", &InvalidError{Field: field, Problem: fmt.Sprintf("The e-mail address has %d bytes, and may have %d: check it.", len(address), mostEmail)}
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || strings.ContainsRune(address, utf8.RuneError) || parsed.Address != address || strings.ContainsFunc(address, notInAddress) {
		return "", &InvalidError{Field: field, Problem: fmt.Sprintf("“%s” is no e-mail address: write one such as ann@example.com.", clip(printable(address)))}
	}
	return address, nil
}

// notInAddress finds what addresses may have when they are quoted, and nobody's has.
func notInAddress(r rune) bool {
	return unicode.IsSpace(r) || breaksLine(r) || strings.ContainsRune(`"<>()[],;:\`, r)
}

// printable leaves out what a sentence can't show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if breaksLine(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
}

// CheckLine takes a text of one line, as somebody wrote it: not empty, without control characters, at most so many characters. It
// returns it trimmed. What says what it is to people, as in "the name". Its error is an *InvalidError of that field.
func CheckLine(field, what, value string, most int) (string, error) {
	return line(field, what, value, most)
}

// CheckOptionalLine is [CheckLine] for what may be empty.
func CheckOptionalLine(field, what, value string, most int) (string, error) {
	return optionalLine(field, what, value, most)
}
