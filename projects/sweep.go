package projects

import (
	"context"
	"fmt"
)

// sweeps are what nobody needs any more, and how many rows of it are removed at once.
var sweeps = []struct{ what, sql string }{
	// Whoever has uploaded a file and not sent it has forgotten it.
	{"attachments that weren't sent", `DELETE FROM projects.attachment WHERE id IN (
		SELECT id FROM projects.attachment WHERE message_id IS NULL AND created_at < now() - interval '1 day'
		LIMIT 100 FOR UPDATE SKIP LOCKED)`},
	{"attempts to sign in", `DELETE FROM projects.attempt WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM projects.attempt WHERE at < now() - interval '1 day' LIMIT 10000))`},
	{"sessions", `DELETE FROM projects.session WHERE id IN (
		SELECT id FROM projects.session WHERE expires_at < now() LIMIT 1000 FOR UPDATE SKIP LOCKED)`},
	// A link that has expired says so for a month.
	{"tokens", `DELETE FROM projects.token WHERE hash IN (
		SELECT hash FROM projects.token WHERE expires_at < now() - interval '30 days' LIMIT 1000 FOR UPDATE SKIP LOCKED)`},
	// An invitation shows whether its letter was sent: so of each the newest stays.
	{"letters", `DELETE FROM projects.letter WHERE id IN (
		SELECT l.id FROM projects.letter l
		WHERE coalesce(l.sent_at, l.failed_at) < now() - interval '30 days' AND (l.invitation_id IS NULL OR EXISTS (
			SELECT FROM projects.letter n WHERE n.invitation_id = l.invitation_id AND n.id > l.id))
		LIMIT 1000 FOR UPDATE SKIP LOCKED)`},
}

// Sweep removes what is over: files that were uploaded a day ago and not sent, attempts to sign in, sessions, tokens and letters.
// Any number of nodes may call it, now and then. It returns how many rows it has removed.
func (s *Store) Sweep(ctx context.Context) (removed int64, err error) {
	for _, sweep := range sweeps {
		for {
			tag, err := s.pool.Exec(ctx, sweep.sql)
			if err != nil {
				return removed, fmt.Errorf("remove %s: %w", sweep.what, err)
			}
			removed += tag.RowsAffected()
			if tag.RowsAffected() == 0 {
				break
			}
		}
	}
	return removed, nil
}
