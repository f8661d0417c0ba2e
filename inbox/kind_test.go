package inbox_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// A kind is registered, replaced as a whole, and removed; its notifications show it at once, those of before too.
func TestKinds(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	ctx := testContext(t)
	data := json.RawMessage(`{"actor": "Bob", "task": {"title": "Paint", "n": 7}}`)
	notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "task", Data: data})
	if p := next(t, sub); p.Added[0].Title != "task" || p.Added[0].Text != "task" {
		t.Errorf("unregistered: %+v", p.Added[0])
	}
	if kinds, err := inbox.Kinds(ctx, conn); err != nil || len(kinds) != 0 {
		t.Errorf("at first: %+v, %v", kinds, err)
	}
	exec(t, conn, `CREATE FUNCTION may(user_id text, "group" text, action text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	const filled = "{actor} did {task.title} ({task.n}) {{now}}"
	hour, month, now := time.Hour, 30*24*time.Hour, time.Duration(0)
	for _, step := range []struct {
		kind, want inbox.Kind
		title      string
		text       string
	}{
		{inbox.Kind{Name: "task"}, inbox.Kind{Name: "task", Title: "task"}, "task", "task"},
		{
			inbox.Kind{Name: "task", Title: "Task done", Template: filled, Delay: &hour, Authorize: "may"},
			inbox.Kind{Name: "task", Title: "Task done", Template: filled, Delay: &hour, Authorize: "public.may"},
			"Task done", "Bob did Paint (7) {now}",
		},
		{inbox.Kind{Name: "task", Title: "Task", Delay: &now}, inbox.Kind{Name: "task", Title: "Task", Delay: &now}, "Task", "Task"},
		{
			inbox.Kind{Name: "task", Template: "{no.such}{task}", Delay: &month},
			inbox.Kind{Name: "task", Title: "task", Template: "{no.such}{task}", Delay: &month},
			"task", "task",
		},
	} {
		if err := inbox.SetKind(ctx, conn, step.kind); err != nil {
			t.Fatalf("%+v: %v", step.kind, err)
		}
		kinds, err := inbox.Kinds(ctx, conn)
		if diff := cmp.Diff([]inbox.Kind{step.want}, kinds); err != nil || diff != "" {
			t.Errorf("kinds: %v\n%s", err, diff)
		}
		if it := list(t, in, "ann", inbox.ListOptions{}).Items[0]; it.Title != step.title || it.Text != step.text {
			t.Errorf("%+v: %q, %q, want %q, %q", step.kind, it.Title, it.Text, step.title, step.text)
		}
	}
	if err := inbox.RemoveKind(ctx, conn, "task"); err != nil {
		t.Fatal(err)
	}
	if err := inbox.RemoveKind(ctx, conn, "task"); !errors.Is(err, trunkline.ErrNotFound) || !strings.Contains(err.Error(), `"task"`) {
		t.Errorf("removed again: %v", err)
	}
	if it := list(t, in, "ann", inbox.ListOptions{}).Items[0]; it.Title != "task" {
		t.Errorf("removed: %+v", it)
	}
}

func TestBadKinds(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	minus, year := -time.Second, 365*24*time.Hour
	for _, test := range []struct {
		kind     inbox.Kind
		argument string
	}{
		{inbox.Kind{}, "name"},
		{inbox.Kind{Name: strings.Repeat("x", 65)}, "name"},
		{inbox.Kind{Name: "a\nb"}, "name"},
		{inbox.Kind{Name: "k", Title: "a\x00b"}, "title"},
		{inbox.Kind{Name: "k", Title: "a\nb"}, "title"},
		{inbox.Kind{Name: "k", Template: "{actor"}, "template"},
		{inbox.Kind{Name: "k", Template: "actor}"}, "template"},
		{inbox.Kind{Name: "k", Template: "{}"}, "template"},
		{inbox.Kind{Name: "k", Template: "{a..b}"}, "template"},
		{inbox.Kind{Name: "k", Template: "\xff"}, "template"},
		{inbox.Kind{Name: "k", Delay: &minus}, "delay"},
		{inbox.Kind{Name: "k", Delay: &year}, "delay"},
		{inbox.Kind{Name: "k", Authorize: "no_such_function"}, "authorize"},
		{inbox.Kind{Name: "k", Authorize: "a'; DROP TABLE x"}, "authorize"},
	} {
		err := inbox.SetKind(testContext(t), conn, test.kind)
		var argument *trunkline.ArgumentError
		if !errors.As(err, &argument) || argument.Argument != test.argument || argument.Problem == "" || argument.Fix == "" {
			t.Errorf("%+v: %v", test.kind, err)
		}
	}
	if kinds, err := inbox.Kinds(testContext(t), conn); err != nil || len(kinds) != 0 {
		t.Errorf("kinds: %+v, %v", kinds, err)
	}
}

// Data that a template can't be filled with is no reason for anything to fail, least of all for everybody's inbox.
func TestTemplatesAndStrangeData(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	if err := inbox.SetKind(testContext(t), conn, inbox.Kind{Name: "k", Title: "Title", Template: "{a.b}"}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ data, text string }{
		{`{"a": {"b": "plain"}}`, "plain"},
		{`{"a": {"b": "\u0000"}}`, "Title"},
		{`{"a": {"b": "\ud800"}}`, "Title"},
		{`{"a": {"\u0000": 1, "b": "after"}}`, "Title"},
		{`{"a": {"b": "x\ny\u0007z"}}`, "x y z"},
		{`{"a": {"b": null}}`, "Title"},
		{`{"a": {"b": {"c": 1}}}`, "Title"},
		{`{"a": {"b": [1]}}`, "Title"},
		{`{"a": {"b": 1.50}}`, "1.50"},
		{`{"a": {"b": true}}`, "true"},
		{`{"a": 1}`, "Title"},
		{`[]`, "Title"},
		{`null`, "Title"},
		{`"text"`, "Title"},
		{`{"a": {"b": "` + strings.Repeat("ä", 600) + `"}}`, strings.Repeat("ä", 500)},
		{`{"a": {"b": "{a.b} %s $1 \\1"}}`, `{a.b} %s $1 \1`},
	} {
		ids := notifyOf(t, conn, inbox.Notification{Users: []string{"ann"}, Kind: "k", Data: json.RawMessage(test.data)})
		p := next(t, sub)
		if len(p.Added) != 1 || p.Added[0].ID != ids[0] || !similar(p.Added[0].Text, test.text) {
			t.Errorf("%.80s: pushed %+v, want %q", test.data, p.Added, test.text)
		}
		if it := list(t, in, "ann", inbox.ListOptions{Limit: 1}).Items[0]; string(it.Data) != test.data || !similar(it.Text, test.text) {
			t.Errorf("%.80s: listed %.80q of %.80s", test.data, it.Text, it.Data)
		}
	}
}

// similar leaves it to the database how it shows that something was clipped or wasn't readable.
func similar(got, want string) bool {
	return got == want || len(want) > 500 && len(got) <= len(want)+3 && strings.HasPrefix(got, want[:900])
}
