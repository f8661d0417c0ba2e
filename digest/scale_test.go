package digest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// populate makes recipients with some unread notifications each, all due, placed in an order that the keeper could have chosen.
func populate(t testing.TB, pool *pgxpool.Pool, users, each int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	// In one session: its triggers are off.
	conn, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	// Indexes are made when all rows are there, which is faster.
	rows, err := conn.Query(ctx, `SELECT format('DROP INDEX trunkline.%I', indexname), indexdef FROM pg_indexes
		WHERE schemaname = 'trunkline' AND tablename = 'notification' AND indexname <> 'notification_pkey'`)
	if err != nil {
		t.Fatal(err)
	}
	var drop, create []string
	var one, other string
	if _, err := pgx.ForEachRow(rows, []any{&one, &other}, func() error {
		drop, create = append(drop, one), append(create, other)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	statements := slices.Concat([]string{
		"SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'",
	}, drop, []string{
		fmt.Sprintf(`INSERT INTO trunkline.recipient (user_id, email, name, time_zone, active_at)
			SELECT 'user-' || i, 'user-' || i || '@example.org', 'User ' || i, 'Europe/Berlin', '2031-03-03 09:00Z' FROM generate_series(1, %d) i`, users),
		fmt.Sprintf(`INSERT INTO trunkline.inbox (user_id, last_seq, unseen, unread) SELECT 'user-' || i, %d, %[1]d, %[1]d FROM generate_series(1, %[2]d) i`, each, users),
		fmt.Sprintf(`INSERT INTO trunkline.notification (user_id, seq, kind, "group", cause, link, data, created_at)
			SELECT 'user-' || i, n, 'task.completed', 'project:' || i %% 5000, 'task:' || i * 10 + n, '/projects/' || i %% 5000,
			       json_build_object('actor', 'Actor ' || n, 'task', json_build_object('title', 'Task number ' || n)), '2031-03-03 05:00Z'::timestamptz + n * interval '1 min'
			FROM generate_series(1, %d) n, generate_series(1, %d) i`, each, users),
	}, create, []string{
		fmt.Sprintf(`INSERT INTO trunkline.digest_due (user_id, due_at)
			SELECT 'user-' || i, '2031-03-03 10:00Z'::timestamptz + i * interval '1 ms' FROM generate_series(1, %d) i`, users),
		"SET session_replication_role = origin",
		"SELECT trunkline.kind('task.completed', 'Task completed', template => '{actor} completed {task.title}')",
	})
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%v\nin %s", err, sql)
		}
	}
	for _, table := range []string{"recipient", "notification", "digest_due", "inbox"} {
		if _, err := conn.Exec(ctx, "VACUUM ANALYZE trunkline."+table); err != nil {
			t.Fatal(err)
		}
	}
}

// discard takes all mails.
type discard struct{}

func (discard) Send(ctx context.Context, _ mail.Envelope, commit func(context.Context) error) error {
	return commit(ctx)
}
func (discard) Close() error { return nil }

// BenchmarkMails claims, renders and sends mails of ten notifications each to a server that takes all of them, with all that the
// database has to remember of it. One op is 10,000 mails.
func BenchmarkMails(b *testing.B) {
	pool := pgtest.Pool(b, pgtest.Database(b))
	const users = 10_000
	populate(b, pool, users, 10)
	renderer, err := mail.New(mail.Options{Site: "Example Projects", From: "mail@example.org", PublicURL: "https://example.org"})
	if err != nil {
		b.Fatal(err)
	}
	worker, err := New(pool, Options{Renderer: renderer, Sender: discard{}, Concurrency: 128})
	if err != nil {
		b.Fatal(err)
	}
	for n := int64(1); b.Loop(); n++ {
		if n > 1 {
			b.StopTimer()
			unmail(b, pool)
			b.StartTimer()
		}
		if _, err := worker.Once(b.Context(), noon); err != nil {
			b.Fatal(err)
		}
		if sent := worker.Stats().Sent; sent != n*users {
			b.Fatalf("%d mails were sent", sent)
		}
	}
	b.ReportMetric(float64(worker.Stats().Sent)/b.Elapsed().Seconds(), "mails/s")
}

// unmail makes everything due again.
func unmail(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		"TRUNCATE trunkline.digest, trunkline.digest_decision, trunkline.unsubscribe_token",
		"UPDATE trunkline.notification SET digest_id = NULL WHERE digest_id IS NOT NULL",
		"INSERT INTO trunkline.digest_due (user_id, due_at) SELECT user_id, '2031-03-03 10:00Z' FROM trunkline.recipient",
		"VACUUM ANALYZE trunkline.notification",
		"VACUUM ANALYZE trunkline.digest_due",
	} {
		if _, err := pool.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// With 100,000 recipients and 1,000,000 unread notifications, who is due and what they have unread is found by indexes, and a pass
// over some of them reads next to nothing of the rest.
func TestFindingWhoIsDueTakesAnIndex(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a million notifications take a while to make")
	}
	w := newWorld(t)
	// Sessions tell what they have read now and then, and as they end: these must have done so before a pass is measured.
	made := w.sessions("populate")
	populate(t, made, 100_000, 10)
	w.end(made, "populate")
	conn := pgtest.Connect(t, w.url)
	at := time.Date(2031, 3, 3, 10, 0, 0, 0, time.UTC).Add(50 * time.Millisecond) // 50 of them are due by then

	// What the planner makes of the statement by itself.
	var text []byte
	err := conn.QueryRow(w.context(), `EXPLAIN (FORMAT JSON) SELECT user_id FROM trunkline.digest_due
		WHERE due_at <= '2031-03-03 10:00:00.05Z' ORDER BY due_at, user_id LIMIT 250 FOR UPDATE SKIP LOCKED`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"Index Name": "digest_due_at"`) || strings.Contains(string(text), `"Seq Scan"`) {
		t.Errorf("plan: %s", text)
	}

	// What the functions read, whatever their plans: of each table's rows, by scans and by indexes.
	type reads struct {
		table           string
		scans, scanned  int
		fetched, looked int
	}
	read := func() map[string]reads {
		t.Helper()
		rows, err := conn.Query(w.context(), `SELECT relname, coalesce(seq_scan, 0), coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0), coalesce(idx_scan, 0)
			FROM pg_stat_xact_user_tables WHERE schemaname = 'trunkline' AND relname IN ('notification', 'digest_due', 'digest', 'recipient', 'digest_decision')`)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r reads, err error) {
			err = row.Scan(&r.table, &r.scans, &r.scanned, &r.fetched, &r.looked)
			return r, err
		})
		if err != nil {
			t.Fatal(err)
		}
		byTable := map[string]reads{}
		for _, r := range list {
			byTable[r.table] = r
		}
		return byTable
	}
	users := make([]string, 50)
	for i := range users {
		users[i] = fmt.Sprintf("user-%d", i+1)
	}
	for _, step := range []struct {
		what, sql string
		args      []any
		rows      int
	}{
		{"the next that is due", "SELECT 1 FROM trunkline.digest_next($1)", []any{at}, 1},
		{"who is due", "SELECT user_id FROM trunkline.digest_look(7, $1, $2, 250)", []any{at, at.Add(time.Hour)}, 50},
		{"what is unread", "SELECT id FROM trunkline.digest_unread($1, '-infinity', 1000, false)", []any{users}, 500},
		{"what is unread and wanted", "SELECT id FROM trunkline.digest_unread($1, '-infinity', 1000, true)", []any{users}, 500},
		{"who they are", "SELECT user_id FROM trunkline.recipients_of($1)", []any{users}, 50},
	} {
		tx, err := conn.Begin(w.context())
		if err != nil {
			t.Fatal(err)
		}
		before := read()
		tag, err := tx.Exec(w.context(), step.sql, step.args...)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if n := int(tag.RowsAffected()); n != step.rows {
			t.Errorf("%s: %d rows, want %d", step.what, n, step.rows)
		}
		for table, r := range read() {
			b := before[table]
			if r.scanned > b.scanned || r.fetched-b.fetched > 2*step.rows+500 {
				t.Errorf("%s: of %s it reads %d rows by scan and %d by index", step.what, table, r.scanned-b.scanned, r.fetched-b.fetched)
			}
		}
		if err := tx.Rollback(w.context()); err != nil {
			t.Fatal(err)
		}
	}

	// And a whole pass, in the worker's own sessions.
	told := func(what string) int {
		return w.number("SELECT sum(" + what + `) FROM pg_stat_user_tables
			WHERE schemaname = 'trunkline' AND relname IN ('notification', 'digest_due', 'recipient')`)
	}
	scans, looks := told("seq_scan"), told("idx_scan")
	pool := w.sessions("pass")
	report := w.once(w.workerOn(pool), at)
	if len(report.Mails) != 50 {
		t.Errorf("%d mails", len(report.Mails))
	}
	w.end(pool, "pass")
	if n := told("seq_scan") - scans; n != 0 {
		t.Errorf("the pass scans tables %d times", n)
	}
	if n := told("idx_scan") - looks; n < 3 {
		t.Errorf("the pass looks into indexes %d times, if that was told", n)
	}
}

// sessions are a pool whose sessions can be told from others.
func (w *world) sessions(name string) *pgxpool.Pool {
	w.Helper()
	config, err := pgxpool.ParseConfig(w.url)
	if err != nil {
		w.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["application_name"] = name
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(pool.Close)
	return pool
}

// end closes them and waits until the server has ended them.
func (w *world) end(pool *pgxpool.Pool, name string) {
	w.Helper()
	pool.Close()
	w.awaitNobody(name)
}
