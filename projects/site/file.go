package site

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// mostFile is how large a file may be, in bytes: all of them are kept in memory.
const mostFile = 32 << 20

// worthIt is from how many bytes on compression is worth its header.
const worthIt = 600

// types are those that the page has: what the machine says of extensions may differ from one to the next.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".json": "application/json", ".map": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
	".webp": "image/webp", ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json",
}

// A variant is a file in one encoding.
type variant struct {
	encoding string // br, gzip, or empty
	etag     string
	body     []byte
}

// A file is one of the page, in all encodings that there are of it.
type file struct {
	kind     string
	variants []variant // the smallest first, as it is last
}

// read takes all files of a folder.
func read(page fs.FS) (map[string]*file, error) {
	raw := make(map[string][]byte)
	err := fs.WalkDir(page, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch hidden := strings.HasPrefix(entry.Name(), ".") && name != "."; {
		case entry.IsDir() && hidden:
			return fs.SkipDir
		case entry.IsDir(), hidden:
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > mostFile {
			return fmt.Errorf("%s %w", name, errTooLarge)
		}
		raw[name], err = fs.ReadFile(page, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	files := make(map[string]*file, len(raw))
	for name, body := range raw {
		if base, found := cutEncoding(name); found && raw[base] != nil {
			continue // another file's
		}
		f := &file{kind: kindOf(name)}
		if packed := raw[name+".br"]; packed != nil {
			f.variants = append(f.variants, made("br", body, packed))
		}
		packed := raw[name+".gz"]
		if packed == nil && compressible(f.kind) && len(body) >= worthIt {
			if packed, err = compress(body); err != nil {
				return nil, fmt.Errorf("compress %s: %w", name, err)
			}
		}
		if packed != nil && len(packed) < len(body) {
			f.variants = append(f.variants, made("gzip", body, packed))
		}
		f.variants = append(f.variants, made("", body, body))
		files[name] = f
	}
	return files, nil
}

func cutEncoding(name string) (string, bool) {
	if base, found := strings.CutSuffix(name, ".br"); found {
		return base, true
	}
	return strings.CutSuffix(name, ".gz")
}

// made makes a variant. Each encoding has an ETag of its own, as they are other bytes.
func made(encoding string, body, packed []byte) variant {
	sum := sha256.Sum256(body)
	return variant{encoding: encoding, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + strings.TrimSuffix("-"+encoding, "-") + `"`, body: packed}
}

func kindOf(name string) string {
	if kind := types[path.Ext(name)]; kind != "" {
		return kind
	}
	if kind := mime.TypeByExtension(path.Ext(name)); kind != "" {
		return kind
	}
	return "application/octet-stream"
}

func compressible(kind string) bool {
	return strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "application/json") || kind == "image/svg+xml" ||
		kind == "application/manifest+json" || kind == "image/x-icon"
}

func compress(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// serve answers with the first encoding that the client takes.
func (f *file) serve(w http.ResponseWriter, r *http.Request, cache string) {
	v := f.variants[len(f.variants)-1]
	for _, candidate := range f.variants {
		if takes(r.Header.Values("Accept-Encoding"), candidate.encoding) {
			v = candidate
			break
		}
	}
	h := w.Header()
	h.Set("Cache-Control", cache)
	h.Set("Content-Type", f.kind)
	if cache != "no-store" {
		h.Set("ETag", v.etag)
	}
	if len(f.variants) > 1 {
		h.Add("Vary", "Accept-Encoding")
	}
	if v.encoding != "" {
		h.Set("Content-Encoding", v.encoding)
	}
	if matches(r.Header.Values("If-None-Match"), v.etag) && cache != "no-store" {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(v.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(v.body) // who has gone away needs no file
	}
}

// matches reads If-None-Match. Proxies that compress make weak ones of ETags.
func matches(fields []string, etag string) bool {
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// takes reads Accept-Encoding.
func takes(accept []string, encoding string) bool {
	if encoding == "" {
		return true
	}
	all := false
	for _, field := range accept {
		for part := range strings.SplitSeq(field, ",") {
			name, params, _ := strings.Cut(part, ";")
			switch name = strings.TrimSpace(name); {
			case strings.EqualFold(name, encoding):
				return !refused(params)
			case name == "*":
				all = !refused(params)
			}
		}
	}
	return all
}
