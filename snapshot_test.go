package trunkline_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestOffsetOfChannels(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	ctx := testContext(t)
	engine := startEngine(t, url)

	before, err := trunkline.ReadOffset(ctx, conn, "nobody:1")
	if err != nil || before.Seq != 0 || before.Epoch == "" {
		t.Errorf("of a channel that was never published to: %+v, %v", before, err)
	}
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	publish(t, conn, "c", `1`)
	publish(t, conn, "other", `1`)
	publish(t, conn, "c", `2`)
	last := next(t, sub, 2)[1]
	if got, err := trunkline.ReadOffset(ctx, conn, "c"); err != nil || got != last.Offset() {
		t.Errorf("after the message at %s: %s, %v", last.Offset(), got, err)
	}
	if _, err := trunkline.ReadOffset(ctx, conn, "bad\x00"); err == nil || !errors.As(err, new(*trunkline.ArgumentError)) {
		t.Errorf("a bad name: %v", err)
	}
}

// A reader takes a snapshot of a table together with an offset, follows the channel from there, and has each row once or twice,
// but never not: while four writers write.
func TestSnapshotWithItsOffset(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	setup := pgtest.Connect(t, url)
	ctx := testContext(t)
	if _, err := setup.Exec(ctx, `CREATE TABLE item (id integer PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	const writers, each, readers = 4, 250, 12
	var group sync.WaitGroup
	defer group.Wait()
	for w := range writers {
		conn := pgtest.Connect(t, url)
		group.Go(func() {
			for i := range each {
				id := strconv.Itoa(w*each + i)
				err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					// In either order: what counts is the commit.
					insert := func() error { _, err := tx.Exec(ctx, `INSERT INTO item VALUES ($1::integer)`, id); return err }
					announce := func() error {
						_, err := trunkline.PublishTx(ctx, tx, trunkline.Publication{Channel: "item", Payload: []byte(id)})
						return err
					}
					if i%2 == 0 {
						return errors.Join(insert(), announce())
					}
					return errors.Join(announce(), insert())
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range readers {
		conn := pgtest.Connect(t, url)
		group.Go(func() {
			has := map[string]bool{}
			var offset trunkline.Offset
			err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
				if offset, err = trunkline.ReadOffset(ctx, tx, "item"); err != nil {
					return err
				}
				rows, err := tx.Query(ctx, `SELECT id::text FROM item`)
				if err != nil {
					return err
				}
				ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
				for _, id := range ids {
					has[id] = true
				}
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			if len(has) < int(offset.Seq) {
				t.Errorf("the snapshot has %d rows, but %d were announced up to its offset", len(has), offset.Seq)
			}
			sub, err := engine.Subscribe(ctx, []string{"item"}, trunkline.SubscribeOptions{From: trunkline.FromOffset(offset)})
			if err != nil {
				t.Error(err)
				return
			}
			defer sub.Close()
			for seq := offset.Seq; seq < writers*each; seq++ {
				m, err := sub.Next(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				has[string(m.Payload)] = true
			}
			for id := range writers * each {
				if !has[fmt.Sprint(id)] {
					t.Errorf("row %d fell between snapshot and subscription", id)
				}
			}
		})
	}
}
