package trunkline

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

const connectTimeout = 10 * time.Second

// A session is a direct connection with a purpose of its own, opened with settings that let the server end it should this
// process hang: what it holds (a lock, a place in the notification queue) must not stay with the dead.
const (
	// A sequencer or follower speaks at least once a second.
	logSessionSettings = `SET idle_session_timeout = '3s'; SET idle_in_transaction_session_timeout = '3s';
SET statement_timeout = '30s'; SET lock_timeout = '2s'; SET synchronous_commit = off;
SET default_transaction_isolation = 'read committed'; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
SET plan_cache_mode = force_generic_plan;`
	// A listener is idle by nature; it speaks with each heartbeat, at least once a minute.
	listenSessionSettings = `SET idle_session_timeout = '150s'; SET statement_timeout = '30s';`
	// Both: a peer that vanished, or stopped reading, is found out by TCP.
	tcpSettings = `SET tcp_user_timeout = '5s'; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;`
)

// connect opens a direct session.
func connect(ctx context.Context, template *pgx.ConnConfig, purpose, settings string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	cfg := template.Copy()
	cfg.RuntimeParams["application_name"] = "trunkline " + purpose
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Host != "" && cfg.Host[0] != '/' {
		settings += tcpSettings
	}
	if err := prepareSession(ctx, conn, template, settings); err != nil {
		closeSoon(conn)
		return nil, err
	}
	return conn, nil
}

func prepareSession(ctx context.Context, conn *pgx.Conn, template *pgx.ConnConfig, settings string) error {
	if encoding := conn.PgConn().ParameterStatus("server_encoding"); encoding != "" && encoding != "UTF8" {
		return fmt.Errorf("the database %q is encoded as %s; Trunkline needs UTF8: create one with ENCODING 'UTF8'", template.Database, encoding)
	}
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return err
	}
	if pid != conn.PgConn().PID() {
		// A pooler answers in the server's place. One that gives us a session of our own will do.
		own, err := hasOwnSession(ctx, conn, template)
		if err != nil {
			return err
		}
		if !own {
			return &PoolerError{Address: address(template)}
		}
	}
	if _, err := conn.PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		return fmt.Errorf("set up the session: %w", err)
	}
	return nil
}

// hasOwnSession tells whether a connection through a pooler keeps its server session: a setting made on it is still there
// after another connection has claimed a session for a transaction, the one just used first of all.
func hasOwnSession(ctx context.Context, conn *pgx.Conn, template *pgx.ConnConfig) (bool, error) {
	other, err := pgx.ConnectConfig(ctx, template.Copy())
	if err != nil {
		return false, err
	}
	defer closeSoon(other)
	for range 5 {
		mark := rand.Text()
		var set, found string
		err := conn.QueryRow(ctx, "SELECT set_config('trunkline.session', $1, false)", pgx.QueryExecModeSimpleProtocol, mark).Scan(&set)
		if err != nil {
			return false, err
		}
		tx, err := other.Begin(ctx)
		if err != nil {
			return false, err
		}
		if _, err = tx.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol); err == nil {
			err = conn.QueryRow(ctx, "SELECT coalesce(current_setting('trunkline.session', true), '')", pgx.QueryExecModeSimpleProtocol).Scan(&found)
		}
		if rollback := tx.Rollback(ctx); err == nil {
			err = rollback
		}
		if err != nil {
			return false, err
		}
		if found != mark {
			return false, nil
		}
	}
	return true, nil
}

// closeSoon closes a connection whose peer may not answer.
func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func address(cfg *pgx.ConnConfig) string {
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
}
