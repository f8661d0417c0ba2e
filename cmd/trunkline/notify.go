package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
)

type notifyCmd struct {
	Users  string        `arg:"" name:"users" help:"Whom to notify: a user's id, or several separated by commas."`
	Kind   string        `arg:"" help:"What sort it is, such as task.completed."`
	Data   string        `arg:"" optional:"" name:"json" help:"Data, a JSON value. Default: {}."`
	Group  string        `placeholder:"GROUP" help:"What it belongs to, such as project:42."`
	Cause  string        `placeholder:"CAUSE" help:"What it is about, such as task:7: retracting that removes it."`
	Link   string        `placeholder:"LINK" help:"Where it leads: /path, http://… or https://…."`
	Key    string        `placeholder:"KEY" help:"Dedupe key: who has a notification with it gets no other."`
	Expire time.Duration `placeholder:"DURATION" help:"Make it disappear after that long, such as 24h. Default: never."`
	JSON   bool          `name:"json" help:"Print the ids as a JSON array."`
}

func (*notifyCmd) Help() string {
	return `It prints the ids of the notifications. No server needs to run: they arrive when one does.

    trunkline notify bob task.completed '{"actor": "Ann", "task": {"title": "Paint the door"}}' --group project:42 --link /projects/42
    trunkline notify bob,eve hello

A program notifies with trunkline.notify(user_id, kind, data) in its own transaction.`
}

func (c *notifyCmd) Run(ctx context.Context, a *app) error {
	n := inbox.Notification{Users: strings.Split(c.Users, ","), Kind: c.Kind, Group: c.Group, Cause: c.Cause, Link: c.Link, DedupeKey: c.Key}
	if c.Data != "" {
		n.Data = []byte(c.Data)
	}
	if c.Expire < 0 {
		return usagef("--expire %s is in the past: give a time to come, such as 24h", c.Expire)
	} else if c.Expire > 0 {
		n.ExpiresAt = time.Now().Add(c.Expire)
	}
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		ids, err := inbox.NotifyTx(ctx, conn, n)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(ids)
		}
		for _, id := range ids {
			if _, err := fmt.Fprintln(a.stdout, id); err != nil {
				return err
			}
		}
		return nil
	})
}
