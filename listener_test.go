package trunkline_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestResumeAfterTerminatedListener(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	conn := pgtest.Connect(t, url)
	const rounds, each = 4, 25
	for round := range rounds {
		eventually(t, "the listener is up", func() bool { return engine.State().Listen.Up })
		before, reconnects := engine.State().Listen, engine.Stats().ListenReconnects
		for i := range each {
			publish(t, conn, "c", numbered(round*each+i))
			if i == each/2 {
				// One that was ended before may still be on its way out.
				if n := terminate(t, conn, "trunkline listener"); n < 1 {
					t.Fatal("there is no listener")
				}
			}
		}
		eventually(t, "the listener went down and is up again", func() bool {
			now := engine.State().Listen
			return now.Up && now.Since.After(before.Since) && now.Err != nil && engine.Stats().ListenReconnects > reconnects
		})
	}
	got := next(t, sub, rounds*each)
	wantSeqs(t, got, 1)
	for i, m := range got {
		if string(m.Payload) != numbered(i) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
}

// A network that swallows everything closes nothing: only the heartbeat can tell.
func TestStalledListenerIsFoundOutAndReplaced(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	link := newProxy(t, url)
	// The log session goes through the same link, so the other node is the one that sequences on.
	startEngine(t, url)
	engine := startEngine(t, url, func(c *trunkline.Config) {
		c.DirectURL = link.url
		c.HeartbeatInterval = 200 * time.Millisecond
	})
	ctx := testContext(t)
	sub, err := engine.Subscribe(ctx, []string{"c"}, trunkline.SubscribeOptions{Signals: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	conn := pgtest.Connect(t, url)
	publish(t, conn, "c", numbered(0))
	wantSeqs(t, next(t, sub, 1), 1)

	link.stall()
	for i := range 50 {
		publish(t, conn, "c", numbered(1+i))
	}
	eventually(t, "the heartbeat found the stall", func() bool { return !engine.State().Listen.Up })
	if err := engine.State().Listen.Err; err == nil || !strings.Contains(err.Error(), "heartbeat") {
		t.Errorf("the listener is down because of %v", err)
	}
	link.heal()
	wantSeqs(t, next(t, sub, 50), 2)
	eventually(t, "the listener is up", func() bool { return engine.State().Listen.Up })
	if m := hearSignal(t, engine, sub, `"again"`); !m.Signal || string(m.Payload) != `"again"` {
		t.Errorf("after healing came %+v", m)
	}
}

// hearSignal sends a signal until it is received, and returns that: with heartbeats this quick the LISTEN connection may be down for
// a moment at any time, and what is sent then is lost.
func hearSignal(t *testing.T, engine *trunkline.Engine, sub *trunkline.Subscription, payload string) trunkline.Message {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	sending.Go(func() {
		for {
			if sent, err := engine.Signal(ctx, trunkline.Publication{Channel: "c", Payload: []byte(payload)}); ctx.Err() == nil && (err != nil || !sent) {
				t.Errorf("signal: sent %v, %v", sent, err)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	return next(t, sub, 1)[0]
}

// With the LISTEN connection alone cut off, messages still come: the node looks often while it is deaf.
func TestDeafNodeStillDelivers(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	link := newProxy(t, url)
	link.only("trunkline listener")
	engine := startEngine(t, url, func(c *trunkline.Config) { c.DirectURL = link.url })
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	stayAwake(t, url, engine, link)
	rings, healed := engine.Stats().Rings, engine.Stats().Healed
	conn := pgtest.Connect(t, url)
	for i := range 20 {
		publish(t, conn, "c", numbered(i))
		wantSeqs(t, next(t, sub, 1), int64(i+1))
	}
	if s := engine.Stats(); s.Rings != rings || s.Healed != healed {
		t.Errorf("%d rings and %d healings while deaf", s.Rings-rings, s.Healed-healed)
	}
	eventually(t, "it sequences", func() bool { return engine.State().Sequencing })
	link.heal()
	eventually(t, "the listener is up", func() bool { return engine.State().Listen.Up })
}

// What PostgreSQL says where the queue's tail names a transaction whose status was vacuumed away.
var statusLost = &pgproto3.ErrorResponse{
	Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "58P01",
	Message: "could not access status of transaction 716", Detail: `Could not open file "pg_xact/0000": No such file or directory.`,
}

func TestListenSurvivesLostTransactionStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		failures int64
		session  bool // it took another session
	}{
		{"one statement by itself succeeds", 1, false},
		{"only a new session succeeds", 3, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			link := newProxy(t, url)
			var failed atomic.Int64
			link.refuse(func(query string) *pgproto3.ErrorResponse {
				if strings.Contains(query, "LISTEN") && failed.Add(1) <= test.failures {
					return statusLost
				}
				return nil
			})
			engine := startEngine(t, url, func(c *trunkline.Config) { c.DirectURL = link.url })
			sub := subscribe(t, engine, trunkline.FromNow(), "c")
			publish(t, pgtest.Connect(t, url), "c", "1")
			wantSeqs(t, next(t, sub, 1), 1)
			if err := engine.State().Listen.Err; (err != nil) != test.session {
				t.Errorf("the listener was down because of %v", err)
			}
			for _, query := range link.queries("LISTEN") {
				if !strings.Contains(query, "pg_notification_queue_usage") && failed.Load() < 2 {
					t.Errorf("the queue's tail was not moved on before %q", query)
				}
			}
		})
	}
}

func TestListenAndUnlistenAcrossAReconnect(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	link := newProxy(t, url)
	link.only("trunkline listener")
	engine := startEngine(t, url, func(c *trunkline.Config) {
		c.DirectURL, c.Bridge = link.url, []string{"kept", "left", "came"}
	})
	ctx := testContext(t)
	with := func(channel string) *trunkline.Subscription {
		sub, err := engine.Subscribe(ctx, []string{channel}, trunkline.SubscribeOptions{Signals: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sub.Close)
		return sub
	}
	kept, left := with("kept"), with("left")
	conn := pgtest.Connect(t, url)
	exec(t, conn, "SELECT pg_notify('kept', '1'), pg_notify('left', '2')")
	next(t, kept, 1)
	next(t, left, 1)

	link.cut()
	eventually(t, "the listener is down", func() bool { return !engine.State().Listen.Up })
	before := len(link.queries("LISTEN"))
	left.Close()
	came := make(chan *trunkline.Subscription)
	go func() { came <- with("came") }() // waits for the connection
	link.heal()
	sub := <-came
	exec(t, conn, "SELECT pg_notify('kept', '3'), pg_notify('came', '4')")
	next(t, kept, 1)
	next(t, sub, 1)
	after := strings.Join(link.queries("LISTEN")[before:], "; ")
	for channel, want := range map[string]bool{"kept": true, "came": true, "left": false} {
		if got := strings.Contains(after, `LISTEN "`+channel+`"`); got != want {
			t.Errorf("the new connection listens to %q: %v, want %v (%s)", channel, got, want, after)
		}
	}
}

// A restart in either mode costs no message that was acknowledged, and delivery goes on by itself.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, nil)
	engine := startEngine(t, server.URL())
	for round, mode := range []string{"fast", "immediate"} {
		sub := subscribe(t, engine, trunkline.FromNow(), "c")
		acknowledged := publishWhile(t, server.URL(), "c", round*100_000, func() {
			if err := server.Restart(testContext(t), mode); err != nil {
				t.Fatal(err)
			}
		})
		if epoch := sub.Position().Epoch; mode == "fast" && engine.State().Log.Epoch != epoch {
			t.Error("an orderly restart began a new epoch")
		}
		eventually(t, "the listener is up again", func() bool { return engine.State().Listen.Up })
		conn := pgtest.Connect(t, server.URL())
		wantOnceEach(t, conn, acknowledged)
		if mode == "fast" {
			// The subscription went through it: without a gap or a double up to the log's end.
			last := scan[int64](t, conn, "SELECT last_seq FROM trunkline.channels WHERE channel = 'c'")
			wantSeqs(t, next(t, sub, int(last)), 1)
		}
		live := subscribe(t, engine, trunkline.FromNow(), "c")
		publish(t, conn, "c", `"live"`)
		next(t, live, 1)
	}
}

// publishWhile publishes numbers from first on, one by one, until what is done meanwhile is over and some more have gone
// through. It returns the payloads whose commit was acknowledged.
func publishWhile(t *testing.T, url, channel string, first int, during func()) []string {
	t.Helper()
	ctx := testContext(t)
	var acknowledged []string
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conn *pgx.Conn
		defer func() {
			if conn != nil {
				_ = conn.Close(ctx)
			}
		}()
		for i, more := first, 20; more > 0 && ctx.Err() == nil; i++ {
			if conn == nil {
				var err error
				if conn, err = pgx.Connect(ctx, url); err != nil {
					conn = nil
					time.Sleep(10 * time.Millisecond) // the server is down: nothing announces its return
					continue
				}
			}
			if over.Load() {
				more--
			}
			payload := numbered(i)
			if _, err := conn.Exec(ctx, "SELECT trunkline.publish($1, $2)", channel, payload); err != nil {
				_ = conn.Close(ctx)
				conn = nil
				continue
			}
			acknowledged = append(acknowledged, payload)
		}
	}()
	during()
	over.Store(true)
	<-done
	if err := ctx.Err(); err != nil {
		t.Fatalf("publishing did not go on: %v", err)
	}
	return acknowledged
}

// wantOnceEach waits until all messages are in the log, and checks that each payload is there exactly once, and that the
// log itself has no holes.
func wantOnceEach(t *testing.T, conn *pgx.Conn, want []string) {
	t.Helper()
	eventually(t, "every message has its log row", func() bool {
		return scan[int](t, conn, "SELECT count(*) FROM trunkline.message m WHERE NOT EXISTS (SELECT FROM trunkline.log l WHERE l.message_id = m.id)") == 0
	})
	rows, err := conn.Query(testContext(t), "SELECT m.payload::text FROM trunkline.log l JOIN trunkline.message m ON m.id = l.message_id")
	if err != nil {
		t.Fatal(err)
	}
	logged, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, payload := range logged {
		times[payload]++
	}
	for _, payload := range want {
		if times[payload] != 1 {
			t.Errorf("%s is in the log %d times", payload, times[payload])
		}
	}
	if n := scan[int](t, conn, `SELECT count(*) FROM (
			SELECT seq - row_number() OVER (PARTITION BY channel_id ORDER BY seq) AS a, row_number() OVER (ORDER BY position) - position AS b FROM trunkline.log
		) x WHERE a <> 0 OR b <> 0`); n != 0 {
		t.Errorf("%d rows of the log follow a hole", n)
	}
}

// terminate ends the sessions of this database with an application name, and returns how many there were.
func terminate(t testing.TB, db trunkline.Tx, application string) int {
	t.Helper()
	return scan[int](t, db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1", application)
}

// A proxy stands between a node and the server and fails as networks do. It reads the messages of the protocol, so that it
// can count them, answer in the server's place, or fail in the middle of one.
type proxy struct {
	url    string // as that of the server, but through the proxy
	target string
	accept net.Listener

	mu       sync.Mutex
	gate     chan struct{} // closed: open to traffic
	affected string        // application name of the connections that stall stops; "": all
	clogAt   int           // a message of the server this large stalls the proxy in its middle; 0: none does
	refusal  func(query string) *pgproto3.ErrorResponse
	seen     []string // texts of simple queries
	conns    []net.Conn
	clients  map[net.Conn]string // those of the node, with their application names
	working  sync.WaitGroup
	asked    atomic.Int64 // round trips: simple queries and Syncs
	stopped  chan struct{}
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	accept, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: u.Host, accept: accept, gate: make(chan struct{}), clients: map[net.Conn]string{}, stopped: make(chan struct{})}
	close(p.gate)
	u.Host = accept.Addr().String()
	p.url = u.String()
	p.working.Go(p.run)
	t.Cleanup(func() {
		close(p.stopped)
		accept.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.working.Wait()
	})
	return p
}

// stall makes the proxy swallow everything, new connections included, without closing anything.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// cut makes the proxy close the connections that stall would stop, and hold up those that are made in their place.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
	for c, application := range p.clients {
		if p.affected == "" || p.affected == application {
			_ = c.Close()
		}
	}
}

// heal lets what was held back through.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clogAt = 0
	close(p.gate)
}

func (p *proxy) only(application string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.affected = application
}

func (p *proxy) refuse(refusal func(string) *pgproto3.ErrorResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusal = refusal
}

// clog makes the proxy stall as soon as the server has begun to send a message of at least size bytes.
func (p *proxy) clog(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clogAt = size
}

func (p *proxy) stalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		return false
	default:
		return true
	}
}

// queries returns the simple queries so far that contain a text.
func (p *proxy) queries(containing string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, q := range p.seen {
		if strings.Contains(q, containing) {
			found = append(found, q)
		}
	}
	return found
}

// pass waits until a connection with this application name may send. False: the test is over.
func (p *proxy) pass(application string) bool {
	p.mu.Lock()
	gate := p.gate
	if p.affected != "" && p.affected != application {
		gate = nil
	}
	p.mu.Unlock()
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	case <-p.stopped:
		return false
	}
}

func (p *proxy) run() {
	for {
		client, err := p.accept.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, client)
		p.mu.Unlock()
		p.working.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	startup, err := readStartup(client)
	if err != nil {
		return
	}
	application := ""
	if _, rest, ok := strings.Cut(string(startup), "application_name\x00"); ok {
		application, _, _ = strings.Cut(rest, "\x00")
	}
	p.mu.Lock()
	p.clients[client] = application
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.clients, client)
	}()
	if !p.pass(application) {
		return
	}
	// A small window, so that a server that sends much notices soon that nobody reads.
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.mu.Lock()
	p.conns = append(p.conns, server)
	p.mu.Unlock()
	if _, err := server.Write(startup); err != nil {
		return
	}
	var writing sync.Mutex // to the client
	var both sync.WaitGroup
	both.Go(func() { p.toServer(application, client, server, &writing) })
	both.Go(func() { p.toClient(application, client, server, &writing) })
	both.Wait()
}

func readStartup(client net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(client, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 8 || n > 10_000 {
		return nil, errors.New("not a startup message")
	}
	packet := make([]byte, n)
	copy(packet, size[:])
	_, err := io.ReadFull(client, packet[4:])
	return packet, err
}

// readHeader reads a message's type and the length of what follows.
func readHeader(from net.Conn) (header [5]byte, size int, err error) {
	if _, err = io.ReadFull(from, header[:]); err != nil {
		return header, 0, err
	}
	return header, int(binary.BigEndian.Uint32(header[1:])) - 4, nil
}

func (p *proxy) toServer(application string, client, server net.Conn, writing *sync.Mutex) {
	defer func() {
		// The other side learns of the end only if the network lets it.
		if p.pass(application) {
			_ = server.Close()
		}
	}()
	for {
		header, size, err := readHeader(client)
		if err != nil {
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(client, body); err != nil || !p.pass(application) {
			return
		}
		var refused *pgproto3.ErrorResponse
		switch header[0] {
		case 'Q':
			text := strings.TrimSuffix(string(body), "\x00")
			p.asked.Add(1)
			p.mu.Lock()
			p.seen = append(p.seen, text)
			if p.refusal != nil {
				refused = p.refusal(text)
			}
			p.mu.Unlock()
		case 'S':
			p.asked.Add(1)
		}
		if refused != nil {
			answer, _ := refused.Encode(nil)
			answer, _ = (&pgproto3.ReadyForQuery{TxStatus: 'I'}).Encode(answer)
			writing.Lock()
			_, err = client.Write(answer)
			writing.Unlock()
		} else {
			_, err = server.Write(append(header[:], body...))
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) toClient(application string, client, server net.Conn, writing *sync.Mutex) {
	defer func() {
		if p.pass(application) {
			_ = client.Close()
		}
	}()
	for {
		header, size, err := readHeader(server)
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.clogAt > 0 && size >= p.clogAt {
			p.clogAt, p.gate = 0, make(chan struct{})
		}
		p.mu.Unlock()
		if !p.pass(application) {
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(server, body); err != nil || !p.pass(application) {
			return
		}
		writing.Lock()
		_, err = client.Write(append(header[:], body...))
		writing.Unlock()
		if err != nil {
			return
		}
	}
}
