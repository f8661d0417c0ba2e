package projects

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects/markdown"
)

// mostExcerpt is how many characters of a message a notification has.
const mostExcerpt = 140

// tellOfMessage notifies people of a new message: those who are mentioned, and of a customer's question the staff, of an answer the
// customers. Nobody gets two of the same message, and its author none.
func (s *Store) tellOfMessage(ctx context.Context, tx pgx.Tx, r *room, m *Message, document markdown.Document) error {
	mentioned, err := mentionable(ctx, tx, r, document.Mentions)
	if err != nil {
		return err
	}
	if err := s.tell(ctx, tx, r, m, document, KindMention, mentioned); err != nil {
		return err
	}
	kind, roles := KindAnswer, []Role{Customer}
	if r.role == Customer {
		kind, roles = KindQuestion, []Role{Lead, Staff}
	}
	rows, err := tx.Query(ctx, `SELECT h.id FROM projects.membership s JOIN projects.person h ON h.id = s.person_id
		WHERE s.project_id = $1 AND s.role = ANY ($2) AND h.deactivated_at IS NULL AND h.id <> $3 AND h.id <> ALL ($4) ORDER BY h.id`,
		r.project, roles, r.person, mentioned)
	if err != nil {
		return fmt.Errorf("find who is told of a message: %w", err)
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("find who is told of a message: %w", err)
	}
	return s.tell(ctx, tx, r, m, document, kind, others)
}

// tellOfEdit notifies those whom a message mentions now and didn't before.
func (s *Store) tellOfEdit(ctx context.Context, tx pgx.Tx, r *room, m *Message, document markdown.Document, before []int64) error {
	added := slices.DeleteFunc(slices.Clone(document.Mentions), func(id int64) bool { return slices.Contains(before, id) })
	mentioned, err := mentionable(ctx, tx, r, added)
	if err != nil {
		return err
	}
	return s.tell(ctx, tx, r, m, document, KindMention, mentioned)
}

// tell notifies people of a message, each once whatever the kind, and remembers the notifications for when they read it.
func (s *Store) tell(ctx context.Context, tx pgx.Tx, r *room, m *Message, document markdown.Document, kind string, people []int64) error {
	cause := topic("message", m.ID)
	ids, err := s.notify(ctx, tx, notice{
		Kind: kind, To: people, Group: topic("chat", r.conversation), Cause: cause, Key: cause,
		Link: fmt.Sprintf("/projects/%d/chat/%d?message=%d", r.project, r.conversation, m.Seq),
		Data: noticeData{
			Actor: r.actor, ActorID: r.person, Project: r.name, ProjectID: r.project, Subject: r.subject,
			Excerpt: excerpt(document.Text, m.Attachments), GroupTitle: r.name + ": " + r.subject, Seq: m.Seq,
		},
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO projects.notice (notification_id, person_id, message_id, conversation_id, seq)
		SELECT n.id, n.person, $3, $4, $5 FROM unnest($1::bigint[], $2::bigint[]) n (id, person) ON CONFLICT DO NOTHING`,
		ids, people, m.ID, r.conversation, m.Seq)
	if err != nil {
		return fmt.Errorf("remember notifications of a message: %w", err)
	}
	return nil
}

// excerpt is the beginning of a message, on one line; of one without a text, what was sent.
func excerpt(text string, attachments []Attachment) string {
	if text == "" {
		names := make([]string, len(attachments))
		for i, a := range attachments {
			names[i] = a.Name
		}
		text = strings.Join(names, ", ")
	}
	if utf8.RuneCountInString(text) <= mostExcerpt {
		return text
	}
	return strings.TrimSpace(string([]rune(text)[:mostExcerpt-1])) + "…"
}
