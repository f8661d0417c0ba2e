package projects

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// wantProgress compares what is kept of a project, and what was published last of it, with what it should be.
func wantProgress(t *testing.T, db database, project int64, done, total int) {
	t.Helper()
	kept := progressOf(t, db, project)
	if kept.Done != done || kept.Total != total {
		t.Errorf("project %d: %d of %d, want %d of %d", project, kept.Done, kept.Total, done, total)
	}
	all := published(t, db, topic("progress", project))
	if len(all) == 0 {
		if kept.Version != 1 {
			t.Errorf("project %d has version %d, but nothing was published", project, kept.Version)
		}
		return
	}
	wantJSON(t, kept, all[len(all)-1])
	for i, raw := range all {
		if got := decode[Progress](t, raw).Version; got != int64(i+2) {
			t.Errorf("publication %d of project %d has version %d, want %d", i, project, got, i+2)
		}
	}
}

func progressOf(t testing.TB, db database, project int64) Progress {
	t.Helper()
	return decode[Progress](t, scan[string](t, db, "SELECT projects.progress_json(g) FROM projects.progress g WHERE project_id = $1", project))
}

func TestProgress(t *testing.T) {
	s := newStore(t)
	db := s.pool
	m := newTeam(t, db)
	a, b := m.Project, newProject(t, db, m.Organisation, "Shop")
	want := func(aDone, aTotal, bDone, bTotal int) {
		t.Helper()
		wantProgress(t, db, a, aDone, aTotal)
		wantProgress(t, db, b, bDone, bTotal)
	}
	want(0, 0, 0, 0)
	exec(t, db, "INSERT INTO projects.task (project_id, title, rank, completed_at) VALUES ($1, 'One', 1, now()), ($1, 'Two', 2, NULL), ($2, 'Three', 1, NULL)", a, b)
	want(1, 2, 0, 1)
	exec(t, db, "UPDATE projects.task SET completed_at = now() WHERE completed_at IS NULL")
	want(2, 2, 1, 1)
	exec(t, db, "UPDATE projects.task SET completed_at = CASE title WHEN 'Two' THEN NULL ELSE now() END, title = title || '!'")
	want(1, 2, 1, 1)

	// What changes no count touches no counter.
	before := progressOf(t, db, a)
	exec(t, db, "UPDATE projects.task SET title = title || '?', completed_at = completed_at + interval '1 s'")
	exec(t, db, "UPDATE projects.task SET completed_at = now() WHERE false")
	exec(t, db, "DELETE FROM projects.task WHERE false")
	if diff := cmp.Diff(before, progressOf(t, db, a)); diff != "" {
		t.Errorf("progress changed (-want +got):\n%s", diff)
	}

	exec(t, db, "UPDATE projects.task SET project_id = $2 WHERE project_id = $1 AND completed_at IS NOT NULL", a, b)
	want(0, 1, 2, 2)
	exec(t, db, "UPDATE projects.task SET project_id = CASE project_id WHEN $1 THEN $2::bigint ELSE $1 END", a, b)
	want(2, 2, 0, 1)
	exec(t, db, "UPDATE projects.task SET project_id = $1, completed_at = NULL WHERE title LIKE 'One%'", b)
	want(1, 1, 0, 2)
	exec(t, db, "DELETE FROM projects.task WHERE project_id = $1 AND title LIKE 'One%'", b)
	want(1, 1, 0, 1)

	// Bulk, in one statement and by COPY.
	exec(t, db, `INSERT INTO projects.task (project_id, title, rank, completed_at)
		SELECT CASE i % 2 WHEN 0 THEN $1::bigint ELSE $2 END, 'Bulk', i, CASE WHEN i % 5 = 0 THEN now() END FROM generate_series(1, 10000) i`, a, b)
	want(1001, 5001, 1000, 5001)
	var rows [][]any
	for i := range 1000 {
		rows = append(rows, []any{a, "Copied", float64(i), time.Now()})
	}
	if _, err := db.CopyFrom(testContext(t), pgx.Identifier{"projects", "task"}, []string{"project_id", "title", "rank", "completed_at"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	want(2001, 6001, 1000, 5001)
	exec(t, db, "UPDATE projects.task SET completed_at = coalesce(completed_at, now())")
	want(6001, 6001, 5001, 5001)
	exec(t, db, "DELETE FROM projects.task WHERE title = 'Bulk'")
	want(1001, 1001, 1, 1)

	// What rolls back never was.
	tx, err := db.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	exec(t, tx, "DELETE FROM projects.task")
	exec(t, tx, "SAVEPOINT s")
	exec(t, tx, "INSERT INTO projects.task (project_id, title, rank) VALUES ($1, 'X', 1)", a)
	exec(t, tx, "ROLLBACK TO s")
	wantProgress(t, tx, a, 0, 0)
	if err := tx.Rollback(testContext(t)); err != nil {
		t.Fatal(err)
	}
	want(1001, 1001, 1, 1)

	exec(t, db, "TRUNCATE projects.task CASCADE")
	want(0, 0, 0, 0)
	newTask(t, db, a, "After")
	want(0, 1, 0, 0)
}

func TestProgressGoesWithItsProject(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	stays := newProject(t, s.pool, m.Organisation, "Stays")
	newTask(t, s.pool, m.Project, "Task")
	newTask(t, s.pool, stays, "Task")
	before := len(published(t, s.pool, topic("progress", m.Project)))
	exec(t, s.pool, "DELETE FROM projects.project WHERE id = $1", m.Project)
	if got := collect[int64](t, s.pool, "SELECT project_id FROM projects.progress"); len(got) != 1 || got[0] != stays {
		t.Errorf("there is progress of %v, want of %d alone", got, stays)
	}
	if got := len(published(t, s.pool, topic("progress", m.Project))); got != before {
		t.Errorf("progress of a project was published while it was deleted: %d messages, want %d", got, before)
	}
	wantProgress(t, s.pool, stays, 0, 1)
}

// Whatever statements come, the counters are what counting gives.
func TestProgressIsWhatCountingGives(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	conn := pgtest.Connect(t, s.pool.Config().ConnString())
	ids := []int64{m.Project, newProject(t, conn, m.Organisation, "B"), newProject(t, conn, m.Organisation, "C")}
	statements := []string{
		"INSERT INTO projects.task (project_id, title, rank, completed_at) SELECT $1::bigint, 'T', i, CASE WHEN i % 3 = 0 THEN now() END FROM generate_series(1, $2::int) i WHERE $3::bigint > 0",
		"UPDATE projects.task SET completed_at = CASE WHEN completed_at IS NULL THEN now() END WHERE project_id = $1 AND id % 7 <= $2 AND $3::bigint > 0",
		"UPDATE projects.task SET completed_at = now() WHERE id % 5 = $2 AND project_id IN ($1, $3)",
		"UPDATE projects.task SET completed_at = NULL WHERE id % 6 = $2 AND project_id IN ($1, $3)",
		"UPDATE projects.task SET project_id = $1 WHERE project_id = $3 AND id % 4 = $2",
		"UPDATE projects.task SET project_id = CASE project_id WHEN $1 THEN $3::bigint ELSE $1 END, completed_at = CASE WHEN id % 2 = 0 THEN now() END WHERE project_id IN ($1, $3) AND id % 5 > $2",
		"DELETE FROM projects.task WHERE id % 9 = $2 AND $1::bigint > 0 AND $3::bigint > 0",
		`WITH d AS (DELETE FROM projects.task WHERE project_id = $1 AND id % 3 = $2 RETURNING title)
			INSERT INTO projects.task (project_id, title, rank, completed_at) SELECT $3::bigint, title, 1, now() FROM d`,
		`WITH u AS (UPDATE projects.task SET completed_at = now() WHERE project_id = $1 RETURNING id)
			DELETE FROM projects.task t WHERE t.project_id = $3 AND t.id % 2 = $2 AND NOT EXISTS (SELECT FROM u WHERE u.id = t.id)`,
	}
	rapid.Check(t, func(r *rapid.T) {
		tx, err := conn.Begin(testContext(t))
		if err != nil {
			r.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(r, "statements") {
			sql := rapid.SampledFrom(statements).Draw(r, "sql")
			args := []any{rapid.SampledFrom(ids).Draw(r, "project"), rapid.IntRange(0, 9).Draw(r, "n"), rapid.SampledFrom(ids).Draw(r, "other")}
			if _, err := tx.Exec(testContext(t), sql, args...); err != nil {
				r.Fatalf("%s %v: %v", sql, args, err)
			}
			var wrong int
			if err := tx.QueryRow(testContext(t), "SELECT count(*) FROM ("+strings.TrimSuffix(strings.TrimSpace(findDrift), "ORDER BY 1, 2")+") d").Scan(&wrong); err != nil {
				r.Fatal(err)
			}
			if wrong != 0 {
				r.Fatalf("%d drifts after %s %v", wrong, sql, args)
			}
		}
		end := tx.Commit
		if rapid.Bool().Draw(r, "rolls back") {
			end = tx.Rollback
		}
		if err := end(testContext(t)); err != nil {
			r.Fatal(err)
		}
	})
}

// Sessions that change the same projects in opposite orders, in single statements, never deadlock.
func TestOppositeOrdersDontDeadlock(t *testing.T) {
	t.Run("two projects", func(t *testing.T) {
		change(t, 2, 2, func(projects, session int) []int { return []int{session, 1 - session} })
	})
	t.Run("many projects", func(t *testing.T) {
		change(t, 12, 4, func(projects, _ int) []int { return rand.Perm(projects)[:2+rand.IntN(4)] })
	})
}

// change has sessions complete and reopen tasks of their own, one in each of the projects that choose names, in that order.
func change(t *testing.T, projects, sessions int, choose func(projects, session int) []int) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	const rounds = 60
	ids := []int64{m.Project}
	for len(ids) < projects {
		ids = append(ids, newProject(t, s.pool, m.Organisation, "Another"))
	}
	var group errgroup.Group
	for session := range sessions {
		tasks := make([]int64, projects)
		for i, project := range ids {
			tasks[i] = newTask(t, s.pool, project, "Task")
		}
		conn := pgtest.Connect(t, s.pool.Config().ConnString())
		group.Go(func() error {
			for n := range rounds {
				var chosen []int64
				for _, i := range choose(projects, session) {
					chosen = append(chosen, tasks[i])
				}
				_, err := conn.Exec(testContext(t), `UPDATE projects.task t SET completed_at = CASE WHEN t.completed_at IS NULL THEN now() END
					FROM (SELECT id FROM unnest($1::bigint[]) WITH ORDINALITY u(id, n) ORDER BY n) u WHERE t.id = u.id`, chosen)
				var pg *pgconn.PgError
				if errors.As(err, &pg) && pg.Code == "40P01" {
					return fmt.Errorf("round %d of session %d: deadlock: %s", n, session, pg.Detail)
				} else if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, project := range ids {
		done := scan[int](t, s.pool, "SELECT count(completed_at) FROM projects.task WHERE project_id = $1", project)
		wantProgress(t, s.pool, project, done, sessions)
	}
}

// A hundred completions within a second reach who watches the bar as a handful of pushes, the last of which is exact.
func TestManyCompletionsAreFewPushes(t *testing.T) {
	s := newLiveStore(t)
	m := newTeam(t, s.pool)
	const tasks = 100
	exec(t, s.pool, "INSERT INTO projects.task (project_id, title, rank) SELECT $1, 'Task', i FROM generate_series(1, $2) i", m.Project, tasks)
	ids := collect[int64](t, s.pool, "SELECT id FROM projects.task ORDER BY id")

	sub, err := s.engine.Subscribe(testContext(t), []string{topic("progress", m.Project)}, trunkline.SubscribeOptions{From: trunkline.FromNow(), Conflate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var group errgroup.Group
	begun := time.Now()
	group.Go(func() error {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for _, id := range ids {
			<-pace.C
			if _, err := s.pool.Exec(testContext(t), "UPDATE projects.task SET completed_at = now() WHERE id = $1", id); err != nil {
				return err
			}
		}
		return nil
	})
	var pushes []Progress
	for {
		message, err := sub.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		var p Progress
		if err := json.Unmarshal(message.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if n := len(pushes); n > 0 && p.Version <= pushes[n-1].Version {
			t.Errorf("version %d after %d", p.Version, pushes[n-1].Version)
		}
		if pushes = append(pushes, p); p.Done == tasks {
			break
		}
	}
	elapsed := time.Since(begun)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	// The newest as it subscribes, one at once, then at most four a second.
	if most := 2 + int(elapsed/(250*time.Millisecond)); len(pushes) > most {
		t.Errorf("%d pushes in %v, want at most %d: %v", len(pushes), elapsed, most, pushes)
	}
	if diff := cmp.Diff(progressOf(t, s.pool, m.Project), pushes[len(pushes)-1]); diff != "" {
		t.Errorf("the last push isn't the truth (-want +got):\n%s", diff)
	}
	t.Logf("%d completions in %v: %d pushes", tasks, elapsed.Round(time.Millisecond), len(pushes))
}
