package projects

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// mentionable are those of the people mentioned in a message who can read it, without its author.
func mentionable(ctx context.Context, tx pgx.Tx, r *room, mentioned []int64) ([]int64, error) {
	if len(mentioned) == 0 {
		return []int64{}, nil
	}
	rows, err := tx.Query(ctx, `SELECT h.id FROM projects.person h
		WHERE h.id = ANY ($1) AND h.id <> $2 AND projects.role(h.id, $3) IS NOT NULL ORDER BY h.id`, mentioned, r.person, r.project)
	if err != nil {
		return nil, fmt.Errorf("find who is mentioned: %w", err)
	}
	people, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("find who is mentioned: %w", err)
	}
	return people, nil
}
