package projects

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A planned is a node of an executed plan.
type planned struct {
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"` // of each loop
	Loops    float64 `json:"Actual Loops"`
	Filtered float64 `json:"Rows Removed by Filter"`
	Joined   float64 `json:"Rows Removed by Join Filter"`
	Plans    []planned
}

// An effort is what statements and all that their functions and triggers execute have handled: rows, by the table they were read from.
// What joins, sorts and triggers' transition tables handle stands under "".
type effort map[string]int

func (e effort) add(p planned) {
	e[p.Relation] += int((p.Rows + p.Filtered + p.Joined) * p.Loops)
	for _, child := range p.Plans {
		e.add(child)
	}
}

func (e effort) total() (total int) {
	for _, rows := range e {
		total += rows
	}
	return total
}

// newMeter returns a connection on which each statement is planned as in any other session, and a function that returns the effort
// since it was last called.
func newMeter(t testing.TB, url string) (*pgx.Conn, func() effort) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	e := effort{}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		_, raw, ok := strings.Cut(n.Message, "plan:\n")
		if !ok {
			return
		}
		var executed struct{ Plan planned }
		if err := json.Unmarshal([]byte(raw), &executed); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		e.add(executed.Plan)
	}
	conn, err := pgx.ConnectConfig(testContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(testContext(t)) })
	for _, sql := range []string{
		"LOAD 'auto_explain'", "SET auto_explain.log_level = notice", "SET auto_explain.log_format = json",
		"SET auto_explain.log_nested_statements = on", "SET auto_explain.log_analyze = on", "SET auto_explain.log_timing = off",
		"SET auto_explain.log_min_duration = 0",
	} {
		exec(t, conn, sql)
	}
	return conn, func() effort {
		since := e
		e = effort{}
		return since
	}
}

// However many rows a statement changes, its triggers' work grows with them and no faster, also where the session has planned them
// for single rows before.
func TestBulkChangesCostWhatTheyChange(t *testing.T) {
	url := newDatabase(t)
	conn, spent := newMeter(t, url)
	m := newTeam(t, conn)
	const projects, stages, tasks = 5, 10, 20 // each in each
	exec(t, conn, "SET auto_explain.log_min_duration = -1")
	exec(t, conn, "INSERT INTO projects.project (organisation_id, name) SELECT $1, 'Project' FROM generate_series(2, $2)", m.Organisation, projects)
	exec(t, conn, "INSERT INTO projects.milestone (project_id, name, rank) SELECT id, 'Stage', i FROM projects.project, generate_series(1, $1) i", stages)
	exec(t, conn, `INSERT INTO projects.task (project_id, milestone_id, title, rank, assignee_id, completed_at, completed_by)
		SELECT project_id, id, 'Task', i, $2, CASE WHEN i % 2 = 0 THEN now() END, CASE WHEN i % 2 = 0 THEN $2::bigint END
		FROM projects.milestone, generate_series(1, $1) i`, tasks, m.Staff)
	exec(t, conn, "INSERT INTO projects.conversation (project_id, task_id, subject) SELECT project_id, id, 'About it' FROM projects.task WHERE id % 4 > 0")
	exec(t, conn, "ANALYZE")
	for table, column := range map[string]string{"conversation": "subject", "task": "title", "milestone": "name", "person": "name", "project": "name"} {
		exec(t, conn, "UPDATE projects."+table+" SET "+column+" = "+column+" WHERE id = (SELECT min(id) FROM projects."+table+")")
	}
	exec(t, conn, "DELETE FROM projects.task WHERE id = (SELECT max(id) FROM projects.task)")
	exec(t, conn, "SET auto_explain.log_min_duration = 0")

	const most = 200 * projects * stages * tasks // rows; comparing each task with each would be 5 times that
	for name, sql := range map[string]string{
		"new tasks":              "INSERT INTO projects.task (project_id, title, rank) SELECT project_id, title, rank FROM projects.task",
		"tasks completed":        "UPDATE projects.task SET completed_at = now()",
		"tasks that move":        "UPDATE projects.task SET milestone_id = NULL, project_id = (SELECT min(id) FROM projects.project)",
		"tasks":                  "DELETE FROM projects.task",
		"all tasks":              "TRUNCATE projects.task CASCADE",
		"new conversations":      "INSERT INTO projects.conversation (project_id, task_id, subject) SELECT project_id, id, 'New' FROM projects.task WHERE id % 4 = 0",
		"conversations answered": "UPDATE projects.conversation SET last_seq = last_seq + 1, task_id = NULL",
		"milestones":             "DELETE FROM projects.milestone WHERE rank > 1",
		"a person with tasks":    "DELETE FROM projects.person WHERE name = 'Stan'",
		"projects":               "DELETE FROM projects.project",
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := conn.Begin(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			spent()
			exec(t, tx, sql)
			exec(t, tx, "SET CONSTRAINTS ALL IMMEDIATE")
			e := spent()
			if e.total() > most {
				t.Errorf("%d rows were handled, want at most %d: %v", e.total(), most, e)
			}
			if e.total() < projects {
				t.Errorf("only %v was measured", e)
			}
			t.Logf("%d rows: %v", e.total(), e)
			if err := tx.Rollback(testContext(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The first page of customers reads the tasks it shows, whatever else there is, in whichever milestones or in none.
func TestOverviewReadsWhatItShows(t *testing.T) {
	for _, tasks := range []int{20, 400} {
		for _, analyzed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d tasks, analyzed %t", tasks, analyzed), func(t *testing.T) {
				conn, spent := newMeter(t, newDatabase(t))
				m := newTeam(t, conn)
				const projects = 30
				exec(t, conn, "SET auto_explain.log_min_duration = -1")
				exec(t, conn, "DELETE FROM projects.project")
				exec(t, conn, "INSERT INTO projects.project (organisation_id, name) SELECT $1, 'Project' FROM generate_series(1, $2)", m.Organisation, projects)
				exec(t, conn, "INSERT INTO projects.membership (project_id, person_id, role) SELECT id, $1, 'customer' FROM projects.project", m.Customer)
				exec(t, conn, "INSERT INTO projects.milestone (project_id, name, rank) SELECT id, 'Stage', i FROM projects.project, generate_series(1, 4) i")
				exec(t, conn, `INSERT INTO projects.task (project_id, milestone_id, title, rank, completed_at)
					SELECT p.id, (SELECT s.id FROM projects.milestone s WHERE s.project_id = p.id AND s.rank = i % 8), 'Task', i,
						CASE WHEN i % 3 = 0 OR (p.id % 2 = 0 AND i % 8 BETWEEN 1 AND 4) THEN now() END
					FROM projects.project p, generate_series(1, $1) i`, tasks)
				if analyzed {
					exec(t, conn, "ANALYZE")
				}
				exec(t, conn, "SET auto_explain.log_min_duration = 0")
				spent()
				shown := 0
				for _, one := range decode[[]Summary](t, scan[string](t, conn, "SELECT projects.overview($1)", m.Customer)) {
					shown += len(one.Outstanding)
				}
				e := spent()
				t.Logf("%d shown of %d tasks, %v", shown, projects*tasks, e)
				if shown < projects*4 || e["task"] == 0 || e["task"] > 2*shown {
					t.Errorf("%d tasks are shown and %d were read, want at most %d", shown, e["task"], 2*shown)
				}
			})
		}
	}
}
