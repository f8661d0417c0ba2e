package markdown

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

func TestRender(t *testing.T) {
	link := func(href, text string) string {
		return fmt.Sprintf(`<a href="%s" rel="nofollow noreferrer noopener" target="_blank">%s</a>`, href, text)
	}
	for name, tt := range map[string]struct{ source, want string }{
		"paragraphs":      {"one\ntwo\n\nthree", "<p>one<br>\ntwo</p>\n<p>three</p>"},
		"marks":           {"**a** _b_ ~~c~~ `d<e`", "<p><strong>a</strong> <em>b</em> <del>c</del> <code>d&lt;e</code></p>"},
		"list":            {"- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"},
		"numbered":        {"3. a", "<ol start=\"3\">\n<li>a</li>\n</ol>"},
		"quote":           {"> a", "<blockquote>\n<p>a</p>\n</blockquote>"},
		"code":            {"```go\na < b\n```", "<pre><code class=\"language-go\">a &lt; b\n</code></pre>"},
		"code, odd name":  {"```go\"onclick=x\na\n```", "<pre><code>a\n</code></pre>"},
		"table":           {"|a|b|\n|:-|-:|\n|1|2|", "<table>\n<thead>\n<tr>\n<th align=\"left\">a</th>\n<th align=\"right\">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td align=\"left\">1</td>\n<td align=\"right\">2</td>\n</tr>\n</tbody>\n</table>"},
		"heading":         {"# a *b*", "<p><strong>a <em>b</em></strong></p>"},
		"no heading":      {"a\n---", "<p>a</p>\n<hr>"},
		"link":            {"[a](https://example.com/?a=1&b=2 \"t\")", "<p>" + link("https://example.com/?a=1&amp;b=2", "a") + "</p>"},
		"address":         {"see https://example.com/a.", "<p>see " + link("https://example.com/a", "https://example.com/a") + ".</p>"},
		"www":             {"www.example.com", "<p>" + link("http://www.example.com", "www.example.com") + "</p>"},
		"mail":            {"ann@example.com", `<p><a href="mailto:ann@example.com" rel="nofollow noreferrer noopener">ann@example.com</a></p>`},
		"script link":     {"[a](javascript:alert(1))", "<p>a</p>"},
		"hidden script":   {"[a](java&#10;script:alert(1)) [b](&#x6a;avascript:alert(1)) <javascript:alert(1)>", "<p>a b javascript:alert(1)</p>"},
		"data link":       {"[a](data:text/html;base64,PHNjcmlwdD4=)", "<p>a</p>"},
		"relative link":   {"[a](/projects/1) [b](//evil.example)", "<p>a b</p>"},
		"html":            {"<script>alert(1)</script> <b onclick='x'>b</b>", "<p>&lt;script&gt;alert(1)&lt;/script&gt; &lt;b onclick=&#39;x&#39;&gt;b&lt;/b&gt;</p>"},
		"html block":      {"<div>\n<img src=x onerror=alert(1)>\n</div>", "<p>&lt;div&gt;<br>\n&lt;img src=x onerror=alert(1)&gt;<br>\n&lt;/div&gt;</p>"},
		"picture":         {"![a *b*](https://example.com/a.png)", "<p>" + link("https://example.com/a.png", "a <em>b</em>") + "</p>"},
		"bare picture":    {"![](https://example.com/a.png)", "<p>" + link("https://example.com/a.png", "https://example.com/a.png") + "</p>"},
		"linked picture":  {"[![a](https://b.example)](https://c.example)", "<p>" + link("https://c.example", "a") + "</p>"},
		"script picture":  {`![a"onerror=x](javascript:alert(1))`, "<p>a&#34;onerror=x</p>"},
		"breaking out":    {`[a](https://b.example/"onmouseover="x)`, "<p>" + link("https://b.example/%22onmouseover=%22x", "a") + "</p>"},
		"mention":         {"hi @[Ann \\[CEO\\] <b>](person:17)!", `<p>hi <span class="mention" data-person="17">@Ann [CEO] &lt;b&gt;</span>!</p>`},
		"no mention":      {"@[](person:1) @[a](person:x) @[a](person:0) `@[a](person:1)`", "<p>@ @a @a <code>@[a](person:1)</code></p>"},
		"a mention of -1": {"@[a](person:-1)", "<p>@a</p>"},
		"reference":       {"[a]: https://b.example\n\n[a]", "<p>[a]: " + link("https://b.example", "https://b.example") + "</p>\n<p>[a]</p>"},
		"entities":        {"&lt;b&gt; &copy; &#0; \\<", "<p>&lt;b&gt; © � &lt;</p>"},
		"nothing":         {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Render(tt.source)
			// Both are the same to a browser.
			want := strings.ReplaceAll(tt.want, `"nofollow noreferrer noopener"`, rel(got))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tt.source, diff)
			}
			harmless(t, tt.source, got)
		})
	}
}

// rel is the attribute as it is written.
func rel(rendered string) string {
	if _, after, ok := strings.Cut(rendered, `rel="`); ok {
		value, _, _ := strings.Cut(after, `"`)
		return `"` + value + `"`
	}
	return `"nofollow noreferrer noopener"`
}

func TestText(t *testing.T) {
	for source, want := range map[string]string{
		"**a** `b`\nc\n\n- d\n- e":             "a b c d e",
		"# Title\n> q":                         "Title q",
		"[a](https://b.example) ![c](d)":       "a c",
		"https://b.example":                    "https://b.example",
		"@[Ann \\[x\\]](person:3), hello":      "@Ann [x], hello",
		"|a|b|\n|-|-|\n|1|2|":                  "a b 1 2",
		"```go\nx := 1\n```\n\n    y":          "x := 1 y",
		"a &amp; b \\* &#42;":                  "a & b * *",
		"<b>a</b>":                             "<b>a</b>",
		strings.Repeat(">", 100) + "a\t b\nc ": strings.Repeat(">", 100) + "a b c",
	} {
		if got := Read(source).Text; got != want {
			t.Errorf("%q reads %q, want %q", source, got, want)
		}
	}
}

func TestMentions(t *testing.T) {
	for source, want := range map[string][]int64{
		"@[a](person:2) **@[b](person:1)** @[c](person:2)":      {2, 1},
		"`@[a](person:2)`\n\n    @[b](person:1)":                nil,
		"[x @[a](person:3)](https://b.example)":                 {3},
		"mail@[a](person:4) @ [b](person:5) @[c] (person:6)":    {4},
		"@[" + strings.Repeat("ä", 120) + "](person:7)":         {7},
		"@[" + strings.Repeat("ä", 121) + "](person:8)":         nil,
		"@[a](person:1234567890123456789)":                      nil,
		"@[a\nb](person:9) \\@[c](person:10) @\\[d](person:11)": nil,
	} {
		if diff := cmp.Diff(want, Read(source).Mentions); diff != "" {
			t.Errorf("%q (-want +got):\n%s", source, diff)
		}
	}
}

var elements = strings.Fields("p br strong em del code pre ul ol li blockquote hr table thead tbody tr th td a span")

// harmless checks that nothing in a rendered text runs or loads anything, as a browser's parser sees it.
func harmless(t *testing.T, source, rendered string) {
	t.Helper()
	if again := policy.Sanitize(rendered); again != rendered {
		t.Errorf("%q: the sanitizer changes\n%q to\n%q", source, rendered, again)
	}
	tokens := html.NewTokenizer(strings.NewReader(rendered))
	for tokens.Next() != html.ErrorToken {
		token := tokens.Token()
		switch token.Type {
		case html.StartTagToken, html.SelfClosingTagToken:
		case html.CommentToken, html.DoctypeToken:
			t.Errorf("%q: %s", source, token)
			continue
		default:
			continue
		}
		if !slices.Contains(elements, token.Data) {
			t.Errorf("%q: element %s", source, token)
		}
		for _, a := range token.Attr {
			switch token.Data + " " + a.Key {
			case "a href":
				scheme, _, _ := strings.Cut(strings.ToLower(a.Val), ":")
				if scheme != "http" && scheme != "https" && scheme != "mailto" {
					t.Errorf("%q: a link to %q", source, a.Val)
				}
			case "a rel":
				for _, word := range []string{"nofollow", "noreferrer"} {
					if !strings.Contains(a.Val, word) {
						t.Errorf("%q: %s lacks %s", source, token, word)
					}
				}
			case "a target", "ol start", "th align", "td align", "code class", "span class", "span data-person":
			default:
				t.Errorf("%q: attribute %s of %s", source, a.Key, token)
			}
		}
	}
}

// hostile are texts of 20,000 characters that make parsers work.
func hostile() map[string]string {
	texts := map[string]string{}
	const most = 20_000
	repeat := func(s string, total int) string { return strings.Repeat(s, max(1, total/len(s))) }
	for _, s := range []string{
		">", "> ", "- ", "1. ", "> - ", "[", "[a](b", "*a_ ", "**a ", "*", "`", "``a", "~~a~", "<a@", "http://a.b ", "@[a](person:1)", "|a",
		"&amp;", "a\n", "```\n", "*[", "(",
	} {
		texts[s+" repeated"] = repeat(s, most)
		texts[s+" in lines"] = repeat(repeat(s, 40)+"\n", most)
	}
	for _, s := range []string{"[a](b", "![a](", "[a](<", "@[a](person:1)"} {
		few := strings.Repeat(s, maxBrackets)
		texts[s+" as often as may be"] = few + repeat("a ", most-len(few))
		texts[s+" in a table"] = "|a|b|\n|-|-|\n" + strings.ReplaceAll(few, s, "|"+s)
	}
	texts["quotes and lines below"] = repeat("> ", 2*maxDepth) + repeat("a\n", most-2*maxDepth)
	deeper := ""
	for i := 0; len(deeper)+2*i+4 < most; i++ {
		deeper += strings.Repeat("  ", i) + "- a\n"
	}
	texts["lists in lists"] = deeper
	texts["a wide table"] = repeat("|a", 6000) + "\n" + repeat("|-", 6000) + "\n" + repeat("a\n", 8000)
	texts["marks in marks"] = repeat("*a **b ", most/2) + repeat("c** d* ", most/2)
	return texts
}

// Hostile texts cost no more work than they are worth, and make no more HTML.
func TestHostileTexts(t *testing.T) {
	for name, source := range hostile() {
		began := computed(t)
		rendered := Render(source)
		// Most take milliseconds, none 0.2 s; a parser that goes astray takes minutes.
		if took := computed(t) - began; took > 10*time.Second {
			t.Errorf("%q took %v", name, took)
		}
		if len(rendered) > 2*maxHTML {
			t.Errorf("%q made %d bytes", name, len(rendered))
		}
		if depth := nesting(rendered); depth > 2*maxDepth {
			t.Errorf("%q is nested %d deep", name, depth)
		}
		harmless(t, name, rendered)
	}
}

// computed is for how long this program has computed: unlike the time of day, it stands still while others do.
func computed(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func nesting(rendered string) int {
	tokens, depth, deepest := html.NewTokenizer(strings.NewReader(rendered)), 0, 0
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return deepest
		case html.StartTagToken:
			if name, _ := tokens.TagName(); string(name) != "br" && string(name) != "hr" {
				depth++
			}
			deepest = max(deepest, depth)
		case html.EndTagToken:
			depth--
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"a", "**a**", "[a](javascript:alert(1))", "![a](data:text/html,x)", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
		"[a](https://b.example \"' onclick='x\")", "@[a](person:1)", "@[<b>](person:1)", "```\"><script>\nx\n```", "|a|\n|-|\n|<b>|", "&lt;script&gt;",
		"[a](java\tscript:x)", "<https://a.example/\"onx=\">", "\\<script>", "> - 1. # `a`", "~~~js onclick=x\na", "[a](<javascript:x>)", "\x00\xff", "a\u2028b",
		"[![a](https://b.example/\")](https://c.example)", "http://a.b/<script>", "<!-- a -->", "<![CDATA[a]]>", "[a](vbscript:x)", "[\u202ea](https://b.example)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 20_000 {
			return
		}
		document := Read(source)
		harmless(t, source, document.HTML)
		if strings.ContainsAny(document.Text, "\n\r\t") {
			t.Errorf("%q has lines in its text %q", source, document.Text)
		}
		for _, person := range document.Mentions {
			if person < 1 || !strings.Contains(document.HTML, fmt.Sprintf(`data-person="%d"`, person)) {
				t.Errorf("%q mentions %d and doesn't show it", source, person)
			}
		}
	})
}
