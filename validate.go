package trunkline

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of names, in bytes.
const (
	maxChannel    = 255
	maxRawChannel = 63 // LISTEN truncates longer names in silence
)

const channelFix = "A channel is 1 to 255 bytes without control characters, such as project:42"

// CheckChannel says why a name cannot be published or subscribed to, as an *[ArgumentError], or returns nil.
func CheckChannel(channel string) error {
	var problem string
	switch {
	case channel == "":
		problem = "a channel is empty"
	case len(channel) > maxChannel:
		problem = fmt.Sprintf("channel %q is %d bytes long, more than %d", clip(channel), len(channel), maxChannel)
	case !utf8.ValidString(channel):
		problem = fmt.Sprintf("channel %q is not UTF-8", channel)
	case strings.ContainsFunc(channel, unicode.IsControl):
		problem = fmt.Sprintf("channel %q contains a control character", channel)
	default:
		return nil
	}
	return &ArgumentError{Argument: "channel", Problem: problem, Fix: channelFix}
}

func checkRawChannel(channel string) error {
	if channel == "" || len(channel) > maxRawChannel || !utf8.ValidString(channel) || strings.ContainsRune(channel, 0) {
		return &ArgumentError{
			Argument: "channel",
			Problem:  fmt.Sprintf("raw channel %q is %d bytes long", clip(channel), len(channel)),
			Fix:      "LISTEN and NOTIFY take names of 1 to 63 bytes",
		}
	}
	return nil
}

// check finds what the database would refuse, except what only it knows: the payload limit and used keys.
func (p *Publication) check() error {
	if err := CheckChannel(p.Channel); err != nil {
		return err
	}
	if strings.HasPrefix(p.Channel, "trunkline:") {
		return &ArgumentError{
			Argument: "channel",
			Problem:  fmt.Sprintf("channel %q is in the namespace \"trunkline\", which is Trunkline's own", p.Channel),
			Fix:      "Choose another namespace",
		}
	}
	if !json.Valid(p.Payload) || !utf8.Valid(p.Payload) {
		return &ArgumentError{
			Argument: "payload",
			Problem:  fmt.Sprintf("the payload for channel %q is not JSON: %s", p.Channel, clip(string(p.Payload))),
			Fix:      `A text is written with quotes, such as "hello"`,
		}
	}
	for _, field := range []struct{ name, value string }{{"sender", p.Sender}, {"key", p.Key}} {
		if len(field.value) > 255 || !utf8.ValidString(field.value) || strings.ContainsFunc(field.value, unicode.IsControl) {
			return &ArgumentError{
				Argument: field.name,
				Problem:  fmt.Sprintf("%s %q is over 255 bytes, not UTF-8, or contains a control character", field.name, clip(field.value)),
				Fix:      "Use a short identifier",
			}
		}
	}
	return nil
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	for i := range s {
		if i >= most {
			return s[:i] + "…"
		}
	}
	return s
}
