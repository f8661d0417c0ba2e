package checker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A pendingTransaction is prepared, or may be.
type pendingTransaction struct {
	gid    string
	tx     *Transaction
	due    time.Time
	commit bool
}

// A preparedQueue holds the transactions whose second phase is to come, by whichever session.
type preparedQueue struct {
	mu      sync.Mutex
	waiting []*pendingTransaction
	ended   int
}

func (q *preparedQueue) add(p *pendingTransaction) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, p)
}

func (q *preparedQueue) take(now time.Time) *pendingTransaction {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.waiting, func(p *pendingTransaction) bool { return p.due.Before(now) })
	if i < 0 {
		return nil
	}
	p := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return p
}

// resolveOne does the second phase of one that is due, if any.
func (q *preparedQueue) resolveOne(ctx context.Context, conn *pgx.Conn, ledger *Ledger) bool {
	p := q.take(time.Now())
	if p == nil {
		return false
	}
	verb := "ROLLBACK"
	if p.commit {
		verb = "COMMIT"
	}
	_, err := conn.Exec(context.WithoutCancel(ctx), verb+" PREPARED '"+p.gid+"'")
	var pg *pgconn.PgError
	switch {
	case err == nil:
		outcome := RolledBack
		if p.commit {
			outcome = Committed
		}
		ledger.End(p.tx, outcome)
		q.mu.Lock()
		q.ended++
		q.mu.Unlock()
	case errors.As(err, &pg) && pg.Code == "42704":
		// Never prepared, or ended by a call whose answer was lost: the table tells.
	default:
		p.due = time.Now().Add(200 * time.Millisecond)
		q.add(p)
	}
	return true
}
