package projects

import (
	"bytes"
	"fmt"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostFileName is how many characters a file's name has, its extension included.
const mostFileName = 120

// CleanFileName makes of what somebody calls a file a name that can be shown and saved anywhere: without folders, without
// characters that can't be seen or mean something to a system, and not too long.
func CleanFileName(name string) string {
	name = strings.ToValidUTF8(name, "")
	if at := strings.LastIndexAny(name, `/\`); at >= 0 {
		name = name[at+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r):
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		}
		return r
	}, name)
	name = strings.Trim(strings.Join(strings.Fields(name), " "), ". ")
	if !visible(name) {
		return "file"
	}
	if extra := utf8.RuneCountInString(name) - mostFileName; extra > 0 {
		extension := path.Ext(name)
		if utf8.RuneCountInString(extension) > 20 {
			extension = ""
		}
		stem := []rune(strings.TrimSuffix(name, extension))
		name = strings.TrimRight(string(stem[:len(stem)-extra]), ". ") + extension
	}
	return name
}

// The types that isWhatItSays tells apart and http.DetectContentType doesn't.
const (
	typeSVG     = "image/svg+xml"
	typeWord    = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	typeSheet   = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	typeSlides  = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
	typeOldDocs = "application/x-ole-storage" // Word, Excel and PowerPoint until 2003
	typeHEIC    = "image/heic"                // a phone's photo, which few browsers show
	typeProgram = "application/x-executable"
	typeAny     = "application/octet-stream"
)

// mediaType says what a file is, by its content alone.
func mediaType(content []byte) string {
	head := content[:min(len(content), 4096)]
	sniffed, _, _ := strings.Cut(http.DetectContentType(head), ";")
	begins := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case sniffed == "application/zip":
		return officeType(content)
	case begins("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
		return typeOldDocs
	case begins("MZ"), begins("\x7fELF"), begins("\xcf\xfa\xed\xfe"), begins("\xfe\xed\xfa"):
		return typeProgram
	case sniffed == typeAny && len(head) > 12 && string(head[4:8]) == "ftyp":
		if brand := string(head[8:12]); strings.HasPrefix(brand, "hei") || brand == "mif1" {
			return typeHEIC
		}
		return "video/mp4"
	case strings.HasPrefix(sniffed, "text/") && bytes.Contains(bytes.ToLower(head), []byte("<svg")):
		return typeSVG
	}
	return sniffed
}

// officeType tells Office documents from other ZIP files. Names stand in a ZIP as they are, and once more at its end, behind those
// of a ZIP that is in it.
func officeType(content []byte) string {
	kind, last := "application/zip", -1
	if !bytes.Contains(content, []byte("[Content_Types].xml")) {
		return kind
	}
	for _, office := range []struct{ folder, kind string }{{"word/", typeWord}, {"xl/", typeSheet}, {"ppt/", typeSlides}} {
		if at := bytes.LastIndex(content, []byte(office.folder)); at > last {
			kind, last = office.kind, at
		}
	}
	return kind
}

// extensions are what files may be that are called so. What isn't here may be anything but what a browser would run. Office documents
// with a password are kept in the old format; sounds and films have more forms than can be told.
var extensions = map[string][]string{
	".png": {"image/png"}, ".jpg": {"image/jpeg"}, ".jpeg": {"image/jpeg"}, ".gif": {"image/gif"}, ".webp": {"image/webp"},
	".bmp": {"image/bmp"}, ".svg": {typeSVG}, ".ico": {"image/x-icon"}, ".heic": {typeHEIC}, ".heif": {typeHEIC},
	".pdf": {"application/pdf"},
	".zip": {"application/zip", typeWord, typeSheet, typeSlides}, ".gz": {"application/x-gzip"}, ".rar": {"application/x-rar-compressed"},
	".docx": {typeWord, typeOldDocs}, ".xlsx": {typeSheet, typeOldDocs}, ".pptx": {typeSlides, typeOldDocs},
	".odt": {"application/zip"}, ".ods": {"application/zip"}, ".odp": {"application/zip"},
	".doc": {typeOldDocs, "text/plain"}, ".xls": {typeOldDocs, "text/plain", "text/html", "text/xml"}, ".ppt": {typeOldDocs},
	".mp4": {"video/mp4", typeAny}, ".m4a": {"video/mp4", typeAny}, ".mov": {"video/mp4", typeAny}, ".webm": {"video/webm", typeAny},
	".mp3": {"audio/mpeg", typeAny}, ".wav": {"audio/wave", typeAny}, ".ogg": {"application/ogg", typeAny},
	".txt": textTypes, ".md": textTypes, ".csv": textTypes, ".log": textTypes, ".json": textTypes, ".yaml": textTypes, ".yml": textTypes,
	".xml": textTypes, ".html": textTypes, ".htm": textTypes, ".css": textTypes, ".js": textTypes, ".sql": textTypes,
}

// textTypes are what is read as text. A text that begins like a page is one all the same.
var textTypes = []string{"text/plain", "text/html", "text/xml", typeSVG}

// isWhatItSays refuses a file whose content isn't what its name says. It may be a mistake; it may be there to be opened by one.
func isWhatItSays(name, found string) error {
	extension := strings.ToLower(path.Ext(name))
	allowed, known := extensions[extension]
	for _, one := range allowed {
		if one == found {
			return nil
		}
	}
	if !known && found != "text/html" && found != typeSVG {
		return nil
	}
	if !known {
		return &InvalidError{Field: "name", Problem: fmt.Sprintf("“%s” is %s, which its name doesn't say: give it the right extension, and attach it again.", name, called(found))}
	}
	return &InvalidError{Field: "name", Problem: fmt.Sprintf("“%s” isn't what its name says, but %s: check the file, or give it the right extension.", name, called(found))}
}

// called is a media type in words.
func called(mediaType string) string {
	for words, types := range map[string][]string{
		"a web page": {"text/html"}, "a text": {"text/plain"}, "an XML file": {"text/xml"}, "an SVG drawing": {typeSVG}, "a PDF": {"application/pdf"},
		"a ZIP file": {"application/zip"}, "a program": {typeProgram}, "an unknown kind of file": {typeAny},
		"an Office document": {typeWord, typeSheet, typeSlides, typeOldDocs},
	} {
		for _, one := range types {
			if one == mediaType {
				return words
			}
		}
	}
	return "a file of the type " + mediaType
}
