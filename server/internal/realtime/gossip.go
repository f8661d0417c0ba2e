package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/retry"
)

// rawMoves is the LISTEN channel on which nodes tell each other who joined and left.
const rawMoves = "trunkline_moves"

const (
	// maxMoves bounds how many moves wait to be told; more are dropped.
	maxMoves = 8192
	// maxNotification is how many bytes a notification may have, with room to spare.
	maxNotification = 7900
	// maxNotifications go with one transaction.
	maxNotifications = 32
)

// gossip tells other nodes who joined and who left a channel. It is best effort: what is sent while a node isn't listening, or
// while the notification queue is more than half full, isn't told. Presence is what to rely on. This node's own clients are told
// without that detour.
type gossip struct {
	node *Node
	sent uint64 // belongs to send

	mu    sync.Mutex
	moves []move
	wake  chan struct{}
}

// A move is somebody's joining or leaving a channel. The names are short because notifications are.
type move struct {
	Channel  string          `json:"c"`
	Joined   bool            `json:"j,omitempty"`
	Client   string          `json:"i"`
	User     string          `json:"u,omitempty"`
	ConnInfo json.RawMessage `json:"a,omitempty"`
	ChanInfo json.RawMessage `json:"b,omitempty"`
}

// A bulletin is one notification. Number makes it differ from every other one of the node: PostgreSQL folds equal ones.
type bulletin struct {
	Node   string            `json:"node"`
	Number uint64            `json:"n"`
	Moves  []json.RawMessage `json:"moves"`
}

func newGossip(n *Node) *gossip { return &gossip{node: n, wake: make(chan struct{}, 1)} }

// tell has other nodes told, soon.
func (g *gossip) tell(channel string, info *centrifuge.ClientInfo, joined bool) {
	g.mu.Lock()
	full := len(g.moves) >= maxMoves
	if !full {
		g.moves = append(g.moves, move{
			Channel: channel, Joined: joined, Client: info.ClientID, User: info.UserID, ConnInfo: info.ConnInfo, ChanInfo: info.ChanInfo,
		})
	}
	g.mu.Unlock()
	if full {
		g.node.metrics.gossip.WithLabelValues("dropped").Inc()
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// send tells what has gathered, until the node closes.
func (g *gossip) send() {
	for {
		select {
		case <-g.wake:
		case <-g.node.life.Done():
			return
		}
		g.mu.Lock()
		moves := g.moves
		g.moves = nil
		g.mu.Unlock()
		bulletins := g.pack(moves)
		for len(bulletins) > 0 {
			part := bulletins[:min(len(bulletins), maxNotifications)]
			bulletins = bulletins[len(part):]
			if err := g.notify(part); err != nil {
				g.node.metrics.gossip.WithLabelValues("dropped").Add(float64(len(part)))
				g.node.log.Debug("joins and leaves can't be told to other nodes", "error", err)
				if !retry.Sleep(g.node.life, jitter(time.Second)) {
					return
				}
			}
		}
	}
}

// pack makes notifications of moves, as few as may be.
func (g *gossip) pack(moves []move) []string {
	const frame = 128 // the bulletin around its moves
	var bulletins []string
	var gathered []json.RawMessage
	size := 0
	flush := func() {
		if len(gathered) == 0 {
			return
		}
		g.sent++
		text, err := json.Marshal(bulletin{Node: g.node.presence.id, Number: g.sent, Moves: gathered})
		if err == nil {
			bulletins = append(bulletins, string(text))
		}
		gathered, size = nil, 0
	}
	for _, m := range moves {
		text, err := json.Marshal(m)
		if err == nil && len(text)+frame > maxNotification {
			m.ConnInfo, m.ChanInfo = nil, nil // better without than not at all
			text, err = json.Marshal(m)
		}
		if err != nil || len(text)+frame > maxNotification {
			g.node.metrics.gossip.WithLabelValues("dropped").Inc()
			continue
		}
		if size+len(text)+1+frame > maxNotification {
			flush()
		}
		gathered = append(gathered, text)
		size += len(text) + 1
	}
	flush()
	return bulletins
}

func (g *gossip) notify(bulletins []string) error {
	ctx, cancel := context.WithTimeout(g.node.life, patience)
	defer cancel()
	batch := &pgx.Batch{}
	for _, text := range bulletins {
		batch.Queue("SELECT pg_notify($1, $2) WHERE pg_notification_queue_usage() < 0.5", rawMoves, text)
	}
	if err := g.node.engine.Pool().SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	g.node.metrics.gossip.WithLabelValues("sent").Add(float64(len(bulletins)))
	return nil
}

// listen passes on what other nodes tell, until the node closes.
func (g *gossip) listen() {
	for g.node.life.Err() == nil {
		sub, err := g.node.engine.Listen(g.node.life, rawMoves)
		if err != nil {
			if !retry.Sleep(g.node.life, jitter(time.Second)) {
				return
			}
			continue
		}
		for {
			notification, err := sub.Next(g.node.life)
			if err != nil {
				break
			}
			g.hear(notification.Payload)
		}
		sub.Close()
	}
}

// hear passes a bulletin on to this node's clients. Anybody who may connect to the database can send one, as with signals.
func (g *gossip) hear(payload string) {
	var b bulletin
	if err := json.Unmarshal([]byte(payload), &b); err != nil || b.Node == g.node.presence.id {
		return
	}
	g.node.metrics.gossip.WithLabelValues("received").Inc()
	for _, text := range b.Moves {
		var m move
		if json.Unmarshal(text, &m) != nil || trunkline.CheckChannel(m.Channel) != nil {
			continue
		}
		info := &centrifuge.ClientInfo{ClientID: m.Client, UserID: m.User, ConnInfo: m.ConnInfo, ChanInfo: m.ChanInfo}
		if err := g.node.broker.handMove(m.Channel, info, m.Joined); err != nil {
			g.node.log.Debug("a join or leave can't be handed on", "channel", m.Channel, "error", err)
		}
	}
}
