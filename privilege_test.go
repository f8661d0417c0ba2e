package trunkline_test

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// role makes a role that may log in and returns its name and the URL of a new database for it.
func role(t *testing.T, suffix string) (name, owner, asRole string) {
	t.Helper()
	admin := pgtest.Connect(t, pgtest.Server(t).URLFor("postgres"))
	var drop string
	// Runs after the database is gone, and with it what the role was granted.
	t.Cleanup(func() { exec(t, pgtest.Connect(t, pgtest.Server(t).URLFor("postgres")), drop) })
	owner = pgtest.Database(t)
	name = databaseOf(t, owner) + "_" + suffix
	drop = "DROP ROLE IF EXISTS " + name
	exec(t, admin, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret")
	return name, owner, u.String()
}

func TestPublishingNeedsItsGrant(t *testing.T) {
	t.Parallel()
	name, owner, asRole := role(t, "app")
	engine := startEngine(t, owner)
	sub, err := engine.Subscribe(testContext(t), []string{"c"}, trunkline.SubscribeOptions{Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	app, err := trunkline.New(trunkline.Config{DatabaseURL: asRole})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Stop(testContext(t)); err != nil {
			t.Error(err)
		}
	}()
	ctx := testContext(t)
	p := trunkline.Publication{Channel: "c", Payload: []byte("1")}
	ways := map[string]func() error{
		"Publish":     func() error { return second(app.Publish(ctx, p)) },
		"PublishMany": func() error { return second(app.PublishMany(ctx, []trunkline.Publication{p})) },
		"Signal":      func() error { return second(app.Signal(ctx, p)) },
	}
	for how, way := range ways {
		err := way()
		var privilege *trunkline.PrivilegeError
		if !errors.As(err, &privilege) || privilege.Grant != "SELECT trunkline.grant_publish('"+name+"')" || !strings.Contains(err.Error(), privilege.Grant) {
			t.Errorf("%s without the grant: %v", how, err)
		}
	}
	exec(t, pgtest.Connect(t, owner), "SELECT trunkline.grant_publish($1::text::regrole)", name)
	for how, way := range ways {
		if err := way(); err != nil {
			t.Errorf("%s with the grant: %v", how, err)
		}
	}
	next(t, sub, 3)
	if _, err := app.Publish(ctx, trunkline.Publication{Channel: "c", Payload: []byte("2"), Key: "k", Sender: "s"}); err != nil {
		t.Errorf("with a key: %v", err)
	}

	// And nothing else.
	conn := pgtest.Connect(t, asRole)
	for _, statement := range []string{
		"SELECT * FROM trunkline.message",
		"SELECT * FROM trunkline.log",
		"SELECT * FROM trunkline.state",
		"SELECT * FROM trunkline.life",
		"SELECT * FROM trunkline.channel",
		"SELECT * FROM trunkline.history('c')",
		"INSERT INTO trunkline.message (channel, payload) VALUES ('c', '1')",
		"INSERT INTO trunkline.message (channel, payload, xid) VALUES ('c', '1', '99999999')",
		"UPDATE trunkline.message SET payload = '2'",
		"DELETE FROM trunkline.message",
		"TRUNCATE trunkline.message",
		"SELECT * FROM trunkline.step(pg_current_snapshot(), 1, 10, 10)",
		"SELECT * FROM trunkline.append_log('{1}', 10)",
		"SELECT * FROM trunkline.sequence_page(NULL, '1', 1, 0, 10, 10)",
		"SELECT * FROM trunkline.takeover(0, 0, 0, false, '', 0)",
		"SELECT * FROM trunkline.contend()",
		"SELECT trunkline.new_epoch()",
		"SELECT trunkline.set_floor('99999')",
		"SELECT trunkline.wake()",
		"SELECT trunkline.doze()",
		"SELECT setval('trunkline.doorbell', 1)",
		"SELECT nextval('trunkline.doorbell')",
		"SELECT trunkline.set_max_payload(2000)",
		"SELECT trunkline.grant_publish(current_user::regrole)",
		"CREATE TABLE trunkline.mine (id int)",
	} {
		_, err := conn.Exec(ctx, statement)
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// publish runs with its owner's rights: what the caller's search_path offers in the place of what it uses must not count.
func TestPublishIsDeafToTheSearchPath(t *testing.T) {
	t.Parallel()
	name, owner, asRole := role(t, "evil")
	conn := pgtest.Connect(t, owner)
	exec(t, conn, "SELECT trunkline.grant_publish($1::text::regrole)", name)
	exec(t, conn, "CREATE SCHEMA evil")
	exec(t, conn, "GRANT ALL ON SCHEMA evil TO "+name)
	app := pgtest.Connect(t, asRole)
	const trap = " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$"
	for _, function := range []string{
		"octet_length(text) RETURNS int", "octet_length(json) RETURNS int", "starts_with(text, text) RETURNS boolean", "to_json(text) RETURNS json",
		"pg_notify(text, text) RETURNS void", "pg_notification_queue_usage() RETURNS float8", "current_setting(text, boolean) RETURNS text",

		"pg_sequence_last_value(regclass) RETURNS bigint", "unnest(anyarray) RETURNS SETOF anyelement",
		"int4gt(int, int) RETURNS boolean", "texteq(text, text) RETURNS boolean", "bool2(text, text) RETURNS boolean", "num(bigint, int) RETURNS boolean",
		"flt(float8, numeric) RETURNS boolean", "flt(float8, float8) RETURNS boolean", "left(text, int) RETURNS text",
	} {
		exec(t, app, "CREATE FUNCTION evil."+function+trap)
	}
	for _, operator := range []string{
		"> (FUNCTION = evil.int4gt, LEFTARG = int, RIGHTARG = int)", "= (FUNCTION = evil.texteq, LEFTARG = text, RIGHTARG = text)",
		"~ (FUNCTION = evil.bool2, LEFTARG = text, RIGHTARG = text)", "!~ (FUNCTION = evil.bool2, LEFTARG = text, RIGHTARG = text)",
		"<> (FUNCTION = evil.bool2, LEFTARG = text, RIGHTARG = text)", "= (FUNCTION = evil.num, LEFTARG = bigint, RIGHTARG = int)",
		"< (FUNCTION = evil.flt, LEFTARG = float8, RIGHTARG = numeric)", "< (FUNCTION = evil.flt, LEFTARG = float8, RIGHTARG = float8)",
		"< (FUNCTION = evil.int4gt, LEFTARG = int, RIGHTARG = int)",
	} {
		exec(t, app, "CREATE OPERATOR evil."+operator)
	}
	exec(t, app, "CREATE TYPE evil.int4 AS ENUM ('trapped')")
	exec(t, app, "CREATE TYPE evil.text AS ENUM ('trapped')")
	exec(t, app, "SET search_path = evil, pg_catalog")
	for _, call := range []string{
		"SELECT trunkline.publish('c', '1')", "SELECT trunkline.publish('c', '1', 'ann', 'k')", "SELECT trunkline.publish('c é', '1')",
		"SELECT trunkline.publish_many('{c,d}', ARRAY['1', '2']::pg_catalog.json[])", "SELECT trunkline.publish_many('{c,d}', ARRAY['1', '2']::pg_catalog.json[], NULL, '{a,b}')",
		"SELECT trunkline.signal('c', '1')",
	} {
		if _, err := app.Exec(testContext(t), call); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// A role that may read follows; told or not, it doesn't try to sequence.
func TestReadersFollow(t *testing.T) {
	t.Parallel()
	for _, mode := range []trunkline.SequenceMode{trunkline.SequenceNever, trunkline.SequenceAuto} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			name, owner, asRole := role(t, "reader")
			exec(t, pgtest.Connect(t, owner), "SELECT trunkline.grant_read($1::text::regrole)", name)
			var warnings logLines
			reader := startEngine(t, asRole, func(c *trunkline.Config) {
				c.Sequence, c.Logger = mode, slog.New(slog.NewTextHandler(&warnings, nil))
			})
			sub := subscribe(t, reader, trunkline.FromNow(), "c")
			conn := pgtest.Connect(t, owner)
			publish(t, conn, "c", "1")
			// Nobody sequences, and it says so.
			eventually(t, "it warns", func() bool { return strings.Contains(warnings.String(), "nobody sequences") })
			if mode == trunkline.SequenceAuto && !strings.Contains(warnings.String(), "only follows") {
				t.Errorf("it doesn't tell that it only follows: %s", warnings.String())
			}
			if reader.State().Sequencing {
				t.Error("it sequences")
			}
			// The first owner that comes begins a new epoch in this copy of the template.
			startEngine(t, owner)
			_, err := sub.Next(testContext(t))
			var ended *trunkline.EpochError
			if !errors.As(err, &ended) {
				t.Fatalf("the subscription in the template's epoch: %v", err)
			}
			sub = subscribe(t, reader, trunkline.FromBeginning(), "c")
			publish(t, conn, "c", "2")
			wantSeqs(t, next(t, sub, 2), 1)
			page, err := reader.History(testContext(t), "c", 0, 10)
			if err != nil || len(page.Messages) != 2 {
				t.Errorf("history: %+v, %v", page, err)
			}
			var privilege *trunkline.PrivilegeError
			if _, err := reader.Publish(testContext(t), trunkline.Publication{Channel: "c", Payload: []byte("3")}); !errors.As(err, &privilege) {
				t.Errorf("publishing: %v", err)
			}
		})
	}
}

func TestStartWithoutPrivilegesSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	name, owner, asRole := role(t, "nobody")
	for _, granted := range []string{"", "SELECT trunkline.grant_publish($1::text::regrole)"} {
		if granted != "" {
			exec(t, pgtest.Connect(t, owner), granted, name)
		}
		engine, err := trunkline.New(trunkline.Config{DatabaseURL: asRole})
		if err != nil {
			t.Fatal(err)
		}
		err = engine.Start(testContext(t))
		var privilege *trunkline.PrivilegeError
		if !errors.As(err, &privilege) || !strings.Contains(privilege.Grant, "trunkline.grant_read('"+name+"')") {
			t.Errorf("start after %q: %v", granted, err)
		}
		if err := engine.Stop(testContext(t)); err != nil {
			t.Error(err)
		}
	}
}
