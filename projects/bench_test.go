package projects

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// fill makes 200 projects with as many tasks as given, half of them completed, in five milestones; members, conversations with
// questions, and readers.
func fill(b *testing.B, db database, m team, tasks int) {
	b.Helper()
	exec(b, db, "DELETE FROM projects.project")
	exec(b, db, "INSERT INTO projects.project (organisation_id, name) SELECT $1, 'Project ' || i FROM generate_series(1, 200) i", m.Organisation)
	for role, person := range map[string]int64{"lead": m.Lead, "staff": m.Staff, "customer": m.Customer} {
		exec(b, db, "INSERT INTO projects.membership (project_id, person_id, role) SELECT id, $1, $2 FROM projects.project", person, role)
	}
	exec(b, db, "INSERT INTO projects.milestone (project_id, name, rank) SELECT id, 'Stage ' || i, i FROM projects.project, generate_series(1, 5) i")
	exec(b, db, `INSERT INTO projects.task (project_id, milestone_id, title, description, rank, assignee_id, completed_at)
		SELECT p.id, (SELECT s.id FROM projects.milestone s WHERE s.project_id = p.id AND s.rank = 1 + i % 5), 'Task ' || i,
			repeat('what is to be done ', 20), i, $2, CASE WHEN i % 2 = 0 THEN now() END
		FROM projects.project p, generate_series(1, $1) i`, tasks, m.Staff)
	exec(b, db, `INSERT INTO projects.conversation (project_id, subject, last_seq, awaiting_since)
		SELECT id, 'Talk ' || i, 20, CASE WHEN i = 1 AND id % 3 = 0 THEN now() END FROM projects.project, generate_series(1, 4) i`)
	exec(b, db, "INSERT INTO projects.reader (conversation_id, person_id, read_seq) SELECT id, $1, 12 FROM projects.conversation", m.Lead)
	exec(b, db, "VACUUM ANALYZE")
}

// report reports the median and the 95th percentile.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.95), "p95-ms")
}

// The first page of a staff member with 200 projects: one statement, whose cost doesn't grow with tasks.
func BenchmarkOverview(b *testing.B) {
	conn := pgtest.Connect(b, newDatabase(b))
	m := newTeam(b, conn)
	for _, tasks := range []int{5, 50, 500} {
		for who, person := range map[string]int64{"staff": m.Lead, "admin": m.Admin} {
			b.Run(fmt.Sprintf("tasks=%d/%s", tasks, who), func(b *testing.B) {
				if scan[int](b, conn, "SELECT count(*) FROM projects.task") != 200*tasks {
					fill(b, conn, m, tasks)
				}
				var took []time.Duration
				var size int
				for b.Loop() {
					begun := time.Now()
					size = len(scan[[]byte](b, conn, "SELECT projects.overview($1)", person))
					took = append(took, time.Since(begun))
				}
				report(b, took)
				b.ReportMetric(float64(size)/1000, "kB")
			})
		}
	}
}

// A project's page, by its tasks.
func BenchmarkSnapshot(b *testing.B) {
	conn := pgtest.Connect(b, newDatabase(b))
	m := newTeam(b, conn)
	for _, tasks := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) {
			exec(b, conn, "TRUNCATE projects.task CASCADE")
			exec(b, conn, `INSERT INTO projects.task (project_id, title, description, rank)
				SELECT $1, 'Task ' || i, repeat('what is to be done ', 5), i FROM generate_series(1, $2) i`, m.Project, tasks)
			exec(b, conn, "VACUUM ANALYZE projects.task")
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				scan[[]byte](b, conn, "SELECT projects.snapshot($1, $2)", m.Lead, m.Project)
				took = append(took, time.Since(begun))
			}
			report(b, took)
		})
	}
}

// What counting and telling costs: a task completed and reopened, in a transaction of its own, with the triggers and without.
func BenchmarkCompleteTask(b *testing.B) {
	conn := pgtest.Connect(b, newDatabase(b))
	m := newTeam(b, conn)
	fill(b, conn, m, 500)
	project := scan[int64](b, conn, "SELECT min(id) FROM projects.project")
	ids := collect[int64](b, conn, "SELECT id FROM projects.task WHERE project_id = $1 ORDER BY id", project)
	for _, triggers := range []string{"ENABLE", "DISABLE"} {
		b.Run("triggers="+triggers, func(b *testing.B) {
			exec(b, conn, "ALTER TABLE projects.task "+triggers+" TRIGGER USER")
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				exec(b, conn, "UPDATE projects.task SET completed_at = CASE WHEN completed_at IS NULL THEN now() END WHERE id = $1", ids[len(took)%len(ids)])
				took = append(took, time.Since(begun))
			}
			report(b, took)
		})
	}
}
