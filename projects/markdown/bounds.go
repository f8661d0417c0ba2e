package markdown

import (
	"bytes"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// nests tells whether a line opens more than most quotes and lists at once: each of them is asked about every line that follows.
func nests(source []byte, most int) bool {
	for line := range bytes.Lines(source) {
		markers := 0
		for i := 0; i < len(line) && markers <= most; i++ {
			c := line[i]
			follows := i+1 == len(line) || bytes.IndexByte([]byte(" \t\r\n"), line[i+1]) >= 0
			switch {
			case c == ' ' || c == '\t' || '0' <= c && c <= '9':
			case c == '>', follows && bytes.IndexByte([]byte("-+*.)"), c) >= 0:
				markers++
			default:
				i = len(line)
			}
		}
		if markers > most {
			return true
		}
	}
	return false
}

// deeper tells whether a document is nested more deeply than most.
func deeper(root ast.Node, most int) bool {
	depth, found := 0, false
	_ = ast.Walk(root, func(_ ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			depth--
			return ast.WalkContinue, nil
		}
		if depth++; depth > most {
			found = true
			return ast.WalkStop, nil
		}
		return ast.WalkContinue, nil
	})
	return found
}

// maxCells is how many cells a table may have. Rows are filled up to the width of the first one, so that a few letters in each of
// many rows make cells without end.
const maxCells = 4000

// tables makes tables of paragraphs, unless they would have too many cells.
type tables struct{ parser.ParagraphTransformer }

func newTables() tables { return tables{extension.NewTableParagraphTransformer()} }

func (t tables) Transform(node *ast.Paragraph, reader text.Reader, context parser.Context) {
	lines, widest := node.Lines(), 0
	for i := range lines.Len() {
		line := lines.At(i)
		widest = max(widest, 1+bytes.Count(line.Value(reader.Source()), []byte{'|'}))
	}
	if widest > 1 && lines.Len()*widest <= maxCells {
		t.ParagraphTransformer.Transform(node, reader, context)
	}
}
