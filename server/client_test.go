package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// patience bounds what should happen at once. It is for a machine that is busy with other things.
const patience = 60 * time.Second

// service is an engine with its HTTP server.
type service struct {
	engine  *trunkline.Engine
	handler *Server
	server  *httptest.Server
	ended   chan error // why streams ended
}

func serve(t *testing.T, databaseURL string, opts Options, bridge ...string) *service {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: databaseURL, Bridge: bridge})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, engine) })
	if err := engine.Start(ctx); err != nil {
		t.Fatal(err)
	}
	settle(ctx, t, engine)
	h, err := New(engine, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	s := &service{engine: engine, handler: h, ended: make(chan error, 100)}
	h.ended = func(err error) { s.ended <- err }
	s.server = httptest.NewServer(h)
	t.Cleanup(s.server.Close)
	t.Cleanup(s.server.CloseClientConnections)
	select {
	case <-h.loaded:
	case <-ctx.Done():
		t.Fatal("the server never learned who may do what")
	}
	return s
}

// settle waits until the engine is in the log's first epoch: a test's database is a copy, and a copy begins a new one, of which streams
// that came just before it would be told.
func settle(ctx context.Context, t *testing.T, engine *trunkline.Engine) {
	t.Helper()
	for {
		var begun bool
		var epoch string
		err := engine.Pool().QueryRow(ctx, "SELECT s.database = trunkline.database_identity(), s.epoch FROM trunkline.state s").Scan(&begun, &epoch)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == "42501" {
			return // the log is another engine's, which has settled
		}
		if err != nil {
			t.Fatal(err)
		}
		if begun && engine.State().Log.Epoch == epoch {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// gone waits until a stream has ended.
func (s *service) gone(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.ended:
		t.Logf("a stream ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the stream doesn't end")
	}
}

func stop(t *testing.T, engine *trunkline.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := engine.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func newService(t *testing.T) *service {
	t.Helper()
	return serve(t, pgtest.Database(t), Options{Open: true})
}

func (s *service) publish(t *testing.T, channel, payload string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id, err := s.engine.Publish(ctx, trunkline.Publication{Channel: channel, Payload: []byte(payload), Sender: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// block is what stands between two blank lines of an event stream.
type block struct {
	id, event, data, comment string
	retry                    int
	hasID                    bool
}

// event is the data of a message or signal.
type event struct {
	Channel string          `json:"channel"`
	Seq     *int64          `json:"seq"`
	ID      *int64          `json:"id"`
	At      string          `json:"at"`
	Sender  *string         `json:"sender"`
	Payload json.RawMessage `json:"payload"`
}

func (b block) decode(t *testing.T) event {
	t.Helper()
	var e event
	if err := json.Unmarshal([]byte(b.data), &e); err != nil {
		t.Fatalf("data %q: %v", b.data, err)
	}
	return e
}

// client reads one stream as an EventSource does.
type client struct {
	response *http.Response
	reader   *bufio.Reader
	lastID   string
	opened   block // the first
}

// open requests a stream, and reads its first block.
func (s *service) open(t *testing.T, query, lastEventID string) (*client, block) {
	t.Helper()
	return s.openAs(t, "", query, lastEventID)
}

// openAs does so with a token or key.
func (s *service) openAs(t *testing.T, token, query, lastEventID string) (*client, block) {
	t.Helper()
	c, refused := s.tryToOpen(t, token, query, lastEventID)
	if c == nil {
		body, _ := io.ReadAll(refused.Body)
		t.Fatalf("status %d: %s", refused.StatusCode, body)
	}
	return c, c.opened
}

// tryToOpen is openAs for who may be refused.
func (s *service) tryToOpen(t *testing.T, token, query, lastEventID string) (c *client, refused *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+"/v1/stream?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		return nil, response
	}
	c = &client{response: response, reader: bufio.NewReaderSize(response.Body, 4096)}
	c.opened = c.block(t)
	return c, nil
}

func (c *client) block(t *testing.T) block {
	t.Helper()
	b, err := c.read()
	if err != nil {
		t.Fatalf("read the stream: %v (so far %+v)", err, b)
	}
	return b
}

func (c *client) read() (block, error) {
	var b block
	for {
		line, err := c.reader.ReadString('\n')
		if err != nil {
			return b, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if b.hasID {
				c.lastID = b.id
			}
			return b, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "":
			b.comment += value
		case "id":
			b.id, b.hasID = value, true
		case "event":
			b.event = value
		case "data":
			b.data += value
		case "retry":
			b.retry, _ = strconv.Atoi(value)
		}
	}
}

// event returns the next block that an EventSource would dispatch.
func (c *client) event(t *testing.T) block {
	t.Helper()
	for {
		if b := c.block(t); b.data != "" {
			return b
		}
	}
}

// ends expects the stream to end without another event.
func (c *client) ends(t *testing.T) {
	t.Helper()
	for {
		b, err := c.read()
		if err == nil && b.data == "" {
			continue
		}
		if err == nil {
			t.Fatalf("an event instead of the end: %+v", b)
		}
		if !errors.Is(err, io.EOF) {
			t.Fatalf("the stream ended with %v", err)
		}
		return
	}
}

func channels(names ...string) string { return url.Values{"channel": names}.Encode() }

// lines are what was logged, all of it.
type lines struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written.Write(b)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
