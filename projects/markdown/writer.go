package markdown

import (
	"fmt"
	"regexp"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

var (
	alignment    = regexp.MustCompile(`^(left|center|right)$`)
	language     = regexp.MustCompile(`^language-[A-Za-z0-9_+#.-]{1,32}$`)
	mentionClass = regexp.MustCompile(`^mention$`)
)

// writers writes what chats show in a way of their own.
type writers struct{}

func (w writers) RegisterFuncs(register renderer.NodeRendererFuncRegisterer) {
	register.Register(kindMention, w.mention)
	register.Register(ast.KindHeading, w.heading)
	register.Register(ast.KindImage, w.image)
}

func (writers) mention(out util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if m, ok := n.(*mention); ok && entering {
		_, _ = fmt.Fprintf(out, `<span class="mention" data-person="%d">@%s</span>`, m.person, util.EscapeHTML([]byte(m.name)))
	}
	return ast.WalkContinue, nil
}

// heading writes no heading: those are the page's, and people find their way by them.
func (writers) heading(out util.BufWriter, _ []byte, _ ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		_, _ = out.WriteString("<p><strong>")
	} else {
		_, _ = out.WriteString("</strong></p>\n")
	}
	return ast.WalkContinue, nil
}

// image writes a link: to load it would tell its site who reads this. Within a link it is that link's text.
func (writers) image(out util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	for p := n.Parent(); p != nil; p = p.Parent() {
		if p.Kind() == ast.KindLink || p.Kind() == ast.KindImage {
			return ast.WalkContinue, nil
		}
	}
	image, ok := n.(*ast.Image)
	if !ok {
		return ast.WalkContinue, nil
	}
	if !entering {
		_, _ = out.WriteString("</a>")
		return ast.WalkContinue, nil
	}
	_, _ = fmt.Fprintf(out, `<a href="%s">`, util.EscapeHTML(util.URLEscape(image.Destination, true)))
	if !n.HasChildren() {
		_, _ = out.Write(util.EscapeHTML(image.Destination))
	}
	return ast.WalkContinue, nil
}
