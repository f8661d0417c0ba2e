package auth

import (
	"regexp"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func TestCapsMatch(t *testing.T) {
	for _, test := range []struct {
		match, pattern, channel string
		want                    bool
	}{
		{"", "room:1", "room:1", true},
		{"", "room:*", "room:1", false}, // a star is only a star
		{"", "room:*", "room:*", true},
		{"", "room", "room:1", false},
		{"wildcard", "room:*", "room:1", true},
		{"wildcard", "room:*", "room:", true},
		{"wildcard", "room:*", "room", false},
		{"wildcard", "room:*", "xroom:1", false},
		{"wildcard", "room:*", "room:1:2", true},
		{"wildcard", "*", "anything", true},
		{"wildcard", "*:chat", "room:1:chat", true},
		{"wildcard", "*:chat", "room:1:chat2", false},
		{"wildcard", "room:*:chat", "room::chat", true},
		{"wildcard", "room:*:chat", "room:chat", false}, // the colon isn't shared
		{"wildcard", "a*b*c", "a-b-b-c", true},
		{"wildcard", "a*b*c", "a-c-b", false},
		{"wildcard", "a**c", "ac", true},
		{"wildcard", "*aab*", "aaaab", true},
		{"wildcard", "*ab", "abab", true},
		{"wildcard", "a.c", "abc", false}, // no expression
		{"wildcard", "room:1", "room:1", true},
		{"regex", "room:[0-9]+", "room:12", true},
		{"regex", "room:[0-9]+", "room:12x", false},
		{"regex", "room:[0-9]+", "xroom:12", false},
		{"regex", "a|b", "a", true},
		{"regex", "a|b", "ax", false},
		{"regex", "(?m)^a$", "b\na", false},
		{"regex", "a", "A", false},
		{"regex", "(?i)a", "A", true},
	} {
		rules, err := compileCaps([]Capability{{Channels: []string{"other", test.pattern}, Match: test.match, Allow: []string{"sub", "hst"}}})
		if err != nil {
			t.Fatalf("%q: %v", test.pattern, err)
		}
		for action, want := range map[Action]bool{Subscribe: test.want, History: test.want, Publish: false, Presence: false, "": false} {
			if got := allows(rules, test.channel, action); got != want {
				t.Errorf("%s %q on %q: %s %t, want %t", test.match, test.pattern, test.channel, action, got, want)
			}
		}
	}
}

func TestCapsDecideWithoutAllocating(t *testing.T) {
	g := offline(t, Config{Secret: testSecret})
	id := connect(t, g, token(t, jwt.MapClaims{"sub": "ann", "caps": []any{
		map[string]any{"channels": []string{"news"}, "allow": []string{"sub"}},
		map[string]any{"channels": []string{"room:*"}, "match": "wildcard", "allow": []string{"sub"}},
	}}))
	ctx := testContext(t)
	if n := testing.AllocsPerRun(100, func() {
		if err := g.Allow(ctx, id, "room:1", Subscribe); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCaps compares with what a regular expression says, and looks for panics.
func FuzzCaps(f *testing.F) {
	f.Add("room:*", "room:1")
	f.Add("a*b*c", "abbc")
	f.Add("**", "")
	f.Add("*aab", "aaab")
	f.Add("a)|(?:b", "b")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, pattern, channel string) {
		for _, match := range []string{matchExact, matchWildcard, matchRegex} {
			rules, err := compileCaps([]Capability{{Channels: []string{pattern}, Match: match, Allow: []string{"sub"}}})
			if err != nil {
				continue
			}
			got := allows(rules, channel, Subscribe)
			switch match {
			case matchExact:
				if got != (pattern == channel) {
					t.Errorf("exact %q covers %q: %t", pattern, channel, got)
				}
			case matchWildcard:
				parts := strings.Split(pattern, "*")
				for i := range parts {
					parts[i] = regexp.QuoteMeta(parts[i])
				}
				expression, err := regexp.Compile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
				if err != nil {
					continue // not UTF-8
				}
				if want := expression.MatchString(channel); got != want {
					t.Errorf("wildcard %q covers %q: %t, want %t", pattern, channel, got, want)
				}
			}
		}
	})
}
