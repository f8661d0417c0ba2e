package inbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// Notify where the change happens: who is notified of a completed task is notified if, and only if, it is completed.
func ExampleNotifyTx() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@db.internal/app")
	if err != nil {
		panic(err)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE task SET done = true WHERE id = $1", 7); err != nil {
			return err
		}
		_, err := inbox.NotifyTx(ctx, tx, inbox.Notification{
			Users: []string{"ann", "bob"},
			Kind:  "task.completed",
			Data:  []byte(`{"actor": "Carol", "task": {"title": "Paint the fence"}}`),
			Group: "project:42",
			Link:  "/projects/42#task-7",
			Cause: "task:7",
		})
		return err
	})
	if err != nil {
		panic(err)
	}
}

// Delete a task, and what was said about it, in the same transaction.
func ExampleRetractTx() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@db.internal/app")
	if err != nil {
		panic(err)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM task WHERE id = $1", 7); err != nil {
			return err
		}
		_, err := inbox.RetractTx(ctx, tx, inbox.Retraction{Cause: "task:7"})
		return err
	})
	if err != nil {
		panic(err)
	}
}

// A program that keeps inboxes, beside whatever else it does with its engine.
func ExampleInbox_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: "postgres://trunkline@db.internal/app"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = engine.Stop(context.Background()) }()
	if err := engine.Start(ctx); err != nil {
		panic(err)
	}
	inboxes, err := inbox.New(engine, inbox.Options{})
	if err != nil {
		panic(err)
	}
	if err := inboxes.Run(ctx); err != nil { // until the program is interrupted
		panic(err)
	}
}

// What a client does with pushes: the newest version counts, whatever the order in which they and answers arrive.
func ExampleCounts() {
	badge := inbox.Counts{Unseen: 2, Unread: 4, Version: 16} // of the page that was listed
	for _, payload := range []string{
		`{"unseen": 1, "unread": 4, "version": 15, "added": [], "changed": [], "removed": [], "more": false}`,
		`{"unseen": 3, "unread": 5, "version": 17, "added": [{"id": 9, "seq": 12, "text": "Carol completed Paint the fence"}],
			"changed": [], "removed": [], "more": false}`,
	} {
		var push struct {
			inbox.Counts
			Added []inbox.Item
		}
		if err := json.Unmarshal([]byte(payload), &push); err != nil {
			panic(err)
		}
		if push.Version <= badge.Version {
			fmt.Println("version", push.Version, "is in the page already")
			continue
		}
		badge = push.Counts
		for _, item := range push.Added {
			fmt.Println("new:", item.Text)
		}
	}
	fmt.Println(badge.Unseen, "new,", badge.Unread, "unread")
	// Output:
	// version 15 is in the page already
	// new: Carol completed Paint the fence
	// 3 new, 5 unread
}

// Show a page, and mark what was shown, and nothing that arrived since, as seen.
func ExampleInbox_Mark() {
	ctx := context.Background()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: "postgres://trunkline@db.internal/app"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = engine.Stop(ctx) }()
	inboxes, err := inbox.New(engine, inbox.Options{})
	if err != nil {
		panic(err)
	}
	page, err := inboxes.List(ctx, "ann", inbox.ListOptions{Limit: 20})
	if err != nil {
		panic(err)
	}
	for _, item := range page.Items {
		fmt.Println(item.Title, item.Text)
	}
	if len(page.Items) > 0 {
		changed, counts, err := inboxes.Mark(ctx, "ann", inbox.Mark{State: inbox.StateSeen, UpToSeq: page.Items[0].Seq})
		if err != nil {
			panic(err)
		}
		fmt.Println(changed, "seen now,", counts.Unread, "still unread")
	}
}

// Register what notifications are about when the application starts; doing so again changes nothing.
func ExampleSetKind() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@db.internal/app")
	if err != nil {
		panic(err)
	}
	err = inbox.SetKind(ctx, conn, inbox.Kind{
		Name:     "task.completed",
		Title:    "Task completed",
		Template: "{actor} completed {task.title}",
	})
	if err != nil {
		panic(err) // says which argument, and what to do
	}
}
