package main

import (
	"context"
	"fmt"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/schema"
)

type migrateCmd struct {
	Print bool `help:"Print the SQL instead of running it."`
}

func (*migrateCmd) Help() string {
	return `It makes the schema trunkline, or upgrades it; messages in it stay. Any number of processes may do so at once. serve does it
by itself. No superuser and no extension is needed; the first time, the role needs CREATE on the database.

    trunkline migrate --database-url postgres://owner@host/database
    trunkline migrate --print >trunkline.sql`
}

func (c *migrateCmd) Run(ctx context.Context, a *app) error {
	if c.Print {
		sql, err := trunkline.MigrationSQL()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(a.stdout, sql)
		return err
	}
	conn, err := a.connectDirect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	before, err := schema.Version(ctx, conn)
	if err != nil {
		return err
	}
	if err := trunkline.Migrate(ctx, conn); err != nil {
		return err
	}
	after, err := schema.Version(ctx, conn)
	if err != nil {
		return err
	}
	if before == after {
		_, err = fmt.Fprintf(a.stdout, "the schema is at version %d already\n", after)
	} else {
		_, err = fmt.Fprintf(a.stdout, "the schema is at version %d now (before: %d)\n", after, before)
	}
	return err
}
