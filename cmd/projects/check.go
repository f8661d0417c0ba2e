package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/projects"
)

type checkCmd struct {
	Repair bool `help:"Put right what differs, and tell those who look at it."`
}

func (*checkCmd) Help() string {
	return `Triggers keep how far projects are and where conversations end, so that no page counts. This counts all of it, in one snapshot, and
lists what differs: nothing, unless somebody has written to the tables with triggers switched off.

    projects check
    projects check --repair`
}

func (c *checkCmd) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(_ *pgxpool.Pool, store *projects.Store) error {
		drifts, err := store.Check(ctx, c.Repair)
		if err != nil {
			return err
		}
		for _, d := range drifts {
			if _, err := fmt.Fprintf(a.stdout, "%s of %d: kept %s, counted %s\n", d.What, d.ID, d.Kept, d.Counted); err != nil {
				return err
			}
		}
		switch {
		case len(drifts) == 0:
			_, err = fmt.Fprintln(a.stdout, "Everything is as counting gives it.")
		case c.Repair:
			_, err = fmt.Fprintf(a.stdout, "%d put right.\n", len(drifts))
		default:
			return fmt.Errorf("%d differ: projects check --repair puts them right", len(drifts))
		}
		return err
	})
}
