package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// textWidth is how many columns the text part has, as mail always had.
const textWidth = 78

// finish makes a text part of what a template made: lines end with \n alone, long ones are wrapped, spaces at their ends and
// runs of empty lines are left out, so that templates needn't care. URLs are never broken.
func finish(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	var b strings.Builder
	b.Grow(len(text) + 64)
	empty := true // at the beginning none is wanted
	for rest := text; rest != ""; {
		var l string
		l, rest, _ = strings.Cut(rest, "\n")
		// The two dashes and the space in front of a signature belong together.
		if l = strings.TrimRight(l, " \t\r"); l == "--" {
			l = "-- "
		}
		if l == "" {
			if !empty && strings.TrimSpace(rest) != "" {
				b.WriteByte('\n')
			}
			empty = true
			continue
		}
		empty = false
		if len(l) <= textWidth {
			b.WriteString(l)
		} else {
			wrap(&b, l)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// wrap breaks a line between its words. The lines that follow begin below its first word.
func wrap(b *strings.Builder, l string) {
	body := strings.TrimLeft(l, " ")
	indent := len(l) - len(body)
	for _, bullet := range []string{"* ", "- ", "> "} {
		if strings.HasPrefix(body, bullet) {
			b.WriteString(l[:indent+len(bullet)])
			body = body[len(bullet):]
			indent += len(bullet)
			l = ""
			break
		}
	}
	if l != "" {
		b.WriteString(l[:indent])
	}
	indent = min(indent, textWidth/2)
	column := indent
	start := true
	for word := range strings.SplitSeq(body, " ") {
		if word == "" {
			continue
		}
		w := width(word)
		if !start {
			if column+1+w <= textWidth {
				b.WriteByte(' ')
				column++
			} else {
				newLine(b, indent)
				column = indent
			}
		}
		if column+w > textWidth && !isURL(word) {
			column = chop(b, word, indent, column)
		} else {
			b.WriteString(word)
			column += w
		}
		start = false
	}
}

// chop breaks a word that is longer than a line, as those of languages without spaces are, and returns the column it ends at.
func chop(b *strings.Builder, word string, indent, column int) int {
	for _, r := range word {
		w := runeWidth(r)
		if column+w > textWidth {
			newLine(b, indent)
			column = indent
		}
		b.WriteRune(r)
		column += w
	}
	return column
}

func newLine(b *strings.Builder, indent int) {
	b.WriteByte('\n')
	for range indent {
		b.WriteByte(' ')
	}
}

func isURL(word string) bool {
	return strings.HasPrefix(word, "https://") || strings.HasPrefix(word, "http://")
}

// width is how many columns a text takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is good enough for wrapping: characters of East Asia and emojis are two columns wide, marks none.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r), r == '\u200c', r == '\u200d':
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1f64f,
		r >= 0x1f900 && r <= 0x1f9ff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// rule underlines a heading in plain text.
func rule(mark, heading string) string {
	return strings.Repeat(mark, min(width(heading), textWidth))
}
