package trunkline_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestStopWhilePublishing(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	ctx := testContext(t)
	var publishing sync.WaitGroup
	for range 8 {
		publishing.Go(func() {
			for {
				_, err := engine.Publish(ctx, trunkline.Publication{Channel: "c", Payload: []byte("1")})
				if errors.Is(err, trunkline.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	eventually(t, "messages flow", func() bool { return engine.Stats().Published > 100 })
	if err := engine.Stop(ctx); err != nil {
		t.Error(err)
	}
	publishing.Wait()
}

func TestAHeldKeyHoldsNobodyElse(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	holder := begin(t, url)
	for _, key := range []string{"a", "b"} {
		if _, err := trunkline.PublishTx(testContext(t), holder, trunkline.Publication{Channel: "c", Payload: []byte("1"), Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	var waiting sync.WaitGroup
	for _, key := range []string{"a", "b"} {
		waiting.Go(func() {
			if _, err := engine.Publish(testContext(t), trunkline.Publication{Channel: "c", Payload: []byte("1"), Key: key}); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience/2)
	defer cancel()
	if _, err := engine.Publish(ctx, trunkline.Publication{Channel: "d", Payload: []byte("1")}); err != nil {
		t.Errorf("without a key: %v", err)
	}
	if err := holder.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
}
