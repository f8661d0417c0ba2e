package realtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/centrifugal/centrifuge"
	"github.com/jackc/pgx/v5"
)

// A Present is a client that follows a channel.
type Present struct {
	Client      string          `json:"client"` // the connection's id
	User        string          `json:"user"`   // "" if anonymous
	Info        json.RawMessage `json:"conn_info,omitempty"`
	ChannelInfo json.RawMessage `json:"chan_info,omitempty"`
}

// TooManyPresentError says that more clients follow a channel than one answer tells.
type TooManyPresentError struct {
	Channel string
	Most    int
}

func (e *TooManyPresentError) Error() string {
	return fmt.Sprintf("more than %d clients follow channel %q: ask how many instead (presence stats)", e.Most, clip(e.Channel, 80))
}

// Presence returns who follows a channel, on any node, in no order. A *[TooManyPresentError] says that it is more than
// Limits.PresenceClients.
func (n *Node) Presence(ctx context.Context, channel string) ([]Present, error) {
	clients, err := n.presence.rows.ask(ctx, channel)
	if err != nil {
		return nil, err
	}
	if len(clients) > n.cfg.Limits.PresenceClients {
		return nil, &TooManyPresentError{Channel: channel, Most: n.cfg.Limits.PresenceClients}
	}
	present := make([]Present, 0, len(clients))
	for _, info := range clients {
		present = append(present, Present{Client: info.ClientID, User: info.UserID, Info: info.ConnInfo, ChannelInfo: info.ChanInfo})
	}
	return present, nil
}

// PresenceStats returns how many clients follow a channel, on all nodes, and how many users. Anonymous clients count as one user.
func (n *Node) PresenceStats(ctx context.Context, channel string) (clients, users int, err error) {
	stats, err := n.presence.sums.ask(ctx, channel)
	return stats.NumClients, stats.NumUsers, err
}

// Presence answers the library.
func (p *presence) Presence(channel string) (map[string]*centrifuge.ClientInfo, error) {
	ctx, cancel := context.WithTimeout(p.node.life, patience)
	defer cancel()
	clients, err := p.rows.ask(ctx, channel)
	if err != nil {
		return nil, err
	}
	if most := p.node.cfg.Limits.PresenceClients; len(clients) > most {
		err := &TooManyPresentError{Channel: channel, Most: most}
		return nil, &centrifuge.Error{Code: centrifuge.ErrorLimitExceeded.Code, Message: err.Error()}
	}
	return clients, nil
}

// PresenceStats answers the library.
func (p *presence) PresenceStats(channel string) (centrifuge.PresenceStats, error) {
	ctx, cancel := context.WithTimeout(p.node.life, patience)
	defer cancel()
	return p.sums.ask(ctx, channel)
}

func (p *presence) readRows(ctx context.Context, channels []string) (map[string]map[string]*centrifuge.ClientInfo, error) {
	p.node.metrics.presence.WithLabelValues("read").Inc()
	// One more than is told, to know that there are more.
	rows, err := p.node.engine.Pool().Query(ctx, "SELECT channel, client, user_id, conn_info::text, chan_info::text FROM trunkline.present($1, $2)",
		channels, p.node.cfg.Limits.PresenceClients+1)
	if err != nil {
		return nil, fmt.Errorf("read presence: %w", err)
	}
	answers := make(map[string]map[string]*centrifuge.ClientInfo, len(channels))
	var channel, client, user string
	var connInfo, chanInfo *string
	_, err = pgx.ForEachRow(rows, []any{&channel, &client, &user, &connInfo, &chanInfo}, func() error {
		clients := answers[channel]
		if clients == nil {
			clients = map[string]*centrifuge.ClientInfo{}
			answers[channel] = clients
		}
		clients[client] = &centrifuge.ClientInfo{ClientID: client, UserID: user, ConnInfo: bytesOrNil(connInfo), ChanInfo: bytesOrNil(chanInfo)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read presence: %w", err)
	}
	return answers, nil
}

func (p *presence) readSums(ctx context.Context, channels []string) (map[string]centrifuge.PresenceStats, error) {
	p.node.metrics.presence.WithLabelValues("read").Inc()
	rows, err := p.node.engine.Pool().Query(ctx, "SELECT channel, clients, users FROM trunkline.count_present($1)", channels)
	if err != nil {
		return nil, fmt.Errorf("count presence: %w", err)
	}
	answers := make(map[string]centrifuge.PresenceStats, len(channels))
	var channel string
	var stats centrifuge.PresenceStats
	_, err = pgx.ForEachRow(rows, []any{&channel, &stats.NumClients, &stats.NumUsers}, func() error {
		answers[channel] = stats
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count presence: %w", err)
	}
	return answers, nil
}

func bytesOrNil(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}
