package projects

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// rankStep is what lies between the last one and one that is put behind it: it can be halved some fifty times.
const rankStep = 1024

// An ordering is how things stand behind each other: the tasks of a milestone, or the milestones of a project. Its statements
// take the project as $1, the milestone as $2 (NULL: none), and as $3 the thing that is being placed, which doesn't count.
type ordering struct {
	ends     string // → the lowest and the highest rank, or NULL
	of       string // $4: id → its rank
	next     string // $4: id, $5: its rank → the next one's rank
	renumber string // takes no $3
}

var taskOrder = ordering{
	ends: `SELECT min(rank), max(rank) FROM projects.task
		WHERE project_id = $1 AND milestone_id IS NOT DISTINCT FROM $2::bigint AND id <> $3`,
	of: `SELECT rank FROM projects.task
		WHERE project_id = $1 AND milestone_id IS NOT DISTINCT FROM $2::bigint AND id <> $3 AND id = $4`,
	next: `SELECT rank FROM projects.task
		WHERE project_id = $1 AND milestone_id IS NOT DISTINCT FROM $2::bigint AND id <> $3 AND (rank, id) > ($5::float8, $4::bigint)
		ORDER BY rank, id LIMIT 1`,
	renumber: `UPDATE projects.task t SET rank = n.rank FROM (
			SELECT id, $3::float8 * row_number() OVER (ORDER BY rank, id) AS rank FROM projects.task
			WHERE project_id = $1 AND milestone_id IS NOT DISTINCT FROM $2::bigint
		) n WHERE t.id = n.id AND t.rank <> n.rank`,
}

var milestoneOrder = ordering{
	ends: `SELECT min(rank), max(rank) FROM projects.milestone WHERE project_id = $1 AND $2::bigint IS NULL AND id <> $3`,
	of:   `SELECT rank FROM projects.milestone WHERE project_id = $1 AND $2::bigint IS NULL AND id <> $3 AND id = $4`,
	next: `SELECT rank FROM projects.milestone
		WHERE project_id = $1 AND $2::bigint IS NULL AND id <> $3 AND (rank, id) > ($5::float8, $4::bigint) ORDER BY rank, id LIMIT 1`,
	renumber: `UPDATE projects.milestone m SET rank = n.rank FROM (
			SELECT id, $3::float8 * row_number() OVER (ORDER BY rank, id) AS rank FROM projects.milestone
			WHERE project_id = $1 AND $2::bigint IS NULL
		) n WHERE m.id = n.id AND m.rank <> n.rank`,
}

// place finds the rank at which something (0: something new) stands behind another one; behind all others if after is nil, before
// them if it is 0. What it stands behind has to be in that order, or place returns an *InvalidError. The project has to be locked
// exclusively: a rank lies between two others, which have to stay where they are.
func (o ordering) place(ctx context.Context, tx pgx.Tx, project int64, milestone *int64, self int64, after *int64) (float64, error) {
	if after == nil || *after == 0 {
		var lowest, highest *float64
		if err := tx.QueryRow(ctx, o.ends, project, milestone, self).Scan(&lowest, &highest); err != nil {
			return 0, fmt.Errorf("rank: %w", err)
		}
		switch {
		case lowest == nil:
			return rankStep, nil
		case after == nil:
			return *highest + rankStep, nil
		default:
			return *lowest - rankStep, nil
		}
	}
	for try := 0; ; try++ {
		var behind, before float64
		err := tx.QueryRow(ctx, o.of, project, milestone, self, *after).Scan(&behind)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, &InvalidError{Field: "after", Problem: fmt.Sprintf("There is no %d to stand behind: it may have been moved or deleted.", *after)}
		}
		if err == nil {
			err = tx.QueryRow(ctx, o.next, project, milestone, self, *after, behind).Scan(&before)
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return behind + rankStep, nil
		}
		if err != nil {
			return 0, fmt.Errorf("rank: %w", err)
		}
		if mean := behind + (before-behind)/2; behind < mean && mean < before {
			return mean, nil
		}
		if try > 0 {
			return 0, fmt.Errorf("rank: there is no room between %g and %g", behind, before)
		}
		if _, err := tx.Exec(ctx, o.renumber, project, milestone, float64(rankStep)); err != nil {
			return 0, fmt.Errorf("renumber: %w", err)
		}
	}
}
