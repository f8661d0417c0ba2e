package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
)

type watchCmd struct {
	Table           string   `arg:"" help:"Table, as SQL writes it: message, shop.orders, '\"Mixed Case\"'."`
	Channel         string   `required:"" placeholder:"TEMPLATE" help:"Channel to publish to; {column} stands for the row's value."`
	Op              []string `placeholder:"OPS" help:"What to watch: insert,update,delete,truncate. Default: the first three, and truncate with --truncate-channel."`
	Columns         []string `placeholder:"COLUMNS" help:"Columns to carry, separated by commas. Default: all."`
	Where           string   `placeholder:"SQL" help:"Publish only rows for which this is true, such as \"status <> 'draft'\"."`
	Payload         string   `placeholder:"FORM" default:"row" help:"row: the row. change: {op, table, new, old}. Default: row."`
	TruncateChannel string   `placeholder:"CHANNEL" help:"Channel that is told when the table is truncated."`
	Notify          bool     `help:"Send the payload with NOTIFY too, for programs that LISTEN themselves."`
	JSON            bool     `name:"json" help:"Print the watch's number as a JSON object."`
}

func (*watchCmd) Help() string {
	return `From then on whatever changes the table publishes, and what rolls back doesn't. The table's owner installs a watch.

    trunkline watch message --channel '{channel}'
    trunkline watch task --channel 'project:{project_id}' --payload change
    trunkline watch task --channel 'project:{project_id}' --op insert,update --columns id,title,done --where 'NOT hidden'
    trunkline watch message --channel '{channel}' --notify
    trunkline watch message --channel '{channel}' --truncate-channel message:gone

A row with NULL in the template's columns is not published. {{ and }} stand for braces.`
}

func (c *watchCmd) Run(ctx context.Context, a *app) error {
	if slices.Contains(c.Op, "truncate") && c.TruncateChannel == "" {
		return usagef("--op truncate needs --truncate-channel: TRUNCATE has no row that could fill the template %q", c.Channel)
	}
	ops := c.Op
	if len(ops) == 0 && c.TruncateChannel != "" {
		ops = []string{"insert", "update", "delete", "truncate"}
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	id, err := trunkline.AddWatch(ctx, conn, trunkline.WatchOptions{
		Table: c.Table, Channel: c.Channel, Ops: ops, Columns: c.Columns, Where: c.Where, Payload: c.Payload,
		TruncateChannel: c.TruncateChannel, Notify: c.Notify,
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42710" {
		return usagef("%s: remove that watch with trunkline unwatch %s --channel %s", pg.Message, shellQuote(c.Table), shellQuote(c.Channel))
	}
	if err != nil {
		return a.withRole(ctx, conn, tableSyntax(c.Table, err))
	}
	if c.JSON {
		return a.printJSON(struct {
			ID int `json:"id"`
		}{id})
	}
	_, err = fmt.Fprintf(a.stdout, "watch %d publishes %s to %s\n", id, c.Table, c.Channel)
	return err
}

type unwatchCmd struct {
	Table   string `arg:"" optional:"" help:"Table, as SQL writes it."`
	Channel string `placeholder:"TEMPLATE" help:"The watch's channel template."`
	ID      *int   `name:"id" placeholder:"N" help:"The watch's number instead of table and template, as for a table that was dropped."`
}

func (*unwatchCmd) Help() string {
	return `What was published stays.

    trunkline watches
    trunkline unwatch message --channel '{channel}'
    trunkline unwatch --id 3`
}

func (c *unwatchCmd) Run(ctx context.Context, a *app) error {
	switch {
	case c.ID != nil && (c.Table != "" || c.Channel != ""):
		return usagef("--id %d names the watch already: leave the table and --channel out", *c.ID)
	case c.ID == nil && (c.Table == "" || c.Channel == ""):
		return usagef("which watch? Give the table and --channel, or --id; trunkline watches lists all, see trunkline unwatch --help")
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	if c.ID != nil {
		return c.removeID(ctx, a, conn)
	}
	if err := trunkline.RemoveWatch(ctx, conn, c.Table, c.Channel); err != nil {
		return a.withRole(ctx, conn, tableSyntax(c.Table, err))
	}
	_, err = fmt.Fprintf(a.stdout, "%s is no longer published to %s\n", c.Table, c.Channel)
	return err
}

func (c *unwatchCmd) removeID(ctx context.Context, a *app, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT trunkline.unwatch($1::integer)", *c.ID)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42704":
		return usagef("%s: trunkline watches lists all", pg.Message)
	case errors.As(err, &pg) && pg.Code == "42501" && pg.Hint == "": // PostgreSQL's own refusal
		return fmt.Errorf("%s; have Trunkline's owner run: SELECT trunkline.grant_publish('%s')",
			pg.Message, strings.ReplaceAll(conn.Config().User, "'", "''"))
	case errors.As(err, &pg) && pg.Hint != "":
		return usagef("%s. %s", pg.Message, strings.TrimSuffix(pg.Hint, "."))
	case err != nil:
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "watch %d is removed\n", *c.ID)
	return err
}

// tableSyntax says how to write a table's name that PostgreSQL can't read.
func tableSyntax(table string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42602" {
		quoted := `"` + strings.ReplaceAll(table, `"`, `""`) + `"`
		return usagef("table %q is not written as in SQL (%s): quote it, %s", table, pg.Message, shellQuote(quoted))
	}
	return err
}

// inThisProgram turns a remark's SQL into the command that does it.
func inThisProgram(remark string) string {
	return unwatchSQL.ReplaceAllString(remark, "`trunkline unwatch --id $1`")
}

var unwatchSQL = regexp.MustCompile(`trunkline\.unwatch\((\d+)\)`)

// notWatchingTruncate tells the remark that is a choice, which the table shows.
func notWatchingTruncate(remark string) bool {
	return strings.HasPrefix(remark, "TRUNCATE is not watched")
}

type watchesCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

func (*watchesCmd) Help() string {
	return `Beneath a watch stand remarks about what keeps it from seeing every change.

    trunkline watches
    trunkline watches --json | jq '.[].remarks'`
}

func (c *watchesCmd) Run(ctx context.Context, a *app) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	watches, err := trunkline.Watches(ctx, conn)
	if err != nil {
		return a.withRole(ctx, conn, err)
	}
	if c.JSON {
		if watches == nil {
			watches = []trunkline.Watch{}
		}
		return a.printJSON(watches)
	}
	if len(watches) == 0 {
		a.note("no table is watched: trunkline watch TABLE --channel TEMPLATE watches one")
		return nil
	}
	return a.printWatches(watches)
}

func (a *app) printWatches(watches []trunkline.Watch) error {
	colors := colorsOf(a.stdout)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { _, _ = io.WriteString(w, strings.Join(cells, "\t")+"\n") } // into memory: can't fail
	line("ID", "TABLE", "CHANNEL", "OPERATIONS", "TRUNCATE", "COLUMNS", "PAYLOAD", "WHERE", "NOTIFY", "SKIPPED", "REJECTED")
	for _, watch := range watches {
		columns, notify := "all", "no"
		if len(watch.Columns) > 0 {
			columns = strings.Join(watch.Columns, ",")
		}
		if watch.Notify {
			notify = "yes"
		}
		// TRUNCATE has a column of its own: the channel that is told.
		ops := strings.Join(slices.DeleteFunc(slices.Clone(watch.Ops), func(op string) bool { return op == "truncate" }), ",")
		line(strconv.Itoa(watch.ID), visible(watch.Table), visible(watch.Channel), cmp.Or(ops, "-"), visible(cmp.Or(watch.TruncateChannel, "-")),
			visible(columns), watch.Payload, visible(cmp.Or(watch.Where, "-")), notify, strconv.FormatInt(watch.Skipped, 10),
			strconv.FormatInt(watch.Rejected, 10))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	lines := strings.SplitAfter(table.String(), "\n")
	var b strings.Builder
	b.WriteString(colors.bold(strings.TrimSpace(lines[0])) + "\n")
	for i, watch := range watches {
		b.WriteString(lines[i+1])
		for _, remark := range watch.Remarks {
			if !notWatchingTruncate(remark) {
				b.WriteString("    " + colors.yellow(visible(inThisProgram(remark))) + "\n")
			}
		}
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// shellQuote writes a word so that a shell takes it as it is.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:@%+=,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
