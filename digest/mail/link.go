package mail

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/trunkline/trunkline"
)

const mostLink = 2048 // bytes

// absolute returns where a link leads, joined to the site's public URL if it begins with a slash, and "" if it leads nowhere that
// a mail should: relative without a public URL, another scheme than http and https, or a name and password in front of the host,
// which make a link look as if it led elsewhere.
func absolute(link, public string) string {
	if isPath(link) && len(link) <= mostLink && public != "" {
		return public + link
	}
	if link == "" || len(link) > mostLink || strings.ContainsFunc(link, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) && r != ' ' || isHidden(r) || r == '\\' || r == unicode.ReplacementChar
	}) {
		return ""
	}
	if link[0] == '/' {
		if public == "" || strings.HasPrefix(link, "//") {
			return ""
		}
		link = public + link
	}
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return ""
	}
	return printed(u)
}

// isPath finds the common case: a path that needs no escaping, perhaps with a query.
func isPath(link string) bool {
	if len(link) < 2 || link[0] != '/' || link[1] == '/' {
		return false
	}
	for i := range len(link) {
		c := link[i]
		if !isAlphanumeric(rune(c)) && strings.IndexByte("/-_.~?=&#", c) < 0 {
			return false
		}
	}
	return true
}

// printed writes a URL in ASCII, or returns "" if its host can't be.
func printed(u *url.URL) string {
	if !isASCII(u.Host) {
		host, err := asciiDomain(u.Hostname())
		if err != nil {
			return ""
		}
		if port := u.Port(); port != "" {
			host += ":" + port
		}
		u.Host = host
	}
	return escapeURL(u.String())
}

// escapeURL escapes what a parsed URL may still have in its query and that would end a link where it stands, or worse: quotes,
// brackets, spaces, and percent signs that escape nothing.
func escapeURL(s string) string {
	const hex, rest = "0123456789ABCDEF", "!#$&*+,/:;=?@[]-._~"
	var b strings.Builder
	b.Grow(len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case isAlphanumeric(rune(c)), strings.IndexByte(rest, c) >= 0,
			c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// site checks an URL that everything else is joined to.
func site(argument, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || absolute(text, "") == "" {
		return "", &trunkline.ArgumentError{
			Argument: argument, Problem: "the " + spaced(argument) + " " + quoted(text) + " is not the URL of a site",
			Fix: "Give one such as https://example.org, without a query",
		}
	}
	return strings.TrimSuffix(printed(u), "/"), nil
}

// page checks the URL of one page, which may be relative to the site's.
func page(argument, text, public string) (string, error) {
	if text == "" {
		return "", nil
	}
	found := absolute(text, public)
	if found == "" {
		fix := "Give one such as https://example.org/inbox, or /inbox"
		if strings.HasPrefix(text, "/") && public == "" {
			fix = "Without a public URL it has to be a whole one, such as https://example.org/inbox"
		}
		return "", &trunkline.ArgumentError{
			Argument: argument, Problem: "the " + spaced(argument) + " " + quoted(text) + " leads nowhere", Fix: fix,
		}
	}
	return found, nil
}
