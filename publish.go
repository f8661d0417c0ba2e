package trunkline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// PublishTx publishes a message inside the caller's transaction and returns its id. When the transaction commits, the
// message is announced; when it rolls back, it never was. No engine needs to run.
//
// Errors: *[ArgumentError] for what can't be published, *[KeyConflictError] for a key used before with another payload,
// *[PrivilegeError] if the role may not publish, *[SchemaError] if the database has no schema. After an error that came
// from the database the transaction can only be rolled back.
func PublishTx(ctx context.Context, tx Tx, p Publication) (int64, error) {
	if err := p.check(); err != nil {
		return 0, err
	}
	var id int64
	err := tx.QueryRow(ctx, "SELECT trunkline.publish($1, $2, $3, $4)",
		p.Channel, string(p.Payload), orNull(p.Sender), orNull(p.Key)).Scan(&id)
	if err != nil {
		return 0, publishError(err, p)
	}
	return id, nil
}

// PublishManyTx publishes messages inside the caller's transaction with one statement and returns their ids in the order
// given. Messages without a key are ordered as given; those with one come after, in the order of channel and key, so that
// two callers can't deadlock. Errors are those of [PublishTx]; one bad message fails the call.
func PublishManyTx(ctx context.Context, tx Tx, ps []Publication) ([]int64, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	for i := range ps {
		if err := ps[i].check(); err != nil {
			return nil, fmt.Errorf("publication %d: %w", i, err)
		}
	}
	return publishMany(ctx, tx, ps)
}

// publishMany publishes what was checked.
func publishMany(ctx context.Context, tx Tx, ps []Publication) ([]int64, error) {
	channels, payloads := make([]string, len(ps)), make([]string, len(ps))
	var senders, keys []*string
	for i, p := range ps {
		channels[i], payloads[i] = p.Channel, string(p.Payload)
		if p.Sender != "" && senders == nil {
			senders = make([]*string, len(ps))
		}
		if p.Key != "" && keys == nil {
			keys = make([]*string, len(ps))
		}
	}
	for i, p := range ps {
		if senders != nil {
			senders[i] = orNull(p.Sender)
		}
		if keys != nil {
			keys[i] = orNull(p.Key)
		}
	}
	var ids []int64
	err := tx.QueryRow(ctx, "SELECT trunkline.publish_many($1, $2, $3, $4)", channels, payloads, senders, keys).Scan(&ids)
	if err != nil {
		return nil, publishError(err, culprit(err, ps))
	}
	return ids, nil
}

// PublishMany publishes messages in one transaction of its own and returns their ids in the order given. See
// [PublishManyTx]. If the connection fails, the outcome is unknown: give the messages keys to repeat them safely.
func (e *Engine) PublishMany(ctx context.Context, ps []Publication) ([]int64, error) {
	ids, err := PublishManyTx(ctx, e.pool, ps)
	return ids, withRole(ctx, e.pool, err)
}

// SignalTx sends an ephemeral message when the caller's transaction commits: delivered to whoever is subscribed with
// signals at that moment, stored nowhere. Channel, sender and payload are 7,500 bytes at most. It reports false, and sends
// nothing, while the database's notification queue is more than half full.
func SignalTx(ctx context.Context, tx Tx, p Publication) (bool, error) {
	if p.Key != "" {
		return false, &ArgumentError{Argument: "key", Problem: fmt.Sprintf("a signal can't have the key %q", clip(p.Key)), Fix: "Publish it as a message"}
	}
	if err := p.check(); err != nil {
		return false, err
	}
	var sent bool
	err := tx.QueryRow(ctx, "SELECT trunkline.signal($1, $2, $3)", p.Channel, string(p.Payload), orNull(p.Sender)).Scan(&sent)
	if err != nil {
		return false, publishError(err, p)
	}
	return sent, nil
}

// Signal sends an ephemeral message at once. See [SignalTx].
func (e *Engine) Signal(ctx context.Context, p Publication) (bool, error) {
	sent, err := SignalTx(ctx, e.pool, p)
	return sent, withRole(ctx, e.pool, err)
}

// culprit finds the one of several publications that the database spoke of.
func culprit(err error, ps []Publication) Publication {
	for _, p := range ps {
		if p.Key != "" && strings.Contains(reason(err), fmt.Sprintf(`key "%s" was already used in channel "%s"`, p.Key, p.Channel)) {
			return p
		}
	}
	return ps[0]
}

func publishError(err error, p Publication) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == stateUniqueViolation {
		return &KeyConflictError{Channel: p.Channel, Key: p.Key, err: err}
	}
	return fmt.Errorf("publish to %q: %w", clip(p.Channel), explain(err))
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
