package digest

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestAddressesThatMailCanBeSentTo(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"ann@example.org", "root@localhost", "Ann.Lee+tag@mail.example.co.uk", "o'brien@example.com", "!#$%&'*+/=?^_`{|}~-@example.com",
		"müller@münchen.example", "用户@例子.广告", strings.Repeat("a", 64) + "@example.com", "a@" + strings.Repeat("b", 63) + ".example",
		"a@" + strings.Repeat("b.", 125) + "c", "a@4you.example", "a@1.2.3.example",
	} {
		if problem := addressProblem(address); problem != "" {
			t.Errorf("%q: %s", address, problem)
		}
	}
}

func TestAddressesThatMailCantBeSentTo(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"":                                     `it doesn't have one "@"`,
		"ann":                                  `it doesn't have one "@"`,
		"a@b@c.org":                            `it doesn't have one "@"`,
		"@example.org":                         `what stands before its "@" can't be`,
		".ann@example.org":                     `what stands before its "@" can't be`,
		"a..nn@example.org":                    `what stands before its "@" can't be`,
		strings.Repeat("a", 65) + "@b.org":     `what stands before its "@" can't be`,
		"ann@":                                 "its domain ends in a number, or there is none",
		"ann@127.0.0.1":                        "its domain ends in a number, or there is none",
		"ann@example..org":                     "its domain can't be",
		"ann@exam_ple.org":                     "its domain can't be",
		"ann@-example.org":                     "its domain can't be",
		"a@" + strings.Repeat("b", 64):         "its domain can't be",
		"a@" + strings.Repeat("b.", 126) + "c": "it is too long",
		"Ann <ann@example.org>":                "it contains a space, a control character or an invisible one",
		"ann@example.org\nBcc: x@y.org":        "it contains a space, a control character or an invisible one",
		"ann@example.org\u202e":                "it contains a space, a control character or an invisible one",
		"ann\xff@example.org":                  "it contains a space, a control character or an invisible one",
		"<ann@example.org>":                    `it contains one of < > ( ) [ ] , ; : " \`,
		"ann@[127.0.0.1]":                      `it contains one of < > ( ) [ ] , ; : " \`,
		"ann@example.org,bob@example.org":      `it contains one of < > ( ) [ ] , ; : " \`,
	} {
		if got := addressProblem(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

// Otherwise an address could be stored that is never mailed to, or a mail be claimed for one that can't be.
func TestTheDatabaseJudgesAddressesAlike(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	pieces := rapid.SampledFrom([]string{
		"a", "B", "7", "@", ".", "-", "_", "+", "ü", "例", " ", "\n", "\x7f", "\u00a0", "\u00ad", "\u200b", "\u202e", "\u2065", "\ufeff",
		"<", ")", "[", ",", ":", `"`, `\`, "/", "'", "~", "example", ".org", "@example.org",
		strings.Repeat("x", 31), strings.Repeat("y", 32),
	})
	// Mostly what looks like an address, with something in it that may not belong there.
	likely := rapid.Custom(func(t *rapid.T) string {
		address := rapid.SampledFrom([]string{"ann@example.org", "a.b@c", "müller@münchen.example"}).Draw(t, "address")
		for range rapid.IntRange(0, 3).Draw(t, "pieces") {
			at := rapid.IntRange(0, len([]rune(address))).Draw(t, "at")
			runes := []rune(address)
			address = string(runes[:at]) + pieces.Draw(t, "piece") + string(runes[at:])
		}
		return address
	})
	unlikely := rapid.Map(rapid.SliceOfN(pieces, 0, 10), func(s []string) string { return strings.Join(s, "") })
	rapid.Check(t, func(t *rapid.T) {
		addresses := append(rapid.SliceOfN(likely, 1, 30).Draw(t, "likely"), rapid.SliceOfN(unlikely, 1, 30).Draw(t, "unlikely")...)
		rows, err := conn.Query(ctx,
			"SELECT coalesce(trunkline.email_problem(a), '') FROM unnest($1::text[]) WITH ORDINALITY u(a, n) ORDER BY n", addresses)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for _, address := range addresses {
			var theirs string
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
			if err := rows.Scan(&theirs); err != nil {
				t.Fatal(err)
			}
			if ours := addressProblem(address); (ours == "") != (theirs == "") {
				t.Fatalf("%q: here %q, in the database %q", address, ours, theirs)
			}
		}
	})
}
