package digest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

var errLater = errors.New("451 4.7.1 come back later")

// refuse makes a script of a SendError.
func refuse(e mail.SendError) func(mail.Envelope) error {
	if e.Err == nil {
		e.Err = errors.New("no")
	}
	return func(mail.Envelope) error { return &e }
}

var (
	tempFail   = mail.SendError{Step: "data", Blame: mail.BlameMessage, Code: 451, Err: errLater}
	noSuchUser = mail.SendError{Step: "rcpt", Blame: mail.BlameRecipient, Permanent: true, Code: 550, Enhanced: "5.1.1", Err: errors.New("550 5.1.1 no such user")}
	isSpam     = mail.SendError{Step: "dot", Blame: mail.BlameMessage, Permanent: true, Code: 554, Err: errors.New("554 5.7.1 spam")}
	serverDown = mail.SendError{Step: "connect", Blame: mail.BlameServer, Err: errors.New("connection refused")}
	broken     = mail.SendError{Step: "dot", Blame: mail.BlameServer, Uncertain: true, Err: errors.New("connection reset")}
)

func TestRefusedForNowIsTriedAgainUnderTheSameMessageID(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*memory){
		"before the dot": func(m *memory) { m.script(refuse(tempFail), nil) },
		"after the dot":  func(m *memory) { m.script(nil, refuse(tempFail)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.user("ann")
			ids := w.notify(note{user: "ann"})
			worker := w.worker()
			script(w.box)
			at := noon.Add(4 * time.Hour)
			report := w.mailed(worker, at)
			if m := report.Mails; len(m) != 1 || m[0].Phase != Claimed || m[0].NextAt == nil || m[0].Reply != "data: 451 4.7.1 come back later" {
				t.Fatalf("report: %s", asJSON(report))
			}
			if wait := report.Mails[0].NextAt.Sub(at); wait < 30*time.Second || wait > time.Minute {
				t.Errorf("tried again after %v", wait)
			}
			w.mailed(worker, at.Add(time.Second)) // not before its time
			w.wantState("ann claimed 1")
			for range 5 {
				at = at.Add(3 * time.Hour)
				w.mailed(worker, at)
			}
			w.wantState("ann claimed 6")
			more := w.notify(note{user: "ann", at: at}) // joins no mail that is frozen
			w.box.script(nil, nil)
			at = at.Add(3 * time.Hour)
			message := report.Mails[0].MessageID
			w.mailed(worker, at, "ann: "+list(ids...))
			if got := w.box.all()[0].message; got != "<"+message+">" || message == "" {
				t.Errorf("Message-ID %s, was %s", got, message)
			}
			w.mailed(worker, at.Add(3*time.Hour), "ann: "+list(more...))
		})
	}
}

func TestGivesUpAndLooksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	worker := w.worker()
	w.box.script(refuse(tempFail), nil)
	at := noon.Add(4 * time.Hour)
	for range 24 {
		w.mailed(worker, at)
		at = at.Add(2 * time.Hour)
	}
	w.wantState("ann claimed 24")
	w.mailed(worker, at)
	w.wantState("ann failed 25")
	if reply := w.column("SELECT reply FROM trunkline.digest"); !cmp.Equal(reply, []string{"Given up after 2 days. data: 451 4.7.1 come back later"}) {
		t.Error(reply)
	}
	w.box.script(nil, nil)
	w.mailed(worker, at.Add(23*time.Hour))
	w.mailed(worker, at.Add(24*time.Hour), "ann: "+list(ids...))
}

func TestBouncesCountAndErode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	worker := w.worker()
	w.box.script(refuse(noSuchUser), nil)
	at := noon.Add(4 * time.Hour)
	for i := range 4 {
		w.mailed(worker, at.Add(time.Duration(i)*24*time.Hour))
	}
	// The third bounce makes 2.93, and the fourth more than three.
	w.wantState("ann bounced 1", "ann bounced 1", "ann bounced 1", "ann bounced 1")
	if got := w.column("SELECT bounced_email || ' ' || bounce_reason || ' ' || round(bounces::numeric, 2) FROM trunkline.recipient"); !cmp.Equal(got,
		[]string{"ann@example.org rcpt: 550 5.1.1 no such user 3.87"}) {
		t.Error(got)
	}
	w.box.script(nil, nil)
	at = at.Add(4 * 24 * time.Hour)
	w.mailed(worker, at)
	w.decided("ann", Bouncing, at.Add(24*time.Hour))
	// Another address starts from nothing.
	w.exec("SELECT trunkline.set_recipient('ann', 'ann@example.com')")
	w.keep(noon)
	w.mailed(worker, at.Add(time.Hour), "ann: "+list(ids...))
	if to := w.box.all()[0].to; to != "ann@example.com" {
		t.Errorf("mailed to %s", to)
	}
	// And in time an address is believed to be good again.
	w.exec("SELECT trunkline.set_recipient('ann', 'ann@example.org')")
	w.exec("UPDATE trunkline.recipient SET bounces = 4, bounced_email = email, bounced_at = $1", at)
	more := w.notify(note{user: "ann", at: at})
	for day := range 12 {
		w.mailed(worker, at.Add(time.Duration(day*24+4)*time.Hour))
	}
	w.mailed(worker, at.Add(13*24*time.Hour), "ann: "+list(more...))
}

func TestRefusedForGoodIsLookedAtInADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	worker := w.worker()
	w.box.script(nil, refuse(isSpam))
	at := noon.Add(4 * time.Hour)
	w.mailed(worker, at)
	w.wantState("ann failed 1")
	w.box.script(nil, nil)
	w.mailed(worker, at.Add(24*time.Hour-time.Second))
	w.mailed(worker, at.Add(24*time.Hour), "ann: "+list(ids...))
	if n := w.number("SELECT count(*) FROM trunkline.recipient WHERE bounces > 0"); n != 0 {
		t.Error("a refused mail counts as a bounce")
	}
}

// unrenderable makes no mail of a user's digests.
type unrenderable struct {
	plainRenderer
	err error
}

func (r unrenderable) Render(mail.Digest) (mail.Envelope, mail.Text, error) {
	return mail.Envelope{}, mail.Text{}, r.err
}

func TestMailsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	at := noon.Add(4 * time.Hour)
	w.mailed(w.worker(func(o *Options) {
		o.Renderer = unrenderable{err: &trunkline.ArgumentError{Problem: "the address is odd"}}
	}), at)
	w.wantState("ann failed 1")
	w.mailed(w.worker(func(o *Options) { o.Renderer = unrenderable{err: errors.New("the key is gone")} }), at.Add(24*time.Hour))
	w.wantState("ann failed 1", "ann claimed 1")
	w.mailed(w.worker(), at.Add(25*time.Hour), "ann: "+list(ids...))
}

func TestUncertainIsResentOrParked(t *testing.T) {
	t.Parallel()
	t.Run("resent", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.user("ann")
		ids := w.notify(note{user: "ann"})
		worker := w.worker()
		w.box.script(nil, refuse(broken))
		at := noon.Add(4 * time.Hour)
		w.mailed(worker, at, "ann: "+list(ids...)) // this server took it
		w.wantState("ann claimed 1 uncertain")
		w.box.script(nil, nil)
		w.mailed(worker, at.Add(time.Hour), "ann: "+list(ids...))
		w.wantState("ann sent 2 uncertain")
		if m := w.box.all(); m[0].message != m[1].message {
			t.Errorf("two Message-IDs: %v", m)
		}
	})
	t.Run("resent and refused", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.user("ann")
		ids := w.notify(note{user: "ann"})
		worker := w.worker()
		w.box.script(nil, refuse(broken))
		at := noon.Add(4 * time.Hour)
		w.mailed(worker, at, "ann: "+list(ids...))
		w.box.script(nil, refuse(isSpam))
		w.mailed(worker, at.Add(time.Hour))
		w.wantState("ann claimed 2 uncertain") // it may not have it: it isn't given up yet
		w.mailed(worker, at.Add(49*time.Hour))
		w.wantState("ann parked 3 uncertain")
		// The server may have it: under another Message-ID it must not come again.
		w.box.script(nil, nil)
		w.mailed(worker, at.Add(98*time.Hour))
		if w.number("SELECT trunkline.resend_digest((SELECT max(id) FROM trunkline.digest))::integer") != 1 {
			t.Error("it can't be resent")
		}
		if m := w.box.all(); len(m) != 1 {
			t.Errorf("mails: %v", m)
		}
	})
	t.Run("parked", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.user("ann")
		ids := w.notify(note{user: "ann"})
		worker := w.worker(func(o *Options) { o.Uncertain = Park })
		w.box.script(nil, refuse(broken))
		at := noon.Add(4 * time.Hour)
		w.mailed(worker, at, "ann: "+list(ids...))
		w.wantState("ann parked 1 uncertain")
		w.box.script(nil, nil)
		w.mailed(worker, at.Add(72*time.Hour))
		if got := w.column("SELECT trunkline.resend_digest(id)::text FROM trunkline.digest"); !cmp.Equal(got, []string{"true"}) {
			t.Error(got)
		}
		w.mailed(worker, at.Add(72*time.Hour), "ann: "+list(ids...))
		w.wantState("ann sent 2 uncertain")
		if got := w.column("SELECT trunkline.resend_digest(id)::text FROM trunkline.digest"); !cmp.Equal(got, []string{"false"}) {
			t.Error("a mail that was sent is sent again")
		}
	})
}

func TestBreakerClaimsAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	users := []string{"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"}
	w.user(users...)
	var want []string
	for i, user := range users {
		want = append(want, user+": "+list(w.notify(note{user: user, at: noon.Add(time.Duration(i) * time.Second)})...))
	}
	worker := w.worker(func(o *Options) { o.Concurrency, o.Batch = 1, 4 })
	tries := 0
	w.box.script(func(mail.Envelope) error { tries++; return &serverDown }, nil)
	at := noon.Add(5 * time.Hour)
	report := w.mailed(worker, at)
	if tries != breakAfter || !strings.Contains(report.Stopped, "connection refused") {
		t.Errorf("%d tries; %s", tries, asJSON(report))
	}
	if s := worker.Stats(); !s.Open || s.Breaks != 1 || s.OpenUntil.Before(at.Add(20*time.Second)) || s.OpenUntil.After(at.Add(30*time.Second)) {
		t.Errorf("%+v", s)
	}
	claimed := w.number("SELECT count(*) FROM trunkline.digest")
	if claimed == len(users) {
		t.Error("everything was claimed")
	}
	// Open: nothing at all. Half-open: one.
	w.mailed(worker, at.Add(10*time.Second))
	if tries != breakAfter || w.number("SELECT count(*) FROM trunkline.digest") != claimed {
		t.Errorf("open, and %d tries", tries)
	}
	for i := range 20 {
		before := tries
		at = worker.Stats().OpenUntil
		w.mailed(worker, at)
		if tries != before+1 {
			t.Fatalf("half-open for the %dth time, %d tries", i+1, tries-before)
		}
		if wait := worker.Stats().OpenUntil.Sub(at); wait > openMost {
			t.Errorf("opens for %v", wait)
		}
	}
	if n := w.number("SELECT count(*) FROM trunkline.notification WHERE digest_id IS NULL"); n == 0 {
		t.Error("everything was claimed while the server was down")
	}
	w.box.script(nil, nil)
	at = at.Add(3 * time.Hour)
	w.mailed(worker, at, want...)
	if worker.Stats().Open {
		t.Error("the breaker stays open")
	}
}

// What changes while a mail waits to be tried again counts.
func TestRulesAreAppliedAnewBeforeAnotherTry(t *testing.T) {
	t.Parallel()
	at := noon.Add(4 * time.Hour)
	again := at.Add(3 * time.Hour)
	for _, test := range []struct {
		name, change string
		want         string // to whom, of which notifications (a, b)
		state        string
		later        time.Duration // when the rest is mailed
		rest         string
	}{
		{name: "address", change: "SELECT trunkline.set_recipient('ann', 'new@example.org')", want: "new@example.org a b", state: "ann sent 2"},
		{name: "address gone", change: "SELECT trunkline.set_recipient('ann', NULL)", state: "ann cancelled 2"},
		{name: "one kind", change: `SELECT trunkline.set_preferences('ann', '{"kinds": {"a": {"mail": "never"}}}')`, want: "ann@example.org b", state: "ann sent 2"},
		{name: "all kinds", change: `SELECT trunkline.set_preferences('ann', '{"default": {"mail": "never"}}')`, state: "ann cancelled 2"},
		{name: "muted", change: `SELECT trunkline.set_preferences('ann', '{"muted_groups": ["b"]}')`, want: "ann@example.org a", state: "ann sent 2"},
		{
			name: "quiet", change: `SELECT trunkline.set_preferences('ann', '{"quiet_hours": {"from": "18:00", "to": "20:00"}}')`,
			state: "ann cancelled 2", later: 8 * time.Hour, rest: "ann@example.org a b",
		},
		{
			name: "vacation", change: `SELECT trunkline.set_preferences('ann', '{"vacation_until": "2031-03-10T00:00:00Z"}')`,
			state: "ann cancelled 2", later: 7 * 24 * time.Hour, rest: "ann@example.org a b",
		},
		{name: "membership", change: "CREATE OR REPLACE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT $2 <> 'b' $$", want: "ann@example.org a", state: "ann sent 2"},
		{
			name: "no answer", change: "CREATE OR REPLACE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT NULL::boolean'",
			state: "ann cancelled 2",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.user("ann")
			w.exec(`CREATE SCHEMA app; CREATE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
			w.exec(`SELECT trunkline.kind(k, k, "authorize" => 'app.may') FROM unnest('{a,b}'::text[]) k`)
			ids := w.notify(note{user: "ann", kind: "a", group: "a"}, note{user: "ann", kind: "b", group: "b"})
			names := strings.NewReplacer("ann: ", "", list(ids...), "a b", list(ids[0]), "a", list(ids[1]), "b")
			worker := w.worker()
			w.box.script(refuse(tempFail), nil)
			w.mailed(worker, at)
			w.exec(test.change)
			w.keep(noon)
			w.box.script(nil, nil)
			check := func(when time.Time, want string) {
				t.Helper()
				before := len(w.box.all())
				w.once(worker, when)
				got := ""
				for _, m := range w.box.all()[before:] {
					got += m.to + " " + names.Replace(m.items)
				}
				if got != want {
					t.Errorf("mailed %q, want %q", got, want)
				}
			}
			check(again, test.want)
			if got := w.state()[0]; got != test.state {
				t.Errorf("the mail is %s, want %s", got, test.state)
			}
			if test.rest != "" {
				check(at.Add(test.later), test.rest)
			}
		})
	}
}
