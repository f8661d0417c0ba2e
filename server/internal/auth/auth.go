// Package auth decides who may do what: it verifies tokens and API keys, asks the application's SQL functions, and forgets
// what was revoked.
package auth

import (
	"encoding/json"
	"fmt"
	"time"
)

// An Action is what somebody wants to do with a channel. Its text is what the application's function is asked with.
type Action string

// The actions. In a token's caps they are sub, pub, hst and prs.
const (
	Subscribe Action = "subscribe"
	Publish   Action = "publish"
	History   Action = "history"
	Presence  Action = "presence"
)

// A Scope is what an API key may be used for.
type Scope string

// The scopes. Admin includes the others.
const (
	ScopePublish Scope = "publish" // publish to any channel
	ScopeRead    Scope = "read"    // subscribe, history and presence of any channel
	ScopeAdmin   Scope = "admin"   // namespaces, revocation, disconnecting
)

// An Identity is somebody whose token or key was verified, or somebody anonymous.
type Identity struct {
	User      string // "" if anonymous, or a key
	Open      bool   // open mode: may do all
	Key       string // the API key's name, "" if it isn't one
	Scopes    []Scope
	TokenID   string          // jti
	IssuedAt  time.Time       // zero if the token doesn't say
	ExpiresAt time.Time       // zero if never; the clocks' skew is in it
	Info      json.RawMessage // shown to others in presence
	Meta      json.RawMessage // for the server alone
	Caps      []Capability
	// Subscriptions are made by the server when the client connects.
	Subscriptions map[string]Subscription

	rules     []rule // Caps, compiled
	key       *apiKey
	anonymous bool // without token or key
}

// A Capability is what a token allows on some channels.
type Capability struct {
	Channels []string `json:"channels"`
	Match    string   `json:"match,omitempty"` // "" exact; wildcard: * stands for any text; regex: RE2, for the whole name
	Allow    []string `json:"allow"`           // sub, pub, hst, prs
}

// A Subscription is what a token says of one channel.
type Subscription struct {
	Info      json.RawMessage
	Data      json.RawMessage
	ExpiresAt time.Time // zero if never
	TokenID   string    // jti of a subscription token
}

// A Code says what kind of refusal it is.
type Code int

// The codes of refusals.
const (
	Denied      Code = iota + 1 // not allowed: asking again is no use
	BadToken                    // the token or key can't be accepted
	Expired                     // the token was good: get a new one
	Unavailable                 // it couldn't be decided in time: try again
)

// A Refusal is why something is not allowed, in a sentence that may be shown to whoever asked: it holds no secret, and no more
// than they know themselves.
type Refusal struct {
	Code   Code
	Reason string
	err    error // for the log
}

func (r *Refusal) Error() string { return r.Reason }
func (r *Refusal) Unwrap() error { return r.err }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}
