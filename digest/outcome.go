package digest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

// A Phase of a mail on its way: see docs/digests.md.
type Phase string

// The phases.
const (
	Claimed   Phase = "claimed"   // to be tried, or being tried
	DataSent  Phase = "data_sent" // the server has all of it but the final dot, which may be on its way
	Sent      Phase = "sent"      // the server has taken it
	Cancelled Phase = "cancelled" // nothing of it was to be mailed any more
	Bounced   Phase = "bounced"   // the server has refused the address
	Failed    Phase = "failed"    // it was refused, or given up
	Parked    Phase = "parked"    // the server may have it, and it isn't sent again by itself
)

// Why a try was abandoned before the final dot. The server hasn't got the mail.
var (
	errOvertaken = errors.New("another try at this mail has begun, or it was sent")
	errTooLate   = errors.New("this try took too long, and another one may have begun")
	errChanged   = errors.New("something of it was read or removed just before it went out; it is made anew without that")
)

// An unwrittenError says that the database couldn't be told that the final dot follows, so it didn't.
type unwrittenError struct{ err error }

func (e *unwrittenError) Error() string {
	return "the database couldn't be told that the mail goes out: " + reason(e.err)
}
func (e *unwrittenError) Unwrap() error { return e.err }

// An outcome is how a try ended.
type outcome struct {
	phase     Phase
	uncertain bool
	reply     string
	nextAt    time.Time // of Claimed
	againAt   time.Time // when to look at the user again; zero: nothing is to be done
	// written says that the database knows already, or that it isn't for this try to tell.
	written bool
	// server is what the try says about the mail server.
	server verdict
}

type verdict int

const (
	nothing  verdict = iota // it wasn't asked
	answered                // it answered, if only to refuse
	down                    // it failed
)

// judge finds out what an error of a try means. A nil one means that the server has the mail.
func (w *Worker) judge(ctx context.Context, t *try, err error, now time.Time) outcome {
	var send *mail.SendError
	var unwritten *unwrittenError
	var argument *trunkline.ArgumentError
	switch {
	case err == nil:
		return outcome{phase: Sent, server: answered}
	case errors.Is(err, errOvertaken):
		return outcome{phase: Claimed, reply: err.Error(), written: true}
	case errors.Is(err, errTooLate), errors.Is(err, errChanged):
		return outcome{phase: Claimed, reply: err.Error(), nextAt: now}
	case errors.As(err, &unwritten):
		return outcome{phase: Claimed, reply: err.Error(), nextAt: now.Add(retryWait(t.attempt))}
	case errors.As(err, &send):
		return w.judgeSend(ctx, t, send, now)
	case errors.As(err, &argument):
		// No mail can be made of it.
		return w.giveUp(t, outcome{phase: Failed, reply: err.Error(), againAt: now.Add(lookDaily)})
	default:
		return w.later(t, outcome{reply: err.Error()}, now)
	}
}

func (w *Worker) judgeSend(ctx context.Context, t *try, err *mail.SendError, now time.Time) outcome {
	o := outcome{reply: reply(err), server: answered}
	if err.Blame == mail.BlameServer {
		o.server = down
	}
	stopped := ctx.Err() != nil // we were told to stop: that isn't the server's fault
	if stopped {
		o.server = nothing
	}
	switch {
	case err.Uncertain && w.opts.Uncertain == Park:
		o.phase, o.uncertain = Parked, true
	case err.Uncertain:
		o.uncertain = true
		return w.later(t, o, now)
	case stopped:
		o.phase, o.nextAt = Claimed, now
	case t.uncertain:
		// It is refused, but the server may have it from an earlier try: who gives up now may have lost it, who gives its
		// notifications back may mail them twice.
		return w.later(t, o, now)
	case err.Permanent && err.Blame == mail.BlameRecipient:
		o.phase, o.againAt = Bounced, now.Add(lookDaily)
	case err.Permanent && err.Blame == mail.BlameMessage:
		o.phase, o.againAt = Failed, now.Add(lookDaily)
	default:
		return w.later(t, o, now)
	}
	return o
}

// later has a mail tried again, or gives it up.
func (w *Worker) later(t *try, o outcome, now time.Time) outcome {
	if now.Sub(t.claimedAt) >= w.opts.GiveUp {
		o.phase, o.againAt = Failed, now.Add(lookDaily)
		o.reply = fmt.Sprintf("Given up after %s. %s", spell(w.opts.GiveUp), o.reply)
		return w.giveUp(t, o)
	}
	o.phase, o.nextAt = Claimed, now.Add(retryWait(t.attempt))
	return o
}

// giveUp ends a mail that failed. What the server may have is parked: its notifications aren't given back, since they would be
// mailed again under another Message-ID, and it isn't forgotten either. Somebody decides: trunkline.resend_digest sends it.
func (w *Worker) giveUp(t *try, o outcome) outcome {
	if t.uncertain || o.uncertain {
		o.phase, o.againAt = Parked, time.Time{}
	}
	return o
}

// reply is what is kept of an error: the server's answer, if there was one.
func reply(err *mail.SendError) string { return fmt.Sprintf("%s: %v", err.Step, err.Err) }
