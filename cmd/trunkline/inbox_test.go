package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/inbox"
)

func TestNotifyAndInbox(t *testing.T) {
	s, conn := database(t)
	execute(t, conn, "SELECT trunkline.kind('task.completed', title => 'Task completed', template => '{actor} completed “{task.title}”')")
	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	address(t, c)
	listener := start(t, s, "listen", "inbox:bob")
	listener.err.line(t, "listening")

	ids := strings.Fields(succeed(t, s, "notify", "bob,eve", "task.completed", `{"actor": "Ann", "task": {"title": "Paint the door"}}`, "--group", "project:42",
		"--cause", "task:7", "--link", "/projects/42", "--key", "k", "--expire", "24h"))
	if len(ids) != 2 {
		t.Fatalf("ids %v, want two", ids)
	}
	var again []json.Number
	if err := json.Unmarshal([]byte(succeed(t, s, "notify", "bob", "task.completed", "--key", "k", "--json")), &again); err != nil || len(again) != 1 || again[0].String() != ids[0] {
		t.Errorf("the same key gave %v (%v), want %s", again, err, ids[0])
	}
	if line := listener.out.line(t, "inbox:bob #1"); !strings.Contains(line, `"unseen" : 1`) || !strings.Contains(line, "Ann completed “Paint the door”") {
		t.Errorf("it was told %s", line)
	}

	_, out, said := do(t, s, "inbox", "list", "bob")
	for _, part := range []string{"SEQ", "task.completed", "project:42", " new ", "Ann completed “Paint the door”"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q isn't in\n%s", part, out)
		}
	}
	if !strings.Contains(said, "1 unseen and 1 unread") {
		t.Errorf("it says %s", said)
	}
	var item inbox.Item
	if err := json.Unmarshal([]byte(succeed(t, s, "inbox", "list", "bob", "--json")), &item); err != nil || item.Seq != 1 || *item.Cause != "task:7" || item.ExpiresAt == nil {
		t.Errorf("%v: %+v", err, item)
	}
	execute(t, conn, "SELECT trunkline.mark('bob', 'read', up_to_seq => 1)")
	listener.out.line(t, "inbox:bob #2")
	if out := succeed(t, s, "inbox", "list", "bob"); !strings.Contains(out, " read ") {
		t.Errorf("after reading it lists\n%s", out)
	}
	if out, said := succeed(t, s, "inbox", "list", "nobody"), ""; out != said {
		t.Errorf("the inbox of nobody is\n%s", out)
	}
}

func TestInboxCheck(t *testing.T) {
	s, conn := database(t)
	c := start(t, s, "serve", "--listen", "127.0.0.1:0")
	address(t, c)
	listener := start(t, s, "listen", "inbox:bob")
	listener.err.line(t, "listening")
	succeed(t, s, "notify", "bob", "hello")
	listener.out.line(t, "inbox:bob #1")
	if out := succeed(t, s, "inbox", "check"); out != "all counts are right\n" {
		t.Errorf("it says %q", out)
	}
	execute(t, conn, "UPDATE trunkline.inbox SET unread = 7")
	code, out, said := do(t, s, "inbox", "check")
	if code != exitFailed || !strings.Contains(out, "bob") || !strings.Contains(out, " 7 ") || !strings.Contains(said, "--repair") {
		t.Errorf("a wrong count: exit code %d:\n%s%s", code, out, said)
	}
	var drifts []inbox.Drift
	if err := json.Unmarshal([]byte(succeed(t, s, "inbox", "check", "--repair", "--json")), &drifts); err != nil || len(drifts) != 1 || drifts[0].CountedUnread != 1 {
		t.Errorf("%v: %+v", err, drifts)
	}
	if line := listener.out.line(t, "inbox:bob #2"); !strings.Contains(line, `"unread" : 1`) {
		t.Errorf("after repair it was told %s", line)
	}
	if out := succeed(t, s, "inbox", "check", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("after repair it says %q", out)
	}
}

func TestNotifyRefusals(t *testing.T) {
	s, conn := database(t)
	for args, want := range map[string]string{
		"bob|":        "kind",
		"|hello":      "user",
		"bob|hello|{": "JSON",
		"bob|hello|{}|--link=javascript:alert(1)": "link",
		"bob|hello|{}|--expire=-1h":               "--expire",
		"bob,|hello":                              "user",
	} {
		code, out, said := do(t, s, append([]string{"notify"}, strings.Split(args, "|")...)...)
		if code == exitOK || out != "" || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d: %s%s, want %q", args, code, out, said, want)
		}
	}
	for args, want := range map[string]string{"--state=old": "inbox, unseen", "--limit=0": "1 to 200", "--before=-1": "before"} {
		code, _, said := do(t, s, "inbox", "list", "bob", args)
		if code == exitOK || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d: %s, want %q", args, code, said, want)
		}
	}
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM trunkline.notification").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d were notified (%v)", n, err)
	}
}
