package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/trunkline/trunkline/schema"
)

type versionCmd struct {
	JSON bool `name:"json" help:"Print a JSON object."`
}

// build is what is known of how this program was built.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Schema   int    `json:"schema"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *versionCmd) Run(a *app) error {
	b := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = info.Main.Version
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				b.Revision = setting.Value
			case "vcs.time":
				b.Time = setting.Value
			case "vcs.modified":
				b.Modified = setting.Value == "true"
			}
		}
	}
	var err error
	if b.Schema, err = schema.Latest(); err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(b)
	}
	text := "trunkline " + b.Version
	if b.Revision != "" {
		text += " (" + b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			text += ", modified"
		}
		text += ")"
	}
	_, err = fmt.Fprintf(a.stdout, "%s, schema %d, %s, %s\n", text, b.Schema, b.Go, b.Platform)
	return err
}
