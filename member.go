package trunkline

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/retry"
)

//go:embed sql/follow.sql
var followSQL string

// The raw channels that nodes speak over.
const (
	rawRing   = "trunkline_ring"   // a writer rings the sequencer
	rawLog    = "trunkline_log"    // the sequencer rings the followers
	rawFollow = "trunkline_follow" // a follower asks to be rung
	rawSignal = "trunkline_signal" // a signal, in its payload
)

const (
	// fallbackInterval is how often a node looks although nobody rang.
	fallbackInterval = time.Second
	// deafInterval is how often it looks while the LISTEN connection is down.
	deafInterval = 50 * time.Millisecond
	// lonelyAfter is how long nobody may sequence before a node that can't says so.
	lonelyAfter = 3 * time.Second
	// Of what follows the log: rows per read, bytes of payload per read, and how far behind reading gives way to jumping.
	followRows  = 2000
	followBytes = 4 << 20
	followMost  = 20_000
)

// A member is this process's part in the log: one goroutine with one session, which follows the log, and sequences it
// while it holds the lock. Whatever it learns goes to the hub in the order of the log.
type member struct {
	template *pgx.ConnConfig
	hub      *hub
	listener *listener
	log      *slog.Logger
	outage   retry.Outage // belongs to run
	counters *counters
	mode     SequenceMode

	ring       chan struct{} // a writer rang
	logRing    chan struct{} // the sequencer rang
	heard      chan struct{} // the LISTEN connection came up or went down
	followed   atomic.Bool   // somebody asked to be rung
	sequencing atomic.Bool
	wantFloor  atomic.Bool   // retention waits for a floor above what was last written
	ready      chan struct{} // closed when the role is decided for the first time
	readyOnce  sync.Once

	memory memory
	pulse  pulse
}

// memory is what a sequencer must remember across the loss of its session, to judge whether the log is still the one it
// wrote.
type memory struct {
	term     int64 // of its last reign, 0 if it had none
	position int64 // of the last row it knows it wrote or found
	message  int64
	unsure   bool // a step was sent whose outcome never came
}

func newMember(template *pgx.ConnConfig, h *hub, l *listener, cfg *Config, c *counters) *member {
	return &member{
		template: template, hub: h, listener: l, log: cfg.Logger, counters: c, mode: cfg.Sequence,
		outage: retry.NewOutage(cfg.Logger, "the log's session"),
		ring:   make(chan struct{}, 1), logRing: make(chan struct{}, 1), heard: make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// tell sets a flag-like channel.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps a session until ctx ends.
func (m *member) run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := m.session(ctx)
		m.sequencing.Store(false)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > backoffMost {
			attempt = 0
		}
		m.outage.Failed(err, attempt+1)
		retry.Sleep(ctx, backoff(attempt))
	}
}

// session opens a session and follows, then sequences, until it fails.
func (m *member) session(ctx context.Context) error {
	conn, err := connect(ctx, m.template, "log", logSessionSettings)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer closeSoon(conn)
	mode, err := m.role(ctx, conn)
	if err != nil {
		return err
	}
	m.outage.Over()
	// Follow in any case: what the log has that the hub lacks is delivered first.
	if err := m.follow(ctx, conn, mode); err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	if err := m.sequence(ctx, conn); err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	return nil
}

// role tells whether this node may sequence.
func (m *member) role(ctx context.Context, conn *pgx.Conn) (SequenceMode, error) {
	if m.mode == SequenceNever {
		return SequenceNever, nil
	}
	var may bool
	err := conn.QueryRow(ctx, "SELECT has_function_privilege('trunkline.append_log(bigint[], integer)', 'EXECUTE') AND "+
		"has_table_privilege('trunkline.log', 'INSERT') AND pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'trunkline.message'::regclass), 'USAGE')").Scan(&may)
	if err != nil {
		return "", fmt.Errorf("ask for privileges: %w", err)
	}
	if !may {
		m.log.Info("this role may not write the log, so this node only follows it; Trunkline's owner may sequence")
		return SequenceNever, nil
	}
	return SequenceAuto, nil
}

// follow reads the log as it grows, until the session holds the sequencer's lock.
func (m *member) follow(ctx context.Context, conn *pgx.Conn, mode SequenceMode) error {
	// The mark of a follower, for as long as this session lives or until it leads; the sequencer looks for it each second
	// and hears of it now.
	if err := exec(ctx, conn, "SELECT pg_advisory_lock_shared(1953656430, 2)"); err != nil {
		return err
	}
	if err := exec(ctx, conn, "SELECT pg_notify($1, $2) WHERE pg_notification_queue_usage() < 0.5", rawFollow, m.listener.canary); err != nil {
		return err
	}
	var told time.Time
	for {
		leads, behind, lonely, err := m.contend(ctx, conn, mode)
		if err != nil {
			return err
		}
		if behind {
			if err := m.readLog(ctx, conn); err != nil {
				return err
			}
		}
		if leads {
			return exec(ctx, conn, "SELECT pg_advisory_unlock_shared(1953656430, 2)")
		}
		m.readyOnce.Do(func() { close(m.ready) })
		if since := m.pulse.lonely(lonely); lonely && time.Since(since) > lonelyAfter && time.Since(told) > time.Minute {
			m.log.Warn("nobody sequences the log: messages are stored but not delivered; start an engine whose role owns Trunkline's schema")
			told = time.Now()
		}
		if err := m.awaitLog(ctx, conn); err != nil {
			return err
		}
	}
}

// awaitLog reads the log whenever the sequencer rings, until it is time to contend again.
func (m *member) awaitLog(ctx context.Context, conn *pgx.Conn) error {
	fallback := time.NewTimer(fallbackInterval)
	defer fallback.Stop()
	for {
		var deaf <-chan time.Time
		if !m.listener.hears(rawLog) {
			deaf = time.After(deafInterval)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-fallback.C:
			return nil
		case <-m.logRing:
		case <-m.heard:
		case <-deaf:
		}
		if err := m.readLog(ctx, conn); err != nil {
			return err
		}
	}
}

// contend tries to become the sequencer, and learns how far the log is.
func (m *member) contend(ctx context.Context, conn *pgx.Conn, mode SequenceMode) (leads, behind, lonely bool, err error) {
	var epoch string
	var last int64
	if mode == SequenceNever {
		err = queryRow(ctx, conn, "SELECT NOT EXISTS (SELECT FROM trunkline.sequencer_session()), s.epoch, e.last_position FROM trunkline.state s, trunkline.log_end e",
			[]any{&lonely, &epoch, &last})
	} else {
		err = queryRow(ctx, conn, "SELECT * FROM trunkline.contend()", []any{&leads, &epoch, &last})
	}
	if err != nil {
		return false, false, false, err
	}
	m.pulse.beat(last)
	now := m.hub.now()
	return leads, now.Epoch != epoch || now.Position < last, lonely, nil
}

// readLog delivers what the log has behind the hub's position.
func (m *member) readLog(ctx context.Context, conn *pgx.Conn) error {
	for {
		from := m.hub.now()
		batch, epoch, last, err := readLogPage(ctx, conn, from.Position)
		if err != nil {
			return err
		}
		if epoch != from.Epoch {
			if from.Epoch != "" {
				m.log.Warn("the log's epoch has changed: positions of the old one can't be resumed", "old", from.Epoch, "new", epoch)
				m.counters.epochs.Add(1)
			}
			m.hub.begin(epoch, last)
			return nil
		}
		m.pulse.beat(last)
		if last-from.Position > followMost {
			m.hub.jump(last)
			continue
		}
		m.deliverRead(from.Position, batch)
		if len(batch) < followRows {
			m.hub.jump(last) // where retention has removed the log's end
			return nil
		}
	}
}

// deliverRead delivers a page of the log behind a position. Where positions are missing, retention has removed their messages
// before this node saw them: it may not pass over them in silence, so whoever is subscribed reads on from the database, which
// tells those who are concerned.
func (m *member) deliverRead(position int64, batch []*Message) {
	whole := 0
	for whole < len(batch) && batch[whole].Position == position+int64(whole)+1 {
		whole++
	}
	m.hub.deliver(batch[:whole])
	if whole < len(batch) {
		m.hub.jump(batch[len(batch)-1].Position)
	}
}

func readLogPage(ctx context.Context, conn *pgx.Conn, after int64) (batch []*Message, epoch string, last int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := conn.Query(ctx, followSQL, after, followRows, followBytes)
	if err != nil {
		return nil, "", 0, fmt.Errorf("read the log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&epoch, &last, &r.position, &r.channel, &r.seq, &r.id, &r.size, &r.payload, &r.sender, &r.key, &r.createdAt); err != nil {
			return nil, "", 0, fmt.Errorf("read the log: %w", err)
		}
		if r.position != nil {
			batch = append(batch, r.message(epoch))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, "", 0, fmt.Errorf("read the log: %w", err)
	}
	return batch, epoch, last, nil
}

// callTimeout bounds a call on the log's session: a server or a network that stalls longer is given up.
const callTimeout = 5 * time.Second

func exec(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, sql, args...)
	return err
}

func queryRow(ctx context.Context, conn *pgx.Conn, sql string, into []any, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return conn.QueryRow(ctx, sql, args...).Scan(into...)
}

var errLostLock = errors.New("the session no longer holds the sequencer's lock")
