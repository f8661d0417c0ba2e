package trunkline

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// What tests from outside the package need of its inside.

// StepMessages is how many messages one step or page takes at most.
const StepMessages = stepRows

// Queries that read many messages.
var (
	CatchUpSQL       = catchUpSQL
	NewestSQL        = newestSQL
	HistoryAfterSQL  = historyAfterSQL
	HistoryBeforeSQL = historyBeforeSQL
)

// Bounds of a batch of retention.
const (
	TrimLook = trimLook
	TrimMost = trimMost
)

// ConnectLog opens a session with the settings of the one that sequences.
func ConnectLog(ctx context.Context, url string) (*pgx.Conn, error) {
	template, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	return connect(ctx, template, "plans", logSessionSettings)
}

// SyncWithin bounds waits of Sync, before the first of them.
func SyncWithin(e *Engine, most time.Duration) { e.syncer.most = most }

// Unsure counts the steps whose outcome the engine's sequencer never learned.
func Unsure(e *Engine) int64 { return e.counters.unsure.Load() }
