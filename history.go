package trunkline

import (
	"context"
	"fmt"
)

// A HistoryPage is a piece of a channel's past.
type HistoryPage struct {
	Epoch    string
	Messages []Message // oldest first; from HistoryBefore newest first
	FirstSeq int64     // of the oldest message kept, or that would be: retention removed those before
	LastSeq  int64     // of the newest message, 0 if there never was one
	More     bool      // the limit, or the bound on bytes, cut the page short: there is more behind its last message
}

// maxHistory is the most messages one page of history holds, and historyBytes the most payload (one message always fits).
const (
	maxHistory   = 10_000
	historyBytes = 8 << 20
)

// History returns the messages of a channel with a seq above after, oldest first, limit at most (1 to 10,000) and 8 MiB of
// payload. A channel that was never published to has none. Messages appear once they are sequenced.
func (e *Engine) History(ctx context.Context, channel string, after int64, limit int) (HistoryPage, error) {
	page, err := History(ctx, e.pool, channel, after, limit)
	return page, withRole(ctx, e.pool, err)
}

// HistoryBefore returns the messages of a channel with a seq below before (0: from the end), newest first, limit at most (1 to
// 10,000) and 8 MiB of payload. What retention has removed is not there: the page's FirstSeq tells.
func (e *Engine) HistoryBefore(ctx context.Context, channel string, before int64, limit int) (HistoryPage, error) {
	page, err := HistoryBefore(ctx, e.pool, channel, before, limit)
	return page, withRole(ctx, e.pool, err)
}

// History is [Engine.History] on any connection; no engine is needed.
func History(ctx context.Context, db Tx, channel string, after int64, limit int) (HistoryPage, error) {
	page, err := readHistory(ctx, db, channel, "after", after, limit)
	page.More = page.More && page.Messages[len(page.Messages)-1].Seq < page.LastSeq
	return page, err
}

// HistoryBefore is [Engine.HistoryBefore] on any connection; no engine is needed.
func HistoryBefore(ctx context.Context, db Tx, channel string, before int64, limit int) (HistoryPage, error) {
	page, err := readHistory(ctx, db, channel, "before", before, limit)
	page.More = page.More && page.Messages[len(page.Messages)-1].Seq > page.FirstSeq
	return page, err
}

// historySQL reads in one direction, for which two words are filled in. $1 channel, $2 seq, $3 rows and $4 bytes of payload
// at most. OFFSET 0: one look by id for each message, where the planner, not knowing the limit, would read all of the table.
const historySQL = `SELECT s.epoch, coalesce(c.trimmed_seq, 0) + 1, coalesce(c.last_seq, 0),
		l.position, l.seq, m.id, m.size, m.payload, m.sender, m.key, m.created_at
	FROM (SELECT x.epoch FROM trunkline.state x LIMIT 1) s
	LEFT JOIN LATERAL (
		SELECT c.id, c.trimmed_seq, greatest(c.trimmed_seq,
			(SELECT x.seq FROM trunkline.log x WHERE x.channel_id = c.id ORDER BY x.seq DESC LIMIT 1)) AS last_seq
		FROM trunkline.channel c WHERE c.name = $1
	) c ON true
	LEFT JOIN LATERAL (
		SELECT b.* FROM (
			SELECT x.*, row_number() OVER (ORDER BY x.seq %[2]s) AS number, sum(x.size::bigint) OVER (ORDER BY x.seq %[2]s) AS reached
			FROM (
				SELECT l.position, l.seq, l.message_id, l.size FROM trunkline.log l
				WHERE l.channel_id = c.id AND l.seq %[1]s $2 ORDER BY l.seq %[2]s LIMIT $3
			) x
		) b
		WHERE b.number = 1 OR b.reached <= $4
	) l ON true
	LEFT JOIN LATERAL (SELECT x.* FROM trunkline.message x WHERE x.id = l.message_id OFFSET 0) m ON true
	ORDER BY l.seq %[2]s`

var (
	historyAfterSQL  = fmt.Sprintf(historySQL, ">", "ASC")
	historyBeforeSQL = fmt.Sprintf(historySQL, "<", "DESC")
)

// readHistory reads a page; its More says only whether it has a message.
func readHistory(ctx context.Context, db Tx, channel, direction string, seq int64, limit int) (HistoryPage, error) {
	if err := CheckChannel(channel); err != nil {
		return HistoryPage{}, err
	}
	if seq < 0 || limit < 1 || limit > maxHistory {
		return HistoryPage{}, &ArgumentError{
			Argument: "limit", Problem: fmt.Sprintf("%s %d with limit %d can't be read", direction, seq, limit),
			Fix: fmt.Sprintf("%s is 0 or a seq, limit 1 to %d", direction, maxHistory),
		}
	}
	sql := historyAfterSQL
	if direction == "before" {
		sql = historyBeforeSQL
		if seq == 0 {
			seq = 1<<63 - 1
		}
	}
	rows, err := db.Query(ctx, sql, channel, seq, limit, historyBytes)
	if err != nil {
		return HistoryPage{}, historyError(channel, err)
	}
	defer rows.Close()
	page := HistoryPage{}
	for rows.Next() {
		r := row{channel: &channel}
		err := rows.Scan(&page.Epoch, &page.FirstSeq, &page.LastSeq, &r.position, &r.seq, &r.id, &r.size, &r.payload, &r.sender, &r.key, &r.createdAt)
		if err != nil {
			return HistoryPage{}, historyError(channel, err)
		}
		if r.id != nil {
			page.Messages = append(page.Messages, *r.message(page.Epoch))
		}
	}
	if err := rows.Err(); err != nil {
		return HistoryPage{}, historyError(channel, err)
	}
	page.More = len(page.Messages) > 0
	return page, nil
}

func historyError(channel string, err error) error {
	return fmt.Errorf("history of %q: %w", clip(channel), needsRead(explain(err)))
}

// ReadOffset returns where a channel's log ends, on any connection: what a page needs that shows state of the application's own
// and follows it live from there. Read both in one snapshot, a REPEATABLE READ transaction:
//
//	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
//		if offset, err = trunkline.ReadOffset(ctx, tx, "project:42"); err != nil {
//			return err
//		}
//		return readProject(ctx, tx, 42)
//	})
//
// A message is logged after its transaction committed, so whatever is logged in a snapshot, the state in that snapshot has; and
// whatever isn't comes after the offset. Some of that the state may have already: let messages carry a version, or be
// idempotent.
//
// A channel that was never published to has the Seq 0. The zero Offset means that no engine has ever run on this database; there
// is nothing to follow from then. Errors are those of [History].
func ReadOffset(ctx context.Context, db Tx, channel string) (Offset, error) {
	if err := CheckChannel(channel); err != nil {
		return Offset{}, err
	}
	rows, err := db.Query(ctx, offsetSQL, channel)
	if err != nil {
		return Offset{}, historyError(channel, err)
	}
	defer rows.Close()
	var o Offset
	for rows.Next() {
		if err := rows.Scan(&o.Epoch, &o.Seq); err != nil {
			return Offset{}, historyError(channel, err)
		}
	}
	if err := rows.Err(); err != nil {
		return Offset{}, historyError(channel, err)
	}
	return o, nil
}

// offsetSQL takes one look into an index of the log.
const offsetSQL = `SELECT s.epoch, coalesce((
		SELECT greatest(c.trimmed_seq, (SELECT x.seq FROM trunkline.log x WHERE x.channel_id = c.id ORDER BY x.seq DESC LIMIT 1))
		FROM trunkline.channel c WHERE c.name = $1), 0)
	FROM (SELECT x.epoch FROM trunkline.state x LIMIT 1) s`
