package demo

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/projects"
)

// newStage is a database with the application's schema, and a store whose engine runs.
func newStage(t *testing.T) (*pgxpool.Pool, *projects.Store) {
	t.Helper()
	url := pgtest.Prepared(t, "projects", projects.Migrate)
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := engine.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return engine.Pool(), projects.New(engine.Pool(), projects.Options{Engine: engine})
}

// census counts rows by table.
func census(t *testing.T, pool *pgxpool.Pool) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, table := range []string{
		"projects.organisation", "projects.person", "projects.project", "projects.membership", "projects.milestone", "projects.task",
		"projects.conversation", "projects.message", "projects.reader", "trunkline.notification",
	} {
		var n int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		counts[table] = n
	}
	return counts
}

func TestSeedTwiceIsSeedOnce(t *testing.T) {
	t.Parallel()
	pool, store := newStage(t)
	// Two at once, as two nodes that start.
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if err := Seed(t.Context(), pool, store); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	first := census(t, pool)
	if first["projects.person"] != len(cast) || first["projects.project"] != len(plots) || first["trunkline.notification"] == 0 {
		t.Errorf("it has made %v", first)
	}
	if err := Seed(t.Context(), pool, store); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, census(t, pool)); diff != "" {
		t.Errorf("again it changes (-first +second):\n%s", diff)
	}
	if drifts, err := store.Check(t.Context(), false); err != nil || len(drifts) != 0 {
		t.Errorf("the counters don't agree: %v, %v", drifts, err)
	}
	for _, c := range cast {
		if Titles()[c.email] == "" {
			t.Errorf("%s has no title", c.name)
		}
	}
}

// The question that waits is asked by a later Seed if the first one didn't come so far.
func TestSeedAsksWhatWasNotAsked(t *testing.T) {
	t.Parallel()
	pool, store := newStage(t)
	if err := Seed(t.Context(), pool, store); err != nil {
		t.Fatal(err)
	}
	all := census(t, pool)["projects.message"]
	if _, err := pool.Exec(t.Context(), "DELETE FROM projects.message WHERE client_key = $1", questionKey); err != nil {
		t.Fatal(err)
	}
	if err := Seed(t.Context(), pool, store); err != nil {
		t.Fatal(err)
	}
	if n := census(t, pool)["projects.message"]; n != all {
		t.Errorf("%d messages, not %d", n, all)
	}
}

func TestSimulationWorksAndKeepsMeasure(t *testing.T) {
	t.Parallel()
	pool, store := newStage(t)
	if err := Seed(t.Context(), pool, store); err != nil {
		t.Fatal(err)
	}
	var present int64
	err := pool.QueryRow(t.Context(), `INSERT INTO projects.session (person_id, token_hash, expires_at)
		SELECT id, 'hash', now() + interval '1 hour' FROM projects.person WHERE email = $1 RETURNING person_id`, elena).Scan(&present)
	if err != nil {
		t.Fatal(err)
	}
	before := census(t, pool)
	steps := 0
	simulation := Simulation{
		Pool: pool, Store: store, Rand: rand.New(rand.NewPCG(1, 2)),
		Wait: func(_ context.Context, least, most time.Duration) bool {
			if least <= 0 || most <= least {
				t.Errorf("it waits between %s and %s", least, most)
			}
			steps++
			return steps <= 250
		},
	}
	if err := simulation.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := census(t, pool)
	var completions, questions, byPresent, unread int
	err = pool.QueryRow(t.Context(), `SELECT
		(SELECT count(*) FROM projects.audit WHERE action = 'task.completed' AND at > now() - interval '10 minutes'),
		(SELECT count(*) FROM projects.message m JOIN projects.person h ON h.id = m.author_id WHERE m.client_key LIKE 'sim-%' AND h.organisation_id IS NULL),
		(SELECT count(*) FROM projects.message m WHERE m.client_key LIKE 'sim-%' AND m.author_id = $1),
		(SELECT count(*) FROM trunkline.notification WHERE user_id = $1::text)`, present).Scan(&completions, &questions, &byPresent, &unread)
	if err != nil {
		t.Fatal(err)
	}
	if completions < 5 || questions == 0 || after["projects.message"] <= before["projects.message"] || unread == 0 {
		t.Errorf("in 250 steps: %d completions, %d questions, messages %d → %d, %d notifications for who looks on",
			completions, questions, before["projects.message"], after["projects.message"], unread)
	}
	if byPresent != 0 {
		t.Errorf("it spoke %d times for somebody who is signed in", byPresent)
	}
	if drifts, err := store.Check(t.Context(), false); err != nil || len(drifts) != 0 {
		t.Errorf("the counters don't agree: %v, %v", drifts, err)
	}

	// A conversation that it has said enough in stays as it is.
	_, err = pool.Exec(t.Context(), "UPDATE projects.message SET client_key = 'sim-full-' || id")
	if err != nil {
		t.Fatal(err)
	}
	_, err = pool.Exec(t.Context(), `INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html)
		SELECT c.id, c.last_seq + n, $1, 'sim-more-' || n, 'x', '<p>x</p>' FROM projects.conversation c, generate_series(1, $2) n`, present, mostSaid)
	if err != nil {
		t.Fatal(err)
	}
	full := census(t, pool)["projects.message"]
	steps = 150
	if err := simulation.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := census(t, pool)["projects.message"]; n != full {
		t.Errorf("it went on to %d messages from %d", n, full)
	}
}
