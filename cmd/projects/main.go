// Program projects is the reference application: staff guide customers through shared projects, live.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	_ "time/tzdata" // people name their time zones, also where the system knows none

	"github.com/alecthomas/kong"
)

// Exit codes, as --help lists them.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is the command line.
type cli struct {
	globals

	Serve   serveCmd   `cmd:"" help:"Run the application, with a PostgreSQL of its own if you name none."`
	Seed    seedCmd    `cmd:"" help:"Put demo people and projects into a database. Again changes nothing."`
	Staff   staffCmd   `cmd:"" help:"Give somebody of an organisation's staff an account."`
	Check   checkCmd   `cmd:"" help:"Recount what triggers keep, and report or repair what differs."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// Help is what stands under the usage line.
func (*cli) Help() string {
	return `Try it:

    projects serve --simulate

and open the address that it prints. Every flag can be given as a variable, named PROJECTS_ and the flag in capitals with _ for -.

Exit codes: 0 done, 1 failed (check: found something), 2 the command line can't be taken.`
}

// globals are the flags that every command takes.
type globals struct {
	DatabaseURL string `placeholder:"URL" help:"Database to use, such as postgres://owner@host/database. Default: a PostgreSQL of its own in the data folder."`
	DataDir     string `placeholder:"DIR" type:"path" help:"Data folder: of its own PostgreSQL, and of mail that is kept. Default: $XDG_DATA_HOME/trunkline-projects, else ~/.local/share/trunkline-projects."`
	LogLevel    string `placeholder:"LEVEL" enum:"debug,info,warn,error" default:"info" help:"What to log to stderr: debug, info (the default), warn or error."`
	LogFormat   string `placeholder:"FORMAT" enum:"text,json" default:"text" help:"How to log: text or json."`
}

// app is what a command runs with.
type app struct {
	globals
	stdout, stderr io.Writer
	env            func(string) (string, bool)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv)
	stop()
	os.Exit(code)
}

// run runs one command line and returns its exit code. Commands end when ctx does, as after an interrupt.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) (string, bool)) (code int) {
	a := &app{stdout: stdout, stderr: stderr, env: env}
	var c cli
	defer func() {
		// How kong leaves after it has printed help.
		if left, ok := recover().(leave); ok {
			code = int(left)
		}
	}()
	parser, err := newParser(&c, stdout, stderr, env)
	if err != nil {
		panic(err) // the declaration above is wrong: no test would pass
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return a.fail(usagef("%s; see projects --help", err))
	}
	a.globals = c.globals
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(a); err != nil {
		return a.fail(err)
	}
	return exitOK
}

// leave carries an exit code out of kong.
type leave int

func newParser(c *cli, stdout, stderr io.Writer, env func(string) (string, bool)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("projects"),
		kong.Description("Projects that staff and customers see move: live progress, chat, notifications."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(leave(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 120}),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			name := "PROJECTS_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			if value, ok := env(name); ok && value != "" && flag.Name != "help" {
				return value, nil
			}
			return nil, nil //nolint:nilnil // as kong has it: there is none
		})),
	)
}

// usageError means that the command line can't be taken.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// fail says what went wrong and returns the exit code for it.
func (a *app) fail(err error) int {
	_, _ = fmt.Fprintf(a.stderr, "projects: %s\n", err)
	if errors.As(err, new(*usageError)) {
		return exitUsage
	}
	return exitFailed
}

// logger writes to stderr what --log-level asks for.
func (a *app) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.LogLevel)) // one of those that the flag allows
	options := &slog.HandlerOptions{Level: level}
	if a.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}

// dataDir is the data folder.
func (a *app) dataDir() (string, error) {
	if a.DataDir != "" {
		return a.DataDir, nil
	}
	if dir, ok := a.env("XDG_DATA_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "trunkline-projects"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no home folder to keep data in: name one with --data-dir (%w)", err)
	}
	return filepath.Join(home, ".local", "share", "trunkline-projects"), nil
}
