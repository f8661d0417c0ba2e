package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/localpg"
)

// Prepared is Database for tests that need more than Trunkline's schema: prepare makes it, once for the whole program, in a database
// that those of the same name are then cloned from. It must leave nobody connected.
func Prepared(t testing.TB, name string, prepare func(ctx context.Context, conn *pgx.Conn) error) string {
	t.Helper()
	server := Server(t)
	if err := makeTemplate(server); err != nil {
		t.Fatalf("template database: %v", err)
	}
	if err := makePrepared(server, templateName+"_"+name, prepare); err != nil {
		t.Fatalf("template database of %s: %v", name, err)
	}
	return create(t, server, templateName+"_"+name)
}

// makePrepared makes a template database unless it is there, as makeTemplate does.
func makePrepared(server *localpg.Server, name string, prepare func(ctx context.Context, conn *pgx.Conn) error) error {
	template.Lock()
	defer template.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin, err := pgx.Connect(ctx, server.URLFor("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close(context.WithoutCancel(ctx))
	var there bool
	if err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil || there {
		return err
	}
	// Under another name until it is complete: what fails is tried, and told, anew by the next test.
	raw := pgx.Identifier{name + "_raw"}.Sanitize()
	if err := insist(ctx, admin, "DROP DATABASE IF EXISTS "+raw+" WITH (FORCE)"); err != nil {
		return err
	}
	if err := insist(ctx, admin, "CREATE DATABASE "+raw+" TEMPLATE "+templateName); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, server.URLFor(name+"_raw"))
	if err != nil {
		return err
	}
	err = prepare(ctx, conn)
	_ = conn.Close(ctx)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return insist(ctx, admin, "ALTER DATABASE "+raw+" RENAME TO "+pgx.Identifier{name}.Sanitize())
}
