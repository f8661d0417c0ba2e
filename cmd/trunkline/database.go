package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/schema"
)

// stopTimeout bounds what a command does after it was told to end.
const stopTimeout = 2 * time.Second

// dataDir is the data folder.
func (a *app) dataDir() (string, error) {
	if a.DataDir != "" {
		return a.DataDir, nil
	}
	return localpg.DefaultDir()
}

// url is the database to use.
func (a *app) url() (string, error) {
	if a.DatabaseURL != "" {
		return a.DatabaseURL, nil
	}
	dir, err := a.dataDir()
	if err != nil {
		return "", err
	}
	return localpg.ReadURL(dir)
}

// connect opens one connection for a command. Every statement on it is a round trip of its own, without any that are
// prepared, so that it may go through a pooler.
func (a *app) connect(ctx context.Context) (*pgx.Conn, error) {
	url, err := a.url()
	if err != nil {
		return nil, err
	}
	return connectTo(ctx, url, "--database-url")
}

// connectDirect opens a connection that doesn't go through a transaction pooler, as far as we were told.
func (a *app) connectDirect(ctx context.Context) (*pgx.Conn, error) {
	if a.DirectURL != "" {
		return connectTo(ctx, a.DirectURL, "--direct-url")
	}
	return a.connect(ctx)
}

func connectTo(ctx context.Context, url, flag string) (*pgx.Conn, error) {
	config, err := parseURL(url, flag)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "default_query_exec_mode") {
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "trunkline cli"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// parseURL reads a connection string; parameters of a pool in it are fine.
func parseURL(url, flag string) (*pgx.ConnConfig, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) {
			return nil, usagef("%s can't be read: %s; write it as postgres://user@host/database", flag, oneLine(parse.Error())) // without the password
		}
		return nil, usagef("%s can't be read: write it as postgres://user@host/database", flag)
	}
	return config.ConnConfig, nil
}

// withRole fills the role's name into the GRANT that an error asks for.
func (a *app) withRole(ctx context.Context, conn *pgx.Conn, err error) error {
	var privilege *trunkline.PrivilegeError
	if errors.As(err, &privilege) {
		var role string
		if conn.QueryRow(ctx, "SELECT quote_literal(current_user)").Scan(&role) == nil {
			privilege.Grant = strings.ReplaceAll(privilege.Grant, "'ROLE'", role)
		}
	}
	return err
}

// closeSoon closes a connection whose peer may not answer.
func closeSoon(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// startEngine starts an engine for a command that listens. It leaves the schema as it is: serve and migrate change that.
func (a *app) startEngine(ctx context.Context, config trunkline.Config) (engine *trunkline.Engine, stop func(), err error) {
	if config.DatabaseURL, err = a.url(); err != nil {
		return nil, nil, err
	}
	if _, err := parseURL(config.DatabaseURL, "--database-url"); err != nil {
		return nil, nil, err
	}
	if _, err := parseURL(a.DirectURL, "--direct-url"); err != nil {
		return nil, nil, err
	}
	config.DirectURL = a.DirectURL
	config.SkipMigrate = true
	if config.Logger == nil {
		config.Logger = a.logger(slog.LevelWarn)
	}
	engine, err = trunkline.New(config) // it lives until stop
	if err != nil {
		return nil, nil, err
	}
	stop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		_ = engine.Stop(ctx)
	}
	if err := engine.Start(ctx); err != nil {
		stop()
		return nil, nil, readDenied(config.DatabaseURL, err)
	}
	return engine, stop, nil
}

// readDenied makes the error of an engine that may not read say so.
func readDenied(url string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" {
		return err
	}
	role := "ROLE"
	if config, parseErr := parseURL(url, ""); parseErr == nil {
		role = config.User
	}
	return fmt.Errorf("%s; have Trunkline's owner run: SELECT trunkline.grant_read('%s')", pg.Message, strings.ReplaceAll(role, "'", "''"))
}

// explain returns the sentence for an error, and the exit code.
func (a *app) explain(err error) (string, int) {
	var wrong *usageError
	var argument *trunkline.ArgumentError
	var key *trunkline.KeyConflictError
	var connect *pgconn.ConnectError
	var privilege *trunkline.PrivilegeError
	var version *schema.ServerVersionError
	switch {
	case errors.As(err, &wrong):
		return wrong.text, exitUsage
	case errors.As(err, &argument):
		return argument.Error(), exitUsage
	case errors.As(err, &key):
		return strings.TrimPrefix(oneLine(key.Error()), "trunkline: ") + ": repeat it with the same bytes, or choose another --key", exitFailed
	case errors.As(err, &version):
		return version.Error() + ": upgrade the server, or name another with --database-url", exitFailed
	case errors.Is(err, localpg.ErrNotRunning):
		return err.Error(), exitUnreachable
	case errors.As(err, &connect):
		return a.explainConnect(connect), exitUnreachable
	case errors.As(err, &privilege):
		return privilege.Error(), exitFailed
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded):
		return "the database doesn't answer in time (" + oneLine(err.Error()) + "): run trunkline doctor", exitUnreachable
	}
	return strings.TrimPrefix(oneLine(err.Error()), "trunkline: "), exitFailed
}

// explainConnect says why the database can't be reached, and what to look at.
func (a *app) explainConnect(err *pgconn.ConnectError) string {
	address, fix := "the database", "is PostgreSQL running there? See --database-url"
	if config := err.Config; config != nil {
		address = "the database at " + net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
		if strings.HasPrefix(config.Host, "/") {
			address = "the database at socket " + config.Host + ", port " + strconv.Itoa(int(config.Port))
		}
	}
	if a.DatabaseURL == "" {
		fix = "start `trunkline serve`, or name another database with --database-url"
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "57P03" || pg.Code == "53300" { // starting up or shutting down; too many connections
			return fmt.Sprintf("%s takes no connections now (%s): try again", address, pg.Message)
		}
		return fmt.Sprintf("%s refuses the connection: %s (SQLSTATE %s); check --database-url", address, pg.Message, pg.Code)
	}
	return fmt.Sprintf("%s can't be reached (%s): %s", address, innermost(err), fix)
}

// innermost is the cause of a failed connection without the layers above it.
func innermost(err error) string {
	text := ""
	for err != nil {
		text = oneLine(err.Error())
		var op *net.OpError
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns):
			return dns.Error()
		case errors.As(err, &op):
			return op.Err.Error()
		}
		err = errors.Unwrap(err)
	}
	return text
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
