package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/trunkline/trunkline"
)

type listenCmd struct {
	Channels []string `arg:"" name:"channel" help:"Channels to listen to."`
	From     string   `placeholder:"START" help:"Where to begin: now (the default), beginning, or EPOCH:SEQ to go on behind a message of the one channel given."`
	Since    string   `placeholder:"EPOCH:POSITION" help:"Go on behind a position of the log, over all channels given."`
	JSON     bool     `name:"json" help:"Print a JSON object per line."`
	Raw      bool     `help:"Listen to PostgreSQL's own NOTIFY channels of these names instead."`
	Count    *int     `placeholder:"N" help:"End after N messages, at least 1. Default: never."`
}

func (*listenCmd) Help() string {
	return `It prints what commits, one line per message: time, channel, number, sender, payload. Interrupted, it says how to go on
where it stopped. When the log begins a new epoch, as after a crash or a restore of the database, it says so and prints from that
epoch what it hasn't printed yet.

    trunkline listen broadcast
    trunkline listen project:42 project:43 --from beginning
    trunkline listen broadcast --since 1f0c6a9b2e44:17
    trunkline listen broadcast --json | jq .payload

With --json each line has the message's epoch, seq and position, and in "since" what --since takes to go on behind it.

What a trigger sends with NOTIFY or pg_notify is heard with --raw, which prints channel, process id of the sender, and payload:

    trunkline listen broadcast --raw`
}

func (c *listenCmd) Run(ctx context.Context, a *app) error {
	start, err := c.start()
	if err != nil {
		return err
	}
	engine, stop, err := a.startEngine(ctx, trunkline.Config{})
	if err != nil {
		return err
	}
	defer stop()
	if c.Raw {
		return c.listenRaw(ctx, a, engine)
	}
	return c.listen(ctx, a, engine, start)
}

func (c *listenCmd) start() (trunkline.Start, error) {
	now := trunkline.FromNow()
	if c.Count != nil && *c.Count < 1 {
		return now, usagef("--count=%d is less than 1: give how many messages to wait for, or leave it out to go on until interrupted", *c.Count)
	}
	if c.Raw && (c.From != "" || c.Since != "") {
		return now, usagef("--raw can't begin in the past, because PostgreSQL keeps no notifications: leave --from and --since out")
	}
	if c.From != "" && c.Since != "" {
		return now, usagef("--from=%s and --since=%s exclude each other: give one of them", c.From, c.Since)
	}
	for _, channel := range c.Channels {
		if err := trunkline.CheckChannel(channel); err != nil {
			return now, err
		}
	}
	switch {
	case c.Since != "":
		position, err := trunkline.ParsePosition(c.Since)
		if err != nil {
			return now, usagef("--since: %s", err)
		}
		return trunkline.Since(position), nil
	case c.From == "" || c.From == "now":
		return now, nil
	case c.From == "beginning":
		return trunkline.FromBeginning(), nil
	}
	offset, err := trunkline.ParseOffset(c.From)
	if err != nil {
		return now, usagef("--from: %s; or use now or beginning", err)
	}
	if len(c.Channels) > 1 {
		return now, usagef("--from=%s belongs to one channel, but %d are given: resume several with --since EPOCH:POSITION", c.From, len(c.Channels))
	}
	return trunkline.FromOffset(offset), nil
}

// more tells whether to wait for another message after n.
func (c *listenCmd) more(n int) bool { return c.Count == nil || n < *c.Count }

// checkedSoon is how long listen waits to hear that a position of the user's can't be resumed, before it says that it listens.
var checkedSoon = 300 * time.Millisecond

func (c *listenCmd) listen(ctx context.Context, a *app, engine *trunkline.Engine, start trunkline.Start) error {
	began, err := c.began(ctx, a)
	if err != nil {
		return err
	}
	l := &listening{engine: engine, app: a, channels: c.Channels, began: began}
	if err := l.subscribe(ctx, start); err != nil {
		return c.unresumable(err)
	}
	defer l.close()
	first, early, err := c.first(ctx, l)
	if err != nil {
		return c.unresumable(err)
	}
	a.note("listening to %s", strings.Join(c.Channels, ", "))
	colors := colorsOf(a.stdout)
	for n := 0; c.more(n); n++ {
		m := first
		if !early {
			m, err = l.next(ctx)
		}
		early = false
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return c.unresumable(err)
		}
		if c.JSON {
			err = a.printMessageJSON(&m)
		} else {
			err = a.printMessage(&m, layoutOf(m.CreatedAt, time.Now()), colors)
		}
		if err != nil {
			return err
		}
		l.printed.add(m.ID)
	}
	if l.sub != nil {
		a.note("go on with --since %s", l.sub.Position())
	}
	return nil
}

// began is the database's time at the beginning, where only what comes from now on is to be printed; else the zero time.
func (c *listenCmd) began(ctx context.Context, a *app) (now time.Time, err error) {
	if c.Since != "" || (c.From != "" && c.From != "now") {
		return now, nil
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return now, err
	}
	defer closeSoon(ctx, conn)
	err = conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	return now, err
}

// first waits a moment for the first message, where the user has given a position that may turn out to be none.
func (c *listenCmd) first(ctx context.Context, l *listening) (m trunkline.Message, ok bool, err error) {
	if c.Since == "" && !strings.Contains(c.From, ":") {
		return m, false, nil
	}
	soon, cancel := context.WithTimeout(ctx, checkedSoon)
	defer cancel()
	m, err = l.next(soon)
	if soon.Err() != nil && err != nil {
		return m, false, nil // nothing yet; nothing is lost
	}
	return m, err == nil, err
}

// unresumable says what to do about a position that can't be resumed.
func (c *listenCmd) unresumable(err error) error {
	var epoch *trunkline.EpochError
	var beyond *trunkline.BeyondLogError
	var trimmed *trunkline.TrimmedError
	if errors.As(err, &epoch) || errors.As(err, &beyond) || errors.As(err, &trimmed) {
		return fmt.Errorf("%w: give --from beginning for all that is kept, or --from now for what comes", err)
	}
	return err
}

// listening is a listen under way: it goes on through new epochs.
type listening struct {
	engine   *trunkline.Engine
	app      *app
	channels []string
	sub      *trunkline.Subscription // nil if it can't be made anew
	began    time.Time               // only what was published from then on is wanted
	again    bool                    // the log is read from the beginning of another epoch than listen began in
	printed  idSet
}

func (l *listening) close() {
	if l.sub != nil {
		l.sub.Close()
	}
}

func (l *listening) subscribe(ctx context.Context, start trunkline.Start) (err error) {
	l.close()
	l.sub, err = l.engine.Subscribe(ctx, l.channels, trunkline.SubscribeOptions{From: start, Signals: true})
	return err
}

// next returns the next message that is to be printed.
func (l *listening) next(ctx context.Context) (trunkline.Message, error) {
	for {
		m, err := l.sub.Next(ctx)
		var slow *trunkline.SlowConsumerError
		var epoch *trunkline.EpochError
		switch {
		case err == nil:
			if l.again && !m.Signal && (l.printed.has(m.ID) || m.CreatedAt.Before(l.began)) {
				continue
			}
			return m, nil
		case errors.As(err, &slow):
			// Whoever reads our output was slow. What waits is in the database.
			err = l.subscribe(ctx, trunkline.Since(slow.Resume))
			if !errors.As(err, &epoch) {
				break
			}
			fallthrough
		case errors.As(err, &epoch):
			l.app.note("the database crashed or was restored, and the log began a new epoch, %s: going on from its beginning, without what is printed already",
				epoch.Current)
			l.again = true
			err = l.subscribe(ctx, trunkline.FromBeginning())
		}
		if err != nil {
			return m, err
		}
	}
}

// idSet remembers the ids of messages: at least the last idBlocks that were added, mostly many more, since a block of 64 takes
// one place.
type idSet struct {
	recent, before map[int64]uint64
}

const idBlocks = 100_000

func (s *idSet) add(id int64) {
	if s.recent == nil || len(s.recent) >= idBlocks {
		s.recent, s.before = map[int64]uint64{}, s.recent
	}
	s.recent[id>>6] |= 1 << (id & 63)
}

func (s *idSet) has(id int64) bool {
	return (s.recent[id>>6]|s.before[id>>6])&(1<<(id&63)) != 0
}

// rawNotification is a notification as --json prints it.
type rawNotification struct {
	Channel string `json:"channel"`
	PID     uint32 `json:"pid"`
	Payload string `json:"payload"`
}

func (c *listenCmd) listenRaw(ctx context.Context, a *app, engine *trunkline.Engine) error {
	raw, err := engine.Listen(ctx, c.Channels...)
	if err != nil {
		return err
	}
	defer raw.Close()
	a.note("listening to NOTIFY on %s", strings.Join(c.Channels, ", "))
	colors := colorsOf(a.stdout)
	for n := 0; c.more(n); n++ {
		notification, err := raw.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(rawNotification{Channel: notification.Channel, PID: notification.PID, Payload: notification.Payload})
		} else {
			pid := strconv.FormatUint(uint64(notification.PID), 10)
			_, err = a.stdout.Write([]byte(colors.blue(visible(notification.Channel)) + " " + colors.faint("[pid "+pid+"]") + " " + visible(notification.Payload) + "\n"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
