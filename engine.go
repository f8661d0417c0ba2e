package trunkline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/schema"
)

// An Engine is one node: it publishes, follows the log (or sequences it, if nobody else does), and delivers. All methods
// are safe for concurrent use.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	pool    *pgxpool.Pool
	ownPool bool
	direct  *pgx.ConnConfig

	counters  *counters
	hub       *hub
	listener  *listener
	member    *member
	historian *historian
	syncer    *syncer
	newest    *historian
	publisher *publisher
	bridges   *bridges
	settings  *settings
	retention *retention

	life     context.Context //nolint:containedctx // from New to Stop
	endLife  context.CancelFunc
	stopping chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	started bool
	stopped bool
}

// New makes an engine, ready to publish. It checks cfg, but doesn't connect yet. Call [Engine.Start] to deliver, and in
// any case [Engine.Stop].
func New(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	// As read from a file, with its newline.
	cfg.DatabaseURL, cfg.DirectURL = strings.TrimSpace(cfg.DatabaseURL), strings.TrimSpace(cfg.DirectURL)
	pool, own := cfg.Pool, false
	if pool == nil {
		poolConfig, err := pgxpool.ParseConfig(cfg.DatabaseURL)
		if err != nil {
			return nil, &ArgumentError{Argument: "DatabaseURL", Problem: "the database URL can't be read: " + urlProblem(err), err: err}
		}
		if poolConfig.ConnConfig.RuntimeParams["application_name"] == "" {
			poolConfig.ConnConfig.RuntimeParams["application_name"] = "trunkline"
		}
		pool, err = pgxpool.NewWithConfig(context.Background(), poolConfig)
		if err != nil {
			return nil, fmt.Errorf("make a connection pool: %w", err)
		}
		own = true
	}
	direct := pool.Config().ConnConfig
	if cfg.DirectURL != "" {
		var err error
		if direct, err = pgx.ParseConfig(cfg.DirectURL); err != nil {
			if own {
				pool.Close()
			}
			return nil, &ArgumentError{Argument: "DirectURL", Problem: "the direct URL can't be read: " + urlProblem(err), err: err}
		}
	}
	life, end := context.WithCancel(context.Background())
	c := &counters{}
	e := &Engine{
		cfg: cfg, log: cfg.Logger, pool: pool, ownPool: own, direct: direct, counters: c,
		hub:       newHub(&cfg, c),
		historian: newHistorian(life, pool, c),
		newest:    newNewestHistorian(life, pool, c),
		publisher: &publisher{ctx: life, pool: pool, counters: c},
		life:      life, endLife: end, stopping: make(chan struct{}),
	}
	e.syncer = &syncer{engine: e, most: syncTimeout}
	e.listener = newListener(direct, pool, &cfg, c)
	e.member = newMember(direct, e.hub, e.listener, &cfg, c)
	e.bridges = &bridges{channels: cfg.Bridge, listener: e.listener, hub: e.hub, remove: map[string]func(){}}
	e.hub.onInterest = e.bridges.interest
	e.settings = newSettings(e)
	e.hub.namespace = e.settings.of
	e.OnNamespaces(e.hub.reconfigure)
	e.retention = newRetention(e)
	return e, nil
}

// Start connects, brings the schema up to date (unless SkipMigrate), and begins to deliver. It returns once this node
// listens, knows the log and the namespaces; ctx bounds only that. A database that can't be reached, is too old, or lacks what the role
// needs is an error; losing it later is not: the engine connects again for as long as it takes. After an error that is
// ctx's, Start may be called again to wait on.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.launch(ctx); err != nil {
		return err
	}
	if err := e.listener.wait(ctx, rawSignal); err != nil {
		return err
	}
	select {
	case <-e.settings.loaded: // and so the member is ready
		return nil
	case <-e.stopping:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("start: %w", context.Cause(ctx))
	}
}

// launch starts what runs, once.
func (e *Engine) launch(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return ErrClosed
	}
	if e.started {
		return nil
	}
	if err := e.prepare(ctx); err != nil {
		return err
	}
	e.started = true
	l, m := e.listener, e.member
	l.up = func() { tell(m.heard) }
	l.down = func() { tell(m.heard) }
	l.add(rawLog, func(*pgconn.Notification) { tell(m.logRing) })
	l.add(rawFollow, func(n *pgconn.Notification) {
		if n.Payload != l.canary { // not ourselves, before we led
			m.followed.Store(true)
		}
	})
	l.add(rawSignal, e.onSignal)
	e.running.Go(func() { l.run(e.life) })
	e.running.Go(func() { m.run(e.life) })
	e.running.Go(func() { e.settings.run(e.life) })
	e.running.Go(func() { e.retention.run(e.life) })
	return nil
}

// prepare migrates, or checks that somebody did, on a connection that is known to be direct.
func (e *Engine) prepare(ctx context.Context) error {
	conn, err := connect(ctx, e.direct, "start", "SET statement_timeout = 0;")
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address(e.direct), err)
	}
	defer closeSoon(conn)
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return fmt.Errorf("ask for the server's role: %w", err)
	}
	if standby {
		return fmt.Errorf("%s is a standby, on which nothing can be published or listened to: connect to the primary", address(e.direct))
	}
	version, err := schema.Version(ctx, conn)
	if err != nil {
		return withRole(ctx, conn, needsRead(explain(err)))
	}
	want := schemaVersion()
	if version < want && !e.cfg.SkipMigrate {
		return Migrate(ctx, conn)
	}
	if version != want {
		return &SchemaError{Version: version, Want: want}
	}
	return nil
}

// Stop ends subscriptions (after what is queued for them), waits for publishing under way, and closes the connections it
// opened. It may be called in any state, and more than once. If ctx ends first, what is under way is cut off.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	if e.stopped {
		e.mu.Unlock()
		return nil
	}
	e.stopped = true
	e.mu.Unlock()
	close(e.stopping)
	e.hub.close()
	e.publisher.close()

	// Publishing under way is finished first: its callers are promised an answer.
	finished := make(chan struct{})
	go func() {
		e.publisher.working.Wait()
		close(finished)
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		if e.publisher.busy() { // else nothing is cut off, late as it is
			err = context.Cause(ctx)
		}
	}
	e.endLife()
	<-finished
	e.running.Wait()
	e.historian.close()
	e.syncer.close()
	e.newest.close()
	if e.ownPool {
		e.pool.Close()
	}
	return err
}

// Pool returns the connection pool that the engine publishes and reads through.
func (e *Engine) Pool() *pgxpool.Pool { return e.pool }

// State is what an engine knows about itself at a moment.
type State struct {
	// Sequencing tells whether this node writes the log.
	Sequencing bool
	// Log is how far this node has delivered, and in which epoch; zero before it has first read the log.
	Log Position
	// Listen is the state of the LISTEN connection. While it is down nothing is lost, but messages come later, and raw
	// notifications and signals not at all.
	Listen ListenState
	// Lag is how far this node is behind.
	Lag Lag
}

// State returns the engine's present state.
func (e *Engine) State() State {
	now := e.hub.now()
	return State{
		Sequencing: e.member.sequencing.Load(), Log: now, Listen: e.listener.current(), Lag: e.member.pulse.lag(now.Position),
	}
}

// Stats are totals since the engine was made.
type Stats struct {
	Steps, EmptySteps int64 // of the sequencer
	Sequenced         int64 // messages
	Rings             int64 // of writers, heard
	Healed            int64 // messages that nobody had rung for, found by looking once a second
	Wakes, Dozes      int64
	Takeovers         int64 // times this node became the sequencer
	EpochChanges      int64
	FollowerRings     int64
	FollowerRingFails int64
	Relayed           int64 // messages repeated on raw channels
	HistoryQueries    int64 // made for subscriptions that catch up
	Delivered         int64 // messages and signals returned by subscriptions
	SlowConsumers     int64 // subscriptions ended because their queue was full
	DroppedSignals    int64
	ListenReconnects  int64
	Heartbeats        int64
	Published         int64 // by Publish
	PublishBatches    int64 // inserts that took
	Trimmed           int64 // messages removed by retention
	TrimBatches       int64 // that it took, those that found nothing included
	TrimFailures      int64 // those that failed, to be tried again
}

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats {
	c := e.counters
	return Stats{
		Steps: c.steps.Load(), EmptySteps: c.emptySteps.Load(), Sequenced: c.sequenced.Load(), Rings: c.rings.Load(),
		Healed: c.healed.Load(), Wakes: c.wakes.Load(), Dozes: c.dozes.Load(), Takeovers: c.takeovers.Load(),
		EpochChanges: c.epochs.Load(), FollowerRings: c.followerRings.Load(), FollowerRingFails: c.followerRingErrors.Load(),
		Relayed: c.relayed.Load(), HistoryQueries: c.queries.Load(), Delivered: c.delivered.Load(),
		SlowConsumers: c.slowConsumers.Load(), DroppedSignals: c.droppedSignals.Load(), ListenReconnects: c.listenReconnects.Load(),
		Heartbeats: c.heartbeats.Load(), Published: c.published.Load(), PublishBatches: c.publishBatches.Load(),
		Trimmed: c.trimmed.Load(), TrimBatches: c.trimBatches.Load(), TrimFailures: c.trimFailures.Load(),
	}
}

// Migrate brings a database's schema to the version this program works with. Any number of processes may call it at once.
func Migrate(ctx context.Context, conn *pgx.Conn) error {
	err := schema.Migrate(ctx, conn)
	var newer *schema.NewerSchemaError
	if errors.As(err, &newer) {
		return &SchemaError{Version: newer.Database, Want: newer.Program}
	}
	return err
}

// MigrationSQL returns the SQL that Migrate would run on an empty database, for people who apply it with a tool of their own.
func MigrationSQL() (string, error) { return schema.Print(0) }

// schemaVersion is the version this program works with.
func schemaVersion() int {
	latest, err := schema.Latest()
	if err != nil {
		panic("the embedded migrations are broken: " + err.Error()) // a build that no test would pass
	}
	return latest
}

// urlProblem says what is wrong with a connection string without repeating it: it may hold a password.
func urlProblem(err error) string {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) && parse.Unwrap() != nil {
		cause := parse.Unwrap()
		var malformed *url.Error
		if errors.As(cause, &malformed) {
			cause = malformed.Err
		}
		return cause.Error() + "; write it like postgres://user@host/database"
	}
	return "it is not a PostgreSQL URL such as postgres://user@host/database"
}
