package trunkline_test

import (
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// Sync on a node that follows waits for what the sequencing one has delivered already.
func TestSync(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	first := startEngine(t, url)
	second := startEngine(t, url)
	trunkline.SyncWithin(second, patience)
	sub := subscribe(t, first, trunkline.FromNow(), "c")
	for i := range 20 {
		publish(t, first.Pool(), "c", numbered(i))
		got := next(t, sub, 1)
		if err := second.Sync(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if at := second.State().Log.Position; at < got[0].Position {
			t.Fatalf("after Sync the second node is at %d, the first has delivered %d", at, got[0].Position)
		}
		if err := first.Sync(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := second.Sync(testContext(t)); err == nil {
		t.Error("a stopped engine says that it is in step")
	}
}
