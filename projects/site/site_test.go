package site

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var (
	script = strings.Repeat("console.log('hello');\n", 100)
	icon   = "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 2000)
)

func built() fstest.MapFS {
	return fstest.MapFS{
		"index.html":                {Data: []byte(`<!doctype html><div id="app"></div>` + strings.Repeat("<!-- -->", 200))},
		"assets/index-Bq3x.js":      {Data: []byte(script)},
		"assets/index-Bq3x.js.br":   {Data: []byte("brotli")},
		"assets/index-Bq3x.js.gz":   {Data: []byte("gzipped")},
		"assets/style-9ab.css":      {Data: []byte("body{}")},
		"assets/photo-7.png":        {Data: []byte(icon)},
		"favicon.svg":               {Data: []byte("<svg>" + strings.Repeat("<g/>", 500) + "</svg>")},
		"archive.gz":                {Data: []byte("not another file's")},
		".gitkeep":                  {},
		".vite/manifest.json":       {Data: []byte("{}")},
		"assets/nested/deep-1.js":   {Data: []byte("1")},
		"robots.txt":                {Data: []byte("User-agent: *\n")},
		"projects/index-of-it.html": {Data: []byte("x")},
	}
}

func get(t testing.TB, page fs.FS, method, target string, header map[string]string) *http.Response {
	t.Helper()
	h, err := New(page)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

func TestWhatIsServed(t *testing.T) {
	const immutable = "public, max-age=31536000, immutable"
	for _, c := range []struct {
		name, target, accept string
		status               int
		kind, cache          string
	}{
		{"the first page", "/", browser, 200, "text/html; charset=utf-8", "no-store"},
		{"the first page, for whoever takes anything", "/", "*/*", 200, "text/html; charset=utf-8", "no-store"},
		{"the index by its name", "/index.html", "", 200, "text/html; charset=utf-8", "no-store"},
		{"an address of the page", "/projects/7/chat/3?message=9", browser, 200, "text/html; charset=utf-8", "no-store"},
		{"a link in a mail", "/invited/hV3xqk0Yd3o9jVbT2uLwXw", browser, 200, "text/html; charset=utf-8", "no-store"},
		{"an address of the page, fetched", "/projects/7", "*/*", 404, "text/plain; charset=utf-8", "no-store"},
		{"an address of the page, without Accept", "/projects/7", "", 404, "text/plain; charset=utf-8", "no-store"},
		{"HTML refused", "/projects/7", "text/html;q=0, */*", 404, "text/plain; charset=utf-8", "no-store"},
		{"a script", "/assets/index-Bq3x.js", "*/*", 200, "text/javascript; charset=utf-8", immutable},
		{"a style sheet", "/assets/style-9ab.css", "text/css,*/*;q=0.1", 200, "text/css; charset=utf-8", immutable},
		{"below", "/assets/nested/deep-1.js", "*/*", 200, "text/javascript; charset=utf-8", immutable},
		{"an icon", "/favicon.svg", "image/*", 200, "image/svg+xml", "no-cache"},
		{"robots", "/robots.txt", browser, 200, "text/plain; charset=utf-8", "no-cache"},
		{"another version's script", "/assets/index-Old.js", "*/*", 404, "text/plain; charset=utf-8", "no-store"},
		{"the same, opened", "/assets/index-Old", browser, 404, "text/plain; charset=utf-8", "no-store"},
		{"the folder of scripts", "/assets/", browser, 200, "text/html; charset=utf-8", "no-store"},
		{"a compressed twin", "/assets/index-Bq3x.js.br", browser, 404, "text/plain; charset=utf-8", "no-store"},
		{"something compressed of its own", "/archive.gz", "*/*", 200, "", "no-cache"},
		{"what is hidden", "/.gitkeep", browser, 404, "text/plain; charset=utf-8", "no-store"},
		{"what is hidden, too", "/.vite/manifest.json", browser, 404, "text/plain; charset=utf-8", "no-store"},
		{"a way out", "/../../etc/passwd.txt", browser, 404, "text/plain; charset=utf-8", "no-store"},
		{"a file that isn't there", "/favicon.png", browser, 404, "text/plain; charset=utf-8", "no-store"},
	} {
		r := get(t, built(), http.MethodGet, c.target, map[string]string{"Accept": c.accept})
		text := body(t, r)
		kind := r.Header.Get("Content-Type")
		if c.kind == "" {
			kind = ""
		}
		got := []any{r.StatusCode, kind, r.Header.Get("Cache-Control")}
		if diff := cmp.Diff([]any{c.status, c.kind, c.cache}, got); diff != "" {
			t.Errorf("%s (%s): %s", c.name, c.target, diff)
		}
		if isIndex := strings.Contains(text, `<div id="app">`); isIndex != (c.status == 200 && c.cache == "no-store") {
			t.Errorf("%s (%s): %.80s", c.name, c.target, text)
		}
	}
}

func TestHeaders(t *testing.T) {
	for _, target := range []string{"/", "/assets/index-Bq3x.js", "/nothing.js"} {
		for _, page := range []fs.FS{built(), fstest.MapFS{}} {
			r := get(t, page, http.MethodGet, target, map[string]string{"Accept": browser})
			for name, want := range headers {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %s is %q", target, name, got)
				}
			}
		}
	}
	rules := map[string]string{}
	for rule := range strings.SplitSeq(policy, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(rule), " ")
		rules[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "base-uri": "'none'", "form-action": "'self'",
		"frame-ancestors": "'none'", "object-src": "",
	} {
		if rules[name] != want {
			t.Errorf("%s is %s", name, rules[name])
		}
	}
}

func TestEncodings(t *testing.T) {
	for _, c := range []struct{ target, accept, want string }{
		{"/assets/index-Bq3x.js", "gzip, deflate, br, zstd", "br"},
		{"/assets/index-Bq3x.js", "gzip", "gzip"},
		{"/assets/index-Bq3x.js", "br;q=0, gzip;q=0.5", "gzip"},
		{"/assets/index-Bq3x.js", "*", "br"},
		{"/assets/index-Bq3x.js", "*;q=0", ""},
		{"/assets/index-Bq3x.js", "", ""},
		{"/favicon.svg", "br, gzip", "gzip"},
		{"/", "gzip", "gzip"},
		{"/assets/style-9ab.css", "gzip", ""}, // too small
		{"/assets/photo-7.png", "gzip", ""},   // compressed already
	} {
		r := get(t, built(), http.MethodGet, c.target, map[string]string{"Accept-Encoding": c.accept})
		text := body(t, r)
		if got := r.Header.Get("Content-Encoding"); got != c.want {
			t.Errorf("%s with %q comes as %q, want %q", c.target, c.accept, got, c.want)
		}
		if c.target == "/assets/index-Bq3x.js" {
			if want := map[string]string{"br": "brotli", "gzip": "gzipped", "": script}[c.want]; text != want || r.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s with %q: %.40q, Vary %q", c.target, c.accept, text, r.Header.Get("Vary"))
			}
		}
	}
	// What the build didn't compress, New does, and it is the same.
	r := get(t, built(), http.MethodGet, "/favicon.svg", map[string]string{"Accept-Encoding": "gzip"})
	unzipped, err := gzip.NewReader(bytes.NewReader([]byte(body(t, r))))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(unzipped); err != nil || string(text) != string(built()["favicon.svg"].Data) {
		t.Errorf("%v %.60s", err, text)
	}
}

func TestETags(t *testing.T) {
	seen := map[string]bool{}
	for _, encoding := range []string{"br", "gzip", "identity"} {
		r := get(t, built(), http.MethodGet, "/assets/index-Bq3x.js", map[string]string{"Accept-Encoding": encoding})
		body(t, r)
		tag := r.Header.Get("ETag")
		if tag == "" || seen[tag] {
			t.Errorf("%s has the ETag %s", encoding, tag)
		}
		seen[tag] = true
		again := get(t, built(), http.MethodGet, "/assets/index-Bq3x.js", map[string]string{
			"Accept-Encoding": encoding, "If-None-Match": `"other", W/` + tag,
		})
		if text := body(t, again); again.StatusCode != http.StatusNotModified || text != "" {
			t.Errorf("%s: %d %q", encoding, again.StatusCode, text)
		}
	}
	changed := built()
	changed["assets/index-Bq3x.js"].Data = []byte("other")
	if r := get(t, changed, http.MethodGet, "/assets/index-Bq3x.js", nil); seen[r.Header.Get("ETag")] {
		t.Error("another file has the same ETag")
	}
	if r := get(t, built(), http.MethodGet, "/", nil); r.Header.Get("ETag") != "" {
		t.Error("the index has an ETag, though nobody keeps it")
	}
}

func TestMethods(t *testing.T) {
	for _, page := range []fs.FS{built(), fstest.MapFS{}} {
		r := get(t, page, http.MethodHead, "/", map[string]string{"Accept": browser})
		if text := body(t, r); text != "" || r.Header.Get("Content-Length") == "" {
			t.Errorf("HEAD: %d %q", r.StatusCode, text)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodConnect} {
		r := get(t, built(), method, "/", nil)
		if body(t, r); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, r.StatusCode)
		}
	}
}

func TestPageThatIsNotBuilt(t *testing.T) {
	r := get(t, fstest.MapFS{".gitkeep": {}}, http.MethodGet, "/projects/7", map[string]string{"Accept": browser})
	if text := body(t, r); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "make build") ||
		r.Header.Get("Cache-Control") != "no-store" || strings.Contains(text, "style") || strings.Contains(text, "<script") {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}

func TestFolderThatCannotBeRead(t *testing.T) {
	if _, err := New(brokenFS{}); err == nil || !strings.Contains(err.Error(), "read the built page") {
		t.Error(err)
	}
}

type brokenFS struct{}

func (brokenFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}
