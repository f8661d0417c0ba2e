package projects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// Options of a Store. Engine and Inbox are needed for what is sent live only: typing and reading.
type Options struct {
	Engine *trunkline.Engine
	Inbox  *inbox.Inbox
	Logger *slog.Logger // nil: discarded
	Limits Limits
}

// Limits are soft ones: of how much there may be of something. Zero fields mean their defaults.
type Limits struct {
	Projects        int   // of an organisation; default 10,000
	Tasks           int   // of a project; default 20,000
	Members         int   // of a project; default 200
	Conversations   int   // of a project; default 2,000
	MessageLength   int   // characters; default and most 20,000
	AttachmentBytes int64 // of a file; default 10 MiB
	Attachments     int   // of a message; default 10
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&l.Projects, 10_000)
	set(&l.Tasks, 20_000)
	set(&l.Members, 200)
	set(&l.Conversations, 2_000)
	set(&l.MessageLength, 20_000)
	set(&l.Attachments, 10)
	if l.AttachmentBytes == 0 {
		l.AttachmentBytes = 10 << 20
	}
	return l
}

// A Store is what people can do. Its methods take the id of the person who does it, ask the database whether they may, and are
// safe for concurrent use. Errors for people are of the types of this package; others are the database's.
type Store struct {
	pool   *pgxpool.Pool
	engine *trunkline.Engine
	inbox  *inbox.Inbox
	log    *slog.Logger
	limits Limits
	now    func() time.Time
	typing typingPace
}

// New returns a store on a database that [Migrate] has made ready.
func New(pool *pgxpool.Pool, opts Options) *Store {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{pool: pool, engine: opts.Engine, inbox: opts.Inbox, log: opts.Logger, limits: opts.Limits.withDefaults(), now: time.Now}
}

// Limits are those in force.
func (s *Store) Limits() Limits { return s.limits }

// attempts is how often a transaction is tried that loses against another one; movedAttempts, how often if that moved the task.
const (
	attempts      = 4
	movedAttempts = 20
)

// write runs do in a transaction, again if it lost against another one: do must change nothing but the transaction, and what it
// returns must be what the last run found.
func (s *Store) write(ctx context.Context, do func(tx pgx.Tx) error) error {
	return s.transact(ctx, pgx.TxOptions{}, do)
}

// read runs do on one snapshot.
func (s *Store) read(ctx context.Context, do func(tx pgx.Tx) error) error {
	return s.transact(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, do)
}

func (s *Store) transact(ctx context.Context, options pgx.TxOptions, do func(tx pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := pgx.BeginTxFunc(ctx, s.pool, options, do)
		again := errors.Is(err, errMoved) && attempt < movedAttempts || lost(err) && attempt < attempts
		if !again || ctx.Err() != nil {
			return err
		}
	}
}

// lost tells whether a transaction lost against another one, so that it may succeed if it is tried again.
func lost(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "40001" || pgErr.Code == "40P01" ||
		pgErr.Code == "23505" && strings.HasSuffix(pgErr.ConstraintName, "_client_key")) // another one made it: it will be found
}

// auditSQL writes a line of the audit trail: $1 who and $2 in which project (0: none), $3 did what, $4 with what.
const auditSQL = `INSERT INTO projects.audit (person_id, project_id, action, subject, detail)
	VALUES (nullif($1::bigint, 0), nullif($2::bigint, 0), $3, $4, $5)`

// audit writes a line of the audit trail.
func audit(ctx context.Context, tx pgx.Tx, person, project int64, action, subject string, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	_, err := tx.Exec(ctx, auditSQL, person, project, action, subject, detail)
	if err != nil {
		return fmt.Errorf("audit trail: %w", err)
	}
	return nil
}
