package realtime

import (
	"errors"
	"unicode/utf8"

	"github.com/centrifugal/centrifuge"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// Why the server ends a subscription. Clients subscribe again after codes from 2500 on.
var (
	// serverUnsubscribe ends a subscription for good, until the application subscribes anew.
	serverUnsubscribe = centrifuge.Unsubscribe{Code: centrifuge.UnsubscribeCodeServer, Reason: "unsubscribed by the server"}
	// insufficientState asks the client to recover, which tells it whether that is possible.
	insufficientState = centrifuge.Unsubscribe{Code: centrifuge.UnsubscribeCodeInsufficient, Reason: "insufficient state"}
	// settingsChanged asks the client to subscribe again under the namespace's new settings.
	settingsChanged = centrifuge.Unsubscribe{Code: 2600, Reason: "settings changed"}
	// accessChanged asks the client to subscribe again because something was revoked: what it may is decided anew, and who may
	// not is refused with error 103, for good.
	accessChanged = centrifuge.Unsubscribe{Code: 2601, Reason: "access changed"}
)

// Why the server ends a connection, where it isn't one of the library's reasons. Clients stay away after codes from 3500 to 3999
// and from 4500 to 4999.
var (
	// forceDisconnect is trunkline.disconnect: 3503.
	forceDisconnect = centrifuge.Disconnect{Code: centrifuge.DisconnectForceNoReconnect.Code, Reason: "disconnected by the server"}
	// tooManyConnections: 3504.
	tooManyConnections = centrifuge.Disconnect{Code: centrifuge.DisconnectConnectionLimit.Code, Reason: "too many connections of this user"}
	// full asks to try again later, perhaps elsewhere: 3004 is one that clients come back after.
	full = centrifuge.Disconnect{Code: centrifuge.DisconnectServerError.Code, Reason: "the server is full: try again later"}
)

// maxReason is the longest reason of a WebSocket close frame, in bytes.
const maxReason = 120

func tryAgain(message string) *centrifuge.Error {
	return &centrifuge.Error{Code: centrifuge.ErrorInternal.Code, Message: message, Temporary: true}
}

func badRequest(message string) *centrifuge.Error {
	return &centrifuge.Error{Code: centrifuge.ErrorBadRequest.Code, Message: message}
}

func tooMany(message string) *centrifuge.Error {
	return &centrifuge.Error{Code: centrifuge.ErrorTooManyRequests.Code, Message: message, Temporary: true}
}

// refused turns the gate's answer about a channel into the protocol's.
func refused(err error) error {
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) {
		return tryAgain("it could not be decided: try again")
	}
	switch refusal.Code {
	case auth.Expired:
		return centrifuge.ErrorTokenExpired
	case auth.Unavailable:
		return tryAgain(refusal.Reason)
	default:
		return &centrifuge.Error{Code: centrifuge.ErrorPermissionDenied.Code, Message: refusal.Reason}
	}
}

// turnedAway turns the gate's answer about a connection into the protocol's: who presents a bad token shall not come back with it,
// who presents an expired one shall get another.
func turnedAway(err error) error {
	var refusal *auth.Refusal
	if errors.As(err, &refusal) {
		switch refusal.Code {
		case auth.BadToken:
			return centrifuge.Disconnect{Code: centrifuge.DisconnectInvalidToken.Code, Reason: clip(refusal.Reason, maxReason)}
		case auth.Denied:
			return centrifuge.Disconnect{Code: centrifuge.DisconnectPermissionDenied.Code, Reason: clip(refusal.Reason, maxReason)}
		default:
		}
	}
	return refused(err)
}

// checkChannel refuses names that no channel has.
func checkChannel(channel string) error {
	if err := trunkline.CheckChannel(channel); err != nil {
		return badRequest(err.Error())
	}
	return nil
}

// clip shortens a text to a number of bytes.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
