package realtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// BenchmarkFanOut hands messages to clients of one channel over WebSockets, as fast as they go. Clients and server share the
// machine. TRUNKLINE_BENCH_CLIENTS says how many clients; 1,000 without it.
func BenchmarkFanOut(b *testing.B) {
	count := 1000
	if text := os.Getenv("TRUNKLINE_BENCH_CLIENTS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	engine := startEngine(b, pgtest.Database(b))
	front := startFront(b, startNode(b, engine, &doorman{}, func(c *Config) {
		c.PingInterval = 10 * time.Minute // the clients below don't answer
	}))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var received atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	for i := range count {
		c := dial(b, front.websocket())
		c.connect(fmt.Sprint("user-", i))
		c.call("subscribe", `{"channel":"room:1"}`)
		readers.Go(func() {
			for {
				_, frame, err := c.conn.Read(ctx)
				if err != nil {
					return
				}
				received.Add(int64(bytes.Count(frame, []byte(`"pub"`))))
			}
		})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perClient := float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse) / float64(count)
	payloads := make([]trunkline.Publication, 100)
	for i := range payloads {
		payloads[i] = trunkline.Publication{Channel: "room:1", Payload: []byte(fmt.Sprintf(`{"n":%d,"text":"%s"}`, i, bytes.Repeat([]byte("x"), 80)))}
	}
	begun, sent := time.Now(), int64(0)
	for b.Loop() {
		// At most 2,000 messages ahead of the clients.
		eventually(b, "the clients keep up", func() bool { return sent*int64(count)-received.Load() <= 2000*int64(count) })
		if _, err := engine.PublishMany(ctx, payloads); err != nil {
			b.Fatal(err)
		}
		sent += int64(len(payloads))
	}
	eventually(b, "all have arrived", func() bool { return received.Load() >= sent*int64(count) })
	b.ReportMetric(float64(received.Load())/time.Since(begun).Seconds(), "deliveries/s")
	b.ReportMetric(perClient, "B/client+peer")
	cancel()
	readers.Wait()
}
