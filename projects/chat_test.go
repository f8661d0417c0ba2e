package projects

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// post sends a message, which has to work.
func post(t testing.TB, s *Store, person, conversation int64, body string, attachments ...int64) Message {
	t.Helper()
	key := fmt.Sprintf("key-%d", keys.Add(1))
	m, made, err := s.Send(testContext(t), person, conversation, Draft{Key: key, Body: body, Attachments: attachments})
	if err != nil || !made {
		t.Fatalf("send %q: made %v, %v", body, made, err)
	}
	return m
}

func TestStartConversation(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	c, made, err := s.StartConversation(ctx, m.Customer, m.Project, ConversationDraft{Subject: "  Windows "})
	if err != nil || !made || c.Subject != "Windows" || c.ProjectID != m.Project || c.LastSeq != 0 || c.ReadSeq == nil || *c.ReadSeq != 0 {
		t.Fatalf("got %+v, made %v, %v", c, made, err)
	}
	task := newTask(t, s.pool, m.Project, "Paint")
	about, made, err := s.StartConversation(ctx, m.Staff, m.Project, ConversationDraft{Subject: "Paint", TaskID: &task})
	if err != nil || !made || about.TaskID == nil || *about.TaskID != task {
		t.Fatalf("got %+v, made %v, %v", about, made, err)
	}
	again, made, err := s.StartConversation(ctx, m.Customer, m.Project, ConversationDraft{Subject: "Paint, too", TaskID: &task})
	if err != nil || made || again.ID != about.ID || again.Subject != "Paint" {
		t.Fatalf("a second one about the task: %+v, made %v, %v", again, made, err)
	}
	elsewhere := newTask(t, s.pool, newProject(t, s.pool, m.Organisation, "Other"), "Foreign")
	for name, tt := range map[string]struct {
		person, project int64
		subject         string
		task            *int64
		want            any
	}{
		"a stranger":                {m.Outsider, m.Project, "A", nil, ErrNotFound},
		"no such project":           {m.Lead, 1 << 40, "A", nil, ErrNotFound},
		"empty":                     {m.Lead, m.Project, " \n ", nil, &InvalidError{Field: "subject"}},
		"too long":                  {m.Lead, m.Project, strings.Repeat("ä", 201), nil, &InvalidError{Field: "subject"}},
		"a task of another project": {m.Lead, m.Project, "A", &elsewhere, &InvalidError{Field: "task_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.StartConversation(ctx, tt.person, tt.project, ConversationDraft{Subject: tt.subject, TaskID: tt.task})
			wantError(t, err, tt.want)
		})
	}
	s.limits.Conversations = 2
	_, _, err = s.StartConversation(ctx, m.Lead, m.Project, ConversationDraft{Subject: "One more"})
	wantError(t, err, &LimitError{})
	exec(t, s.pool, "UPDATE projects.project SET status = 'archived' WHERE id = $1", m.Project)
	_, _, err = s.StartConversation(ctx, m.Lead, m.Project, ConversationDraft{Subject: "Late"})
	wantError(t, err, &ForbiddenError{})
}

// wantError compares the type of an error, and of an InvalidError the field.
func wantError(t testing.TB, err error, want any) {
	t.Helper()
	ok := false
	switch want := want.(type) {
	case nil:
		ok = err == nil
	case *InvalidError:
		var got *InvalidError
		ok = errors.As(err, &got) && got.Field == want.Field
	case *ForbiddenError:
		ok = errors.As(err, new(*ForbiddenError))
	case *ConflictError:
		ok = errors.As(err, new(*ConflictError))
	case *LimitError:
		ok = errors.As(err, new(*LimitError))
	case error:
		ok = errors.Is(err, want)
	}
	if !ok {
		t.Fatalf("error %v (%T), want %T %[3]v", err, err, want)
	}
}

// Whoever isn't in a project finds nothing of it, by whatever id.
func TestStrangersFindNothing(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	file, err := s.Upload(ctx, m.Customer, talk, "a.txt", strings.NewReader("text"))
	if err != nil {
		t.Fatal(err)
	}
	said := post(t, s, m.Customer, talk, "secret plan", file.ID)
	colleague := newPerson(t, s.pool, m.Organisation, "Cory")
	gone := newPerson(t, s.pool, 0, "Gone")
	exec(t, s.pool, "INSERT INTO projects.membership VALUES ($1, $2, 'customer')", m.Project, gone)
	exec(t, s.pool, "UPDATE projects.person SET deactivated_at = now() WHERE id = $1", gone)
	for name, person := range map[string]int64{"a stranger": m.Outsider, "a colleague": colleague, "deactivated": gone, "nobody": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			for what, do := range map[string]func() error{
				"chat":     func() error { _, err := s.Chat(ctx, person, talk, 0); return err },
				"messages": func() error { _, err := s.Messages(ctx, person, talk, Range{}); return err },
				"send":     func() error { _, _, err := s.Send(ctx, person, talk, Draft{Key: "k", Body: "b"}); return err },
				"edit":     func() error { _, err := s.EditMessage(ctx, person, said.ID, "b", nil); return err },
				"delete":   func() error { _, err := s.DeleteMessage(ctx, person, said.ID); return err },
				"edits":    func() error { _, err := s.Edits(ctx, person, said.ID); return err },
				"read":     func() error { _, err := s.Read(ctx, person, talk, 1); return err },
				"typing":   func() error { return s.Typing(ctx, person, talk) },
				"upload": func() error {
					_, err := s.Upload(ctx, person, talk, "a", strings.NewReader("b"))
					return err
				},
				"file":        func() error { _, err := s.Attachment(ctx, person, file.ID); return err },
				"delete file": func() error { return s.DeleteAttachment(ctx, person, file.ID) },
			} {
				if err := do(); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s: %v, want ErrNotFound", what, err)
				}
			}
			hits, err := s.Search(ctx, person, "secret", 0, 0)
			if err != nil || len(hits.Hits) != 0 {
				t.Errorf("search: %+v, %v", hits, err)
			}
		})
	}
	if _, err := s.Chat(ctx, m.Admin, talk, 0); err != nil {
		t.Errorf("the organisation's admin: %v", err)
	}
}

func TestArchivedIsReadOnly(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	said := post(t, s, m.Customer, talk, "before")
	exec(t, s.pool, "UPDATE projects.project SET status = 'finished' WHERE id = $1", m.Project)
	post(t, s, m.Customer, talk, "thank you")
	exec(t, s.pool, "UPDATE projects.project SET status = 'archived' WHERE id = $1", m.Project)
	for what, do := range map[string]func() error{
		"send":   func() error { _, _, err := s.Send(ctx, m.Customer, talk, Draft{Key: "k", Body: "b"}); return err },
		"edit":   func() error { _, err := s.EditMessage(ctx, m.Customer, said.ID, "b", nil); return err },
		"delete": func() error { _, err := s.DeleteMessage(ctx, m.Lead, said.ID); return err },
		"typing": func() error { return s.Typing(ctx, m.Customer, talk) },
		"upload": func() error {
			_, err := s.Upload(ctx, m.Customer, talk, "a", strings.NewReader("b"))
			return err
		},
	} {
		t.Run(what, func(t *testing.T) { wantError(t, do(), &ForbiddenError{}) })
	}
	if r, err := s.Read(ctx, m.Staff, talk, 2); err != nil || r.ReadSeq != 2 {
		t.Errorf("read: %+v, %v", r, err)
	}
}

// What is shown is a run without gaps, whatever was asked for.
func TestPages(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	const last = 130
	exec(t, s.pool, `INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html)
		SELECT $1, i, $2, 'k' || i, 'm' || i, '' FROM generate_series(1, 130) i`, talk, m.Customer)
	exec(t, s.pool, "UPDATE projects.conversation SET last_seq = $2 WHERE id = $1", talk, last)
	at := func(seq int64) *int64 { return &seq }
	for name, tt := range map[string]struct {
		rng      Range
		from, to int64 // to 0: none
	}{
		"newest":            {Range{}, 81, 130},
		"newest 10":         {Range{Limit: 10}, 121, 130},
		"before":            {Range{Before: at(81)}, 31, 80},
		"before the second": {Range{Before: at(2)}, 1, 1},
		"before the first":  {Range{Before: at(1)}, 0, 0},
		"before a huge one": {Range{Before: at(1 << 40), Limit: 5}, 126, 130},
		"after none":        {Range{After: at(0), Limit: 3}, 1, 3},
		"after":             {Range{After: at(100)}, 101, 130},
		"after the last":    {Range{After: at(130)}, 0, 0},
		"around":            {Range{Around: 60, Limit: 10}, 55, 64},
		"around, odd":       {Range{Around: 60, Limit: 3}, 59, 61},
		"around one":        {Range{Around: 60, Limit: 1}, 60, 60},
		"around the first":  {Range{Around: 1, Limit: 10}, 1, 10},
		"around the third":  {Range{Around: 3, Limit: 10}, 1, 10},
		"around the last":   {Range{Around: 130, Limit: 10}, 121, 130},
		"around the end":    {Range{Around: 131, Limit: 10}, 121, 130},
		"around nowhere":    {Range{Around: 1 << 40, Limit: 10}, 121, 130},
		"all":               {Range{Around: 60, Limit: 200}, 1, 130},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := s.Messages(testContext(t), m.Staff, talk, tt.rng)
			if err != nil || page.LastSeq != last {
				t.Fatalf("last seq %d, %v", page.LastSeq, err)
			}
			wantRun(t, page.Messages, tt.from, tt.to)
		})
	}
	for name, rng := range map[string]Range{"two of them": {Before: at(3), After: at(1)}, "too many": {Limit: 201}, "less than none": {Limit: -1}} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Messages(testContext(t), m.Staff, talk, rng)
			if !errors.As(err, new(*InvalidError)) {
				t.Errorf("error %v, want an InvalidError", err)
			}
		})
	}
	for _, tt := range []struct{ read, at, from, to int64 }{{0, 0, 1, 50}, {60, 0, 36, 85}, {130, 0, 81, 130}, {130, 70, 45, 94}} {
		if _, err := s.Read(testContext(t), m.Staff, talk, tt.read); err != nil {
			t.Fatal(err)
		}
		chat, err := s.Chat(testContext(t), m.Staff, talk, tt.at)
		if err != nil || *chat.Conversation.ReadSeq != tt.read {
			t.Fatalf("%+v, %v", chat.Conversation, err)
		}
		wantRun(t, chat.Messages, tt.from, tt.to)
	}
}

func wantRun(t testing.TB, messages []Message, from, to int64) {
	t.Helper()
	want := []int64{}
	for seq := from; seq <= to && to > 0; seq++ {
		want = append(want, seq)
	}
	got := []int64{}
	for _, m := range messages {
		got = append(got, m.Seq)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("seqs (-want +got):\n%s", diff)
	}
	if messages == nil {
		t.Error("no messages are nil rather than an empty list")
	}
}
