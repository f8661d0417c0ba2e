package trunkline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline/internal/retry"
)

const (
	stepRows  = 2000    // messages at most in one step or page
	stepBytes = 4 << 20 // of payload returned by it; the rest is read when it is delivered
	// floorInterval is how often the floor is recorded: a row that is read with each step should not be updated often, since
	// a long snapshot anywhere keeps its old versions. Whoever takes over looks through that much again.
	floorInterval = 10 * time.Second
	// backlogTimeout bounds the one statement that may have to look through a large backlog.
	backlogTimeout = 5 * time.Minute
)

// A sequencer is one reign: from taking the lock to losing the session.
//
// Its invariants, on which docs/proof.md builds:
//   - prev is the snapshot of the last completed step, and every message visible at prev has its log row;
//   - a batch is delivered only after the statement that wrote it has returned, that is, committed;
//   - it sleeps only while the doorbell says so, the listener hears, and no transaction that may have read "awake" is open,
//     each of these checked before a last step;
//   - whatever goes wrong ends the reign: the next one begins with takeover, never with an old snapshot.
type sequencer struct {
	*member
	conn      *pgx.Conn
	term      int64
	era       int
	prev      string // pg_snapshot
	pace      pace
	awake     bool
	draining  []string // transactions that may have read "awake" before it dozed
	drainWait time.Duration
	floor     string    // as last recorded
	flooredAt time.Time // when that was
	wrote     bool      // something was sequenced since the last housekeeping
	lookedAt  time.Time // when that was
	followed  bool      // other nodes want to be rung
	looking   bool      // the next step is the one of the fallback
	rang      int64     // how many rings had been heard when that began
	doubts    sync.Map  // by their marks
	crowded   bool      // the notification queue is more than half full: writers don't ring
}

// sequence reigns until the session fails or ctx ends. The session holds the lock.
func (m *member) sequence(ctx context.Context, conn *pgx.Conn) error {
	s := &sequencer{member: m, conn: conn}
	remove := m.listener.add(rawRing, s.onRing)
	defer remove()
	lowest, oldEras, err := s.takeover(ctx)
	if err != nil {
		return err
	}
	if err := exec(ctx, conn, "SELECT trunkline.wake()"); err != nil {
		return err
	}
	s.awake = true
	if err := s.backlog(ctx, lowest, oldEras); err != nil {
		return err
	}
	m.sequencing.Store(true)
	m.pulse.lonely(false)
	m.readyOnce.Do(func() { close(m.ready) })
	m.log.Info("sequencing", "term", s.term, "epoch", m.hub.now().Epoch, "position", m.memory.position)
	for {
		before := m.counters.sequenced.Load()
		if err := s.step(ctx); err != nil {
			return err
		}
		if s.looking {
			s.looking = false
			if err := s.judgeLook(ctx, m.counters.sequenced.Load()-before); err != nil {
				return err
			}
		}
		if err := s.housekeep(ctx); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
}

// A doubt is whether anybody rang for what a look found: a ring may be on its way still. A notification that is sent after the
// look ends it, by its mark: all rings for what was found are heard before.
type doubt struct {
	messages int64
	rang     int64
}

// onRing hears a ring, or the end of a doubt. Told before it is counted: slumber looks the other way round.
func (s *sequencer) onRing(n *pgconn.Notification) {
	if n.Payload == "" {
		tell(s.ring)
		s.counters.rings.Add(1)
		return
	}
	if d, ok := s.doubts.LoadAndDelete(n.Payload); ok && s.counters.rings.Load() == d.(doubt).rang {
		s.counters.healed.Add(d.(doubt).messages)
	}
}

// judgeLook counts what a look found as healed if nobody rang for it. Where the queue is too full to ask, nobody can have.
func (s *sequencer) judgeLook(ctx context.Context, messages int64) error {
	if messages == 0 {
		return nil
	}
	mark := rand.Text()
	s.doubts.Store(mark, doubt{messages: messages, rang: s.rang})
	var asked int
	err := queryRow(ctx, s.conn, "SELECT count(pg_notify('"+rawRing+"', $1)) FROM (SELECT WHERE pg_notification_queue_usage() < 0.5) q", []any{&asked}, mark)
	if err != nil && s.conn.IsClosed() {
		return fmt.Errorf("judge a look: %w", err)
	}
	if err != nil || asked == 0 {
		s.doubts.Delete(mark)
		s.counters.healed.Add(messages)
	}
	return nil
}

// takeover begins a term and brings the hub to the end of the log.
func (s *sequencer) takeover(ctx context.Context) (lowest string, oldEras bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var epoch, why string
	var last, message int64
	seen := s.hub.now()
	err = pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		// Durable before anything is written under this term: the memory of an earlier sequencer is judged by it.
		// Where a new era begins it needs the table to itself, and must not hold up those who wait behind it.
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '250ms'", pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, "SELECT term, epoch, reason, current_era, lowest::text, old_eras, last_position FROM trunkline.takeover($1, $2, $3, $4, $5, $6)",
			s.memory.term, s.memory.position, s.memory.message, s.memory.unsure, seen.Epoch, seen.Position).
			Scan(&s.term, &epoch, &why, &s.era, &lowest, &oldEras, &last)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT coalesce((SELECT message_id FROM trunkline.log WHERE position = $1), 0)", last).Scan(&message)
	})
	if err != nil {
		return "", false, fmt.Errorf("take over: %w", err)
	}
	// Before anything else can fail: with an older memory the next term couldn't vouch for the log.
	s.memory = memory{term: s.term, position: last, message: message}
	s.counters.takeovers.Add(1)
	if why != "" {
		s.counters.epochs.Add(1)
		s.log.Warn("the log begins a new epoch: positions of the old one can't be resumed", "reason", why, "old", seen.Epoch, "new", epoch)
	}
	if epoch != seen.Epoch {
		s.hub.begin(epoch, last)
	} else if err := s.readLog(ctx, s.conn); err != nil {
		return "", false, err
	}
	return lowest, oldEras, nil
}

// backlog sequences everything committed that has no log row yet, and leaves prev at the snapshot it did so for.
func (s *sequencer) backlog(ctx context.Context, lowest string, oldEras bool) error {
	if oldEras {
		if err := s.pages(ctx, nil, lowest, 0); err != nil {
			return err
		}
		if err := exec(ctx, s.conn, "SELECT trunkline.old_eras_done()"); err != nil {
			return err
		}
	}
	if err := queryRow(ctx, s.conn, "SELECT pg_current_snapshot()::text", []any{&s.prev}); err != nil {
		return err
	}
	err := s.pagesUpTo(ctx, s.prev, lowest, "SELECT trunkline.backlog_start($1::pg_snapshot, $2::xid8, $3)", s.prev, lowest, s.era)
	if err != nil {
		return err
	}
	return s.recordFloor(ctx)
}

// pagesUpTo sequences, page by page, what was committed by a snapshot, has an xid of at least lowest, and no log row. Where the
// first of it is, a query says that may take long.
func (s *sequencer) pagesUpTo(ctx context.Context, upto, lowest, where string, args ...any) error {
	longCtx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	var start *int64
	err := pgx.BeginFunc(longCtx, s.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(longCtx, fmt.Sprintf("SET LOCAL statement_timeout = %d", backlogTimeout.Milliseconds())); err != nil {
			return err
		}
		return tx.QueryRow(longCtx, where, args...).Scan(&start)
	})
	if err != nil {
		return fmt.Errorf("look for a backlog: %w", err)
	}
	if start == nil {
		return nil
	}
	return s.pages(ctx, &upto, lowest, *start-1)
}

// pages sequences a backlog behind an id, oldest first. upto nil: that of earlier eras.
func (s *sequencer) pages(ctx context.Context, upto *string, lowest string, after int64) error {
	for {
		result, err := s.write(ctx, "SELECT * FROM trunkline.sequence_page($1::pg_snapshot, $2::xid8, $3, $4, $5, $6)",
			upto, lowest, s.era, after, stepRows, stepBytes)
		if err != nil {
			return fmt.Errorf("sequence the backlog: %w", err)
		}
		if err := s.publish(ctx, result.batch); err != nil {
			return err
		}
		if !result.more {
			return nil
		}
		after = result.after
	}
}

// step sequences what committed since the last one.
func (s *sequencer) step(ctx context.Context) error {
	result, err := s.write(ctx, "SELECT * FROM trunkline.step($1::pg_snapshot, $2, $3, $4)", s.prev, s.era, stepRows, stepBytes)
	if err != nil {
		return err
	}
	s.counters.steps.Add(1)
	s.pulse.beat(-1)
	found := len(result.batch)
	if result.more {
		// Fixed: what commits from here on waits for the step after the last page.
		err := s.pagesUpTo(ctx, result.snapshot, snapshotXmin(s.prev),
			"SELECT trunkline.overflow_start($1::pg_snapshot, $2::pg_snapshot, $3)", s.prev, result.snapshot, s.era)
		if err != nil {
			return err
		}
		found = stepRows
	}
	s.prev = result.snapshot
	s.pace.step(time.Now(), found, s.prev)
	if found == 0 {
		s.counters.emptySteps.Add(1)
	}
	return s.publish(ctx, result.batch)
}

// A stepResult is what one statement of the sequencer returned.
type stepResult struct {
	snapshot string
	more     bool
	after    int64 // of a page: the id behind which the next one begins
	batch    []*Message
}

// write runs a statement that may append to the log, and returns once it has committed.
func (s *sequencer) write(ctx context.Context, sql string, args ...any) (stepResult, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s.memory.unsure = true
	result, err := s.tryWrite(ctx, sql, args...)
	if err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && !s.conn.IsClosed() {
			s.memory.unsure = false // the server refused it and is still there: rolled back
		} else {
			s.counters.unsure.Add(1)
		}
		return stepResult{}, err
	}
	s.memory.unsure = false
	if n := len(result.batch); n > 0 {
		s.memory.position, s.memory.message = result.batch[n-1].Position, result.batch[n-1].ID
	}
	return result, nil
}

func (s *sequencer) tryWrite(ctx context.Context, sql string, args ...any) (result stepResult, err error) {
	rows, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return stepResult{}, err
	}
	defer rows.Close()
	epoch := s.hub.now().Epoch
	for rows.Next() {
		var r row
		var snapshot *string
		var more, notify *bool
		err := rows.Scan(&snapshot, &more, &r.position, &r.channel, &r.seq, &r.id, &r.size, &r.payload, &r.sender, &r.key, &r.createdAt, &notify)
		if err != nil {
			return stepResult{}, err
		}
		if r.position == nil {
			result.snapshot, result.more, result.after = deref(snapshot), deref(more), deref(r.id)
			continue
		}
		m := r.message(epoch)
		m.notify = *notify
		result.batch = append(result.batch, m)
	}
	rows.Close() // reads to the end: the statement has committed
	return result, rows.Err()
}

// publish delivers what was written: to this process, then to those who follow or listen.
func (s *sequencer) publish(ctx context.Context, batch []*Message) error {
	if len(batch) == 0 {
		return nil
	}
	if next := s.hub.now().Position + 1; batch[0].Position != next {
		return fmt.Errorf("the log continues at position %d, not %d: somebody else wrote it", batch[0].Position, next)
	}
	s.wrote = true
	s.counters.sequenced.Add(int64(len(batch)))
	s.pulse.beat(batch[len(batch)-1].Position)
	s.hub.deliver(batch)
	if s.followed || s.member.followed.Swap(false) {
		s.followed = true
		s.ringFollowers(ctx)
	}
	return s.relay(ctx, batch)
}

// ringFollowers tells the other nodes to read on. Should it fail they look by themselves.
func (s *sequencer) ringFollowers(ctx context.Context) {
	s.counters.followerRings.Add(1)
	if s.crowded {
		return
	}
	if err := exec(ctx, s.conn, "SELECT pg_notify('"+rawLog+"', '')"); err != nil {
		s.counters.followerRingErrors.Add(1)
		s.log.Warn("ringing the followers failed; they look once a second", "error", err)
	}
}

// housekeep does, once a second and only if there was something to do, what needn't be done with each step.
func (s *sequencer) housekeep(ctx context.Context) error {
	now := time.Now()
	wanted := s.wantFloor.Load()
	if now.Sub(s.lookedAt) < fallbackInterval || !s.awake && !s.wrote && !wanted {
		return nil
	}
	s.lookedAt = now
	var usage float64
	var holds bool
	err := queryRow(ctx, s.conn, `SELECT trunkline.followed(), pg_notification_queue_usage(),
		EXISTS (SELECT FROM trunkline.sequencer_session() h WHERE h.pid = pg_backend_pid())`,
		[]any{&s.followed, &usage, &holds})
	if err != nil {
		return fmt.Errorf("look after followers: %w", err)
	}
	if !holds {
		return errLostLock
	}
	s.crowded = usage >= 0.5
	wrote := s.wrote
	s.wrote = false
	if !wrote && !wanted || wrote && now.Sub(s.flooredAt) < floorInterval {
		return nil
	}
	s.wantFloor.Store(false)
	return s.recordFloor(ctx)
}

// recordFloor notes below which xid everything is in the log, for whoever takes over.
func (s *sequencer) recordFloor(ctx context.Context) error {
	lowest := snapshotXmin(s.prev)
	if lowest == s.floor {
		return nil
	}
	if err := exec(ctx, s.conn, "SELECT trunkline.set_floor($1::xid8)", lowest); err != nil {
		return fmt.Errorf("record the floor: %w", err)
	}
	s.floor, s.flooredAt = lowest, time.Now()
	return nil
}

// rest waits until the next step is due.
func (s *sequencer) rest(ctx context.Context) error {
	busy := s.pace.busy(time.Now())
	// Nobody can ring, or nobody will be heard.
	unrung := s.crowded || !s.listener.hears(rawRing)
	switch {
	case s.awake && (busy || unrung):
		wait := s.pace.interval()
		if !busy {
			wait = unrungInterval
		}
		if !retry.Sleep(ctx, wait) {
			return context.Cause(ctx)
		}
		return nil
	case s.awake:
		return s.doze(ctx)
	case busy || unrung:
		s.counters.wakes.Add(1)
		s.awake, s.draining = true, nil
		return exec(ctx, s.conn, "SELECT trunkline.wake()")
	}
	return s.slumber(ctx)
}

// doze lets writers ring again. The step that follows is made before any sleep.
func (s *sequencer) doze(ctx context.Context) error {
	s.counters.dozes.Add(1)
	s.awake, s.drainWait = false, drainAtFirst
	return queryRow(ctx, s.conn, "SELECT trunkline.doze()", []any{&s.draining})
}

// slumber waits for a ring. While transactions are open that may not ring, it looks often instead, and the more slowly the
// longer they take.
func (s *sequencer) slumber(ctx context.Context) error {
	wait := fallbackInterval
	if len(s.draining) > 0 {
		var still []string
		if err := queryRow(ctx, s.conn, "SELECT trunkline.inserting()", []any{&still}); err != nil {
			return err
		}
		s.draining = slices.DeleteFunc(s.draining, func(t string) bool {
			return !slices.Contains(still, t)
		})
		if len(s.draining) == 0 {
			return nil // one more step, then sleep
		}
		wait = s.drainWait
		s.drainWait = min(s.drainWait*5/4, drainSlowest)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.ring:
	case <-s.heard:
		// If the listener went down the server may have, too. To be told so by a step would leave that step's outcome
		// unknown, and with it whether the log is whole.
		return exec(ctx, s.conn, "SELECT 1")
	case <-timer.C:
		s.rang = s.counters.rings.Load()
		select {
		case <-s.ring: // at the same time
		default:
			s.looking = wait == fallbackInterval
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
