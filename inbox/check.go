package inbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Drift is a user whose counts aren't what counting gives.
type Drift struct {
	User                         string
	Unseen, Unread               int // as kept, with what isn't folded in yet
	CountedUnseen, CountedUnread int
}

// Check counts the items of all users, which reads them all, and returns the users whose counts disagree, in one snapshot: nobody,
// or something has written to Trunkline's tables behind its back. With repair it sets their counts right and publishes them.
//
// Errors: *[trunkline.PrivilegeError] if the role may not; *[trunkline.SchemaError].
func (i *Inbox) Check(ctx context.Context, repair bool) ([]Drift, error) {
	var drifts []Drift
	err := i.inTx(ctx, func(tx pgx.Tx) error {
		const sql = "SELECT user_id, unseen, unread, counted_unseen, counted_unread FROM trunkline.inbox_check($1) ORDER BY user_id"
		rows, err := tx.Query(ctx, sql, repair)
		if err == nil {
			drifts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Drift])
		}
		if err != nil {
			return fmt.Errorf("check the inboxes: %w", explain(err, "repair", grantInbox))
		}
		return nil
	})
	return drifts, err
}
