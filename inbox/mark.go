package inbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// A State is one of an item, to be marked with or to be listed by.
type State string

const (
	// StateSeen is marked when it was shown, as in an opened list: it isn't new any more.
	StateSeen State = "seen"
	// StateRead is marked when the user has dealt with it, which implies that it was seen. Listed: those that were read.
	StateRead State = "read"
	// StateUnread takes back that it was read; seen it stays. Listed: those that weren't read.
	StateUnread State = "unread"
	// StateArchived puts it away: it leaves the counts, read or not. Listed: those that were put away.
	StateArchived State = "archived"
	// StateInbox brings it back from the archive, or from a snooze before its time, to the top of its inbox. Listed: what is neither
	// archived nor snoozed.
	StateInbox State = "inbox"
	// StateSnoozed hides it until a time, at which it arrives anew. Listed: what is hidden at present.
	StateSnoozed State = "snoozed"
	// StateUnseen is only listed: what is in the inbox and wasn't seen.
	StateUnseen State = "unseen"
	// StateAll is only listed: everything.
	StateAll State = "all"
)

// maxIDs is how many items one call can name.
const maxIDs = 1000

// A Mark changes the state of items: of all up to what the user was shown, or of single ones.
type Mark struct {
	// State is seen, read, unread, archived, inbox or snoozed.
	State State
	// UpToSeq is the highest [Item.Seq] that the user was shown. Only items up to it are touched, whatever has arrived meanwhile;
	// and only with seen, read and archived, and none that is archived or snoozed. It counts where IDs is nil; 0 touches nothing.
	UpToSeq int64
	// IDs are items, at most 1,000. Those of other users, and those that aren't there any more, are left out in silence.
	IDs []int64
	// Group narrows UpToSeq to one group.
	Group string
	// Until is when a snooze ends: in the future, and at most 400 days away.
	Until time.Time
}

// MarkTx changes the state of a user's items inside the caller's transaction, and returns how many it changed: those that were so
// already aren't counted, and cause no push. The user's devices are told when it commits.
//
// Errors: *[trunkline.ArgumentError] for what can't be; *[trunkline.PrivilegeError]; *[trunkline.SchemaError]. After an error that
// came from the database the transaction can only be rolled back.
func MarkTx(ctx context.Context, tx trunkline.Tx, user string, m Mark) (int, error) {
	if err := checkUser(user); err != nil {
		return 0, err
	}
	if err := m.check(); err != nil {
		return 0, err
	}
	var upTo *int64
	ids := m.IDs
	if ids == nil {
		upTo = &m.UpToSeq
	}
	var until *time.Time
	if !m.Until.IsZero() {
		until = &m.Until
	}
	var changed int
	err := tx.QueryRow(ctx, `SELECT trunkline.mark($1, $2, up_to_seq => $3, ids => $4, "group" => $5, until => $6)`,
		user, string(m.State), upTo, ids, orNull(m.Group), until).Scan(&changed)
	if err != nil {
		return 0, fmt.Errorf("mark items of %q as %s: %w", clip(user), clip(string(m.State)), explain(err, "mark", grantInbox))
	}
	return changed, nil
}

// Mark is [MarkTx] in a transaction of its own, which also counts: the counts it returns are those after it, with the version of
// the push that says so. What it brings back arrives, and is counted, a moment later. It may be repeated if the
// outcome is unknown.
func (i *Inbox) Mark(ctx context.Context, user string, m Mark) (changed int, counts Counts, err error) {
	err = i.inTx(ctx, func(tx pgx.Tx) error {
		if changed, err = MarkTx(ctx, tx, user, m); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, "SELECT unseen, unread, version FROM trunkline.inbox_fold($1)", user).
			Scan(&counts.Unseen, &counts.Unread, &counts.Version)
		if err != nil {
			return fmt.Errorf("count the inbox of %q: %w", clip(user), explain(err, "user_id", grantInbox))
		}
		return nil
	})
	return changed, counts, err
}

// The states that items can be marked with, and those that all up to a seq can.
var (
	marked     = []State{StateSeen, StateRead, StateUnread, StateArchived, StateInbox, StateSnoozed}
	markedUpTo = []State{StateSeen, StateRead, StateArchived}
)

// check finds what the database would refuse, but for how far away Until is: that is for its clock to say.
func (m *Mark) check() error {
	refuse := func(argument, problem, fix string) error {
		return &trunkline.ArgumentError{Argument: argument, Problem: problem, Fix: fix}
	}
	switch {
	case !slices.Contains(marked, m.State):
		return refuse("state", fmt.Sprintf("items can't be marked as %q", clip(string(m.State))),
			"Use seen, read, unread, archived, inbox or snoozed")
	case m.IDs != nil && m.UpToSeq != 0:
		return refuse("ids", "a mark says both up_to_seq and ids", "Give one of them")
	case len(m.IDs) > maxIDs:
		return refuse("ids", fmt.Sprintf("a mark names %d items, more than %d", len(m.IDs), maxIDs),
			"Say up_to_seq, or make several calls")
	case m.UpToSeq < 0:
		return refuse("up_to_seq", fmt.Sprintf("up_to_seq cannot be %d", m.UpToSeq), "Give the highest seq that the user was shown")
	case m.IDs == nil && !slices.Contains(markedUpTo, m.State):
		return refuse("ids", fmt.Sprintf("a mark as %s doesn't name items", m.State),
			"Give their ids: up_to_seq goes with seen, read and archived alone")
	case m.IDs != nil && m.Group != "":
		return refuse("group", fmt.Sprintf("a mark says both ids and the group %q", clip(m.Group)), "Give up_to_seq with a group")
	case m.State == StateSnoozed && m.Until.IsZero():
		return refuse("until", "a mark as snoozed doesn't say until when", "Give a time in the next 400 days")
	case m.State != StateSnoozed && !m.Until.IsZero():
		return refuse("until", fmt.Sprintf("a mark as %s says until when", m.State), "Leave until to snoozed")
	}
	if m.Group == "" {
		return nil
	}
	return checkText("group", m.Group, maxLabel, "Give it as it was given to notify")
}
