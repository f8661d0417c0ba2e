package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// authorization finds namespaces whose function can't be asked: everybody is refused there, except by what their token says.
func (e *examination) authorization(ctx context.Context) error {
	if !e.mayRead {
		return nil
	}
	rows, err := e.conn.Query(ctx, `SELECT n.name, n.authorize, p.oid IS NOT NULL,
			coalesce(has_schema_privilege(p.pronamespace, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'), false),
			coalesce(format('GRANT USAGE ON SCHEMA %s TO %I; GRANT EXECUTE ON FUNCTION %s TO %I',
				p.pronamespace::regnamespace, current_user, p.oid::regprocedure, current_user), ''),
			has_table_privilege('trunkline.apikey', 'SELECT')
		FROM trunkline.namespace n
		LEFT JOIN LATERAL (
			SELECT p.oid, p.pronamespace FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace
			WHERE format('%I.%I', s.nspname, p.proname) = n.authorize AND p.prokind = 'f' AND NOT p.proretset
			  AND p.prorettype = 'boolean'::regtype AND oidvectortypes(p.proargtypes) = 'text, text, text'
		) p ON true
		WHERE n.authorize IS NOT NULL ORDER BY n.name`)
	if err != nil {
		return err
	}
	type function struct {
		Namespace, Name string
		Exists, May     bool
		Grant           string
		Serves          bool // this role may serve at all
	}
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[function])
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range functions {
		switch {
		case !f.Exists:
			e.d.problem("authorization", fmt.Sprintf("create it anew, or name another: trunkline namespace set %s --authorize FUNCTION", shellQuote(f.Namespace)),
				"namespace %s asks %s(text, text, text), which there is no more, or doesn't return boolean: nobody is allowed anything by it", f.Namespace, f.Name)
		case f.May:
			continue
		case f.Serves:
			e.d.problem("authorization", "have its owner run: "+f.Grant,
				"namespace %s asks %s, which this role may not call: a server that runs as it refuses everybody", f.Namespace, f.Name)
		default:
			e.d.warn("authorization", "if a server is to run as it, have its owner run: "+f.Grant,
				"namespace %s asks %s, which this role may not call", f.Namespace, f.Name)
		}
		bad++
	}
	if bad == 0 {
		e.d.ok("authorization", "%d namespaces ask a function, each can be asked by this role", len(functions))
	}
	return nil
}

const (
	// retentionGrace is how long after their time messages may still be there before that says anything: they are removed in
	// small batches, off the hot path.
	retentionGrace = 10 * time.Minute
	// retentionLook bounds how many channels of a namespace are looked at.
	retentionLook = 1000
)

// retention finds namespaces that keep messages longer than they are to be kept.
func (e *examination) retention(ctx context.Context) error {
	if !e.mayRead {
		return nil
	}
	rows, err := e.conn.Query(ctx, `SELECT n.name, n.retention::text, count(o.late)::int, coalesce(extract(epoch FROM max(o.late)), 0)::float8
		FROM trunkline.namespace n
		LEFT JOIN LATERAL (
			SELECT (SELECT clock_timestamp() - m.created_at - n.retention
			        FROM trunkline.log l JOIN trunkline.message m ON m.id = l.message_id
			        WHERE l.channel_id = c.id AND l.seq > c.trimmed_seq ORDER BY l.seq LIMIT 1) AS late
			FROM (SELECT x.id, x.trimmed_seq FROM trunkline.channel x
			      WHERE (x.name >= (n.name || ':') COLLATE "C" AND x.name < (n.name || ';') COLLATE "C")
			         OR (n.name = 'default' AND strpos(x.name, ':') = 0)
			      LIMIT $1) c
		) o ON o.late > make_interval(secs => $2)
		WHERE n.retention IS NOT NULL GROUP BY n.name, n.retention ORDER BY n.name`, retentionLook, retentionGrace.Seconds())
	if err != nil {
		return err
	}
	type backlog struct {
		Namespace, Retention string
		Channels             int
		Late                 float64 // seconds
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[backlog])
	if err != nil {
		return err
	}
	var late []string
	for _, b := range all {
		if b.Channels > 0 {
			late = append(late, fmt.Sprintf("%s (%s) in %d channels for %s", b.Namespace, b.Retention, b.Channels, age(time.Duration(b.Late*float64(time.Second)))))
		}
	}
	if len(late) == 0 {
		e.d.ok("retention", "%d namespaces remove old messages, and are not behind", len(all))
		return nil
	}
	fix := "see the log of the node that sequences (it removes them), and the old transactions here: messages younger than the oldest one stay"
	if e.unwatched {
		fix = "start `trunkline serve`: the node that sequences removes them"
	}
	e.d.warn("retention", fix, "messages are kept although their time is over: %s", strings.Join(late, "; "))
	return nil
}
