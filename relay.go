package trunkline

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// maxRelayed is the largest payload repeated on a raw channel, in bytes: pg_notify takes 7,999.
const maxRelayed = 7900

// relay repeats the payloads of watches with notify on the raw channels of the same name, for listeners that know nothing
// of Trunkline. They get what any NOTIFY gives: nothing if they are away. What can't be sent is logged; the messages
// themselves are delivered already.
func (s *sequencer) relay(ctx context.Context, batch []*Message) error {
	var channels, payloads []string
	sent := map[[2]string]bool{}
	flush := func() error {
		if len(channels) == 0 {
			return nil
		}
		err := exec(ctx, s.conn, "SELECT pg_notify(c, p) FROM unnest($1::text[], $2::text[]) u(c, p)", channels, payloads)
		if err != nil {
			s.log.Warn("repeating messages on raw channels failed", "error", err, "messages", len(channels))
			if s.conn.IsClosed() {
				return fmt.Errorf("relay: %w", err)
			}
		} else {
			s.counters.relayed.Add(int64(len(channels)))
		}
		channels, payloads = channels[:0], payloads[:0]
		clear(sent)
		return nil
	}
	for _, m := range batch {
		if !m.notify || s.crowded {
			continue
		}
		if len(m.Channel) > maxRawChannel {
			s.log.Warn("a message can't be repeated on a raw channel: the name is over 63 bytes", "channel", m.Channel, "message", m.ID)
			continue
		}
		payload, err := s.relayed(ctx, m)
		if err != nil {
			return err
		}
		pair := [2]string{m.Channel, payload}
		if sent[pair] {
			// PostgreSQL folds equal notifications of one transaction into one.
			if err := flush(); err != nil {
				return err
			}
		}
		sent[pair] = true
		channels, payloads = append(channels, m.Channel), append(payloads, payload)
	}
	return flush()
}

// relayed returns what is repeated of a message: its payload, or where to find it if that is too large.
func (s *sequencer) relayed(ctx context.Context, m *Message) (string, error) {
	if m.size > maxRelayed {
		stub, err := json.Marshal(struct {
			ID        int64  `json:"id"`
			Channel   string `json:"channel"`
			Seq       int64  `json:"seq"`
			Truncated bool   `json:"truncated"`
		}{m.ID, m.Channel, m.Seq, true})
		return string(stub), err
	}
	if m.Payload != nil {
		return string(m.Payload), nil
	}
	var payload string
	err := queryRow(ctx, s.conn, "SELECT payload::text FROM trunkline.message WHERE id = $1", []any{&payload}, m.ID)
	if err == pgx.ErrNoRows { //nolint:errorlint // pgx returns it bare
		return "null", nil
	}
	return payload, err
}
