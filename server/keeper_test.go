package server

import (
	"context"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// keptBy starts an engine, and a server of it that nobody connects to.
func keptBy(t *testing.T, databaseURL string, opts func(*trunkline.Engine) Options) (*trunkline.Engine, *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: databaseURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, engine) })
	if err := engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := New(engine, opts(engine))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return engine, s
}

// A program that embeds the server gets inboxes without doing anything for it, and one that brings its own gets those kept.
func TestTheServerKeepsTheInboxes(t *testing.T) {
	for name, own := range map[string]bool{"its own": false, "those it was given": true} {
		t.Run(name, func(t *testing.T) {
			engine, s := keptBy(t, pgtest.Database(t), func(e *trunkline.Engine) Options {
				opts := Options{Open: true}
				if own {
					var err error
					if opts.Inbox, err = inbox.New(e, inbox.Options{}); err != nil {
						t.Fatal(err)
					}
				}
				return opts
			})
			if own && s.inbox != s.options.Inbox {
				t.Error("it made others")
			}
			kept := &service{engine: engine, handler: s}
			kept.notify(t, "ann", "note", 1)
			s.Close()
			// Nothing of it goes on. A second server may do it from now on.
			if _, err := s.inbox.Notify(t.Context(), inbox.Notification{Users: []string{"ann"}, Kind: "note"}); err != nil {
				t.Fatal(err)
			}
			_, next := keptBy(t, engine.Pool().Config().ConnString(), func(*trunkline.Engine) Options { return Options{Open: true} })
			if err := next.inbox.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			kept.until(t, "the next server placed it", func() bool { return kept.counts(t, "ann").Unread == 2 })
		})
	}
}

func TestTheServerLeavesTheInboxesToOthers(t *testing.T) {
	engine, s := keptBy(t, pgtest.Database(t), func(*trunkline.Engine) Options { return Options{Open: true, NoKeeper: true} })
	if _, err := s.inbox.Notify(t.Context(), inbox.Notification{Users: []string{"ann"}, Kind: "note"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.inbox.Run(ctx) }() // which it may not, twice
	kept := &service{engine: engine, handler: s}
	kept.until(t, "it is placed", func() bool { return kept.counts(t, "ann").Unread == 1 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run was refused: %v", err)
	}
}

// Before the engine has started there is nothing to keep, and nothing that keeps Close from returning.
func TestCloseBeforeTheStart(t *testing.T) {
	s := unstarted(t)
	closed := make(chan struct{})
	go func() {
		s.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close doesn't return")
	}
}
