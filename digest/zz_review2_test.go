package digest

import (
	"fmt"
	"testing"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
)

func TestZY_ReadWhileWaitingForTheRate(t *testing.T) {
	w := newWorld(t)
	w.user("ann")
	ids := w.notify(note{user: "ann"})
	b := w.worker()
	w.box.script(func(mail.Envelope) error { // waits for a slot or the rate, in Sender.Send
		_, err := w.pool.Exec(w.context(), "SELECT trunkline.mark('ann', 'read', ids => $1)", ids)
		return err
	}, nil)
	w.once(b, noon.Add(4*time.Hour))
	t.Logf("mailed though read before the dot: %v", w.box.all())
}

func TestZY_SlowAuthorize(t *testing.T) {
	w := newWorld(t)
	w.exec("CREATE FUNCTION public.may(u text, g text, a text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN IF u = 'u000' THEN PERFORM pg_sleep(10); END IF; RETURN true; END$$")
	w.exec("INSERT INTO trunkline.kind(name, title, authorize) VALUES ('mention','M','public.may')")
	var notes []note
	for i := range 100 {
		u := fmt.Sprintf("u%03d", i)
		w.user(u)
		notes = append(notes, note{user: u, group: "g"})
	}
	w.notify(notes...)
	b := w.worker(func(o *Options) { o.AskTimeout = 300 * time.Millisecond })
	start := time.Now()
	w.once(b, noon.Add(4*time.Hour))
	t.Logf("mailed %d of 99; in %v: %v", len(w.box.all()), time.Since(start), w.column("SELECT decision||' '||count(*) FROM trunkline.digest_decision GROUP BY decision"))
}

func TestZY_KindDelayShortened(t *testing.T) {
	w := newWorld(t)
	w.user("ann")
	w.exec("SELECT trunkline.kind('mention', delay => '30 days')")
	w.notify(note{user: "ann"})
	w.exec("SELECT trunkline.kind('mention', delay => '1 hour')")
	w.keep(noon.Add(time.Hour))
	b := w.worker()
	for i := range 29 {
		w.once(b, noon.Add(time.Duration(i)*24*time.Hour+2*time.Hour))
	}
	t.Logf("mailed after 28 days: %v due %v", w.box.all(), w.column("SELECT due_at::text FROM trunkline.digest_due"))
}

func TestZY_BackInGroup(t *testing.T) {
	w := newWorld(t)
	w.user("ann")
	w.exec("CREATE TABLE public.yes(y boolean); INSERT INTO public.yes VALUES (false)")
	w.exec("CREATE FUNCTION public.may(u text, g text, a text) RETURNS boolean LANGUAGE sql AS $$SELECT y FROM public.yes$$")
	w.exec("INSERT INTO trunkline.kind(name, title, authorize) VALUES ('mention','M','public.may')")
	w.notify(note{user: "ann", group: "g"})
	b := w.worker()
	w.once(b, noon.Add(4*time.Hour))
	w.exec("UPDATE public.yes SET y = true")
	for i := range 40 {
		w.once(b, noon.Add(time.Duration(i)*24*time.Hour+5*time.Hour))
	}
	t.Logf("mails %v due %d", w.box.all(), w.number("SELECT count(*) FROM trunkline.digest_due"))
}

func TestZY_PoisonSettle(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "bob")
	// a zone that was known when it was written
	w.exec("ALTER TABLE trunkline.recipient DISABLE TRIGGER USER; UPDATE trunkline.recipient SET time_zone = 'Gone/Zone' WHERE user_id = 'ann'; ALTER TABLE trunkline.recipient ENABLE TRIGGER USER")
	w.notify(note{user: "ann"})
	b := w.worker()
	w.box.script(refuse(noSuchUser), nil)
	_, err := b.Once(w.context(), noon.Add(4*time.Hour))
	t.Logf("first: %v", err)
	w.box.script(nil, nil)
	w.notify(note{user: "bob"})
	_, err = b.Once(w.context(), noon.Add(9*time.Hour))
	t.Logf("second: %v mails %v", err, w.box.all())
}

func TestZY_SettleStarves(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "slow")
	w.notify(note{user: "ann"}, note{user: "slow"})
	b := w.worker()
	release := make(chan struct{})
	w.box.script(func(e mail.Envelope) error {
		if e.To == "slow@example.org" {
			<-release
			return nil
		}
		return &noSuchUser
	}, nil)
	done := make(chan struct{})
	go func() { defer close(done); w.once(b, noon.Add(4*time.Hour)) }()
	time.Sleep(8 * time.Second) // beyond lookEvery
	t.Logf("while one try stalls: unsettled %d", w.number("SELECT count(*) FROM trunkline.digest WHERE bounces"))
	close(release)
	<-done
	t.Logf("after: unsettled %d", w.number("SELECT count(*) FROM trunkline.digest WHERE bounces"))
}
