package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// Run may be called before the engine is started, and ends with its context even then.
func TestRunBeforeTheEngineStarts(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := newEngine(t, url)
	conn := pgtest.Connect(t, url)
	notify(t, conn, "k", "ann")

	ended := newInbox(t, engine)
	run(t, ended)() // stopped while it waits
	in := newInbox(t, engine)
	run(t, in)
	soon, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
	defer cancel()
	if err := in.Ready(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ready before the engine is: %v", err)
	}
	if err := engine.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := in.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if c := counts(t, in, "ann"); c != (inbox.Counts{Unseen: 1, Unread: 1, Version: 1}) {
		t.Errorf("what was notified before: %+v", c)
	}
	if s := in.Stats(); s.Placed != 1 || s.Users != 1 || s.Batches != 1 {
		t.Errorf("stats: %+v", s)
	}
	eventually(t, "nothing is pending", func() bool { return in.Stats().PendingSince.IsZero() })
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	in, stop := startInbox(t, startEngine(t, pgtest.Database(t)))
	if err := in.Run(testContext(t)); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second Run: %v", err)
	}
	stop()
	run(t, in) // one after the other is fine
}

func TestRunEndsWithTheEngine(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	in := newInbox(t, engine)
	done := make(chan error, 1)
	go func() { done <- in.Run(context.Background()) }()
	if err := in.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	stopEngine(t, engine)
	if err := <-done; !errors.Is(err, trunkline.ErrClosed) {
		t.Errorf("run: %v", err)
	}
}

func TestNewNeedsAnEngine(t *testing.T) {
	t.Parallel()
	var argument *trunkline.ArgumentError
	if _, err := inbox.New(nil, inbox.Options{}); !errors.As(err, &argument) || argument.Argument != "engine" {
		t.Error(err)
	}
}

// A role that may not keep inboxes is told the grant; once it has that, a keeper that is started works.
func TestKeepWithoutTheGrant(t *testing.T) {
	t.Parallel()
	name, url, asRole := role(t, "keeper")
	owner := pgtest.Connect(t, url)
	exec(t, owner, "SELECT trunkline.grant_read($1::text::regrole)", name)
	startEngine(t, url) // sequences
	engine := startEngine(t, asRole)
	in := newInbox(t, engine)
	stop := run(t, in)
	grant := "SELECT trunkline.grant_inbox('" + name + "')"
	ctx := testContext(t)
	for what, do := range map[string]func() error{
		"ready": func() error { return in.Ready(ctx) },
		"mark": func() error {
			_, _, err := in.Mark(ctx, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 1})
			return err
		},
		"list":   func() error { return second(in.List(ctx, "ann", inbox.ListOptions{})) },
		"counts": func() error { return second(in.Counts(ctx, "ann")) },
		"keep":   func() error { return in.Keep(ctx, time.Time{}) },
		"check":  func() error { return second(in.Check(ctx, true)) },
	} {
		err := do()
		var privilege *trunkline.PrivilegeError
		if !errors.As(err, &privilege) || privilege.Grant != grant || !strings.HasSuffix(err.Error(), "Trunkline's owner run: "+grant) {
			t.Errorf("%s: %v", what, err)
		}
	}
	stop()
	exec(t, owner, "SELECT trunkline.grant_inbox($1::text::regrole)", name)
	notify(t, owner, "k", "ann")
	in, _ = startInbox(t, engine)
	if c := mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 1}); c != (inbox.Counts{Version: 2}) {
		t.Errorf("%+v", c)
	}
	if page := list(t, in, "ann", inbox.ListOptions{}); len(page.Items) != 1 {
		t.Errorf("%+v", page)
	}
	if err := in.Keep(ctx, time.Time{}); err != nil {
		t.Error(err)
	}
}

// role makes a role that may log in and returns its name, the URL of a new database, and the same for the role.
func role(t *testing.T, suffix string) (name, owner, asRole string) {
	t.Helper()
	admin := pgtest.Connect(t, pgtest.Server(t).URLFor("postgres"))
	var drop string
	// Runs after the database is gone, and with it what the role was granted.
	t.Cleanup(func() { exec(t, pgtest.Connect(t, pgtest.Server(t).URLFor("postgres")), drop) })
	owner = pgtest.Database(t)
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	name = strings.TrimPrefix(u.Path, "/") + "_" + suffix
	drop = "DROP ROLE IF EXISTS " + name
	exec(t, admin, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
	u.User = url.UserPassword(name, "secret")
	return name, owner, u.String()
}

func second[T any](_ T, err error) error { return err }

// A keeper whose connections are cut goes on with new ones, and nothing is lost.
func TestTerminatedBackends(t *testing.T) {
	t.Parallel()
	_, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "ann")
	const cuts = 5
	for n := range cuts {
		exec(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		notify(t, conn, "k", "ann")
		if p := next(t, sub); p.Version != int64(n+1) || len(p.Added) != 1 {
			t.Fatalf("after cut %d: %+v", n, p)
		}
	}
	wantWhole(t, conn, "ann")
	if version := scan[int](t, conn, "SELECT version FROM trunkline.inbox"); version != cuts {
		t.Errorf("%d pushes", version)
	}
}

// A server that stops, or crashes, and comes back: what was notified before is placed, once.
func TestRestartedServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, nil)
	conn := pgtest.Connect(t, server.URL())
	if err := trunkline.Migrate(testContext(t), conn); err != nil {
		t.Fatal(err)
	}
	engine := startEngine(t, server.URL())
	in, _ := startInbox(t, engine)
	unread := 0
	for _, how := range []func() error{
		func() error { return server.Restart(testContext(t), "fast") },
		func() error {
			if err := server.Kill(); err != nil {
				return err
			}
			return server.StartAgain(testContext(t))
		},
	} {
		conn := pgtest.Connect(t, server.URL())
		// Committed, and perhaps placed, when the server goes.
		for range 50 {
			notify(t, conn, "k", "ann")
		}
		if err := how(); err != nil {
			t.Fatal(err)
		}
		conn = pgtest.Connect(t, server.URL())
		notify(t, conn, "k", "ann")
		unread += 51
		eventually(t, "all are placed", func() bool {
			return scan[int](t, conn, "SELECT coalesce((SELECT unread FROM trunkline.inbox WHERE user_id = 'ann'), 0)") == unread
		})
	}
	eventually(t, "nothing is pending", func() bool { return in.Stats().PendingSince.IsZero() })
	wantWhole(t, pgtest.Connect(t, server.URL()), "ann")
}

// wantWhole checks what the database holds of a user: seqs 1 to last, each once, and counts that are right.
func wantWhole(t *testing.T, conn *pgx.Conn, user string) {
	t.Helper()
	var placed, lowest, highest, last, unseen, unread, countedUnseen, countedUnread int64
	err := conn.QueryRow(testContext(t), `SELECT count(*), min(n.seq), max(n.seq), i.last_seq, i.unseen, i.unread,
			count(*) FILTER (WHERE n.seen_at IS NULL), count(*) FILTER (WHERE n.read_at IS NULL)
		FROM trunkline.notification n JOIN trunkline.inbox i USING (user_id) WHERE user_id = $1 GROUP BY i.user_id`, user).
		Scan(&placed, &lowest, &highest, &last, &unseen, &unread, &countedUnseen, &countedUnread)
	if err != nil {
		t.Fatal(err)
	}
	if lowest != 1 || highest != placed || last != placed || unseen != countedUnseen || unread != countedUnread {
		t.Errorf("%d placed from %d to %d, last %d; %d unseen, %d unread, counted %d and %d",
			placed, lowest, highest, last, unseen, unread, countedUnseen, countedUnread)
	}
}

// Whatever moment a notification commits at, the keeper hears of it: none waits for the look that is made now and then without a
// ring, which is an hour away here.
func TestNoRingIsMissed(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	in := newInbox(t, engine)
	in.SetWaits(0, 0, time.Hour)
	run(t, in)
	if err := in.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	for w := range 4 {
		user := fmt.Sprintf("user %d", w)
		own, sub := pgtest.Connect(t, url), pushesTo(t, engine, user)
		writing.Go(func() {
			for n := range 40 {
				if _, err := inbox.NotifyTx(testContext(t), own, inbox.Notification{Users: []string{user}, Kind: "k"}); err != nil {
					t.Error(err)
					return
				}
				if _, err := sub.Next(testContext(t)); err != nil {
					t.Errorf("number %d of %s: %v", n, user, err)
					return
				}
			}
		})
	}
	writing.Wait()
}

// What is published is durable, also where commits aren't flushed by default, and whatever the default isolation level is.
func TestPlacingIsDurable(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	exec(t, conn, `CREATE TABLE noted (flush text, isolation text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.noted VALUES (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
			RETURN NULL;
		END $$;
		CREATE TRIGGER note AFTER UPDATE ON trunkline.inbox FOR EACH STATEMENT EXECUTE FUNCTION note()`)
	name := conn.Config().Database
	exec(t, conn, "ALTER DATABASE "+name+" SET synchronous_commit = off")
	exec(t, conn, "ALTER DATABASE "+name+" SET default_transaction_isolation = 'serializable'")
	engine := startEngine(t, url)
	in, _ := startInbox(t, engine)
	sub := pushesTo(t, engine, "ann")
	for range 3 {
		if _, err := in.Notify(testContext(t), inbox.Notification{Users: []string{"ann"}, Kind: "k"}); err != nil {
			t.Fatal(err)
		}
		next(t, sub)
	}
	noted := scan[string](t, conn, "SELECT string_agg(DISTINCT flush || ', ' || isolation, '; ') FROM noted")
	if noted != "on, read committed" {
		t.Errorf("placed with %s", noted)
	}
	if c := mark(t, in, "ann", inbox.Mark{State: inbox.StateRead, UpToSeq: 3}); c.Unread != 0 {
		t.Errorf("%+v", c)
	}
}

// Where the node that sequences keeps no inboxes, another one does, after a moment once, and then at once.
func TestOnlyAFollowerKeeps(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	startEngine(t, url) // sequences
	follower := startEngine(t, url)
	in := newInbox(t, follower)
	in.SetWaits(0, time.Hour, time.Hour)
	stop := run(t, in)
	if err := in.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, url)
	sub := pushesTo(t, follower, "ann")
	const many = 20
	for n := range many {
		notify(t, conn, "k", "ann")
		if p := next(t, sub); p.Unread != n+1 {
			t.Fatalf("%+v", p)
		}
		if n == 0 {
			// From here on what it doesn't do at once it doesn't do within an hour.
			eventually(t, "the first is counted", func() bool { return in.Stats().Placed == 1 })
			stop()
			in.SetWaits(time.Hour, time.Hour, time.Hour)
			run(t, in)
		}
	}
	eventually(t, "the last is counted", func() bool { return in.Stats().Placed == many })
	if follower.State().Sequencing {
		t.Error("the follower sequences")
	}
}

// The node that sequences acts at once, and the other one leaves it to it.
func TestWhoSequencesActs(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	first := startEngine(t, url)
	firstIn := newInbox(t, first)
	second := startEngine(t, url)
	secondIn := newInbox(t, second)
	for _, in := range []*inbox.Inbox{firstIn, secondIn} {
		in.SetWaits(time.Hour, 0, time.Hour)
		run(t, in)
		if err := in.Ready(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	conn := pgtest.Connect(t, url)
	sub := pushesTo(t, second, "ann")
	const many = 50
	for n := range many {
		notify(t, conn, "k", "ann")
		if p := next(t, sub); p.Unread != n+1 {
			t.Fatalf("%+v", p)
		}
	}
	eventually(t, "the last is counted", func() bool { return firstIn.Stats().Placed+secondIn.Stats().Placed == many })
	if placed := secondIn.Stats().Placed; placed > 0 && second.Stats().Takeovers == 0 {
		t.Errorf("the other one has placed %d of %d", placed, many)
	}
}

// Two nodes share the work without doing anything twice, and when one goes the other one goes on.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	first := startEngine(t, url)
	firstIn, stopFirst := startInbox(t, first)
	second := startEngine(t, url)
	secondIn, _ := startInbox(t, second)
	conn := pgtest.Connect(t, url)
	sub := pushesTo(t, second, "ann")
	const many = 100
	want := 0
	more := func() {
		t.Helper()
		for range many {
			notify(t, conn, "k", "ann")
			want++
		}
		for p := next(t, sub); p.Unread != want; {
			p = next(t, sub)
		}
	}
	more()
	stopFirst() // it sequences still
	more()
	stopEngine(t, first)
	more()
	// What was committed when the first one was stopped, it may not have counted any more.
	if got := firstIn.Stats().Placed + secondIn.Stats().Placed; got > 3*many {
		t.Errorf("together they have placed %d of %d", got, 3*many)
	}
	wantWhole(t, conn, "ann")
}

// A node that is killed, or hangs, while it sequences and keeps: the other one takes over, and nothing is lost or done twice.
func TestKilledNode(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, signal func(syscall.Signal), kill func()){
		"killed": func(_ *testing.T, _ func(syscall.Signal), kill func()) { kill() },
		"hangs":  func(_ *testing.T, signal func(syscall.Signal), _ func()) { signal(syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			process, kill := startNodeProcess(t, url)
			engine := startEngine(t, url)
			in, _ := startInbox(t, engine)
			sub := pushesTo(t, engine, "ann")
			conn := pgtest.Connect(t, url)
			const many = 200
			for n := range many {
				notify(t, conn, "k", "ann")
				if n == many/2 {
					end(t, func(s syscall.Signal) {
						if err := process.Signal(s); err != nil {
							t.Fatal(err)
						}
					}, kill)
				}
			}
			version := int64(0)
			for {
				p := next(t, sub)
				if p.Version != version+1 {
					t.Errorf("version %d follows %d", p.Version, version)
				}
				if version = p.Version; p.Unread == many {
					break
				}
			}
			eventually(t, "the one that is left has placed something", func() bool { return in.Stats().Placed > 0 })
			wantWhole(t, conn, "ann")
		})
	}
}

// What can't be done in large batches is done in smaller ones.
func TestBatchesShrink(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	exec(t, conn, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT count(*) FROM fresh) > 40 THEN RAISE EXCEPTION 'too much at once'; END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER refuse AFTER UPDATE ON trunkline.notification REFERENCING NEW TABLE AS fresh
			FOR EACH STATEMENT EXECUTE FUNCTION refuse()`)
	for range 200 {
		notify(t, conn, "k", "ann")
	}
	in, _ := startInbox(t, startEngine(t, url))
	if s := in.Stats(); s.Placed != 200 || s.Failures == 0 {
		t.Errorf("%+v", s)
	}
}
