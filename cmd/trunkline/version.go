package main

import (
	"fmt"

	"github.com/trunkline/trunkline/internal/buildinfo"
	"github.com/trunkline/trunkline/schema"
)

type versionCmd struct {
	JSON bool `name:"json" help:"Print a JSON object."`
}

// build is what is known of this program.
type build struct {
	buildinfo.Info

	Schema int `json:"schema"` // the newest version that it knows
}

func (c *versionCmd) Run(a *app) error {
	latest, err := schema.Latest()
	if err != nil {
		return err
	}
	b := build{buildinfo.Read(), latest}
	if c.JSON {
		return a.printJSON(b)
	}
	_, err = fmt.Fprintf(a.stdout, "trunkline %s, schema %d, %s, %s\n", b.Info, b.Schema, b.Go, b.Platform)
	return err
}
