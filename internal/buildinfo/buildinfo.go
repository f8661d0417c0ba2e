// Package buildinfo says of which sources a program was built.
package buildinfo

import (
	"runtime"
	"runtime/debug"
)

// Info is what is known of how a program was built.
type Info struct {
	Version  string `json:"version"`            // of the module; "unknown" if that was not noted
	Revision string `json:"revision,omitempty"` // the commit
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // there were changes that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"` // as linux/amd64
}

// Read returns what the program that calls it was built of.
func Read() Info {
	b := Info{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
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
	return b
}

// String is the version with the commit, as 1.2.3 (0123456789ab, modified).
func (b Info) String() string {
	if b.Revision == "" {
		return b.Version
	}
	text := b.Version + " (" + b.Revision[:min(12, len(b.Revision))]
	if b.Modified {
		text += ", modified"
	}
	return text + ")"
}
