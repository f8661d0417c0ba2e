package projects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A room is a conversation as one person may use it.
type room struct {
	*access
	conversation int64
	subject      string
	lastSeq      int64
}

const roomSQL = `SELECT ` + accessColumns + `, c.id, c.subject, c.last_seq
	FROM projects.conversation c JOIN projects.project p ON p.id = c.project_id, projects.person w WHERE c.id = $1 AND w.id = $2`

// lookInto finds out what somebody is in a conversation, for reading: ErrNotFound if nothing.
func lookInto(ctx context.Context, tx pgx.Tx, person, conversation int64) (*room, error) {
	return scanRoom(tx.QueryRow(ctx, roomSQL, conversation, person))
}

// writeTo locks a conversation, so that nobody else writes to it until the transaction ends. Errors: ErrNotFound for who is nothing
// in it; a [ForbiddenError] if its project is archived.
func writeTo(ctx context.Context, tx pgx.Tx, person, conversation int64) (*room, error) {
	// What the lock had to wait for shows in a statement of its own only.
	var batch pgx.Batch
	batch.Queue("SELECT FROM projects.conversation WHERE id = $1 FOR NO KEY UPDATE", conversation)
	batch.Queue(roomSQL, conversation, person)
	results := tx.SendBatch(ctx, &batch)
	defer func() { _ = results.Close() }()
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("lock a conversation: %w", err)
	}
	r, err := scanRoom(results.QueryRow())
	if err != nil {
		return nil, err
	}
	return r, first(results.Close(), r.open())
}

func scanRoom(row pgx.Row) (*room, error) {
	var r room
	var err error
	r.access, err = scanAccess(row, &r.conversation, &r.subject, &r.lastSeq)
	return &r, err
}

// A ConversationDraft is a conversation that is to be.
type ConversationDraft struct {
	Subject string  `json:"subject" doc:"1 to 200 characters."`
	TaskID  *int64  `json:"task_id,omitempty" doc:"The task that it is about."`
	Key     *string `json:"key,omitempty" doc:"The maker's own name for it, 1 to 64 bytes, such as a UUID. Who sends the same key again gets what was made with it, and nothing more is made."`
}

// StartConversation starts a conversation in a project, perhaps about one of its tasks. A task has one: where there is one already,
// that is returned, and made is false; likewise if the person has made one with the same key.
func (s *Store) StartConversation(ctx context.Context, person, project int64, draft ConversationDraft) (c Conversation, made bool, err error) {
	draft.Subject, err = line("subject", "the subject", draft.Subject, mostTitle)
	if err := first(err, checkOptionalKey(keyedConversation.what, draft.Key)); err != nil {
		return Conversation{}, false, err
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		a, err := enter(ctx, tx, person, project, shared)
		if err != nil {
			return err
		}
		id, err := keyedConversation.made(ctx, tx, person, project, draft.Key)
		if err != nil {
			return err
		}
		made = false
		if id == 0 {
			if err := a.open(); err != nil {
				return err
			}
			if id, made, err = s.conversationOf(ctx, tx, person, project, draft); err != nil {
				return err
			}
		}
		c, err = readConversation(ctx, tx, person, id)
		return err
	})
	return c, made && err == nil, err
}

// conversationOf finds the conversation about a task, or makes one.
func (s *Store) conversationOf(ctx context.Context, tx pgx.Tx, person, project int64, draft ConversationDraft) (id int64, made bool, err error) {
	if task := draft.TaskID; task != nil {
		// Locked: of two who start it at once, one makes it.
		err := tx.QueryRow(ctx, `SELECT coalesce(c.id, 0) FROM projects.task t
			LEFT JOIN projects.conversation c ON c.task_id = t.id AND c.project_id = t.project_id
			WHERE t.id = $1 AND t.project_id = $2 FOR NO KEY UPDATE OF t`, *task, project).Scan(&id)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return 0, false, &InvalidError{Field: "task_id", Problem: fmt.Sprintf("There is no task %d in this project: it may have been deleted or moved.", *task)}
		case err != nil:
			return 0, false, fmt.Errorf("find the task: %w", err)
		case id != 0:
			return id, false, nil
		}
	}
	var conversations int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM projects.conversation WHERE project_id = $1", project).Scan(&conversations); err != nil {
		return 0, false, fmt.Errorf("count conversations: %w", err)
	}
	if conversations >= s.limits.Conversations {
		return 0, false, &LimitError{Sentence: fmt.Sprintf("This project has %s conversations, which is the most: write in one of them.", thousands(conversations))}
	}
	id, err = createConversationTx(ctx, tx, person, project, draft)
	return id, err == nil, err
}

// createConversationTx makes a conversation in a project. Whether the person may is the caller's to know, and that the subject is one.
func createConversationTx(ctx context.Context, tx pgx.Tx, person, project int64, draft ConversationDraft) (int64, error) {
	var id int64
	err := tx.QueryRow(ctx, `INSERT INTO projects.conversation (project_id, task_id, subject, created_by, client_key)
		VALUES ($1, $2, $3, $4, $5) RETURNING id`, project, draft.TaskID, draft.Subject, person, draft.Key).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("make a conversation: %w", err)
	}
	return id, audit(ctx, tx, person, project, "conversation.started", topic("conversation", id), map[string]any{"subject": draft.Subject})
}

// readConversation reads a conversation as somebody sees it who may.
func readConversation(ctx context.Context, tx pgx.Tx, person, conversation int64) (Conversation, error) {
	return one[Conversation](ctx, tx, `SELECT projects.conversation_json(c, r.read_seq) FROM projects.conversation c
		LEFT JOIN projects.reader r ON r.conversation_id = c.id AND r.person_id = $1 WHERE c.id = $2`, person, conversation)
}

// chatPage is how many messages a chat shows first.
const chatPage = 50

// Chat returns a conversation with the messages around a seq, or, if at is 0, around the first one that the person hasn't read, and
// with the position to follow it from.
func (s *Store) Chat(ctx context.Context, person, conversation, at int64) (Chat, error) {
	var chat Chat
	err := s.read(ctx, func(tx pgx.Tx) error {
		if _, err := lookInto(ctx, tx, person, conversation); err != nil {
			return err
		}
		var err error
		if chat.Positions, err = positions(ctx, tx, topic("chat", conversation)); err != nil {
			return err
		}
		if chat.Conversation, err = readConversation(ctx, tx, person, conversation); err != nil {
			return err
		}
		if at == 0 {
			at = *chat.Conversation.ReadSeq + 1
		}
		if chat.Messages, err = readPage(ctx, tx, conversation, Range{Around: at, Limit: chatPage}); err != nil {
			return err
		}
		chat.Readers, err = many[Reader](ctx, tx, `SELECT projects.reader_json(r) FROM projects.reader r
			WHERE r.conversation_id = $1 ORDER BY r.person_id`, conversation)
		return err
	})
	return chat, err
}

// one reads a row of one column, which is JSON.
func one[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) (value T, err error) {
	var text []byte
	err = tx.QueryRow(ctx, sql, args...).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return value, ErrNotFound
	}
	if err != nil {
		return value, fmt.Errorf("read a %T: %w", value, err)
	}
	return value, json.Unmarshal(text, &value)
}

// many reads rows of one column, which is JSON. No rows are an empty slice.
func many[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read %Ts: %w", *new(T), err)
	}
	values, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (value T, err error) {
		var text []byte
		if err := row.Scan(&text); err != nil {
			return value, err
		}
		return value, json.Unmarshal(text, &value)
	})
	if err != nil {
		return nil, fmt.Errorf("read %Ts: %w", *new(T), err)
	}
	return values, nil
}
