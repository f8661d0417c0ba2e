package projects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// keys makes keys of messages that no other has.
var keys atomic.Int64

// A send that is repeated, by many at the same moment and on two nodes, sends once; what is sent besides has seqs without gaps.
func TestSendOnTwoNodesAtOnce(t *testing.T) {
	url := newDatabase(t)
	pool := pgtest.Pool(t, url)
	nodes := []*Store{New(pool, Options{}), New(pgtest.Pool(t, url), Options{})}
	m := newTeam(t, pool)
	talk := newConversation(t, pool, m.Project, "General")
	const senders, distinct = 50, 10
	var made atomic.Int64
	var wait sync.WaitGroup
	start := make(chan struct{})
	got := make([]Message, senders)
	for i := range senders {
		wait.Go(func() {
			<-start
			key := i % distinct
			message, was, err := nodes[i/distinct%2].Send(testContext(t), m.Customer, talk, Draft{Key: fmt.Sprint(key), Body: fmt.Sprint("body ", key)})
			if err != nil {
				t.Error(err)
			}
			if was {
				made.Add(1)
			}
			got[i] = message
		})
	}
	close(start)
	wait.Wait()
	if made.Load() != distinct {
		t.Errorf("%d messages were made of %d keys", made.Load(), distinct)
	}
	for i, message := range got {
		if message.ID != got[i%distinct].ID || message.Body != fmt.Sprint("body ", i%distinct) {
			t.Errorf("send %d was answered with message %d, %q", i, message.ID, message.Body)
		}
	}
	want := []int64{}
	for seq := range int64(distinct) {
		want = append(want, seq+1)
	}
	if diff := cmp.Diff(want, collect[int64](t, pool, "SELECT seq FROM projects.message WHERE conversation_id = $1 ORDER BY seq", talk)); diff != "" {
		t.Errorf("seqs (-want +got):\n%s", diff)
	}
	if n := scan[int](t, pool, "SELECT count(*) FROM trunkline.message WHERE channel = $1 AND payload->>'type' = 'message'", topic("chat", talk)); n != distinct {
		t.Errorf("%d messages were pushed", n)
	}
}

func TestRepeatedKey(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	draft := Draft{Key: "k", Body: "first"}
	first, made, err := s.Send(ctx, m.Customer, talk, draft)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	again := func(want string) {
		t.Helper()
		before := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.message")
		m, made, err := s.Send(ctx, m.Customer, talk, draft)
		if err != nil || made || m.ID != first.ID || m.Body != want {
			t.Errorf("again: %+v, made %v, %v", m, made, err)
		}
		if after := scan[int](t, s.pool, "SELECT count(*) FROM trunkline.message"); after != before {
			t.Errorf("%d more was published", after-before)
		}
	}
	again("first")
	_, made, err = s.Send(ctx, m.Customer, talk, Draft{Key: "k", Body: "second"})
	wantError(t, err, &ConflictError{})
	if made {
		t.Error("another text of the same key was sent")
	}
	if other, made, err := s.Send(ctx, m.Staff, talk, Draft{Key: "k", Body: "mine"}); err != nil || !made || other.Seq != 2 {
		t.Errorf("the same key of another author: %+v, made %v, %v", other, made, err)
	}
	if _, err := s.EditMessage(ctx, m.Customer, first.ID, "edited", nil); err != nil {
		t.Fatal(err)
	}
	again("edited")
	if _, err := s.DeleteMessage(ctx, m.Customer, first.ID); err != nil {
		t.Fatal(err)
	}
	again("")
}

func TestSendRefuses(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	for name, tt := range map[string]struct {
		draft Draft
		want  any
		says  string
	}{
		"empty":             {Draft{Key: "a"}, &InvalidError{Field: "body"}, "empty"},
		"white space":       {Draft{Key: "a", Body: " \n\t \u00a0\u2003"}, &InvalidError{Field: "body"}, "empty"},
		"nothing to see":    {Draft{Key: "a", Body: "\u200b\ufeff\u2060"}, &InvalidError{Field: "body"}, "empty"},
		"control only":      {Draft{Key: "a", Body: "\x00\x1b"}, &InvalidError{Field: "body"}, "empty"},
		"too long":          {Draft{Key: "a", Body: strings.Repeat("ß", 20_001)}, &InvalidError{Field: "body"}, "20,001 characters, and may have 20,000"},
		"no key":            {Draft{Body: "a"}, &InvalidError{Field: "key"}, ""},
		"a long key":        {Draft{Key: strings.Repeat("k", 65), Body: "a"}, &InvalidError{Field: "key"}, ""},
		"a broken key":      {Draft{Key: "a\x00", Body: "a"}, &InvalidError{Field: "key"}, ""},
		"too many files":    {Draft{Key: "a", Body: "a", Attachments: []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}}, &InvalidError{Field: "attachments"}, "may have 10"},
		"a file that isn't": {Draft{Key: "a", Body: "a", Attachments: []int64{1 << 40}}, &InvalidError{Field: "attachments"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, made, err := s.Send(testContext(t), m.Customer, talk, tt.draft)
			wantError(t, err, tt.want)
			if made || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("made %v, %v", made, err)
			}
		})
	}
	if n := scan[int](t, s.pool, "SELECT last_seq FROM projects.conversation WHERE id = $1", talk); n != 0 {
		t.Errorf("what was refused took %d seqs", n)
	}
	longest := post(t, s, m.Customer, talk, strings.Repeat("🌻", 20_000))
	if longest.Body != strings.Repeat("🌻", 20_000) {
		t.Error("the longest message was changed")
	}
	if got := post(t, s, m.Customer, talk, " a\r\nb\x07\x00 ").Body; got != "a\nb" {
		t.Errorf("body %q", got)
	}
}

func TestEdit(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	said := post(t, s, m.Customer, talk, "one")
	edited, err := s.EditMessage(ctx, m.Customer, said.ID, "**two**", &said.Version)
	if err != nil || edited.Body != "**two**" || edited.HTML != "<p><strong>two</strong></p>" || edited.EditedAt == nil || edited.Version <= said.Version || edited.Seq != said.Seq {
		t.Fatalf("%+v, %v", edited, err)
	}
	_, err = s.EditMessage(ctx, m.Customer, said.ID, "three", &said.Version)
	wantError(t, err, &ConflictError{})
	if same, err := s.EditMessage(ctx, m.Customer, said.ID, "**two**", &said.Version); err != nil || same.Version != edited.Version {
		t.Errorf("the same text again: %+v, %v", same, err)
	}
	if _, err := s.EditMessage(ctx, m.Customer, said.ID, "three", nil); err != nil {
		t.Fatal(err)
	}
	edits, err := s.Edits(ctx, m.Staff, said.ID)
	if err != nil || len(edits) != 2 || edits[0].Body != "one" || edits[1].Body != "**two**" ||
		!edits[0].WrittenAt.Equal(said.CreatedAt) || !edits[1].WrittenAt.Equal(*edited.EditedAt) {
		t.Errorf("history %+v, %v", edits, err)
	}
	_, err = s.EditMessage(ctx, m.Lead, said.ID, "nobody else", nil)
	wantError(t, err, &ForbiddenError{})
	_, err = s.EditMessage(ctx, m.Customer, said.ID, "  ", nil)
	wantError(t, err, &InvalidError{Field: "body"})
	_, err = s.EditMessage(ctx, m.Customer, 1<<40, "x", nil)
	wantError(t, err, ErrNotFound)
	if _, err := s.DeleteMessage(ctx, m.Customer, said.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.EditMessage(ctx, m.Customer, said.ID, "four", nil)
	wantError(t, err, &ConflictError{})
}

// Two who edit the same version: one of them is told.
func TestEditAtOnce(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	said := post(t, s, m.Customer, newConversation(t, s.pool, m.Project, "General"), "one")
	var wait sync.WaitGroup
	var done atomic.Int64
	for i := range 10 {
		wait.Go(func() {
			_, err := s.EditMessage(testContext(t), m.Customer, said.ID, fmt.Sprint("edit ", i), &said.Version)
			if err == nil {
				done.Add(1)
			} else {
				wantConflict(t, err)
			}
		})
	}
	wait.Wait()
	if done.Load() != 1 {
		t.Errorf("%d edits of one version were taken", done.Load())
	}
}

func wantConflict(t testing.TB, err error) {
	if !errors.As(err, new(*ConflictError)) {
		t.Errorf("error %v, want a ConflictError", err)
	}
}

func TestDelete(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	file, err := s.Upload(ctx, m.Customer, talk, "plan.txt", strings.NewReader("plan"))
	if err != nil {
		t.Fatal(err)
	}
	said := post(t, s, m.Customer, talk, fmt.Sprintf("findable @[Stan](person:%d)", m.Staff), file.ID)
	post(t, s, m.Customer, talk, "next")
	if _, err := s.EditMessage(ctx, m.Customer, said.ID, said.Body+" more", nil); err != nil {
		t.Fatal(err)
	}
	gone, err := s.DeleteMessage(ctx, m.Customer, said.ID)
	if err != nil || gone.Body != "" || gone.HTML != "" || gone.DeletedAt == nil || gone.EditedAt != nil || len(gone.Attachments) != 0 || gone.Seq != 1 {
		t.Fatalf("%+v, %v", gone, err)
	}
	last := published(t, s.pool, topic("chat", talk))
	if got := last[len(last)-1]; strings.Contains(got, "findable") || strings.Contains(got, "plan") || !strings.Contains(got, "deleted_at") {
		t.Errorf("pushed %s", got)
	}
	for what, sql := range map[string]string{
		"attachments":   "SELECT count(*) FROM projects.attachment",
		"edits":         "SELECT count(*) FROM projects.message_edit",
		"notices":       "SELECT count(*) FROM projects.notice WHERE seq = 1",
		"notifications": "SELECT count(*) FROM trunkline.notification WHERE cause = '" + topic("message", said.ID) + "'",
	} {
		if n := scan[int](t, s.pool, sql); n != 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
	if _, err := s.Attachment(ctx, m.Customer, file.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("its file: %v", err)
	}
	if hits, err := s.Search(ctx, m.Customer, "findable", 0, 0); err != nil || len(hits.Hits) != 0 {
		t.Errorf("search: %+v, %v", hits, err)
	}
	chat, err := s.Chat(ctx, m.Staff, talk, 0)
	if err != nil || chat.Conversation.LastSeq != 2 || *chat.Conversation.ReadSeq != 0 {
		t.Errorf("%+v, %v", chat.Conversation, err)
	}
	wantRun(t, chat.Messages, 1, 2)
	before := len(published(t, s.pool, topic("chat", talk)))
	if again, err := s.DeleteMessage(ctx, m.Customer, said.ID); err != nil || again.Version != gone.Version {
		t.Errorf("again: %+v, %v", again, err)
	}
	if after := len(published(t, s.pool, topic("chat", talk))); after != before {
		t.Error("deleting again told everybody again")
	}
}

func TestWhoMayDelete(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	other := newPerson(t, s.pool, 0, "Olga")
	exec(t, s.pool, "INSERT INTO projects.membership VALUES ($1, $2, 'customer')", m.Project, other)
	for name, tt := range map[string]struct {
		author, person int64
		want           any
	}{
		"a customer's own":               {m.Customer, m.Customer, nil},
		"another customer's":             {other, m.Customer, &ForbiddenError{}},
		"a customer's, by staff":         {m.Customer, m.Staff, nil},
		"a customer's, by the lead":      {m.Customer, m.Lead, nil},
		"a customer's, by an admin":      {m.Customer, m.Admin, nil},
		"staff's, by a customer":         {m.Staff, m.Customer, &ForbiddenError{}},
		"staff's, by the lead":           {m.Staff, m.Lead, &ForbiddenError{}},
		"staff's, by who has written it": {m.Staff, m.Staff, nil},
	} {
		t.Run(name, func(t *testing.T) {
			said := post(t, s, tt.author, talk, "hello")
			_, err := s.DeleteMessage(testContext(t), tt.person, said.ID)
			wantError(t, err, tt.want)
			audited := scan[int](t, s.pool, "SELECT count(*) FROM projects.audit WHERE action = 'message.deleted' AND subject = $1", topic("message", said.ID))
			if moderated := err == nil && tt.author != tt.person; moderated != (audited == 1) {
				t.Errorf("%d lines in the audit trail", audited)
			}
		})
	}
}

// A conversation waits from a customer's first question to staff's next word.
func TestAwaiting(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	waits := func() bool {
		return scan[bool](t, s.pool, "SELECT awaiting_since IS NOT NULL FROM projects.conversation WHERE id = $1", talk)
	}
	steps := []struct {
		what string
		do   func() Message
		want bool
	}{
		{"staff begins", func() Message { return post(t, s, m.Staff, talk, "Welcome") }, false},
		{"a question", func() Message { return post(t, s, m.Customer, talk, "When?") }, true},
		{"another", func() Message { return post(t, s, m.Customer, talk, "And where?") }, true},
		{"an answer", func() Message { return post(t, s, m.Admin, talk, "Soon") }, false},
		{"a third", func() Message { return post(t, s, m.Customer, talk, "Really?") }, true},
	}
	var last Message
	for _, step := range steps {
		last = step.do()
		if waits() != step.want {
			t.Fatalf("after %s it waits: %v", step.what, waits())
		}
	}
	if _, err := s.DeleteMessage(testContext(t), m.Customer, last.ID); err != nil {
		t.Fatal(err)
	}
	if waits() {
		t.Error("it waits for an answer to what was deleted")
	}
	if drifts, err := s.Check(context.Background(), false); err != nil || len(drifts) > 0 {
		t.Errorf("drifts %v, %v", drifts, err)
	}
}
