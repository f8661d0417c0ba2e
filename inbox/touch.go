package inbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
)

// TouchTx notes that a user did something just now, which postpones mail a little. The database writes it once in 30 seconds at
// most. Errors are those of [SetRecipient].
func TouchTx(ctx context.Context, tx trunkline.Tx, user string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	return touch(ctx, tx, user, grantRecipients)
}

// Touch is [TouchTx] in a transaction of its own. It may be called with every request: of the same user's touches, all within 30
// seconds of one that succeeded cost a look into a map, and the database doesn't learn of them.
func (i *Inbox) Touch(ctx context.Context, user string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	if !i.touches.take(user, time.Now()) {
		return nil
	}
	if err := touch(ctx, i.pool, user, grantInbox); err != nil {
		i.touches.giveBack(user)
		return i.withRole(ctx, err)
	}
	return nil
}

func touch(ctx context.Context, db trunkline.Tx, user, grant string) error {
	if _, err := db.Exec(ctx, "SELECT trunkline.touch($1)", user); err != nil {
		return fmt.Errorf("touch %q: %w", clip(user), explain(err, "user_id", grant))
	}
	return nil
}

const (
	// touchInterval is how far apart two touches of a user's are that both reach the database.
	touchInterval = 30 * time.Second
	// maxTouches bounds how many users each of the two maps holds: some 10 MB at worst.
	maxTouches = 20_000
)

// touches remembers which users were touched lately. Two generations: the older one is dropped whole when the newer one is full or
// has been filled for touchInterval. A user who is dropped too early is written once more, which does no harm. The zero value is
// ready.
type touches struct {
	mu     sync.Mutex
	newer  map[string]time.Time
	older  map[string]time.Time
	turned time.Time // when newer was begun
}

// take tells whether a touch is to be written, and if so remembers it.
func (t *touches) take(user string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, found := t.newer[user]
	if !found {
		at, found = t.older[user]
	}
	if found && now.Sub(at) < touchInterval {
		return false
	}
	if t.newer == nil || len(t.newer) >= maxTouches || now.Sub(t.turned) >= touchInterval {
		t.older, t.newer, t.turned = t.newer, map[string]time.Time{}, now
	}
	t.newer[user] = now
	return true
}

// giveBack forgets a touch that could not be written.
func (t *touches) giveBack(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.newer, user)
	delete(t.older, user)
}
