package projects

import (
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	pngHead = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	gifHead = "GIF89a\x01\x00\x01\x00"
	pdfHead = "%PDF-1.7\n"
	zipHead = "PK\x03\x04"
)

func TestCleanFileName(t *testing.T) {
	long := strings.Repeat("ä", 300)
	for name, want := range map[string]string{
		"plan.pdf": "plan.pdf", "../../etc/passwd": "passwd", `C:\Users\Ann\plan.pdf`: "plan.pdf", "a/": "file", "": "file", "..": "file",
		"a\x00b\x1f\r\n.txt": "ab .txt", "a\u202egpj.exe": "agpj.exe", " . hidden . ": "hidden", "\u200b": "file", "a\xffb.txt": "ab.txt",
		`a<b>:"|?*.txt`: "a_b______.txt", "über Straße 🌻.png": "über Straße 🌻.png",
		long + ".pdf":             strings.Repeat("ä", 116) + ".pdf",
		"a." + long:               "a." + strings.Repeat("ä", 118),
		"a  b\t c.txt":            "a b c.txt",
		`x"; filename="evil.html`: "x_; filename=_evil.html",
	} {
		got := CleanFileName(name)
		if got != want || utf8.RuneCountInString(got) > mostFileName {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
		if again := CleanFileName(got); again != got {
			t.Errorf("%q becomes %q when it is cleaned again", got, again)
		}
	}
}

func TestFileIsWhatItSays(t *testing.T) {
	docx := zipHead + strings.Repeat("\x00", 26) + "[Content_Types].xml" + "word/document.xml"
	for name, tt := range map[string]struct {
		file, content string
		want          string // the media type; "": refused
	}{
		"png":                     {"a.png", pngHead, "image/png"},
		"upper case":              {"A.PNG", pngHead, "image/png"},
		"gif":                     {"a.gif", gifHead, "image/gif"},
		"jpeg":                    {"a.jpg", "\xff\xd8\xff\xe0", "image/jpeg"},
		"webp":                    {"a.webp", "RIFF\x00\x00\x00\x00WEBPVP", "image/webp"},
		"pdf":                     {"a.pdf", pdfHead, "application/pdf"},
		"docx":                    {"a.docx", docx, typeWord},
		"a docx named zip":        {"a.zip", docx, typeWord},
		"a table in a docx":       {"a.docx", docx[:49] + "xl/workbook.xml" + docx[49:], typeWord},
		"a docx with a password":  {"a.docx", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", typeOldDocs},
		"a phone's photo":         {"IMG.HEIC", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", typeHEIC},
		"mp3 without a tag":       {"a.mp3", "\xff\xfb\x90\x00\x01\x02", typeAny},
		"a photo that is a film":  {"a.jpg", "\x00\x00\x00\x18ftypisom\x00\x00\x00\x00", ""},
		"html as mp3":             {"a.mp3", "<html>", ""},
		"text":                    {"a.txt", "hello", "text/plain"},
		"markdown":                {"a.md", "# hello", "text/plain"},
		"html as html":            {"a.html", "<html><script>alert(1)</script>", "text/html"},
		"svg as svg":              {"a.svg", `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">`, typeSVG},
		"unknown":                 {"a.dwg", "\x00\x01\x02AC10", typeAny},
		"without an extension":    {"README", "hello", "text/plain"},
		"mp4":                     {"a.mp4", "\x00\x00\x00\x18ftypisom\x00\x00\x00\x00mp42isom", "video/mp4"},
		"html as png":             {"photo.png", "<!DOCTYPE html><script>alert(1)</script>", ""},
		"svg as png":              {"photo.png", `<svg onload="alert(1)">`, ""},
		"svg behind a comment":    {"photo.gif", `<?xml version="1.0"?><!-- x --><svg/>`, ""},
		"a program as pdf":        {"a.pdf", "MZ\x90\x00", ""},
		"a program as text":       {"a.txt", "\x7fELF\x02\x01", ""},
		"gif as png":              {"a.png", gifHead, ""},
		"text as png":             {"a.png", "hello", ""},
		"zip as docx":             {"a.docx", zipHead + "\x00", ""},
		"png as text":             {"a.txt", pngHead, ""},
		"html of no known kind":   {"a.xyz", "<html>", ""},
		"html without extension":  {"index", "  <body onload=alert(1)>", ""},
		"a gif that is also html": {"a.gif", gifHead + "<script>alert(1)</script>", "image/gif"},
	} {
		t.Run(name, func(t *testing.T) {
			found := mediaType([]byte(tt.content))
			err := isWhatItSays(tt.file, found)
			if tt.want == "" {
				wantError(t, err, &InvalidError{Field: "name"})
				if !strings.Contains(err.Error(), tt.file) {
					t.Errorf("%q doesn't name the file", err)
				}
				return
			}
			if err != nil || found != tt.want {
				t.Errorf("found %s, want %s: %v", found, tt.want, err)
			}
		})
	}
}
