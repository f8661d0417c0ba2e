// Package web holds the page of Projects as the build left it.
package web

import (
	"embed"
	"io/fs"
)

// all: takes .gitkeep in as well, which is there before the page has been built; without any file the pattern would not compile.
//
//go:embed all:dist
var dist embed.FS

// Page is the built page: index.html, and assets/ whose files carry a hash in their names. Before `npm run build` it has no
// index.html.
func Page() fs.FS {
	page, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // only a malformed path does this, and it is a constant
	}
	return page
}
