package auth

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Bounds of what a token may list. A connection keeps its rules for as long as it is open, and walks through them with each
// question.
const (
	maxCaps     = 100 // capabilities in a token
	maxPatterns = 500 // channels in all of them
	maxPattern  = 255 // bytes, as of a channel
	// maxExpressions bounds what regular expressions come to when repetitions are written out, and so the memory they take and
	// the time they match for: a{1000} is short.
	maxExpressions = 2000
)

// Values of a capability's match.
const (
	matchExact    = ""
	matchWildcard = "wildcard"
	matchRegex    = "regex"
)

// actionSet is a set of actions, one bit each.
type actionSet uint8

const (
	bitSubscribe actionSet = 1 << iota
	bitPublish
	bitHistory
	bitPresence
)

func (a Action) bit() actionSet {
	switch a {
	case Subscribe:
		return bitSubscribe
	case Publish:
		return bitPublish
	case History:
		return bitHistory
	case Presence:
		return bitPresence
	}
	return 0
}

// capNames are what caps call the actions.
var capNames = map[string]actionSet{"sub": bitSubscribe, "pub": bitPublish, "hst": bitHistory, "prs": bitPresence}

// A rule is a capability made ready to be asked.
type rule struct {
	allow    actionSet
	exact    []string
	wildcard []string
	regex    []*regexp.Regexp
}

// compileCaps makes rules of what a token lists. An error is a sentence for whoever made the token.
func compileCaps(caps []Capability) ([]rule, error) {
	if len(caps) > maxCaps {
		return nil, fmt.Errorf("caps has %d entries, more than %d: use wildcards, or the namespace's function", len(caps), maxCaps)
	}
	rules := make([]rule, 0, len(caps))
	patterns, expressions := 0, 0
	for i, c := range caps {
		if patterns += len(c.Channels); patterns > maxPatterns {
			return nil, fmt.Errorf("caps names more than %d channels: use wildcards, or the namespace's function", maxPatterns)
		}
		r, err := compileCap(c, &expressions)
		if err != nil {
			return nil, fmt.Errorf("caps[%d]: %w", i, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// compileCap adds to expressions what the capability's come to.
func compileCap(c Capability, expressions *int) (r rule, err error) {
	if len(c.Channels) == 0 {
		return r, fmt.Errorf("channels is empty: name at least one")
	}
	for _, name := range c.Allow {
		bit, ok := capNames[name]
		if !ok {
			return r, fmt.Errorf("allow has %q: it takes sub, pub, hst and prs", clip(name))
		}
		r.allow |= bit
	}
	if r.allow == 0 {
		return r, fmt.Errorf("allow is empty: it takes sub, pub, hst and prs")
	}
	for _, pattern := range c.Channels {
		if pattern == "" || len(pattern) > maxPattern {
			return r, fmt.Errorf("channel %q is %d bytes long: it has 1 to %d", clip(pattern), len(pattern), maxPattern)
		}
	}
	switch c.Match {
	case matchExact:
		r.exact = c.Channels
	case matchWildcard:
		r.wildcard = c.Channels
	case matchRegex:
		for _, pattern := range c.Channels {
			// By itself first: a)|(b would be something else within the brackets below.
			parsed, err := syntax.Parse(pattern, syntax.Perl)
			if err != nil {
				return r, fmt.Errorf("channel %q is no regular expression of RE2's: %w", clip(pattern), err)
			}
			if *expressions += writtenOut(parsed); *expressions > maxExpressions {
				return r, fmt.Errorf("channel %q makes the regular expressions too long: use fewer, and smaller repetitions", clip(pattern))
			}
			whole, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
			if err != nil {
				return r, fmt.Errorf("channel %q is no regular expression of RE2's: %w", clip(pattern), err)
			}
			r.regex = append(r.regex, whole)
		}
	default:
		return r, fmt.Errorf("match is %q: leave it out for exact names, or use wildcard or regex", clip(c.Match))
	}
	return r, nil
}

// writtenOut is about how many steps an expression has when its repetitions are written out.
func writtenOut(expression *syntax.Regexp) int {
	size := 1 + len(expression.Rune)/32 // classes of Unicode have hundreds of ranges, which cost little each
	for _, sub := range expression.Sub {
		size += writtenOut(sub)
	}
	if expression.Op == syntax.OpRepeat {
		size *= max(1, expression.Min, expression.Max)
	}
	return size
}

// allows tells whether one of the rules allows an action on a channel.
func allows(rules []rule, channel string, action Action) bool {
	bit := action.bit()
	for i := range rules {
		if r := &rules[i]; r.allow&bit != 0 && r.covers(channel) {
			return true
		}
	}
	return false
}

func (r *rule) covers(channel string) bool {
	if slices.Contains(r.exact, channel) {
		return true
	}
	for _, pattern := range r.wildcard {
		if matchesWildcard(pattern, channel) {
			return true
		}
	}
	for _, pattern := range r.regex {
		if pattern.MatchString(channel) {
			return true
		}
	}
	return false
}

// matchesWildcard tells whether a pattern, in which each * stands for any text, none included, is all of a name. Each part
// between stars is taken where it first occurs, which leaves the most for those behind it: nothing need be tried twice.
func matchesWildcard(pattern, name string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		part, behind, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], behind
	}
}

// clip shortens what a stranger sent, for a sentence.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
