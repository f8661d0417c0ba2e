package projects

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What it costs that a task is completed by the program: with progress, pushes, notifications of two people and the audit trail,
// against a bare UPDATE in a transaction of its own. What the database computed for it is measured as well: unlike the time it took, it
// doesn't depend on what else the machine does.
func BenchmarkCompletion(b *testing.B) {
	s := newStore(b)
	ctx := b.Context()
	m := newTeam(b, s.pool)
	second := newPerson(b, s.pool, 0, "Carl")
	exec(b, s.pool, `INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'customer')`, m.Project, second)
	exec(b, s.pool, `INSERT INTO projects.task (project_id, title, rank, assignee_id) SELECT $1, 'Task ' || i, i, $2 FROM generate_series(1, 500) i`, m.Project, m.Staff)
	ids := collect[int64](b, s.pool, `SELECT id FROM projects.task ORDER BY id`)
	var next int
	// Each is measured on tasks that are outstanding and were never reopened, as most are.
	again := func() {
		exec(b, s.pool, `ALTER TABLE projects.task DISABLE TRIGGER USER`)
		exec(b, s.pool, `UPDATE projects.task SET completed_at = NULL, completed_by = NULL`)
		exec(b, s.pool, `UPDATE projects.progress SET done = 0`)
		exec(b, s.pool, `DELETE FROM trunkline.notification`)
		exec(b, s.pool, `VACUUM ANALYZE projects.task, projects.progress, trunkline.notification`)
		next = 0
	}
	measure := func(name, triggers string, do func(id int64) error) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			var computed time.Duration
			next = len(ids)
			for b.Loop() {
				if next == len(ids) {
					b.StopTimer()
					again()
					exec(b, s.pool, `ALTER TABLE projects.task `+triggers+` TRIGGER USER`)
					b.StartTimer()
				}
				before := computing(b, s)
				begun := time.Now()
				if err := do(ids[next]); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
				computed += computing(b, s) - before
				next++
			}
			report(b, took)
			b.ReportMetric(float64(computed.Microseconds())/1000/float64(len(took)), "computing-ms")
		})
	}
	measure("bare", "DISABLE", func(id int64) error {
		_, err := s.pool.Exec(ctx, `UPDATE projects.task SET completed_at = now(), completed_by = $2 WHERE id = $1`, id, m.Customer)
		return err
	})
	measure("program", "ENABLE", func(id int64) error {
		_, err := s.CompleteTask(ctx, m.Customer, id)
		return err
	})
	if left := scan[int](b, s.pool, `SELECT count(*) FROM trunkline.notification WHERE kind = $1`, KindCompleted); left == 0 {
		b.Error("nobody was notified, so this measures something else")
	}
}

// computing is how long the database's processes for the store's connections have computed. 0 where the system doesn't say.
func computing(b *testing.B, s *Store) (sum time.Duration) {
	b.StopTimer()
	defer b.StartTimer()
	for _, conn := range s.pool.AcquireAllIdle(b.Context()) {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", conn.Conn().PgConn().PID()))
		conn.Release()
		if first, _, ok := strings.Cut(string(stat), " "); ok {
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum
}
