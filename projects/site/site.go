// Package site serves the page of Projects: the built files, and for every address that the page itself knows its index.
//
// Names of files in assets/ have a hash of their content in them, so browsers keep them for ever. The index names those files and
// is never kept, so that a new version is there with the next visit.
package site

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// assets begins the paths of files whose names change with their content.
const assets = "assets/"

// policy lets the page run nothing but its own scripts and speak to nobody but its own server. Attributes of style are how
// positions of popovers and of rows in long lists get into the page; no element of style is allowed, and no inline script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; " +
	"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// headers go with every answer.
var headers = map[string]string{
	"Content-Security-Policy":    policy,
	"X-Content-Type-Options":     "nosniff",
	"Referrer-Policy":            "same-origin",
	"Cross-Origin-Opener-Policy": "same-origin",
	"Permissions-Policy":         "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()",
}

type site struct {
	files map[string]*file
	index *file // nil: the page isn't built
}

// New reads the built files into memory: index.html, assets/ and what else there is. A file NAME.br or NAME.gz is NAME, compressed;
// what can be compressed and isn't is now. Where there is no index, every address answers how to build the page.
func New(page fs.FS) (http.Handler, error) {
	files, err := read(page)
	if err != nil {
		return nil, fmt.Errorf("read the built page: %w", err)
	}
	return &site{files: files, index: files["index.html"]}, nil
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Only GET and HEAD are possible here.", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	switch f := s.files[name]; {
	case f != nil && name != "index.html":
		cache := "no-cache" // kept, but asked for each time whether it is still the same
		if strings.HasPrefix(name, assets) {
			cache = "public, max-age=31536000, immutable"
		}
		f.serve(w, r, cache)
	case s.isPage(name, r):
		s.serveIndex(w, r)
	default:
		// An index in place of a script that a former version's page asks for would be taken for one.
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "There is nothing at this address.", http.StatusNotFound)
	}
}

// isPage tells addresses that the page answers itself, such as /projects/7: they have no extension, and a browser goes there.
func (s *site) isPage(name string, r *http.Request) bool {
	if name == "" || name == "index.html" {
		return true
	}
	return !strings.HasPrefix(name, assets) && path.Ext(name) == "" && acceptsHTML(r.Header.Values("Accept"))
}

func (s *site) serveIndex(w http.ResponseWriter, r *http.Request) {
	if s.index != nil {
		s.index.serve(w, r, "no-store")
		return
	}
	body := []byte(unbuilt)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // who has gone away needs no page
	}
}

// acceptsHTML reads Accept: browsers that go somewhere name text/html, scripts that fetch say */* at most.
func acceptsHTML(accept []string) bool {
	for _, field := range accept {
		for part := range strings.SplitSeq(field, ",") {
			kind, params, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "text/html", "application/xhtml+xml", "text/*":
				return !refused(params)
			}
		}
	}
	return false
}

// refused tells parameters with a weight of nothing: q=0.
func refused(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if weight, err := strconv.ParseFloat(value, 64); strings.EqualFold(name, "q") && err == nil && weight == 0 {
			return true
		}
	}
	return false
}

const unbuilt = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The page isn’t built yet</title>
</head>
<body>
<main>
<h1>The page isn’t built yet</h1>
<p>This program was built without its page. In the folder of its source, <code>make build</code> builds both;
it needs Node.js 20.19 or later.</p>
<p>The API is there all the same: <a href="/api/openapi.json">/api/openapi.json</a>.</p>
</main>
</body>
</html>
`

var errTooLarge = errors.New("is larger than 32 MiB, which no file of the page should be")
