package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/demo"
)

type seedCmd struct{}

func (*seedCmd) Help() string {
	return `Makes an organisation, its staff, customers and a few projects to try things out with. What is there already stays as it is.
Everybody's password is public, so this is for databases that only you reach.

    projects seed --data-dir ./data`
}

func (*seedCmd) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(pool *pgxpool.Pool, store *projects.Store) error {
		if err := demo.Seed(ctx, pool, store); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "The demo people and their projects are there. Everybody's password is %s\n", demo.Password)
		return err
	})
}
