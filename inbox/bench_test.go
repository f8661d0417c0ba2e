package inbox_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// How many notifications per second are placed while 8 writers notify, each in a transaction of its own, and how many if they were
// there already.
func BenchmarkPlace(b *testing.B) {
	const writers, users = 8, 1000
	b.Run("live", func(b *testing.B) {
		in, _, _ := startNode(b)
		var left atomic.Int64
		left.Store(int64(b.N))
		b.ResetTimer()
		write(b, in, writers, func() bool { return left.Add(-1) >= 0 }, users)
		awaitPlaced(b, in, b.N)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placed/s")
	})
	b.Run("backlog", func(b *testing.B) {
		url := pgtest.Database(b)
		conn := pgtest.Connect(b, url)
		exec(b, conn, `SELECT count(trunkline.notify('user ' || n % $2, 'k', '{"task": {"title": "Paint the fence"}}',
				"group" => 'project:7', cause => 'task:' || n))
			FROM generate_series(1, $1::integer) n`, b.N, users)
		exec(b, conn, "VACUUM ANALYZE trunkline.notification")
		in := newInbox(b, startEngine(b, url))
		b.ResetTimer()
		if err := in.Keep(context.Background(), time.Time{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "placed/s")
	})
}

// How long it takes from the call that notifies, its commit included, until the user's push arrives, 100 times a second.
func BenchmarkLatency(b *testing.B) {
	_, engine, conn := startNode(b)
	sub := pushesTo(b, engine, "ann")
	var took, commits []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		began := time.Now()
		notify(b, conn, "k", "ann")
		commits = append(commits, time.Since(began))
		next(b, sub)
		took = append(took, time.Since(began))
	}
	for _, figure := range []struct {
		name  string
		times []time.Duration
	}{{"push", took}, {"commit", commits}} {
		slices.Sort(figure.times)
		b.ReportMetric(float64(figure.times[len(figure.times)/2].Microseconds()), figure.name+"-p50-µs")
		b.ReportMetric(float64(figure.times[len(figure.times)*99/100].Microseconds()), figure.name+"-p99-µs")
	}
}

// write has writers notify as long as there is more.
func write(b *testing.B, in *inbox.Inbox, writers int, more func() bool, users int) {
	b.Helper()
	var writing sync.WaitGroup
	var n atomic.Int64
	for range writers {
		writing.Go(func() {
			for more() {
				_, err := in.Notify(context.Background(), inbox.Notification{
					Users: []string{fmt.Sprintf("user %d", n.Add(1)%int64(users))}, Kind: "k", Group: "project:7", Cause: "task:1",
					Data: []byte(`{"task": {"title": "Paint the fence"}}`),
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
}

func awaitPlaced(b *testing.B, in *inbox.Inbox, want int) {
	b.Helper()
	eventually(b, "all are placed", func() bool { return in.Stats().Placed == int64(want) })
}
