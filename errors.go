package trunkline

import (
	"errors"
	"fmt"
	"strings"
)

// ErrClosed is returned by whatever belongs to an engine that was stopped, or to a subscription that was closed.
var ErrClosed = errors.New("trunkline: closed")

// ErrNotStarted is returned by Subscribe on an engine whose Start has not yet returned: it doesn't know the log.
var ErrNotStarted = errors.New("trunkline: the engine has not been started")

// ErrNotFound is what an *[ArgumentError] is (by errors.Is) that names something that isn't there.
var ErrNotFound = errors.New("trunkline: not found")

// An EpochError says that a position belongs to another epoch of the log than the current one: the database was restored,
// failed over, or crashed and lost the log's end. Positions before and after can't be compared; read anew from the
// beginning, or from a snapshot of your own state.
type EpochError struct {
	Given   string // the epoch of the position, or of the subscription that ended
	Current string // the epoch of the log
}

func (e *EpochError) Error() string {
	return fmt.Sprintf("epoch %q has ended, the log is in epoch %q: its positions can't be resumed; start from the beginning or from now",
		e.Given, e.Current)
}

// A BeyondLogError says that a position lies beyond the end of the log, or of the channel: nobody was ever given it.
type BeyondLogError struct {
	Channel string // "" for a position of the log
	Given   int64
	Last    int64
}

func (e *BeyondLogError) Error() string {
	if e.Channel != "" {
		return fmt.Sprintf("seq %d is beyond the end of channel %q, whose last is %d", e.Given, e.Channel, e.Last)
	}
	return fmt.Sprintf("position %d is beyond the end of the log, whose last is %d", e.Given, e.Last)
}

// A TrimmedError says that messages after the position were removed by retention, so that resuming would be short.
type TrimmedError struct {
	Channel string
	First   int64 // the seq of the oldest message that is kept, or would be
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("messages of channel %q after that position were removed by retention; the oldest kept has seq %d",
		e.Channel, e.First)
}

// A SlowConsumerError ends a subscription whose queue was full. Everything up to Resume was delivered; continue there.
type SlowConsumerError struct {
	Resume Position
}

func (e *SlowConsumerError) Error() string {
	return fmt.Sprintf("the subscription was read too slowly and its queue is full; resume it since %s", e.Resume)
}

// A KeyConflictError says that an idempotency key was used before, in that channel, with another payload.
type KeyConflictError struct {
	Channel, Key string
	err          error
}

func (e *KeyConflictError) Error() string { return "trunkline: " + reason(e.err) }
func (e *KeyConflictError) Unwrap() error { return e.err }

// An ArgumentError says which argument can't be taken, and what would be.
type ArgumentError struct {
	Argument string // what it is: channel, payload, sender, key, table …
	Problem  string // a sentence that names the value
	Fix      string // a sentence that says what to do
	err      error
}

func (e *ArgumentError) Error() string {
	if e.Fix == "" {
		return e.Problem
	}
	return e.Problem + ". " + strings.TrimSuffix(e.Fix, ".")
}
func (e *ArgumentError) Unwrap() error { return e.err }

// A PrivilegeError says which statement the owner has to run so that this role may do what it tried.
type PrivilegeError struct {
	Grant string
	err   error
}

func (e *PrivilegeError) Error() string {
	return fmt.Sprintf("%s; have Trunkline's owner run: %s", reason(e.err), e.Grant)
}
func (e *PrivilegeError) Unwrap() error { return e.err }

// A SchemaError says that the database has no schema of Trunkline's, or not the version this program works with.
type SchemaError struct {
	Version, Want int
}

func (e *SchemaError) Error() string {
	if e.Version == 0 {
		return "the database has no schema of Trunkline's: run `trunkline migrate`"
	}
	if e.Version > e.Want {
		return fmt.Sprintf("the database's schema is version %d, this program knows %d: use a newer trunkline", e.Version, e.Want)
	}
	return fmt.Sprintf("the database's schema is version %d, this program needs %d: run `trunkline migrate`", e.Version, e.Want)
}

// A PoolerError says that the connection goes through a pooler that gives each transaction another session, so that
// LISTEN and session locks can't work on it.
type PoolerError struct {
	Address string
}

func (e *PoolerError) Error() string {
	return fmt.Sprintf("the connection to %s goes through a transaction pooler, on which LISTEN can't work: "+
		"give a direct connection as well (Config.DirectURL, --direct-url), or let the pooler pool sessions", e.Address)
}
