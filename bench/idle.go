package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// idleSuite counts what a node with nothing to do asks and writes.
func idleSuite(ctx context.Context, l *lab) error {
	engine, err := l.engine(ctx)
	if err != nil {
		return err
	}
	defer stop(engine)
	conn, err := pgx.Connect(ctx, l.URL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	const seconds = 20
	// Let what came before calm down; a checkpoint now keeps its records out of the measurement.
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	before := engine.Stats()
	wal, err := walPosition(ctx, conn)
	if err != nil {
		return err
	}
	if err := pause(ctx, seconds*time.Second); err != nil {
		return err
	}
	written, err := walPosition(ctx, conn)
	if err != nil {
		return err
	}
	after := engine.Stats()
	l.printf("  in %d s: %d steps, %d heartbeats of 2 queries, %d bytes of WAL (PostgreSQL's own included)\n", seconds,
		after.Steps-before.Steps, after.Heartbeats-before.Heartbeats, written-wal)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func walPosition(ctx context.Context, conn *pgx.Conn) (bytes int64, err error) {
	err = conn.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&bytes)
	return bytes, err
}

// memoryRate is how many messages a second are published meanwhile: enough to show a leak, not to fill a disk.
const memoryRate = 2000

// memorySuite publishes and delivers for a while, with subscribers that come and go, and prints this process's memory.
func memorySuite(ctx context.Context, l *lab) error {
	engine, err := l.engine(ctx)
	if err != nil {
		return err
	}
	defer stop(engine)
	channels := make([]string, 200)
	for i := range channels {
		channels[i] = "memory:" + strconv.Itoa(i)
	}
	received, err := receive(ctx, engine, channels)
	if err != nil {
		return err
	}
	defer received.close()
	soakCtx, cancel := context.WithTimeout(ctx, l.Soak)
	defer cancel()
	var reporting sync.WaitGroup
	reporting.Go(func() { report(soakCtx, l, engine) })
	defer reporting.Wait()

	batch := make([]trunkline.Publication, 100)
	tick := time.NewTicker(time.Second * time.Duration(len(batch)) / memoryRate)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-soakCtx.Done():
			return ctx.Err() // nil if only the time is up
		}
		for i := range batch {
			batch[i] = trunkline.Publication{Channel: channels[(n*len(batch)+i)%len(channels)], Payload: []byte(payload200)}
		}
		if _, err := engine.PublishMany(ctx, batch); err != nil {
			return err
		}
		// Somebody resumes a little way back, reads something, and leaves.
		from := engine.State().Log
		from.Position = max(0, from.Position-500)
		sub, err := engine.Subscribe(ctx, channels[:20], trunkline.SubscribeOptions{From: trunkline.Since(from)})
		if err != nil {
			return err
		}
		_, err = sub.Next(ctx)
		sub.Close()
		if err != nil {
			return err
		}
	}
}

func report(ctx context.Context, l *lab, engine *trunkline.Engine) {
	began := time.Now()
	for {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		rss, err := resident()
		if err != nil {
			l.printf("  %v\n", err)
			return
		}
		l.printf("  %5.0f s  %10d delivered  RSS %4d MiB  heap in use %4d MiB\n", time.Since(began).Seconds(),
			engine.Stats().Delivered, rss>>20, m.HeapInuse>>20)
		if pause(ctx, max(l.Soak/20, time.Second)) != nil {
			return
		}
	}
}

// resident returns this process's resident memory in bytes, as Linux tells it.
func resident() (int64, error) { return residentOf("self") }

func residentOf(pid string) (int64, error) {
	status, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0, fmt.Errorf("resident memory is only known on Linux: %w", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
