package projects

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// Overview returns what a person's first page shows: all their projects at a glance, or one of them, and the position to follow
// the changes from. ErrNotFound if that one isn't theirs.
func (s *Store) Overview(ctx context.Context, person int64, project *int64) (Overview, error) {
	o := Overview{Projects: []Summary{}}
	err := s.read(ctx, func(tx pgx.Tx) error {
		var list []byte
		if err := tx.QueryRow(ctx, `SELECT projects.overview($1, $2)`, person, project).Scan(&list); err != nil {
			return fmt.Errorf("overview: %w", err)
		}
		if list != nil {
			if err := json.Unmarshal(list, &o.Projects); err != nil {
				return fmt.Errorf("overview: %w", err)
			}
		}
		if project != nil && len(o.Projects) == 0 {
			return ErrNotFound
		}
		var err error
		o.Positions, err = positions(ctx, tx, topic("person", person))
		return err
	})
	return o, err
}

// positions are where channels end, as the transaction sees it. A channel of a log that never began is left out.
func positions(ctx context.Context, tx pgx.Tx, channels ...string) (map[string]Position, error) {
	at := make(map[string]Position, len(channels))
	for _, channel := range channels {
		offset, err := trunkline.ReadOffset(ctx, tx, channel)
		if err != nil {
			return nil, err
		}
		if offset != (trunkline.Offset{}) {
			at[channel] = Position{Epoch: offset.Epoch, Offset: offset.Seq}
		}
	}
	return at, nil
}
