package trunkline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A logInMemory is a hub with a log behind it, without a database and its time.
type logInMemory struct {
	engine *Engine

	mu        sync.Mutex
	log       []*Message
	seqs      map[string]int64
	intervals map[string]time.Duration
	fails     int // how many of the next reads fail
}

func newLogInMemory(t *testing.T, intervals map[string]time.Duration) *logInMemory {
	t.Helper()
	c := &counters{}
	cfg := Config{RingMessages: 4, RingBytes: 1 << 20, QueueMessages: 50, QueueBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	l := &logInMemory{seqs: map[string]int64{}, intervals: intervals}
	e := &Engine{cfg: cfg, log: cfg.Logger, counters: c, hub: newHub(&cfg, c), stopping: make(chan struct{})}
	e.historian, e.newest = newHistorian(t.Context(), nil, c), newHistorian(t.Context(), nil, c)
	e.historian.answer, e.newest.answer = l.answer, l.answer
	e.hub.namespace = func(channel string) Namespace {
		l.mu.Lock()
		defer l.mu.Unlock()
		return Namespace{Conflate: l.intervals[NamespaceOf(channel)]}
	}
	e.hub.begin("epoch", 0)
	l.engine = e
	t.Cleanup(func() { e.historian.close(); e.newest.close() })
	return l
}

// answer reads pages as the database would. Like it, it may find the log ahead of the hub.
func (l *logInMemory) answer(keys []pageKey, pages []*page) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails > 0 {
		l.fails--
		return context.DeadlineExceeded
	}
	for i, key := range keys {
		p := pages[i]
		p.epoch, p.alive, p.logEnd, p.lastSeq = "epoch", true, int64(len(l.log)), l.seqs[key.channel]
		p.afterSeq = max(key.seq, 0)
		for _, m := range l.log {
			if m.Channel != key.channel {
				continue
			}
			if key.seq < 0 && m.Position <= key.position {
				p.afterSeq = m.Seq
			} else if m.Seq > p.afterSeq {
				p.messages = append(p.messages, m)
			}
		}
		if key.newest > 0 && len(p.messages) > key.newest {
			p.messages = p.messages[len(p.messages)-key.newest:]
		}
	}
	return nil
}

// publish appends to the log without delivering.
func (l *logInMemory) publish(channel string) *Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seqs[channel]++
	m := &Message{Channel: channel, Epoch: "epoch", Seq: l.seqs[channel], Position: int64(len(l.log)) + 1, Payload: []byte("1"), size: 1}
	l.log = append(l.log, m)
	return m
}

// conflate changes the interval of a namespace.
func (l *logInMemory) conflate(namespace string, interval time.Duration) {
	l.mu.Lock()
	l.intervals[namespace] = interval
	l.mu.Unlock()
	l.engine.hub.reconfigure()
}

// fail makes the next read fail.
func (l *logInMemory) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = 1
}

// deliver publishes to channels and delivers.
func (l *logInMemory) deliver(channels ...string) {
	for _, channel := range channels {
		l.engine.hub.deliver([]*Message{l.publish(channel)})
	}
}

func (l *logInMemory) subscribe(t *testing.T, from Start, channels ...string) *Subscription {
	t.Helper()
	s, err := l.engine.Subscribe(t.Context(), channels, SubscribeOptions{From: from, Conflate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// expect reads the next message of a channel and returns how long it took.
func expect(t *testing.T, s *Subscription, channel string, seq, skipped int64) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	began := time.Now()
	m, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("instead of seq %d of %q: %v", seq, channel, err)
	}
	if m.Channel != channel || m.Seq != seq || m.Skipped != skipped {
		t.Fatalf("got seq %d of %q, skipped %d; want seq %d of %q, skipped %d", m.Seq, m.Channel, m.Skipped, seq, channel, skipped)
	}
	return time.Since(began)
}

func silent(t *testing.T, s *Subscription, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if m, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got seq %d of %q, %v", m.Seq, m.Channel, err)
	}
}

func TestConflatedFirstAtOnceThenOneInEachIntervalAndTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLogInMemory(t, map[string]time.Duration{"c": time.Second})
		s := l.subscribe(t, FromNow(), "c:1")
		l.deliver("c:1")
		if !s.Ready() {
			t.Error("not ready with a first message")
		}
		if took := expect(t, s, "c:1", 1, 0); took != 0 {
			t.Errorf("the first took %v", took)
		}
		l.deliver("c:1", "c:1", "c:1")
		if s.Ready() {
			t.Error("ready before the interval is over")
		}
		if took := expect(t, s, "c:1", 4, 2); took != time.Second {
			t.Errorf("the next took %v", took)
		}
		time.Sleep(300 * time.Millisecond)
		l.deliver("c:1")
		if took := expect(t, s, "c:1", 5, 0); took != 700*time.Millisecond {
			t.Errorf("the next took %v", took)
		}
		silent(t, s, 10*time.Minute)
		l.deliver("c:1", "c:1")
		if took := expect(t, s, "c:1", 7, 1); took != 0 {
			t.Errorf("the first after a pause took %v", took)
		}

		// More than any queue holds, and nobody reads meanwhile.
		for range 1000 {
			l.deliver("c:1")
		}
		expect(t, s, "c:1", 1007, 999)
		// What is held when the engine stops comes at once.
		l.deliver("c:1")
		l.engine.hub.close()
		if took := expect(t, s, "c:1", 1008, 0); took != 0 {
			t.Errorf("the last took %v", took)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestConflatedChannelsBeginWithTheirNewest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLogInMemory(t, map[string]time.Duration{"c": time.Second})
		for range 10 {
			l.deliver("c:1", "plain", "c:2")
		}
		l.fail()
		expect(t, l.subscribe(t, FromNow(), "c:1"), "c:1", 10, 0)
		l.deliver("c:1")
		expect(t, l.subscribe(t, FromNow(), "c:1"), "c:1", 11, 0) // from memory
		expect(t, l.subscribe(t, FromBeginning(), "c:1"), "c:1", 11, 10)
		expect(t, l.subscribe(t, FromOffset(Offset{Epoch: "epoch", Seq: 4}), "c:1"), "c:1", 11, 6)
		silent(t, l.subscribe(t, FromOffset(Offset{Epoch: "epoch", Seq: 11}), "c:1"), time.Minute)
		silent(t, l.subscribe(t, FromNow(), "c:never"), time.Minute)
		var beyond *BeyondLogError
		if _, err := l.subscribe(t, FromOffset(Offset{Epoch: "epoch", Seq: 12}), "c:1").Next(t.Context()); !errors.As(err, &beyond) || beyond.Last != 11 {
			t.Errorf("beyond the channel: %v", err)
		}

		// Beside one that isn't conflated, which loses nothing.
		s := l.subscribe(t, Since(Position{Epoch: "epoch", Position: 9}), "plain", "c:2")
		expect(t, s, "c:2", 10, 0)
		for seq := int64(4); seq <= 10; seq++ {
			expect(t, s, "plain", seq, 0)
		}
		silent(t, s, time.Millisecond)
		if p := s.Position(); p.Position != int64(len(l.log)) {
			t.Errorf("position %v, the log ends at %d", p, len(l.log))
		}
		// What is held doesn't keep the position back: whoever resumes gets it first.
		l.deliver("c:2", "plain")
		expect(t, s, "plain", 11, 0)
		again := l.subscribe(t, Since(s.Position()), "plain", "c:2")
		expect(t, again, "c:2", 11, 0)
		silent(t, again, time.Minute)
	})
}

func TestConflationFollowsTheInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLogInMemory(t, map[string]time.Duration{"c": time.Hour})
		s := l.subscribe(t, FromNow(), "c:1", "plain")
		l.deliver("c:1")
		expect(t, s, "c:1", 1, 0)
		l.deliver("c:1", "c:1")
		time.AfterFunc(time.Second, func() { l.conflate("c", 3*time.Second) })
		if took := expect(t, s, "c:1", 3, 1); took != 3*time.Second {
			t.Errorf("a shorter interval took %v", took)
		}
		l.deliver("c:1", "c:1")
		l.conflate("c", 0)
		expect(t, s, "c:1", 5, 1)
		l.deliver("c:1", "c:1", "plain")
		expect(t, s, "c:1", 6, 0)
		l.conflate("c", time.Second)
		l.deliver("c:1", "c:1")
		expect(t, s, "c:1", 7, 0) // was queued already
		expect(t, s, "plain", 1, 0)
		if took := expect(t, s, "c:1", 9, 1); took != time.Second {
			t.Errorf("conflated again it took %v", took)
		}
	})
}

// Whatever happens to intervals, queues and the way a node gets at the log: of conflated channels the last comes, of others
// all, each in order and none twice.
func TestConflationAgreesWithTheLog(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			intervals := []time.Duration{0, 10 * time.Millisecond, 70 * time.Millisecond}
			l := newLogInMemory(t, map[string]time.Duration{"c": intervals[random.IntN(3)], "d": time.Second})
			channels := []string{"c:1", "c:2", "d:1", "plain", "default:2"}
			for range random.IntN(20) {
				l.deliver(channels[random.IntN(len(channels))])
			}
			from := []Start{FromNow(), FromBeginning(), Since(Position{Epoch: "epoch", Position: int64(random.IntN(len(l.log) + 1))})}[random.IntN(3)]
			start := int64(len(l.log))
			if from.kind != startNow {
				start = from.position.Position
			}
			s := l.subscribe(t, from, channels...)
			got := make(chan Message, 10_000)
			plain := start // of what isn't conflated, everything up to here was received
			ctx, cancel := context.WithCancel(t.Context())
			pause := random.IntN(3)
			go func() {
				defer close(got)
				for {
					m, err := s.Next(ctx)
					if err != nil {
						if ctx.Err() == nil {
							t.Errorf("seed %d: ended with %v", seed, err)
						}
						return
					}
					got <- m
					time.Sleep(time.Duration(pause) * time.Millisecond)
				}
			}()
			for range 300 {
				channel := channels[random.IntN(len(channels))]
				switch random.IntN(40) {
				case 0:
					l.conflate("c", intervals[random.IntN(3)])
				case 1: // this node falls behind, and jumps
					for range random.IntN(8) {
						l.publish(channels[random.IntN(len(channels))])
					}
					time.Sleep(5 * time.Millisecond)
					l.engine.hub.jump(int64(len(l.log)))
				case 2: // a payload that isn't fetched along
					bare := *l.publish(channel)
					bare.Payload = nil
					l.engine.hub.deliver([]*Message{&bare})
				case 3:
					l.fail()
				default:
					l.deliver(channel)
				}
				time.Sleep(time.Duration(random.IntN(6)) * time.Millisecond)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			cancel()
			seqs := map[string][]int64{}
			for m := range got {
				before := seqs[m.Channel]
				resume := m.LogPosition().Position
				if NamespaceOf(m.Channel) == "default" {
					plain = m.Position
				}
				for _, missed := range l.log[min(int64(len(l.log)), plain):max(plain, min(resume, int64(len(l.log))))] {
					if NamespaceOf(missed.Channel) == "default" {
						t.Fatalf("seed %d: after seq %d of %q it resumes behind %d, but %d has not come", seed, m.Seq, m.Channel, resume, missed.Position)
					}
				}
				if NamespaceOf(m.Channel) != "c" && resume < plain { // those of c may not be conflated just now
					t.Fatalf("seed %d: after seq %d of %q it resumes behind %d, which came already", seed, m.Seq, m.Channel, resume)
				}
				if len(before) > 0 && m.Seq <= before[len(before)-1] {
					t.Fatalf("seed %d: seq %d of %q follows %d", seed, m.Seq, m.Channel, before[len(before)-1])
				}
				if len(before) > 0 && m.Skipped > 0 && m.Skipped != m.Seq-before[len(before)-1]-1 {
					t.Fatalf("seed %d: seq %d of %q follows %d and says %d skipped", seed, m.Seq, m.Channel, before[len(before)-1], m.Skipped)
				}
				seqs[m.Channel] = append(before, m.Seq)
			}
			want := map[string][]int64{}
			for _, m := range l.log {
				if m.Position > start {
					want[m.Channel] = append(want[m.Channel], m.Seq)
				}
			}
			for _, channel := range []string{"plain", "default:2"} {
				if !slices.Equal(seqs[channel], want[channel]) {
					t.Fatalf("seed %d: of %q came %v, want %v", seed, channel, seqs[channel], want[channel])
				}
			}
			for _, channel := range []string{"c:1", "c:2", "d:1"} {
				if had := seqs[channel]; l.seqs[channel] > 0 && (len(had) == 0 || had[len(had)-1] != l.seqs[channel]) {
					t.Fatalf("seed %d: of %q came %v, the last is %d", seed, channel, had, l.seqs[channel])
				}
			}
			s.Close()
		})
	}
}
