package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

type namespaceCmd struct {
	List   namespaceListCmd   `cmd:"" help:"List the namespaces that have settings."`
	Show   namespaceShowCmd   `cmd:"" help:"Show the settings of one."`
	Set    namespaceSetCmd    `cmd:"" help:"Change settings of one, or give it some."`
	Delete namespaceDeleteCmd `cmd:"" help:"Remove the settings of one."`
}

func (*namespaceCmd) Help() string {
	return `A namespace is what stands before the first ":" of a channel's name; channels without one belong to default. Servers take
changes at once.

    trunkline namespace set project --authorize app.may --retention 90d --publish yes
    trunkline namespace list
    trunkline namespace show project
    trunkline namespace delete project`
}

type namespaceListCmd struct {
	JSON bool `name:"json" help:"Print a JSON array; durations are in seconds."`
}

func (*namespaceListCmd) Help() string {
	return `    trunkline namespace list
    trunkline namespace list --json | jq '.[] | select(.anonymous)'`
}

func (c *namespaceListCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		namespaces, err := trunkline.ReadNamespaces(ctx, conn)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(namespaces)
		}
		rows := make([][]string, 0, len(namespaces))
		for i := range namespaces {
			row := []string{namespaces[i].Name}
			for _, s := range settingsOf(&namespaces[i]) {
				row = append(row, s.value)
			}
			rows = append(rows, row)
		}
		header := []string{"NAME"}
		for _, s := range settingsOf(&trunkline.Namespace{}) {
			header = append(header, strings.ToUpper(s.name))
		}
		return a.printTable(header, rows)
	})
}

type namespaceShowCmd struct {
	Name string `arg:"" help:"Namespace."`
	JSON bool   `name:"json" help:"Print a JSON object; durations are in seconds."`
}

func (*namespaceShowCmd) Help() string {
	return `Each line is a flag of set and what it would be set to.

    trunkline namespace show project
    trunkline namespace show project --json`
}

func (c *namespaceShowCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		n, found, err := trunkline.ReadNamespace(ctx, conn, c.Name)
		if err != nil {
			return err
		}
		if !found {
			return usagef("namespace %q has no settings: trunkline namespace set %s … gives it some, trunkline namespace list shows all that have",
				c.Name, shellQuote(c.Name))
		}
		return a.printNamespace(&n, c.JSON)
	})
}

type namespaceSetCmd struct {
	Name             string `arg:"" help:"Namespace: 1 to 64 bytes without a \":\"."`
	Authorize        string `placeholder:"FUNCTION" help:"SQL function (user_id text, channel text, action text) returns boolean that is asked who may do what; none for none."`
	AuthorizeCache   string `placeholder:"TIME" help:"How long its answer is believed, 0 to 1h; 0s asks each time. Default: 10s."`
	AuthorizeTimeout string `placeholder:"TIME" help:"How long it may take, 10ms to 30s. Default: 1s."`
	Anonymous        string `placeholder:"yes|no" help:"Whether users without a token may ask it. Default: no."`
	Retention        string `placeholder:"TIME" help:"How long messages are kept, such as 90d, 1s to 36500d; none for ever. Default: none."`
	Publish          string `placeholder:"yes|no|token" help:"Whether clients may publish: token, those whose token says so; yes, also those whom the function allows; no, nobody. Default: token."`
	Presence         string `placeholder:"yes|no|token" help:"Whether channels have presence: token, for those whose token says so; yes, for all; no, for nobody. Default: token."`
	JoinLeave        string `placeholder:"yes|no|token" help:"The same of join and leave events. Default: token."`
	Conflate         string `placeholder:"TIME" help:"Deliver at most one message in this time, 1ms to 1h, the last always; none delivers every message. Default: none."`
	Ring             string `placeholder:"N" help:"How many recent messages of a channel a node keeps in memory, 1 to 100000; none as it is configured. Default: none."`
	PublishRate      string `placeholder:"N" help:"How many messages per second a user may publish, up to 1000000; none as it is configured. Default: none."`
	JSON             bool   `name:"json" help:"Print the settings as a JSON object; durations are in seconds."`
}

func (*namespaceSetCmd) Help() string {
	return `Only what is given changes. It prints the settings as they then are.

    trunkline namespace set project --authorize app.may --publish yes
    trunkline namespace set progress --conflate 250ms
    trunkline namespace set project --retention 90d --presence no
    trunkline namespace set project --retention none`
}

func (c *namespaceSetCmd) Run(ctx context.Context, a *app) error {
	if err := c.apply(&trunkline.Namespace{}); err != nil { // before anything is connected to
		return err
	}
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		var n trunkline.Namespace
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			n, err = trunkline.EditNamespace(ctx, tx, c.Name, c.apply)
			return err
		})
		if err != nil {
			return err
		}
		return a.printNamespace(&n, c.JSON)
	})
}

// apply changes what flags were given for.
func (c *namespaceSetCmd) apply(n *trunkline.Namespace) error {
	if c.Authorize == none {
		n.Authorize = ""
	} else if c.Authorize != "" {
		n.Authorize = c.Authorize
	}
	for _, flag := range []struct {
		name, value string
		to          *time.Duration
	}{
		{"authorize-cache", c.AuthorizeCache, &n.AuthorizeCache},
		{"authorize-timeout", c.AuthorizeTimeout, &n.AuthorizeTimeout},
		{"retention", c.Retention, &n.Retention},
		{"conflate", c.Conflate, &n.Conflate},
	} {
		optional := flag.name == "retention" || flag.name == "conflate"
		switch {
		case flag.value == "":
		case flag.value == none && optional:
			*flag.to = 0
		default:
			d, err := parsePeriod(flag.name, flag.value)
			if err != nil {
				return err
			}
			if d == 0 && flag.name != "authorize-cache" {
				fix := "see trunkline namespace set --help"
				if optional {
					fix = "write none for none"
				}
				return usagef("--%s %q can't be zero: %s", flag.name, flag.value, fix)
			}
			*flag.to = d
		}
	}
	for _, flag := range []struct {
		name, value string
		to          **bool
	}{{"publish", c.Publish, &n.Publish}, {"presence", c.Presence, &n.Presence}, {"join-leave", c.JoinLeave, &n.JoinLeave}} {
		switch flag.value {
		case "":
		case "token":
			*flag.to = nil
		case "yes", "no":
			yes := flag.value == "yes"
			*flag.to = &yes
		default:
			return usagef("--%s %q is none of yes, no and token", flag.name, flag.value)
		}
	}
	switch c.Anonymous {
	case "":
	case "yes", "no":
		n.Anonymous = c.Anonymous == "yes"
	default:
		return usagef("--anonymous %q is neither yes nor no", c.Anonymous)
	}
	if err := takeNumber("ring", c.Ring, 100_000, func(x float64) { n.Ring = int(x) }); err != nil {
		return err
	}
	return takeNumber("publish-rate", c.PublishRate, 1_000_000, func(x float64) { n.PublishRate = x })
}

// none is what takes a setting away.
const none = "none"

func takeNumber(flag, value string, most float64, set func(float64)) error {
	switch value {
	case "":
		return nil
	case none:
		set(0)
		return nil
	}
	x, err := strconv.ParseFloat(value, 64)
	if err != nil || !(x > 0 && x <= most) || flag == "ring" && x != math.Trunc(x) {
		return usagef("--%s %q is no number from 1 to %.0f, or none", flag, value, most)
	}
	set(x)
	return nil
}

type namespaceDeleteCmd struct {
	Name string `arg:"" help:"Namespace."`
}

func (*namespaceDeleteCmd) Help() string {
	return `Its channels and messages stay, and are kept for ever; clients may do only what their tokens say.

    trunkline namespace delete project`
}

func (c *namespaceDeleteCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		if err := trunkline.DeleteNamespace(ctx, conn, c.Name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "namespace %s has no settings any more\n", visible(c.Name))
		return err
	})
}

// withConnection runs what needs one connection, and fills the role into what it lacks.
func (a *app) withConnection(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, conn)
	return a.withRole(ctx, conn, do(conn))
}

// setting is a setting of a namespace as people read it: the flag that sets it, and the flag's value.
type setting struct{ name, value string }

func settingsOf(n *trunkline.Namespace) []setting {
	anonymous := "no"
	if n.Anonymous {
		anonymous = "yes"
	}
	return []setting{
		{"authorize", cmp.Or(n.Authorize, none)},
		{"authorize-cache", period(n.AuthorizeCache)},
		{"authorize-timeout", period(n.AuthorizeTimeout)},
		{"anonymous", anonymous},
		{"retention", orNone(n.Retention, period)},
		{"publish", yesNoToken(n.Publish)},
		{"presence", yesNoToken(n.Presence)},
		{"join-leave", yesNoToken(n.JoinLeave)},
		{"conflate", orNone(n.Conflate, period)},
		{"ring", orNone(n.Ring, strconv.Itoa)},
		{"publish-rate", orNone(n.PublishRate, func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) })},
	}
}

func orNone[T comparable](value T, text func(T) string) string {
	var zero T
	if value == zero {
		return none
	}
	return text(value)
}

func yesNoToken(allowed *bool) string {
	switch {
	case allowed == nil:
		return "token"
	case *allowed:
		return "yes"
	}
	return "no"
}

func (a *app) printNamespace(n *trunkline.Namespace, asJSON bool) error {
	if asJSON {
		return a.printJSON(n)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "name\t%s\n", visible(n.Name)) // into memory: can't fail
	for _, s := range settingsOf(n) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", s.name, visible(s.value))
	}
	_ = w.Flush()
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// printTable prints rows under a header, in columns.
func (a *app) printTable(header []string, rows [][]string) error {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = visible(cell)
		}
		_, _ = io.WriteString(w, strings.Join(cells, "\t")+"\n") // into memory: can't fail
	}
	_ = w.Flush()
	first, rest, _ := strings.Cut(table.String(), "\n")
	_, err := io.WriteString(a.stdout, colorsOf(a.stdout).bold(strings.TrimSpace(first))+"\n"+rest)
	return err
}

// parsePeriod reads a duration as Go writes it, with days (d) before the rest if need be: 250ms, 1h30m, 90d, 1d12h.
func parsePeriod(flag, text string) (time.Duration, error) {
	const day = 24 * time.Hour
	var days float64
	rest, err := text, error(nil)
	if number, after, ok := strings.Cut(text, "d"); ok {
		rest = after
		days, err = strconv.ParseFloat(number, 64)
	}
	var d time.Duration
	if err == nil && (rest != "" || rest == text) {
		d, err = time.ParseDuration(rest)
	}
	// Compared as numbers, where nothing overflows; NaN is neither.
	if err != nil || d < 0 || !(days >= 0 && days <= 36500) {
		return 0, usagef("--%s %q is no time: write it like 250ms, 10s, 1h30m or 90d, 36500d at most", flag, text)
	}
	return time.Duration(days*float64(day)) + d, nil
}

// period writes a duration as parsePeriod reads it.
func period(d time.Duration) string {
	const day = 24 * time.Hour
	text := ""
	if d >= 2*day {
		text, d = fmt.Sprintf("%dd", d/day), d%day
		if d == 0 {
			return text
		}
	}
	clock := d.String()
	if strings.HasSuffix(clock, "m0s") {
		clock = strings.TrimSuffix(clock, "0s")
	}
	if strings.HasSuffix(clock, "h0m") {
		clock = strings.TrimSuffix(clock, "0m")
	}
	return text + clock
}
