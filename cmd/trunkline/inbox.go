package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

type inboxCmd struct {
	List  inboxListCmd  `cmd:"" help:"Print what is in a user's inbox."`
	Check inboxCheckCmd `cmd:"" help:"Recount all inboxes, and say which counts are wrong."`
}

func (*inboxCmd) Help() string {
	return `    trunkline inbox list bob
    trunkline inbox check`
}

// maxInboxPage is how many items a page of an inbox has at most.
const maxInboxPage = 200

type inboxListCmd struct {
	User   string `arg:"" help:"Whose."`
	State  string `placeholder:"STATE" default:"inbox" help:"Which: inbox (the default: neither archived nor snoozed), unseen, unread, read, archived, snoozed or all."`
	Kind   string `placeholder:"KIND" help:"Only of this kind."`
	Group  string `placeholder:"GROUP" help:"Only of this group."`
	Before int64  `placeholder:"SEQ" help:"Begin behind the one with this number."`
	Limit  int    `placeholder:"N" default:"50" help:"Print at most N, up to 200. Default: 50."`
	JSON   bool   `name:"json" help:"Print a JSON object per line."`
}

func (*inboxListCmd) Help() string {
	return `The newest comes first.

    trunkline inbox list bob --state unread
    trunkline inbox list bob --json | jq .data`
}

func (c *inboxListCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 || c.Limit > maxInboxPage {
		return usagef("--limit %d is out of range: give 1 to %d", c.Limit, maxInboxPage)
	}
	return a.withInbox(ctx, func(i *inbox.Inbox) error {
		page, err := i.List(ctx, c.User, inbox.ListOptions{
			Before: c.Before, Limit: c.Limit, State: inbox.State(c.State), Kind: c.Kind, Group: c.Group,
		})
		if err != nil {
			return err
		}
		rows := make([][]string, 0, len(page.Items))
		for n := range page.Items {
			item := &page.Items[n]
			if c.JSON {
				if err := encodeJSON(a.stdout, item); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{strconv.FormatInt(item.Seq, 10), visible(item.Kind), visible(deref(item.Group)), itemState(item), when(&item.CreatedAt), visible(item.Text)})
		}
		if len(rows) > 0 {
			if err := a.printTable([]string{"SEQ", "KIND", "GROUP", "STATE", "CREATED", "TEXT"}, rows); err != nil {
				return err
			}
		}
		a.note("%s has %d unseen and %d unread", visible(c.User), page.Counts.Unseen, page.Counts.Unread)
		if page.Next != 0 {
			a.note("there is more: go on with --before %d", page.Next)
		}
		return nil
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func itemState(item *inbox.Item) string {
	switch {
	case item.ArchivedAt != nil:
		return "archived"
	case item.SnoozedUntil != nil:
		return "snoozed"
	case item.ReadAt != nil:
		return "read"
	case item.SeenAt != nil:
		return "seen"
	}
	return "new"
}

type inboxCheckCmd struct {
	Repair bool `help:"Set right what is wrong."`
	JSON   bool `name:"json" help:"Print a JSON array."`
}

func (*inboxCheckCmd) Help() string {
	return `Counts are kept, not counted; this counts them, in one snapshot. It reads all notifications. It finds something only if
somebody has written to Trunkline's tables by hand, without their triggers.

    trunkline inbox check
    trunkline inbox check --repair`
}

// errDrift makes check fail without saying more than it has printed.
var errDrift = errors.New("counts are wrong: trunkline inbox check --repair sets them right")

func (c *inboxCheckCmd) Run(ctx context.Context, a *app) error {
	return a.withInbox(ctx, func(i *inbox.Inbox) error {
		a.note("counting all inboxes")
		drifts, err := i.Check(ctx, c.Repair)
		if err != nil {
			return err
		}
		if c.JSON {
			if drifts == nil {
				drifts = []inbox.Drift{}
			}
			if err := a.printJSON(drifts); err != nil {
				return err
			}
		} else if len(drifts) > 0 {
			rows := make([][]string, 0, len(drifts))
			for _, d := range drifts {
				rows = append(rows, []string{
					visible(d.User), strconv.Itoa(d.Unseen), strconv.Itoa(d.CountedUnseen), strconv.Itoa(d.Unread), strconv.Itoa(d.CountedUnread),
				})
			}
			if err := a.printTable([]string{"USER", "UNSEEN", "COUNTED", "UNREAD", "COUNTED"}, rows); err != nil {
				return err
			}
		}
		switch {
		case len(drifts) == 0:
			if !c.JSON {
				_, err = fmt.Fprintln(a.stdout, "all counts are right")
			}
			return err
		case c.Repair:
			a.note("the counts of %d users are set right", len(drifts))
			return nil
		}
		return errDrift
	})
}

// withInbox calls do with the inboxes of the database; nothing keeps them meanwhile.
func (a *app) withInbox(ctx context.Context, do func(*inbox.Inbox) error) error {
	engine, err := a.engine(slog.LevelWarn)
	if err != nil {
		return err
	}
	defer stopSoon(ctx, engine)
	i, err := inbox.New(engine, inbox.Options{Logger: a.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	return do(i)
}

// engine is one that isn't started: a pool of connections, and who explains errors.
func (a *app) engine(level slog.Level) (*trunkline.Engine, error) {
	config := trunkline.Config{DirectURL: a.DirectURL, SkipMigrate: true, Logger: a.logger(level)}
	var err error
	if config.DatabaseURL, err = a.url(); err != nil {
		return nil, err
	}
	for flag, url := range map[string]string{"--database-url": config.DatabaseURL, "--direct-url": config.DirectURL} {
		if _, err := parseURL(url, flag); err != nil {
			return nil, err
		}
	}
	return trunkline.New(config)
}

func stopSoon(ctx context.Context, engine *trunkline.Engine) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	_ = engine.Stop(ctx)
}
