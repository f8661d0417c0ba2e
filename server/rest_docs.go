package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed rest_docs.css
var docsStyle string

//go:embed rest_docs.html
var docsText string

var docsPage = template.Must(template.New("docs").Parse(docsText))

// docs is the description of REST as a page that loads nothing from anywhere.
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

func (d *docs) serve(w http.ResponseWriter, _ *http.Request) {
	d.once.Do(func() {
		var page bytes.Buffer
		d.err = docsPage.Execute(&page, d.contents())
		d.page = page.Bytes()
	})
	if d.err != nil {
		problemf(w, http.StatusInternalServerError, "the page can't be made: %s", d.err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", d.policy)
	header.Set("Referrer-Policy", "no-referrer")
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
	ID, Method, Path, Summary, Description string
	Parameters                             []docsField
	Body                                   []docsSchema
	Answer                                 []docsSchema
}

type docsField struct {
	Name, In, Type, Description, Default string
	Required                             bool
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
		for path, item := range d.api.Paths {
			for _, o := range []struct {
				method    string
				operation *huma.Operation
			}{{"GET", item.Get}, {"PUT", item.Put}, {"POST", item.Post}, {"DELETE", item.Delete}} {
				if o.operation != nil && slices.Contains(o.operation.Tags, tag.Name) {
					section.Operations = append(section.Operations, d.operation(o.method, path, o.operation))
				}
			}
		}
		slices.SortFunc(section.Operations, func(a, b docsOperation) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
		})
		c.Sections = append(c.Sections, section)
	}
	c.Schemas = d.schema("Problem", &huma.Schema{Ref: "#/components/schemas/Problem"})
	return c
}

func (d *docs) operation(method, path string, o *huma.Operation) docsOperation {
	out := docsOperation{ID: o.OperationID, Method: method, Path: path, Summary: o.Summary, Description: o.Description}
	for _, p := range o.Parameters {
		field := docsField{Name: p.Name, In: p.In, Description: p.Description, Required: p.Required}
		if p.Schema != nil {
			field.Type = typeName(p.Schema)
			field.Description = cmp.Or(p.Description, p.Schema.Description)
			if p.Schema.Default != nil {
				field.Default = jsonText(p.Schema.Default)
			}
		}
		out.Parameters = append(out.Parameters, field)
	}
	if o.RequestBody != nil {
		for _, content := range o.RequestBody.Content {
			out.Body = d.schema("", content.Schema)
		}
	}
	for status, answer := range o.Responses {
		if content := answer.Content["application/json"]; content != nil && strings.HasPrefix(status, "2") {
			out.Answer = d.schema("", content.Schema)
		}
	}
	return out
}

// schema flattens an object into tables, one for each object in it.
func (d *docs) schema(name string, s *huma.Schema) []docsSchema {
	if s == nil {
		return nil
	}
	if s.Ref != "" {
		s = d.api.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if len(s.OneOf) > 0 {
		var all []docsSchema
		for _, one := range s.OneOf {
			all = append(all, d.schema(name, one)...)
		}
		return all
	}
	if s.Type == "array" && s.Items != nil {
		return d.schema(name, s.Items)
	}
	if len(s.Properties) == 0 {
		return nil
	}
	table := docsSchema{Name: name}
	var inner []docsSchema
	for _, property := range slices.Sorted(maps.Keys(s.Properties)) {
		if property == "$schema" {
			continue
		}
		p := s.Properties[property]
		table.Fields = append(table.Fields, docsField{
			Name: property, Type: typeName(p), Description: p.Description, Required: slices.Contains(s.Required, property),
		})
		inner = append(inner, d.schema(property, p)...)
	}
	return append([]docsSchema{table}, inner...)
}

func typeName(s *huma.Schema) string {
	switch {
	case s.Ref != "":
		return "object"
	case len(s.OneOf) > 0:
		return typeName(s.OneOf[0])
	case s.Type == "array" && s.Items != nil:
		return "array of " + typeName(s.Items)
	case s.Type == "":
		return "any JSON"
	}
	return s.Type
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}
