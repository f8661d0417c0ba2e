package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

type revokeCmd struct {
	User    string `arg:"" optional:"" help:"User, as in the token's sub."`
	Channel string `placeholder:"CHANNEL" help:"Only in this channel. Default: everywhere."`
	Token   string `placeholder:"JTI" help:"Instead of a user's: the one token with this jti."`
}

func (*revokeCmd) Help() string {
	return `Tokens issued up to now no longer count, and whoever is connected with one is unsubscribed from the channel, or disconnected. What
your authorize function still allows stays allowed: change what it looks at first.

    trunkline revoke ann --channel project:42
    trunkline revoke ann
    trunkline revoke --token 6f1c0d52-4f0e-4d0e-9f34-7d3b6a1f2c11

A program calls trunkline.revoke(user, channel) in its own transaction.`
}

func (c *revokeCmd) Run(ctx context.Context, a *app) error {
	switch {
	case c.Token != "" && (c.User != "" || c.Channel != ""):
		return usagef("--token %q names the token already: leave the user and --channel out", c.Token)
	case c.Token == "" && c.User == "":
		return usagef("what is to be revoked? Give a user, or --token; see trunkline revoke --help")
	}
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		if c.Token != "" {
			return a.done(trunkline.RevokeToken(ctx, conn, c.Token), "token %s is revoked", c.Token)
		}
		err := trunkline.Revoke(ctx, conn, c.User, c.Channel)
		if c.Channel != "" {
			return a.done(err, "tokens that %s has by now don't count for %s any more", c.User, c.Channel)
		}
		return a.done(err, "tokens that %s has by now don't count any more", c.User)
	})
}

type disconnectCmd struct {
	User   string `arg:"" help:"User, as in the token's sub."`
	Client string `placeholder:"ID" help:"Only the connection with this client id. Default: all of the user's."`
}

func (*disconnectCmd) Help() string {
	return `It forbids nothing: whose token is still good can connect again.

    trunkline disconnect ann
    trunkline disconnect ann --client 4a8a2d1e-…`
}

func (c *disconnectCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		return a.done(trunkline.DisconnectUser(ctx, conn, c.User, c.Client), "servers are told to disconnect %s", c.User)
	})
}

type unsubscribeCmd struct {
	User    string `arg:"" help:"User, as in the token's sub."`
	Channel string `arg:"" help:"Channel."`
}

func (*unsubscribeCmd) Help() string {
	return `It forbids nothing: trunkline revoke does.

    trunkline unsubscribe ann project:42`
}

func (c *unsubscribeCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		return a.done(trunkline.UnsubscribeUser(ctx, conn, c.User, c.Channel), "servers are told to unsubscribe %s from %s", c.User, c.Channel)
	})
}

// done says what was done, unless it failed.
func (a *app) done(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, visible(fmt.Sprintf(format, args...)))
	return err
}
