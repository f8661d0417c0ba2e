package checker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// writerSettings bound what a writer can wait for: another's key, at most.
const writerSettings = `SET application_name = 'checker writer'; SET lock_timeout = '4s'; SET statement_timeout = '20s'`

// A writer runs random transactions, one after the other, on a connection of its own.
type writer struct {
	run    *runner
	index  int
	random *rand.Rand
	number int // of its transactions
	conn   *pgx.Conn
}

// A script is one transaction being made.
type script struct {
	tx       *Transaction
	name     string
	attempts []*Attempt
	marks    []int // per open savepoint, how many attempts came before it
	messages int
	twoPhase bool
}

// errUndone says that the transaction was rolled back by the server, or with its connection before a commit was sent.
var errUndone = errors.New("undone")

// work runs transactions until writing ends.
func (w *writer) work(ctx context.Context) {
	defer w.disconnect(ctx)
	for ctx.Err() == nil {
		if !w.connect(ctx) {
			continue
		}
		if w.run.options.Prepared && w.random.IntN(4) == 0 {
			w.run.prepared.resolveOne(ctx, w.conn, w.run.ledger)
		}
		w.transaction(ctx)
		w.run.pause(ctx, w.random)
	}
}

func (w *writer) connect(ctx context.Context) bool {
	if w.conn != nil && !w.conn.IsClosed() {
		return true
	}
	conn, err := connectTo(ctx, w.run.options.URL)
	if err != nil {
		retry.Sleep(ctx, time.Duration(20+w.random.IntN(100))*time.Millisecond)
		return false
	}
	w.conn = conn
	return true
}

func connectTo(ctx context.Context, url string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, writerSettings, pgx.QueryExecModeSimpleProtocol); err != nil {
		closeNow(ctx, conn)
		return nil, err
	}
	return conn, nil
}

func closeNow(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func (w *writer) disconnect(ctx context.Context) {
	if w.conn != nil {
		closeNow(ctx, w.conn)
	}
}

// transaction runs one to its end, also when writing is to end meanwhile: it takes a few seconds at most.
func (w *writer) transaction(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 40*time.Second)
	defer cancel()
	w.number++
	name := fmt.Sprintf("%d.%d", w.index, w.number)
	s := &script{tx: w.run.ledger.Begin(name), name: name, twoPhase: w.run.options.Prepared && w.random.IntN(12) == 0}
	w.run.ledger.End(s.tx, w.play(ctx, s))
}

// play makes the transaction, and tells how it ended. One that is prepared ends later; it is unknown until then.
func (w *writer) play(ctx context.Context, s *script) Outcome {
	isolation := []string{"READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"}[w.random.IntN(4)]
	if _, err := w.conn.Exec(ctx, "BEGIN ISOLATION LEVEL "+isolation); err != nil {
		closeNow(ctx, w.conn) // its session may be anything now
		return RolledBack
	}
	if err := w.fill(ctx, s); err != nil {
		w.rollBack(ctx)
		return RolledBack
	}
	switch {
	case w.random.IntN(6) == 0:
		w.rollBack(ctx)
		return RolledBack
	case s.twoPhase:
		return w.prepare(ctx, s)
	}
	return w.commit(ctx, "COMMIT", "COMMIT")
}

// commit sends a statement that commits, and tells what became of it. want is the tag that says it did.
func (w *writer) commit(ctx context.Context, sql, want string) Outcome {
	tag, err := w.conn.Exec(ctx, sql)
	var pg *pgconn.PgError
	switch {
	case err == nil && tag.String() == want:
		return Committed
	case err == nil, errors.As(err, &pg) && pg.Severity == "ERROR" && !w.conn.IsClosed():
		w.rollBack(ctx)
		return RolledBack
	}
	closeNow(ctx, w.conn)
	return Unknown
}

func (w *writer) rollBack(ctx context.Context) {
	if w.conn.IsClosed() {
		return
	}
	if _, err := w.conn.Exec(ctx, "ROLLBACK"); err != nil {
		closeNow(ctx, w.conn)
	}
}

// prepare does the first phase and leaves the second to whoever comes to it.
func (w *writer) prepare(ctx context.Context, s *script) Outcome {
	gid := "checker " + s.name
	switch outcome := w.commit(ctx, "PREPARE TRANSACTION '"+gid+"'", "PREPARE TRANSACTION"); outcome {
	case RolledBack:
		return RolledBack
	case Committed, Unknown:
		due := time.Now().Add(time.Duration(w.random.IntN(3000)) * time.Millisecond)
		w.run.prepared.add(&pendingTransaction{gid: gid, tx: s.tx, due: due, commit: w.random.IntN(4) > 0})
	}
	return Unknown
}

// fill publishes, pauses, and goes back to savepoints. An error means that nothing of it can be committed.
func (w *writer) fill(ctx context.Context, s *script) error {
	if s.twoPhase {
		if _, err := w.conn.Exec(ctx, "SET LOCAL trunkline.ring = off"); err != nil {
			return err
		}
	}
	if err := w.special(ctx, s); err != nil {
		return err
	}
	long := w.random.IntN(80) == 0
	for range 1 + w.random.IntN(6) {
		var err error
		switch w.random.IntN(10) {
		case 0:
			err = w.batch(ctx, s, 2+w.random.IntN(15), w.random.IntN(3) == 0)
		case 1:
			err = w.keyed(ctx, s)
		case 2:
			_, err = w.conn.Exec(ctx, fmt.Sprintf("SAVEPOINT s%d", len(s.marks)))
			s.marks = append(s.marks, len(s.attempts))
		case 3:
			err = w.goBack(ctx, s)
		case 4:
			time.Sleep(time.Duration(w.random.IntN(40)) * time.Millisecond)
		case 5:
			if w.random.IntN(4) == 0 {
				err = w.stumble(ctx, s)
			}
		default:
			err = w.publish(ctx, s, "")
		}
		if err != nil {
			return err
		}
		if long {
			time.Sleep(700 * time.Millisecond)
		}
	}
	return nil
}

// special makes what is rare but must not be missing: more messages in one transaction than a step takes, and more payload.
func (w *writer) special(ctx context.Context, s *script) error {
	switch {
	case w.index == 0 && w.number == 5, w.random.IntN(3000) == 0:
		return w.batch(ctx, s, 2300, false)
	case w.index == 1 && w.number == 5, w.random.IntN(3000) == 1:
		for range 16 {
			if err := w.publish(ctx, s, "b"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) label(s *script) string {
	s.messages++
	return fmt.Sprintf("%s.%d", s.name, s.messages)
}

func (w *writer) channel() string { return w.run.channels[w.random.IntN(len(w.run.channels))] }

func (w *writer) publish(ctx context.Context, s *script, suffix string) error {
	label, channel := w.label(s)+suffix, w.channel()
	a := w.run.ledger.Publish(s.tx, label, channel)
	s.attempts = append(s.attempts, a)
	id, err := trunkline.PublishTx(ctx, w.conn, trunkline.Publication{Channel: channel, Payload: Payload(label)})
	if err == nil {
		w.run.ledger.Returned(a, id)
	}
	return err
}

// key picks one of a few that other writers try at about the same time.
func (w *writer) key(progress int) (label, channel string) {
	n := progress/8*4 + w.random.IntN(4)
	return fmt.Sprintf("key%d", n), w.run.channels[n%len(w.run.channels)]
}

// keyed publishes under a key, as others may have, or the same transaction before.
func (w *writer) keyed(ctx context.Context, s *script) error {
	label, channel := w.key(w.number)
	a := w.run.ledger.Publish(s.tx, label, channel)
	s.attempts = append(s.attempts, a)
	id, err := trunkline.PublishTx(ctx, w.conn, trunkline.Publication{Channel: channel, Payload: Payload(label), Key: label})
	if err == nil {
		w.run.ledger.Returned(a, id)
	}
	return err
}

// batch publishes many in one statement, some with a key if keys.
func (w *writer) batch(ctx context.Context, s *script, n int, keys bool) error {
	publications, attempts := make([]trunkline.Publication, n), make([]*Attempt, n)
	for i := range n {
		var label, channel, key string
		if keys && w.random.IntN(3) == 0 {
			label, channel = w.key(w.number)
			key = label
		} else {
			label, channel = w.label(s), w.channel()
		}
		publications[i] = trunkline.Publication{Channel: channel, Payload: Payload(label), Key: key}
		attempts[i] = w.run.ledger.Publish(s.tx, label, channel)
	}
	s.attempts = append(s.attempts, attempts...)
	ids, err := trunkline.PublishManyTx(ctx, w.conn, publications)
	if err != nil {
		return err
	}
	for i, id := range ids {
		w.run.ledger.Returned(attempts[i], id)
	}
	return nil
}

// goBack rolls back to an open savepoint, or releases it.
func (w *writer) goBack(ctx context.Context, s *script) error {
	if len(s.marks) == 0 {
		return nil
	}
	n := w.random.IntN(len(s.marks))
	if w.random.IntN(3) == 0 {
		s.marks = s.marks[:n]
		_, err := w.conn.Exec(ctx, fmt.Sprintf("RELEASE SAVEPOINT s%d", n))
		return err
	}
	_, err := w.conn.Exec(ctx, fmt.Sprintf("ROLLBACK TO SAVEPOINT s%d", n))
	w.undo(s, n)
	return err
}

// undo notes that everything since a savepoint, which stays, is gone.
func (w *writer) undo(s *script, n int) {
	w.run.ledger.Undo(s.attempts[s.marks[n]:]...)
	s.attempts = s.attempts[:s.marks[n]]
	s.marks = s.marks[:n+1]
}

// stumble fails within a savepoint and goes on.
func (w *writer) stumble(ctx context.Context, s *script) error {
	n := len(s.marks)
	if _, err := w.conn.Exec(ctx, fmt.Sprintf("SAVEPOINT s%d", n)); err != nil {
		return err
	}
	s.marks = append(s.marks, len(s.attempts))
	if err := w.publish(ctx, s, ""); err != nil {
		return err
	}
	if _, err := w.conn.Exec(ctx, "SELECT 1 / 0"); err == nil {
		return errUndone
	}
	if _, err := w.conn.Exec(ctx, fmt.Sprintf("ROLLBACK TO SAVEPOINT s%d", n)); err != nil {
		return err
	}
	w.undo(s, n)
	return nil
}

// publishAlone publishes through an engine, without a transaction of its own, as callers that share inserts do. A keyed
// one is repeated until its outcome is known.
func (w *writer) publishAlone(ctx context.Context, engine *trunkline.Engine) {
	for ctx.Err() == nil {
		w.number++
		name := fmt.Sprintf("%d.%d", w.index, w.number)
		label, channel, key := name+".1", w.channel(), ""
		if w.random.IntN(3) == 0 {
			label, channel = w.key(w.number / 4)
			key = label
		}
		for {
			tx := w.run.ledger.Begin(name)
			a := w.run.ledger.Publish(tx, label, channel)
			call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			id, err := engine.Publish(call, trunkline.Publication{Channel: channel, Payload: Payload(label), Key: key})
			cancel()
			if err == nil {
				w.run.ledger.Returned(a, id)
				w.run.ledger.End(tx, Committed)
				break
			}
			w.run.ledger.End(tx, Unknown)
			var argument *trunkline.ArgumentError
			var conflict *trunkline.KeyConflictError
			if errors.As(err, &argument) || errors.As(err, &conflict) {
				w.run.problem("publish %s: %v", label, err)
				break
			}
			if key == "" || ctx.Err() != nil {
				break
			}
			retry.Sleep(ctx, 50*time.Millisecond)
		}
		w.run.pause(ctx, w.random)
	}
}
