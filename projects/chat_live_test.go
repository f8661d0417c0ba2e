package projects

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline"
)

// A follower is a page: a snapshot, and what came on the channel from its position on.
type follower struct {
	messages map[int64]Message
	readers  map[int64]Reader
	from     int64 // the seq that it begins with
	at       trunkline.Offset
}

// follow loads a chat and returns a page that has it.
func follow(ctx context.Context, s *Store, person, conversation int64) (*follower, error) {
	chat, err := s.Chat(ctx, person, conversation, 1<<40)
	if err != nil {
		return nil, err
	}
	position := chat.Positions[topic("chat", conversation)]
	f := &follower{
		messages: map[int64]Message{}, readers: map[int64]Reader{}, from: 1, at: trunkline.Offset{Epoch: position.Epoch, Seq: position.Offset},
	}
	if len(chat.Messages) > 0 {
		f.from = chat.Messages[0].Seq
	}
	for _, m := range chat.Messages {
		f.messages[m.ID] = m
	}
	for _, r := range chat.Readers {
		f.readers[r.PersonID] = r
	}
	return f, nil
}

// take applies a delta: of each message the highest version counts, of each reader the furthest.
func (f *follower) take(payload []byte) error {
	var delta struct {
		Type    string
		Message Message
		Reader  Reader
	}
	if err := json.Unmarshal(payload, &delta); err != nil {
		return err
	}
	switch delta.Type {
	case "message":
		if delta.Message.Version > f.messages[delta.Message.ID].Version && delta.Message.Seq >= f.from {
			f.messages[delta.Message.ID] = delta.Message
		}
	case "read":
		if delta.Reader.ReadSeq > f.readers[delta.Reader.PersonID].ReadSeq {
			f.readers[delta.Reader.PersonID] = delta.Reader
		}
	default:
		return fmt.Errorf("a delta of type %q", delta.Type)
	}
	return nil
}

// catchUp follows the channel up to a seq of it.
func (f *follower) catchUp(ctx context.Context, s *Store, channel string, seq int64) error {
	sub, err := s.engine.Subscribe(ctx, []string{channel}, trunkline.SubscribeOptions{From: trunkline.FromOffset(f.at)})
	if err != nil {
		return err
	}
	defer sub.Close()
	for f.at.Seq < seq {
		m, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if m.Seq != f.at.Seq+1 {
			return fmt.Errorf("delta %d comes after %d", m.Seq, f.at.Seq)
		}
		f.at.Seq = m.Seq
		if err := f.take(m.Payload); err != nil {
			return err
		}
	}
	return nil
}

// Whoever loads a chat while others write, and follows it from the position that came with it, has in the end what the tables
// have: nothing falls between, whenever it is.
func TestSnapshotAndPositionMeet(t *testing.T) {
	s := newLiveStore(t)
	m := newTeam(t, s.pool)
	const pages, lanes = 200, 4
	for lane := range lanes {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			talk := newConversation(t, s.pool, m.Project, "General")
			post(t, s, m.Staff, talk, "Welcome") // the channel is there
			random := rand.New(rand.NewPCG(uint64(lane), 1))
			for page := range pages / lanes {
				ctx := testContext(t)
				written := make(chan error, 2)
				for writer := range 2 {
					seed := rand.New(rand.NewPCG(uint64(lane), uint64(2*page+writer+2)))
					go func() { written <- chatter(ctx, s, m, talk, seed) }()
				}
				// At any moment of that.
				for range random.IntN(3) {
					if err := s.pool.Ping(ctx); err != nil {
						t.Fatal(err)
					}
				}
				f, err := follow(ctx, s, m.Customer, talk)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if err := <-written; err != nil {
						t.Fatal(err)
					}
				}
				published := scan[int64](t, s.pool, "SELECT count(*) FROM trunkline.message WHERE channel = $1", topic("chat", talk))
				if err := f.catchUp(ctx, s, topic("chat", talk), published); err != nil {
					t.Fatalf("page %d: %v", page, err)
				}
				f.compare(t, s, talk, page)
			}
		})
	}
}

// chatter writes a little: messages, edits, deletions, reading.
func chatter(ctx context.Context, s *Store, m team, talk int64, random *rand.Rand) error {
	people := []int64{m.Customer, m.Staff, m.Lead}
	for range 3 {
		person := people[random.IntN(len(people))]
		said, _, err := s.Send(ctx, person, talk, Draft{Key: fmt.Sprintf("key-%d", keys.Add(1)), Body: fmt.Sprint("message ", random.Int())})
		if err != nil {
			return err
		}
		switch random.IntN(4) {
		case 0:
			_, err = s.EditMessage(ctx, person, said.ID, fmt.Sprint("edited ", random.Int()), nil)
		case 1:
			_, err = s.DeleteMessage(ctx, person, said.ID)
		case 2:
			_, err = s.Read(ctx, people[random.IntN(len(people))], talk, said.Seq)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) compare(t testing.TB, s *Store, talk int64, page int) {
	t.Helper()
	var messages []Message
	var readers []Reader
	for _, text := range collect[string](t, s.pool, "SELECT projects.message_json(m)::text FROM projects.message m WHERE conversation_id = $1 AND seq >= $2", talk, f.from) {
		messages = append(messages, decode[Message](t, text))
	}
	for _, text := range collect[string](t, s.pool, "SELECT projects.reader_json(r)::text FROM projects.reader r WHERE conversation_id = $1", talk) {
		readers = append(readers, decode[Reader](t, text))
	}
	wantMessages, wantReaders := map[int64]Message{}, map[int64]Reader{}
	for _, m := range messages {
		wantMessages[m.ID] = m
	}
	for _, r := range readers {
		wantReaders[r.PersonID] = r
	}
	// Two who say that the same person has read may have done so in either order.
	noTime := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ReadAt" }, cmp.Ignore())
	if diff := cmp.Diff(wantMessages, f.messages); diff != "" {
		t.Fatalf("page %d, messages (-table +page):\n%s", page, diff)
	}
	if diff := cmp.Diff(wantReaders, f.readers, noTime); diff != "" {
		t.Fatalf("page %d, readers (-table +page):\n%s", page, diff)
	}
}
