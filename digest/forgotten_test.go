package digest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
)

// What a worker that died, or one that found it locked, has left to be done about mails that failed is done by the next pass.
func TestWhatIsLeftUnsettledIsSettledByAnybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	worker := w.worker()
	at := noon.Add(4 * time.Hour)
	w.box.script(refuse(tempFail), nil)
	w.mailed(worker, at)
	w.exec("UPDATE trunkline.digest SET phase = 'failed', next_at = NULL, finished_at = $1, loose = items, again_at = $1", at)
	w.box.script(nil, nil)
	w.mailed(worker, at.Add(time.Hour), "ann: "+list(ids...))
}

// Who gets a notification back is looked at again, though an earlier look has passed over it.
func TestWhatAMailGivesBackIsMailedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann", kind: "a"}, note{user: "ann", kind: "b"})
	worker := w.worker()
	at := noon.Add(4 * time.Hour)
	w.box.script(refuse(tempFail), nil)
	w.mailed(worker, at)
	w.exec(`SELECT trunkline.set_preferences('ann', '{"kinds": {"b": {"mail": "daily", "at": "09:00"}}}')`)
	w.keep(at)
	w.box.script(nil, nil)
	w.mailed(worker, at.Add(time.Minute), "ann: "+list(ids[0]))
	w.mailed(worker, at.Add(3*24*time.Hour), "ann: "+list(ids[1]))
}

// However many of the oldest are out of the question, what comes after them is mailed.
func TestWhatMayNotBeMailedDoesNotHideTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	w.exec(`CREATE FUNCTION public.may(user_id text, "group" text, action text) RETURNS boolean LANGUAGE sql AS $$ SELECT "group" <> 'left' $$`)
	w.exec("SELECT trunkline.kind('k', authorize => 'public.may')")
	notes := make([]note, 1010)
	for i := range notes {
		notes[i] = note{user: "ann", kind: "k", group: "left", at: noon.Add(time.Duration(i) * time.Millisecond)}
		if i >= 1005 {
			notes[i].group = "mine"
		}
	}
	ids := w.notify(notes...)
	w.mailed(w.worker(func(o *Options) { o.Rules.MostItems = 10 }), noon.Add(5*time.Hour), "ann: "+list(ids[1005:]...))
}

// What is read while the mail is on its way to the server isn't in it: the last moment is before the final dot.
func TestWhatIsReadWhileTheMailIsSentIsNotInIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"}, note{user: "ann"})
	once := true
	w.box.script(func(mail.Envelope) error {
		if once {
			once = false
			w.exec("SELECT trunkline.mark('ann', 'read', ids => ARRAY[$1::bigint])", ids[0])
		}
		return nil
	}, nil)
	w.mailed(w.worker(), noon.Add(4*time.Hour), "ann: "+list(ids[1]))
}

// One mail whose contents can't be read doesn't hold up the others.
func TestOneMailThatCannotBeMadeReadyWaitsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob", "cid")
	ids := w.notify(note{user: "ann"}, note{user: "bob", data: `{"poison": 1}`}, note{user: "cid"})
	w.exec("SELECT trunkline.kind('mention', template => '{x}')")
	w.exec(`CREATE OR REPLACE FUNCTION trunkline.item_text(template text, title text, data json) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN IF data ->> 'poison' IS NOT NULL THEN RAISE division_by_zero; END IF; RETURN title; END $$`)
	worker := w.worker()
	w.mailed(worker, noon.Add(4*time.Hour), "ann: "+list(ids[0]), "cid: "+list(ids[2]))
	w.exec(`CREATE OR REPLACE FUNCTION trunkline.item_text(template text, title text, data json) RETURNS text LANGUAGE sql AS 'SELECT title'`)
	w.mailed(worker, noon.Add(6*time.Hour), "bob: "+list(ids[1]))
}

// A sender that panics is a sender that fails.
func TestAPanicFailsOneTry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	w.box.script(func(mail.Envelope) error { panic("a sender of an application's") }, nil)
	worker := w.worker()
	w.mailed(worker, noon.Add(4*time.Hour))
	w.wantState("ann claimed 1")
	w.box.script(nil, nil)
	w.mailed(worker, noon.Add(8*time.Hour), "ann: "+list(ids...))
}

// A kind that is mailed earlier from now on is so for what is there already.
func TestAShorterDelayWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	w.exec("SELECT trunkline.kind('k', delay => '20 days')")
	ids := w.notify(note{user: "ann", kind: "k"})
	worker := w.worker()
	w.mailed(worker, noon.Add(4*time.Hour))
	w.exec("SELECT trunkline.kind('k', delay => '1 hour')")
	w.exec("UPDATE trunkline.inbox_change SET due_at = $1 WHERE due_at IS NOT NULL", noon)
	w.keep(noon)
	w.mailed(worker, noon.Add(5*time.Hour), "ann: "+list(ids...))
}

// A worker that only keeps mails has nothing to do where mails are sent.
func TestKeptMailsDoNotMixWithSentOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob")
	kept := w.worker(func(o *Options) { o.Kept = true })
	ids := w.notify(note{user: "ann"})
	w.mailed(kept, noon.Add(4*time.Hour), "ann: "+list(ids...)) // nobody has sent any so far
	more := w.notify(note{user: "bob"})
	sending := w.worker()
	w.mailed(sending, noon)
	if _, err := kept.Once(w.context(), noon.Add(5*time.Hour)); !errors.Is(err, ErrKept) || !strings.Contains(err.Error(), "mail server") {
		t.Errorf("it goes on: %v", err)
	}
	if err := kept.Run(w.context()); !errors.Is(err, ErrKept) {
		t.Errorf("running, it ends with %v", err)
	}
	w.mailed(sending, noon.Add(5*time.Hour), "bob: "+list(more...))
}
