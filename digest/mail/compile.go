package mail

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"text/template/parse"
)

// The packages for templates call a function by reflection for each value that they escape, which took more than half of the time
// of a mail. The built-in templates need only a little of what templates can do, so they are compiled: the tree that the package
// has parsed, and in which it has put the escapers where they belong, becomes a list of steps that do just that. Tests compare
// what both make of everything that the tests and their fuzzing come up with. A tree that has something else in it isn't
// compiled, and executed as ever; the templates of sites always are.

// A step writes a piece of a template. Dot and root are what {{.}} and {{$}} mean there.
type step func(b *bytes.Buffer, dot, root reflect.Value)

// steps are a template that was compiled.
type steps []step

func (s steps) Execute(w io.Writer, content any) error {
	v := reflect.ValueOf(content).Elem()
	s.run(w.(*bytes.Buffer), v, v)
	return nil
}

func (s steps) run(b *bytes.Buffer, dot, root reflect.Value) {
	for _, step := range s {
		step(b, dot, root)
	}
}

// A getter finds a value.
type getter func(dot, root reflect.Value) reflect.Value

// A filter is what a value goes through on its way into the mail: an escaper, or a function with constants before the value.
type filter func(b *bytes.Buffer, s string)

// compile makes steps of a tree whose dot is a [Content].
func compile(tree *parse.Tree) (steps, error) {
	return compileList(tree.Root, reflect.TypeFor[Content]())
}

func compileList(list *parse.ListNode, dot reflect.Type) (steps, error) {
	if list == nil {
		return nil, nil
	}
	var all steps
	for _, node := range list.Nodes {
		var next step
		var err error
		switch node := node.(type) {
		case *parse.CommentNode:
			continue
		case *parse.TextNode:
			text := node.Text
			next = func(b *bytes.Buffer, _, _ reflect.Value) { b.Write(text) }
		case *parse.ActionNode:
			next, err = compileAction(node, dot)
		case *parse.IfNode:
			next, err = compileIf(&node.BranchNode, dot)
		case *parse.WithNode:
			next, err = compileWith(&node.BranchNode, dot)
		case *parse.RangeNode:
			next, err = compileRange(&node.BranchNode, dot)
		default:
			err = unknown(node)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	return all, nil
}

func unknown(node parse.Node) error { return fmt.Errorf("%s isn't compiled", node) }

// compileAction is {{.Text}}, after which come the escapers.
func compileAction(node *parse.ActionNode, dot reflect.Type) (step, error) {
	cmds := node.Pipe.Cmds
	if len(node.Pipe.Decl) > 0 || len(cmds[0].Args) != 1 {
		return nil, unknown(node)
	}
	get, typ, err := compileOperand(cmds[0].Args[0], dot)
	if err != nil {
		return nil, err
	}
	write := func(b *bytes.Buffer, s string) { b.WriteString(s) }
	if len(cmds) > 1 {
		if write = filters(cmds[1:]); write == nil {
			return nil, unknown(node)
		}
	}
	switch typ.Kind() {
	case reflect.String:
		return func(b *bytes.Buffer, dot, root reflect.Value) { write(b, get(dot, root).String()) }, nil
	case reflect.Int:
		return func(b *bytes.Buffer, dot, root reflect.Value) { write(b, strconv.FormatInt(get(dot, root).Int(), 10)) }, nil
	}
	return nil, unknown(node)
}

// filters finds the one function that does what a pipeline's do one after the other.
func filters(cmds []*parse.CommandNode) filter {
	name := ""
	for _, cmd := range cmds {
		name += "|" + cmd.String()
	}
	switch name {
	case `|rule "-"`:
		return func(b *bytes.Buffer, s string) { b.WriteString(rule("-", s)) }
	case "|_html_template_htmlescaper", "|_html_template_rcdataescaper", "|_html_template_attrescaper",
		// URLs are only ever those of absolute: http or https, and with nothing in them that is to be escaped for a URL.
		"|_html_template_urlfilter|_html_template_urlnormalizer|_html_template_attrescaper":
		return escape
	}
	return nil
}

// escape writes a text into HTML, between tags or between quotes.
func escape(b *bytes.Buffer, s string) {
	done := 0
	for i := range len(s) {
		var as string
		switch s[i] {
		case '&':
			as = "&amp;"
		case '<':
			as = "&lt;"
		case '>':
			as = "&gt;"
		case '"':
			as = "&#34;"
		case '\'':
			as = "&#39;"
		case '+':
			as = "&#43;"
		case 0:
			as = "\ufffd"
		default:
			continue
		}
		b.WriteString(s[done:i])
		b.WriteString(as)
		done = i + 1
	}
	b.WriteString(s[done:])
}

func compileIf(node *parse.BranchNode, dot reflect.Type) (step, error) {
	holds, err := compileCondition(node.Pipe, dot)
	if err != nil {
		return nil, err
	}
	then, err := compileList(node.List, dot)
	if err != nil {
		return nil, err
	}
	otherwise, err := compileList(node.ElseList, dot)
	return func(b *bytes.Buffer, dot, root reflect.Value) {
		if holds(dot, root) {
			then.run(b, dot, root)
		} else {
			otherwise.run(b, dot, root)
		}
	}, err
}

// compileCondition is {{if .Link}}, or {{if or .Link .Text}}.
func compileCondition(pipe *parse.PipeNode, dot reflect.Type) (func(dot, root reflect.Value) bool, error) {
	if len(pipe.Decl) > 0 || len(pipe.Cmds) != 1 {
		return nil, unknown(pipe)
	}
	args := pipe.Cmds[0].Args
	if len(args) > 1 {
		if name, ok := args[0].(*parse.IdentifierNode); !ok || name.Ident != "or" {
			return nil, unknown(pipe)
		}
		args = args[1:]
	}
	var getters []getter
	for _, arg := range args {
		get, _, err := compileOperand(arg, dot)
		if err != nil {
			return nil, err
		}
		getters = append(getters, get)
	}
	return func(dot, root reflect.Value) bool {
		for _, get := range getters {
			if isTrue(get(dot, root)) {
				return true
			}
		}
		return false
	}, nil
}

// isTrue is what templates take for true, of the types there are.
func isTrue(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int:
		return v.Int() != 0
	}
	return v.Len() > 0
}

func compileWith(node *parse.BranchNode, dot reflect.Type) (step, error) {
	get, typ, err := compileValue(node, dot)
	if err != nil {
		return nil, err
	}
	then, err := compileList(node.List, typ)
	return func(b *bytes.Buffer, dot, root reflect.Value) {
		if v := get(dot, root); isTrue(v) {
			then.run(b, v, root)
		}
	}, err
}

func compileRange(node *parse.BranchNode, dot reflect.Type) (step, error) {
	get, typ, err := compileValue(node, dot)
	if err != nil {
		return nil, err
	}
	if typ.Kind() != reflect.Slice {
		return nil, unknown(node)
	}
	each, err := compileList(node.List, typ.Elem())
	return func(b *bytes.Buffer, dot, root reflect.Value) {
		all := get(dot, root)
		for i := range all.Len() {
			each.run(b, all.Index(i), root)
		}
	}, err
}

// compileValue is the .Groups of {{range .Groups}}. Nothing that has an else is compiled.
func compileValue(node *parse.BranchNode, dot reflect.Type) (getter, reflect.Type, error) {
	if len(node.Pipe.Decl) > 0 || len(node.Pipe.Cmds) != 1 || len(node.Pipe.Cmds[0].Args) != 1 || node.ElseList != nil {
		return nil, nil, unknown(node)
	}
	return compileOperand(node.Pipe.Cmds[0].Args[0], dot)
}

// compileOperand is {{.}}, {{.Words.Open}} or {{$.Words.Open}}.
func compileOperand(node parse.Node, dot reflect.Type) (getter, reflect.Type, error) {
	var names []string
	fromRoot := false
	switch node := node.(type) {
	case *parse.DotNode:
	case *parse.FieldNode:
		names = node.Ident
	case *parse.VariableNode:
		if node.Ident[0] != "$" {
			return nil, nil, unknown(node)
		}
		names, fromRoot, dot = node.Ident[1:], true, reflect.TypeFor[Content]()
	default:
		return nil, nil, unknown(node)
	}
	var index []int
	for _, name := range names {
		if dot.Kind() != reflect.Struct {
			return nil, nil, unknown(node)
		}
		field, ok := dot.FieldByName(name)
		if !ok || len(field.Index) != 1 {
			return nil, nil, unknown(node)
		}
		index, dot = append(index, field.Index[0]), field.Type
	}
	switch dot.Kind() {
	case reflect.String, reflect.Int, reflect.Bool, reflect.Slice:
	default:
		return nil, nil, unknown(node)
	}
	return func(dot, root reflect.Value) reflect.Value {
		if fromRoot {
			dot = root
		}
		for _, i := range index {
			dot = dot.Field(i)
		}
		return dot
	}, dot, nil
}
