package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// maxHistory is the most messages a call of history gives.
const maxHistory = 10_000

type historyCmd struct {
	Channel string `arg:"" help:"Channel to read."`
	After   int64  `placeholder:"SEQ" help:"Begin behind the message of that number."`
	Limit   int    `placeholder:"N" default:"100" help:"Print at most N messages, up to 10,000. Default: 100."`
	JSON    bool   `name:"json" help:"Print a JSON object per line."`
}

func (*historyCmd) Help() string {
	return `The oldest message comes first. Numbers count 1, 2, 3 … within the channel.

    trunkline history broadcast
    trunkline history project:42 --after 100 --limit 50
    trunkline history broadcast --json | jq .payload`
}

func (c *historyCmd) Run(ctx context.Context, a *app) error {
	if c.After < 0 {
		return usagef("--after %d is negative: give a message's number, or 0 for all", c.After)
	}
	if c.Limit < 1 || c.Limit > maxHistory {
		return usagef("--limit %d is out of range: give 1 to %d", c.Limit, maxHistory)
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	page, err := trunkline.History(ctx, conn, c.Channel, c.After, c.Limit)
	if err != nil {
		return a.withRole(ctx, conn, err)
	}
	colors := colorsOf(a.stdout)
	for i := range page.Messages {
		if c.JSON {
			err = a.printMessageJSON(&page.Messages[i])
		} else {
			err = a.printMessage(&page.Messages[i], dateTimeLayout, colors)
		}
		if err != nil {
			return err
		}
	}
	c.remark(ctx, a, conn, &page)
	return nil
}

// remark says what the messages printed don't show.
func (c *historyCmd) remark(ctx context.Context, a *app, conn *pgx.Conn, page *trunkline.HistoryPage) {
	last := c.After
	if n := len(page.Messages); n > 0 {
		last = page.Messages[n-1].Seq
	}
	switch {
	case page.LastSeq == 0:
		a.note("channel %q has no messages", c.Channel)
	case page.LastSeq < page.FirstSeq:
		a.note("channel %q has no messages any more: all %d were removed by retention", c.Channel, page.LastSeq)
	case c.After+1 < page.FirstSeq:
		a.note("the messages before number %d were removed by retention", page.FirstSeq)
	}
	switch {
	case page.LastSeq > last && len(page.Messages) > 0:
		a.note("there is more: go on with --after %d", last)
	case page.LastSeq > 0 && c.After > page.LastSeq:
		a.note("--after %d is beyond the newest message, which is number %d", c.After, page.LastSeq)
	}
	var sequenced bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM trunkline.sequencer_session())").Scan(&sequenced)
	if err == nil && !sequenced {
		a.note("nobody sequences at present, so what was published last may not be listed: start %s", "`trunkline serve`")
	}
}
