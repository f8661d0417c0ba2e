package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
)

type staffCmd struct {
	Organisation string `required:"" placeholder:"NAME" help:"The organisation they belong to. It is made if there is none of that name."`
	Email        string `required:"" placeholder:"ADDRESS" help:"Their address, with which they sign in."`
	Name         string `required:"" placeholder:"NAME" help:"Their name."`
	Admin        bool   `help:"Let them see and change all projects of the organisation."`
	PublicURL    string `name:"public-url" placeholder:"URL" default:"http://127.0.0.1:8000" help:"Where people reach the site: the link that is printed begins with it. Default: http://127.0.0.1:8000."`
}

func (*staffCmd) Help() string {
	return `Prints a link with which they choose a password, good for an hour. The first of an organisation is made so; others can also be invited
from a project. Again for the same address, it prints another link.

    projects staff --organisation 'Northlight Studio' --name 'Maya Okafor' --email maya@northlight.example --admin`
}

func (c *staffCmd) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(pool *pgxpool.Pool, store *projects.Store) error {
		person, err := store.AddStaff(ctx, projects.StaffDraft{Organisation: c.Organisation, Email: c.Email, Name: c.Name, Admin: c.Admin})
		if err != nil {
			return err
		}
		var secret string
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
			secret, err = account.NewResetToken(ctx, tx, person)
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s/reset/%s\n", strings.TrimSuffix(c.PublicURL, "/"), secret)
		return err
	})
}
