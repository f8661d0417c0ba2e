package projects

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

func TestReadOnlyRises(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	if r, err := s.Read(ctx, m.Staff, talk, 5); err != nil || r.ReadSeq != 0 || r.PersonID != m.Staff {
		t.Errorf("of an empty conversation %+v, %v", r, err)
	}
	for range 5 {
		post(t, s, m.Customer, talk, "hello")
	}
	read := func() (reads, summaries int) {
		for _, payload := range published(t, s.pool, topic("chat", talk)) {
			if strings.Contains(payload, `"read"`) && strings.Contains(payload, fmt.Sprintf(`"person_id" : %d`, m.Staff)) {
				reads++
			}
		}
		return reads, len(published(t, s.pool, topic("person", m.Staff)))
	}
	_, summaries := read()
	for i, tt := range []struct {
		upTo, want int64
		pushes     int
	}{{0, 0, 0}, {2, 2, 1}, {2, 2, 1}, {1, 2, 1}, {4, 4, 2}, {1 << 40, 5, 3}, {5, 5, 3}} {
		r, err := s.Read(ctx, m.Staff, talk, tt.upTo)
		if err != nil || r.ReadSeq != tt.want {
			t.Fatalf("step %d, read up to %d: %+v, %v", i, tt.upTo, r, err)
		}
		if reads, now := read(); reads != tt.pushes || now-summaries != tt.pushes {
			t.Errorf("step %d, read up to %d: %d pushes to the chat and %d to the reader, want %d", i, tt.upTo, reads, now-summaries, tt.pushes)
		}
	}
	_, err := s.Read(ctx, m.Staff, talk, -1)
	wantError(t, err, &InvalidError{Field: "up_to_seq"})
	if n := post(t, s, m.Staff, talk, "answer").Seq; n != 6 {
		t.Fatal(n)
	}
	if got := scan[int64](t, s.pool, "SELECT read_seq FROM projects.reader WHERE person_id = $1", m.Staff); got != 6 {
		t.Errorf("who sent message 6 has read up to %d", got)
	}
}

// Reading marks the notifications of what was read, whether or not they have reached the inbox, and none besides.
func TestReadMarksNotifications(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk, other := newConversation(t, s.pool, m.Project, "General"), newConversation(t, s.pool, m.Project, "Other")
	post(t, s, m.Customer, other, "elsewhere")
	for range 3 {
		post(t, s, m.Customer, talk, "question")
	}
	// Nothing has placed them in inboxes yet.
	if _, err := s.Read(ctx, m.Staff, talk, 2); err != nil {
		t.Fatal(err)
	}
	unread := func(want int) {
		t.Helper()
		page, err := s.inbox.List(ctx, user(m.Staff), inbox.ListOptions{State: inbox.StateUnread})
		if err != nil || len(page.Items) != want || page.Counts.Unread != want {
			t.Fatalf("%d items, counts %+v, want %d: %v", len(page.Items), page.Counts, want, err)
		}
	}
	settle(t, s)
	unread(2) // the third, and that of the other conversation
	if _, err := s.Read(ctx, m.Staff, talk, 3); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	unread(1)
	if n := scan[int](t, s.pool, "SELECT count(*) FROM projects.notice WHERE person_id = $1", m.Staff); n != 1 {
		t.Errorf("%d notices are kept", n)
	}
	// A mention that comes with an edit of what was read already waits for the next look.
	said := post(t, s, m.Lead, talk, "note")
	if _, err := s.Read(ctx, m.Staff, talk, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.EditMessage(ctx, m.Lead, said.ID, fmt.Sprintf("note @[Stan](person:%d)", m.Staff), nil); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
	unread(2)
	post(t, s, m.Staff, talk, "seen") // sending is reading
	settle(t, s)
	unread(1)
}

// settle works off what there is for inboxes.
func settle(t testing.TB, s *Store) {
	t.Helper()
	if err := s.inbox.Keep(testContext(t), time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestTyping(t *testing.T) {
	s := newLiveStore(t)
	m := newTeam(t, s.pool)
	ctx := testContext(t)
	talk := newConversation(t, s.pool, m.Project, "General")
	sub, err := s.engine.Subscribe(ctx, []string{topic("chat", talk)}, trunkline.SubscribeOptions{Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	now := time.Now()
	s.now = func() time.Time { return now }
	for _, person := range []int64{m.Customer, m.Customer, m.Customer, m.Staff, m.Lead} {
		if err := s.Typing(ctx, person, talk); err != nil {
			t.Fatal(err)
		}
	}
	post(t, s, m.Customer, talk, "done")
	typing := func(person int64) string { return fmt.Sprintf(`{"type":"typing","person_id":%d}`, person) }
	// Signals keep their order among themselves; messages come another way, and may overtake them.
	var signals, messages []string
	for len(messages) == 0 || !slices.Contains(signals, typing(m.Lead)) {
		message, err := sub.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if message.Signal {
			signals = append(signals, string(message.Payload))
		} else {
			messages = append(messages, string(message.Payload))
		}
	}
	if want := []string{typing(m.Customer), typing(m.Staff), typing(m.Lead)}; !slices.Equal(signals, want) {
		t.Errorf("signals %q, want one of each: %q", signals, want)
	}
	if strings.Contains(messages[0], "typing") {
		t.Errorf("what is kept is %q", messages)
	}
}

func TestTypingPace(t *testing.T) {
	var p typingPace
	now := time.Now()
	for i, tt := range []struct {
		person int64
		after  time.Duration
		want   bool
	}{{1, 0, true}, {1, 0, false}, {2, 0, true}, {1, 1999 * time.Millisecond, false}, {1, 2 * time.Second, true}, {1, 3 * time.Second, false}} {
		if got := p.take(tt.person, now.Add(tt.after)); got != tt.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	for person := range int64(3 * typingPeople) {
		p.take(person+10, now.Add(time.Duration(person)*100*time.Millisecond))
	}
	if len(p.last) > typingPeople {
		t.Errorf("%d people are remembered", len(p.last))
	}
}
