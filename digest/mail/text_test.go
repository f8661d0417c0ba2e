package mail_test

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/digest/mail"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"plain text":                        "plain text",
		"  two\tor  more\r\n\r\nlines \n":   "two or more lines",
		"a\x00b\x1bc\x7fd":                  "a b c d",
		"\u202egnp.exe\u202c \u2066x\u2069": "gnp.exe x",
		"zero\u200bwidth\ufeff\u00ad":       "zerowidth",
		"next\u2028line\u2029\u0085end":     "next line end",
		"bad\xff\xfeutf-8":                  "bad\ufffd\ufffdutf-8",
		"می\u200cخواهم":                     "می\u200cخواهم",
		"👩\u200d👩\u200d👧 🏴\U000e0067\U000e0062\U000e007f": "👩\u200d👩\u200d👧 🏴\U000e0067\U000e0062\U000e007f",
		"no\u00a0break":                    "no\u00a0break",
		"e" + strings.Repeat("\u0302", 50): "e" + strings.Repeat("\u0302", 6),
	} {
		if got := mail.Line(in, 100); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"1234567890":                  "1234567890",
		"12345678901":                 "123456789…",
		"über die Brücke":             "über die…",
		"one, two, three":             "one, two…",
		"12345678e\u0301\u0301\u0301": "12345678…",
		"1234567👩\u200d👩\u200d👧":      "1234567…",
		"12345678🇩🇪🇦🇹":                "12345678…",
		"12345678👍🏽x":                 "12345678…",
	} {
		if got := mail.Line(in, 10); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s, most := rapid.String().Draw(t, "s"), rapid.IntRange(2, 40).Draw(t, "most")
		got := mail.Line(s, most)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > most || strings.ContainsAny(got, "\r\n\x00\u202e") || strings.Contains(got, "  ") {
			t.Errorf("%q became %q", s, got)
		}
		if again := mail.Line(got, most); again != got {
			t.Errorf("%q became %q, and that %q", s, got, again)
		}
	})
}

func TestLinks(t *testing.T) {
	const public = "https://example.org/app"
	for link, want := range map[string]string{
		"/tasks/7":                              public + "/tasks/7",
		"/tasks/7?a=b&c=d#e":                    public + "/tasks/7?a=b&c=d#e",
		"/":                                     public + "/",
		"/ü/a b":                                public + "/%C3%BC/a%20b",
		"/a'b(c)<d>":                            public + "/a%27b%28c%29%3Cd%3E",
		"https://other.example/x":               "https://other.example/x",
		"http://other.example:8080/x":           "http://other.example:8080/x",
		"https://münchen.example/ü?q=ü y\"<'":   "https://xn--mnchen-3ya.example/%C3%BC?q=%C3%BC%20y%22%3C%27",
		"https://other.example/?q=100%&r=%2F%g": "https://other.example/?q=100%25&r=%2F%25g",
		"https://[::1]:80/x":                    "https://[::1]:80/x",
		"HTTPS://other.example/x":               "https://other.example/x",
		"":                                      "",
		"//evil.example/x":                      "",
		"/\\evil.example/x":                     "",
		"javascript:alert(1)":                   "",
		"JaVaScRiPt:alert(1)":                   "",
		"\tjavascript:alert(1)":                 "",
		"data:text/html,x":                      "",
		"mailto:x@example.org":                  "",
		"tasks/7":                               "",
		"https://":                              "",
		"https:///x":                            "",
		"https://user@evil.example/":            "",
		"https://example.org@evil.example/":     "",
		"https://example.org\r\nX: y":           "",
		"/a\x00b":                               "",
		"/a\u202eb":                             "",
		"/a\xff":                                "",
		"https://a\u200bb.example/":             "",
		"https://ex ample.org/":                 "",
		"https://%zz/":                          "",
		"/" + strings.Repeat("a", 2048):         "",
	} {
		if got := mail.Absolute(link, public); got != want {
			t.Errorf("%q leads to %q, want %q", link, got, want)
		}
		if relative := strings.HasPrefix(link, "/"); relative && mail.Absolute(link, "") != "" {
			t.Errorf("%q leads to %q without a public URL", link, mail.Absolute(link, ""))
		}
	}
}

// The samples are those of RFC 3492, and domains that exist.
func TestPunycode(t *testing.T) {
	for in, want := range map[string]string{
		"ليهمابتكلموشعربي؟":            "egbpdaj6bu4bxfgehfvwxn",
		"他们为什么不说中文":                    "ihqwcrb4cv8a8dqg056pqjye",
		"Pročprostěnemluvíčesky":       "Proprostnemluvesky-uyb24dma41a",
		"почемужеонинеговорятпорусски": "b1abfaaepdrnnbgefbadotcwatmq2g4l",
		"bücher":                   "bcher-kva",
		"3年B組金八先生":                 "3B-ww4c5e180e575a65lsy2b",
		"安室奈美恵-with-SUPER-MONKEYS": "-with-SUPER-MONKEYS-pc58ag80a8qai00g7n9n",
		"パフィーdeルンバ":                "de-jg4avhby1noc0d",
		"-> $1.00 <-":              "-> $1.00 <--",
	} {
		if got := mail.Punycode(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "MÜNCHEN.example": "xn--mnchen-3ya.example", "例え.jp": "xn--r8jz45g.jp", "localhost": "localhost",
		"": "", "a..b": "", ".a": "", "a.": "", "-a.b": "", "a b.c": "", "a\nb": "", "a\u202e.b": "", "a/b": "", strings.Repeat("ü", 64): "", "[1.2.3.4]": "",
	} {
		if got, err := mail.ASCIIDomain(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q became %q, %v", in, got, err)
		}
	}
}

func TestTextIsWrapped(t *testing.T) {
	word := strings.Repeat("w", 100)
	url := "https://example.org/" + strings.Repeat("u", 100)
	got := mail.Finish(strings.Join([]string{
		"", "", "Hello  ", "", "", "", "* " + strings.Repeat("seven77 ", 12), "  " + url, "See " + url + " for more of it", word, "--", "end", "", "",
	}, "\r\n"))
	want := strings.Join([]string{
		"Hello", "",
		"* seven77 seven77 seven77 seven77 seven77 seven77 seven77 seven77 seven77",
		"  seven77 seven77 seven77",
		"  " + url, "See", url, "for more of it",
		word[:78], word[78:], "-- ", "end", "",
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := mail.Finish(strings.Repeat("界", 60)); got != strings.Repeat("界", 39)+"\n"+strings.Repeat("界", 21)+"\n" {
		t.Errorf("%q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.SampledFrom([]rune("abc  \n*-ü界\u0301"))).Draw(t, "in") + strings.Repeat("x", rapid.IntRange(0, 200).Draw(t, "more"))
		got := mail.Finish(in)
		for l := range strings.SplitSeq(got, "\n") {
			if utf8.RuneCountInString(strings.ReplaceAll(l, "\u0301", "")) > 78 {
				t.Errorf("%q", l)
			}
		}
		squeeze := strings.NewReplacer(" ", "", "\n", "").Replace
		if squeeze(got) != squeeze(in) {
			t.Errorf("%q became %q", in, got)
		}
		// Two dashes that wrapping left alone would become a signature's.
		again, dashes := mail.Finish(got), strings.NewReplacer("-- \n", "--\n")
		if dashes.Replace(again) != dashes.Replace(got) && !strings.Contains(in, "*") {
			t.Errorf("%q became %q, and that %q", in, got, again)
		}
	})
}

// The text part is text: nothing of HTML, of templates or of Go is left in it.
func TestTextPartReadsWell(t *testing.T) {
	silent := renderer(t, func(o *mail.Options) { o.NoContent = true })
	bare := renderer(t, func(o *mail.Options) { o.PublicURL, o.InboxURL, o.PreferencesURL = "", "", "" })
	leftover := regexp.MustCompile(`undefined|<no value>|<nil>|null|%!|\{\{|map\[|&(amp|lt|gt|#\d+|quot);|</?[a-z]`)
	for name, d := range digests() {
		if name == "hostile" {
			continue
		}
		for _, r := range []*mail.Renderer{renderer(t, nil), silent, bare} {
			m, _ := render(t, r, d)
			if found := leftover.FindString(m.plain); found != "" {
				t.Errorf("%s: %s in\n%s", name, found, m.plain)
			}
			for l := range strings.SplitSeq(m.plain, "\n") {
				if utf8.RuneCountInString(l) > 78 && !strings.HasPrefix(strings.TrimSpace(l), "https://") {
					t.Errorf("%s: %q", name, l)
				}
				if strings.Contains(l, "://") && strings.Contains(strings.TrimSpace(l), " ") {
					t.Errorf("%s: a link shares its line: %q", name, l)
				}
			}
			if strings.Contains(m.plain, "\n\n\n") || strings.HasPrefix(m.plain, "\n") || strings.HasSuffix(m.plain, "\n\n") {
				t.Errorf("%s: too much room:\n%s", name, m.plain)
			}
			// Both parts say the same.
			for l := range strings.SplitSeq(m.plain, "\n") {
				if strings.HasPrefix(l, "* ") && !strings.Contains(html.UnescapeString(m.html), strings.TrimPrefix(l, "* ")) {
					t.Errorf("%s: the HTML doesn't say %q", name, l)
				}
			}
		}
	}
}

func TestTimesAreTheRecipients(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	moment := time.Date(2026, time.March, 8, 23, 5, 0, 0, time.UTC).In(berlin) // Monday there
	for locale, want := range map[string][2]string{
		"en":    {"Mon, Mar 9, 12:05 AM", "Mon, Mar 9, 2026, 12:05 AM"},
		"en-US": {"Mon, Mar 9, 12:05 AM", "Mon, Mar 9, 2026, 12:05 AM"},
		"en-GB": {"Mon, 9 Mar, 00:05", "Mon, 9 Mar 2026, 00:05"},
		"de":    {"Mo., 9. März, 00:05", "Mo., 9. März 2026, 00:05"},
		"de-AT": {"Mo., 9. März, 00:05", "Mo., 9. März 2026, 00:05"},
	} {
		if got := [2]string{mail.When(moment, locale, true), mail.When(moment, locale, false)}; got != want {
			t.Errorf("%s: %q, want %q", locale, got, want)
		}
	}

	d := digest(2)
	d.At = time.Date(2026, time.January, 1, 0, 30, 0, 0, time.UTC)
	d.Items[0].CreatedAt = d.At.Add(-10 * time.Minute)                          // 1 January in Berlin
	d.Items[1].CreatedAt = time.Date(2025, time.July, 1, 12, 0, 0, 0, time.UTC) // summer time
	m, _ := render(t, renderer(t, nil), d)
	for _, want := range []string{"Thu, Jan 1, 1:20 AM", "Tue, Jul 1, 2025, 2:00 PM", "Time zone: Europe/Berlin"} {
		if !strings.Contains(m.plain, want) || !strings.Contains(m.html, want) {
			t.Errorf("no %q in\n%s", want, m.plain)
		}
	}
	d.Zone = nil
	if m, _ := render(t, renderer(t, nil), d); !strings.Contains(m.plain, "Thu, Jan 1, 12:20 AM") || !strings.Contains(m.plain, "Time zone: UTC") {
		t.Errorf("without a zone:\n%s", m.plain)
	}
}
