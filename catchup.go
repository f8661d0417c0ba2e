package trunkline

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

// catchUp brings a subscription forward: it attaches it to the live tail if the rings cover what it lacks, else reads the
// next page of its channels from the database. Called by the reader alone, when nothing is pending or queued.
func (s *Subscription) catchUp(ctx context.Context) error {
	if s.engine.hub.attach(s) {
		return nil
	}
	s.mu.Lock()
	channels, shape := s.plain(), s.shape
	s.mu.Unlock()
	if shape != s.caughtUp {
		// Other channels than those that have been read: all begin anew behind through.
		s.cursors, s.unread, s.caughtUp = nil, nil, shape
	}
	if len(channels) == 0 {
		return nil // they have just become conflated
	}
	pages, err := s.readPages(ctx, channels)
	if err != nil {
		return err
	}
	for _, p := range pages {
		if err := s.checkPage(p); err != nil {
			var beyond *BeyondLogError
			if errors.As(err, &beyond) && !p.alive {
				// A crash may have taken the log's end. Whoever takes over decides; if so, it begins another epoch,
				// which ends this subscription.
				retry.Sleep(ctx, deafInterval)
				return nil
			}
			s.end(err, true)
			return nil // Next returns it as the subscription's end
		}
	}

	// Messages up to the horizon are known of every channel; those beyond are kept for the next call.
	horizon := pages[0].logEnd
	for _, p := range pages {
		horizon = min(horizon, p.logEnd)
		if p.more {
			horizon = min(horizon, p.messages[len(p.messages)-1].Position)
		}
	}
	var batch []*Message
	cursors, unread := make(map[string]int64, len(pages)), map[string]*page{}
	for _, p := range pages {
		cursor, taken := p.afterSeq, 0
		for taken < len(p.messages) && p.messages[taken].Position <= horizon {
			cursor = p.messages[taken].Seq
			taken++
		}
		batch = append(batch, p.messages[:taken]...)
		cursors[p.channel] = cursor
		if taken < len(p.messages) {
			rest := *p
			rest.messages, rest.afterSeq = p.messages[taken:], cursor
			unread[p.channel] = &rest
		}
	}
	if len(pages) > 1 {
		slices.SortFunc(batch, func(a, b *Message) int { return cmp.Compare(a.Position, b.Position) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shape != shape {
		return nil // a channel that is no longer conflated was not read
	}
	s.cursors, s.unread, s.checked = cursors, unread, true
	if s.err == nil {
		s.pending = batch
		s.through = max(s.through, horizon)
	}
	return nil
}

// readPages reads the next page of each channel, retrying while the database can't be reached.
func (s *Subscription) readPages(ctx context.Context, channels []string) ([]*page, error) {
	for attempt := 0; ; attempt++ {
		pages, err := s.tryReadPages(ctx, channels)
		if err == nil {
			return pages, nil
		}
		if ended := s.Err(); ended != nil {
			return nil, ended
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !retryable(err) {
			return nil, err
		}
		s.engine.log.Warn("reading history failed; trying again", "error", err, "attempt", attempt+1)
		select {
		case <-time.After(backoff(attempt)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-s.engine.stopping:
			return nil, ErrClosed
		}
	}
}

func (s *Subscription) tryReadPages(ctx context.Context, channels []string) ([]*page, error) {
	pages := make([]*page, len(channels))
	errs := make([]error, len(channels))
	var wg sync.WaitGroup
	for i, channel := range channels {
		if rest := s.unread[channel]; rest != nil && s.cursors != nil {
			pages[i] = rest
			continue
		}
		key := pageKey{epoch: s.epoch, channel: channel, seq: -1, position: max(s.through, 0)}
		if cursor, ok := s.cursors[channel]; ok {
			key.seq, key.position = cursor, 0
		} else if s.start.kind == startOffset && s.through < 0 {
			key.seq, key.position = s.start.offset.Seq, 0
		}
		// Together, so that one query answers all channels.
		wg.Go(func() { pages[i], errs[i] = s.engine.historian.read(ctx, key) })
	}
	wg.Wait()
	return pages, cmp.Or(errs...)
}

// checkPage says why a page can't continue the subscription.
func (s *Subscription) checkPage(p *page) error {
	if p.epoch != s.epoch {
		return &EpochError{Given: s.epoch, Current: p.epoch}
	}
	trimmed := &TrimmedError{Channel: p.channel, First: p.trimmedSeq + 1}
	if p.hole {
		// Somebody deleted messages by hand: this reader can't be served without a gap.
		trimmed.First = p.lastSeq + 1
		return trimmed
	}
	if s.cursors != nil || (s.start.kind == startOffset && s.through < 0) {
		// Asked for by seq.
		if p.afterSeq > p.lastSeq {
			return &BeyondLogError{Channel: p.channel, Given: p.afterSeq, Last: p.lastSeq}
		}
		if p.afterSeq < p.trimmedSeq {
			return trimmed
		}
		return nil
	}
	if s.through > p.logEnd {
		return &BeyondLogError{Given: s.through, Last: p.logEnd}
	}
	if beginning := s.start.kind == startBeginning && s.through == 0; !beginning && s.through < p.trimmedPos {
		return trimmed
	}
	return nil
}
