package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what comes from outside, in characters. The inbox has limits of its own; mail doesn't rely on them, since what is
// too long here would grow a mail until programs cut it off.
const (
	mostText  = 500 // an item's line
	mostTitle = 120 // a group's or a kind's title
	mostName  = 100 // a recipient's name
	// A subject beyond this is cut off by every program that lists mails.
	mostSubject = 150
	mostPreview = 150
)

// mostMarks is how many combining marks may follow one another: no language needs more, and stacked ones paint over other lines.
const mostMarks = 6

// line makes one line of a text that may hold anything: no control characters, no line breaks, nothing that reorders what stands
// around it, valid UTF-8, single spaces, and at most so many characters. Names, subjects and items are such lines: there is no
// way left from any of them into another line of a header or a body.
func line(s string, most int) string {
	if isLine(s) && len(s) <= most {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	space, marks := false, 0
	for _, r := range s { // what isn't UTF-8 arrives as U+FFFD
		switch {
		case r > ' ' && r <= '~':
			marks = 0
		case r != '\u00a0' && unicode.IsSpace(r), unicode.IsControl(r), r == '\u2028', r == '\u2029':
			space = true
			continue
		case isHidden(r):
			continue
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
			if marks++; marks > mostMarks {
				continue
			}
		default:
			marks = 0
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		b.WriteRune(r)
	}
	return clip(b.String(), most)
}

// isLine finds the common case: printable ASCII with single spaces.
func isLine(s string) bool {
	space := true
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == ' ' && space {
			return false
		}
		space = c == ' '
	}
	return !space || s == ""
}

// isHidden tells characters that show nothing but change how others are shown: those that reverse the direction of what follows
// above all. What joins letters and emojis stays.
func isHidden(r rune) bool {
	switch {
	case r == '\u200c' || r == '\u200d': // joiners: Persian and families of emojis need them
		return false
	case r >= 0xe0020 && r <= 0xe007f: // tags: flags of England, Scotland and Wales
		return false
	case r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef: // no characters at all
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

// clip shortens a text to so many characters, the last of which is then an ellipsis. It cuts between words if one ends near, and
// never within what is shown as one character.
func clip(s string, most int) string {
	if len(s) <= most || utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s[:min(len(s), (most+1)*utf8.UTFMax)])
	cut := most - 1
	for cut > 1 && clings(runes, cut) {
		cut--
	}
	for i := cut; i > 0 && i > cut-20; i-- {
		if runes[i] == ' ' {
			cut = i
			break
		}
	}
	return strings.TrimRight(string(runes[:cut]), " ,;:") + "…"
}

// clings reports whether the character there belongs to the one before it.
func clings(runes []rune, i int) bool {
	r := runes[i]
	return unicode.Is(unicode.M, r) || r == '\u200d' || runes[i-1] == '\u200d' ||
		r >= 0x1f3fb && r <= 0x1f3ff || // skin tones
		r >= 0xe0020 && r <= 0xe007f ||
		r >= 0x1f1e6 && r <= 0x1f1ff && runes[i-1] >= 0x1f1e6 && runes[i-1] <= 0x1f1ff // halves of a flag
}
