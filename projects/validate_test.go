package projects

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wrong is the problem of an *InvalidError, "" for none.
func wrong(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var invalid *InvalidError
	if !errors.As(err, &invalid) || invalid.Field != "title" {
		t.Fatalf("the error is %#v", err)
	}
	return invalid.Problem
}

func TestTextsAreTakenOrRefusedWithReason(t *testing.T) {
	const bold = "\u0308" // a diaeresis with nothing below
	for name, test := range map[string]struct {
		check   func(field, what, value string, most int) (string, error)
		value   string
		want    string
		problem string
	}{
		"trimmed":                   {line, " \t Paint the door\u00a0\n", "Paint the door", ""},
		"empty":                     {line, "", "", "The title is empty: write at least one character."},
		"spaces":                    {line, " \u2003 ", "", "The title is empty: write at least one character."},
		"nothing to see":            {line, "\u200b\u200d", "", "The title is empty: write at least one character."},
		"a mark alone":              {line, bold, "", "The title is empty: write at least one character."},
		"counted in characters":     {line, strings.Repeat("ß", 20), strings.Repeat("ß", 20), ""},
		"one too long":              {line, strings.Repeat("👍", 21), "", "The title has 21 characters, and may have 20: shorten it."},
		"far too long":              {line, strings.Repeat("x", 12345), "", "The title has 12,345 characters, and may have 20: shorten it."},
		"line break":                {line, "a\nb", "", "The title contains the control character U+000A: remove it."},
		"bell":                      {line, "a\x07b", "", "The title contains the control character U+0007: remove it."},
		"NUL":                       {line, "a\x00b", "", "The title contains the control character U+0000: remove it."},
		"turned around":             {line, "a\u202eb", "", "The title contains the control character U+202E: remove it."},
		"not UTF-8":                 {line, "a\xffb", "", "The title isn't UTF-8: write it anew."},
		"a family":                  {line, "👨‍👩‍👧", "👨‍👩‍👧", ""},
		"optional and empty":        {optionalLine, "  ", "", ""},
		"optional line break":       {optionalLine, "a\nb", "", "The title contains the control character U+000A: remove it."},
		"several lines":             {text, " a\r\nb\rc\td \n", "a\nb\nc\td", ""},
		"several lines, empty":      {text, "\n", "", ""},
		"several lines with a bell": {text, "a\n\x07", "", "The title contains the control character U+0007: remove it."},
		"several lines, NUL":        {text, "a\x00\n", "", "The title contains the control character U+0000: remove it."},
		"several lines, too long":   {text, strings.Repeat("x\n", 11), "", "The title has 21 characters, and may have 20: shorten it."},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.check("title", "the title", test.value, 20)
			if got != test.want || wrong(t, err) != test.problem {
				t.Errorf("%q, %q; want %q, %q", got, wrong(t, err), test.want, test.problem)
			}
		})
	}
}

func TestDates(t *testing.T) {
	for _, value := range []Date{"2026-02-28", "2028-02-29", "2000-01-01", "2999-12-31"} {
		if err := checkDate("title", &value); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	for value, problem := range map[Date]string{
		"":                     "“” is no date: write it as YYYY-MM-DD, such as 2027-03-31.",
		"2026-02-30":           "“2026-02-30” is no date: write it as YYYY-MM-DD, such as 2027-03-31.",
		"2026-2-3":             "“2026-2-3” is no date: write it as YYYY-MM-DD, such as 2027-03-31.",
		"31.12.2026":           "“31.12.2026” is no date: write it as YYYY-MM-DD, such as 2027-03-31.",
		"2026-01-01T00:00:00Z": "“2026-01-01T00:00:00Z” is no date: write it as YYYY-MM-DD, such as 2027-03-31.",
		"1999-12-31":           "1999-12-31 is too far away: choose a day from 2000-01-01 to 2999-12-31.",
		"3000-01-01":           "3000-01-01 is too far away: choose a day from 2000-01-01 to 2999-12-31.",
	} {
		if got := wrong(t, checkDate("title", &value)); got != problem {
			t.Errorf("%s: %q", value, got)
		}
	}
	if err := checkDate("title", nil); err != nil {
		t.Error(err)
	}
}

func TestEmailAddresses(t *testing.T) {
	const spaced = " Ann.Berg@Example.COM "
	for given, want := range map[string]string{
		spaced:                        "ann.berg@example.com",
		"o'hara+news@mail.example.co": "o'hara+news@mail.example.co",
		"jürgen@müller.example":       "jürgen@müller.example",
		strings.Repeat("a", 242) + "@b.example.x": strings.Repeat("a", 242) + "@b.example.x",
	} {
		got, err := CheckEmail("title", given)
		if got != want || err != nil {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
	for _, given := range []string{
		"", "ann", "ann@", "@example.com", "Ann <ann@example.com>", "<ann@example.com>", "ann@example.com, ben@example.com", "ann berg@example.com",
		`"ann berg"@example.com`, "ann@[127.0.0.1]", "ann@example.com\r\nBcc: x@example.com", "ann@example..com", "ann\x00@example.com", "a\xff@example.com",
		strings.Repeat("a", 243) + "@b.example.x",
	} {
		got, err := CheckEmail("title", given)
		if got != "" || wrong(t, err) == "" || strings.ContainsAny(wrong(t, err), "\r\n\x00") {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
}

func TestOptionalTellsAbsentNullAndValueApart(t *testing.T) {
	type change struct {
		Title Optional[string] `json:"title,omitzero"`
		DueOn Optional[*Date]  `json:"due_on,omitzero"`
	}
	day := Date("2027-01-01")
	for body, want := range map[string]change{
		`{}`:                                  {},
		`{"title":"a","due_on":"2027-01-01"}`: {Some("a"), Some(&day)},
		`{"due_on":null}`:                     {DueOn: Some[*Date](nil)},
		`{"title":""}`:                        {Title: Some("")},
		`{"title":null}`:                      {Title: Optional[string]{Null: true}},
	} {
		var got change
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
		if again, err := json.Marshal(got); err != nil || string(again) != body {
			t.Errorf("%s becomes %s: %v", body, again, err)
		}
	}
	for _, body := range []string{`{"title":1}`, `{"due_on":5}`} {
		if err := json.Unmarshal([]byte(body), &change{}); err == nil {
			t.Errorf("%s is taken", body)
		}
	}
}
