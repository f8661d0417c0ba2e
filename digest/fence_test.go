package digest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stopAt stops a worker the first time it is at a point, until it is let go on. Stopped is closed when it is there.
func stopAt(worker *Worker, point string) (stopped <-chan struct{}, goOn func()) {
	there, on := make(chan struct{}), make(chan struct{})
	var once sync.Once
	worker.hook = func(_ context.Context, at string, _ int64) {
		if at == point {
			once.Do(func() {
				close(there)
				<-on
			})
		}
	}
	return there, sync.OnceFunc(func() { close(on) })
}

// A worker that is stopped in the middle of a mail, as by SIGSTOP, until its lease has ended and another one has sent that mail, sends
// it no more. Only where the server had it already does it come twice, under one Message-ID.
func TestWorkersThatWereStoppedDontSendWhatOthersSent(t *testing.T) {
	t.Parallel()
	for point, want := range map[string]int{
		"looked": 1, "claimed": 1, "taken": 1, "leased": 1, "rendered": 1, "body sent": 1, "committed": 1, "answered": 2, "recorded": 1,
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.user("ann")
			ids := w.notify(note{user: "ann"})
			slow, other := w.worker(), w.worker()
			var late atomic.Int64
			slow.clock = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			stopped, goOn := stopAt(slow, point)
			defer goOn()
			at := noon.Add(4 * time.Hour)
			done := make(chan error, 1)
			go func() {
				_, err := slow.Once(w.context(), at)
				done <- err
			}()
			<-stopped
			late.Store(int64(slow.opts.TryTimeout + time.Second)) // its try is over by its own clock, too
			report := w.once(other, at.Add(30*time.Minute))
			if sent := point != "recorded"; sent != (len(report.Mails) == 1) {
				t.Errorf("the other one: %s", asJSON(report))
			}
			goOn()
			if err := <-done; err != nil {
				t.Error(err)
			}
			got := w.box.all()
			if len(got) != want {
				t.Fatalf("%d mails: %v", len(got), got)
			}
			for _, m := range got {
				if m.message != got[0].message || m.items != list(ids...) {
					t.Errorf("different mails: %v", got)
				}
			}
			if n := w.number("SELECT count(*) FROM trunkline.digest WHERE phase = 'sent'"); n != 1 {
				t.Errorf("state %v", w.state())
			}
			w.mailed(other, at.Add(48*time.Hour))
		})
	}
}

// Whoever hangs while it has users locked loses its session, and the inbox's keeper waits for nobody meanwhile.
func TestHungClaimLetsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	hung := w.worker()
	stopped, goOn := stopAt(hung, "decided")
	defer goOn()
	at := noon.Add(4 * time.Hour)
	done := make(chan error, 1)
	go func() {
		_, err := hung.Once(w.context(), at)
		done <- err
	}()
	<-stopped
	more := w.insert(note{user: "ann", at: noon.Add(time.Minute)})
	var placed int
	if err := w.pool.QueryRow(w.context(), "SELECT placed FROM trunkline.inbox_keep(100, $1)", noon).Scan(&placed); err != nil || placed != 1 {
		t.Fatalf("placed %d: %v", placed, err)
	}
	for w.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'") > 0 {
		time.Sleep(50 * time.Millisecond) // until the server has ended that session
	}
	w.keep(noon)
	w.mailed(w.worker(), at.Add(20*time.Minute), "ann: "+list(ids[0], more[0]))
	goOn()
	if err := <-done; err == nil {
		t.Error("the hung worker noticed nothing")
	}
	w.wantState("ann sent 1")
}

// Several workers at once share the work, and no notification is in two mails.
func TestWorkersShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const users = 120
	var names []string
	var notes []note
	for i := range users {
		names = append(names, fmt.Sprintf("user%03d", i))
		for range 3 {
			notes = append(notes, note{user: names[i]})
		}
	}
	w.user(names...)
	ids := w.notify(notes...)
	var want []string
	for i, name := range names {
		want = append(want, name+": "+list(ids[3*i:3*i+3]...))
	}
	at := noon.Add(4 * time.Hour)
	var running sync.WaitGroup
	sent := make([]int64, 4)
	for i := range sent {
		running.Go(func() {
			worker := w.worker(func(o *Options) { o.Batch, o.Concurrency = 7, 3 })
			if _, err := worker.Once(w.context(), at); err != nil {
				t.Error(err)
			}
			sent[i] = worker.Stats().Sent
		})
	}
	running.Wait()
	// Should somebody have held what another one looked for: for a second or more, and it is looked for again in an hour.
	w.once(w.worker(), at.Add(2*lookHourly))
	var got []string
	for _, m := range w.box.all() {
		got = append(got, m.String())
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	t.Logf("shares: %v", sent)
}

// A transaction of the application's that stays open with a user's notification or recipient locked holds up nobody.
func TestLocksOfOthersHoldUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob", "cid")
	ids := w.notify(note{user: "ann"}, note{user: "ann"}, note{user: "bob"}, note{user: "cid"})
	tx, err := w.pool.Begin(w.context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		fmt.Sprintf("UPDATE trunkline.notification SET seen_at = now(), read_at = now() WHERE id = %d", ids[0]),
		"UPDATE trunkline.recipient SET active_at = now() WHERE user_id = 'bob'",
		"SELECT trunkline.set_preferences('ann', '{\"default\": {\"mail\": \"never\"}}')",
		"SELECT FROM trunkline.digest_due WHERE user_id = 'cid' FOR UPDATE",
	} {
		if _, err := tx.Exec(w.context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	worker := w.worker()
	at := noon.Add(4 * time.Hour)
	w.mailed(worker, at, "ann: "+list(ids[1]), "bob: "+list(ids[2]))
	// A bounce meets the lock as well, and counts when that is gone.
	more := w.notify(note{user: "bob", at: at})
	w.box.script(refuse(noSuchUser), nil)
	w.mailed(worker, at.Add(4*time.Hour))
	bounces := func() int { return w.number("SELECT bounces::integer FROM trunkline.recipient WHERE user_id = 'bob'") }
	if bounces() != 0 {
		t.Error("the bounce was counted in spite of the lock")
	}
	if err := tx.Rollback(w.context()); err != nil {
		t.Fatal(err)
	}
	w.box.script(nil, nil)
	w.mailed(worker, at.Add(5*time.Hour), "ann: "+list(ids[0]), "cid: "+list(ids[3]))
	if bounces() != 1 {
		t.Error("the bounce was forgotten")
	}
	w.mailed(worker, at.Add(28*time.Hour), "bob: "+list(more...))
}

// A failing database ends a pass, and loses nothing.
func TestDatabaseFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob")
	ids := w.notify(note{user: "ann"}, note{user: "bob"})
	at := noon.Add(4 * time.Hour)
	// Whoever can't be looked at is one user's trouble.
	w.exec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON trunkline.digest FOR EACH ROW WHEN (NEW.user_id = 'ann') EXECUTE FUNCTION public.refuse()`)
	worker := w.worker()
	w.mailed(worker, at, "bob: "+list(ids[1]))
	w.decided("ann", LookFailed, at.Add(time.Hour))
	w.exec("DROP TRIGGER refuse ON trunkline.digest")

	// A database that goes away after the server has taken the mail: the outcome is written when it is back.
	l := newLife()
	defer l.kill()
	pool := l.pool(t, w.url)
	defer pool.Close()
	worker = w.workerOn(pool)
	worker.hook = func(_ context.Context, point string, _ int64) {
		if point == "answered" {
			l.cut()
		}
	}
	_, _ = worker.Once(w.context(), at.Add(time.Hour)) // what comes after it may meet a broken connection
	if got := w.box.all(); len(got) != 2 || got[1].String() != "ann: "+list(ids[0]) {
		t.Errorf("mails: %v", got)
	}
	w.wantState("ann sent 1", "bob sent 1")

	ended, end := context.WithCancel(w.context())
	end()
	if _, err := worker.Once(ended, at); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// A mail whose commit can't be written isn't sent.
func TestNoDotWithoutCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	worker := w.worker()
	w.exec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE ON trunkline.digest FOR EACH ROW WHEN (NEW.phase = 'data_sent') EXECUTE FUNCTION public.refuse()`)
	at := noon.Add(4 * time.Hour)
	report := w.mailed(worker, at)
	if m := report.Mails; len(m) != 1 || m[0].Reply != "the database couldn't be told that the mail goes out: the disk is full" {
		t.Error(asJSON(report))
	}
	w.wantState("ann claimed 1")
	if worker.Stats().ServerFailures != 0 {
		t.Error("that was the mail server's fault")
	}
	w.exec("DROP TRIGGER refuse ON trunkline.digest")
	w.mailed(worker, at.Add(time.Hour), "ann: "+list(ids...))
}
