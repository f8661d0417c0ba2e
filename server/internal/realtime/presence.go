package realtime

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/google/uuid"

	"github.com/trunkline/trunkline/internal/retry"
)

const (
	// presenceWait is how long a client that subscribes waits for its presence to be written.
	presenceWait = 2 * time.Second
	// presenceBatch is how many rows are written at once, at most.
	presenceBatch = 2000
	// expireBatch is how many expired rows are removed at once, at most.
	expireBatch = 1000
)

// presence keeps who follows which channel in the database, for the library. What comes while a statement is under way goes
// together with the next one. While the database is away it is kept here, and written afterwards: clients don't suffer for it.
type presence struct {
	node *Node
	id   string // of this process
	rows *question[map[string]*centrifuge.ClientInfo]
	sums *question[centrifuge.PresenceStats]

	writing sync.Mutex // held while rows are written

	mu      sync.Mutex
	mine    map[presenceKey]time.Time // whom this node holds present, and when that was last confirmed
	changes map[presenceKey]*presenceChange
	wake    chan struct{}
}

type presenceKey struct{ channel, client string }

// A presenceChange is what is to be written about one client in one channel.
type presenceChange struct {
	info    *centrifuge.ClientInfo // nil: it is gone
	written chan struct{}          // closed when it was written, or nothing needs to be any more
}

func newPresence(n *Node) *presence {
	p := &presence{
		node: n, id: uuid.NewString(),
		mine: map[presenceKey]time.Time{}, changes: map[presenceKey]*presenceChange{}, wake: make(chan struct{}, 1),
	}
	p.rows = newQuestion(n, p.readRows)
	p.sums = newQuestion(n, p.readSums)
	return p
}

// AddPresence is called when a client has subscribed, which waits for it to be written, and at intervals to confirm it, which
// doesn't wait.
func (p *presence) AddPresence(channel, clientID string, info *centrifuge.ClientInfo) error {
	key := presenceKey{channel, clientID}
	p.mu.Lock()
	_, known := p.mine[key]
	p.mine[key] = time.Now()
	written := p.change(key, info)
	p.mu.Unlock()
	if known {
		return nil
	}
	timer := time.NewTimer(presenceWait)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C: // it will be written, later
	case <-p.node.life.Done():
	}
	return nil
}

// RemovePresence is called when a client has left a channel. It doesn't wait.
func (p *presence) RemovePresence(channel, clientID, _ string) error {
	key := presenceKey{channel, clientID}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mine, key)
	p.change(key, nil)
	return nil
}

// abandon takes a client out that was written before its subscription failed: the library leaves it.
func (p *presence) abandon(channel, clientID string) {
	key := presenceKey{channel, clientID}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, held := p.mine[key]; held {
		delete(p.mine, key)
		p.change(key, nil)
	}
}

// change notes what is to be written, instead of what was to be written before. Under mu.
func (p *presence) change(key presenceKey, info *centrifuge.ClientInfo) <-chan struct{} {
	written := make(chan struct{})
	if before := p.changes[key]; before != nil {
		written = before.written // whoever waits for that waits for this now
	}
	p.changes[key] = &presenceChange{info: info, written: written}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return written
}

// run writes changes as they come, until the node closes.
func (p *presence) run() {
	failures := 0
	for {
		select {
		case <-p.wake:
		case <-p.node.life.Done():
			return
		}
		for {
			more, err := p.write(p.node.life)
			if err == nil {
				if failures > 0 {
					p.node.log.Info("presence can be written again")
				}
				failures = 0
				if !more {
					break
				}
				continue
			}
			if p.node.life.Err() != nil {
				return
			}
			if failures == 0 {
				p.node.log.Warn("presence can't be written; it will be tried again", "error", err)
			}
			failures++
			if !retry.Sleep(p.node.life, jitter(min(100*time.Millisecond<<min(failures, 6), 5*time.Second))) {
				return
			}
		}
	}
}

// write writes some of the changes and tells whether there are more.
func (p *presence) write(ctx context.Context) (more bool, err error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	taken := make(map[presenceKey]*presenceChange, presenceBatch)
	p.mu.Lock()
	for key, change := range p.changes {
		if len(taken) == presenceBatch {
			break
		}
		taken[key] = change
		delete(p.changes, key)
	}
	more = len(p.changes) > 0
	p.mu.Unlock()
	if len(taken) == 0 {
		return false, nil
	}
	if err := p.store(ctx, taken); err != nil {
		p.node.metrics.presence.WithLabelValues("failed").Inc()
		p.putBack(taken)
		return true, err
	}
	p.node.metrics.presence.WithLabelValues("written").Inc()
	for _, change := range taken {
		close(change.written)
	}
	return more, nil
}

// putBack notes changes again that couldn't be written, unless there are newer ones.
func (p *presence) putBack(taken map[presenceKey]*presenceChange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, change := range taken {
		if newer := p.changes[key]; newer != nil {
			close(change.written) // nobody need wait for what is out of date
			continue
		}
		p.changes[key] = change
	}
}

// store writes changes to the database.
func (p *presence) store(ctx context.Context, changes map[presenceKey]*presenceChange) error {
	var channels, clients, users, goneChannels, goneClients []string
	var connInfos, chanInfos []*string
	for key, change := range changes {
		if change.info == nil {
			goneChannels, goneClients = append(goneChannels, key.channel), append(goneClients, key.client)
			continue
		}
		channels, clients, users = append(channels, key.channel), append(clients, key.client), append(users, change.info.UserID)
		connInfos, chanInfos = append(connInfos, textOrNull(change.info.ConnInfo)), append(chanInfos, textOrNull(change.info.ChanInfo))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pool := p.node.engine.Pool()
	if len(channels) > 0 {
		_, err := pool.Exec(ctx, "SELECT trunkline.set_presence($1, $2, $3, $4, $5, $6, $7)",
			p.id, p.node.cfg.PresenceExpiry, channels, clients, users, connInfos, chanInfos)
		if err != nil {
			return fmt.Errorf("write presence: %w", err)
		}
	}
	if len(goneChannels) > 0 {
		if _, err := pool.Exec(ctx, "SELECT trunkline.clear_presence($1, $2)", goneChannels, goneClients); err != nil {
			return fmt.Errorf("remove presence: %w", err)
		}
	}
	return nil
}

// leave takes everybody whom this node holds present out, if that is quickly done: else they expire.
func (p *presence) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.mu.Lock()
	for key := range maps.Clone(p.mine) {
		delete(p.mine, key)
		p.change(key, nil)
	}
	p.mu.Unlock()
	for more := true; more; {
		var err error
		if more, err = p.write(ctx); err != nil {
			p.node.log.Warn("presence can't be taken back; it expires", "error", err)
			return
		}
	}
}

// clean removes expired rows, of whichever node.
func (p *presence) clean() {
	for retry.Sleep(p.node.life, jitter(p.node.cfg.PresenceExpiry/2)) {
		p.forget(time.Now().Add(-p.node.cfg.PresenceExpiry))
		for {
			ctx, cancel := context.WithTimeout(p.node.life, patience)
			var removed int64
			err := p.node.engine.Pool().QueryRow(ctx, "SELECT trunkline.expire_presence($1)", expireBatch).Scan(&removed)
			cancel()
			if err != nil && p.node.life.Err() == nil {
				p.node.log.Debug("expired presence can't be removed", "error", err)
			}
			if err != nil || removed < expireBatch {
				break
			}
		}
	}
}

// forget lets go of those whom nobody has confirmed since: they have expired. The library leaves some of a connection that fails
// halfway.
func (p *presence) forget(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.mine, func(_ presenceKey, confirmed time.Time) bool { return confirmed.Before(since) })
}

func textOrNull(json []byte) *string {
	if len(json) == 0 {
		return nil
	}
	text := string(json)
	return &text
}
