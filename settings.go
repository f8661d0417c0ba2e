package trunkline

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/internal/retry"
)

// controlChannel is where the database tells nodes what changed.
const controlChannel = "trunkline:control"

const (
	// settingsTimeout bounds one reading of the namespaces.
	settingsTimeout = 10 * time.Second
	// deniedInterval is how often a role that may not read the namespaces tries again: nothing tells it of a grant.
	deniedInterval = time.Minute
)

// settings hold what the namespaces' rows say, and follow their changes. One goroutine reads; asking takes no lock.
type settings struct {
	engine *Engine
	rows   atomic.Pointer[map[string]Namespace]
	loaded chan struct{} // closed when they were first read, or couldn't be for want of a grant
	denied bool          // belongs to run

	mu    sync.Mutex
	hooks map[*func()]struct{}
}

func newSettings(e *Engine) *settings {
	s := &settings{engine: e, loaded: make(chan struct{}), hooks: map[*func()]struct{}{}}
	s.rows.Store(&map[string]Namespace{})
	return s
}

// Namespace returns the settings of the namespace that a channel belongs to: zero ones, with its name, if it has no row. They
// are as the database has them, a moment late; before [Engine.Start] has returned, all are zero. It never blocks.
func (e *Engine) Namespace(channel string) Namespace { return e.settings.of(channel) }

// Namespaces returns the settings of all namespaces that have a row, ordered by name.
func (e *Engine) Namespaces() []Namespace {
	return slices.SortedFunc(maps.Values(*e.settings.rows.Load()), func(a, b Namespace) int { return strings.Compare(a.Name, b.Name) })
}

// OnNamespaces has changed called each time the namespaces were read and found changed, the first time included, until remove
// is called. Calls come one after the other from a goroutine that follows the namespaces: one that takes long delays the
// next change, and nothing else.
func (e *Engine) OnNamespaces(changed func()) (remove func()) {
	s := e.settings
	key := &changed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks[key] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.hooks, key)
	}
}

func (s *settings) of(channel string) Namespace {
	name := NamespaceOf(channel)
	if n, ok := (*s.rows.Load())[name]; ok {
		return n
	}
	return Namespace{Name: name}
}

// run follows the namespaces until ctx ends. It subscribes before it reads: a change that commits after that reading is
// announced to the subscription. One that ends, with an epoch or because reading took long, is begun anew, from now.
func (s *settings) run(ctx context.Context) {
	select {
	case <-s.engine.member.ready:
	case <-ctx.Done():
		return
	}
	for attempt := 0; ; attempt++ {
		sub, err := s.engine.Subscribe(ctx, []string{controlChannel}, SubscribeOptions{})
		if err != nil {
			if errors.Is(err, ErrClosed) || !retry.Sleep(ctx, backoff(attempt)) {
				return
			}
			continue
		}
		attempt = 0
		err = s.follow(ctx, sub)
		sub.Close()
		if errors.Is(err, ErrClosed) || ctx.Err() != nil {
			return
		}
		s.engine.log.Debug("following the namespaces anew", "error", err)
	}
}

// follow reads the namespaces, and again when they change, until the subscription ends.
func (s *settings) follow(ctx context.Context, sub *Subscription) error {
	if !s.read(ctx) {
		return ctx.Err()
	}
	for {
		changed, err := s.next(ctx, sub)
		if err != nil {
			return err
		}
		if changed && !s.read(ctx) {
			return ctx.Err()
		}
	}
}

// next waits for a message and takes what else is there, and tells whether the namespaces should be read.
func (s *settings) next(ctx context.Context, sub *Subscription) (bool, error) {
	wait, cancel := ctx, func() {}
	if s.denied {
		wait, cancel = context.WithTimeout(ctx, deniedInterval)
	}
	defer cancel()
	m, err := sub.Next(wait)
	if err != nil {
		if wait.Err() != nil && ctx.Err() == nil {
			return true, nil
		}
		return false, err
	}
	changed := concernsNamespaces(m.Payload)
	for {
		m, _, ok := sub.take()
		if !ok {
			return changed, nil
		}
		changed = concernsNamespaces(m.Payload) || changed
	}
}

func concernsNamespaces(payload []byte) bool {
	var control struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(payload, &control) == nil && control.Type == "namespaces"
}

// read reads the namespaces, for as long as it takes: until then the old settings hold. It returns false when ctx ended. A
// missing grant is waited for elsewhere.
func (s *settings) read(ctx context.Context) bool {
	down := retry.NewOutage(s.engine.log, "reading the namespaces")
	for attempt := 0; ; attempt++ {
		err := s.readOnce(ctx)
		var privilege *PrivilegeError
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			down.Over()
			s.denied = false
		case errors.As(err, &privilege):
			if !s.denied {
				s.engine.log.Warn("the settings of namespaces can't be read, so none apply", "error", privilege.Error())
			}
			s.denied = true
		default:
			down.Failed(err, attempt)
			if !retry.Sleep(ctx, backoff(attempt)) {
				return false
			}
			continue
		}
		select {
		case <-s.loaded:
		default:
			close(s.loaded)
		}
		return true
	}
}

func (s *settings) readOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settingsTimeout)
	defer cancel()
	namespaces, err := ReadNamespaces(ctx, s.engine.pool)
	if err != nil {
		return withRole(ctx, s.engine.pool, err)
	}
	rows := make(map[string]Namespace, len(namespaces))
	for _, n := range namespaces {
		rows[n.Name] = n
	}
	if reflect.DeepEqual(rows, *s.rows.Load()) {
		return nil
	}
	s.rows.Store(&rows)
	s.engine.log.LogAttrs(ctx, slog.LevelDebug, "namespaces changed", slog.Int("namespaces", len(rows)))
	s.mu.Lock()
	hooks := slices.Collect(maps.Keys(s.hooks))
	s.mu.Unlock()
	for _, changed := range hooks {
		(*changed)()
	}
	return nil
}
