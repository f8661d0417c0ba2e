package mail

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// MostBytes is how large a mail may be.
const MostBytes = mostBytes

var (
	Line        = line
	Clip        = clip
	Finish      = finish
	Absolute    = absolute
	Canonical   = canonical
	ASCIIDomain = asciiDomain
	Punycode    = punycode
)

// When writes a time in a language that is built in.
func When(t time.Time, locale string, sameYear bool) string {
	l, _ := words(locale)
	return l.when(t, locale, sameYear)
}

// Summary and More are what is said in a language that is built in.
func Summary(locale, text string, more int) string { return languages[locale].summary(text, more) }
func More(locale string, n int) string             { return languages[locale].more(n) }
func Heading(locale string, n int) string          { return languages[locale].heading(n, "Example") }

// Both executes the built-in templates on a digest, as they are compiled and as their packages do it, and says where the two differ.
func Both(r *Renderer, d Digest) error {
	v, locale := r.variant(d.Recipient.Locale)
	c := r.compose(&d, v, locale, r.settings.limits)
	c.Subject = c.Summary
	for _, t := range []*template{r.builtin[r.tag(locale)].html, r.builtin[r.tag(locale)].plain, r.builtin[r.tag(locale)].subject} {
		if _, ok := t.exec.(steps); !ok {
			return fmt.Errorf("%s is not compiled", t.name)
		}
		var fast, slow bytes.Buffer
		if err := t.run(&fast, c); err != nil {
			return err
		}
		if err := interpreted[t.name].run(&slow, c); err != nil {
			return err
		}
		if fast.String() != slow.String() {
			a, b := strings.Split(fast.String(), "\n"), strings.Split(slow.String(), "\n")
			for i := range a {
				if i >= len(b) || a[i] != b[i] {
					return fmt.Errorf("%s, line %d of what comes out\ncompiled: %s\nexecuted: %s", t.name, i+1, a[i], strings.Join(b[min(i, len(b)):min(i+1, len(b))], ""))
				}
			}
			return fmt.Errorf("%s: executed has %d lines, compiled %d", t.name, len(b), len(a))
		}
	}
	return nil
}

// interpreted are the built-in templates as they are parsed.
var interpreted = func() map[string]*template {
	found := make(map[string]*template)
	for _, file := range []string{htmlFile, plainFile, subjectFile} {
		t, _, _, err := parseFile(builtinFiles(), file)
		if err != nil {
			panic(err)
		}
		found[file] = t
	}
	return found
}()
