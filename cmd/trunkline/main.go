// Program trunkline runs the server, and does from a terminal what the library does in a program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, as --help lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// cli is the command line.
type cli struct {
	globals

	Serve   serveCmd   `cmd:"" group:"server" help:"Run the server, with a PostgreSQL of its own if you name none."`
	Migrate migrateCmd `cmd:"" group:"server" help:"Bring a database's schema up to date."`
	Doctor  doctorCmd  `cmd:"" group:"server" help:"Find out what keeps messages from flowing."`
	Bench   benchCmd   `cmd:"" group:"server" help:"Measure how fast this machine delivers."`

	Listen  listenCmd  `cmd:"" group:"messages" help:"Print messages as they commit."`
	Publish publishCmd `cmd:"" group:"messages" help:"Publish a message."`
	History historyCmd `cmd:"" group:"messages" help:"Print what a channel has had."`

	Notify notifyCmd `cmd:"" group:"inbox" help:"Notify users."`
	Inbox  inboxCmd  `cmd:"" group:"inbox" help:"Look into inboxes."`
	Digest digestCmd `cmd:"" group:"inbox" help:"Mail what stays unread."`

	Watch   watchCmd   `cmd:"" group:"tables" help:"Publish the changes of a table."`
	Unwatch unwatchCmd `cmd:"" group:"tables" help:"Stop publishing the changes of a table."`
	Watches watchesCmd `cmd:"" group:"tables" help:"List the watched tables."`

	Token       tokenCmd       `cmd:"" group:"access" help:"Make a token, with which a client connects."`
	Namespace   namespaceCmd   `cmd:"" group:"access" help:"List and change settings of channels, by namespace."`
	Apikey      apikeyCmd      `cmd:"" group:"access" help:"Make, list and revoke keys for programs."`
	Revoke      revokeCmd      `cmd:"" group:"access" help:"Take away what a user's tokens allow."`
	Disconnect  disconnectCmd  `cmd:"" group:"access" help:"Close a user's connections."`
	Unsubscribe unsubscribeCmd `cmd:"" group:"access" help:"End a user's subscriptions to a channel."`

	Psql    psqlCmd    `cmd:"" group:"other" passthrough:"" help:"Run psql on the same database."`
	Version versionCmd `cmd:"" group:"other" help:"Print the version."`
}

// Help is what stands under the usage line.
func (*cli) Help() string {
	return `Try it with two terminals:

    trunkline serve
    trunkline listen broadcast

and in a third one:

    trunkline publish broadcast '{"hello": "world"}'
    trunkline psql -c "SELECT trunkline.publish('broadcast', '[1, 2, 3]')"

Commands other than serve find the database that serve has started through the data folder. For a database of your own give
--database-url to each, or set TRUNKLINE_DATABASE_URL once: every flag can be given as a variable, named TRUNKLINE_ and the
flag in capitals with _ for -.

Exit codes: 0 done, 1 failed (doctor: found a problem), 2 the command line can't be taken, 3 the database can't be reached.`
}

// globals are the flags that every command takes.
type globals struct {
	DatabaseURL string `placeholder:"URL" help:"Database to use, such as postgres://user@host/database. Default: what the file url in the data folder says, which serve writes."`
	DirectURL   string `placeholder:"URL" help:"The same database without a transaction pooler in between, for sessions that LISTEN. Default: the database URL."`
	DataDir     string `placeholder:"DIR" type:"path" help:"Data folder of serve's own PostgreSQL. Default: $XDG_DATA_HOME/trunkline, else ~/.local/share/trunkline."`
	LogLevel    string `placeholder:"LEVEL" enum:"auto,debug,info,warn,error" default:"auto" help:"What to log to stderr: debug, info, warn, error, or auto (the default), which is info for serve and digest, else warn."`
	LogFormat   string `placeholder:"FORMAT" enum:"text,json" default:"text" help:"How to log: text or json."`
}

// app is what a command runs with.
type app struct {
	globals
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) (string, bool)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, stopHangups := withHangups(ctx)
	defer stopHangups()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	stopHangups()
	stop()
	os.Exit(code) //nolint:gocritic // both have been called
}

// run runs one command line and returns its exit code. Commands end when ctx does, as after an interrupt.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) (code int) {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	var c cli
	defer func() {
		// How kong leaves after it has printed help.
		if left, ok := recover().(leave); ok {
			code = int(left)
		}
	}()
	file := &configFile{}
	parser, err := newParser(&c, file, stdout, stderr, env)
	if err != nil {
		panic(err) // the declaration above is wrong: no test would pass
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := checkArguments(parser.Model, args); err != nil {
		return a.fail(err)
	}
	parsed, err := parser.Parse(args)
	if file.err != nil {
		return a.fail(file.err)
	}
	if err != nil {
		return a.fail(usage(err, parsed))
	}
	a.globals = c.globals
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(a); err != nil {
		if interrupted(ctx, err) {
			err = errInterrupted
		}
		return a.fail(err)
	}
	return exitOK
}

// leave carries an exit code out of kong.
type leave int

func newParser(c *cli, file *configFile, stdout, stderr io.Writer, env func(string) (string, bool)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("trunkline"),
		kong.Description("Live messages out of PostgreSQL: the committed transaction is the publish."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(leave(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, NoExpandSubcommands: true, WrapUpperBound: 120}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "messages", Title: "Messages"},
			{Key: "inbox", Title: "Notifications and mail"},
			{Key: "tables", Title: "Tables"},
			{Key: "access", Title: "Who may do what"},
			{Key: "server", Title: "Server and database"},
			{Key: "other", Title: "Other"},
		}),
		limitVars(),
		kong.Resolvers(kong.ResolverFunc(func(parsed *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			inFile, err := file.value(parsed, flag, env)
			if value, ok := env(variable(flag.Name)); ok && value != "" && flag.Name != "help" {
				return value, nil
			}
			return inFile, err
		})),
	)
}

// variable is the environment's name of a flag.
func variable(flag string) string {
	return "TRUNKLINE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// usageError means that the command line can't be taken.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// usage turns what kong says into a sentence.
func usage(err error, parsed *kong.Context) error {
	command := "trunkline"
	var parseError *kong.ParseError
	if parsed == nil && errors.As(err, &parseError) {
		parsed = parseError.Context
	}
	if parsed != nil && parsed.Command() != "" {
		name, _, _ := strings.Cut(parsed.Command(), " <")
		command += " " + name
	}
	return usagef("%s; see %s --help", err, command)
}

var errInterrupted = errors.New("interrupted")

// interrupted tells whether an error only says that ctx ended.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// fail prints an error and returns the exit code.
func (a *app) fail(err error) int {
	var quiet *exitError
	if errors.As(err, &quiet) {
		return quiet.code
	}
	text, code := a.explain(err)
	a.note("trunkline: %s", text)
	return code
}

// exitError ends the program with a code; what there was to say has been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }
