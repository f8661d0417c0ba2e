package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/trunkline/trunkline"
)

type listenCmd struct {
	Channels []string `arg:"" name:"channel" help:"Channels to listen to."`
	From     string   `placeholder:"START" help:"Where to begin: now (the default), beginning, or EPOCH:SEQ to go on behind a message of the one channel given."`
	Since    string   `placeholder:"EPOCH:POSITION" help:"Go on behind a position of the log, over all channels given."`
	JSON     bool     `name:"json" help:"Print a JSON object per line."`
	Raw      bool     `help:"Listen to PostgreSQL's own NOTIFY channels of these names instead."`
	Count    int      `placeholder:"N" help:"End after N messages."`
}

func (*listenCmd) Help() string {
	return `It prints what commits, one line per message: time, channel, number, sender, payload. Interrupted, it says how to go on
where it stopped.

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
	if c.Count < 0 {
		return now, usagef("--count=%d is negative: give how many messages to wait for", c.Count)
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

func (c *listenCmd) listen(ctx context.Context, a *app, engine *trunkline.Engine, start trunkline.Start) error {
	sub, err := engine.Subscribe(ctx, c.Channels, trunkline.SubscribeOptions{From: start, Signals: true})
	if err != nil {
		return err
	}
	defer func() { sub.Close() }()
	a.note("listening to %s", strings.Join(c.Channels, ", "))
	colors := colorsOf(a.stdout)
	for n := 0; c.Count == 0 || n < c.Count; n++ {
		m, err := sub.Next(ctx)
		var slow *trunkline.SlowConsumerError
		for errors.As(err, &slow) {
			// Whoever reads our output was slow. What waits is in the database.
			sub.Close()
			if sub, err = engine.Subscribe(ctx, c.Channels, trunkline.SubscribeOptions{From: trunkline.Since(slow.Resume), Signals: true}); err == nil {
				m, err = sub.Next(ctx)
			}
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printMessageJSON(&m)
		} else {
			err = a.printMessage(&m, timeLayout, colors)
		}
		if err != nil {
			return err
		}
	}
	if sub != nil {
		a.note("go on with --since %s", sub.Position())
	}
	return nil
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
	for n := 0; c.Count == 0 || n < c.Count; n++ {
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
