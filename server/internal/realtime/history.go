package realtime

import (
	"context"
	"errors"
	"math"

	"github.com/centrifugal/centrifuge"
	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// History answers the library: where a channel is (limit 0, when a client subscribes), or everything since a position (limit
// -1, when it recovers). A recovery that would fill more than half of a client's queue isn't given: with the rest of what waits
// for it the client would be disconnected as slow, over and over.
func (b *broker) History(channel string, opts centrifuge.HistoryOptions) ([]*centrifuge.Publication, centrifuge.StreamPosition, error) {
	ctx, cancel := context.WithTimeout(b.node.life, placePatience)
	defer cancel()
	since := opts.Filter.Since
	if opts.Filter.Limit != 0 && since != nil && since.Offset <= math.MaxInt64 && since.Epoch == b.node.engine.State().Log.Epoch {
		page, err := b.node.engine.Recent(ctx, channel, int64(since.Offset), -1)
		switch {
		case isGone(err) || (err == nil && page.Epoch != since.Epoch):
		case err != nil:
			return nil, centrifuge.StreamPosition{}, b.unavailable(channel, err)
		default:
			if pubs, whole := publications(page.Messages, b.node.cfg.Limits.QueueBytes/2); whole && !page.More {
				return pubs, place(&page), nil
			}
			return unrecoverable, place(&page), nil
		}
	}
	page, err := b.node.engine.Recent(ctx, channel, 0, 0)
	if err != nil {
		return nil, centrifuge.StreamPosition{}, b.unavailable(channel, err)
	}
	if since != nil {
		return unrecoverable, place(&page), nil
	}
	return nil, place(&page), nil
}

// reachable settles channels and asks where they are, and fails if that can't be done. If one of the subscriptions that the server makes fails, the
// library keeps the others for ever, of a client that is gone: so they are not begun while the database is away.
func (b *broker) reachable(ctx context.Context, channels []string) error {
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	asked, ctx := errgroup.WithContext(ctx)
	for _, channel := range channels {
		asked.Go(func() error {
			if _, err := b.node.engine.Recent(ctx, channel, 0, 0); err != nil {
				return b.unavailable(channel, err)
			}
			return b.settle(ctx, channel)
		})
	}
	return asked.Wait()
}

// isGone tells whether an error says that a channel can't be continued from a position: retention was there, or nobody ever was.
func isGone(err error) bool {
	var trimmed *trunkline.TrimmedError
	var beyond *trunkline.BeyondLogError
	return errors.As(err, &trimmed) || errors.As(err, &beyond)
}

// unrecoverable is an answer that no position is continued by, whatever the library compares it with. An error instead would
// make it forget where the channel is.
var unrecoverable = []*centrifuge.Publication{{}}

func (b *broker) unavailable(channel string, err error) error {
	b.node.log.Warn("a channel's history can't be read", "channel", channel, "error", err)
	return tryAgain("the database can't be asked: try again")
}

func place(page *trunkline.HistoryPage) centrifuge.StreamPosition {
	return centrifuge.StreamPosition{Offset: uint64(page.LastSeq), Epoch: page.Epoch}
}

// publications converts messages until they take more than a number of bytes, and tells whether that was all.
func publications(messages []trunkline.Message, most int) ([]*centrifuge.Publication, bool) {
	const envelope = 160 // roughly what the protocol adds to each
	pubs := make([]*centrifuge.Publication, 0, len(messages))
	size := 0
	for i := range messages {
		m := &messages[i]
		size += len(m.Payload) + len(m.Sender) + envelope
		if size > most && i > 0 {
			return pubs, false
		}
		pubs = append(pubs, publication(m))
	}
	return pubs, true
}

// onHistory answers a client that asks for a channel's past. An answer is cut where it would take more than half of the
// client's queue; the client continues behind its last message.
func (s *session) onHistory(e centrifuge.HistoryEvent, cb centrifuge.HistoryCallback) {
	s.work(func(err error) { cb(centrifuge.HistoryReply{}, err) }, func(ctx context.Context) {
		result, err := s.history(ctx, e.Channel, e.Filter)
		cb(centrifuge.HistoryReply{Result: result}, err)
	})
}

func (s *session) history(ctx context.Context, channel string, filter centrifuge.HistoryFilter) (*centrifuge.HistoryResult, error) {
	if err := s.may(ctx, channel, auth.History); err != nil {
		return nil, err
	}
	engine := s.node.engine
	if filter.Limit == 0 {
		page, err := engine.Recent(ctx, channel, 0, 0)
		if err != nil {
			return nil, s.node.broker.unavailable(channel, err)
		}
		return &centrifuge.HistoryResult{StreamPosition: place(&page)}, nil
	}
	limit := s.node.cfg.Limits.HistoryMessages
	if filter.Limit > 0 {
		limit = min(limit, filter.Limit)
	}
	after := int64(0)
	if filter.Since != nil {
		if filter.Since.Offset >= math.MaxInt64 {
			return nil, centrifuge.ErrorUnrecoverablePosition
		}
		after = int64(filter.Since.Offset)
		if filter.Reverse && after == 0 {
			return nil, badRequest("history in reverse since offset 0: nothing comes before it")
		}
	}
	var page trunkline.HistoryPage
	var err error
	if filter.Reverse {
		page, err = engine.HistoryBefore(ctx, channel, after, limit)
	} else {
		page, err = engine.Recent(ctx, channel, after, limit)
	}
	switch {
	case isGone(err) && filter.Since == nil: // from the beginning, of which some was trimmed
		page, err = engine.History(ctx, channel, 0, limit)
		if err != nil {
			return nil, s.node.broker.unavailable(channel, err)
		}
	case isGone(err):
		return nil, centrifuge.ErrorUnrecoverablePosition
	case err != nil:
		return nil, s.node.broker.unavailable(channel, err)
	case filter.Since != nil && ((filter.Since.Epoch != "" && filter.Since.Epoch != page.Epoch) || after > page.LastSeq+1):
		return nil, centrifuge.ErrorUnrecoverablePosition
	}
	pubs, _ := publications(page.Messages, s.node.cfg.Limits.QueueBytes/2)
	return &centrifuge.HistoryResult{StreamPosition: place(&page), Publications: pubs}, nil
}
