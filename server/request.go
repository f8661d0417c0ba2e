package server

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/trunkline/trunkline"
)

// maxChannels is how many channels one stream may carry.
const maxChannels = 100

// streamPath is where streams are.
const streamPath = "/v1/stream"

// streamRequest is what a client asks /v1/stream for.
type streamRequest struct {
	channels []string
	since    trunkline.Position // zero: not given
	whole    bool               // from the beginning; since isn't given then
}

// start is where the stream begins. The zero request begins now.
func (q *streamRequest) start() trunkline.Start {
	switch {
	case !q.since.IsZero():
		return trunkline.Since(q.since)
	case q.whole:
		return trunkline.FromBeginning()
	}
	return trunkline.FromNow()
}

// parseStreamRequest reads the query of a stream's URL and its Last-Event-ID header, "" if there is none. The header wins
// over since= and from=: an EventSource that connects again asks for the same URL, and tells only there how far it got.
func parseStreamRequest(query, lastEventID string) (streamRequest, error) {
	var q streamRequest
	values, err := url.ParseQuery(query)
	if err != nil {
		// Without the cause: it repeats a piece of the query, which may be one of a token.
		return q, errors.New("the query can't be read: write special characters as %XX, and separate parameters with &")
	}
	for name, given := range values {
		switch name {
		case "channel":
			q.channels = given
		case "since", "from", "token":
			if len(given) > 1 {
				return q, fmt.Errorf("%s is given %d times: give it once", name, len(given))
			}
		default:
			return q, fmt.Errorf("there is no parameter %q: use channel, since, from and token", clip(name))
		}
	}
	if err := q.checkChannels(); err != nil {
		return q, err
	}
	if values.Has("since") {
		if q.since, err = trunkline.ParsePosition(values.Get("since")); err != nil {
			return q, fmt.Errorf("since: %w", err)
		}
		if values.Has("from") {
			return q, fmt.Errorf("since=%s and from=%s exclude each other: give one of them", q.since, clip(values.Get("from")))
		}
	}
	if values.Has("from") {
		switch from := values.Get("from"); from {
		case "beginning":
			q.whole = true
		case "now":
		default:
			return q, fmt.Errorf("from=%s is unknown: it is beginning or now; since=EPOCH:POSITION resumes", clip(from))
		}
	}
	if lastEventID != "" {
		q.whole = false
		if q.since, err = trunkline.ParsePosition(lastEventID); err != nil {
			return q, fmt.Errorf("header Last-Event-ID: %w", err)
		}
	}
	return q, nil
}

func (q *streamRequest) checkChannels() error {
	switch n := len(q.channels); {
	case n == 0:
		return errors.New("no channel is given: name one or many, as in ?channel=project:42&channel=news")
	case n > maxChannels:
		return fmt.Errorf("%d channels are given: a stream carries at most %d, open several", n, maxChannels)
	}
	for _, channel := range q.channels {
		if err := trunkline.CheckChannel(channel); err != nil {
			return err
		}
	}
	slices.Sort(q.channels)
	q.channels = slices.Compact(q.channels)
	return nil
}
