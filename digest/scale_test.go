package digest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// populate makes recipients with some unread notifications each, all due, as the keeper would have placed them.
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
	for _, sql := range []string{
		"SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'",
		fmt.Sprintf(`INSERT INTO trunkline.recipient (user_id, email, name, time_zone, active_at)
			SELECT 'user-' || i, 'user-' || i || '@example.org', 'User ' || i, 'Europe/Berlin', '2031-03-03 10:00Z' FROM generate_series(1, %d) i`, users),
		fmt.Sprintf(`INSERT INTO trunkline.inbox (user_id, last_seq, unseen, unread) SELECT 'user-' || i, %d, %[1]d, %[1]d FROM generate_series(1, %[2]d) i`, each, users),
		fmt.Sprintf(`INSERT INTO trunkline.notification (user_id, kind, "group", cause, link, data, created_at)
			SELECT 'user-' || i, 'task.completed', 'project:' || i %% 5000, 'task:' || i * 10 + n, '/projects/' || i %% 5000,
			       json_build_object('actor', 'Actor ' || n, 'task', json_build_object('title', 'Task number ' || n)), '2031-03-03 06:00Z'::timestamptz + n * interval '1 min'
			FROM generate_series(1, %d) n, generate_series(1, %d) i`, each, users),
		// Placed by a second version of each row, as the keeper does.
		fmt.Sprintf("UPDATE trunkline.notification SET seq = (id - 1) / %d + 1", users),
		fmt.Sprintf(`INSERT INTO trunkline.digest_due (user_id, due_at)
			SELECT 'user-' || i, '2031-03-03 10:00Z'::timestamptz + i * interval '1 ms' FROM generate_series(1, %d) i`, users),
		"SET session_replication_role = origin",
		"SELECT trunkline.kind('task.completed', 'Task completed', template => '{actor} completed {task.title}')",
	} {
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
// database has to remember of it.
func BenchmarkMails(b *testing.B) {
	pool := pgtest.Pool(b, pgtest.Database(b))
	const users = 20_000
	populate(b, pool, users, 10)
	renderer, err := mail.New(mail.Options{Site: "Example Projects", From: "mail@example.org", PublicURL: "https://example.org"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		if _, err := pool.Exec(b.Context(), `TRUNCATE trunkline.digest, trunkline.digest_decision, trunkline.unsubscribe_token; `); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		worker, err := New(pool, Options{Renderer: renderer, Sender: discard{}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := worker.Once(b.Context(), noon); err != nil {
			b.Fatal(err)
		}
		sent := worker.Stats().Sent
		if sent != users {
			b.Fatalf("%d mails were sent", sent)
		}
		b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "mails/s")
	}
}

var _ = json.Marshal
var _ = strings.Split
var _ = time.Now
