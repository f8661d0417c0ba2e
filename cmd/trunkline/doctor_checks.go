package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	schemas "github.com/trunkline/trunkline/schema"
)

func (e *examination) connection(ctx context.Context) error {
	var role, database string
	if err := e.conn.QueryRow(ctx, "SELECT current_user, current_database()").Scan(&role, &database); err != nil {
		return err
	}
	config := e.conn.Config()
	e.d.ok("connection", "database %s at %s as role %s", database, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), role)
	return nil
}

func (e *examination) server(ctx context.Context) error {
	var number int
	var version, encoding string
	var standby bool
	err := e.conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('server_encoding'), pg_is_in_recovery()`).Scan(&number, &version, &encoding, &standby)
	if err != nil {
		return err
	}
	return e.judgeServer(number, version, encoding, standby)
}

func (e *examination) judgeServer(number int, version, encoding string, standby bool) error {
	switch {
	case number < schemas.MinServerVersion:
		e.d.problem("server", "upgrade it to 14 or newer", "PostgreSQL %s is too old", version)
	case encoding != "UTF8":
		e.d.problem("server", "create the database with ENCODING 'UTF8'", "the database's encoding is %s", encoding)
	case standby:
		e.d.problem("server", "connect to the primary", "this server is a standby, which can neither LISTEN nor be written to")
	default:
		e.d.ok("server", "PostgreSQL %s, %s", version, encoding)
	}
	return nil
}

func (e *examination) schema(ctx context.Context) error {
	want, err := schemas.Latest()
	if err != nil {
		return err
	}
	version, err := schemas.Version(ctx, e.conn)
	if denied(err) && e.mayPublish(ctx) {
		e.d.warn("schema", e.grant(ctx, "SELECT trunkline.grant_read(%s)"), "its version can't be read by this role")
		return nil
	}
	if denied(err) {
		e.d.problem("schema", e.grant(ctx, "SELECT trunkline.grant_read(%s)"), "this role may not read Trunkline's schema")
		return nil
	}
	if err != nil {
		return err
	}
	if version != want {
		e.d.problem("schema", "", "%s", (&trunkline.SchemaError{Version: version, Want: want}).Error())
		return e.mayCreate(ctx, version)
	}
	e.d.ok("schema", "version %d", version)
	return nil
}

// mayPublish tells whether this role may call trunkline.publish.
func (e *examination) mayPublish(ctx context.Context) (may bool) {
	err := e.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace n JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'publish'
		WHERE n.nspname = 'trunkline' AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))`).Scan(&may)
	return err == nil && may
}

// mayCreate tells whether this role can do what migrate does on a database without a schema.
func (e *examination) mayCreate(ctx context.Context, version int) error {
	if version > 0 {
		return nil
	}
	var may bool
	var grant string
	err := e.conn.QueryRow(ctx, `SELECT has_database_privilege(current_database(), 'CREATE'),
		format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)`).Scan(&may, &grant)
	if err == nil && !may {
		e.d.problem("privileges", "have the database's owner run: "+grant, "this role may not make the schema")
	}
	return err
}

// grant writes a statement with the role's name as its argument, to be run by the owner.
func (e *examination) grant(ctx context.Context, format string) string {
	role := "'ROLE'"
	_ = e.conn.QueryRow(ctx, "SELECT quote_literal(current_user)").Scan(&role) // else as it is
	return "have Trunkline's owner run: " + fmt.Sprintf(format, role)
}

func (e *examination) privileges(ctx context.Context) error {
	var publish, read, sequence, serve bool
	err := e.conn.QueryRow(ctx, `SELECT
		has_schema_privilege('trunkline', 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'),
		has_schema_privilege('trunkline', 'USAGE') AND has_table_privilege(l.oid, 'SELECT') AND has_table_privilege(m.oid, 'SELECT'),
		pg_has_role(m.relowner, 'USAGE'), has_table_privilege(k.oid, 'SELECT') AND has_table_privilege(r.oid, 'SELECT')
		FROM pg_namespace n
		JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'publish'
		JOIN pg_class l ON l.relnamespace = n.oid AND l.relname = 'log'
		JOIN pg_class m ON m.relnamespace = n.oid AND m.relname = 'message'
		JOIN pg_class k ON k.relnamespace = n.oid AND k.relname = 'apikey'
		JOIN pg_class r ON r.relnamespace = n.oid AND r.relname = 'revocation'
		WHERE n.nspname = 'trunkline'`).Scan(&publish, &read, &sequence, &serve)
	if errors.Is(err, pgx.ErrNoRows) {
		return errors.New("the schema trunkline lacks its tables")
	}
	if err != nil {
		return err
	}
	e.mayRead = read
	switch {
	case sequence:
		e.d.ok("privileges", "this role may publish, read and sequence")
	case publish && read && serve:
		e.d.ok("privileges", "this role may publish, read and serve; sequencing is for the schema's owner")
	case publish && read:
		e.d.ok("privileges", "this role may publish and read; sequencing is for the schema's owner. To run a server as this role, %s",
			e.grant(ctx, "SELECT trunkline.grant_serve(%s)"))
	case publish:
		e.d.warn("privileges", e.grant(ctx, "SELECT trunkline.grant_read(%[1]s); to run a server as this role: SELECT trunkline.grant_serve(%[1]s)"),
			"this role may publish, but neither listen nor read history")
	case read && !serve:
		e.d.warn("privileges", e.grant(ctx, "SELECT trunkline.grant_publish(%[1]s); to run a server as this role: SELECT trunkline.grant_serve(%[1]s)"),
			"this role may listen and read history, but neither publish nor serve")
	case read:
		e.d.warn("privileges", e.grant(ctx, "SELECT trunkline.grant_publish(%s)"), "this role may listen, read history and serve, but not publish")
	default:
		e.d.problem("privileges", e.grant(ctx, "SELECT trunkline.grant_publish(%s)"), "this role may neither publish nor read")
	}
	return nil
}

// searchPath finds roles for which tables without a schema's name land in Trunkline's.
func (e *examination) searchPath(ctx context.Context) error {
	var inside bool
	var fix string
	err := e.conn.QueryRow(ctx, `SELECT coalesce(current_schema() = 'trunkline', false),
		format('ALTER ROLE %I IN DATABASE %I SET search_path = public', current_user, current_database())`).Scan(&inside, &fix)
	if err == nil && inside {
		e.d.warn("search path", fix, "tables that this role creates land in Trunkline's own schema, where they can't be watched")
	}
	return err
}

// listen proves that notifications arrive on the connection that an engine would listen on.
func (e *examination) listen(ctx context.Context) error {
	if !e.mayRead {
		e.d.warn("listen", "", "not checked: this role may not read")
		return nil
	}
	engine, stop, err := e.app.startEngine(ctx, trunkline.Config{Sequence: trunkline.SequenceNever, Logger: slog.New(slog.DiscardHandler)})
	var pooler *trunkline.PoolerError
	if errors.As(err, &pooler) {
		e.d.problem("listen", "give a direct connection as well, with --direct-url, or let the pooler pool sessions",
			"the connection to %s goes through a transaction pooler, on which LISTEN can't work", pooler.Address)
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	channel := "trunkline_doctor_" + strings.ToLower(rand.Text()[:12])
	raw, err := engine.Listen(ctx, channel)
	if err != nil {
		return err
	}
	defer raw.Close()
	began := time.Now()
	if _, err := e.conn.Exec(ctx, "SELECT pg_notify($1, '')", channel); err != nil {
		return err
	}
	if _, err := raw.Next(ctx); err != nil {
		e.d.problem("listen", "look for a pooler or firewall between here and the server; give a direct connection with --direct-url",
			"a notification did not arrive: %s", err)
		return nil
	}
	e.d.ok("listen", "a notification arrived after %.1f ms", float64(time.Since(began).Microseconds())/1000)
	return nil
}

// queue looks at the notification queue, and who keeps it from being emptied: a session that listens and doesn't read.
func (e *examination) queue(ctx context.Context) error {
	var usage float64
	if err := e.conn.QueryRow(ctx, "SELECT pg_notification_queue_usage()").Scan(&usage); err != nil {
		return err
	}
	// PostgreSQL doesn't tell who listens. A listener that holds the queue is in a transaction, or stuck in writing to its
	// client; others are found by their last statement.
	suspects, err := e.rowsOf(ctx, `SELECT format('pid %s (%s, %s from %s) is %s for %s', a.pid, a.usename,
			coalesce(nullif(a.application_name, ''), 'no name'), coalesce(a.client_addr::text, 'here'), a.state,
			date_trunc('second', clock_timestamp() - coalesce(a.xact_start, a.state_change)))
		FROM pg_stat_activity a
		WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
		  AND (a.query ILIKE '%listen%' OR a.application_name = 'trunkline listener')
		  AND (a.state LIKE 'idle in transaction%' OR a.wait_event = 'ClientWrite' OR a.state = 'active')
		  AND clock_timestamp() - coalesce(a.xact_start, a.state_change) > interval '10 s'
		ORDER BY coalesce(a.xact_start, a.state_change)`)
	if err != nil {
		return err
	}
	fix := "end the session that listens and does not read: SELECT pg_terminate_backend(pid)"
	switch {
	case usage >= 0.5:
		e.d.problem("queue", fix, "the notification queue is %.0f %% full; a full one fails every commit that notifies. %s", usage*100, suspected(suspects))
	case usage >= 0.05 || len(suspects) > 0:
		e.d.warn("queue", fix, "the notification queue is %.1f %% full. %s", usage*100, suspected(suspects))
	default:
		e.d.ok("queue", "the notification queue is %.1f %% full", usage*100)
	}
	return nil
}

func suspected(sessions []string) string {
	if len(sessions) == 0 {
		return "No listener in a long transaction is visible to this role; look at all sessions of the cluster that LISTEN"
	}
	return "It may be held by: " + list(sessions)
}

func (e *examination) sequencer(ctx context.Context) error {
	if !e.mayRead {
		return nil
	}
	var pid int
	var hangs bool
	var who string
	err := e.conn.QueryRow(ctx, `SELECT s.pid, s.hangs, format('%s from %s%s', coalesce(nullif(a.application_name, ''), 'no name'),
			coalesce(a.client_addr::text, 'here'), ', since ' || date_trunc('second', a.backend_start))
		FROM trunkline.sequencer_session() s LEFT JOIN pg_stat_activity a ON a.pid = s.pid`).Scan(&pid, &hangs, &who)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		e.unwatched = true
		e.d.warn("sequencer", "start `trunkline serve`, or an engine in your program, as the schema's owner",
			"nobody sequences: what is published is stored, and delivered once somebody does")
		return nil
	case err != nil:
		return err
	case hangs:
		e.d.warn("sequencer", "another node takes over within seconds if there is one", "pid %d sequences but hangs (%s)", pid, who)
	default:
		e.d.ok("sequencer", "pid %d sequences (%s)", pid, who)
	}
	return nil
}

// lagPatience is how long the first message that waits may go on waiting while somebody sequences, lagPoll how often lag looks.
var lagPatience = 2 * time.Second

const lagPoll = 200 * time.Millisecond

// lag counts messages that were committed and have no place in the log, and looks again whether that changes.
func (e *examination) lag(ctx context.Context) error {
	if !e.mayRead {
		return nil
	}
	const most = 10_000
	// Everything below the floor is in the log; the index leads to what is above it.
	const sql = `SELECT count(*), coalesce(min(w.id), 0), coalesce(extract(epoch FROM clock_timestamp() - min(w.created_at)), 0)::float8
		FROM (SELECT m.id, m.created_at FROM trunkline.message m
		      WHERE m.era = (SELECT max(i.era) FROM trunkline.message i) AND m.xid >= (SELECT s.floor FROM trunkline.state s)
		        AND NOT EXISTS (SELECT FROM trunkline.log l WHERE l.message_id = m.id)
		      LIMIT 10000) w`
	var waiting, first, count, oldest int64
	var seconds float64
	if err := e.conn.QueryRow(ctx, sql).Scan(&waiting, &first, &seconds); err != nil {
		return err
	}
	for begun := time.Now(); waiting > 0 && !e.unwatched && time.Since(begun) < lagPatience; {
		select {
		case <-time.After(lagPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := e.conn.QueryRow(ctx, sql).Scan(&count, &oldest, &seconds); err != nil {
			return err
		}
		if oldest != first {
			waiting = 0 // it goes on
		}
	}
	number := strconv.FormatInt(waiting, 10)
	if waiting == most {
		number = "at least " + number
	}
	switch {
	case waiting == 0:
		e.d.ok("lag", "every message that was committed is in the log")
	case e.unwatched:
		e.d.problem("lag", "start `trunkline serve`", "%s messages wait to be sequenced, the first for %s", number, age(time.Duration(seconds*float64(time.Second))))
	default:
		e.d.problem("lag", "look at the log of the sequencing node", "%s messages wait although somebody sequences, the first for %s", number,
			age(time.Duration(seconds*float64(time.Second))))
	}
	return nil
}

func (e *examination) watches(ctx context.Context) error {
	watches, err := trunkline.Watches(ctx, e.conn)
	var privilege *trunkline.PrivilegeError
	if errors.As(err, &privilege) {
		e.d.warn("watches", e.grant(ctx, "SELECT trunkline.grant_publish(%s)"), "this role may not see the watches")
		return nil
	}
	if err != nil {
		return err
	}
	remarks, rejected := 0, 0
	for _, watch := range watches {
		for _, remark := range watch.Remarks {
			if notWatchingTruncate(remark) {
				continue // a choice; `trunkline watches` shows it
			}
			remarks++
			e.d.warn("watches", "", "watch %d of %s: %s", watch.ID, watch.Table, inThisProgram(remark))
		}
		if watch.Rejected > 0 {
			rejected++
			e.d.warn("watches", "look at the warnings in the server's log, which say why, and watch the table anew where that is needed",
				"watch %d of %s: %d changes could not be published and were rejected", watch.ID, watch.Table, watch.Rejected)
		}
	}
	if remarks+rejected == 0 {
		e.d.ok("watches", "%d watches, none with a remark", len(watches))
	} else {
		e.d.ok("watches", "%d watches, %d remarks, %d with rejected changes", len(watches), remarks, rejected)
	}
	return nil
}

// transactions finds old ones. They delay nobody else's messages, but their own are not heard yet, and they keep the
// sequencer from sleeping and vacuum from its work.
func (e *examination) transactions(ctx context.Context) error {
	old, err := e.rowsOf(ctx, `SELECT format('pid %s (%s, %s) is %s for %s', a.pid, a.usename,
			coalesce(nullif(a.application_name, ''), 'no name'), a.state, date_trunc('second', clock_timestamp() - a.xact_start))
		FROM pg_stat_activity a
		WHERE a.backend_type = 'client backend' AND a.datname = current_database() AND a.pid <> pg_backend_pid()
		  AND clock_timestamp() - a.xact_start > interval '1 min'
		ORDER BY a.xact_start`)
	if err != nil {
		return err
	}
	if len(old) > 0 {
		e.d.warn("transactions", "commit them, or end them: SELECT pg_terminate_backend(pid)",
			"open for over a minute, and what they published is not heard before they commit: %s", list(old))
		return nil
	}
	e.d.ok("transactions", "none is open for over a minute")
	return nil
}

func (e *examination) prepared(ctx context.Context) error {
	var most int
	var off bool
	err := e.conn.QueryRow(ctx, `SELECT current_setting('max_prepared_transactions')::int,
		EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c
		        WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND c = 'trunkline.ring=off')`).Scan(&most, &off)
	if err != nil {
		return err
	}
	if most == 0 {
		e.d.ok("two-phase commit", "PREPARE TRANSACTION is not used on this server")
		return nil
	}
	forgotten, err := e.rowsOf(ctx, `SELECT format('%s of %s, prepared %s ago', quote_literal(gid), owner, date_trunc('second', clock_timestamp() - prepared))
		FROM pg_prepared_xacts WHERE database = current_database() AND clock_timestamp() - prepared > interval '1 min' ORDER BY prepared`)
	if err != nil {
		return err
	}
	if len(forgotten) > 0 {
		e.d.warn("two-phase commit", "COMMIT PREPARED or ROLLBACK PREPARED them", "prepared and left: %s", list(forgotten))
	}
	switch {
	case off:
		e.d.ok("two-phase commit", "max_prepared_transactions is %d, and trunkline.ring is off for some role or database", most)
	default:
		e.d.warn("two-phase commit", "for roles that prepare transactions with messages in them: ALTER ROLE … SET trunkline.ring = off",
			"max_prepared_transactions is %d, and PostgreSQL refuses PREPARE TRANSACTION after a message has rung the sequencer", most)
	}
	return nil
}

func (e *examination) clock(ctx context.Context) error {
	best, difference := time.Hour, time.Duration(0)
	for range 3 {
		var theirs time.Time
		began := time.Now()
		if err := e.conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&theirs); err != nil {
			return err
		}
		if took := time.Since(began); took < best {
			best, difference = took, theirs.Sub(began.Add(took/2))
		}
	}
	if difference.Abs() > best/2+time.Second {
		e.d.warn("clock", "let both keep their time by NTP", "the server's clock differs from this machine's by %s; times of messages are the server's",
			difference.Round(time.Millisecond))
		return nil
	}
	e.d.ok("clock", "the server's clock differs from this machine's by at most %s", (difference.Abs() + best/2).Round(time.Millisecond))
	return nil
}
