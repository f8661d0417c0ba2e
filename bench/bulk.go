package bench

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// bulkSuite measures what one transaction with many rows costs.
func bulkSuite(ctx context.Context, l *lab) error {
	const insert = "SELECT $1, $2::json FROM generate_series(1, 1000)"
	err := l.compete(ctx, "rows/s",
		&contestant{name: "bare INSERT of 1,000", turn: l.bulk(1000, "INSERT INTO trunkline_bench.bare (channel, payload) "+insert)},
		&contestant{name: "the same with pg_notify per row", turn: l.bulk(1000, "INSERT INTO trunkline_bench.article (channel, payload) "+insert)},
		&contestant{name: "trunkline.publish, 1,000 calls in one statement", turn: l.bulk(1000, "SELECT trunkline.publish($1, $2::json) FROM generate_series(1, 1000)")},
		&contestant{name: "trunkline.publish_many", turn: l.bulk(1000, "SELECT trunkline.publish_many(array_fill($1::text, ARRAY[1000]), array_fill($2::json, ARRAY[1000]))")},
	)
	if err != nil {
		return err
	}
	if err := l.prepareWatched(ctx); err != nil {
		return err
	}
	return l.compete(ctx, "rows/s",
		&contestant{name: "UPDATE of 10,000 rows", turn: l.update("plain")},
		&contestant{name: "the same, watched", turn: l.update("watched")},
		&contestant{name: "the same, row trigger with pg_notify", turn: l.update("announced")},
	)
}

// bulk repeats one statement of n rows until the time is up, with everything delivered to a subscriber of nothing.
func (l *lab) bulk(n int64, sql string) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		engine, err := l.engine(ctx)
		if err != nil {
			return 0, err
		}
		defer stop(engine)
		t, err := l.write(ctx, 1, l.turnLength(), func(ctx context.Context, conn *pgx.Conn, _, _ int) error {
			_, err := conn.Exec(ctx, sql, "c", payload200)
			return err
		})
		if err != nil {
			return 0, err
		}
		return t.perSecond() * float64(n), l.sequenced(ctx)
	}
}

// sequenced waits until every message has its place in the log, so that one turn's work isn't done in the next.
func (l *lab) sequenced(ctx context.Context) error {
	for {
		var all bool
		err := l.pool.QueryRow(ctx, `SELECT coalesce((SELECT max(id) FROM trunkline.message), 0) =
			coalesce((SELECT message_id FROM trunkline.log ORDER BY position DESC LIMIT 1), 0)`).Scan(&all)
		if err != nil || all {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *lab) prepareWatched(ctx context.Context) error {
	for _, table := range []string{"plain", "watched", "announced"} {
		sql := strings.ReplaceAll(`
			CREATE TABLE trunkline_bench.%t (id integer PRIMARY KEY, project integer NOT NULL, title text NOT NULL, done integer NOT NULL) WITH (fillfactor = 50);
			INSERT INTO trunkline_bench.%t SELECT i, i % 20, 'task number ' || i, 0 FROM generate_series(1, 10000) i;
			ANALYZE trunkline_bench.%t;`, "%t", table)
		if _, err := l.pool.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	_, err := l.pool.Exec(ctx, `
		CREATE FUNCTION trunkline_bench.announce_task() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM pg_notify(''project:'' || NEW.project, to_json(NEW)::text); RETURN NEW; END';
		CREATE TRIGGER announce AFTER UPDATE ON trunkline_bench.announced FOR EACH ROW EXECUTE FUNCTION trunkline_bench.announce_task();`,
		pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return err
	}
	_, err = trunkline.AddWatch(ctx, l.pool, trunkline.WatchOptions{Table: "trunkline_bench.watched", Channel: "project:{project}"})
	return err
}

func (l *lab) update(table string) func(context.Context) (float64, error) {
	return l.bulk(10000, "UPDATE trunkline_bench."+table+" SET done = done + 1 WHERE $1 <> $2")
}
