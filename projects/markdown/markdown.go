// Package markdown makes HTML of what people write in chats: of Markdown with tables, ~~strikethrough~~ and addresses that become
// links, and with mentions, written @[Name](person:ID).
//
// The HTML may go into a page as it is. There is nothing in it that runs or loads anything: HTML that somebody writes is shown as
// they wrote it, pictures are links, and links lead to http, https and mailto, tell nobody where from, and open a page of their own.
package markdown

import (
	"bytes"
	"html"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extensionast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	htmlrenderer "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// A Document is a text that was read.
type Document struct {
	// HTML is safe: it went through a sanitizer.
	HTML string
	// Text is what a reader sees of it, on one line.
	Text string
	// Mentions are the ids of those who are mentioned, each once, in the order of the text.
	Mentions []int64
}

// Render returns a text's HTML.
func Render(source string) string { return Read(source).HTML }

// Read reads a text. One that is nested more deeply than people write, or would make far more HTML than it has letters, is shown
// as it was written, so that neither here nor in a browser anybody can cause much work with few words.
func Read(source string) Document {
	if document, ok := read([]byte(source)); ok {
		return document
	}
	return asWritten(source)
}

const (
	// maxDepth is how deeply blocks and marks may be nested.
	maxDepth = 48
	// maxBrackets is how many brackets may open. What follows each is searched for its end.
	maxBrackets = 1000
	// maxHTML is how many bytes of HTML a text may make.
	maxHTML = 512 << 10
)

// read returns false for what is better shown as it was written.
func read(source []byte) (document Document, ok bool) {
	// A parser of what strangers write may have a mistake. What they wrote can be shown all the same.
	defer func() {
		if recover() != nil {
			document, ok = Document{}, false
		}
	}()
	if nests(source, maxDepth) || bytes.Count(source, []byte{'['}) > maxBrackets {
		return Document{}, false
	}
	root := markdown.Parse(text.NewReader(source))
	if deeper(root, maxDepth) {
		return Document{}, false
	}
	var out bytes.Buffer
	if err := writer.Render(&out, source, root); err != nil || out.Len() > maxHTML {
		return Document{}, false
	}
	return Document{HTML: strings.TrimSpace(policy.Sanitize(out.String())), Text: plain(root, source), Mentions: mentions(root)}, true
}

// asWritten shows a text without reading marks in it.
func asWritten(source string) Document {
	escaped := html.EscapeString(strings.TrimSpace(source))
	return Document{
		HTML: policy.Sanitize("<p>" + strings.ReplaceAll(escaped, "\n", "<br>\n") + "</p>"),
		Text: strings.Join(strings.Fields(source), " "),
	}
}

// markdown reads blocks and what is in them. HTML has no parser here, so it is text; nor has a line below a paragraph that would
// make a heading of it.
var markdown = parser.NewParser(
	parser.WithBlockParsers(
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(parser.NewListParser(), 300),
		util.Prioritized(parser.NewListItemParser(), 400),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
		util.Prioritized(parser.NewBlockquoteParser(), 800),
		util.Prioritized(parser.NewParagraphParser(), 1000),
	),
	parser.WithInlineParsers(
		util.Prioritized(parser.NewCodeSpanParser(), 100),
		util.Prioritized(mentionParser{}, 150),
		util.Prioritized(parser.NewLinkParser(), 200),
		util.Prioritized(parser.NewAutoLinkParser(), 300),
		util.Prioritized(parser.NewEmphasisParser(), 500),
		util.Prioritized(extension.NewStrikethroughParser(), 500),
		util.Prioritized(extension.NewLinkifyParser(extension.WithLinkifyAllowedProtocols([]string{"http:", "https:"})), 999),
	),
	parser.WithParagraphTransformers(util.Prioritized(newTables(), 200)),
)

var writer = renderer.NewRenderer(renderer.WithNodeRenderers(
	util.Prioritized(writers{}, 100),
	util.Prioritized(extension.NewTableHTMLRenderer(
		extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)), 500),
	util.Prioritized(extension.NewStrikethroughHTMLRenderer(), 500),
	util.Prioritized(htmlrenderer.NewRenderer(htmlrenderer.WithHardWraps()), 1000),
))

// policy lets through what the writer makes, and would be safe if the writer weren't.
var policy = newPolicy()

func newPolicy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "strong", "em", "del", "code", "pre", "ul", "ol", "li", "blockquote", "hr",
		"table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("start").Matching(bluemonday.Integer).OnElements("ol")
	p.AllowAttrs("align").Matching(alignment).OnElements("th", "td")
	p.AllowAttrs("class").Matching(language).OnElements("code")
	p.AllowAttrs("class").Matching(mentionClass).OnElements("span")
	p.AllowAttrs("data-person").Matching(bluemonday.Integer).OnElements("span")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(false)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true)
	return p
}

// plain is what a reader sees of a document: without marks, and with spaces for line breaks.
func plain(root ast.Node, source []byte) string {
	var out strings.Builder
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n.Type() == ast.TypeBlock || n.Kind() == extensionast.KindTableCell {
			out.WriteByte(' ')
		}
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			segment := n.Segment.Value(source)
			if !n.IsRaw() {
				segment = util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(segment)))
			}
			out.Write(segment)
			if n.SoftLineBreak() || n.HardLineBreak() {
				out.WriteByte(' ')
			}
		case *ast.String:
			out.Write(n.Value)
		case *ast.AutoLink:
			out.Write(n.Label(source))
		case *mention:
			out.WriteString("@" + n.name)
		case *ast.CodeBlock:
			out.Write(n.Lines().Value(source))
		case *ast.FencedCodeBlock:
			out.Write(n.Lines().Value(source))
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(out.String()), " ")
}
