package projects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/projects/markdown"
)

// A Draft is a message to be sent.
type Draft struct {
	// Key is the author's own name for it, 1 to 64 bytes: sending again with the same key sends nothing more.
	Key string
	// Body is Markdown. It may be empty if there are attachments.
	Body string
	// Attachments are files of the author's that were uploaded to the conversation and not sent yet.
	Attachments []int64
}

// Send sends a message. If it was sent before, by the same author with the same key, that message is returned and made is false:
// so a send whose outcome is unknown can be repeated, also on another node. A [ConflictError] says that the key stands for
// another text.
func (s *Store) Send(ctx context.Context, person, conversation int64, d Draft) (m Message, made bool, err error) {
	if err := checkKey("a message", d.Key); err != nil {
		return Message{}, false, err
	}
	if len(d.Attachments) > s.limits.Attachments {
		return Message{}, false, &InvalidError{Field: "attachments", Problem: fmt.Sprintf("There are %d files, and a message may have %d: send the others with another one.", len(d.Attachments), s.limits.Attachments)}
	}
	d.Attachments = slices.Compact(slices.Sorted(slices.Values(d.Attachments)))
	if d.Body, err = s.body(d.Body, len(d.Attachments) > 0); err != nil {
		return Message{}, false, err
	}
	document := markdown.Read(d.Body)
	err = s.write(ctx, func(tx pgx.Tx) error {
		r, err := writeTo(ctx, tx, person, conversation)
		if err != nil {
			return err
		}
		made = false
		if m, err = sentBefore(ctx, tx, r, d); !errors.Is(err, ErrNotFound) {
			return err
		}
		if m, err = insertMessage(ctx, tx, r, d, document.HTML); err != nil {
			return err
		}
		made = true
		if err := advance(ctx, tx, person, conversation, m.Seq); err != nil {
			return err
		}
		return s.tellOfMessage(ctx, tx, r, &m, document)
	})
	return m, made && err == nil, err
}

// body takes the text of a message. Characters that can't be seen and break things are left out: what is pasted often has some.
func (s *Store) body(body string, mayBeEmpty bool) (string, error) {
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\r", "\n")
	body = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, body)
	body, err := text("body", "the message", body, s.limits.MessageLength)
	switch {
	case err != nil:
		return "", err
	case visible(body):
		return body, nil
	case mayBeEmpty:
		return "", nil
	}
	return "", &InvalidError{Field: "body", Problem: "The message is empty: write something, or attach a file."}
}

// sentBefore finds the message that was sent with the same key. ErrNotFound: there is none.
func sentBefore(ctx context.Context, tx pgx.Tx, r *room, d Draft) (Message, error) {
	var body string
	var id int64
	var deleted bool
	// What was sent is what it said before it was edited.
	err := tx.QueryRow(ctx, `SELECT m.id, m.deleted_at IS NOT NULL, coalesce(
			(SELECT e.body FROM projects.message_edit e WHERE e.message_id = m.id ORDER BY e.id LIMIT 1), m.body)
		FROM projects.message m WHERE m.conversation_id = $1 AND m.author_id = $2 AND m.client_key = $3`,
		r.conversation, r.person, d.Key).Scan(&id, &deleted, &body)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Message{}, ErrNotFound
	case err != nil:
		return Message{}, fmt.Errorf("look for a message with the same key: %w", err)
	case !deleted && body != d.Body:
		return Message{}, &ConflictError{Sentence: "Another message of yours was sent with the same key: send this one with a key of its own."}
	}
	return readMessage(ctx, tx, id)
}

// insertMessage is one statement, so that what is pushed of the message has its attachments. The room is locked: its seqs have
// no gaps. Whoever isn't of the project's organisation asks, and waits for whoever is.
func insertMessage(ctx context.Context, tx pgx.Tx, r *room, d Draft, html string) (Message, error) {
	const sql = `WITH c AS (
		UPDATE projects.conversation SET last_seq = last_seq + 1, last_message_at = clock_timestamp(),
			awaiting_since = CASE WHEN $6::bigint IS DISTINCT FROM (SELECT h.organisation_id FROM projects.person h WHERE h.id = $2)
				THEN coalesce(awaiting_since, clock_timestamp()) END
		WHERE id = $1 RETURNING last_seq, last_message_at
	), m AS (
		INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html, created_at)
		SELECT $1, c.last_seq, $2, $3, $4, $5, c.last_message_at FROM c RETURNING id
	), a AS (
		UPDATE projects.attachment t SET message_id = m.id FROM m
		WHERE t.id = ANY ($7) AND t.conversation_id = $1 AND t.uploaded_by = $2 AND t.message_id IS NULL RETURNING t.id
	)
	SELECT m.id, ARRAY(SELECT a.id FROM a) FROM m`
	var id int64
	var attached []int64
	err := tx.QueryRow(ctx, sql, r.conversation, r.person, d.Key, d.Body, html, r.organisation, d.Attachments).Scan(&id, &attached)
	if err != nil {
		return Message{}, fmt.Errorf("send a message: %w", err)
	}
	for _, wanted := range d.Attachments {
		if !slices.Contains(attached, wanted) {
			return Message{}, &InvalidError{Field: "attachments", Problem: fmt.Sprintf("File %d isn't there, or was sent already: attach it again.", wanted)}
		}
	}
	return readMessage(ctx, tx, id)
}

func readMessage(ctx context.Context, tx pgx.Tx, id int64) (Message, error) {
	return one[Message](ctx, tx, "SELECT projects.message_json(m) FROM projects.message m WHERE m.id = $1", id)
}

// A written message is one as it is before it is changed, locked.
type written struct {
	author    *int64
	byStaff   bool
	body      string
	deleted   bool
	version   int64
	writtenAt time.Time
}

// message finds a message that somebody is about to change, and locks it.
func message(ctx context.Context, tx pgx.Tx, person, id int64) (*room, *written, error) {
	var conversation int64
	err := tx.QueryRow(ctx, "SELECT conversation_id FROM projects.message WHERE id = $1", id).Scan(&conversation)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find a message: %w", err)
	}
	// The conversation first, as those who send do.
	r, err := writeTo(ctx, tx, person, conversation)
	if err != nil {
		return nil, nil, err
	}
	var w written
	err = tx.QueryRow(ctx, `SELECT m.author_id, coalesce(h.organisation_id IS NOT NULL, false), m.body, m.deleted_at IS NOT NULL, m.version,
			coalesce(m.edited_at, m.created_at)
		FROM projects.message m LEFT JOIN projects.person h ON h.id = m.author_id WHERE m.id = $1 FOR NO KEY UPDATE OF m`, id).
		Scan(&w.author, &w.byStaff, &w.body, &w.deleted, &w.version, &w.writtenAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("lock a message: %w", err)
	}
	return r, &w, nil
}

func (w *written) by(person int64) bool { return w.author != nil && *w.author == person }

// EditMessage changes what a message of the person's own says; what it said before is kept. A [ConflictError] says that it isn't at
// that version any more, or was deleted.
func (s *Store) EditMessage(ctx context.Context, person, id int64, body string, version *int64) (m Message, err error) {
	err = s.write(ctx, func(tx pgx.Tx) error {
		r, w, err := message(ctx, tx, person, id)
		if err != nil {
			return err
		}
		switch {
		case !w.by(person):
			return &ForbiddenError{Sentence: "Only who has written a message can edit it."}
		case w.deleted:
			return &ConflictError{Sentence: "This message was deleted meanwhile, so it can't be edited."}
		}
		var files bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM projects.attachment WHERE message_id = $1)", id).Scan(&files); err != nil {
			return fmt.Errorf("look for attachments: %w", err)
		}
		text, err := s.body(body, files)
		if err != nil {
			return err
		}
		if text == w.body {
			m, err = readMessage(ctx, tx, id)
			return err
		}
		if version != nil && *version != w.version {
			return &ConflictError{Sentence: "This message was edited elsewhere meanwhile. Look at what it says now, and edit it again."}
		}
		document := markdown.Read(text)
		_, err = tx.Exec(ctx, `WITH e AS (INSERT INTO projects.message_edit (message_id, body, written_at) VALUES ($1, $2, $3))
			UPDATE projects.message SET body = $4, html = $5, edited_at = clock_timestamp() WHERE id = $1`,
			id, w.body, w.writtenAt, text, document.HTML)
		if err != nil {
			return fmt.Errorf("edit a message: %w", err)
		}
		if m, err = readMessage(ctx, tx, id); err != nil {
			return err
		}
		return s.tellOfEdit(ctx, tx, r, &m, document, markdown.Read(w.body).Mentions)
	})
	return m, err
}

// DeleteMessage makes a tombstone of a message: its text, files and history go, its place stays. Authors delete what they have
// written, and whoever guides a project what customers have. Deleting again changes nothing.
func (s *Store) DeleteMessage(ctx context.Context, person, id int64) (m Message, err error) {
	err = s.write(ctx, func(tx pgx.Tx) error {
		r, w, err := message(ctx, tx, person, id)
		if err != nil {
			return err
		}
		if !w.by(person) && (r.role == Customer || w.byStaff) {
			return &ForbiddenError{Sentence: "A message is deleted by who has written it; those of customers by their project's staff as well."}
		}
		if !w.deleted {
			if err := bury(ctx, tx, r, id); err != nil {
				return err
			}
			if !w.by(person) {
				if err := audit(ctx, tx, person, r.project, "message.deleted", topic("message", id), map[string]any{"author": w.author}); err != nil {
					return err
				}
			}
		}
		m, err = readMessage(ctx, tx, id)
		return err
	})
	return m, err
}

// bury leaves of a message what its conversation needs. A question that nobody can read isn't waiting for an answer.
func bury(ctx context.Context, tx pgx.Tx, r *room, id int64) error {
	_, err := tx.Exec(ctx, `WITH a AS (DELETE FROM projects.attachment WHERE message_id = $1),
			e AS (DELETE FROM projects.message_edit WHERE message_id = $1), n AS (DELETE FROM projects.notice WHERE message_id = $1)
		UPDATE projects.message SET body = '', html = '', edited_at = NULL, deleted_at = clock_timestamp(), deleted_by = $2
		WHERE id = $1`, id, r.person)
	if err != nil {
		return fmt.Errorf("delete a message: %w", err)
	}
	if err := rewait(ctx, tx, r.conversation); err != nil {
		return err
	}
	return retract(ctx, tx, inbox.Retraction{Cause: topic("message", id)})
}

// rewait sets since when a conversation waits for an answer, once a message that it may have waited with is gone.
func rewait(ctx context.Context, tx pgx.Tx, conversation int64) error {
	_, err := tx.Exec(ctx, `UPDATE projects.conversation c SET awaiting_since = w.since FROM projects.waits_since($1) w(since)
		WHERE c.id = $1 AND c.awaiting_since IS NOT NULL AND (w.since IS NULL OR w.since > c.awaiting_since + interval '1 second')`, conversation)
	if err != nil {
		return fmt.Errorf("see whether a conversation waits: %w", err)
	}
	return nil
}

// An Edit is what a message said before it was edited.
type Edit struct {
	Body      string    `json:"body"`
	WrittenAt time.Time `json:"written_at"`
}

// Edits returns what a message said before, oldest first.
func (s *Store) Edits(ctx context.Context, person, id int64) (edits []Edit, err error) {
	err = s.read(ctx, func(tx pgx.Tx) error {
		var conversation int64
		err := tx.QueryRow(ctx, "SELECT conversation_id FROM projects.message WHERE id = $1", id).Scan(&conversation)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("find a message: %w", err)
		}
		if _, err := lookInto(ctx, tx, person, conversation); err != nil {
			return err
		}
		edits, err = many[Edit](ctx, tx, `SELECT json_build_object('body', body, 'written_at', projects.utc(written_at))
			FROM projects.message_edit WHERE message_id = $1 ORDER BY id`, id)
		return err
	})
	return edits, err
}
