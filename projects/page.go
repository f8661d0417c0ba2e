package projects

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A Range says which messages of a conversation: those before a seq, after one, or around one. One of them, or none for the newest.
type Range struct {
	Before, After *int64
	Around        int64 // 0: not given
	Limit         int   // 1 to 200; 0: 50
}

// MaxMessages is how many messages a page has at most.
const MaxMessages = 200

// Messages returns a page of a conversation's messages.
func (s *Store) Messages(ctx context.Context, person, conversation int64, rng Range) (page MessagePage, err error) {
	given := 0
	for _, is := range []bool{rng.Before != nil, rng.After != nil, rng.Around != 0} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return page, &InvalidError{Field: "before", Problem: "A page is before, after or around a message: give one of them."}
	case rng.Limit == 0:
		rng.Limit = chatPage
	case rng.Limit < 1 || rng.Limit > MaxMessages:
		return page, &InvalidError{Field: "limit", Problem: fmt.Sprintf("A page can't have %d messages: ask for 1 to %d.", rng.Limit, MaxMessages)}
	}
	err = s.read(ctx, func(tx pgx.Tx) error {
		r, err := lookInto(ctx, tx, person, conversation)
		if err != nil {
			return err
		}
		page.LastSeq = r.lastSeq
		page.Messages, err = readPage(ctx, tx, conversation, rng)
		return err
	})
	return page, err
}

// readPage reads a run of messages, by seq.
func readPage(ctx context.Context, tx pgx.Tx, conversation int64, rng Range) ([]Message, error) {
	const (
		up = `SELECT projects.message_json(m) FROM projects.message m
			WHERE m.conversation_id = $1 AND m.seq > $2::bigint ORDER BY m.seq LIMIT $3`
		down = `SELECT projects.message_json(m) FROM projects.message m
			WHERE m.conversation_id = $1 AND m.seq < $2::bigint ORDER BY m.seq DESC LIMIT $3`
	)
	if rng.After != nil {
		return many[Message](ctx, tx, up, conversation, *rng.After, rng.Limit)
	}
	before := int64(math.MaxInt64)
	var page []Message
	switch {
	case rng.Before != nil && *rng.Before <= 1:
		return []Message{}, nil
	case rng.Before != nil:
		before = *rng.Before
	case rng.Around != 0:
		// Half of the page begins with the one that is looked for. What one end of the conversation leaves free, the other half takes.
		var after, earlier int
		const count = `SELECT (SELECT count(*) FROM (SELECT FROM projects.message m WHERE m.conversation_id = $1 AND m.seq >= $2::bigint LIMIT $3) a),
			(SELECT count(*) FROM (SELECT FROM projects.message m WHERE m.conversation_id = $1 AND m.seq < $2::bigint LIMIT $3) b)`
		if err := tx.QueryRow(ctx, count, conversation, rng.Around, rng.Limit).Scan(&after, &earlier); err != nil {
			return nil, fmt.Errorf("look around a message: %w", err)
		}
		half := (rng.Limit + 1) / 2
		after = min(after, max(half, rng.Limit-earlier))
		var err error
		if page, err = many[Message](ctx, tx, up, conversation, rng.Around-1, after); err != nil {
			return nil, err
		}
		before = rng.Around
		rng.Limit -= after
		if rng.Limit == 0 || before <= 1 {
			return page, nil
		}
	}
	earlier, err := many[Message](ctx, tx, down, conversation, before, rng.Limit)
	if err != nil {
		return nil, err
	}
	slices.Reverse(earlier)
	return append(earlier, page...), nil
}
