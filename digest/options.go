package digest

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

// A Renderer makes mails of digests: *[mail.Renderer]. An error that is a *[trunkline.ArgumentError] says that no mail can be made
// of the digest, however often it is tried. Several goroutines use it at once.
type Renderer interface {
	Render(mail.Digest) (mail.Envelope, mail.Text, error)
	// Domain is what the Message-IDs end with.
	Domain() string
}

// A sizer is a Renderer that tells how many items of a group its mails show, and how many in all: the newest. Only these are then
// given to it with their texts and data.
type sizer interface{ Shown() (perGroup, most int) }

// shown asks a renderer for that; one that doesn't tell is given what any might show.
func shown(r Renderer) (perGroup, most int) {
	if s, ok := r.(sizer); ok {
		return s.Shown()
	}
	return 100, 200
}

// A Policy says what becomes of a mail that the server may have, or not: the connection broke between the final dot and the
// answer, or the worker died there.
type Policy string

const (
	// Resend sends it again, under the same Message-ID: nobody misses a mail, and some may get one twice.
	Resend Policy = "resend"
	// Park doesn't: nobody gets a mail twice, and some may miss one. Somebody decides: trunkline.resend_digest sends it.
	Park Policy = "park"
)

// Options configure a [Worker]. Renderer and Sender are required; the zero value of every other field is a good default.
type Options struct {
	Renderer Renderer
	Sender   mail.Sender
	// Kept says that Sender keeps mails instead of sending them. Such a worker does nothing on a database that one without it has
	// mailed from: see [ErrKept].
	Kept bool
	// Engine, if there is one, wakes the worker when something was notified. Without it mail that is due at once may come as late
	// as Fallback says.
	Engine *trunkline.Engine
	// Logger gets what goes wrong. Nil: discarded.
	Logger *slog.Logger

	// Rules are what is mailed when.
	Rules Rules
	// Zone is the IANA time zone of users and recipients that have none. Default: UTC.
	Zone string
	// Uncertain is what becomes of mails that the server may have. Default: Resend.
	Uncertain Policy

	// Concurrency is how many mails are under way at a time. More than the sender has connections wait for those. 1 to 1,000;
	// default 32.
	Concurrency int
	// Batch is how many users are looked at in one transaction. 1 to 5,000; default 250.
	Batch int
	// TryTimeout is how long one try at a mail may take, waiting for a connection included. Mails of a worker that was killed are
	// tried again a minute after that time. 1 s to 2 h; default 15 min, which is longer than servers may take by the standard.
	TryTimeout time.Duration
	// GiveUp is how long after it was claimed a mail that isn't taken is tried again. 1 min to 30 days; default 48 h.
	GiveUp time.Duration
	// AskTimeout bounds a question to an authorize function, and reading recipients from a relation of the application's.
	// 10 ms to 30 s; default 5 s.
	AskTimeout time.Duration
	// Fallback is how often is looked without anything having called for it. 1 s to 1 h; default 30 s.
	Fallback time.Duration
	// Grace is how long mails that are under way may take to end when Run is told to. 1 ms to 10 min; default 5 s.
	Grace time.Duration
	// Keep is how long what was mailed and decided is kept, for whoever asks why. 1 day to 10 years; default 90 days.
	Keep time.Duration

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Rules = o.Rules.withDefaults()
	o.Zone = defaultTo(o.Zone, "UTC")
	o.Uncertain = defaultTo(o.Uncertain, Resend)
	o.Concurrency = defaultTo(o.Concurrency, 32)
	o.Batch = defaultTo(o.Batch, 250)
	o.TryTimeout = defaultTo(o.TryTimeout, 15*time.Minute)
	o.GiveUp = defaultTo(o.GiveUp, 48*time.Hour)
	o.AskTimeout = defaultTo(o.AskTimeout, 5*time.Second)
	o.Fallback = defaultTo(o.Fallback, 30*time.Second)
	o.Grace = defaultTo(o.Grace, 5*time.Second)
	o.Keep = defaultTo(o.Keep, 90*oneDay)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// validate says what is wrong with options after withDefaults.
func (o *Options) validate(pool *pgxpool.Pool) error {
	missing := func(argument, what string) error {
		return &trunkline.ArgumentError{Argument: argument, Problem: "digest.New needs " + what, Fix: "Give one"}
	}
	switch {
	case pool == nil:
		return missing("pool", "a connection pool")
	case o.Renderer == nil:
		return missing("Renderer", "Options.Renderer, which makes the mails")
	case o.Sender == nil:
		return missing("Sender", "Options.Sender, which sends them")
	case o.Uncertain != Resend && o.Uncertain != Park:
		return &trunkline.ArgumentError{
			Argument: "Uncertain", Problem: fmt.Sprintf("Options.Uncertain is %q", o.Uncertain), Fix: `Use "resend" or "park"`,
		}
	}
	if _, known := loadZone(o.Zone); !known {
		return &trunkline.ArgumentError{
			Argument: "Zone", Problem: fmt.Sprintf("there is no time zone %q", o.Zone), Fix: "Give an IANA name, such as Europe/Berlin",
		}
	}
	if err := o.Rules.Validate(); err != nil {
		return err
	}
	for _, n := range []struct {
		name          string
		value, lo, hi int
	}{{"Concurrency", o.Concurrency, 1, 1000}, {"Batch", o.Batch, 1, 5000}} {
		if n.value < n.lo || n.value > n.hi {
			return &trunkline.ArgumentError{
				Argument: n.name, Problem: fmt.Sprintf("Options.%s is %d", n.name, n.value), Fix: fmt.Sprintf("Choose between %d and %d", n.lo, n.hi),
			}
		}
	}
	for _, d := range []struct {
		name          string
		value, lo, hi time.Duration
	}{
		{"TryTimeout", o.TryTimeout, time.Second, 2 * time.Hour},
		{"GiveUp", o.GiveUp, time.Minute, 30 * oneDay},
		{"AskTimeout", o.AskTimeout, 10 * time.Millisecond, 30 * time.Second},
		{"Fallback", o.Fallback, time.Second, time.Hour},
		{"Grace", o.Grace, time.Millisecond, 10 * time.Minute},
		{"Keep", o.Keep, oneDay, 3653 * oneDay},
	} {
		if d.value < d.lo || d.value > d.hi {
			return &trunkline.ArgumentError{
				Argument: d.name, Problem: fmt.Sprintf("Options.%s is %v", d.name, d.value),
				Fix: fmt.Sprintf("Choose between %s and %s", spell(d.lo), spell(d.hi)),
			}
		}
	}
	return nil
}
