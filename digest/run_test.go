package digest

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/inbox"
)

// run runs a worker until the test ends.
func (w *world) run(worker *Worker) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	stopped := false
	stop = func() {
		w.Helper()
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				w.Errorf("run: %v", err)
			}
		}
	}
	w.Cleanup(stop)
	return stop
}

// awaitMails waits until so many mails came.
func (w *world) awaitMails(n int) []delivery {
	w.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got := w.box.all(); len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			w.Fatalf("still not %d mails, but %v", n, w.box.all())
		}
	}
}

// No look was called for by anything but the ring of what was notified, or the time at which the database says something is due: the
// fallback is an hour away.
func TestRunIsWokenByRingsAndByTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob")
	w.exec(`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "at_once"}}')`)
	w.exec("SELECT trunkline.kind('soon', delay => '3 s')")
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: w.url})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Stop(w.context()); err != nil {
			t.Error(err)
		}
	}()
	if err := engine.Start(w.context()); err != nil {
		t.Fatal(err)
	}
	box, err := inbox.New(engine, inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keeping, endKeeping := context.WithCancel(context.Background())
	kept := make(chan error, 1)
	go func() { kept <- box.Run(keeping) }()
	defer func() {
		endKeeping()
		if err := <-kept; err != nil {
			t.Error(err)
		}
	}()
	if err := box.Ready(w.context()); err != nil {
		t.Fatal(err)
	}
	stop := w.run(w.worker(func(o *Options) { o.Engine, o.Fallback = engine, time.Hour }))
	w.exec("SELECT trunkline.notify('ann', 'mention')")
	w.awaitMails(1)
	w.exec("SELECT trunkline.notify('bob', 'soon')")
	w.awaitMails(2)
	stop()
	if got := w.box.all(); got[0].user != "ann" || got[1].user != "bob" || len(got) != 2 {
		t.Errorf("mails: %v", got)
	}
	w.wantState("ann sent 1", "bob sent 1")
}

// Who is told to stop lets the mails that are under way end, and gives back those that don't.
func TestRunStopsInTimeAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob")
	ids := w.notify(note{user: "ann"}, note{user: "bob"})
	clock := noon.Add(4 * time.Hour)
	worker := w.worker(func(o *Options) {
		o.Grace, o.Now = 100*time.Millisecond, func() time.Time { return clock }
		o.Sender = stalling{w.box}
	})
	reached := make(chan struct{}, 2)
	worker.hook = func(_ context.Context, point string, _ int64) {
		if point == "rendered" {
			reached <- struct{}{}
		}
	}
	stop := w.run(worker)
	<-reached
	<-reached
	if _, err := worker.Once(w.context(), clock); !errors.Is(err, errRunning) {
		t.Errorf("once while it runs: %v", err)
	}
	stop()
	w.wantState("ann claimed 1", "bob claimed 1")
	if worker.Stats().ServerFailures != 0 {
		t.Error("being told to stop counts as the mail server's failure")
	}
	// At once: they were given back.
	w.mailed(w.worker(), clock, "ann: "+list(ids[0]), "bob: "+list(ids[1]))
}

// stalling waits for an answer that never comes.
type stalling struct{ *memory }

func (stalling) Send(ctx context.Context, _ mail.Envelope, _ func(context.Context) error) error {
	<-ctx.Done()
	return &mail.SendError{Step: "data", Blame: mail.BlameServer, Err: ctx.Err()}
}

func TestRunOutlivesTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	l := newLife()
	defer l.kill()
	pool := l.pool(t, w.url)
	defer pool.Close()
	clock := noon.Add(5 * time.Hour)
	worker := w.workerOn(pool, func(o *Options) { o.Fallback, o.Now = time.Second, func() time.Time { return clock } })
	stop := w.run(worker)
	defer stop()
	for n := range 3 {
		l.cut()
		w.notify(note{user: "ann", at: noon.Add(time.Duration(n) * time.Minute)})
		w.awaitMails(n + 1)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := Options{Renderer: plainRenderer{}, Sender: w.box}
	if _, err := New(w.pool, good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"Options.Renderer":                                    func(o *Options) { o.Renderer = nil },
		"Options.Sender":                                      func(o *Options) { o.Sender = nil },
		`Options.Uncertain is "never"`:                        func(o *Options) { o.Uncertain = "never" },
		`there is no time zone "Mars/Olympus"`:                func(o *Options) { o.Zone = "Mars/Olympus" },
		"Rules.DailyCap is 1001":                              func(o *Options) { o.Rules.DailyCap = 1001 },
		"Options.Concurrency is 1001":                         func(o *Options) { o.Concurrency = 1001 },
		"Options.Batch is -1":                                 func(o *Options) { o.Batch = -1 },
		"Options.TryTimeout is 1ms. Choose between 1s and 2h": func(o *Options) { o.TryTimeout = time.Millisecond },
		"Options.GiveUp is 1s":                                func(o *Options) { o.GiveUp = time.Second },
		"Options.AskTimeout is 1m0s":                          func(o *Options) { o.AskTimeout = time.Minute },
		"Options.Fallback is 1ms":                             func(o *Options) { o.Fallback = time.Millisecond },
		"Options.Grace is 1h0m0s":                             func(o *Options) { o.Grace = time.Hour },
		"Options.Keep is 1h0m0s":                              func(o *Options) { o.Keep = time.Hour },
	} {
		o := good
		change(&o)
		var argument *trunkline.ArgumentError
		if _, err := New(w.pool, o); !errors.As(err, &argument) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := New(nil, good); err == nil {
		t.Error("a worker without a pool")
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	now := noon
	worker := w.worker(func(o *Options) { o.Now = func() time.Time { return now } })
	why := func() *History {
		t.Helper()
		h, err := worker.Why(w.context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if h := why(); len(h.Decisions) != 0 || len(h.Mails) != 0 || h.Now.Decision != Nothing || h.LookAt != nil {
		t.Errorf("of nobody: %s", asJSON(h))
	}
	ids := w.notify(note{user: "ann"})
	due := noon.Add(4 * time.Hour)
	if h := why(); h.Now.Decision != Waiting || !deref(h.Now.NextAt).Equal(due) || !deref(h.LookAt).Equal(due) {
		t.Errorf("before it is due: %s", asJSON(h))
	}
	w.exec("UPDATE trunkline.recipient SET email = NULL")
	for day := range 3 {
		now = due.AddDate(0, 0, day)
		w.mailed(worker, now)
	}
	h := why()
	if len(h.Decisions) != 1 || h.Decisions[0].Decision != NoAddress || !h.Decisions[0].FirstAt.Equal(due) || !h.Decisions[0].At.Equal(now) {
		t.Errorf("the same decision three times: %s", asJSON(h))
	}
	w.user("ann")
	w.keep(noon)
	w.box.script(refuse(tempFail), nil)
	now = now.Add(time.Hour)
	w.mailed(worker, now)
	h = why()
	if len(h.Decisions) != 2 || h.Decisions[0].Decision != Mailed || len(h.Mails) != 1 || h.Mails[0].Phase != Claimed ||
		!cmp.Equal(h.Mails[0].Items, ids) || h.Mails[0].Reply != "data: 451 4.7.1 come back later" || h.Mails[0].NextAt == nil ||
		*h.Decisions[0].DigestID != h.Mails[0].ID || h.Now.Decision != Nothing {
		t.Errorf("while a mail is under way: %s", asJSON(h))
	}
	w.box.script(nil, nil)
	now = now.Add(time.Hour)
	w.mailed(worker, now, "ann: "+list(ids...))
	if h = why(); h.Mails[0].Phase != Sent || h.Mails[0].Attempts != 2 || h.Mails[0].NextAt != nil || !h.Mails[0].FinishedAt.Equal(now) {
		t.Errorf("after it was sent: %s", asJSON(h))
	}
}

// What is old is forgotten, and nothing is mailed again for it.
func TestForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	now := noon.Add(4 * time.Hour)
	worker := w.worker(func(o *Options) { o.Now = func() time.Time { return now } })
	w.mailed(worker, now, "ann: "+list(ids...))
	rows := func() int {
		return w.number(`SELECT (SELECT count(*) FROM trunkline.digest) + (SELECT count(*) FROM trunkline.digest_decision)
			+ (SELECT count(*) FROM trunkline.unsubscribe_token)`)
	}
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{89 * oneDay, 3}, {91 * oneDay, 1}, {401 * oneDay, 0}} {
		now = noon.Add(step.after)
		if err := newSleeper(worker).forget(w.context()); err != nil {
			t.Fatal(err)
		}
		if n := rows(); n != step.left {
			t.Errorf("after %v %d rows are left, want %d", step.after, n, step.left)
		}
	}
	w.mailed(worker, now)
}

// A role with grant_digest can do all of it; one without is told which grant it lacks.
func TestWorkerOfAGrantedRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var database string
	if err := w.pool.QueryRow(w.context(), "SELECT current_database()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	role := database + "_mailer"
	w.exec("CREATE ROLE " + role + " LOGIN PASSWORD 'secret'")
	t.Cleanup(func() { w.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "secret")
	l := newLife()
	pool := l.pool(t, u.String())
	defer pool.Close()
	worker := w.workerOn(pool)
	w.user("ann", "bob")
	w.exec(`CREATE SCHEMA app; CREATE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		SELECT trunkline.kind('asks', "authorize" => 'app.may')`)
	ids := w.notify(note{user: "ann"}, note{user: "bob", kind: "asks", group: "g"})
	at := noon.Add(4 * time.Hour)
	grant := "SELECT trunkline.grant_digest('" + role + "')"
	w.exec("GRANT USAGE ON SCHEMA trunkline TO " + role)
	var privilege *trunkline.PrivilegeError
	if _, err := worker.Once(w.context(), at); !errors.As(err, &privilege) || privilege.Grant != grant || !strings.Contains(err.Error(), grant) {
		t.Errorf("without the grant: %v", err)
	}
	if _, err := worker.Why(w.context(), "ann"); !errors.As(err, &privilege) {
		t.Errorf("why without the grant: %v", err)
	}
	w.exec(grant)
	w.mailed(worker, at, "ann: "+list(ids[0])) // it may not ask about bob
	w.exec("GRANT USAGE ON SCHEMA app TO " + role)
	w.mailed(worker, at.Add(time.Hour), "bob: "+list(ids[1]))
	if _, err := worker.Why(w.context(), "ann"); err != nil {
		t.Error(err)
	}
	if err := newSleeper(worker).forget(w.context()); err != nil {
		t.Error(err)
	}
	if _, err := worker.next(w.context(), at); err != nil {
		t.Error(err)
	}
}
