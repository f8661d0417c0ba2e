package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/trunkline/trunkline"
)

// Bounds of what a token may say.
const (
	maxSubscriptions = 128 // channels and subs of a connection token together
	maxDepth         = 32  // arrays and objects within each other
	maxName          = 255 // bytes of sub and jti: a user's id is also a message's sender
)

// claims are what a verified token says.
type claims struct {
	subject, id, issuer, channel   string
	audience                       []string
	issuedAt, notBefore, expiresAt time.Time
	connectionEnd                  *time.Time // expire_at: the zero time for never, nil if it isn't there
	info, meta, data               json.RawMessage
	caps                           []Capability
	subscriptions                  map[string]Subscription
}

// claimError says which claim can't be taken.
type claimError struct{ name, problem string }

func (e *claimError) Error() string { return fmt.Sprintf("claim %q %s", e.name, e.problem) }

// readClaims reads the payload of a token whose signature was verified. Names are taken as they are written: encoding/json
// would take SUB for sub.
func readClaims(payload []byte) (*claims, error) {
	if tooDeep(payload) {
		return nil, fmt.Errorf("its claims are nested more than %d deep", maxDepth)
	}
	if !utf8.Valid(payload) {
		return nil, errors.New("its claims are not UTF-8")
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(payload, &all); err != nil || all == nil {
		return nil, errors.New("its claims are no JSON object")
	}
	var c claims
	for _, claim := range []struct {
		name string
		read func(json.RawMessage) string
	}{
		{"sub", readName(&c.subject)},
		{"jti", readName(&c.id)},
		{"iss", readText(&c.issuer)},
		{"aud", c.readAudience},
		{"iat", readTime(&c.issuedAt)},
		{"nbf", readTime(&c.notBefore)},
		{"exp", readTime(&c.expiresAt)},
		{"expire_at", c.readEnd},
		{"channel", readChannel(&c.channel)},
		{"info", readValue(&c.info)},
		{"meta", readValue(&c.meta)},
		{"data", readValue(&c.data)},
		{"caps", c.readCaps},
		{"subs", c.readSubs},
		{"channels", c.readChannels},
	} {
		raw, ok := all[claim.name]
		if !ok || string(raw) == "null" {
			continue
		}
		if problem := claim.read(raw); problem != "" {
			return nil, &claimError{claim.name, problem}
		}
	}
	return &c, nil
}

func readText(to *string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if json.Unmarshal(raw, to) != nil {
			return "is not a string"
		}
		return ""
	}
}

// readName reads what names somebody or something: it becomes a parameter of SQL and a sender.
func readName(to *string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if json.Unmarshal(raw, to) != nil {
			return "is not a string: write numbers with quotes"
		}
		if len(*to) > maxName {
			return fmt.Sprintf("is %d bytes long, more than %d", len(*to), maxName)
		}
		if !utf8.ValidString(*to) || strings.ContainsFunc(*to, unicode.IsControl) {
			return "contains a control character"
		}
		return ""
	}
}

func readChannel(to *string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if json.Unmarshal(raw, to) != nil {
			return "is not a string"
		}
		return channelProblem(*to)
	}
}

// channelProblem says why a token can't name a channel, or "".
func channelProblem(channel string) string {
	if err := trunkline.CheckChannel(channel); err != nil {
		return "names no channel: " + err.Error()
	}
	if isReserved(channel) {
		return fmt.Sprintf("names %q: channels of trunkline: are Trunkline's own", channel)
	}
	return ""
}

// lastTime is the end of the year 9999: no sane token names a later time, and time.Time can be compared up to it.
const lastTime = 253402300799

// readTime reads seconds since 1970, with a fraction if need be.
func readTime(to *time.Time) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var seconds float64
		if json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > lastTime {
			return "is not a time: write the seconds since 1970 as a number"
		}
		whole, fraction := math.Modf(seconds)
		*to = time.Unix(int64(whole), int64(fraction*1e9))
		return ""
	}
}

func (c *claims) readEnd(raw json.RawMessage) string {
	var end time.Time
	if problem := readTime(&end)(raw); problem != "" {
		return problem
	}
	if end.Unix() == 0 {
		end = time.Time{} // 0 is never, as in Centrifugo
	}
	c.connectionEnd = &end
	return ""
}

func (c *claims) readAudience(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		c.audience = []string{one}
		return ""
	}
	if json.Unmarshal(raw, &c.audience) != nil {
		return "is neither a string nor an array of strings"
	}
	return ""
}

func readValue(to *json.RawMessage) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		*to = slices.Clone(raw)
		return ""
	}
}

func (c *claims) readCaps(raw json.RawMessage) string {
	if json.Unmarshal(raw, &c.caps) != nil {
		return `is not an array such as [{"channels":["room:*"],"match":"wildcard","allow":["sub","hst"]}]`
	}
	return ""
}

func (c *claims) readChannels(raw json.RawMessage) string {
	var channels []string
	if json.Unmarshal(raw, &channels) != nil {
		return "is not an array of strings"
	}
	for _, channel := range channels {
		if _, ok := c.subscriptions[channel]; ok { // of subs, which says more
			continue
		}
		if problem := c.subscribe(channel, Subscription{}); problem != "" {
			return problem
		}
	}
	return ""
}

func (c *claims) readSubs(raw json.RawMessage) string {
	var subs map[string]struct {
		Info, Data json.RawMessage
		ExpireAt   json.RawMessage `json:"expire_at"`
	}
	if json.Unmarshal(raw, &subs) != nil {
		return `is not an object such as {"news": {"info": {}}}`
	}
	for _, channel := range slices.Sorted(maps.Keys(subs)) { // sorted: the same token gets the same sentence
		sub := subs[channel]
		s := Subscription{Info: notNull(sub.Info), Data: notNull(sub.Data)}
		if notNull(sub.ExpireAt) != nil {
			if problem := readTime(&s.ExpiresAt)(sub.ExpireAt); problem != "" {
				return fmt.Sprintf("has for %q an expire_at that %s", channel, problem)
			}
			if s.ExpiresAt.Unix() == 0 {
				s.ExpiresAt = time.Time{}
			}
		}
		if problem := c.subscribe(channel, s); problem != "" {
			return problem
		}
	}
	return ""
}

func (c *claims) subscribe(channel string, s Subscription) string {
	if problem := channelProblem(channel); problem != "" {
		return problem
	}
	if c.subscriptions == nil {
		c.subscriptions = make(map[string]Subscription)
	}
	if c.subscriptions[channel] = s; len(c.subscriptions) > maxSubscriptions {
		return fmt.Sprintf("makes more than %d subscriptions: let the client subscribe", maxSubscriptions)
	}
	return ""
}

func notNull(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// tooDeep tells whether JSON nests deeper than maxDepth: info is handed to others, whose parsers may recurse.
func tooDeep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
