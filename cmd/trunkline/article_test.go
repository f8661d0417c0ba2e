package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The story that Trunkline begins with: a table of messages, a trigger that notifies, programs that listen.

const articleTables = `CREATE TABLE appuser (id serial PRIMARY KEY, fullname text NOT NULL);
	CREATE TABLE message (id serial PRIMARY KEY, sender integer NOT NULL REFERENCES appuser, channel text NOT NULL, content text NOT NULL);
	INSERT INTO appuser (fullname) VALUES ('Ann'), ('Bob');`

const articleTrigger = `CREATE FUNCTION notify_message() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_notify(NEW.channel, to_json(NEW)::text); RETURN NEW; END $$;
	CREATE TRIGGER notify AFTER INSERT ON message FOR EACH ROW EXECUTE FUNCTION notify_message();`

// article makes the tables in a database, and more.
func article(t *testing.T, more string) (surroundings, *pgx.Conn) {
	t.Helper()
	s, conn := database(t)
	script(t, conn, articleTables+more)
	return s, conn
}

func script(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, conn *pgx.Conn, content string) {
	t.Helper()
	execute(t, conn, "INSERT INTO message (sender, channel, content) VALUES (1, 'broadcast', '"+content+"')")
}

// sayInVain inserts and rolls back.
func sayInVain(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	execute(t, conn, "BEGIN", "INSERT INTO message (sender, channel, content) VALUES (1, 'broadcast', 'never')", "ROLLBACK")
}

func row(id int, content string) string {
	return fmt.Sprintf(`{"id":%d,"sender":1,"channel":"broadcast","content":"%s"}`, id, content)
}

func TestRawListenerHearsTheArticlesTrigger(t *testing.T) {
	s, conn := article(t, articleTrigger)
	listener := start(t, s, "listen", "broadcast", "--raw")
	listener.err.line(t, "listening to NOTIFY on broadcast")
	asJSON := start(t, s, "listen", "broadcast", "--raw", "--json", "--count", "1")
	asJSON.err.line(t, "listening")

	say(t, conn, "one")
	sayInVain(t, conn)
	say(t, conn, "three")
	pid := conn.PgConn().PID()
	for _, want := range []string{row(1, "one"), row(3, "three")} {
		if got, want := listener.out.line(t, ""), fmt.Sprintf("broadcast [pid %d] %s", pid, want); got != want {
			t.Errorf("heard %s\nwant %s", got, want)
		}
	}
	var object rawNotification
	if err := json.Unmarshal([]byte(asJSON.out.line(t, "")), &object); err != nil {
		t.Fatal(err)
	}
	if want := (rawNotification{Channel: "broadcast", PID: pid, Payload: row(1, "one")}); object != want {
		t.Errorf("--json: %+v, want %+v", object, want)
	}
	if code := asJSON.wait(t); code != exitOK {
		t.Errorf("--count 1 ended with exit code %d", code)
	}
	listener.interrupt()
	if code := listener.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestServeBridgesTheArticlesTrigger(t *testing.T) {
	s, conn := article(t, articleTrigger)
	events := stream(t, startServer(t, s, "--bridge", "broadcast"), "channel=broadcast")
	say(t, conn, "one")
	sayInVain(t, conn)
	say(t, conn, "three")
	for _, want := range []string{row(1, "one"), row(3, "three")} {
		if e := next(t, events); e.Event != "signal" || string(e.Payload) != want {
			t.Errorf("event %+v with payload %s, want %s", e, e.Payload, want)
		}
	}
}

func TestWatchInsteadOfTheArticlesTrigger(t *testing.T) {
	s, conn := article(t, "")
	succeed(t, s, "watch", "message", "--channel", "{channel}", "--payload", "row")
	base := startServer(t, s)
	events := stream(t, base, "channel=broadcast")
	listener := start(t, s, "listen", "broadcast", "--json")
	listener.err.line(t, "listening")

	say(t, conn, "one")
	sayInVain(t, conn)
	long := strings.Repeat("x", 100_000)
	say(t, conn, long)
	var heard []oneMessage
	for i, want := range []string{row(1, "one"), row(3, long)} {
		if e := next(t, events); e.Event != "message" || string(e.Payload) != want || e.Seq != int64(i+1) {
			t.Errorf("event %s with seq %d and payload %.100s", e.Event, e.Seq, e.Payload)
		}
		var m oneMessage
		if err := json.Unmarshal([]byte(listener.out.line(t, "")), &m); err != nil {
			t.Fatal(err)
		}
		if string(m.Payload) != want || m.Seq != int64(i+1) {
			t.Errorf("listen heard seq %d: %.100s", m.Seq, m.Payload)
		}
		heard = append(heard, m)
	}
	listener.interrupt()
	listener.wait(t)

	// While nobody listens.
	say(t, conn, "four")
	late := start(t, s, "listen", "broadcast", "--since", heard[1].Since, "--json")
	if got := late.out.line(t, ""); !strings.Contains(got, row(4, "four")) {
		t.Errorf("on coming back, heard %s", got)
	}
	whole := start(t, s, "listen", "broadcast", "--from", "beginning", "--count", "3")
	whole.out.line(t, row(1, "one"))
	whole.out.line(t, row(4, "four"))
	resumed := stream(t, base, "channel=broadcast&since="+heard[0].Since)
	for _, want := range []string{row(3, long), row(4, "four")} {
		if e := next(t, resumed); string(e.Payload) != want {
			t.Errorf("the resumed stream has %.100s", e.Payload)
		}
	}
}

const asyncpgListener = `
import asyncio, sys, asyncpg

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    heard = asyncio.Queue()
    await connection.add_listener('broadcast', lambda c, pid, channel, payload: heard.put_nowait(payload))
    print('ready', flush=True)
    while True:
        print(await heard.get(), flush=True)

asyncio.run(main())
`

const psycopgListener = `
import select, sys, psycopg2

connection = psycopg2.connect(sys.argv[1])
connection.set_session(autocommit=True)
connection.cursor().execute('LISTEN broadcast')
print('ready', flush=True)
while True:
    select.select([connection], [], [])
    connection.poll()
    while connection.notifies:
        print(connection.notifies.pop(0).payload, flush=True)
`

func TestPythonListenersOfTheArticle(t *testing.T) {
	for _, driver := range []struct{ name, module, program string }{
		{"asyncpg", "asyncpg", asyncpgListener},
		{"psycopg", "psycopg2", psycopgListener},
	} {
		for _, how := range []struct{ name, sql string }{
			{"beside Trunkline", articleTrigger},
			{"with watch --notify", ""},
		} {
			t.Run(driver.name+" "+how.name, func(t *testing.T) {
				s, conn := article(t, how.sql)
				if how.sql == "" {
					succeed(t, s, "watch", "message", "--channel", "{channel}", "--payload", "row", "--notify")
				}
				startServer(t, s)
				heard := python(t, driver.module, driver.program, s.env["TRUNKLINE_DATABASE_URL"])
				heard.line(t, "ready")
				say(t, conn, "one")
				sayInVain(t, conn)
				say(t, conn, "three")
				for _, want := range []string{row(1, "one"), row(3, "three")} {
					if got := heard.line(t, ""); got != want {
						t.Errorf("heard %s, want %s", got, want)
					}
				}
			})
		}
	}
}

// python runs a program with the system's Python, which is the one that has the drivers.
func python(t *testing.T, module, program string, args ...string) *output {
	t.Helper()
	const interpreter = "/usr/bin/python3"
	if err := exec.Command(interpreter, "-c", "import "+module).Run(); err != nil {
		t.Skipf("%s has no module %s", interpreter, module)
	}
	cmd := exec.Command(interpreter, append([]string{"-c", program}, args...)...)
	out, errors := newOutput(), newOutput()
	cmd.Stdout, cmd.Stderr = out, errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Python: %s\n%s", out, errors)
		}
	})
	return out
}

// next waits for an event.
func next(t *testing.T, events <-chan streamEvent) streamEvent {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the stream ended")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no event")
	}
	return streamEvent{}
}

// startServer starts serve on some port, and returns the address of its HTTP server.
func startServer(t *testing.T, s surroundings, args ...string) string {
	t.Helper()
	c := start(t, s, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	return address(t, c)
}

var addressText = regexp.MustCompile(`http://[0-9.:]+`)

func address(t *testing.T, c *command) string {
	t.Helper()
	found := addressText.FindString(c.out.line(t, "/v1/stream"))
	c.out.line(t, "Ctrl-C")
	return found
}

// streamEvent is an event of a stream.
type streamEvent struct {
	ID, Event string
	Seq       int64           `json:"seq"`
	Payload   json.RawMessage `json:"payload"`
}

// stream opens a stream, and returns its events once it is there.
func stream(t *testing.T, base, query string) <-chan streamEvent {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/stream?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	events := make(chan streamEvent, 100)
	done := make(chan struct{})
	t.Cleanup(func() {
		response.Body.Close()
		<-done
		transport.CloseIdleConnections()
	})
	go func() {
		defer close(done)
		defer close(events)
		var e streamEvent
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 2<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.ID = value
			case "event":
				e.Event = value
			case "data":
				_ = json.Unmarshal([]byte(value), &e)
			case "":
				if e.Event != "" {
					events <- e
				}
				e = streamEvent{}
			}
		}
	}()
	return events
}
