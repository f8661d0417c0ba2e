package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/internal/localpg"
	"github.com/trunkline/trunkline/projects"
)

// openDatabase returns how to connect: to the database that was named, or to a private one, which it starts unless another process has.
// The server is nil where a database was named; stop it in the end.
func (a *app) openDatabase(ctx context.Context, log *slog.Logger) (url string, private *localpg.Server, err error) {
	if a.DatabaseURL != "" {
		if _, err := pgxpool.ParseConfig(a.DatabaseURL); err != nil {
			// The error of pgx has a password in it that can't be found in the text.
			return "", nil, usagef("--database-url can't be read: write it as postgres://user:password@host:5432/database")
		}
		return a.DatabaseURL, nil, nil
	}
	dir, err := a.dataDir()
	if err != nil {
		return "", nil, err
	}
	private, err = localpg.Start(ctx, localpg.Config{Dir: dir, Logger: log})
	if err != nil {
		return "", nil, err
	}
	return private.URL(), private, nil
}

// migrate brings Trunkline's schema and our own up to date.
func migrate(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return unreachable(url, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return projects.Migrate(ctx, conn)
}

// withStore runs do on a database that is ready, for commands that aren't serve.
func (a *app) withStore(ctx context.Context, do func(pool *pgxpool.Pool, store *projects.Store) error) (err error) {
	log := a.logger()
	url, private, err := a.openDatabase(ctx, log)
	if err != nil {
		return err
	}
	if private != nil {
		defer func() { err = errors.Join(err, private.Stop(context.WithoutCancel(ctx))) }()
	}
	if err := migrate(ctx, url); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer pool.Close()
	return do(pool, projects.New(pool, projects.Options{Logger: log}))
}

// unreachable says why there is no connection, without what the connection string holds but for its address.
func unreachable(url string, err error) error {
	config, parseErr := pgx.ParseConfig(url)
	if parseErr != nil {
		return usagef("--database-url can't be read: write it as postgres://user:password@host:5432/database")
	}
	address := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return fmt.Errorf("the database at %s doesn't let us in: %s; look at --database-url", address, refused.Message)
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return fmt.Errorf("the database at %s can't be reached (%w): is PostgreSQL running there? Look at --database-url", address, network.Err)
	}
	return fmt.Errorf("connect to the database at %s: %w", address, err)
}
