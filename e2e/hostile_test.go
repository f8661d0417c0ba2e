package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// memoryLimit bounds the server's memory in bytes, whatever is sent to it: that is several times what it needs, and a
	// fraction of what is sent.
	memoryLimit = 512 << 20
	// bystanderLimit is how long half of others' messages may take at most, on a machine that does much else and stands still at times.
	bystanderLimit = 5 * time.Second
	// halfOpenLimit is how long a connection may do nothing: the server allows a body of REST 30 s, and all else 10 s.
	halfOpenLimit = 30*time.Second + patience
)

// TestHostileClients sends what no honest client sends, all at once. Meanwhile honest ones go on, memory stays bounded, and
// each refusal has a code and a reason.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	url, pool := newDatabase(t)
	n := startNode(t, url)
	watching := watchBystander(t, n, pool)
	t.Run("all", func(t *testing.T) {
		for _, attack := range []struct {
			name string
			run  func(*testing.T, *node, *pgxpool.Pool)
		}{
			{"HalfOpen", halfOpen}, // first: it mostly waits
			{"Garbage", garbage},
			{"HugeFrames", hugeFrames},
			{"ManySubscribes", manySubscribes},
			{"SlowReaders", slowReaders},
			{"BadTokens", badTokens},
		} {
			t.Run(attack.name, func(t *testing.T) {
				t.Parallel()
				attack.run(t, n, pool)
			})
		}
	})
	watching()
	if most := peakMemory(t, n.cmd.Process.Pid); most > memoryLimit {
		t.Errorf("the server has used %d MiB", most>>20)
	} else if most > 0 {
		t.Logf("the server has used %d MiB at most", most>>20)
	}
	if status := n.status(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz is answered with %d", status)
	}
}

// peakMemory is the most that a process has had in memory, in bytes; 0 where that can't be known.
func peakMemory(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		t.Fatalf("no VmHWM in %s", status)
	}
	kilobytes, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// watchBystander lets an honest client follow a channel, in which a message is published every few milliseconds. The function
// it returns ends that, and checks that each message came once, in order and in time.
func watchBystander(t *testing.T, n *node, pool *pgxpool.Pool) func() {
	t.Helper()
	w := mustDial(t, n, 1)
	w.patience = 0 // ended by closing
	w.login(t, token(t, "bystander"))
	w.follow(t, "room:bystander")

	stop := make(chan struct{})
	var published atomic.Int64
	var sent sync.Map // number → when
	publishing := make(chan error, 1)
	go func() {
		for number := int64(1); ; number++ {
			select {
			case <-stop:
				publishing <- nil
				return
			case <-time.After(5 * time.Millisecond):
			}
			sent.Store(number, time.Now())
			if _, err := pool.Exec(context.WithoutCancel(t.Context()),
				"SELECT trunkline.publish('room:bystander', json_build_object('n', $1::int))", number); err != nil {
				publishing <- err
				return
			}
			published.Store(number)
		}
	}()
	received := make(chan error, 1)
	var got atomic.Int64
	var delays []time.Duration // the receiver's until received is told
	grown := make(chan struct{}, 1)
	go func() {
		for {
			replies, end := w.read()
			if end != nil {
				received <- end.err
				return
			}
			for _, one := range replies {
				if one.ID == 0 && one.Push == nil { // a ping
					if err := w.send(websocket.MessageText, []byte("{}")); err != nil {
						received <- err
						return
					}
					continue
				}
				if one.Push == nil || one.Push.Pub == nil {
					continue
				}
				number := one.Push.Pub.Offset
				if number != got.Load()+1 {
					received <- fmt.Errorf("offset %d follows %d", number, got.Load())
					return
				}
				at, _ := sent.Load(number)
				delays = append(delays, time.Since(at.(time.Time)))
				got.Store(number)
				select {
				case grown <- struct{}{}:
				default:
				}
			}
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		if err := <-publishing; err != nil {
			t.Error(err)
		}
		deadline := time.After(patience)
		for got.Load() < published.Load() {
			select {
			case <-grown:
			case err := <-received:
				t.Fatalf("the bystander was thrown out: %v", err)
			case <-deadline:
				t.Fatalf("the bystander has got %d of %d messages", got.Load(), published.Load())
			}
		}
		_ = w.conn.CloseNow()
		if err := <-received; err == nil {
			t.Error("the bystander's connection ended without an error")
		}
		if len(delays) == 0 {
			return // nothing went on meanwhile
		}
		slices.Sort(delays)
		p50, p99, most := delays[len(delays)/2], delays[len(delays)*99/100], delays[len(delays)-1]
		t.Logf("%d messages of others meanwhile: p50 %v, p99 %v, at most %v", len(delays), p50, p99, most)
		if p50 > bystanderLimit {
			t.Errorf("others' messages took %v (p50)", p50)
		}
	}
}
