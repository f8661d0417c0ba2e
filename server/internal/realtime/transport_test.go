package realtime

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// A streamed client reads a response that doesn't end and sends what it has to say to /emulation, as the JavaScript SDK does where
// there is no WebSocket.
type streamed struct {
	t       *testing.T
	front   *front
	lines   *bufio.Scanner
	prefix  string
	session string
	node    string
}

func stream(t *testing.T, front *front, request *http.Request, prefix string) *streamed {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	t.Cleanup(cancel)
	response, err := http.DefaultClient.Do(request.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close(); http.DefaultClient.CloseIdleConnections() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	s := &streamed{t: t, front: front, lines: bufio.NewScanner(response.Body), prefix: prefix}
	var connected struct {
		Connect struct {
			Session string `json:"session"`
			Node    string `json:"node"`
		} `json:"connect"`
	}
	s.next(&connected)
	s.session, s.node = connected.Connect.Session, connected.Connect.Node
	if s.session == "" || s.node == "" {
		t.Fatalf("connected with %+v", connected)
	}
	return s
}

func (s *streamed) next(reply any) {
	s.t.Helper()
	for s.lines.Scan() {
		text, ok := strings.CutPrefix(strings.TrimSpace(s.lines.Text()), s.prefix)
		if !ok || text == "" || text == "{}" {
			continue
		}
		if err := json.Unmarshal([]byte(text), reply); err != nil {
			s.t.Fatalf("%q: %v", text, err)
		}
		return
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
}

func (s *streamed) send(command string) {
	s.t.Helper()
	data, _ := json.Marshal(command)
	body := fmt.Sprintf(`{"session":%q,"node":%q,"data":%s}`, s.session, s.node, data)
	response, err := http.Post(s.front.URL+"/emulation", "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		s.t.Fatalf("status %d", response.StatusCode)
	}
}

func TestStreamedTransports(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}))
	const connectCommand = `{"id":1,"connect":{"token":"ann"}}`
	for name, test := range map[string]struct {
		method, path, body, prefix string
	}{
		"http_stream": {http.MethodPost, "/connection/http_stream", connectCommand, ""},
		"sse":         {http.MethodGet, "/connection/sse?cf_connect=" + url.QueryEscape(connectCommand), "", "data: "},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequest(test.method, front.URL+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			s := stream(t, front, request, test.prefix)
			s.send(`{"id":2,"subscribe":{"channel":"` + name + `"}}`)
			var reply rawReply
			if s.next(&reply); reply.Subscribe == nil || !reply.Subscribe.Recoverable {
				t.Fatalf("subscribed with %+v", reply)
			}
			publish(t, engine, name, numbers(1, 3)...)
			for _, want := range numbers(1, 3) {
				var reply rawReply
				if s.next(&reply); reply.Push == nil || string(reply.Push.Pub.Data) != want {
					t.Fatalf("got %+v, want %s", reply.Push, want)
				}
			}
		})
	}
}

func TestOriginsAndBodies(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{}, func(c *Config) {
		c.CheckOrigin = func(r *http.Request) bool { return r.Header.Get("Origin") == "https://app.example.org" }
		c.Limits.FrameBytes = 2048
	})
	front := startFront(t, node)
	do := func(method, path, origin, body string) *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(testContext(t), method, front.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", origin)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response
	}
	for _, path := range []string{"/connection/websocket", "/connection/http_stream", "/connection/sse", "/emulation"} {
		if r := do(http.MethodPost, path, "https://evil.example.org", `{}`); r.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
	}
	r := do(http.MethodOptions, "/emulation", "https://app.example.org", ``)
	if r.StatusCode != http.StatusNoContent || r.Header.Get("Access-Control-Allow-Origin") != "https://app.example.org" {
		t.Errorf("preflight: %d %v", r.StatusCode, r.Header)
	}
	if r := do(http.MethodPost, "/emulation", "https://app.example.org", strings.Repeat("x", 4096)); r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: status %d", r.StatusCode)
	}
	if r := do(http.MethodPost, "/emulation", "https://app.example.org", `nonsense`); r.StatusCode != http.StatusBadRequest {
		t.Errorf("nonsense: status %d", r.StatusCode)
	}
	if refusals(t, node, reasonOrigin) != 4 || refusals(t, node, reasonFrame) != 1 {
		t.Errorf("%v origins and %v bodies are counted", refusals(t, node, reasonOrigin), refusals(t, node, reasonFrame))
	}
}
