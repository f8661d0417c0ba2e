package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// diagnose runs doctor, and returns what it found by the name of the check.
func diagnose(t *testing.T, s surroundings, wantCode int, args ...string) map[string]finding {
	t.Helper()
	code, out, said := do(t, s, append([]string{"doctor", "--json"}, args...)...)
	if code != wantCode {
		t.Errorf("exit code %d, want %d: %s%s", code, wantCode, out, said)
	}
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v: %s%s", err, out, said)
	}
	if d.OK != (wantCode == exitOK) {
		t.Errorf("ok is %v with exit code %d", d.OK, code)
	}
	found := map[string]finding{}
	for _, f := range d.Checks {
		if have, ok := found[f.Name]; !ok || have.Status == statusOK {
			found[f.Name] = f
		}
	}
	return found
}

func expect(t *testing.T, found map[string]finding, name string, want status, says ...string) {
	t.Helper()
	f, ok := found[name]
	if !ok || f.Status != want {
		t.Errorf("%s: %+v, want %s", name, f, want)
	}
	for _, part := range says {
		if !strings.Contains(f.Detail+" "+f.Fix, part) {
			t.Errorf("%s: %+v doesn't say %q", name, f, part)
		}
	}
}

func TestDoctorOfAHealthyDatabase(t *testing.T) {
	s, _ := database(t)
	startServer(t, s)
	found := diagnose(t, s, exitOK)
	for _, name := range []string{"connection", "server", "schema", "privileges", "search path", "listen", "queue", "sequencer", "lag", "authorization", "retention", "watches", "transactions", "clock"} {
		if name == "search path" {
			continue // says nothing unless there is something
		}
		expect(t, found, name, statusOK)
	}
	// The cluster of the tests has max_prepared_transactions.
	expect(t, found, "two-phase commit", statusWarning, "trunkline.ring = off")
	if out := succeed(t, s, "doctor"); !strings.Contains(out, "ok       connection") || !strings.Contains(out, "→ ") {
		t.Errorf("for people it prints\n%s", out)
	}
}

func TestDoctorWithoutASchema(t *testing.T) {
	found := diagnose(t, on(t, pgtest.EmptyDatabase(t)), exitFailed)
	expect(t, found, "schema", statusProblem, "trunkline migrate")
	if len(found) != 3 {
		t.Errorf("checks that mean nothing without a schema: %+v", found)
	}
}

func TestDoctorWithoutAServer(t *testing.T) {
	found := diagnose(t, on(t, "postgres://u@127.0.0.1:1/d"), exitUnreachable)
	expect(t, found, "connection", statusProblem, "127.0.0.1:1", "refused")
}

func TestDoctorWhereNobodySequences(t *testing.T) {
	s, _ := database(t)
	expect(t, diagnose(t, s, exitOK), "sequencer", statusWarning, "nobody sequences", "trunkline serve")
	succeed(t, s, "publish", "news", "1")
	found := diagnose(t, s, exitFailed)
	expect(t, found, "lag", statusProblem, "1 messages wait")
}

func TestDoctorFindsWhatHolds(t *testing.T) {
	s, conn := database(t)
	execute(t, conn, "CREATE TABLE parts (id int) PARTITION BY LIST (id)", "CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1)",
		"SELECT trunkline.watch('parts', 'x')", "CREATE TABLE part2 PARTITION OF parts FOR VALUES IN (2)")
	expect(t, diagnose(t, s, exitOK), "watches", statusWarning, "part2")

	var database string
	if err := conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "ALTER DATABASE "+pgx.Identifier{database}.Sanitize()+" SET trunkline.ring = off")
	expect(t, diagnose(t, s, exitOK), "two-phase commit", statusOK, "trunkline.ring is off")

	execute(t, conn, "ALTER DATABASE "+pgx.Identifier{database}.Sanitize()+` SET search_path = "$user", public`)
	expect(t, diagnose(t, s, exitOK), "search path", statusWarning, "SET search_path = public")
}

func TestDoctorNamesTheGrant(t *testing.T) {
	s, conn := database(t)
	role, app := newRole(t, s, conn)
	expect(t, diagnose(t, app, exitFailed), "schema", statusProblem, "SELECT trunkline.grant_read('"+role+"')")
	execute(t, conn, "SELECT trunkline.grant_read('"+role+"')")
	expect(t, diagnose(t, app, exitOK), "privileges", statusWarning, "SELECT trunkline.grant_publish('"+role+"')")
	execute(t, conn, "SELECT trunkline.grant_publish('"+role+"')")
	expect(t, diagnose(t, app, exitOK), "privileges", statusOK, "publish and read")
}

func TestDoctorOfARoleThatOnlyPublishes(t *testing.T) {
	s, conn := database(t)
	startServer(t, s)
	role, app := newRole(t, s, conn)
	execute(t, conn, "SELECT trunkline.grant_publish('"+role+"')")
	found := diagnose(t, app, exitOK)
	expect(t, found, "schema", statusWarning, "can't be read by this role", "SELECT trunkline.grant_read('"+role+"')")
	expect(t, found, "privileges", statusWarning, "may publish")
	execute(t, conn, "SELECT trunkline.grant_read('"+role+"')")
	if f := diagnose(t, app, exitOK)["sequencer"]; f.Status != statusOK || strings.Contains(f.Detail, "since )") {
		t.Errorf("sequencer: %+v", f)
	}
}

func TestDoctorWarnsOfRejectedChanges(t *testing.T) {
	s, conn := article(t, "")
	startServer(t, s) // what is rejected is reported in a message, which waits for it
	succeed(t, s, "watch", "message", "--channel", "{content}")
	say(t, conn, strings.Repeat("x", 300)) // no channel's name
	expect(t, diagnose(t, s, exitOK), "watches", statusWarning, "1 changes could not be published")
}

func TestDoctorJudgesServers(t *testing.T) {
	for _, test := range []struct {
		number   int
		encoding string
		standby  bool
		want     status
	}{
		{130_012, "UTF8", false, statusProblem}, {140_000, "UTF8", false, statusOK}, {180_000, "SQL_ASCII", false, statusProblem}, {180_000, "UTF8", true, statusProblem},
	} {
		d := &diagnosis{OK: true}
		if err := (&examination{d: d}).judgeServer(test.number, "x", test.encoding, test.standby); err != nil || d.Checks[0].Status != test.want {
			t.Errorf("%+v: %+v (%v)", test, d.Checks, err)
		}
	}
}

func TestTransactionPoolerIsFound(t *testing.T) {
	s, _ := database(t)
	startServer(t, s)
	direct := s.env["TRUNKLINE_DATABASE_URL"]
	pooled := on(t, pgbouncer(t, direct))
	found := diagnose(t, pooled, exitFailed)
	expect(t, found, "listen", statusProblem, "pooler", "--direct-url")
	code, _, said := do(t, pooled, "listen", "news")
	if code != exitFailed || !strings.Contains(said, "pooler") || !strings.Contains(said, "--direct-url") {
		t.Errorf("listen through the pooler: exit code %d: %s", code, said)
	}
	// What needs no session goes through it, and a direct connection beside it cures the rest.
	succeed(t, pooled, "publish", "news", "1")
	succeed(t, pooled, "history", "news")
	expect(t, diagnose(t, pooled, exitOK, "--direct-url", direct), "listen", statusOK)
}

// pgbouncer starts a pooler of transactions in front of a database.
func pgbouncer(t *testing.T, url string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program = "/usr/sbin/pgbouncer"; !isFile(program) {
			t.Skip("pgbouncer is not installed")
		}
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(program, filepath.Join(dir, "pgbouncer.ini"))
	if os.Geteuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Skip("pgbouncer doesn't run as root, and there is no user nobody")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	// On a socket in the folder, which nobody else can have taken, as they can a port.
	ini := fmt.Sprintf("[databases]\napp = host=127.0.0.1 port=%d dbname=%s user=%s password=%s\n"+
		"[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = %s\nauth_type = any\npool_mode = transaction\nmax_client_conn = 50\n",
		config.Port, config.Database, config.User, config.Password, dir)
	if err := os.WriteFile(filepath.Join(dir, "pgbouncer.ini"), []byte(ini), 0o644); err != nil {
		t.Fatal(err)
	}
	log := newOutput()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	log.line(t, "process up")
	return fmt.Sprintf("postgres://app@/app?host=%s&port=6432&sslmode=disable", dir)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func TestDoctorChecksAuthorizeFunctions(t *testing.T) {
	s, conn := database(t)
	startServer(t, s)
	execute(t, conn, "CREATE SCHEMA app", "CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
		"REVOKE ALL ON FUNCTION app.may FROM PUBLIC", "INSERT INTO trunkline.namespace (name, authorize) VALUES ('project', 'app.may')")
	expect(t, diagnose(t, s, exitOK), "authorization", statusOK, "1 namespaces")

	// A role that only publishes and reads may do without; one that serves may not.
	role, app := newRole(t, s, conn)
	execute(t, conn, "SELECT trunkline.grant_publish('"+role+"')", "SELECT trunkline.grant_read('"+role+"')")
	found := diagnose(t, app, exitOK)
	expect(t, found, "authorization", statusWarning, "project", "app.may", "GRANT EXECUTE ON FUNCTION app.may(text,text,text)", role)
	expect(t, found, "privileges", statusOK, "SELECT trunkline.grant_serve('"+role+"')")
	execute(t, conn, "SELECT trunkline.grant_serve('"+role+"')")
	found = diagnose(t, app, exitFailed)
	expect(t, found, "authorization", statusProblem, "refuses everybody", "GRANT USAGE ON SCHEMA app")
	expect(t, found, "privileges", statusOK, "read and serve")
	execute(t, conn, "GRANT USAGE ON SCHEMA app TO "+role, "GRANT EXECUTE ON FUNCTION app.may TO "+role)
	expect(t, diagnose(t, app, exitOK), "authorization", statusOK)

	execute(t, conn, "DROP FUNCTION app.may")
	expect(t, diagnose(t, s, exitFailed), "authorization", statusProblem, "no more", "trunkline namespace set project")
}

func TestDoctorFindsWhatRetentionHasLeft(t *testing.T) {
	s, conn := database(t)
	server := start(t, s, "serve", "--listen", "127.0.0.1:0")
	address(t, server)
	execute(t, conn, "INSERT INTO trunkline.namespace (name, retention) VALUES ('news', '1 hour')")
	expect(t, diagnose(t, s, exitOK), "retention", statusOK, "3 namespaces")
	// Nobody sequences any more by the time it is old.
	succeed(t, s, "publish", "news:a", "1")
	succeed(t, s, "listen", "news:a", "--from", "beginning", "--count", "1")
	server.interrupt()
	server.wait(t)
	execute(t, conn, "UPDATE trunkline.message SET created_at = created_at - interval '2 hours' WHERE channel = 'news:a'")
	expect(t, diagnose(t, s, exitOK), "retention", statusWarning, "news (01:00:00) in 1 channels", "trunkline serve")
}
