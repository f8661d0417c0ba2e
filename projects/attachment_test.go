package projects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

func TestUploadAndRead(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	content := []byte(pngHead + strings.Repeat("0123456789", 60_000)) // several pieces
	file, err := s.Upload(ctx, m.Customer, talk, `..\photos/Garden.png`, bytes.NewReader(content))
	if err != nil || file.Name != "Garden.png" || file.MediaType != "image/png" || !file.Image || file.Size != int64(len(content)) {
		t.Fatalf("%+v, %v", file, err)
	}
	if _, err := s.Attachment(ctx, m.Staff, file.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another one reads what isn't sent: %v", err)
	}
	said := post(t, s, m.Customer, talk, "", file.ID)
	if len(said.Attachments) != 1 || said.Attachments[0] != file {
		t.Errorf("sent with %+v", said.Attachments)
	}
	if pushed := published(t, s.pool, topic("chat", talk)); !strings.Contains(pushed[0], "Garden.png") {
		t.Errorf("pushed without its file: %s", pushed[0])
	}
	got, err := s.Attachment(ctx, m.Staff, file.ID)
	if err != nil || got.Attachment != file {
		t.Fatalf("%+v, %v", got, err)
	}
	reader := got.Content(ctx)
	all, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(all, content) {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	if _, err := reader.Seek(-5, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if tail, err := io.ReadAll(reader); err != nil || string(tail) != "56789" {
		t.Errorf("the end is %q, %v", tail, err)
	}
	if _, err := s.DeleteMessage(ctx, m.Customer, said.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(got.Content(ctx)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading what was deleted meanwhile: %v", err)
	}
}

// endless counts how much of it is read.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

func TestUploadRefuses(t *testing.T) {
	s := newStore(t)
	s.limits.AttachmentBytes = 1000
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	if _, err := s.Upload(ctx, m.Customer, talk, "a.txt", strings.NewReader(strings.Repeat("a", 1000))); err != nil {
		t.Errorf("a file of the largest size: %v", err)
	}
	var source endless
	_, err := s.Upload(ctx, m.Customer, talk, "a.bin", &source)
	wantError(t, err, &LimitError{})
	if source.read > 100_000 {
		t.Errorf("%d bytes were read of what is too large", source.read)
	}
	_, err = s.Upload(ctx, m.Customer, talk, "a.txt", strings.NewReader(""))
	wantError(t, err, &InvalidError{Field: "content"})
	_, err = s.Upload(ctx, m.Customer, talk, "photo.png", strings.NewReader("<html><script>"))
	wantError(t, err, &InvalidError{Field: "name"})
	source.read = 0
	if _, err = s.Upload(ctx, m.Outsider, talk, "a.bin", &source); !errors.Is(err, ErrNotFound) || source.read > 0 {
		t.Errorf("of a stranger %d bytes were read: %v", source.read, err)
	}
	broken := errors.New("the line broke")
	if _, err := s.Upload(ctx, m.Customer, talk, "a.txt", io.MultiReader(strings.NewReader("a"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a broken line: %v", err)
	}
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.attachment"); n != 1 {
		t.Errorf("%d files are kept", n)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Only one's own files of the conversation can be sent, and each once.
func TestSendOthersFiles(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk, other := newConversation(t, s.pool, m.Project, "General"), newConversation(t, s.pool, m.Project, "Other")
	upload := func(person, conversation int64) int64 {
		file, err := s.Upload(ctx, person, conversation, "a.txt", strings.NewReader("a"))
		if err != nil {
			t.Fatal(err)
		}
		return file.ID
	}
	sent := upload(m.Customer, talk)
	post(t, s, m.Customer, talk, "with a file", sent)
	own := upload(m.Customer, talk)
	for name, file := range map[string]int64{"another's": upload(m.Staff, talk), "of another conversation": upload(m.Customer, other), "sent": sent} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.Send(ctx, m.Customer, talk, Draft{Key: name, Body: "a", Attachments: []int64{own, file}})
			wantError(t, err, &InvalidError{Field: "attachments"})
		})
	}
	post(t, s, m.Customer, talk, "", own, own)
	wantError(t, s.DeleteAttachment(ctx, m.Customer, own), &ConflictError{})
	wantError(t, s.DeleteAttachment(ctx, m.Staff, own), &ForbiddenError{})
	unsent := upload(m.Customer, talk)
	wantError(t, s.DeleteAttachment(ctx, m.Staff, unsent), ErrNotFound)
	wantError(t, s.DeleteAttachment(ctx, m.Customer, unsent), nil)
	wantError(t, s.DeleteAttachment(ctx, m.Customer, unsent), ErrNotFound)
}

// What somebody has uploaded and not sent has a limit, also if they upload much at once.
func TestUnsentHasALimit(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	const each = 9 << 20
	var wait sync.WaitGroup
	errs := make([]error, 7)
	for i := range errs {
		wait.Go(func() {
			_, errs[i] = s.Upload(testContext(t), m.Customer, talk, "a.bin", bytes.NewReader(make([]byte, each)))
		})
	}
	wait.Wait()
	kept := 0
	for _, err := range errs {
		if err == nil {
			kept++
		} else {
			wantError(t, err, &LimitError{})
		}
	}
	if kept != mostUnsent/each {
		t.Errorf("%d files of 9 MiB were kept, of at most 50 MiB", kept)
	}
	if _, err := s.Upload(testContext(t), m.Staff, talk, "a.txt", strings.NewReader("a")); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
}

func TestSweep(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	talk := newConversation(t, s.pool, m.Project, "General")
	exec(t, s.pool, `INSERT INTO projects.attachment (conversation_id, uploaded_by, name, media_type, size, content, created_at)
		SELECT $1, $2, i::text, 'text/plain', 1, 'a', now() - i * interval '1 hour' FROM generate_series(1, 250) i`, talk, m.Customer)
	sent := scan[int64](t, s.pool, "SELECT min(id) FROM projects.attachment WHERE created_at < now() - interval '3 days'")
	post(t, s, m.Customer, talk, "", sent)
	exec(t, s.pool, "INSERT INTO projects.attempt VALUES ('a', now() - interval '25 hours'), ('b', now())")
	exec(t, s.pool, `INSERT INTO projects.session (person_id, token_hash, expires_at) VALUES ($1, 'a', now() - interval '1 second'), ($1, 'b', now() + interval '1 hour')`, m.Staff)
	exec(t, s.pool, `INSERT INTO projects.token (hash, purpose, person_id, expires_at)
		VALUES ('a', 'reset', $1, now() - interval '31 days'), ('b', 'reset', $1, now() - interval '1 day')`, m.Staff)
	invitation := scan[int64](t, s.pool, "INSERT INTO projects.invitation (project_id, email, role) VALUES ($1, 'a@b.c', 'customer') RETURNING id", m.Project)
	exec(t, s.pool, `INSERT INTO projects.letter (purpose, person_id, invitation_id, sent_at) VALUES
		('reset', $1, NULL, now() - interval '31 days'), ('reset', $1, NULL, now()), ('reset', $1, NULL, NULL),
		('invitation', NULL, $2, now() - interval '40 days'), ('invitation', NULL, $2, now() - interval '31 days')`, m.Staff, invitation)
	if _, err := s.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"attachment": 24, "attempt": 1, "session": 1, "token": 1, "letter": 3} {
		if n := scan[int](t, s.pool, "SELECT count(*) FROM projects."+table); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, table, want)
		}
	}
	if removed, err := s.Sweep(context.Background()); err != nil || removed != 0 {
		t.Errorf("again: %d, %v", removed, err)
	}
}
