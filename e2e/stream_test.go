package e2e

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// streamed is the data of a stream's message.
type streamed struct {
	Channel string          `json:"channel"`
	Seq     int64           `json:"seq"`
	Payload json.RawMessage `json:"payload"`
	Reason  string          `json:"reason"`
	Sender  string          `json:"sender"`
}

func parseStreamed(t testing.TB, data json.RawMessage) streamed {
	t.Helper()
	var s streamed
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return s
}

// streamedNumbers waits for the messages that are numbered first to last, and checks that each comes once, in order.
func (c *client) streamedNumbers(t testing.TB, first, last int) (lastEventID string) {
	t.Helper()
	for n := first; n <= last; n++ {
		e := c.await(t, "message", "")
		if got := number(t, parseStreamed(t, e.Data).Payload); got != n {
			t.Fatalf("%s: message %d came where %d was due: %s", c.name, got, n, e.raw)
		}
		lastEventID = e.LastEventID
	}
	return lastEventID
}

// eventSource is the browser's own, which resumes by itself.
func eventSource(t *testing.T, d *driver) {
	runAll(t, d, []scenario{
		{"ServerKilled", sourceOfKilled},
		{"Reset", sourceReset},
		{"DatabaseCrashed", sourceOfCrashed},
		{"Refused", sourceRefused},
	})
}

func sourceOfKilled(t *testing.T, d *driver) {
	database, pool := newDatabase(t)
	n := startNode(t, database, d.flags()...)
	stream := d.at(t, n.base()).stream(t, "channel=room:a&channel=room:b&token="+token(t, "ann"))
	stream.await(t, "open", "")
	publish(t, pool, "room:a", 1, 5)
	publish(t, pool, "room:b", 6, 10)
	stream.streamedNumbers(t, 1, 10)
	n.kill()
	stream.await(t, "lost", "")
	publish(t, pool, "room:b", 11, 15)
	publish(t, pool, "room:a", 16, 20)
	n.start(t)
	stream.streamedNumbers(t, 11, 20)
	run(t, pool, "SELECT trunkline.signal('room:a', '{\"typing\": true}', 'bob')")
	if e := stream.await(t, "signal", ""); parseStreamed(t, e.Data).Sender != "bob" {
		t.Errorf("signal %s", e.raw)
	}
	stream.never(t, "message", "reset")
}

func sourceReset(t *testing.T, d *driver) {
	database, pool := newDatabase(t)
	n := startNode(t, database, d.flags()...)
	publish(t, pool, "room:a", 1, 5)
	stream := d.at(t, n.base()).stream(t, "channel=room:a&since=0123456789ab:3&token="+token(t, "ann"))
	if e := stream.await(t, "reset", ""); parseStreamed(t, e.Data).Reason != "epoch" || e.LastEventID == "" {
		t.Errorf("reset %s", e.raw)
	}
	// It comes back by itself, with the id of the reset, and hears what is new.
	stream.await(t, "lost", "")
	stream.awaitOne(t, "the second connection", func(e event) bool { return e.Event == "open" })
	publish(t, pool, "room:a", 6, 10)
	stream.streamedNumbers(t, 6, 10)
	stream.never(t, "message", "reset")
}

func sourceOfCrashed(t *testing.T, d *driver) {
	restart, database, pool := ownDatabase(t)
	n := startNode(t, database, d.flags()...)
	stream := d.at(t, n.base()).stream(t, "channel=room:a&token="+token(t, "ann"))
	stream.await(t, "open", "")
	publish(t, pool, "room:a", 1, 5)
	before := stream.streamedNumbers(t, 1, 5)
	n.kill()
	restart("immediate")
	n.start(t)
	e := stream.await(t, "reset", "")
	if was, is := epochOf(before), epochOf(e.LastEventID); parseStreamed(t, e.Data).Reason != "epoch" || was == is {
		t.Errorf("from epoch %s came reset %s", was, e.raw)
	}
}

func sourceRefused(t *testing.T, d *driver) {
	database, _ := newDatabase(t)
	n := startNode(t, database, d.flags()...)
	here := d.at(t, n.base())
	for _, query := range []string{"channel=room:secret&token=" + token(t, "ann"), "channel=room:a"} {
		stream := here.stream(t, query)
		stream.await(t, "lost", "")
		stream.never(t, "open", "message")
	}
}

func epochOf(id string) string {
	epoch, _, _ := strings.Cut(id, ":")
	return epoch
}

// curl is a running curl -N.
type curl struct {
	cmd   *exec.Cmd
	lines chan string
	id    string // the last one that it has printed
}

func startCurl(t testing.TB, args ...string) *curl {
	t.Helper()
	c := &curl{cmd: exec.Command(need(t, "curl"), append([]string{"-sSN"}, args...)...), lines: make(chan string, 10_000)}
	dieWithUs(c.cmd)
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = c.cmd.Stdout
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		scanner := bufio.NewScanner(stdout)
		scanner.Buffer(nil, 8<<20)
		for scanner.Scan() {
			c.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		for range c.lines { // until it has ended
		}
		_ = c.cmd.Wait()
	})
	return c
}

// await returns the next line that begins with prefix, without it. ok is false if the output ends.
func (c *curl) await(t testing.TB, prefix string) (rest string, ok bool) {
	t.Helper()
	var skipped []string
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return strings.Join(skipped, "\n"), false
			}
			if id, found := strings.CutPrefix(line, "id: "); found {
				c.id = id
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest, true
			}
			skipped = append(skipped, line)
		case <-deadline:
			t.Fatalf("curl printed no line that begins with %q, only:\n%s", prefix, strings.Join(skipped, "\n"))
		}
	}
}

// numbers reads the messages that are numbered first to last, and returns the last one's id.
func (c *curl) numbers(t testing.TB, first, last int) (id string) {
	t.Helper()
	for n := first; n <= last; n++ {
		data, ok := c.await(t, "data: ")
		if !ok {
			t.Fatalf("the stream ended before message %d:\n%s", n, data)
		}
		if got := number(t, parseStreamed(t, json.RawMessage(data)).Payload); got != n {
			t.Fatalf("message %d came where %d was due: %s", got, n, data)
		}
	}
	return c.id
}

// TestCurl follows a stream with curl, as a shell script would.
func TestCurl(t *testing.T) {
	t.Parallel()
	database, pool := newDatabase(t)
	n := startNode(t, database)
	address := n.base() + "/v1/stream?channel=room:a"
	bearer := "Authorization: Bearer " + token(t, "ann")

	stream := startCurl(t, "-H", bearer, address)
	begun, ok := stream.await(t, "id: ")
	if !ok {
		t.Fatalf("no stream:\n%s", begun)
	}
	publish(t, pool, "room:a", 1, 5)
	last := stream.numbers(t, 1, 5)
	n.kill()
	if rest, ok := stream.await(t, "data: "); ok {
		t.Errorf("data after the end: %s", rest)
	}
	publish(t, pool, "room:a", 6, 10)
	n.start(t)

	again := startCurl(t, "-H", bearer, "-H", "Last-Event-ID: "+last, address)
	again.numbers(t, 6, 10)
	publish(t, pool, "room:a", 11, 11)
	again.numbers(t, 11, 11)

	// From the start, and the whole of it.
	whole := startCurl(t, "-H", bearer, address+"&from=beginning")
	whole.numbers(t, 1, 11)

	for name, test := range map[string]struct {
		args   []string
		status string
	}{
		"no token":       {[]string{address}, "401"},
		"a bad token":    {[]string{"-H", bearer + "x", address}, "401"},
		"a denied one":   {[]string{"-H", bearer, n.base() + "/v1/stream?channel=room:secret"}, "403"},
		"no channel":     {[]string{"-H", bearer, n.base() + "/v1/stream"}, "400"},
		"a bad position": {[]string{"-H", bearer, address + "&since=" + url.QueryEscape("1; DROP")}, "400"},
	} {
		refused := startCurl(t, append([]string{"-i"}, test.args...)...)
		all, ended := refused.await(t, "data: ")
		status, _, _ := strings.Cut(strings.TrimPrefix(all, "HTTP/1.1 "), " ")
		if ended || status != test.status || !strings.Contains(all, "application/problem+json") || !strings.Contains(all, `"detail"`) {
			t.Errorf("%s: want %s and a problem, got:\n%s", name, test.status, all)
		}
	}
}
