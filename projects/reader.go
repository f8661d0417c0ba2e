package projects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// Read notes that somebody was shown a conversation's messages up to a seq, and marks their notifications of those as read. It only
// ever goes forward, and no further than the conversation; where nothing changes, nobody is told.
func (s *Store) Read(ctx context.Context, person, conversation, upTo int64) (reader Reader, err error) {
	if upTo < 0 {
		return Reader{}, &InvalidError{Field: "up_to_seq", Problem: fmt.Sprintf("Nobody can have read up to message %d: messages count from 1.", upTo)}
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		r, err := lookInto(ctx, tx, person, conversation)
		if err != nil {
			return err
		}
		if err := advance(ctx, tx, person, conversation, min(upTo, r.lastSeq)); err != nil {
			return err
		}
		reader, err = one[Reader](ctx, tx, "SELECT projects.reader_json(r) FROM projects.reader r WHERE r.conversation_id = $1 AND r.person_id = $2",
			conversation, person)
		if errors.Is(err, ErrNotFound) {
			reader, err = Reader{PersonID: person, ReadAt: s.now().UTC()}, nil // there is nothing to read yet
		}
		return err
	})
	return reader, err
}

// advance moves what somebody has read forward, and marks their notifications of it.
func advance(ctx context.Context, tx pgx.Tx, person, conversation, seq int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO projects.reader AS r (conversation_id, person_id, read_seq, read_at)
		SELECT $1, $2, $3::bigint, clock_timestamp() WHERE $3::bigint > 0
		ON CONFLICT (conversation_id, person_id) DO UPDATE SET read_seq = excluded.read_seq, read_at = excluded.read_at
		WHERE r.read_seq < excluded.read_seq`, conversation, person, seq)
	if err != nil {
		return fmt.Errorf("note what was read: %w", err)
	}
	rows, err := tx.Query(ctx, `DELETE FROM projects.notice n USING projects.reader r
		WHERE r.conversation_id = $1 AND r.person_id = $2 AND n.conversation_id = $1 AND n.person_id = $2 AND n.seq <= r.read_seq
		RETURNING n.notification_id`, conversation, person)
	if err != nil {
		return fmt.Errorf("find notifications of what was read: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("find notifications of what was read: %w", err)
	}
	slices.Sort(ids)
	for some := range slices.Chunk(ids, 1000) {
		if _, err := inbox.MarkTx(ctx, tx, user(person), inbox.Mark{State: inbox.StateRead, IDs: some}); err != nil {
			return err
		}
	}
	return nil
}

// Typing tells whoever looks at a conversation that somebody writes in it, at most once in two seconds.
func (s *Store) Typing(ctx context.Context, person, conversation int64) error {
	err := s.read(ctx, func(tx pgx.Tx) error {
		r, err := lookInto(ctx, tx, person, conversation)
		if err != nil {
			return err
		}
		return r.open()
	})
	if err != nil || s.engine == nil || !s.typing.take(person, s.now()) {
		return err
	}
	_, err = s.engine.Signal(ctx, trunkline.Publication{
		Channel: topic("chat", conversation), Payload: fmt.Appendf(nil, `{"type":"typing","person_id":%d}`, person), Sender: user(person),
	})
	return err
}

// A typingPace lets through one signal of each person in a while. The zero value is ready.
type typingPace struct {
	mu   sync.Mutex
	last map[int64]time.Time
}

const (
	typingInterval = 2 * time.Second
	// typingPeople is how many people are remembered before those are forgotten whose time is over.
	typingPeople = 1000
)

func (p *typingPace) take(person int64, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.last[person]) < typingInterval {
		return false
	}
	if p.last == nil || len(p.last) >= typingPeople {
		kept := map[int64]time.Time{}
		for who, at := range p.last {
			if now.Sub(at) < typingInterval {
				kept[who] = at
			}
		}
		p.last = kept
	}
	p.last[person] = now
	return true
}
