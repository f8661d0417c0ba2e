package trunkline_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// A ledger holds what was given out: a position of an epoch may never name two messages.
type ledger map[trunkline.Position]string

func (l ledger) add(t *testing.T, messages ...trunkline.Message) {
	t.Helper()
	for _, m := range messages {
		if before, ok := l[m.LogPosition()]; ok && before != string(m.Payload) {
			t.Errorf("position %s named %s and names %s", m.LogPosition(), before, m.Payload)
		}
		l[m.LogPosition()] = string(m.Payload)
	}
}

// wantRefused checks that a position of an ended epoch can't be resumed.
func wantRefused(t *testing.T, engine *trunkline.Engine, old trunkline.Message) {
	t.Helper()
	for _, from := range []trunkline.Start{trunkline.Since(old.LogPosition()), trunkline.FromOffset(old.Offset())} {
		ctx := testContext(t)
		sub, err := engine.Subscribe(ctx, []string{old.Channel}, trunkline.SubscribeOptions{From: from})
		if err == nil {
			_, err = sub.Next(ctx)
			sub.Close()
		}
		var ended *trunkline.EpochError
		if !errors.As(err, &ended) || ended.Given != old.Epoch || ended.Current == old.Epoch {
			t.Errorf("resuming at %s: %v", old.LogPosition(), err)
		}
	}
}

// A past is a database with messages, some of them sequenced.
type past struct {
	url      string
	payloads []string
	last     trunkline.Message // the last one delivered
	ledger   ledger
	era      int
}

// livePast makes a database in which 30 messages were sequenced and 20 more were published while no node ran.
func livePast(t *testing.T, url string) *past {
	t.Helper()
	p := &past{url: url, ledger: ledger{}}
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "a", "b", "c")
	p.publish(t, conn, 30)
	got := next(t, sub, 30)
	p.ledger.add(t, got...)
	p.last = got[29]
	if err := engine.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	nobodyRuns(t, conn)
	p.publish(t, conn, 20)
	p.era = scan[int](t, conn, "SELECT trunkline.default_era()")
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.log"); n != 30 {
		t.Fatalf("%d messages are sequenced, want 30", n)
	}
	if err := conn.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

// nobodyRuns waits until the server has ended the sessions of nodes that were stopped: what they did last may still be under way.
func nobodyRuns(t testing.TB, db trunkline.Tx) {
	t.Helper()
	eventually(t, "the nodes' sessions have ended", func() bool {
		return scan[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'trunkline%'") == 0
	})
}

func (p *past) publish(t *testing.T, db trunkline.Tx, n int) {
	t.Helper()
	for range n {
		payload := numbered(len(p.payloads))
		publish(t, db, []string{"a", "b", "c"}[len(p.payloads)%3], payload)
		p.payloads = append(p.payloads, payload)
	}
}

// wantWhole checks, on a copy that no node has run on, that every message is sequenced once, in a new epoch, and that old
// positions are refused.
func (p *past) wantWhole(t *testing.T, url string, newEra bool) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	p.publish(t, conn, 10) // before the first node
	engine := startEngine(t, url)
	p.publish(t, conn, 10)
	got := next(t, subscribe(t, engine, trunkline.FromBeginning(), "a", "b", "c"), len(p.payloads))
	p.ledger.add(t, got...)
	wantOnceEach(t, conn, p.payloads)
	if epoch := engine.State().Log.Epoch; epoch == p.last.Epoch {
		t.Errorf("the copy goes on in epoch %s", epoch)
	}
	wantRefused(t, engine, p.last)
	if era := scan[int](t, conn, "SELECT trunkline.default_era()"); (era > p.era) != newEra {
		t.Errorf("era %d, before %d", era, p.era)
	}
	if scan[bool](t, conn, "SELECT old_eras FROM trunkline.state") {
		t.Error("earlier eras are still waited for")
	}
	// And the new life is as steady as the old one was.
	if err := engine.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	nobodyRuns(t, conn)
	p.publish(t, conn, 5)
	again := startEngine(t, url)
	p.ledger.add(t, next(t, subscribe(t, again, trunkline.Since(got[len(got)-1].LogPosition()), "a", "b", "c"), 5)...)
	wantOnceEach(t, conn, p.payloads)
}

func TestDumpAndRestore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		into func(t *testing.T, from string) string // makes the empty database to restore into
	}{
		{"into another cluster", func(t *testing.T, _ string) string {
			server := pgtest.Cluster(t, nil)
			exec(t, pgtest.Connect(t, server.URL()), "CREATE DATABASE restored")
			return server.URLFor("restored")
		}},
		{"into the same cluster under another name", func(t *testing.T, _ string) string { return pgtest.EmptyDatabase(t) }},
		{"over itself", func(t *testing.T, from string) string {
			admin := pgtest.Connect(t, pgtest.Server(t).URLFor("postgres"))
			name := databaseOf(t, from)
			exec(t, admin, "DROP DATABASE "+name+" WITH (FORCE)")
			exec(t, admin, "CREATE DATABASE "+name)
			return from
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := livePast(t, pgtest.Database(t))
			dump := filepath.Join(t.TempDir(), "dump.sql")
			run(t, program(t, "pg_dump"), "--file", dump, p.url)
			to := test.into(t, p.url)
			run(t, program(t, "psql"), "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--output", os.DevNull, "--file", dump, to)
			p.wantWhole(t, to, true)
		})
	}
}

func TestTemplateCopy(t *testing.T) {
	t.Parallel()
	p := livePast(t, pgtest.Database(t))
	copied := databaseOf(t, p.url) + "_copy"
	server := pgtest.Server(t)
	admin := pgtest.Connect(t, server.URLFor("postgres"))
	exec(t, admin, "CREATE DATABASE "+copied+" TEMPLATE "+databaseOf(t, p.url))
	t.Cleanup(func() { exec(t, admin, "DROP DATABASE "+copied+" WITH (FORCE)") })
	url, last := p.url, p.last
	p.wantWhole(t, server.URLFor(copied), true)

	// The original is what it was.
	engine := startEngine(t, url)
	got := next(t, subscribe(t, engine, trunkline.Since(last.LogPosition()), "a", "b", "c"), 20)
	if got[0].Epoch != last.Epoch || got[0].Position != last.Position+1 {
		t.Errorf("the original goes on at %s after %s", got[0].LogPosition(), last.LogPosition())
	}
}

// A standby that was promoted, and a copy of the files taken while the server ran: both may be behind what clients have
// seen, and both would hand out the same positions again.
func TestOlderPhysicalCopies(t *testing.T) {
	t.Parallel()
	primary := pgtest.Cluster(t, nil)
	p := livePast(t, primary.URL())
	conn := pgtest.Connect(t, primary.URL())
	copyOf := func(name string) (dir string) {
		dir = filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(primary.DataDir()))), filepath.Base(t.TempDir())+"-"+name)
		takeBackup(t, primary, dir)
		return dir
	}
	promoted, cold := copyOf("promoted"), copyOf("copy")

	// What the copies don't have: the same positions are given out here, too.
	engine := startEngine(t, primary.URL())
	ahead := *p
	ahead.payloads = append([]string(nil), p.payloads...)
	sub := subscribe(t, engine, trunkline.Since(p.last.LogPosition()), "a", "b", "c")
	p.ledger.add(t, next(t, sub, 20)...)
	for i := range 10 {
		publish(t, conn, "a", fmt.Sprintf(`"only here %d"`, i))
	}
	got := next(t, sub, 10)
	p.ledger.add(t, got...)
	p.last = got[9]

	for _, test := range []struct {
		name, dir string
		promote   bool
	}{{"promoted", promoted, true}, {"copied", cold, false}} {
		t.Run(test.name, func(t *testing.T) {
			one := *p
			one.payloads = append([]string(nil), ahead.payloads...)
			if test.promote {
				if err := os.WriteFile(filepath.Join(test.dir, "postgres", "data", "standby.signal"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			server, err := localpg.Start(testContext(t), localpg.Config{Dir: test.dir, BinDir: primary.BinDir(), Settings: map[string]string{"fsync": "off", "max_prepared_transactions": "20", "max_connections": "300"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { remove(t, server, test.dir) })
			if test.promote {
				standby := pgtest.Connect(t, server.URL())
				// While it is a standby an engine can't start on it, and says why.
				if e, err := trunkline.New(trunkline.Config{DatabaseURL: server.URL()}); err != nil {
					t.Error(err)
				} else {
					ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
					if err := e.Start(ctx); err == nil {
						t.Error("an engine started on a standby")
					} else {
						t.Log(err)
					}
					cancel()
					if err := e.Stop(testContext(t)); err != nil {
						t.Error(err)
					}
				}
				exec(t, standby, "SELECT pg_promote()")
				eventually(t, "it is promoted", func() bool { return !scan[bool](t, standby, "SELECT pg_is_in_recovery()") })
			}
			one.wantWhole(t, server.URL(), false) // xids go on where they were
		})
	}
}

func TestEpochLastsAcrossOrderlyRestarts(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, nil)
	p := livePast(t, server.URL())
	if err := server.Restart(testContext(t), "fast"); err != nil {
		t.Fatal(err)
	}
	engine := startEngine(t, server.URL())
	got := next(t, subscribe(t, engine, trunkline.Since(p.last.LogPosition()), "a", "b", "c"), 20)
	if got[0].Epoch != p.last.Epoch || got[0].Position != p.last.Position+1 {
		t.Errorf("it goes on at %s after %s", got[0].LogPosition(), p.last.LogPosition())
	}
	// A node of its own process, too, that only heard.
	p.ledger.add(t, got...)
	wantOnceEach(t, pgtest.Connect(t, server.URL()), p.payloads)
}

// Crashes of PostgreSQL, one after the other on one server whose WAL writer sleeps: what wasn't flushed by a commit is
// lost with the crash, as the log's rows are, which are committed asynchronously.
func TestCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, map[string]string{"wal_writer_delay": "10s", "autovacuum": "off", "bgwriter_lru_maxpages": "0", "checkpoint_timeout": "1h"})
	database := func(t *testing.T, name string) string {
		t.Helper()
		exec(t, pgtest.Connect(t, server.URLFor("postgres")), "CREATE DATABASE "+name)
		return server.URLFor(name)
	}
	crash := func(t *testing.T, meanwhile ...func()) {
		t.Helper()
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, f := range meanwhile {
			f()
		}
		if err := server.StartAgain(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	publishAll := func(t *testing.T, url string, first, n int) {
		t.Helper()
		tx := begin(t, url)
		for i := range n {
			publish(t, tx, "c", numbered(first+i))
		}
		if err := tx.Commit(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	ended := func(t *testing.T, sub *trunkline.Subscription, epoch string) {
		t.Helper()
		_, err := sub.Next(testContext(t))
		var e *trunkline.EpochError
		if !errors.As(err, &e) || e.Given != epoch || e.Current == epoch {
			t.Errorf("the subscription ended with %v", err)
		}
	}
	want := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = numbered(i)
		}
		return all
	}

	// vouches reports whether no crash met a step under way: its outcome is unknown then, and an epoch rightly begins.
	vouches := func(t *testing.T, url string) bool {
		t.Helper()
		engine := startEngine(t, url)
		sub := subscribe(t, engine, trunkline.FromNow(), "c")
		publishAll(t, url, 0, 50)
		next(t, sub, 50)
		epoch := engine.State().Log.Epoch
		for n := 50; n < 70; n += 10 { // the second time the life row that it wrote itself is gone
			takeovers := engine.Stats().Takeovers
			exec(t, pgtest.Connect(t, url), "CHECKPOINT") // flushes the log's rows
			asleep(t, engine)
			crash(t)
			eventually(t, "it sequences again", func() bool { return engine.Stats().Takeovers > takeovers && engine.State().Sequencing })
			if trunkline.Unsure(engine) > 0 {
				return false
			}
			publishAll(t, url, n, 10)
			wantSeqs(t, next(t, sub, 10), int64(n+1))
			if now := engine.State().Log.Epoch; now != epoch {
				t.Errorf("epoch %s, then %s", epoch, now)
			}
		}
		wantOnceEach(t, pgtest.Connect(t, url), want(70))
		return true
	}
	t.Run("a sequencer that finds its last row vouches", func(t *testing.T) {
		for i := range 30 {
			if vouches(t, database(t, fmt.Sprintf("vouched_%d", i))) {
				return
			}
		}
		t.Error("each crash met a step under way, of a sequencer that slept")
	})

	t.Run("a sequencer that misses rows does not", func(t *testing.T) {
		url := database(t, "lost")
		engine := startEngine(t, url)
		ledger := ledger{}
		sub := subscribe(t, engine, trunkline.FromNow(), "c")
		var got []trunkline.Message
		var n int
		for {
			publishAll(t, url, n, 50)
			got = next(t, sub, 50)
			ledger.add(t, got...)
			crash(t)
			publishAll(t, url, n+50, 10)
			n += 60
			m, err := sub.Next(testContext(t))
			var e *trunkline.EpochError
			if errors.As(err, &e) && e.Given == got[0].Epoch && e.Current != e.Given {
				break
			}
			if err != nil {
				t.Fatalf("the subscription ended with %v", err)
			}
			// The WAL writer, or a commit of the node itself, was quicker than the crash: nothing was lost.
			ledger.add(t, m)
			ledger.add(t, next(t, sub, 9)...)
			if n > 1000 {
				t.Fatal("no crash takes the end of the log")
			}
		}
		fresh := next(t, subscribe(t, engine, trunkline.FromBeginning(), "c"), n)
		wantSeqs(t, fresh, 1)
		ledger.add(t, fresh...)
		wantRefused(t, engine, got[49])
		wantOnceEach(t, pgtest.Connect(t, url), want(n))
	})

	t.Run("the sequencer dies with it", func(t *testing.T) {
		for _, flushed := range []bool{false, true} {
			t.Run(fmt.Sprintf("flushed %v", flushed), func(t *testing.T) {
				url := database(t, fmt.Sprintf("together_%v", flushed))
				node := startNode(t, url, "c")
				follower := startEngine(t, url)
				leads(t, url, "the node", func() bool { return !follower.State().Sequencing })
				ledger := ledger{}
				sub := subscribe(t, follower, trunkline.FromNow(), "c")
				publishAll(t, url, 0, 50)
				got := next(t, sub, 50)
				ledger.add(t, got...)
				node.next(50)
				if flushed {
					exec(t, pgtest.Connect(t, url), "CHECKPOINT")
				}
				leads(t, url, "the node", func() bool { return !follower.State().Sequencing })
				crash(t, node.end) // before the server is back: nobody takes over from it meanwhile
				ended(t, sub, got[0].Epoch)
				publishAll(t, url, 50, 10)
				fresh := next(t, subscribe(t, follower, trunkline.FromBeginning(), "c"), 60)
				wantSeqs(t, fresh, 1)
				ledger.add(t, fresh...)
				wantRefused(t, follower, got[49])
				wantOnceEach(t, pgtest.Connect(t, url), want(60))
			})
		}
	})
}

// The owner ends an epoch by hand, where nothing inside could tell.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	nodes := []*trunkline.Engine{startEngine(t, url), startEngine(t, url)}
	conn := pgtest.Connect(t, url)
	sub := subscribe(t, nodes[1], trunkline.FromNow(), "c")
	publish(t, conn, "c", numbered(0))
	old := next(t, sub, 1)[0]
	exec(t, conn, "SELECT trunkline.new_epoch()")
	_, err := sub.Next(testContext(t))
	var ended *trunkline.EpochError
	if !errors.As(err, &ended) || ended.Given != old.Epoch {
		t.Errorf("the subscription ended with %v", err)
	}
	publish(t, conn, "c", numbered(1))
	for _, node := range nodes {
		eventually(t, "the node is in the new epoch", func() bool { return node.State().Log.Epoch == ended.Current })
		wantSeqs(t, next(t, subscribe(t, node, trunkline.FromBeginning(), "c"), 2), 1)
		wantRefused(t, node, old)
	}
	wantOnceEach(t, conn, []string{numbered(0), numbered(1)})
}

// asleep waits until the sequencer sleeps and has just looked: for most of a second it sends no step of its own accord, so
// that a crash now meets none whose outcome would be unknown.
func asleep(t *testing.T, engine *trunkline.Engine) {
	t.Helper()
	steps := engine.Stats().Steps
	var since time.Time // when the last step was seen; zero before the first
	eventually(t, "the sequencer sleeps", func() bool {
		s := engine.Stats()
		if s.Steps != steps || s.Dozes <= s.Wakes {
			steps, since = s.Steps, time.Now()
		}
		quiet := time.Since(since)
		return engine.State().Sequencing && !since.IsZero() && quiet > 100*time.Millisecond && quiet < 300*time.Millisecond
	})
}

// remove ends a server and removes its folder.
func remove(t *testing.T, server *localpg.Server, dir string) {
	t.Helper()
	if err := server.Release(); err != nil {
		t.Error(err)
	}
	if err := localpg.Remove(testContext(t), dir); err != nil {
		t.Error(err)
	}
}

// takeBackup makes dir a folder of localpg's with a copy of a running server's files.
func takeBackup(t *testing.T, server *localpg.Server, dir string) {
	t.Helper()
	data := filepath.Join(dir, "postgres", "data")
	if err := os.MkdirAll(filepath.Dir(data), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, program(t, "pg_basebackup"), "--dbname", server.URL(), "--pgdata", data, "--checkpoint", "fast", "--wal-method", "stream", "--no-sync")
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// To the user that runs the server.
	info, err := os.Stat(server.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return
	}
	err = filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// program finds one of PostgreSQL's client programs, not older than the shared server.
func program(t *testing.T, name string) string {
	t.Helper()
	server := pgtest.Server(t)
	path := filepath.Join(server.BinDir(), name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	path, err := osexec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s beside the server or on the PATH", name)
	}
	out, err := osexec.Command(path, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(out)) // pg_dump (PostgreSQL) 17.2 (…)
	var major int
	if len(words) > 2 {
		_, _ = fmt.Sscanf(words[2], "%d", &major)
	}
	if major < server.Major() {
		t.Skipf("%s is of version %d, older than the server's %d", path, major, server.Major())
	}
	return path
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := osexec.CommandContext(testContext(t), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

func databaseOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}
