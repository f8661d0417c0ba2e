package checker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/retry"
)

// settle ends what is prepared, and waits until every subscriber that lasts has everything.
func (r *runner) settle(ctx context.Context) (*Truth, error) {
	conn, err := connectTo(ctx, r.options.URL)
	if err != nil {
		return nil, err
	}
	defer closeNow(ctx, conn)
	if err := r.endPrepared(ctx, conn); err != nil {
		return nil, err
	}
	if err := r.awaitNodes(ctx); err != nil {
		return nil, err
	}
	if err := r.awaitLog(ctx, conn); err != nil {
		return nil, err
	}
	r.note("every message is in the log")
	if err := r.awaitBrief(ctx, conn); err != nil {
		return nil, err
	}
	truth, err := r.load(ctx, conn)
	if err != nil {
		return nil, err
	}
	least, deadline, told := -1, time.Now().Add(patience), time.Now()
	for {
		lacking, example := r.verifier.Behind(truth)
		if lacking == 0 {
			return truth, nil
		}
		if least < 0 || lacking < least {
			least, deadline = lacking, time.Now().Add(patience)
		}
		if violations, _ := r.verifier.Violations(); len(violations) > 0 && time.Now().Add(patience-5*time.Second).After(deadline) {
			return truth, nil // it may never come
		}
		if time.Now().After(deadline) {
			r.problem("subscribers still lack %d messages after %v: %s", lacking, patience, example)
			return truth, nil
		}
		retry.Sleep(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			r.note(fmt.Sprintf("subscribers lack %d messages: %s", lacking, example))
		}
		var epoch string
		if err := conn.QueryRow(ctx, "SELECT epoch FROM trunkline.state").Scan(&epoch); err != nil {
			return nil, err
		}
		if epoch != truth.Epoch { // a node that was hung saw more than there is
			if truth, err = r.load(ctx, conn); err != nil {
				return nil, err
			}
		}
	}
}

func (r *runner) endPrepared(ctx context.Context, conn *pgx.Conn) error {
	for deadline := time.Now().Add(patience); ; {
		r.prepared.mu.Lock()
		left := len(r.prepared.waiting)
		r.prepared.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d prepared transactions can't be ended", left)
		}
		if !r.prepared.resolveOne(ctx, conn, r.ledger) {
			retry.Sleep(ctx, 20*time.Millisecond)
		}
	}
	rows, err := conn.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
	if err != nil {
		return err
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, gid := range gids {
		if _, err := conn.Exec(ctx, "ROLLBACK PREPARED '"+gid+"'"); err != nil {
			return err
		}
	}
	return nil
}

// awaitLog waits until every message has its row in the log.
func (r *runner) awaitLog(ctx context.Context, conn *pgx.Conn) error {
	most, deadline := -1, time.Now().Add(patience)
	for {
		var stored, logged int
		err := conn.QueryRow(ctx, "SELECT (SELECT count(*) FROM trunkline.message), (SELECT count(*) FROM trunkline.log)").Scan(&stored, &logged)
		if err != nil {
			return err
		}
		if logged >= stored {
			return nil
		}
		if logged > most {
			most, deadline = logged, time.Now().Add(patience)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d messages are in the log, and none came within %v", logged, stored, patience)
		}
		retry.Sleep(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// load reads the truth.
func (r *runner) load(ctx context.Context, conn *pgx.Conn) (*Truth, error) {
	truth := &Truth{}
	for _, n := range r.nodes {
		for _, s := range n.cfg.Subscriptions {
			truth.Complete = append(truth.Complete, s.Name)
		}
	}
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT epoch FROM trunkline.state").Scan(&truth.Epoch); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT l.position, l.seq, l.message_id, c.name
			FROM trunkline.log l JOIN trunkline.channel c ON c.id = l.channel_id WHERE c.name LIKE 'check:%' ORDER BY l.position`)
		if err != nil {
			return err
		}
		if truth.Log, err = pgx.CollectRows(rows, pgx.RowToStructByPos[LogRow]); err != nil {
			return err
		}
		if rows, err = tx.Query(ctx, "SELECT id, channel, payload FROM trunkline.message WHERE channel LIKE 'check:%'"); err != nil {
			return err
		}
		table, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Stored])
		if err != nil {
			return err
		}
		facts, violations := r.ledger.Settle(table)
		truth.Messages = facts
		r.mu.Lock()
		r.settled = violations
		r.mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, errors.Join(errors.New("read what is stored"), err)
	}
	return truth, nil
}
