package trunkline_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

// Publish where the change happens: what commits is announced, what rolls back never was.
func ExamplePublishTx() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@db.internal/app")
	if err != nil {
		panic(err)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE task SET done = true WHERE id = $1", 7); err != nil {
			return err
		}
		_, err := trunkline.PublishTx(ctx, tx, trunkline.Publication{
			Channel: "project:42",
			Payload: []byte(`{"task": 7, "done": true}`),
			Sender:  "ann",
		})
		return err
	})
	if err != nil {
		panic(err)
	}
}

// A reader that survives everything: it remembers where it stopped, and starts over when that can't be resumed.
func ExampleEngine_Subscribe() {
	ctx := context.Background()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: "postgres://app@db.internal/app"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = engine.Stop(ctx) }()
	if err := engine.Start(ctx); err != nil {
		panic(err)
	}

	from := trunkline.FromBeginning() // or Since(what was remembered)
	for {
		sub, err := engine.Subscribe(ctx, []string{"project:42"}, trunkline.SubscribeOptions{From: from})
		if err != nil {
			panic(err)
		}
		for message, failure := range sub.All(ctx) {
			if failure != nil {
				err = failure
				break
			}
			fmt.Printf("%s #%d %s\n", message.Channel, message.Seq, message.Payload)
			from = trunkline.Since(message.LogPosition())
		}
		sub.Close()

		var slow *trunkline.SlowConsumerError
		var epoch *trunkline.EpochError
		switch {
		case errors.As(err, &slow):
			from = trunkline.Since(slow.Resume)
		case errors.As(err, &epoch):
			from = trunkline.FromBeginning()
		default:
			panic(err)
		}
	}
}

// Watch a table instead of publishing by hand: every committed change of it becomes a message.
func ExampleAddWatch() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@db.internal/app")
	if err != nil {
		panic(err)
	}
	id, err := trunkline.AddWatch(ctx, conn, trunkline.WatchOptions{
		Table:   "task",
		Channel: "project:{project_id}",
		Ops:     []string{"update"},
		Columns: []string{"id", "title", "done"},
		Where:   "new.done IS DISTINCT FROM old.done",
	})
	if err != nil {
		panic(err) // says which argument, and what to do
	}
	fmt.Println("watch", id)
}
