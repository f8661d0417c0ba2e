package inbox

import (
	"encoding/json"
	"time"
)

// An Item is a notification as its user sees it. Times that haven't come are nil.
type Item struct {
	ID int64 `json:"id"`
	// Seq is its place in the user's inbox: 1, 2, 3 … in the order things became visible.
	Seq  int64  `json:"seq"`
	Kind string `json:"kind"`
	// Title and Text are the kind's: what it is called, and one line about this item, made of the kind's template and the data.
	Title        string          `json:"title"`
	Text         string          `json:"text"`
	Group        *string         `json:"group"`
	Cause        *string         `json:"cause"`
	Link         *string         `json:"link"`
	Data         json.RawMessage `json:"data"`
	CreatedAt    time.Time       `json:"created_at"`
	ExpiresAt    *time.Time      `json:"expires_at"`
	SeenAt       *time.Time      `json:"seen_at"`
	ReadAt       *time.Time      `json:"read_at"`
	ArchivedAt   *time.Time      `json:"archived_at"`
	SnoozedUntil *time.Time      `json:"snoozed_until"`
}

// inUTC gives all times the zone that the pushes on the user's channel have.
func (it *Item) inUTC() {
	it.CreatedAt = it.CreatedAt.UTC()
	for _, at := range []*time.Time{it.ExpiresAt, it.SeenAt, it.ReadAt, it.ArchivedAt, it.SnoozedUntil} {
		if at != nil {
			*at = at.UTC()
		}
	}
}

// Counts are what a badge shows. Of two, the one with the higher version is the newer one.
type Counts struct {
	Unseen  int   `json:"unseen"`
	Unread  int   `json:"unread"`
	Version int64 `json:"version"`
}
