package main

import (
	"fmt"

	"github.com/trunkline/trunkline/internal/buildinfo"
)

type versionCmd struct{}

func (c *versionCmd) Run(a *app) error {
	b := buildinfo.Read()
	_, err := fmt.Fprintf(a.stdout, "projects %s, %s, %s\n", b, b.Go, b.Platform)
	return err
}
