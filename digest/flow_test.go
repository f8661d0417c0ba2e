package digest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/digest/mail"
)

func TestNothingIsMailedToWhoReadsInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob", "cid", "dan", "eve")
	ids := w.notify(note{user: "ann"}, note{user: "ann"}, note{user: "bob"}, note{user: "bob"}, note{user: "cid"}, note{user: "dan"}, note{user: "eve"})
	w.exec("SELECT trunkline.mark('ann', 'read', up_to_seq => 2)")
	w.exec("SELECT trunkline.mark('bob', 'read', ids => ARRAY[$1::bigint])", ids[2])
	w.exec("SELECT trunkline.mark('cid', 'archived', ids => ARRAY[$1::bigint])", ids[4])
	w.exec("SELECT trunkline.mark('dan', 'seen', ids => ARRAY[$1::bigint])", ids[5]) // seen isn't read
	w.exec("DELETE FROM trunkline.notification WHERE id = $1", ids[6])
	w.mailed(w.worker(), noon.Add(4*time.Hour), "bob: "+list(ids[3]), "dan: "+list(ids[5]))
	w.decided("ann", Nothing, time.Time{})
	w.decided("cid", Nothing, time.Time{})
	w.decided("eve", Nothing, time.Time{})
}

func TestReadDeletedOrSnoozedBetweenClaimAndSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob", "cid")
	ids := w.notify(note{user: "ann"}, note{user: "ann"}, note{user: "ann"}, note{user: "ann"}, note{user: "ann", expires: ptr(noon.Add(4*time.Hour + time.Minute))},
		note{user: "bob"}, note{user: "cid"})
	worker := w.worker()
	w.box.script(func(mail.Envelope) error {
		return &mail.SendError{Step: "mail", Blame: mail.BlameMessage, Code: 451, Err: errLater}
	}, nil)
	at := noon.Add(4 * time.Hour)
	w.mailed(worker, at)
	w.wantState("ann claimed 1", "bob claimed 1", "cid claimed 1")
	w.exec("SELECT trunkline.mark('ann', 'read', ids => ARRAY[$1::bigint])", ids[0])
	w.exec("DELETE FROM trunkline.notification WHERE id = $1", ids[1])
	w.exec("SELECT trunkline.mark('ann', 'snoozed', ids => ARRAY[$1::bigint], until => now() + interval '1 day')", ids[2])
	w.exec("SELECT trunkline.mark('bob', 'read', ids => ARRAY[$1::bigint])", ids[5])
	w.exec("SELECT trunkline.mark('cid', 'archived', ids => ARRAY[$1::bigint])", ids[6])
	w.box.script(nil, nil)
	at = at.Add(3 * time.Minute)
	w.mailed(worker, at, "ann: "+list(ids[3]))
	w.wantState("ann sent 2", "bob cancelled 2", "cid cancelled 2")
	// What was left out can be mailed again, once it is back.
	if n := w.number("SELECT count(*) FROM trunkline.notification WHERE digest_id IS NOT NULL"); n != 1 {
		t.Errorf("%d notifications belong to a mail, want 1", n)
	}
	w.keep(noon) // the snooze has ended long ago
	w.mailed(worker, at.Add(4*time.Hour), "ann: "+list(ids[2]))
}

func ptr[T any](v T) *T { return &v }

func TestActiveUsersArePostponedAndNotForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	worker := w.worker()
	due := noon.Add(4 * time.Hour)
	active := func(at time.Time) { w.exec("UPDATE trunkline.recipient SET active_at = $1", at) }
	active(due.Add(-time.Minute))
	w.mailed(worker, due)
	w.decided("ann", Postponed, due.Add(4*time.Minute))
	// Still there, again and again.
	for i := 4; i < 60; i += 5 {
		at := due.Add(time.Duration(i) * time.Minute)
		active(at)
		w.mailed(worker, at)
	}
	w.decided("ann", Postponed, due.Add(time.Hour))
	w.mailed(worker, due.Add(time.Hour-time.Second))
	active(due.Add(time.Hour))
	w.mailed(worker, due.Add(time.Hour), "ann: "+list(ids...))

	// Who closes the laptop without a goodbye is mailed when the window is over.
	more := w.notify(note{user: "ann", at: due})
	active(due.Add(4*time.Hour - time.Minute))
	w.mailed(worker, due.Add(4*time.Hour))
	w.mailed(worker, due.Add(4*time.Hour+4*time.Minute), "ann: "+list(more...))
}

func TestPreferencesDecideWhen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob", "cid", "dan", "eve", "fay")
	w.exec("SELECT trunkline.kind('task', 'Task', delay => '30 min')")
	w.exec(`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "at_once"}}')`)
	w.exec(`SELECT trunkline.set_preferences('bob', '{"time_zone": "Europe/Berlin", "default": {"mail": "daily", "at": "18:00"}, "kinds": {"task": {"mail": "after", "delay": "10m"}}}')`)
	w.exec(`SELECT trunkline.set_preferences('cid', '{"kinds": {"mention": {"mail": "never"}}}')`)
	w.exec(`SELECT trunkline.set_preferences('dan', '{"time_zone": "Asia/Tokyo", "default": {"mail": "at_once"}, "quiet_hours": {"from": "20:00", "to": "07:30"}}')`)
	w.exec(`SELECT trunkline.set_preferences('eve', '{"default": {"mail": "at_once"}, "vacation_until": "2031-04-01T00:00:00Z"}')`)
	w.exec(`SELECT trunkline.set_preferences('fay', '{"default": {"mail": "at_once"}, "muted_groups": ["project:7"]}')`)
	ids := w.notify(
		note{user: "ann"}, note{user: "bob"}, note{user: "bob", kind: "task"}, note{user: "cid"}, note{user: "cid", kind: "task"},
		note{user: "dan"}, note{user: "eve"}, note{user: "fay", group: "project:7"}, note{user: "fay", group: "project:8"})
	worker := w.worker()
	w.mailed(worker, noon, "ann: "+list(ids[0]), "fay: "+list(ids[8]))
	w.decided("dan", QuietHours, time.Date(2031, 3, 3, 22, 30, 0, 0, time.UTC))
	w.decided("eve", Vacation, time.Date(2031, 4, 1, 0, 0, 0, 0, time.UTC))
	w.mailed(worker, noon.Add(10*time.Minute), "bob: "+list(ids[2]))
	w.mailed(worker, noon.Add(30*time.Minute), "cid: "+list(ids[4]))
	w.mailed(worker, noon.Add(5*time.Hour-time.Second))
	w.mailed(worker, noon.Add(5*time.Hour), "bob: "+list(ids[1])) // 18:00 in Berlin
	w.mailed(worker, noon.Add(10*time.Hour+30*time.Minute-time.Second))
	w.mailed(worker, noon.Add(10*time.Hour+30*time.Minute), "dan: "+list(ids[5]))
	w.mailed(worker, noon.AddDate(0, 1, 0), "eve: "+list(ids[6]))
	if reason := w.decided("fay", Mailed, time.Time{}); !strings.Contains(reason, "1 of a group that the user has muted") {
		t.Error(reason)
	}
	// What the user wants after all is looked at as soon as that is said.
	w.exec(`SELECT trunkline.set_preferences('fay', '{}')`)
	w.keep(noon)
	w.mailed(worker, noon.AddDate(0, 0, 1), "fay: "+list(ids[7]))
	w.exec(`SELECT trunkline.set_preferences('cid', '{}')`)
	w.keep(noon)
	w.mailed(worker, noon.AddDate(0, 0, 2), "cid: "+list(ids[3]))
}

func TestDailyCap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann")
	w.exec(`SELECT trunkline.set_preferences('ann', '{"default": {"mail": "at_once"}}')`)
	worker := w.worker(func(o *Options) { o.Rules.DailyCap = 3 })
	var ids []int64
	for i := range 5 {
		at := noon.Add(time.Duration(i) * time.Hour)
		ids = append(ids, w.notify(note{user: "ann", at: at})...)
		if i < 3 {
			w.mailed(worker, at, "ann: "+list(ids[i]))
		} else {
			w.mailed(worker, at)
			w.decided("ann", Capped, noon.Add(24*time.Hour))
		}
	}
	w.mailed(worker, noon.Add(24*time.Hour-time.Second))
	w.mailed(worker, noon.Add(24*time.Hour), "ann: "+list(ids[3:]...))
}

func TestAuthorizeFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.user("ann", "bob", "cid", "dan")
	w.exec(`CREATE SCHEMA app;
		CREATE TABLE app.answer (user_id text, "group" text, answer boolean, raises text);
		CREATE FUNCTION app.may(user_id text, "group" text, action text) RETURNS boolean LANGUAGE plpgsql AS $$
		DECLARE one app.answer;
		BEGIN
			SELECT * INTO one FROM app.answer a WHERE a.user_id = may.user_id AND a."group" = may."group";
			IF one.raises = 'sleep' THEN PERFORM pg_sleep(60); END IF;
			IF one.raises IS NOT NULL THEN RAISE EXCEPTION '%', one.raises; END IF;
			RETURN one.answer AND action = 'mail';
		END $$`)
	w.exec(`SELECT trunkline.kind('mention', 'Mention', delay => '0', "authorize" => 'app.may')`)
	w.exec(`INSERT INTO app.answer VALUES ('ann', 'yes', true, NULL), ('ann', 'no', false, NULL), ('bob', 'yes', true, NULL), ('bob', 'null', NULL, NULL),
		('cid', 'bad', true, 'out of order'), ('dan', 'yes', true, NULL)`)
	ids := w.notify(
		note{user: "ann", group: "yes"}, note{user: "ann", group: "no"}, note{user: "ann"}, note{user: "ann", kind: "other", group: "no"},
		note{user: "bob", group: "yes"}, note{user: "bob", group: "null"}, note{user: "bob"},
		note{user: "cid", group: "bad"}, note{user: "cid"}, note{user: "dan", group: "yes"})
	worker := w.worker(func(o *Options) { o.AskTimeout = 30 * time.Second })
	// A no leaves out, no answer keeps everything of that user back, and nobody suffers from another one's.
	w.mailed(worker, noon, "ann: "+list(ids[0], ids[2], ids[3]), "dan: "+list(ids[9]))
	for _, user := range []string{"bob", "cid"} {
		var kind, next string
		if err := w.pool.QueryRow(w.context(), `SELECT decision, next_at - at BETWEEN '30 s' AND '1 min' FROM trunkline.digest_decision
			WHERE user_id = $1`, user).Scan(&kind, new(bool)); err != nil || kind != string(MembershipUnknown) {
			t.Errorf("%s: %v %s %s", user, err, kind, next)
		}
	}
	// Again, and with longer waits; one that hangs is an error like others.
	w.exec("UPDATE app.answer SET raises = 'sleep' WHERE user_id = 'cid'")
	hasty := w.worker(func(o *Options) { o.AskTimeout = 300 * time.Millisecond })
	w.mailed(hasty, noon.Add(2*time.Minute))
	if got := w.column("SELECT unknowns::text FROM trunkline.digest_due WHERE user_id IN ('bob', 'cid')"); !cmp.Equal(got, []string{"2", "2"}) {
		t.Errorf("unknown %v times", got)
	}
	w.exec("UPDATE app.answer SET raises = NULL, answer = true")
	w.mailed(worker, noon.Add(10*time.Minute), "bob: "+list(ids[4:7]...), "cid: "+list(ids[7:9]...))
	// What was denied is mailed with the next mail, should it be allowed by then.
	more := w.notify(note{user: "ann", at: noon.Add(time.Hour)})
	w.mailed(worker, noon.Add(2*time.Hour), "ann: "+list(ids[1], more[0]))
	// A function that is gone.
	w.exec("DROP FUNCTION app.may")
	more = w.notify(note{user: "dan", group: "yes", at: noon.Add(3 * time.Hour)}, note{user: "bob", at: noon.Add(3 * time.Hour)})
	w.mailed(worker, noon.Add(3*time.Hour), "bob: "+list(more[1]))
	w.exec("CREATE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
	w.mailed(worker, noon.Add(4*time.Hour), "dan: "+list(more[0]))
}

func TestUnreadableRecipientsLoseNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`CREATE SCHEMA app; CREATE TABLE app.person (user_id text PRIMARY KEY, email text, age text);
		INSERT INTO app.person VALUES ('ann', 'ann@example.org', '7'), ('bob', 'bob@example.org', 'seven'), ('cid', 'cid@example.org', '8');
		CREATE VIEW app.recipient AS SELECT user_id, email, age::integer / 1 || '' AS name FROM app.person;
		SELECT trunkline.recipients_from('app.recipient')`)
	ids := w.notify(note{user: "ann"}, note{user: "bob"}, note{user: "cid"})
	worker := w.worker()
	at := noon.Add(4 * time.Hour)
	// One bad row is one user's trouble.
	w.mailed(worker, at, "ann: "+list(ids[0]), "cid: "+list(ids[2]))
	if got := w.column("SELECT decision || ' ' || reason FROM trunkline.digest_decision WHERE user_id = 'bob'"); len(got) != 1 ||
		!strings.HasPrefix(got[0], string(RecipientUnknown)+" Who the user is to mail couldn't be read: recipients can't be read from app.recipient: invalid input syntax") {
		t.Error(got)
	}
	w.exec("UPDATE app.person SET age = 9 WHERE user_id = 'bob'")
	// A view that is gone is everybody's.
	w.exec("DROP VIEW app.recipient")
	more := w.notify(note{user: "ann"})
	for i := range 5 {
		w.mailed(worker, at.Add(time.Duration(i+1)*time.Hour))
	}
	w.exec("CREATE VIEW app.recipient AS SELECT user_id, email FROM app.person")
	w.mailed(worker, at.Add(7*time.Hour), "ann: "+list(more...), "bob: "+list(ids[1]))
}
