package trunkline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// NamespaceJSON is how a [Namespace] is written in JSON, by REST and by the command line: the columns of its row, durations
// in seconds (fractions allowed, such as 0.25). What is left out or null has its default.
type NamespaceJSON struct {
	Name             string   `json:"name" doc:"What stands before the first ':' of its channels; default for channels without one. 1 to 64 bytes."`
	Authorize        string   `json:"authorize,omitempty" doc:"The application's function (user_id text, channel text, action text) returns boolean, such as app.may."`
	AuthorizeCache   *float64 `json:"authorize_cache,omitempty" doc:"Seconds for which its answer is believed, 0 to 3600; 0: it is asked each time. Default 10."`
	AuthorizeTimeout *float64 `json:"authorize_timeout,omitempty" doc:"Seconds that it may take, 0.01 to 30. Default 1."`
	Anonymous        bool     `json:"anonymous,omitempty" doc:"Whether users without a token may ask it."`
	Retention        *float64 `json:"retention,omitempty" doc:"Seconds for which messages are kept, 1 to 3153600000; left out, for ever."`
	Publish          *bool    `json:"publish,omitempty" doc:"Whether clients may publish: left out, those whose token says so; true, also those whom the function allows; false, nobody."`
	Presence         *bool    `json:"presence,omitempty" doc:"Whether channels have presence: left out, for those whose token says so; true, for all; false, for nobody."`
	JoinLeave        *bool    `json:"join_leave,omitempty" doc:"The same of join and leave events."`
	Conflate         *float64 `json:"conflate,omitempty" doc:"Seconds in which at most one message is delivered, 0.001 to 3600, the last always; left out, every message is."`
	Ring             *int     `json:"ring,omitempty" doc:"How many recent messages of a channel a node keeps in memory, 1 to 100000; left out, as the node is configured."`
	PublishRate      *float64 `json:"publish_rate,omitempty" doc:"Messages per second that a user may publish, above 0 and at most 1000000; left out, as the node is configured."`
}

// JSON returns the settings as they are written.
func (n Namespace) JSON() NamespaceJSON {
	cache, timeout := n.AuthorizeCache.Seconds(), n.AuthorizeTimeout.Seconds()
	j := NamespaceJSON{
		Name: n.Name, Authorize: n.Authorize, AuthorizeCache: &cache, AuthorizeTimeout: &timeout, Anonymous: n.Anonymous,
		Retention: unlessZero(n.Retention.Seconds()), Publish: n.Publish, Presence: n.Presence, JoinLeave: n.JoinLeave,
		Conflate: unlessZero(n.Conflate.Seconds()), Ring: unlessZero(n.Ring), PublishRate: unlessZero(n.PublishRate),
	}
	if n.AuthorizeTimeout == 0 {
		j.AuthorizeTimeout = nil
	}
	return j
}

// Namespace returns the settings that were written. An *[ArgumentError] names a duration that can't be one, or a zero where leaving out means none; what else is wrong
// with them [SetNamespace] says.
func (j *NamespaceJSON) Namespace() (Namespace, error) {
	n := NewNamespace(j.Name)
	n.Authorize, n.Anonymous, n.Publish, n.Presence, n.JoinLeave = j.Authorize, j.Anonymous, j.Publish, j.Presence, j.JoinLeave
	if j.Ring != nil {
		if *j.Ring == 0 {
			return Namespace{}, j.refused("ring", "0", "between 1 and 100000 messages, or leave it out for the node's own size")
		}
		n.Ring = *j.Ring
	}
	if j.PublishRate != nil {
		if *j.PublishRate == 0 {
			return Namespace{}, j.refused("publish_rate", "0", "a number above 0, 1000000 messages per second at most, or leave it out for the server's limit")
		}
		n.PublishRate = *j.PublishRate
	}
	for _, field := range []struct {
		name    string
		seconds *float64
		to      *time.Duration
		least   float64
		most    float64
	}{
		{"authorize_cache", j.AuthorizeCache, &n.AuthorizeCache, 0, 3600},
		{"authorize_timeout", j.AuthorizeTimeout, &n.AuthorizeTimeout, 0.01, 30},
		{"retention", j.Retention, &n.Retention, 1, 36500 * 86400},
		{"conflate", j.Conflate, &n.Conflate, 0.001, 3600},
	} {
		if field.seconds == nil {
			continue
		}
		if !(*field.seconds >= field.least && *field.seconds <= field.most) { // NaN is neither
			choose := fmt.Sprintf("between %v and %.0f seconds", field.least, field.most)
			if without := map[string]string{"retention": "keep messages for ever", "conflate": "deliver every message"}[field.name]; without != "" {
				choose += ", or leave it out to " + without
			}
			return Namespace{}, j.refused(field.name, fmt.Sprintf("%v seconds", *field.seconds), choose)
		}
		*field.to = time.Duration(math.Round(*field.seconds*1e6)) * time.Microsecond
	}
	return n, nil
}

// refused is the error of a setting that can't have its value.
func (j *NamespaceJSON) refused(name, value, choose string) error {
	return &ArgumentError{
		Argument: name, Problem: fmt.Sprintf("%s of namespace %q cannot be %s", name, clip(j.Name), value), Fix: "Choose " + choose,
	}
}

// MarshalJSON writes the settings as [NamespaceJSON].
func (n Namespace) MarshalJSON() ([]byte, error) { return json.Marshal(n.JSON()) }

// UnmarshalJSON reads what is written as [NamespaceJSON]; a field that it doesn't have is an error.
func (n *Namespace) UnmarshalJSON(text []byte) error {
	var j NamespaceJSON
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&j); err != nil {
		return err
	}
	read, err := j.Namespace()
	if err != nil {
		return err
	}
	*n = read
	return nil
}
