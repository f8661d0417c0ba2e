package auth

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
)

// One user asks about more channels than the function has been asked about yet. Others are answered all the same.
func TestOneUserDoesNotFillTheLine(t *testing.T) {
	g, pool, namespaces := withFunction(t)
	release := held(t, pool)
	defer release()
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.held", AuthorizeTimeout: 30 * time.Second})
	ctx := testContext(t)
	var crowd sync.WaitGroup
	var refused atomic.Int64
	const excess = 50
	for i := range maxOwn + excess {
		crowd.Go(func() {
			if err := g.Allow(ctx, &Identity{User: "mallory"}, fmt.Sprintf("room:%d", i), Subscribe); err != nil {
				refused.Add(1)
			}
		})
	}
	eventually(t, "mallory's are in line", func() bool {
		flights, _ := g.functions.waiting()
		return flights == maxOwn && refused.Load() == excess
	})
	crowd.Go(func() {
		if err := g.Allow(ctx, &Identity{User: "bob"}, "room:1", Subscribe); err != nil {
			t.Errorf("bob: %v", err)
		}
	})
	eventually(t, "bob's is in line", func() bool {
		flights, _ := g.functions.waiting()
		return flights == maxOwn+1
	})
	release()
	crowd.Wait()
	// Nothing is left on anybody's account.
	if n := len(g.functions.own); n != 0 || refused.Load() != excess {
		t.Errorf("%d accounts are left; %d questions were refused, want %d", n, refused.Load(), excess)
	}
	if err := g.Allow(ctx, &Identity{User: "mallory"}, "room:1", Subscribe); err != nil {
		t.Errorf("mallory, later: %v", err)
	}
}
