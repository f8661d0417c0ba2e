package mail

import (
	"slices"
	"strings"
)

// canonical writes a BCP 47 tag as everybody does: de-AT for de_at, zh-Hant-TW. What follows a dot or an at sign, as in the
// names of POSIX, is left out. It returns "" for what is no tag.
func canonical(tag string) string {
	tag, _, _ = strings.Cut(tag, ".")
	tag, _, _ = strings.Cut(tag, "@")
	if tag == "" || len(tag) > 35 {
		return ""
	}
	if tag == "en" || tag == "de" {
		return tag
	}
	parts := strings.Split(strings.ReplaceAll(strings.ToLower(tag), "_", "-"), "-")
	for i, part := range parts {
		if part == "" || len(part) > 8 || strings.ContainsFunc(part, func(r rune) bool { return !isAlphanumeric(r) }) {
			return ""
		}
		switch {
		case i == 0:
			if len(part) < 2 || len(part) > 3 || part[0] < 'a' {
				return ""
			}
		case len(part) == 2:
			parts[i] = strings.ToUpper(part)
		case len(part) == 4 && part[0] >= 'a':
			parts[i] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.Join(parts, "-")
}

// parent returns the next wider locale: de for de-AT, and "" for de.
func parent(tag string) string {
	i := strings.LastIndexByte(tag, '-')
	return tag[:max(i, 0)]
}

// direction is how a language is written: ltr or rtl.
func direction(tag string) string {
	language, _, _ := strings.Cut(tag, "-")
	if slices.Contains([]string{"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"}, language) {
		return "rtl"
	}
	return "ltr"
}
