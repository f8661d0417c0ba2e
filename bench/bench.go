// Package bench measures Trunkline beside what it is compared to: in one run, in turns, several times over, and reports
// medians and ratios. Absolute figures belong to the machine they were measured on.
package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
)

// Options say what is measured and for how long.
type Options struct {
	// URL of a database that may be filled and emptied: everything is created in schema trunkline_bench and in Trunkline's.
	URL string
	// Rounds is how often each contestant has its turn, Seconds how long a turn takes.
	Rounds  int
	Seconds float64
	// Soak is how long the memory measurement publishes.
	Soak time.Duration
	// Program is the command line of a process that calls Serve with its stdin, stdout and stderr: the WebSocket servers that
	// are measured. It goes on as long as its stdin.
	Program []string
	// Subscribers are the numbers of WebSocket clients that fanout measures, Clients how many reconnect, and Missed how many
	// messages each of those misses. 1 to 50,000 clients, up to 1,000 messages; default 1,000 and 5,000, 5,000, and 100.
	Subscribers     []int
	Clients, Missed int
	Out             io.Writer
	Log             *slog.Logger
}

// A suite is one comparison.
type suite struct {
	name, about string
	run         func(context.Context, *lab) error
}

var suites = []suite{
	{"publish", "32 writers, one message of 200 bytes per transaction", publishSuite},
	{"latency", "8 writers, 200 messages a second in all: from commit to subscriber", latencySuite},
	{"coalesced", "Publish from 32 goroutines beside INSERTs on 32 connections", coalescedSuite},
	{"bulk", "transactions of 1,000 messages, a watched UPDATE of 10,000 rows", bulkSuite},
	{"catchup", "10,000 missed messages, by one subscriber and by 1,000 at once", catchUpSuite},
	{"idle", "what a server with nothing to do costs", idleSuite},
	{"fanout", "many WebSocket clients of one channel, published to as fast as they are served", fanoutSuite},
	{"websocket", "100 messages a second to 100 WebSocket clients", websocketSuite},
	{"reconnect", "WebSocket clients come back at once after the server was killed, and get what they missed", reconnectSuite},
	{"memory", "resident memory while messages are published, delivered and resumed", memorySuite},
}

// Names returns the names of the suites, each with a line about it.
func Names() (names [][2]string) {
	for _, s := range suites {
		names = append(names, [2]string{s.name, s.about})
	}
	return names
}

// Run measures the named suites, or all but memory if none is named.
func Run(ctx context.Context, opts Options, names ...string) error {
	for _, name := range names {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.name == name }) {
			return fmt.Errorf("there is no benchmark %q; there are: %s", name, allNames())
		}
	}
	if err := opts.complete(); err != nil {
		return err
	}
	pool, err := newPool(ctx, opts.URL, 40)
	if err != nil {
		return err
	}
	defer pool.Close()
	l := &lab{Options: opts, pool: pool}
	if err := l.describe(ctx); err != nil {
		return err
	}
	for _, s := range suites {
		if len(names) == 0 && s.name == "memory" || len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		l.printf("\n%s: %s\n", s.name, s.about)
		if err := l.reset(ctx); err != nil {
			return err
		}
		if err := s.run(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// complete sets defaults and refuses what can't be measured.
func (o *Options) complete() error {
	if len(o.Subscribers) == 0 {
		o.Subscribers = []int{1000, 5000}
	}
	if o.Clients == 0 {
		o.Clients = 5000
	}
	if o.Missed == 0 {
		o.Missed = 100
	}
	for _, clients := range append([]int{o.Clients}, o.Subscribers...) {
		if clients < 1 || clients > 50_000 {
			return fmt.Errorf("%d WebSocket clients can't be measured: choose between 1 and 50,000", clients)
		}
	}
	if o.Missed < 1 || o.Missed > 1000 {
		return fmt.Errorf("%d missed messages can't be measured: choose between 1 and 1,000", o.Missed)
	}
	return nil
}

func allNames() string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// A lab is where suites run.
type lab struct {
	Options
	pool *pgxpool.Pool
}

func (l *lab) printf(format string, args ...any) { _, _ = fmt.Fprintf(l.Out, format, args...) }

func newPool(ctx context.Context, url string, size int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	cfg.MaxConns, cfg.MinConns = size, size
	return pgxpool.NewWithConfig(ctx, cfg)
}

// describe prints what the figures depend on.
func (l *lab) describe(ctx context.Context) error {
	var version, fsync string
	if err := l.pool.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('fsync')").Scan(&version, &fsync); err != nil {
		return err
	}
	if err := l.reset(ctx); err != nil {
		return err
	}
	turn, err := l.write(ctx, 1, time.Second, func(ctx context.Context, conn *pgx.Conn, _, _ int) error {
		_, err := conn.Exec(ctx, bareInsert, "c", payload200)
		return err
	})
	if err != nil {
		return err
	}
	l.printf("PostgreSQL %s, fsync %s; one writer alone commits in %.2f ms\n", version, fsync, 1000/turn.perSecond())
	return nil
}

const (
	// bareInsert goes into the same columns without a trigger or an index but the primary key.
	bareInsert    = "INSERT INTO trunkline_bench.bare (channel, payload) VALUES ($1, $2)"
	articleInsert = "INSERT INTO trunkline_bench.article (channel, payload) VALUES ($1, $2)"
)

var payload200 = `{"text":"` + strings.Repeat("x", 200-11) + `"}`

// reset empties what was measured in.
func (l *lab) reset(ctx context.Context) error {
	const sql = `
		DROP SCHEMA IF EXISTS trunkline_bench CASCADE;
		CREATE SCHEMA trunkline_bench;
		SET LOCAL client_min_messages = warning;
		CREATE TABLE trunkline_bench.bare (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
			era integer NOT NULL DEFAULT 1, size integer NOT NULL GENERATED ALWAYS AS (octet_length(payload::text)) STORED,
			notify boolean NOT NULL DEFAULT false, channel text COLLATE "C" NOT NULL, payload json NOT NULL, sender text,
			key text COLLATE "C", created_at timestamptz NOT NULL DEFAULT clock_timestamp());
		CREATE TABLE trunkline_bench.article (LIKE trunkline_bench.bare INCLUDING ALL);
		CREATE FUNCTION trunkline_bench.announce() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM pg_notify(NEW.channel, to_json(NEW)::text); RETURN NEW; END';
		CREATE TRIGGER announce AFTER INSERT ON trunkline_bench.article FOR EACH ROW EXECUTE FUNCTION trunkline_bench.announce();`
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := trunkline.Migrate(ctx, conn.Conn()); err != nil {
		return err
	}
	if _, err := conn.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("prepare tables: %w", err)
	}
	_, err = conn.Exec(ctx, "VACUUM ANALYZE trunkline.message, trunkline.log, trunkline.channel")
	return err
}

// engine starts a node of this process.
func (l *lab) engine(ctx context.Context) (*trunkline.Engine, error) {
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: l.URL, Logger: l.Log})
	if err != nil {
		return nil, err
	}
	if err := engine.Start(ctx); err != nil {
		stop(engine)
		return nil, err
	}
	return engine, nil
}

func stop(e *trunkline.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = e.Stop(ctx)
}

// A turn is what one contestant did in its time.
type turn struct {
	count   int64
	elapsed time.Duration
}

func (t turn) perSecond() float64 { return float64(t.count) / t.elapsed.Seconds() }

// write lets writers call one after the other, each on a connection of its own, until the time is up.
func (l *lab) write(ctx context.Context, writers int, d time.Duration, one func(ctx context.Context, conn *pgx.Conn, writer, n int) error) (turn, error) {
	var count atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	conns := make([]*pgxpool.Conn, writers)
	for w := range writers {
		conn, err := l.pool.Acquire(ctx)
		if err != nil {
			return turn{}, err
		}
		defer conn.Release()
		conns[w] = conn
	}
	began := time.Now()
	deadline := began.Add(d)
	for w := range writers {
		wg.Go(func() {
			for n := 0; time.Now().Before(deadline) && ctx.Err() == nil; n++ {
				if err := one(ctx, conns[w].Conn(), w, n); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	close(errs)
	return turn{count.Load(), time.Since(began)}, <-errs
}

// A contestant has turns, and a figure for each.
type contestant struct {
	name    string
	turn    func(ctx context.Context) (float64, error)
	figures []float64
}

func (c *contestant) median() float64 {
	sorted := slices.Sorted(slices.Values(c.figures))
	return sorted[len(sorted)/2]
}

// compete gives the contestants their turns and prints medians, spreads, and ratios to the first, taken round by round.
func (l *lab) compete(ctx context.Context, unit string, contestants ...*contestant) error {
	for range l.Rounds {
		for _, c := range contestants {
			figure, err := c.turn(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.figures = append(c.figures, figure)
		}
	}
	l.printf("  %-46s %12s %19s  %s\n", "", unit, "lowest to highest", "to the first")
	for _, c := range contestants {
		var ratios []float64
		for i := range c.figures {
			ratios = append(ratios, c.figures[i]/contestants[0].figures[i])
		}
		slices.Sort(ratios)
		l.printf("  %-46s %12s %19s  %.2f\n", c.name, number(c.median()),
			number(slices.Min(c.figures))+" – "+number(slices.Max(c.figures)), ratios[len(ratios)/2])
	}
	return nil
}

func number(f float64) string {
	switch {
	case f >= 10000:
		return fmt.Sprintf("%d %03d", int(f)/1000, int(f)%1000)
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// whole writes a count up to a million.
func whole(n int) string {
	if n >= 1000 {
		return fmt.Sprintf("%d %03d", n/1000, n%1000)
	}
	return strconv.Itoa(n)
}

func (l *lab) turnLength() time.Duration { return time.Duration(l.Seconds * float64(time.Second)) }
