package trunkline

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A HistoryPage is a piece of a channel's past.
type HistoryPage struct {
	Epoch    string
	Messages []Message // oldest first
	FirstSeq int64     // of the oldest message kept, or that would be: retention removed those before
	LastSeq  int64     // of the newest message, 0 if there never was one
}

// maxHistory is the most messages one page of history holds.
const maxHistory = 10_000

// History returns the messages of a channel with a seq above after, oldest first, limit at most (1 to 10,000). A channel
// that was never published to has none. Messages appear once they are sequenced.
func (e *Engine) History(ctx context.Context, channel string, after int64, limit int) (HistoryPage, error) {
	page, err := History(ctx, e.pool, channel, after, limit)
	return page, withRole(ctx, e.pool, err)
}

// History is [Engine.History] on any connection; no engine is needed.
func History(ctx context.Context, db Tx, channel string, after int64, limit int) (HistoryPage, error) {
	if err := CheckChannel(channel); err != nil {
		return HistoryPage{}, err
	}
	if after < 0 || limit < 1 || limit > maxHistory {
		return HistoryPage{}, &ArgumentError{
			Argument: "limit", Problem: fmt.Sprintf("after %d with limit %d can't be read", after, limit),
			Fix: fmt.Sprintf("after is 0 or a seq, limit 1 to %d", maxHistory),
		}
	}
	const sql = `SELECT s.epoch, coalesce(c.first_seq, 1), coalesce(c.last_seq, 0),
			h.seq, h.position, h.id, h.payload, h.sender, h.key, h.created_at
		FROM trunkline.state s
		LEFT JOIN trunkline.channels c ON c.channel = $1
		LEFT JOIN LATERAL trunkline.history($1, $2, $3) h ON true
		ORDER BY h.seq`
	rows, err := db.Query(ctx, sql, channel, after, limit)
	if err != nil {
		return HistoryPage{}, historyError(channel, err)
	}
	page := HistoryPage{}
	var seq, position, id *int64
	var payload []byte
	var sender, key *string
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&page.Epoch, &page.FirstSeq, &page.LastSeq, &seq, &position, &id, &payload, &sender, &key, &at}, func() error {
		if seq != nil {
			page.Messages = append(page.Messages, Message{
				ID: *id, Channel: channel, Epoch: page.Epoch, Seq: *seq, Position: *position, Payload: append([]byte(nil), payload...), size: len(payload),
				Sender: deref(sender), Key: deref(key), CreatedAt: *at,
			})
		}
		return nil
	})
	if err != nil {
		return HistoryPage{}, historyError(channel, err)
	}
	return page, nil
}

func historyError(channel string, err error) error {
	return fmt.Errorf("history of %q: %w", clip(channel), needsRead(explain(err)))
}
