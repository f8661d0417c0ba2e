package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.css
var docsStyle string

//go:embed docs.html
var docsText string

var docsPage = template.Must(template.New("docs").Parse(docsText))

// docs is the description of the interface as a page that loads nothing from anywhere.
type docs struct {
	api    *huma.OpenAPI
	once   sync.Once
	page   []byte
	err    error
	policy string
}

func newDocs(api *huma.OpenAPI) *docs {
	sum := sha256.Sum256([]byte(docsStyle))
	return &docs{
		api: api,
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

func (d *docs) serve(w http.ResponseWriter, r *http.Request) {
	d.once.Do(func() {
		var page bytes.Buffer
		d.err = docsPage.Execute(&page, d.contents())
		d.page = page.Bytes()
	})
	if d.err != nil {
		failed().write(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", d.policy)
	_, _ = w.Write(d.page) // to a client that went away there is nothing to say
}

type docsContents struct {
	Title, Description string
	Style              template.CSS
	Sections           []docsSection
	Schemas            []docsSchema
}

type docsSection struct {
	Name, Description string
	Operations        []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description, Answer string
	Open                                           bool
	Parameters, Body                               []docsField
}

type docsField struct {
	Name, In, Type, Description string
	Required                    bool
}

type docsSchema struct {
	Name   string
	Fields []docsField
}

// contents brings the description into the order in which it is read.
func (d *docs) contents() docsContents {
	c := docsContents{Title: d.api.Info.Title, Description: d.api.Info.Description, Style: template.CSS(docsStyle)} //nolint:gosec // ours
	for _, tag := range d.api.Tags {
		section := docsSection{Name: tag.Name, Description: tag.Description}
		for _, op := range operations(d.api) {
			if slices.Contains(op.Tags, tag.Name) {
				section.Operations = append(section.Operations, d.operation(op))
			}
		}
		c.Sections = append(c.Sections, section)
	}
	schemas := d.api.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		if fields := d.fields(schemas[name]); len(fields) > 0 {
			c.Schemas = append(c.Schemas, docsSchema{Name: name, Fields: fields})
		}
	}
	return c
}

// operations are all that a description has, by path and method.
func operations(api *huma.OpenAPI) []*huma.Operation {
	var all []*huma.Operation
	for _, item := range api.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op != nil {
				all = append(all, op)
			}
		}
	}
	slices.SortFunc(all, func(a, b *huma.Operation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return all
}

func (d *docs) operation(o *huma.Operation) docsOperation {
	out := docsOperation{ID: o.OperationID, Method: o.Method, Path: o.Path, Summary: o.Summary, Description: o.Description, Open: isOpen(o)}
	for _, p := range o.Parameters {
		field := docsField{Name: p.Name, In: p.In, Description: p.Description, Required: p.Required}
		if p.Schema != nil {
			field.Type, field.Description = typeName(p.Schema), cmp.Or(p.Description, p.Schema.Description)
		}
		out.Parameters = append(out.Parameters, field)
	}
	if o.RequestBody != nil {
		for _, content := range o.RequestBody.Content {
			out.Body = d.fields(content.Schema)
		}
	}
	for status, answer := range o.Responses {
		if content := answer.Content["application/json"]; content != nil && strings.HasPrefix(status, "2") {
			out.Answer = typeName(content.Schema)
		}
	}
	return out
}

// fields are those of an object, by name.
func (d *docs) fields(s *huma.Schema) []docsField {
	if s != nil && s.Ref != "" {
		s = d.api.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if s == nil {
		return nil
	}
	var fields []docsField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if name == "$schema" {
			continue
		}
		p := s.Properties[name]
		fields = append(fields, docsField{
			Name: name, Type: typeName(p), Description: p.Description, Required: slices.Contains(s.Required, name),
		})
	}
	return fields
}

func typeName(s *huma.Schema) string {
	switch {
	case s == nil || (s.Type == "" && s.Ref == ""):
		return "any JSON"
	case s.Ref != "":
		return path.Base(s.Ref)
	case s.Type == "array" && s.Items != nil:
		return "array of " + typeName(s.Items)
	case s.Nullable:
		return s.Type + " or null"
	}
	return s.Type
}
