package digest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
	"github.com/trunkline/trunkline/internal/smtptest"
)

var (
	crashes   = flag.Int("digest.crashes", 240, "how many crashes TestCrashes makes")
	crashSeed = flag.Uint64("digest.seed", 0, "seed of the first crash; 0: the time")
)

// points are where a worker can be killed from inside.
var points = []string{"looked", "decided", "claimed", "taken", "leased", "rendered", "body sent", "committed", "answered", "recorded"}

var stages = []stage{onConnect, onMail, onRcpt, onData, onText, onDot, behindDot, onAnswer, afterAnswer}

// A fate is what happens to a worker, where, and the how-manieth time it gets there.
type fate struct {
	where string // a point or stage; "": nothing happens
	nth   int
	pause bool // stopped there until all others are done, instead of killed
}

func (f fate) String() string {
	switch {
	case f.where == "":
		return "lives"
	case f.pause:
		return fmt.Sprintf("pauses at %s %d", f.where, f.nth)
	}
	return fmt.Sprintf("is killed at %s %d", f.where, f.nth)
}

func someFate(random *rand.Rand, stop bool) fate {
	f := fate{nth: 1 + random.IntN(3), pause: stop && random.IntN(5) == 0}
	if i := random.IntN(len(points) + len(stages)); i < len(points) {
		f.where = points[i]
		// Stopped there it would hold locks, until the server ends its session after five seconds: see TestHungClaimLetsGo.
		f.pause = f.pause && f.where != "decided"
	} else {
		f.where, f.pause = string(stages[i-len(points)]), false
	}
	return f
}

// A victim is a worker with a fate.
type victim struct {
	fate   fate
	life   *life
	worker *Worker
	resume chan struct{} // closed when it may go on from its pause
	done   chan struct{}
	stop   context.CancelFunc

	mu  sync.Mutex
	got map[string]int
}

// reach is called at every point and stage.
func (v *victim) reach(where string) {
	v.mu.Lock()
	v.got[where]++
	hit := v.fate.where == where && v.got[where] == v.fate.nth
	v.mu.Unlock()
	switch {
	case !hit:
	case v.fate.pause:
		<-v.resume
	default:
		v.life.kill()
		v.stop()
	}
}

// start has a worker make a pass, and its fate meet it.
func (w *world) start(server *smtptest.Server, f fate, at time.Time, random *rand.Rand) *victim {
	v := &victim{fate: f, life: newLife(), resume: make(chan struct{}), done: make(chan struct{}), got: map[string]int{}}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	v.stop = stop
	pool := v.life.pool(w, w.url)
	connections := 1 + random.IntN(3)
	v.worker = w.workerOn(pool, func(o *Options) {
		o.Sender = v.life.sender(w, server, connections, func(s stage) { v.reach(string(s)) })
		o.Concurrency, o.Batch, o.Grace = 1+random.IntN(4), 1+random.IntN(3), 10*time.Millisecond
		o.Uncertain = Resend
	})
	v.worker.hook = func(_ context.Context, point string, _ int64) { v.reach(point) }
	go func() {
		defer close(v.done)
		_, _ = v.worker.Once(ctx, at) // a killed one fails
		stop()
		pool.Close()
	}()
	return v
}

// awaitEnd waits until a worker has ended, and the server has noticed: until then what it had locked is locked.
func (w *world) awaitEnd(v *victim) {
	w.Helper()
	<-v.done
	w.awaitNobody(v.life.name)
}

// awaitNobody waits until the server has ended the sessions of a name in this database.
func (w *world) awaitNobody(name string) {
	w.Helper()
	for deadline := time.Now().Add(patience); w.number(
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1", name) > 0; {
		if time.Now().After(deadline) {
			w.Fatalf("the sessions of %s are still there", name)
		}
		time.Sleep(time.Millisecond)
	}
}

// faults of a mail server while workers live and die.
func someFault(random *rand.Rand, server *smtptest.Server) string {
	steps := []smtptest.Step{
		smtptest.Connect, smtptest.Hello, smtptest.MailFrom, smtptest.Rcpt, smtptest.Data, smtptest.Body, smtptest.Dot, smtptest.Reset, smtptest.Quit,
	}
	step := steps[random.IntN(len(steps))]
	rule := smtptest.Rule{Step: step, Skip: random.IntN(3), Times: 1 + random.IntN(3), After: 1}
	var fault smtptest.Fault
	var name string
	switch i := random.IntN(12); {
	case i < 3:
		fault, name = smtptest.Answer("451 4.7.1 come back later"), "451"
	case i < 6:
		fault, name = smtptest.Answer("550 5.7.1 no"), "550"
	case i < 7:
		fault, name = smtptest.Answer("421 4.3.2 going down"), "421"
	case i < 9:
		fault, name = smtptest.Close(), "close"
	case i < 11:
		rule.Step = smtptest.Dot
		fault, name = smtptest.Close().Kept(), "take and close"
	default:
		fault, name = smtptest.Stall(), "stall"
	}
	server.On(rule, fault)
	return fmt.Sprintf("%s at %s, %d times after %d", name, rule.Step, rule.Times, rule.Skip)
}

// Whatever kills workers, at whatever point, and whatever the mail server does: no notification that stays unread is lost, none is
// mailed under two Message-IDs, and only a mail that broke off behind its final dot can come twice.
func TestCrashes(t *testing.T) {
	t.Parallel()
	const worlds = 4
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for i := range worlds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			server := smtptest.Start(t, smtptest.Config{})
			began := time.Now()
			at := noon
			var c census
			for n := i; n < *crashes && !t.Failed(); n += worlds {
				at = w.crash(server, seed+uint64(n), at, &c)
			}
			t.Logf("%v; %v", c, time.Since(began).Round(time.Millisecond))
			if t.Failed() {
				t.Logf("repeat with -digest.crashes=1 -digest.seed=N")
			}
		})
	}
}

// A census counts what crashes led to.
type census struct{ crashes, died, mails, doubles, uncertain, retried, bounced, failed int }

// crash makes one case, and checks it. It returns when the next one may begin.
func (w *world) crash(server *smtptest.Server, seed uint64, at time.Time, c *census) time.Time {
	w.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	prefix := fmt.Sprintf("u%d-%d-", seed, c.crashes)
	c.crashes++
	var users []string
	for i := range 2 + random.IntN(4) {
		users = append(users, fmt.Sprintf("%s%d", prefix, i))
	}
	w.user(users...)
	notes := map[string][]int64{}
	var list []note
	for _, user := range users {
		for range 1 + random.IntN(3) {
			list = append(list, note{user: user, at: at})
		}
	}
	for i, id := range w.notify(list...) {
		notes[list[i].user] = append(notes[list[i].user], id)
	}
	due := at.Add(4 * time.Hour)
	var faults []string
	for range random.IntN(3) {
		faults = append(faults, someFault(random, server))
	}
	taken := len(server.Mails())

	// Workers at the same time, or one after the other.
	var victims []*victim
	together := random.IntN(2) == 0
	when := due
	for i := range 1 + random.IntN(3) {
		v := w.start(server, someFate(random, i == 0), when, random)
		victims = append(victims, v)
		if !together && !v.fate.pause {
			w.awaitEnd(v)
			when = when.Add(20 * time.Minute)
		}
	}
	for _, v := range victims {
		if !v.fate.pause {
			w.awaitEnd(v)
		}
	}
	// Somebody reads something meanwhile. It may have been mailed by then.
	read := map[int64]bool{}
	if random.IntN(3) == 0 {
		id := notes[users[0]][0]
		w.exec("SELECT trunkline.mark($1, 'read', ids => ARRAY[$2::bigint])", users[0], id)
		read[id] = true
	}
	server.Clear()
	end := w.recover(server, prefix, when)
	paused := false
	for _, v := range victims {
		paused = paused || v.fate.pause
		close(v.resume)
		w.awaitEnd(v)
	}
	if paused { // it may have had something left to do, and nobody knows better
		end = w.recover(server, prefix, end.Add(20*time.Minute))
	}

	what := fmt.Sprintf("seed %d: %v, faults %v, together %v", seed, fates(victims), faults, together)
	w.judge(what, prefix, server.Mails()[taken:], notes, read, c)
	for _, v := range victims {
		select {
		case <-v.life.ended:
			c.died++
		default:
		}
		v.life.kill()
	}
	return end.Add(24 * time.Hour)
}

func fates(victims []*victim) []fate {
	var list []fate
	for _, v := range victims {
		list = append(list, v.fate)
	}
	return list
}

// recover lets a worker that nothing happens to do what is left.
func (w *world) recover(server *smtptest.Server, prefix string, at time.Time) time.Time {
	w.Helper()
	l := newLife()
	defer l.kill()
	worker := w.worker(func(o *Options) { o.Sender = l.sender(w, server, 4, nil) })
	for range 40 {
		at = at.Add(20 * time.Minute)
		w.once(worker, at)
		if w.number(`SELECT (SELECT count(*) FROM trunkline.digest WHERE next_at IS NOT NULL OR loose IS NOT NULL OR again_at IS NOT NULL)
			+ (SELECT count(*) FROM trunkline.digest_due)`) == 0 {
			return at
		}
		if w.number("SELECT count(*) FROM trunkline.digest WHERE next_at IS NOT NULL") == 0 {
			at = at.Add(24 * time.Hour) // whoever bounced is looked at in a day
		}
	}
	w.Fatalf("%s: it comes to no end: %v", prefix, w.column(`SELECT row_to_json(g)::text FROM trunkline.digest g WHERE next_at IS NOT NULL
		UNION ALL SELECT row_to_json(d)::text FROM trunkline.digest_due d`))
	return at
}

// judge compares what the mail server has with what it should have.
func (w *world) judge(what, prefix string, mails []smtptest.Mail, notes map[string][]int64, read map[int64]bool, c *census) {
	w.Helper()
	type digest struct {
		phase     Phase
		attempts  int
		uncertain bool
	}
	digests := map[string]digest{}
	rows, err := w.pool.Query(w.context(), "SELECT '<' || message_id || '>', phase, attempt, uncertain FROM trunkline.digest WHERE user_id LIKE $1 || '%'", prefix)
	if err != nil {
		w.Fatal(err)
	}
	for rows.Next() {
		var id string
		var d digest
		if err := rows.Scan(&id, &d.phase, &d.attempts, &d.uncertain); err != nil {
			w.Fatal(err)
		}
		digests[id] = d
	}
	if err := rows.Err(); err != nil {
		w.Fatal(err)
	}
	copies := map[string]int{}
	carriers := map[int64]map[string]bool{} // Message-IDs that a notification was mailed under
	for _, m := range mails {
		d := readDelivery(m.To[0], m.Data)
		copies[d.message]++
		for text := range strings.SplitSeq(d.items, ", ") {
			var id int64
			if _, err := fmt.Sscan(text, &id); err != nil || !slices.Contains(notes[d.user], id) {
				w.Errorf("%s: a mail to %s has notification %q, which isn't %s's", what, d.to, text, d.user)
			}
			if carriers[id] == nil {
				carriers[id] = map[string]bool{}
			}
			carriers[id][d.message] = true
		}
	}
	for user, ids := range notes {
		for _, id := range ids {
			switch n := len(carriers[id]); {
			case n > 1:
				w.Errorf("%s: notification %d of %s was mailed under %d Message-IDs", what, id, user, n)
			case n == 0 && !read[id]:
				w.Errorf("%s: notification %d of %s was never mailed: %v", what, id, user, digests)
			}
		}
	}
	for message, n := range copies {
		d, known := digests[message]
		switch {
		case !known:
			w.Errorf("%s: the mail %s is nobody's", what, message)
		case n > 1 && !d.uncertain:
			w.Errorf("%s: the mail %s came %d times, and nothing had broken off behind its dot", what, message, n)
		case n > d.attempts:
			w.Errorf("%s: the mail %s came %d times in %d tries", what, message, n, d.attempts)
		case d.phase != Sent && !(d.uncertain && (d.phase == Cancelled || d.phase == Parked)):
			w.Errorf("%s: the mail %s came, and is %s", what, message, d.phase)
		}
		c.mails++
		c.doubles += n - 1
	}
	for message, d := range digests {
		if d.phase == Sent && copies[message] == 0 {
			w.Errorf("%s: the mail %s is said to be sent, and never came", what, message)
		}
		if d.phase == Claimed || d.phase == DataSent {
			w.Errorf("%s: the mail %s is still %s", what, message, d.phase)
		}
		if d.uncertain {
			c.uncertain++
		}
		if d.attempts > 1 {
			c.retried++
		}
		switch d.phase {
		case Bounced:
			c.bounced++
		case Failed:
			c.failed++
		}
	}
}

var _ mail.Sender = (*memory)(nil)
