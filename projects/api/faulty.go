package api

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline/projects"
)

// faulty says what huma found wrong, without repeating what was sent.
func faulty(e *huma.ErrorModel) *problem {
	p := problemOf(e.Status, "This request can't be read. Look at /api/docs for what it should be.")
	first := ""
	for _, wrong := range e.Errors {
		if strings.HasPrefix(wrong.Location, "path.") {
			return asProblem(projects.ErrNotFound)
		}
		if len(p.Errors) < 10 {
			location, phrase := plainly(wrong)
			p.Errors = append(p.Errors, fault{Location: location, Message: strings.ToUpper(phrase[:1]) + phrase[1:] + "."})
			if first == "" {
				where := strings.TrimPrefix(strings.TrimPrefix(location, "body."), "query.")
				first = strings.TrimPrefix(where+": ", "body: ") + phrase + "."
			}
		}
	}
	switch {
	case first != "":
		p.Detail = strings.ToUpper(first[:1]) + first[1:]
		if len(p.Errors) > 0 && p.Errors[0].Location != "body" {
			p.Detail = first // a field's name is written as it is
		}
	case e.Detail == "request body is required":
		p = problemOf(http.StatusBadRequest, "The request has no body: send JSON.")
	}
	return p
}

// phrases are what huma and the decoder say, and what we say instead. $1 is a number or a name of our own.
var phrases = []struct {
	theirs *regexp.Regexp
	ours   string
}{
	{regexp.MustCompile(`^expected string`), "this has to be text"},
	{regexp.MustCompile(`^(?:expected|invalid) integer`), "this has to be a whole number, and not too large"},
	{regexp.MustCompile(`^(?:expected|invalid) boolean`), "this has to be true or false"},
	{regexp.MustCompile(`^expected number >= (-?[0-9]+)$`), "this has to be $1 or more"},
	{regexp.MustCompile(`^expected number <= (-?[0-9]+)$`), "this has to be $1 or less"},
	{regexp.MustCompile(`^(?:expected|invalid) (?:number|float)`), "this has to be a number"},
	{regexp.MustCompile(`^expected array length <= ([0-9]+)$`), "this may have $1 entries at most: leave some out"},
	{regexp.MustCompile(`^expected array`), "this has to be a list"},
	{regexp.MustCompile(`^expected object`), "this has to be an object with fields"},
	{regexp.MustCompile(`^expected required property \w+ to be present$`), "this is missing: give it"},
	{regexp.MustCompile(`^required query parameter is missing$`), "this is missing: give it"},
	{regexp.MustCompile(`^unexpected property$`), "there is no such field: leave it out"},
	{regexp.MustCompile(`^unknown query parameter$`), "there is no such parameter: leave it out"},
	// An id of 1e300 fits the description, and no number of ours.
	{regexp.MustCompile(`^json: cannot unmarshal (number|string|array|object|bool)`), "this $1 can't be taken: it is too large, or of the wrong kind"},
	{regexp.MustCompile(`^(?:json: )?(?:invalid character|unexpected (?:end|EOF))`), "this is no JSON: check its quotes, commas and brackets"},
}

var (
	missing     = regexp.MustCompile(`^expected required property (\w+) to be present$`)
	undecodable = regexp.MustCompile(`^json: cannot unmarshal .* into Go struct field [^ ]*?\.?([a-z_0-9]+) of type`)
)

// plainly says where a request is wrong, and what is wrong there, without words of the program's.
func plainly(wrong *huma.ErrorDetail) (location, phrase string) {
	location, phrase = clip(wrong.Location), wrong.Message
	if found := missing.FindStringSubmatch(phrase); found != nil {
		location += "." + found[1]
	}
	if found := undecodable.FindStringSubmatch(phrase); found != nil {
		location = "body." + found[1]
	}
	for _, p := range phrases {
		if at := p.theirs.FindStringSubmatchIndex(phrase); at != nil {
			return location, string(p.theirs.ExpandString(nil, p.ours, phrase, at))
		}
	}
	// What resolvers of ours say, such as that of projects.Optional.
	return location, strings.TrimSuffix(phrase, ".")
}
