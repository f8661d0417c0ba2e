package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

type doctorCmd struct {
	JSON bool `name:"json" help:"Print a JSON object."`
}

func (*doctorCmd) Help() string {
	return `Each check says ok, warning or problem, and what to do. The exit code is 1 if there is a problem, 3 if the database can't be
reached.

    trunkline doctor
    trunkline doctor --database-url postgres://app@host/database
    trunkline doctor --json | jq '.checks[] | select(.status != "ok")'`
}

// status is how a check came out.
type status string

const (
	statusOK      status = "ok"
	statusWarning status = "warning"
	statusProblem status = "problem"
)

// finding is what one check found.
type finding struct {
	Name   string `json:"name"`
	Status status `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// diagnosis is all that was found.
type diagnosis struct {
	OK     bool      `json:"ok"`
	Checks []finding `json:"checks"`
}

func (d *diagnosis) ok(name, format string, args ...any) {
	d.add(finding{Name: name, Status: statusOK, Detail: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) warn(name, fix, format string, args ...any) {
	d.add(finding{Name: name, Status: statusWarning, Fix: fix, Detail: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) problem(name, fix, format string, args ...any) {
	d.add(finding{Name: name, Status: statusProblem, Fix: fix, Detail: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) add(f finding) {
	d.Checks = append(d.Checks, f)
	d.OK = d.OK && f.Status != statusProblem
}

// checkTimeout bounds one check.
const checkTimeout = 15 * time.Second

func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	d := &diagnosis{OK: true}
	code := c.examine(ctx, a, d)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if c.JSON {
		if err := a.printJSON(d); err != nil {
			return err
		}
	} else {
		if err := d.print(a); err != nil {
			return err
		}
	}
	if code != exitOK {
		return &exitError{code}
	}
	return nil
}

// examine makes every check that the ones before allow.
func (c *doctorCmd) examine(ctx context.Context, a *app, d *diagnosis) (code int) {
	conn, err := a.connect(ctx)
	if err != nil {
		text, code := a.explain(err)
		d.problem("connection", "", "%s", text)
		return code
	}
	defer closeSoon(ctx, conn)
	e := &examination{app: a, conn: conn, d: d}
	for _, check := range []struct {
		name string
		run  func(context.Context) error
		last bool // without it the others mean nothing
	}{
		{"connection", e.connection, false},
		{"server", e.server, false},
		{"schema", e.schema, true},
		{"privileges", e.privileges, false},
		{"search path", e.searchPath, false},
		{"listen", e.listen, false},
		{"queue", e.queue, false},
		{"sequencer", e.sequencer, false},
		{"lag", e.lag, false},
		{"authorization", e.authorization, false},
		{"retention", e.retention, false},
		{"watches", e.watches, false},
		{"transactions", e.transactions, false},
		{"two-phase commit", e.prepared, false},
		{"clock", e.clock, false},
	} {
		before := len(d.Checks)
		checkCtx, cancel := context.WithTimeout(ctx, checkTimeout)
		err := check.run(checkCtx)
		cancel()
		if err != nil {
			text, _ := a.explain(a.withRole(ctx, conn, err))
			d.problem(check.name, "", "this can't be checked: %s", text)
		}
		if check.last && len(d.Checks) > before && d.Checks[len(d.Checks)-1].Status == statusProblem {
			break
		}
	}
	if !d.OK {
		return exitFailed
	}
	return exitOK
}

func (d *diagnosis) print(a *app) error {
	colors := colorsOf(a.stdout)
	width := 0
	for _, f := range d.Checks {
		width = max(width, len(f.Name))
	}
	var b strings.Builder
	for _, f := range d.Checks {
		word := map[status]string{
			statusOK: colors.green("ok     "), statusWarning: colors.yellow("warning"), statusProblem: colors.red("problem"),
		}[f.Status]
		fmt.Fprintf(&b, "%s  %-*s  %s\n", word, width, f.Name, visible(f.Detail))
		if f.Fix != "" {
			fmt.Fprintf(&b, "%s→ %s\n", strings.Repeat(" ", width+11), visible(f.Fix))
		}
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// examination is a diagnosis under way.
type examination struct {
	app  *app
	conn *pgx.Conn
	d    *diagnosis

	mayRead   bool
	unwatched bool // nobody sequences
}

// rowsOf collects one text per row.
func (e *examination) rowsOf(ctx context.Context, sql string, args ...any) ([]string, error) {
	rows, err := e.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// list names the first few of many.
func list(items []string) string {
	const most = 5
	if len(items) > most {
		return strings.Join(items[:most], "; ") + fmt.Sprintf("; and %d more", len(items)-most)
	}
	return strings.Join(items, "; ")
}

// denied tells whether an error says that the role may not look.
func denied(err error) bool {
	var pg interface{ SQLState() string }
	return errors.As(err, &pg) && pg.SQLState() == "42501"
}
