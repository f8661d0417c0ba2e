package trunkline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/internal/retry"
)

// maxHeartbeatDelay is how long a heartbeat may take before the connection counts as dead, if the interval isn't shorter.
const maxHeartbeatDelay = 5 * time.Second

// ListenState is what is known of the LISTEN connection.
type ListenState struct {
	Up       bool      // every wanted channel is listened to
	Since    time.Time // of the state Up tells
	Attempts int       // to connect since it was last up
	Err      error     // why it is down, or was last
}

// A listener owns the one connection that LISTENs. It connects again whenever that is lost, and LISTENs to everything
// wanted before it says that it is up, so that whoever then reads what was missed misses nothing.
//
// Heartbeats prove it: a notification sent through another connection has to arrive. TCP alone would not notice a pooler
// that gave the session away, nor a server that stopped sending.
type listener struct {
	template *pgx.ConnConfig
	pool     *pgxpool.Pool // heartbeats are sent through it
	interval time.Duration
	log      *slog.Logger
	outage   retry.Outage // belongs to run
	counters *counters
	canary   string // raw channel of our own heartbeats
	up       func() // called whenever the connection is up (again)
	down     func()

	mu        sync.Mutex
	handlers  map[string]map[*rawHandler]struct{}
	listening map[string]bool // on the present connection
	changed   chan struct{}   // closed and replaced when listening or state change
	interrupt context.CancelFunc
	state     ListenState
}

// A rawHandler gets the notifications of a raw channel, on the listener's goroutine: it must not block.
type rawHandler struct{ handle func(*pgconn.Notification) }

func newListener(template *pgx.ConnConfig, pool *pgxpool.Pool, cfg *Config, c *counters) *listener {
	return &listener{
		template: template, pool: pool, interval: cfg.HeartbeatInterval, log: cfg.Logger, counters: c,
		outage:   retry.NewOutage(cfg.Logger, "the LISTEN connection"),
		canary:   "trunkline_canary_" + strings.ToLower(rand.Text()[:12]),
		up:       func() {},
		down:     func() {},
		handlers: map[string]map[*rawHandler]struct{}{}, listening: map[string]bool{}, changed: make(chan struct{}),
		state: ListenState{Since: time.Now()},
	}
}

// add begins to LISTEN to a raw channel, soon; wait tells when. The returned function ends it.
func (l *listener) add(channel string, handle func(*pgconn.Notification)) (remove func()) {
	h := &rawHandler{handle: handle}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handlers[channel] == nil {
		l.handlers[channel] = map[*rawHandler]struct{}{}
	}
	l.handlers[channel][h] = struct{}{}
	l.poke()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.handlers[channel], h)
		if len(l.handlers[channel]) == 0 {
			delete(l.handlers, channel)
			l.poke()
		}
	}
}

// poke makes the connection's goroutine look at what is wanted. Under mu.
func (l *listener) poke() {
	if l.interrupt != nil {
		l.interrupt()
	}
}

// wait returns once the channel is listened to, or ctx ends.
func (l *listener) wait(ctx context.Context, channel string) error {
	for {
		l.mu.Lock()
		ok, changed, state := l.listening[channel], l.changed, l.state
		l.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if state.Err != nil {
				return fmt.Errorf("listen to %q: %w (%w)", channel, context.Cause(ctx), state.Err)
			}
			return fmt.Errorf("listen to %q: %w", channel, context.Cause(ctx))
		}
	}
}

// hears tells whether a channel is listened to at this moment.
func (l *listener) hears(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listening[channel]
}

func (l *listener) current() ListenState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// run keeps the connection until ctx ends.
func (l *listener) run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := l.session(ctx)
		wasUp := l.setDown(err)
		if ctx.Err() != nil {
			return
		}
		if wasUp {
			l.counters.listenReconnects.Add(1)
			if time.Since(began) > l.interval {
				attempt = 0
			}
		}
		l.outage.Failed(err, attempt+1)
		retry.Sleep(ctx, backoff(attempt))
	}
}

func (l *listener) setDown(err error) (wasUp bool) {
	l.mu.Lock()
	wasUp = l.state.Up
	attempts := l.state.Attempts + 1
	since := l.state.Since
	if wasUp {
		attempts, since = 1, time.Now()
	}
	l.state = ListenState{Since: since, Attempts: attempts, Err: err}
	clear(l.listening)
	l.interrupt = nil
	l.broadcast()
	l.mu.Unlock()
	if wasUp {
		l.down()
	}
	return wasUp
}

func (l *listener) broadcast() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// session makes one connection and serves it until it fails.
func (l *listener) session(ctx context.Context) error {
	conn, err := connect(ctx, l.template, "listener", listenSessionSettings)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer closeSoon(conn)

	beat := heartbeat{interval: l.interval, patience: min(l.interval, maxHeartbeatDelay)}
	defer beat.sending.Wait()
	removeCanary := l.add(l.canary, func(n *pgconn.Notification) { beat.arrived(n.Payload) })
	defer removeCanary()

	up := false
	for {
		waitCtx, cancel := context.WithCancel(ctx)
		l.mu.Lock()
		l.interrupt = cancel
		l.mu.Unlock()
		if err := l.apply(ctx, conn); err != nil {
			cancel()
			return err
		}
		if !up {
			up = true
			l.setUp()
		}
		now := time.Now()
		if beat.overdue(now) {
			cancel()
			return errors.New("a heartbeat did not arrive: the connection is stalled, or goes through a transaction pooler")
		}
		if beat.due(now) {
			if err := l.beat(ctx, conn, &beat); err != nil {
				cancel()
				return err
			}
		}
		deadlineCtx, cancelDeadline := context.WithDeadline(waitCtx, beat.next())
		n, err := conn.WaitForNotification(deadlineCtx)
		expired := deadlineCtx.Err() != nil
		cancelDeadline()
		cancel()
		switch {
		case err == nil:
			l.dispatch(n)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !expired || conn.IsClosed():
			return fmt.Errorf("wait for notifications: %w", err)
		}
	}
}

func (l *listener) setUp() {
	l.mu.Lock()
	l.state = ListenState{Up: true, Since: time.Now(), Err: l.state.Err}
	l.broadcast()
	l.mu.Unlock()
	l.outage.Over()
	l.up()
}

// apply LISTENs and UNLISTENs until what is listened to is what is wanted.
func (l *listener) apply(ctx context.Context, conn *pgx.Conn) error {
	for {
		var statements, added []string
		l.mu.Lock()
		for channel := range l.handlers {
			if !l.listening[channel] {
				added = append(added, channel)
				statements = append(statements, "LISTEN "+pgx.Identifier{channel}.Sanitize())
			}
		}
		for channel := range l.listening {
			if l.handlers[channel] == nil {
				delete(l.listening, channel) // whoever wants it from now on has to wait for another LISTEN
				statements = append(statements, "UNLISTEN "+pgx.Identifier{channel}.Sanitize())
			}
		}
		l.mu.Unlock()
		if len(statements) == 0 {
			return nil
		}
		if err := listen(ctx, conn, strings.Join(statements, "; ")); err != nil {
			return err
		}
		l.mu.Lock()
		for _, channel := range added {
			l.listening[channel] = true
		}
		l.broadcast()
		l.mu.Unlock()
	}
}

// listen runs LISTEN statements. Asking for the queue's usage first moves the queue's tail on: without that, LISTEN may
// fail with "could not access status of transaction" where the tail still names a transaction whose status was vacuumed
// away.
func listen(ctx context.Context, conn *pgx.Conn, statements string) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	const advance = "SELECT pg_catalog.pg_notification_queue_usage(); "
	_, err := conn.PgConn().Exec(ctx, advance+statements).ReadAll()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == stateUndefinedFile {
		// In one string all is one transaction: now each by itself.
		if _, err = conn.PgConn().Exec(ctx, advance).ReadAll(); err == nil {
			_, err = conn.PgConn().Exec(ctx, statements).ReadAll()
		}
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

func (l *listener) dispatch(n *pgconn.Notification) {
	l.mu.Lock()
	handlers := make([]*rawHandler, 0, len(l.handlers[n.Channel]))
	for h := range l.handlers[n.Channel] {
		handlers = append(handlers, h)
	}
	l.mu.Unlock()
	for _, h := range handlers {
		h.handle(n)
	}
}

// A heartbeat is when the next is due and which one is awaited.
type heartbeat struct {
	interval, patience time.Duration
	began              time.Time // when the last one was begun
	sending            sync.WaitGroup

	mu      sync.Mutex
	mark    string    // of the one awaited, "" if none
	sent    time.Time // when it was sent
	arrives string    // a mark that arrived before its sending was known to have succeeded
}

func (b *heartbeat) due(now time.Time) bool { return !now.Before(b.began.Add(b.interval)) }

func (b *heartbeat) overdue(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mark != "" && !now.Before(b.sent.Add(b.patience))
}

// next is when to look again.
func (b *heartbeat) next() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.began.Add(b.interval)
	if deadline := b.sent.Add(b.patience); b.mark != "" && deadline.Before(next) {
		return deadline
	}
	return next
}

func (b *heartbeat) arrived(mark string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if mark == b.mark {
		b.mark = ""
	}
	b.arrives = mark
}

// await begins to wait for a heartbeat that was sent, unless it is there already.
func (b *heartbeat) await(mark string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.arrives != mark {
		b.mark, b.sent = mark, time.Now()
	}
}

// beat sends a heartbeat. If the other connection can't, that says nothing about this one; if the queue is half full it
// isn't sent at all. The query on this connection keeps the server from ending it as idle.
func (l *listener) beat(ctx context.Context, conn *pgx.Conn, b *heartbeat) error {
	l.counters.heartbeats.Add(1)
	b.began = time.Now()
	queryCtx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	var usage float64
	err := conn.QueryRow(queryCtx, "SELECT pg_notification_queue_usage()", pgx.QueryExecModeSimpleProtocol).Scan(&usage)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if usage >= 0.5 {
		l.log.Warn("the notification queue is more than half full: some session listens and does not read; run trunkline doctor", "usage", usage)
		return nil
	}
	b.sending.Go(func() {
		sendCtx, cancel := context.WithTimeout(ctx, b.patience)
		defer cancel()
		mark := rand.Text()
		if _, err := l.pool.Exec(sendCtx, "SELECT pg_notify($1, $2)", l.canary, mark); err == nil {
			b.await(mark)
			l.mu.Lock()
			l.poke()
			l.mu.Unlock()
		}
	})
	return nil
}
