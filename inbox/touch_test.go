package inbox_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestTouch(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	in := newInbox(t, newEngine(t, url))
	ctx := testContext(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for _, user := range []string{"ann", "bob"} {
				if err := in.Touch(ctx, user); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.recipient WHERE active_at > now() - interval '1 min' AND email IS NULL"); n != 2 {
		t.Errorf("%d users are active, not 2", n)
	}
	// The second one soon after doesn't reach the database; in a transaction it does, and the database judges.
	exec(t, conn, "UPDATE trunkline.recipient SET active_at = now() - interval '1 h'")
	if err := in.Touch(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, conn)
	if err := inbox.TouchTx(ctx, tx, "bob"); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	if user := scan[string](t, conn, "SELECT string_agg(user_id, ' ') FROM trunkline.recipient WHERE active_at > now() - interval '1 min'"); user != "bob" {
		t.Errorf("active: %s", user)
	}
	// What failed is tried again.
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := in.Touch(canceled, "cat"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
	if err := in.Touch(ctx, "cat"); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.recipient WHERE user_id = 'cat'"); n != 1 {
		t.Error("the touch after one that failed isn't there")
	}
	for _, user := range []string{"", strings.Repeat("x", 250), "a\x00b", "\xff"} {
		var argument *trunkline.ArgumentError
		if err := in.Touch(ctx, user); !errors.As(err, &argument) || argument.Argument != "user_id" {
			t.Errorf("%q: %v", user, err)
		}
		if err := inbox.TouchTx(ctx, conn, user); !errors.As(err, &argument) {
			t.Errorf("%q: %v", user, err)
		}
	}
}
