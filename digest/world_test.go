package digest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	netmail "net/mail"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// noon is when most tests begin. It is far ahead of any real clock: whatever the database does by its own is due by then.
var noon = time.Date(2031, 3, 3, 12, 0, 0, 0, time.UTC)

const patience = 60 * time.Second

// A world is a database with users, and a mailbox for all of them.
type world struct {
	*testing.T
	url  string
	pool *pgxpool.Pool
	box  *memory
}

func newWorld(t *testing.T) *world {
	t.Helper()
	url := pgtest.Database(t)
	return &world{T: t, url: url, pool: pgtest.Pool(t, url), box: &memory{}}
}

func (w *world) context() context.Context {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.Cleanup(cancel)
	return ctx
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.context(), sql, args...); err != nil {
		w.Fatalf("%v\nin %s", err, sql)
	}
}

func (w *world) column(sql string, args ...any) []string {
	w.Helper()
	rows, err := w.pool.Query(w.context(), sql, args...)
	if err != nil {
		w.Fatalf("%v\nin %s", err, sql)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.Fatalf("%v\nin %s", err, sql)
	}
	return values
}

func (w *world) number(sql string, args ...any) (n int) {
	w.Helper()
	if err := w.pool.QueryRow(w.context(), sql, args...).Scan(&n); err != nil {
		w.Fatalf("%v\nin %s", err, sql)
	}
	return n
}

// user makes a recipient with an address of its own.
func (w *world) user(names ...string) {
	w.Helper()
	w.exec("SELECT trunkline.set_recipient(u, u || '@example.org') FROM unnest($1::text[]) u", names)
}

// A note is a notification to be made.
type note struct {
	user, kind, group string
	at                time.Time
	expires           *time.Time
	data              string
}

// notify makes notifications and has the keeper place them, and returns their ids.
func (w *world) notify(notes ...note) []int64 {
	w.Helper()
	ids := w.insert(notes...)
	w.keep(noon)
	return ids
}

func (w *world) insert(notes ...note) []int64 {
	w.Helper()
	ids := make([]int64, len(notes))
	var b pgx.Batch
	for i, n := range notes {
		if n.kind == "" {
			n.kind = "mention"
		}
		if n.data == "" {
			n.data = "{}"
		}
		if n.at.IsZero() {
			n.at = noon
		}
		b.Queue(`INSERT INTO trunkline.notification (user_id, kind, "group", data, created_at, expires_at)
			VALUES ($1, $2, nullif($3, ''), $4, $5, $6) RETURNING id`, n.user, n.kind, n.group, n.data, n.at, n.expires).
			QueryRow(func(row pgx.Row) error { return row.Scan(&ids[i]) })
	}
	if err := w.pool.SendBatch(w.context(), &b).Close(); err != nil {
		w.Fatal(err)
	}
	return ids
}

// keep has the keeper do all there is to do.
func (w *world) keep(at time.Time) {
	w.Helper()
	for more := true; more; {
		if err := w.pool.QueryRow(w.context(), "SELECT coalesce(more, true) FROM trunkline.inbox_keep(5000, $1)", at).Scan(&more); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) worker(change ...func(*Options)) *Worker {
	w.Helper()
	return w.workerOn(w.pool, change...)
}

func (w *world) workerOn(pool *pgxpool.Pool, change ...func(*Options)) *Worker {
	w.Helper()
	opts := Options{Renderer: plainRenderer{}, Sender: w.box, Logger: testLogger(w)}
	for _, c := range change {
		c(&opts)
	}
	worker, err := New(pool, opts)
	if err != nil {
		w.Fatal(err)
	}
	return worker
}

func testLogger(t testing.TB) *slog.Logger {
	if os.Getenv("DIGEST_TEST_LOGS") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", t.Name())
	}
	return nil
}

// once makes a pass that must succeed.
func (w *world) once(worker *Worker, at time.Time) *Report {
	w.Helper()
	report, err := worker.Once(w.context(), at)
	if err != nil {
		w.Fatal(err)
	}
	return report
}

// mailed runs a pass and checks which mails it led to, written as "user: item, item".
func (w *world) mailed(worker *Worker, at time.Time, want ...string) *Report {
	w.Helper()
	before := len(w.box.all())
	report := w.once(worker, at)
	var got []string
	for _, m := range w.box.all()[before:] {
		got = append(got, m.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("at %v: mails (-want +got):\n%s\nreport: %s", at, diff, asJSON(report))
	}
	return report
}

func asJSON(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// decided checks the last decision about a user.
func (w *world) decided(user string, want Kind, next time.Time) string {
	w.Helper()
	var got Kind
	var reason string
	var at *time.Time
	err := w.pool.QueryRow(w.context(), `SELECT decision, reason, next_at FROM trunkline.digest_decision
		WHERE user_id = $1 ORDER BY id DESC LIMIT 1`, user).Scan(&got, &reason, &at)
	if err != nil {
		w.Fatal(err)
	}
	if got != want || !deref(at).Equal(next) {
		w.Errorf("decided about %s: %s, next %v; want %s, next %v (%s)", user, got, deref(at), want, next, reason)
	}
	return reason
}

// state returns phases and attempts of all mails, and how many notifications belong to none.
func (w *world) state() []string {
	w.Helper()
	return w.column(`SELECT user_id || ' ' || phase || ' ' || attempt || CASE WHEN uncertain THEN ' uncertain' ELSE '' END
		FROM trunkline.digest ORDER BY user_id, id`)
}

func (w *world) wantState(want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, w.state()); diff != "" {
		w.Errorf("mails (-want +got):\n%s", diff)
	}
}

// A plainRenderer makes mails that say what is in them.
type plainRenderer struct{}

func (plainRenderer) Domain() string { return "site.test" }

func (plainRenderer) Render(d mail.Digest) (mail.Envelope, mail.Text, error) {
	var b bytes.Buffer
	ids := make([]string, len(d.Items))
	for i := range d.Items {
		ids[len(ids)-1-i] = fmt.Sprint(d.Items[i].ID)
	}
	fmt.Fprintf(&b, "Message-ID: <%s>\r\nTo: %s\r\nX-User: %s\r\nX-Items: %s\r\nX-Token: %s\r\n\r\nHello\r\n",
		d.MessageID, d.Recipient.Email, d.Recipient.UserID, strings.Join(ids, ", "), d.UnsubscribeToken)
	return mail.Envelope{From: "bounces@site.test", To: d.Recipient.Email, Data: b.Bytes()}, mail.Text{Subject: "Hello"}, nil
}

// A delivery is a mail that arrived.
type delivery struct{ to, user, items, message, token string }

func (d delivery) String() string { return d.user + ": " + d.items }

func readDelivery(to string, data []byte) delivery {
	m, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		panic(err)
	}
	h := m.Header
	return delivery{to: to, user: h.Get("X-User"), items: h.Get("X-Items"), message: h.Get("Message-ID"), token: h.Get("X-Token")}
}

// list writes ids as mails do.
func list(ids ...int64) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = fmt.Sprint(id)
	}
	return strings.Join(text, ", ")
}

// A memory is a Sender that keeps what it is given, and fails where script says so.
type memory struct {
	mu    sync.Mutex
	mails []delivery
	// before and after the final dot; nil: all is well.
	before, after func(e mail.Envelope) error
}

func (m *memory) Send(ctx context.Context, e mail.Envelope, commit func(context.Context) error) error {
	m.mu.Lock()
	before, after := m.before, m.after
	m.mu.Unlock()
	if before != nil {
		if err := before(e); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return &mail.SendError{Step: "data", Blame: mail.BlameServer, Err: err}
	}
	if err := commit(ctx); err != nil {
		return err
	}
	var err error
	if after != nil {
		err = after(e)
	}
	if send, _ := err.(*mail.SendError); send == nil || send.Uncertain { //nolint:errorlint // it is one
		m.mu.Lock()
		m.mails = append(m.mails, readDelivery(e.To, e.Data))
		m.mu.Unlock()
	}
	return err
}

func (m *memory) Close() error { return nil }

func (m *memory) all() []delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails)
}

func (m *memory) script(before, after func(e mail.Envelope) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before, m.after = before, after
}
