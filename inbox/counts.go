package inbox

import (
	"context"
	"fmt"
)

// Counts returns a user's counts: zeros for one who was never notified. They are kept, not counted, so that this takes one row.
//
// What was marked by [MarkTx], or in SQL, is in them once a keeper has folded it in, a moment later. Errors: those of [Inbox.List].
func (i *Inbox) Counts(ctx context.Context, user string) (Counts, error) {
	if err := checkUser(user); err != nil {
		return Counts{}, err
	}
	var c Counts
	err := i.pool.QueryRow(ctx, "SELECT unseen, unread, version FROM trunkline.inbox_counts($1)", user).
		Scan(&c.Unseen, &c.Unread, &c.Version)
	if err != nil {
		return Counts{}, i.withRole(ctx, fmt.Errorf("read the counts of %q: %w", clip(user), explain(err, "user_id", grantInbox)))
	}
	return c, nil
}
