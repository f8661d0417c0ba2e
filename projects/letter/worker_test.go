package letter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

// A lockedBuffer keeps what is logged.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *lockedBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestInvitation(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("ann@example.com", "Ann Lee")
	w.once(w.worker(), 1)
	w.once(w.worker(), 0)
	w.want(letter, "sent")
	sent := w.post.all()
	if len(sent) != 1 || sent[0].To != "ann@example.com" || sent[0].From != "projects@example.org" {
		t.Fatalf("%+v", sent)
	}
	page, secret := link(t, sent[0])
	if page != "invited" || len(secret) < 20 {
		t.Errorf("the link is /%s/%s", page, secret)
	}
	if n := w.id(`SELECT count(*) FROM projects.token WHERE purpose = 'invitation' AND used_at IS NULL`); n != 1 {
		t.Errorf("%d tokens", n)
	}
	expires := query[time.Time](t, w.pool, `SELECT expires_at FROM projects.invitation`)
	text := readable(sent[0])
	for _, want := range []string{
		"Ben Okafor invites you to “Kitchen renovation”", "Hello Ann Lee,", "Ben Okafor of Example Builders", expires.UTC().Format("Monday, January 2"), "Join the project",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the mail doesn't say %q:\n%s", want, text)
		}
	}
	if strings.Contains(w.log.String(), secret) {
		t.Errorf("the log has the secret:\n%s", w.log)
	}
}

// readable is a mail with what was encoded for the wire decoded, roughly.
func readable(e mail.Envelope) string {
	text := strings.ReplaceAll(string(e.Data), "=\r\n", "")
	for from, to := range map[string]string{
		"=E2=80=9C": "“", "=E2=80=9D": "”", "=E2=80=9E": "„", "=C3=BC": "ü", "=C3=A4": "ä", "=C3=9F": "ß", "?=\r\n =?utf-8?q?": "", "_": " ", "\r\n": " ",
	} {
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// Somebody with an account is written to in their own language.
func TestReset(t *testing.T) {
	w := newWorld(t)
	letter := w.letter("person_id", w.cleo)
	w.once(w.worker(), 1)
	w.want(letter, "sent")
	e := w.post.all()[0]
	if page, _ := link(t, e); page != "reset" || !strings.EqualFold(e.To, "cleo@example.com") {
		t.Errorf("/%s to %s", page, e.To)
	}
	for _, want := range []string{"Ein neues Passwort für Projects", "Hallo Cleo Groß,", "Neues Passwort wählen"} {
		if text := readable(e); !strings.Contains(text, want) {
			t.Errorf("the mail doesn't say %q:\n%s", want, text)
		}
	}
}

func TestWhatIsNotWantedAnyMore(t *testing.T) {
	for name, c := range map[string]struct {
		want   string
		change func(w *world, invitation int64)
	}{
		"revoked":  {"withdrawn", func(w *world, i int64) { w.exec(`UPDATE projects.invitation SET revoked_at = now() WHERE id = $1`, i) }},
		"accepted": {"accepted", func(w *world, i int64) { w.exec(`UPDATE projects.invitation SET accepted_at = now() WHERE id = $1`, i) }},
		"expired":  {"expired", func(w *world, _ int64) { w.clock.forward(15 * 24 * time.Hour) }},
		"closed": {"closed", func(w *world, i int64) {
			w.exec(`UPDATE projects.invitation SET email = 'cleo@EXAMPLE.com' WHERE id = $1`, i)
			w.exec(`UPDATE projects.person SET deactivated_at = now() WHERE id = $1`, w.cleo)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			invitation, letter := w.invite("ann@example.com", "")
			c.change(w, invitation)
			w.once(w.worker(), 0)
			if reply := w.want(letter, "failed"); !strings.Contains(reply, c.want) {
				t.Errorf("the reply is %q", reply)
			}
			if n := w.id(`SELECT count(*) FROM projects.token`); n != 0 || len(w.post.all()) != 0 {
				t.Errorf("%d tokens, %d mails", n, len(w.post.all()))
			}
		})
	}
}

// What is withdrawn while the mail is on its way is held back before the final dot.
func TestWithdrawnWhileItIsSent(t *testing.T) {
	w := newWorld(t)
	invitation, letter := w.invite("ann@example.com", "Ann")
	w.post.late = func() { w.exec(`UPDATE projects.invitation SET revoked_at = now() WHERE id = $1`, invitation) }
	w.once(w.worker(), 0)
	if reply := w.want(letter, "failed"); !strings.Contains(reply, "withdrawn") || len(w.post.all()) != 0 {
		t.Errorf("%d mails, %q", len(w.post.all()), reply)
	}
}

// Who clicks "send again" gets one mail if the former is still waiting.
func TestNewerLetterTakesTheOldersPlace(t *testing.T) {
	w := newWorld(t)
	invitation, first := w.invite("ann@example.com", "Ann")
	second := w.letter("invitation_id", invitation)
	other := w.letter("person_id", w.cleo)
	w.once(w.worker(), 2)
	w.want(first, "failed")
	w.want(second, "sent")
	w.want(other, "sent")
}

func TestFaults(t *testing.T) {
	fail := func(blame mail.Blame, permanent bool, text string) func(mail.Envelope) error {
		return func(mail.Envelope) error {
			return &mail.SendError{Step: "rcpt", Blame: blame, Permanent: permanent, Err: errors.New(text)}
		}
	}
	for name, c := range map[string]struct {
		fault func(mail.Envelope) error
		want  string
	}{
		"no such address":    {fail(mail.BlameRecipient, true, "550 no such user"), "failed"},
		"mail refused":       {fail(mail.BlameMessage, true, "554 spam"), "failed"},
		"later":              {fail(mail.BlameRecipient, false, "451 greylisted"), "waiting"},
		"the server is away": {fail(mail.BlameServer, false, "connection refused"), "waiting"},
		"bad credentials":    {fail(mail.BlameServer, true, "535 authentication failed"), "waiting"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, letter := w.invite("ann@example.com", "Ann")
			worker := w.worker()
			w.post.set(func(p *post) { p.fault = c.fault })
			w.once(worker, 0)
			if reply := w.want(letter, c.want); reply == "" {
				t.Error("it isn't said why")
			}
			w.post.set(func(p *post) { p.fault = nil })
			w.once(worker, 0) // not at once
			if c.want == "failed" {
				return
			}
			w.clock.forward(retryBase)
			w.once(worker, 1)
			w.want(letter, "sent")
		})
	}
}

// An address that isn't one can't be written to, ever.
func TestMailThatCannotBeMade(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("nobody at all", "Ann")
	w.once(w.worker(), 0)
	if reply := w.want(letter, "failed"); !strings.Contains(reply, "nobody at all") {
		t.Errorf("the reply is %q", reply)
	}
}

// Waits grow, are not the same for all, and end after a day.
func TestGivesUpAfterADay(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("ann@example.com", "Ann")
	worker := w.worker()
	w.post.fault = temporary
	tries := 0
	for range 200 {
		w.once(worker, 0)
		if tries++; query[bool](t, w.pool, `SELECT failed_at IS NOT NULL FROM projects.letter WHERE id = $1`, letter) {
			break
		}
		next := query[time.Time](t, w.pool, `SELECT next_at FROM projects.letter WHERE id = $1`, letter)
		wait := next.Sub(w.clock.Now())
		if wait < retryBase/2-time.Second || wait > retryMost {
			t.Fatalf("try %d waits for %s", tries, wait)
		}
		w.clock.forward(wait)
	}
	reply := w.want(letter, "failed")
	if tries < 24 || tries > 70 || !strings.Contains(reply, "451") {
		t.Errorf("%d tries, the reply is %q", tries, reply)
	}
	waits := map[time.Duration]bool{}
	for range 20 {
		waits[retryWait(5)] = true
	}
	if len(waits) < 10 {
		t.Errorf("only %d different waits", len(waits))
	}
}

// Servers quote what they dislike: neither the log nor the row may learn the secret from that.
func TestSecretInTheServersReply(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("ann@example.com", "Ann")
	var secret string
	w.post.fault = func(e mail.Envelope) error {
		_, secret = link(t, e)
		return &mail.SendError{
			Step: "dot", Blame: mail.BlameMessage, Permanent: true,
			Err: fmt.Errorf("554 blocked: https://projects.example.org/invited/%s %s", secret, strings.Repeat("é", 2000)),
		}
	}
	w.once(w.worker(), 0)
	reply := w.want(letter, "failed")
	if secret == "" || strings.Contains(reply+w.log.String(), secret) || !strings.Contains(reply, "/invited/…") || len(reply) > 1100 {
		t.Errorf("%q\n%s", reply, w.log)
	}
}

// A node that dies between claiming and sending leaves the letter to the others, for whom it is out of reach until the lease ends.
func TestCrashBetweenClaimAndSend(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("ann@example.com", "Ann")
	dead, alive := w.worker(), w.worker()
	lost, err := dead.claim(testContext(t))
	if err != nil || lost == nil || lost.secret == "" {
		t.Fatalf("%+v %v", lost, err)
	}
	w.once(alive, 0)
	w.clock.forward(lease - time.Second)
	w.once(alive, 0)
	w.clock.forward(time.Second)
	w.once(alive, 1)
	w.want(letter, "sent")
	if _, secret := link(t, w.post.all()[0]); secret == lost.secret {
		t.Error("the second mail has the link of the first")
	}
	// If the dead one wasn't dead, what it has to say comes too late.
	if err := dead.stillWanted(testContext(t), lost); err == nil {
		t.Error("both send it")
	}
	if err := dead.giveUp(testContext(t), lost, "late"); err != nil {
		t.Fatal(err)
	}
	w.want(letter, "sent")
}

// The same if the claim was taken over while the mail was under way, and its end is still unsent.
func TestLeaseThatRanOut(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("ann@example.com", "Ann")
	slow := w.worker()
	other := &post{}
	fast, err := New(w.pool, Options{Sender: other, Renderer: w.renderer, PublicURL: "https://projects.example.org", Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.post.late = func() {
		w.clock.forward(lease)
		w.once(fast, 1)
	}
	// One try and no more: Once has others, which might take the letter over themselves.
	if found, sent, err := slow.one(testContext(t)); !found || sent || err != nil {
		t.Errorf("the slow one: found %t, sent %t, %v", found, sent, err)
	}
	w.want(letter, "sent")
	if len(w.post.all()) != 0 || len(other.all()) != 1 {
		t.Errorf("%d and %d mails", len(w.post.all()), len(other.all()))
	}
}

func TestTwoWorkersShare(t *testing.T) {
	w := newWorld(t)
	const n = 60
	for i := range n {
		w.invite(fmt.Sprintf("p%d@example.com", i), "")
	}
	a, b := w.worker(), w.worker()
	var all sync.WaitGroup
	var sent [2]int
	for i, worker := range []*Worker{a, b} {
		all.Go(func() {
			var err error
			if sent[i], err = worker.Once(testContext(t)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	to := map[string]int{}
	for _, e := range w.post.all() {
		to[e.To]++
	}
	if sent[0]+sent[1] != n || len(to) != n || len(w.post.all()) != n {
		t.Errorf("%d and %d sent, %d mails to %d people", sent[0], sent[1], len(w.post.all()), len(to))
	}
}

// A mail that the server may have taken goes out again: rather twice than not at all.
func TestUncertainMail(t *testing.T) {
	w := newWorld(t)
	_, letter := w.invite("ann@example.com", "Ann")
	w.post.tookIt = true
	w.post.fault = func(mail.Envelope) error {
		return &mail.SendError{Step: "dot", Blame: mail.BlameServer, Uncertain: true, Err: errors.New("connection reset")}
	}
	worker := w.worker()
	w.once(worker, 0)
	w.want(letter, "waiting")
	w.post.set(func(p *post) { p.fault = nil })
	w.clock.forward(retryBase)
	w.once(worker, 1)
	sent := w.post.all()
	first, second := messageID(sent[0]), messageID(sent[1])
	if len(sent) != 2 || first == "" || first == second {
		t.Errorf("%d mails, %s and %s", len(sent), first, second)
	}
}

func messageID(e mail.Envelope) string {
	_, rest, _ := strings.Cut(string(e.Data), "Message-ID: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

// Run sends what it is woken for, what nobody wakes it for, and stops with its context, giving back what it had under way.
func TestRun(t *testing.T) {
	w := newWorld(t)
	worker := w.worker()
	ctx, cancel := context.WithCancel(testContext(t))
	sent := make(chan struct{}, 10)
	w.post.late = func() { sent <- struct{}{} }
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	_, first := w.invite("ann@example.com", "Ann")
	worker.Wake()
	worker.Wake()
	<-sent
	w.invite("bob@example.com", "Bob") // of which another node knows
	<-sent
	held := make(chan struct{})
	w.post.set(func(p *post) {
		p.fault = func(mail.Envelope) error {
			close(held)
			<-ctx.Done()
			return &mail.SendError{Step: "connect", Blame: mail.BlameServer, Err: ctx.Err()}
		}
	})
	_, third := w.invite("cy@example.com", "Cy")
	worker.Wake()
	<-held
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	w.want(first, "sent")
	w.want(third, "waiting")
	w.post.set(func(p *post) { p.fault, p.late = nil, nil })
	w.once(w.worker(), 1) // at once: the lease was given back
}

// While the database is away, Once says so and Run goes on.
func TestDatabaseAway(t *testing.T) {
	w := newWorld(t)
	w.invite("ann@example.com", "Ann")
	w.exec(`ALTER TABLE projects.letter RENAME TO away`)
	worker := w.worker()
	if n, err := worker.Once(testContext(t)); err == nil || n != 0 {
		t.Errorf("%d %v", n, err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	sent := make(chan struct{}, 1)
	w.post.late = func() { sent <- struct{}{} }
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	w.exec(`ALTER TABLE projects.away RENAME TO letter`)
	worker.Wake()
	<-sent
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	for _, url := range []string{"", "projects.example.org", "ftp://example.org", "https://u:p@example.org", "https://example.org/?a", "/invited"} {
		_, err := New(w.pool, Options{Sender: w.post, Renderer: w.renderer, PublicURL: url})
		var bad *trunkline.ArgumentError
		if !errors.As(err, &bad) || !cmp.Equal(bad.Argument, "public-url") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := New(w.pool, Options{PublicURL: "https://example.org"}); err == nil {
		t.Error("without a sender")
	}
}
