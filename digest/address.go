package digest

import (
	"net/mail"
	"strings"
	"unicode/utf8"
)

// addressProblem says why nothing can be mailed to an address, "" if something can. The rules are those of
// trunkline.email_problem. They are asked again here since addresses may come from a view of the application's, which nobody
// checks.
func addressProblem(address string) string {
	// RFC 5321 allows no more bytes.
	const mostOfAll, mostOfLocal, mostOfLabel = 254, 64, 63
	local, domain, found := strings.Cut(address, "@")
	labels := strings.Split(domain, ".")
	top := labels[len(labels)-1]
	switch {
	case len(address) > mostOfAll:
		return "it is too long"
	case !utf8.ValidString(address) || strings.ContainsFunc(address, unseen):
		return "it contains a space, a control character or an invisible one"
	case strings.ContainsAny(address, `<>()[],;:"\`):
		return `it contains one of < > ( ) [ ] , ; : " \`
	case !found || strings.Contains(domain, "@"):
		return `it doesn't have one "@"`
	case local == "" || len(local) > mostOfLocal || misplacedDot(local):
		return `what stands before its "@" can't be`
	case misplacedDot(domain) || strings.ContainsFunc(domain, notOfDomain):
		return "its domain can't be"
	case strings.Trim(top, "0123456789") == "":
		return "its domain ends in a number, or there is none"
	}
	for _, label := range labels {
		if label[0] == '-' || label[len(label)-1] == '-' || utf8.RuneCountInString(label) > mostOfLabel {
			return "its domain can't be"
		}
	}
	if parsed, err := mail.ParseAddress(address); err != nil || parsed.Address != address {
		return "it can't be read"
	}
	return ""
}

// unseen tells what can't be seen in an address, or turns its writing round.
func unseen(r rune) bool {
	switch {
	case r <= ' ', r >= 0x7f && r <= 0xa0, r >= 0x2000 && r <= 0x200f, r >= 0x2028 && r <= 0x202f, r >= 0x205f && r <= 0x206f:
		return true
	}
	switch r {
	case 0xad, 0x34f, 0x61c, 0x1680, 0x180e, 0x3000, 0xfeff:
		return true
	}
	return false
}

func misplacedDot(s string) bool {
	return strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..")
}

func notOfDomain(r rune) bool {
	return r < utf8.RuneSelf && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
