package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Drift is something kept that isn't what counting gives.
type Drift struct {
	What    string // progress, last_seq or awaiting_since
	ID      int64  // of the project, or of the conversation
	Kept    string // progress as "3 of 7", missing where there is none; awaiting_since as "waiting" or "answered", or when
	Counted string
}

// findDrift counts everything. It is one statement, so that what it compares is of one moment.
//
// Since when a question waits is kept from the clock when it was sent, its message from the same clock a moment earlier or later.
const findDrift = `
WITH task AS (
    SELECT t.project_id, count(t.completed_at) AS done, count(*) AS total FROM projects.task t GROUP BY 1),
message AS (
    SELECT m.conversation_id, max(m.seq) AS seq FROM projects.message m GROUP BY 1)
SELECT 'progress', p.id, coalesce(g.done || ' of ' || g.total, 'missing'), coalesce(t.done, 0) || ' of ' || coalesce(t.total, 0)
FROM projects.project p
LEFT JOIN projects.progress g ON g.project_id = p.id LEFT JOIN task t ON t.project_id = p.id
WHERE (g.done, g.total) IS DISTINCT FROM (coalesce(t.done, 0), coalesce(t.total, 0))
UNION ALL
SELECT 'last_seq', c.id, c.last_seq::text, coalesce(m.seq, 0)::text
FROM projects.conversation c LEFT JOIN message m ON m.conversation_id = c.id WHERE c.last_seq <> coalesce(m.seq, 0)
UNION ALL
SELECT 'awaiting_since', c.id,
       CASE WHEN c.awaiting_since IS NULL THEN 'answered' WHEN w.since IS NULL THEN 'waiting' ELSE projects.utc(c.awaiting_since) END,
       CASE WHEN w.since IS NULL THEN 'answered' WHEN c.awaiting_since IS NULL THEN 'waiting' ELSE projects.utc(w.since) END
FROM projects.conversation c CROSS JOIN LATERAL projects.waits_since(c.id) w(since)
WHERE (c.awaiting_since IS NULL) <> (w.since IS NULL) OR abs(extract(epoch FROM c.awaiting_since - w.since)) > 1
ORDER BY 1, 2`

// Check compares what is kept with what counting gives: how far projects are, where conversations end, and since when questions
// wait. It never finds anything unless somebody has changed tables with triggers switched off.
//
// With repair it puts right what it found, each in a transaction of its own, while everybody goes on working; what was wrong is told
// to the pages that show it. The returned drifts are those found before.
func (s *Store) Check(ctx context.Context, repair bool) ([]Drift, error) {
	rows, err := s.pool.Query(ctx, findDrift)
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	drifts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Drift])
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	if !repair {
		return drifts, nil
	}
	for _, d := range drifts {
		if err := s.write(ctx, func(tx pgx.Tx) error { return d.repair(ctx, tx) }); err != nil {
			return drifts, fmt.Errorf("repair %s of %d: %w", d.What, d.ID, err)
		}
	}
	return drifts, nil
}

// repair locks the row first and counts in a later statement: what commits in between has changed the row already, and what comes
// later finds it right.
func (d Drift) repair(ctx context.Context, tx pgx.Tx) error {
	switch d.What {
	case "progress":
		return d.steps(ctx, tx,
			`INSERT INTO projects.progress (project_id) SELECT p.id FROM projects.project p WHERE p.id = $1 ON CONFLICT DO NOTHING`,
			`SELECT FROM projects.progress WHERE project_id = $1 FOR NO KEY UPDATE`,
			`WITH right_one AS (
				UPDATE projects.progress g SET done = c.done, total = c.total, version = g.version + 1
				FROM (SELECT count(t.completed_at) AS done, count(*) AS total FROM projects.task t WHERE t.project_id = $1) c
				WHERE g.project_id = $1 RETURNING g.*)
			SELECT trunkline.publish('progress:' || g.project_id, json_build_object('done', g.done, 'total', g.total, 'version', g.version))
			FROM right_one g`)
	case "last_seq":
		return d.steps(ctx, tx,
			`SELECT FROM projects.conversation WHERE id = $1 FOR NO KEY UPDATE`,
			`UPDATE projects.conversation c
				SET last_seq = coalesce((SELECT max(m.seq) FROM projects.message m WHERE m.conversation_id = c.id), 0) WHERE c.id = $1`,
			`UPDATE projects.reader r SET read_seq = c.last_seq
				FROM projects.conversation c WHERE c.id = $1 AND r.conversation_id = c.id AND r.read_seq > c.last_seq`)
	case "awaiting_since":
		return d.steps(ctx, tx,
			`SELECT FROM projects.conversation WHERE id = $1 FOR NO KEY UPDATE`,
			`UPDATE projects.conversation c SET awaiting_since = projects.waits_since(c.id) WHERE c.id = $1`)
	}
	return errors.New("nothing is known of it")
}

func (d Drift) steps(ctx context.Context, tx pgx.Tx, statements ...string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql, d.ID); err != nil {
			return err
		}
	}
	return nil
}
