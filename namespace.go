package trunkline

import (
	"strings"
	"time"
)

// A Namespace holds the settings of the channels whose names begin with it: a row of trunkline.namespace. One that has no
// row has the zero settings.
type Namespace struct {
	// Name is what stands before the first ":" of its channels; "default" for channels without one.
	Name string
	// Authorize names the application's function (user_id text, channel text, action text) → boolean, "" for none.
	Authorize string
	// AuthorizeCache is how long an answer of that function is believed, 0 to 1 h; 0: it is asked each time.
	AuthorizeCache time.Duration
	// AuthorizeTimeout is how long that function may take, 10 ms to 30 s.
	AuthorizeTimeout time.Duration
	// Anonymous lets users without a token ask Authorize; their user_id is "".
	Anonymous bool
	// Retention is how long messages are kept, 1 s to 36,500 days; 0 for ever.
	Retention time.Duration
	// Publish says whether clients may publish: nil only those whose token says so, true also those whom Authorize allows,
	// false nobody.
	Publish *bool
	// Presence says whether the channels have presence: nil for those whose token allows it, true for all, false for nobody.
	Presence *bool
	// JoinLeave says the same of join and leave events.
	JoinLeave *bool
	// Conflate is the interval of conflation: of a channel's messages the first is delivered at once, later ones at most once
	// in it, and the last always. 1 ms to 1 h; 0: every message is delivered.
	Conflate time.Duration
	// Ring is how many recent messages of a channel are kept in memory, at most 100,000; 0 for the engine's RingMessages.
	Ring int
	// PublishRate is how many messages a user may publish per second, over all connections of a node, at most 1,000,000; 0: the
	// server's limit.
	PublishRate float64
}

// Defaults of a new namespace, as the table has them.
const (
	defaultAuthorizeCache   = 10 * time.Second
	defaultAuthorizeTimeout = time.Second
)

// NewNamespace returns the settings that a new row has: answers believed for 10 s that may take 1 s, all else zero.
func NewNamespace(name string) Namespace {
	return Namespace{Name: name, AuthorizeCache: defaultAuthorizeCache, AuthorizeTimeout: defaultAuthorizeTimeout}
}

// NamespaceOf returns the namespace that a channel belongs to.
func NamespaceOf(channel string) string {
	if name, _, ok := strings.Cut(channel, ":"); ok {
		return name
	}
	return "default"
}
