package api

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/projects"
)

// chatroom is a conversation of a customer and staff.
type chatroom struct {
	*node
	customer, staff *caller
	project, talk   int64
	task            int64
}

func newChatroom(t testing.TB) *chatroom {
	t.Helper()
	c := &chatroom{node: newNode(t)}
	north := c.organisation("North")
	customer, staff := c.person(0, "cleo@example.com", ""), c.person(north, "stan@example.com", "")
	c.project = scan[int64](t, c.pool, "INSERT INTO projects.project (organisation_id, name) VALUES ($1, 'Website') RETURNING id", north)
	c.exec("INSERT INTO projects.membership VALUES ($1, $2, 'customer'), ($1, $3, 'staff')", c.project, customer, staff)
	c.talk = scan[int64](t, c.pool, "INSERT INTO projects.conversation (project_id, subject) VALUES ($1, 'General') RETURNING id", c.project)
	c.task = scan[int64](t, c.pool, "INSERT INTO projects.task (project_id, title, rank) VALUES ($1, 'Paint', 1) RETURNING id", c.project)
	c.customer, c.staff = c.as(customer), c.as(staff)
	return c
}

func (c *chatroom) path(format string, args ...any) string {
	return fmt.Sprintf("/api/conversations/%d", c.talk) + fmt.Sprintf(format, args...)
}

func TestChatRoutes(t *testing.T) {
	c := newChatroom(t)
	start := fmt.Sprintf("/api/projects/%d/conversations", c.project)
	var about, again projects.Conversation
	c.staff.do("POST", start, map[string]any{"subject": "Paint", "task_id": c.task}).is(201).into(&about)
	c.customer.do("POST", start, map[string]any{"subject": "Paint", "task_id": c.task}).is(200).into(&again)
	if about.ID != again.ID {
		t.Errorf("two conversations about a task: %d and %d", about.ID, again.ID)
	}
	if p := c.staff.do("POST", start, map[string]any{"subject": ""}).problem(422); p.Errors[0].Location != "body.subject" {
		t.Errorf("an empty subject: %+v", p)
	}

	var first, repeated projects.Message
	draft := map[string]any{"key": "one", "body": "Hello **you**", "mentions": []int64{1}}
	c.customer.do("POST", c.path("/messages"), draft).is(201).into(&first)
	c.customer.do("POST", c.path("/messages"), draft).is(200).into(&repeated)
	if first.ID != repeated.ID || first.HTML != "<p>Hello <strong>you</strong></p>" || repeated.Attachments == nil {
		t.Errorf("sent %+v, again %+v", first, repeated)
	}
	c.customer.do("POST", c.path("/messages"), map[string]any{"key": "one", "body": "Other"}).problem(409)
	if p := c.customer.do("POST", c.path("/messages"), map[string]any{"key": "two", "body": " "}).problem(422); p.Errors[0].Location != "body.body" {
		t.Errorf("an empty message: %+v", p)
	}
	// The longest message, in the longest way to write it.
	long := `{"key":"long","body":"` + strings.Repeat(`\ud83c\udf3b`, 20_000) + `"}`
	c.customer.do("POST", c.path("/messages"), long).is(201)
	c.customer.do("POST", c.path("/messages"), `{"key":"longer","body":"`+strings.Repeat("a", 20_001)+`"}`).problem(422)
	c.customer.do("POST", c.path("/messages"), `{"key":"huge","body":"`+strings.Repeat("a", 300_000)+`"}`).problem(413)

	message := fmt.Sprintf("/api/messages/%d", first.ID)
	var edited projects.Message
	c.customer.do("PATCH", message, map[string]any{"body": "Hello", "version": first.Version}).is(200).into(&edited)
	c.customer.do("PATCH", message, map[string]any{"body": "Hi", "version": first.Version}).problem(409)
	var edits struct{ Edits []projects.Edit }
	c.staff.do("GET", message+"/edits", nil).is(200).into(&edits)
	if len(edits.Edits) != 1 || edits.Edits[0].Body != "Hello **you**" {
		t.Errorf("edits %+v", edits)
	}

	var chat projects.Chat
	c.staff.do("GET", c.path("?at=1"), nil).is(200).into(&chat)
	if len(chat.Messages) != 2 || len(chat.Readers) != 1 || chat.Conversation.LastSeq != 2 || chat.Positions == nil {
		t.Errorf("chat of %d messages and %d readers, %+v", len(chat.Messages), len(chat.Readers), chat.Conversation)
	}
	for query, want := range map[string]int{"": 2, "?before=2": 1, "?after=0&limit=1": 1, "?after=2": 0, "?around=1": 2} {
		var page projects.MessagePage
		c.staff.do("GET", c.path("/messages%s", query), nil).is(200).into(&page)
		if len(page.Messages) != want || page.Messages == nil || page.LastSeq != 2 {
			t.Errorf("%q: %d messages, want %d", query, len(page.Messages), want)
		}
	}
	for _, query := range []string{"?before=2&after=1", "?limit=201", "?limit=0", "?before=0", "?before=x", "?surprise=1"} {
		c.staff.do("GET", c.path("/messages%s", query), nil).problem(422)
	}
	var reader projects.Reader
	c.staff.do("POST", c.path("/read"), map[string]any{"up_to_seq": 99}).is(200).into(&reader)
	if reader.ReadSeq != 2 {
		t.Errorf("read %+v", reader)
	}
	c.staff.do("POST", c.path("/read"), map[string]any{"up_to_seq": -1}).problem(422)
	c.staff.do("POST", c.path("/typing"), nil).is(204)

	var hits projects.Hits
	c.staff.do("GET", "/api/search?q=hello", nil).is(200).into(&hits)
	if len(hits.Hits) != 1 || hits.Hits[0].Snippet != "<mark>Hello</mark>" {
		t.Errorf("hits %+v", hits)
	}
	c.staff.do("GET", "/api/search", nil).problem(422)
	c.staff.do("GET", "/api/search?q="+strings.Repeat("a", 201), nil).problem(422)

	var gone projects.Message
	c.customer.do("DELETE", message, nil).is(200).into(&gone)
	if gone.Body != "" || gone.DeletedAt == nil {
		t.Errorf("deleted %+v", gone)
	}
}

const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"

func (c *chatroom) upload(name string, content string) projects.Attachment {
	c.t.Helper()
	var file projects.Attachment
	c.customer.do("POST", c.path("/attachments?name=%s", name), []byte(content)).is(201).into(&file)
	return file
}

func TestFiles(t *testing.T) {
	c := newChatroom(t)
	for _, tt := range []struct{ name, content, kind, disposition string }{
		{"photo.png", png, "image/png", `inline; filename=photo.png`},
		{"drawing.svg", `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, "image/svg+xml", `attachment; filename=drawing.svg`},
		{"page.html", "<html><script>alert(1)</script>", "text/html", `attachment; filename=page.html`},
		{"plan.pdf", "%PDF-1.7", "application/pdf", `attachment; filename=plan.pdf`},
		{"notes%22%0d%0aX:%20y.txt", "hello", "text/plain", `attachment; filename="notes_ X_ y.txt"`},
		{"%C3%BCber.txt", "hello", "text/plain", `attachment; filename*=utf-8''%C3%BCber.txt`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := c.upload(tt.name, tt.content)
			path := fmt.Sprintf("/api/attachments/%d", file.ID)
			c.staff.do("GET", path, nil).problem(404)
			c.customer.do("POST", c.path("/messages"), map[string]any{"key": tt.name, "body": "", "attachments": []int64{file.ID}}).is(201)
			got := c.staff.do("GET", path, nil).is(200)
			for name, want := range map[string]string{
				"Content-Type": tt.kind, "Content-Disposition": tt.disposition, "X-Content-Type-Options": "nosniff",
				"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-cache", "Content-Length": fmt.Sprint(len(tt.content)),
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
				}
			}
			if string(got.body) != tt.content {
				t.Errorf("content %q", got.body)
			}
			if saved := c.staff.do("GET", path+"?download=true", nil).header.Get("Content-Disposition"); !strings.HasPrefix(saved, "attachment;") {
				t.Errorf("to be saved as %q", saved)
			}
		})
	}
}

func TestFileRequests(t *testing.T) {
	c := newChatroom(t)
	file := c.upload("photo.png", png)
	path := fmt.Sprintf("/api/attachments/%d", file.ID)
	whole := c.customer.do("GET", path, nil).is(200)
	c.customer.header = http.Header{"Range": {"bytes=1-3"}}
	if part := c.customer.do("GET", path, nil).is(206); string(part.body) != "PNG" {
		t.Errorf("a part: %q", part.body)
	}
	c.customer.header = http.Header{"Range": {"bytes=1000-"}}
	c.customer.do("GET", path, nil).is(416)
	c.customer.header = http.Header{"If-None-Match": {whole.header.Get("ETag")}}
	if same := c.customer.do("GET", path, nil).is(304); len(same.body) > 0 {
		t.Errorf("unchanged, with %d bytes", len(same.body))
	}
	// Whoever may no longer read it isn't told that it is unchanged.
	c.staff.header = c.customer.header
	c.staff.do("GET", path, nil).problem(404)
	c.customer.header = http.Header{}

	for name, tt := range map[string]struct {
		query  string
		body   any
		status int
	}{
		"html as a picture": {"?name=photo.png", []byte("<html>"), 422},
		"empty":             {"?name=a.txt", []byte{}, 422},
		"without a name":    {"", []byte("a"), 422},
		"as JSON":           {"?name=a.txt", `{"a":1}`, 415},
		"too large":         {"?name=a.bin", bytes.Repeat([]byte{0}, 10<<20+1), 413},
	} {
		t.Run(name, func(t *testing.T) {
			c.customer.do("POST", c.path("/attachments%s", tt.query), tt.body).problem(tt.status)
		})
	}
	c.upload("large.bin", strings.Repeat("\x00", 10<<20))
	c.customer.do("DELETE", path, nil).is(204)
	c.customer.do("GET", path, nil).problem(404)
}
