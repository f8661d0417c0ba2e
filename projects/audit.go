package projects

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// An AuditPage is a part of a project's audit trail, newest first.
type AuditPage struct {
	Entries []Entry `json:"entries" nullable:"false"`
	Next    int64   `json:"next"` // what to read before for the next page; 0: this is the last
}

// Audit returns lines of a project's audit trail that were written before the line of that id (0: from the newest), at most limit
// of them, 1 to 200. Staff may read it.
func (s *Store) Audit(ctx context.Context, person, project, before int64, limit int) (AuditPage, error) {
	var page AuditPage
	limit = min(max(limit, 1), 200)
	err := s.read(ctx, func(tx pgx.Tx) error {
		a, err := look(ctx, tx, person, project)
		if err != nil {
			return err
		}
		if err := a.guides(); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT l.id, l.at, l.person_id, coalesce(w.name, ''), l.action, l.subject, l.detail
			FROM projects.audit l LEFT JOIN projects.person w ON w.id = l.person_id
			WHERE l.project_id = $1 AND ($2::bigint = 0 OR l.id < $2) ORDER BY l.id DESC LIMIT $3`, project, before, limit+1)
		if err != nil {
			return fmt.Errorf("audit trail: %w", err)
		}
		page.Entries, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Entry, err error) {
			err = row.Scan(&e.ID, &e.At, &e.PersonID, &e.PersonName, &e.Action, &e.Subject, &e.Detail)
			utc(&e.At)
			return e, err
		})
		if err != nil {
			return fmt.Errorf("audit trail: %w", err)
		}
		if len(page.Entries) > limit {
			page.Entries = page.Entries[:limit]
			page.Next = page.Entries[limit-1].ID
		}
		return nil
	})
	return page, err
}
