package markdown

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// A mention is somebody's name in a text, who is told of it.
type mention struct {
	ast.BaseInline
	person int64
	name   string
}

var kindMention = ast.NewNodeKind("Mention")

func (*mention) Kind() ast.NodeKind { return kindMention }

func (m *mention) Dump(source []byte, level int) {
	ast.DumpHelper(m, source, level, map[string]string{"Person": strconv.FormatInt(m.person, 10), "Name": m.name}, nil)
}

// mentionPattern is @[Name](person:ID). A bracket or backslash in a name has a backslash before it.
var mentionPattern = regexp.MustCompile(`^@\[((?:[^\[\]\\\n]|\\[^\n]){1,120})\]\(person:([1-9][0-9]{0,17})\)`)

// mentionSpan is more bytes than a mention can have: 120 characters, each with a backslash, and what is around them.
const mentionSpan = 120*5 + 40

type mentionParser struct{}

func (mentionParser) Trigger() []byte { return []byte{'@'} }

func (mentionParser) Parse(_ ast.Node, block text.Reader, _ parser.Context) ast.Node {
	line, _ := block.PeekLine()
	if len(line) < 2 || line[1] != '[' {
		return nil
	}
	found := mentionPattern.FindSubmatch(line[:min(len(line), mentionSpan)])
	if found == nil {
		return nil
	}
	person, err := strconv.ParseInt(string(found[2]), 10, 64)
	name := bytes.TrimSpace(util.UnescapePunctuations(found[1]))
	if err != nil || len(name) == 0 {
		return nil
	}
	block.Advance(len(found[0]))
	return &mention{person: person, name: string(name)}
}

// mentions lists who is mentioned.
func mentions(root ast.Node) []int64 {
	var people []int64
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if m, ok := n.(*mention); ok && entering && !slices.Contains(people, m.person) {
			people = append(people, m.person)
		}
		return ast.WalkContinue, nil
	})
	return people
}
