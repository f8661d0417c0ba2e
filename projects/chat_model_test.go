package projects

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// A spoken is a message of the model.
type spoken struct {
	id      int64
	author  int64
	key     string
	first   string // what it said when it was sent
	body    string
	edits   int
	deleted bool
}

// A model is what a conversation should be.
type model struct {
	m        team
	talk     int64
	stores   []*Store
	messages []*spoken
	read     map[int64]int64
	waits    bool
	// unread has the notifications that nobody has read, by person and message.
	unread map[[2]int64]bool
}

func (c *model) staff(person int64) bool { return person != c.m.Customer }

func (c *model) advance(person, seq int64) {
	c.read[person] = max(c.read[person], min(seq, int64(len(c.messages))))
	for key := range c.unread {
		if key[0] == person && c.seq(key[1]) <= c.read[person] {
			delete(c.unread, key)
		}
	}
}

func (c *model) seq(id int64) int64 {
	return int64(slices.IndexFunc(c.messages, func(s *spoken) bool { return s.id == id })) + 1
}

// Whatever several people do over two nodes, in whatever order, a conversation is what a simple model of it says.
func TestChatAgreesWithItsModel(t *testing.T) {
	for name, value := range map[string]string{"rapid.checks": "12", "rapid.steps": "25"} {
		usual := flag.Lookup(name).Value.String()
		t.Cleanup(func() { _ = flag.Set(name, usual) })
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	url := newDatabase(t)
	stores := []*Store{New(pgtest.Pool(t, url), Options{}), New(pgtest.Pool(t, url), Options{})}
	pool := stores[0].pool
	m := newTeam(t, pool)
	rapid.Check(t, func(r *rapid.T) {
		c := &model{m: m, talk: newConversation(t, pool, m.Project, "General"), stores: stores, read: map[int64]int64{}, unread: map[[2]int64]bool{}}
		people := rapid.SampledFrom([]int64{m.Customer, m.Staff, m.Lead})
		node := func() *Store { return rapid.SampledFrom(stores).Draw(r, "node") }
		one := func() *spoken {
			if len(c.messages) == 0 {
				r.Skip("nothing was said")
			}
			return rapid.SampledFrom(c.messages).Draw(r, "message")
		}
		r.Repeat(map[string]func(*rapid.T){
			"send": func(r *rapid.T) {
				if len(c.messages) == chatPage {
					r.Skip("a chat shows no more at once")
				}
				c.send(t, node(), people.Draw(r, "author"), rapid.SampledFrom([]string{"hello", "*hi*"}).Draw(r, "body"), rapid.Bool().Draw(r, "mention"))
			},
			"send again": func(r *rapid.T) {
				said := one()
				got, made, err := node().Send(testContext(t), said.author, c.talk, Draft{Key: said.key, Body: said.first})
				if err != nil || made || got.ID != said.id {
					t.Fatalf("again: %+v, made %v, %v", got, made, err)
				}
			},
			"edit":   func(r *rapid.T) { c.edit(t, node(), people.Draw(r, "editor"), one()) },
			"delete": func(r *rapid.T) { c.delete(t, node(), people.Draw(r, "deleter"), one()) },
			"read": func(r *rapid.T) {
				person, upTo := people.Draw(r, "reader"), rapid.Int64Range(0, int64(len(c.messages))+2).Draw(r, "up to")
				c.advance(person, upTo)
				if got, err := node().Read(testContext(t), person, c.talk, upTo); err != nil || got.ReadSeq != c.read[person] {
					t.Fatalf("%d read up to %d: %+v, %v, want %d", person, upTo, got, err, c.read[person])
				}
			},
			"": func(r *rapid.T) { c.compare(t, node(), people.Draw(r, "looks")) },
		})
	})
	if drifts, err := stores[0].Check(testContext(t), false); err != nil || len(drifts) > 0 {
		t.Errorf("drifts %v, %v", drifts, err)
	}
}

func (c *model) send(t *testing.T, s *Store, author int64, body string, mention bool) {
	t.Helper()
	told := []int64{c.m.Customer}
	if !c.staff(author) {
		told = []int64{c.m.Staff, c.m.Lead}
	}
	if mention {
		body += fmt.Sprintf(" @[Lea](person:%d)", c.m.Lead)
		if author != c.m.Lead && c.staff(author) {
			told = append(told, c.m.Lead)
		}
	}
	said := &spoken{author: author, key: fmt.Sprintf("key-%d", keys.Add(1)), first: body, body: body}
	got, made, err := s.Send(testContext(t), author, c.talk, Draft{Key: said.key, Body: body})
	if err != nil || !made || got.Seq != int64(len(c.messages))+1 {
		t.Fatalf("send: %+v, made %v, %v", got, made, err)
	}
	said.id = got.ID
	c.messages = append(c.messages, said)
	for _, person := range told {
		c.unread[[2]int64{person, said.id}] = true
	}
	c.advance(author, got.Seq)
	c.waits = !c.staff(author)
}

func (c *model) edit(t *testing.T, s *Store, editor int64, said *spoken) {
	t.Helper()
	body := fmt.Sprint("edited ", said.edits+1)
	_, err := s.EditMessage(testContext(t), editor, said.id, body, nil)
	switch {
	case editor != said.author:
		wantError(t, err, &ForbiddenError{})
	case said.deleted:
		wantError(t, err, &ConflictError{})
	default:
		wantError(t, err, nil)
		said.body = body
		said.edits++
	}
}

func (c *model) delete(t *testing.T, s *Store, deleter int64, said *spoken) {
	t.Helper()
	_, err := s.DeleteMessage(testContext(t), deleter, said.id)
	if deleter != said.author && (c.staff(said.author) || !c.staff(deleter)) {
		wantError(t, err, &ForbiddenError{})
		return
	}
	wantError(t, err, nil)
	said.body, said.deleted, said.edits = "", true, 0
	for key := range c.unread {
		if key[1] == said.id {
			delete(c.unread, key)
		}
	}
	// What still waits is what customers have said since staff spoke last.
	c.waits = false
	for _, s := range slices.Backward(c.messages) {
		if c.staff(s.author) {
			break
		}
		c.waits = c.waits || !s.deleted
	}
}

func (c *model) compare(t *testing.T, s *Store, person int64) {
	t.Helper()
	chat, err := s.Chat(testContext(t), person, c.talk, 0)
	if err != nil {
		t.Fatal(err)
	}
	type shown struct {
		ID, Seq, Author int64
		Body            string
		Deleted         bool
	}
	var want, got []shown
	for i, m := range c.messages {
		want = append(want, shown{m.id, int64(i) + 1, m.author, m.body, m.deleted})
	}
	for _, m := range chat.Messages {
		got = append(got, shown{m.ID, m.Seq, *m.AuthorID, m.Body, m.DeletedAt != nil})
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("messages (-model +chat):\n%s", diff)
	}
	read := map[int64]int64{}
	for _, r := range chat.Readers {
		read[r.PersonID] = r.ReadSeq
	}
	for who, seq := range c.read {
		if seq != read[who] {
			t.Fatalf("%d has read up to %d, the chat says %d", who, seq, read[who])
		}
	}
	conversation := chat.Conversation
	if conversation.LastSeq != int64(len(c.messages)) || *conversation.ReadSeq != c.read[person] || (conversation.AwaitingSince != nil) != c.waits {
		t.Fatalf("%+v, read %d: want last seq %d, read %d, waits %v", conversation, *conversation.ReadSeq, len(c.messages), c.read[person], c.waits)
	}
	notified := map[[2]int64]bool{}
	for _, m := range c.messages {
		for _, who := range collect[int64](t, s.pool, "SELECT user_id::bigint FROM trunkline.notification WHERE cause = $1 AND read_at IS NULL", topic("message", m.id)) {
			notified[[2]int64{who, m.id}] = true
		}
	}
	if diff := cmp.Diff(c.unread, notified); diff != "" {
		t.Fatalf("unread notifications by person and message (-model +inbox):\n%s", diff)
	}
}
