package server

import (
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// engineReadings are the engine's own figures.
func engineReadings() []reading {
	total := func(name, help string, value func(*trunkline.Stats) int64) reading {
		return counter(name, help, func(s *snapshot) int64 { return value(&s.stats) })
	}
	return []reading{
		gauge("trunkline_sequencing", "Whether this node writes the log (1) or follows it (0).",
			func(s *snapshot) float64 { return truth(s.state.Sequencing) }),
		gauge("trunkline_log_position", "How far this node has delivered the log. Starts anew with an epoch.",
			func(s *snapshot) float64 { return float64(s.state.Log.Position) }),
		gauge("trunkline_lag_messages", "Messages that the log is known to have beyond what this node has delivered.",
			func(s *snapshot) float64 { return float64(s.state.Lag.Messages) }),
		gauge("trunkline_lag_seconds", "How long what is published may have been waiting, at most: since the log last gave a sign, or since nobody sequences.",
			func(s *snapshot) float64 { return lagOf(s).Seconds() }),
		gauge("trunkline_listen_up", "Whether the LISTEN connection is up (1) or not (0).",
			func(s *snapshot) float64 { return truth(s.state.Listen.Up) }),

		total("trunkline_sequencer_steps_total", "Steps of the sequencer on this node.", func(s *trunkline.Stats) int64 { return s.Steps }),
		total("trunkline_sequencer_empty_steps_total", "Steps of the sequencer that found no message.",
			func(s *trunkline.Stats) int64 { return s.EmptySteps }),
		total("trunkline_sequencer_messages_total", "Messages that this node wrote to the log.",
			func(s *trunkline.Stats) int64 { return s.Sequenced }),
		total("trunkline_sequencer_rings_total", "Rings of writers that the sequencer heard while it slept.",
			func(s *trunkline.Stats) int64 { return s.Rings }),
		total("trunkline_sequencer_healed_messages_total", "Messages that nobody had rung for, found by looking once a second.",
			func(s *trunkline.Stats) int64 { return s.Healed }),
		total("trunkline_sequencer_wakes_total", "Times the sequencer woke up.", func(s *trunkline.Stats) int64 { return s.Wakes }),
		total("trunkline_sequencer_dozes_total", "Times the sequencer went to sleep.", func(s *trunkline.Stats) int64 { return s.Dozes }),
		total("trunkline_sequencer_takeovers_total", "Times this node became the sequencer.",
			func(s *trunkline.Stats) int64 { return s.Takeovers }),
		total("trunkline_epoch_changes_total", "Times the log began a new epoch, as this node saw it: each ends all positions.",
			func(s *trunkline.Stats) int64 { return s.EpochChanges }),
		total("trunkline_follower_rings_total", "Times the sequencing node rang the others.",
			func(s *trunkline.Stats) int64 { return s.FollowerRings }),
		total("trunkline_follower_ring_failures_total", "Times ringing the others failed: they look by themselves meanwhile.",
			func(s *trunkline.Stats) int64 { return s.FollowerRingFails }),
		total("trunkline_relayed_messages_total", "Messages repeated on raw channels for direct listeners.",
			func(s *trunkline.Stats) int64 { return s.Relayed }),
		total("trunkline_history_queries_total", "Queries made for subscriptions that catch up with what memory doesn't hold.",
			func(s *trunkline.Stats) int64 { return s.HistoryQueries }),
		total("trunkline_delivered_messages_total", "Messages and signals returned by the engine's subscriptions.",
			func(s *trunkline.Stats) int64 { return s.Delivered }),
		total("trunkline_slow_consumers_total", "Subscriptions of the engine ended because their queue was full.",
			func(s *trunkline.Stats) int64 { return s.SlowConsumers }),
		total("trunkline_dropped_signals_total", "Signals dropped because a subscription's queue was full.",
			func(s *trunkline.Stats) int64 { return s.DroppedSignals }),
		total("trunkline_listen_reconnects_total", "Times the LISTEN connection was made again.",
			func(s *trunkline.Stats) int64 { return s.ListenReconnects }),
		total("trunkline_listen_heartbeats_total", "Heartbeats that proved the LISTEN connection.",
			func(s *trunkline.Stats) int64 { return s.Heartbeats }),
		total("trunkline_retention_removed_messages_total", "Messages that this node removed because their namespace keeps them no longer.",
			func(s *trunkline.Stats) int64 { return s.Trimmed }),
		total("trunkline_retention_failures_total", "Batches of that which failed, to be tried again.",
			func(s *trunkline.Stats) int64 { return s.TrimFailures }),
		total("trunkline_published_messages_total", "Messages published through this node, by clients, REST and its program.",
			func(s *trunkline.Stats) int64 { return s.Published }),
		total("trunkline_publish_batches_total", "Inserts that took to publish them: callers at the same time share one.",
			func(s *trunkline.Stats) int64 { return s.PublishBatches }),
	}
}

// ownReadings are the server's figures that are counted where they arise.
func (s *Server) ownReadings() []reading {
	pool := s.engine.Pool()
	return []reading{
		gauge("trunkline_streams", "Event streams open at this moment.",
			func(*snapshot) float64 { return float64(s.streams.Load()) }),
		gauge("trunkline_requests_in_flight", "HTTP requests under way, streams among them.",
			func(*snapshot) float64 { return float64(s.closing.underWay()) }),
		gauge("trunkline_draining", "Whether this server is letting its clients go (1) or not (0).",
			func(*snapshot) float64 { return truth(s.closing.retired.Load()) }),
		gauge("trunkline_pool_connections", "Connections of the pool that publishes, reads history and asks who may do what.",
			func(*snapshot) float64 { return float64(pool.Stat().TotalConns()) }),
		gauge("trunkline_pool_acquired_connections", "Those of them that are in use.",
			func(*snapshot) float64 { return float64(pool.Stat().AcquiredConns()) }),
		gauge("trunkline_pool_max_connections", "How many connections the pool may open.",
			func(*snapshot) float64 { return float64(pool.Stat().MaxConns()) }),
		counter("trunkline_authorization_questions_total", "Questions of who may do what that were put to functions, answered from memory or not.",
			func(*snapshot) int64 { return s.gate.Stats().Questions }),
		counter("trunkline_authorization_queries_total", "Queries that asked those functions: what is asked at the same time shares one.",
			func(*snapshot) int64 { return s.gate.Stats().Queries }),
		counter("trunkline_authorization_failures_total", "Questions that a function did not answer, by an error or too late: they were refused.",
			func(*snapshot) int64 { return s.gate.Stats().Failures }),
		gauge("trunkline_revocations", "Users and tokens of which something is revoked.",
			func(*snapshot) float64 { return float64(s.gate.Stats().Revocations) }),
		gauge("trunkline_api_keys", "API keys that are in force.",
			func(*snapshot) float64 { return float64(s.gate.Stats().APIKeys) }),
		counter("trunkline_pool_waits_total", "Times somebody had to wait for a connection of the pool.",
			func(*snapshot) int64 { return pool.Stat().EmptyAcquireCount() }),
	}
}

// inboxReadings are the figures of this node's part in keeping the inboxes.
func (s *Server) inboxReadings() []reading {
	total := func(name, help string, value func(*inbox.Stats) int64) reading {
		return counter(name, help, func(s *snapshot) int64 { return value(&s.inbox) })
	}
	return []reading{
		gauge("trunkline_inbox_pending_seconds", "How long notifications and changes that this node heard of have been waiting, 0 if none do.",
			func(s *snapshot) float64 {
				if s.inbox.PendingSince.IsZero() {
					return 0
				}
				return max(0, s.at.Sub(s.inbox.PendingSince)).Seconds()
			}),
		total("trunkline_inbox_placed_total", "Notifications that this node placed in inboxes, those that came back from the archive or a snooze included.",
			func(s *inbox.Stats) int64 { return s.Placed }),
		total("trunkline_inbox_pushes_total", "Times that this node told a user's devices of new counts.",
			func(s *inbox.Stats) int64 { return s.Users }),
		total("trunkline_inbox_batches_total", "Transactions of this node's keeper that found something to do.",
			func(s *inbox.Stats) int64 { return s.Batches }),
		total("trunkline_inbox_empty_batches_total", "Transactions of this node's keeper that found nothing to do.",
			func(s *inbox.Stats) int64 { return s.Empty }),
		total("trunkline_inbox_busy_total", "Times that another node's keeper was at work.",
			func(s *inbox.Stats) int64 { return s.Busy }),
		total("trunkline_inbox_failures_total", "Times that keeping the inboxes failed, to be tried again.",
			func(s *inbox.Stats) int64 { return s.Failures }),
	}
}

// lagOf is how long messages may have been waiting. A node that works hears of the log each second.
func lagOf(s *snapshot) time.Duration {
	since := s.state.Lag.Heard
	if u := s.state.Lag.Unsequenced; !u.IsZero() && u.Before(since) {
		since = u
	}
	if since.IsZero() {
		return 0 // not started
	}
	return max(0, s.at.Sub(since))
}
