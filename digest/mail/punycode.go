package mail

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var errDomain = errors.New("is not the name of a domain")

// asciiDomain returns a domain as the mail system knows it: münchen.example is xn--mnchen-3ya.example there. Domains that are
// ASCII already come back in lower case. IP addresses in brackets aren't taken.
func asciiDomain(domain string) (string, error) {
	if domain == "" || len(domain) > 253 {
		return "", errDomain
	}
	domain = strings.ToLower(domain)
	labels := strings.Split(domain, ".")
	for i, label := range labels {
		if !isASCII(label) {
			if !utf8.ValidString(label) || strings.ContainsFunc(label, isForbidden) {
				return "", errDomain
			}
			label = "xn--" + punycode(label)
			labels[i] = label
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }) {
			return "", errDomain
		}
	}
	return strings.Join(labels, "."), nil
}

// isForbidden tells characters beyond ASCII that names of domains don't have: symbols, spaces, and those that can't be seen.
func isForbidden(r rune) bool {
	return r >= utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("\u200c\u200d·・", r)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// punycode encodes a label as RFC 3492 says, without the xn-- in front.
func punycode(label string) string {
	const base, tMin, tMax, skew, damp, initialBias, initialN = 36, 1, 26, 38, 700, 72, 128
	input := []rune(label)
	var out []byte
	for _, r := range input {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias := rune(initialN), 0, initialBias
	for done := basic; done < len(input); {
		next := slices.MinFunc(input, func(a, b rune) int { return order(a, n) - order(b, n) })
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range input {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tMin), tMax)
				if q < t {
					break
				}
				out = append(out, digit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			out = append(out, digit(q))
			// How the bias adapts.
			if done == basic {
				delta /= damp
			} else {
				delta /= 2
			}
			delta += delta / (done + 1)
			k := 0
			for ; delta > (base-tMin)*tMax/2; k += base {
				delta /= base - tMin
			}
			bias = k + (base-tMin+1)*delta/(delta+skew)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return string(out)
}

// order puts characters below n behind all others.
func order(r, n rune) int {
	if r < n {
		return unicode.MaxRune + 1
	}
	return int(r)
}

func digit(d int) byte {
	if d < 26 {
		return byte('a' + d)
	}
	return byte('0' + d - 26)
}
