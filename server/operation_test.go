package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// ask makes a request of a handler without a connection, from an address.
func ask(t *testing.T, h http.Handler, peer, path string) (code int, body string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, http.NoBody)
	request.RemoteAddr = peer
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder.Code, recorder.Body.String()
}

const (
	here  = "127.0.0.1:4711"
	there = "192.0.2.7:4711"
)

func TestHealth(t *testing.T) {
	s := newService(t)
	s.open(t, channels("news"), "")
	code, body := ask(t, s.handler, here, "/healthz")
	var answer health
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if code != http.StatusOK || answer.Status != "ok" || answer.Epoch == "" || !answer.Listen.Up || answer.Streams != 1 {
		t.Errorf("status %d: %+v", code, answer)
	}
}

// unstarted is a server of an engine that nobody starts.
func unstarted(t *testing.T) *Server {
	t.Helper()
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: "postgres://nobody@127.0.0.1:1/none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, engine) })
	s, err := New(engine, Options{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestAliveButNotReadyBeforeTheStart(t *testing.T) {
	s := unstarted(t)
	if code, body := ask(t, s, here, "/healthz"); code != http.StatusOK || !strings.Contains(body, `"starting"`) {
		t.Errorf("healthz: status %d: %s", code, body)
	}
	code, body := ask(t, s, here, "/readyz")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "the engine has not started") || !strings.Contains(body, "the database does not answer") {
		t.Errorf("readyz: status %d: %s", code, body)
	}
	if strings.Contains(body, "nobody@") || strings.Contains(body, "127.0.0.1") {
		t.Errorf("readyz tells strangers where the database is: %s", body)
	}
}

// awaitReady waits until /readyz says so.
func awaitReady(t *testing.T, s *service, want int) readiness {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		code, body := ask(t, s.handler, there, "/readyz")
		var answer readiness
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if code == want {
			if answer.Ready != (want == http.StatusOK) {
				t.Errorf("status %d with %+v", code, answer)
			}
			return answer
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %d, want %d: %s", code, want, body)
		}
	}
}

func TestReadyUntilRetired(t *testing.T) {
	s := newService(t)
	answer := awaitReady(t, s, http.StatusOK)
	names := ""
	for _, c := range answer.Checks {
		names += c.Name + " "
	}
	if names != "drain start database listen sequencer " {
		t.Errorf("checks: %s", names)
	}
	s.handler.Retire()
	answer = awaitReady(t, s, http.StatusServiceUnavailable)
	if answer.Checks[0].OK || !strings.Contains(answer.Checks[0].Reason, "about to stop") {
		t.Errorf("checks: %+v", answer.Checks)
	}
	// It goes on serving.
	c, _ := s.open(t, channels("news"), "")
	s.publish(t, "news", "1")
	c.event(t)
}

func TestReadinessJudgesTheLog(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, test := range []struct {
		name  string
		state trunkline.State
		says  string
	}{
		{"all is well", trunkline.State{Lag: trunkline.Lag{Heard: ago(time.Second)}, Listen: trunkline.ListenState{Up: true, Since: ago(time.Hour)}}, ""},
		{"a moment alone", trunkline.State{Lag: trunkline.Lag{Heard: now, Unsequenced: ago(5 * time.Second)}, Listen: trunkline.ListenState{Up: true}}, ""},
		{"alone", trunkline.State{Lag: trunkline.Lag{Heard: now, Unsequenced: ago(time.Minute)}, Listen: trunkline.ListenState{Up: true}}, "nobody has been sequencing for 1m0s"},
		{"silent", trunkline.State{Lag: trunkline.Lag{Heard: ago(time.Minute), Messages: 7}, Listen: trunkline.ListenState{Up: true}}, "no sign for 1m0s, and 7 messages"},
		{"connecting again", trunkline.State{Lag: trunkline.Lag{Heard: now}, Listen: trunkline.ListenState{Since: ago(time.Second)}}, ""},
		{"not listening", trunkline.State{Lag: trunkline.Lag{Heard: now}, Listen: trunkline.ListenState{Since: ago(time.Minute), Err: errors.New("dial secret:5432")}}, "down for 1m0s"},
	} {
		said := sequenced(test.state, now) + listens(test.state, now)
		if (test.says == "") != (said == "") || !strings.Contains(said, test.says) || strings.Contains(said, "secret") {
			t.Errorf("%s: %q, want %q", test.name, said, test.says)
		}
	}
}

func TestManyWhoAskIfItIsReadyMakeOneQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p := &pings{ping: func(context.Context) error { asked++; return nil }}
		for range 100 {
			go p.reason(t.Context())
		}
		synctest.Wait()
		if asked != 1 {
			t.Errorf("%d queries", asked)
		}
		time.Sleep(databaseAge)
		p.ping = func(ctx context.Context) error {
			asked++
			<-ctx.Done()
			return ctx.Err()
		}
		if said := p.reason(t.Context()); said == "" || asked != 2 {
			t.Errorf("%d queries; %q", asked, said)
		}
	})
}

func TestReadinessWhileTheDatabaseIsAway(t *testing.T) {
	cluster := pgtest.Cluster(t, nil)
	s := serve(t, cluster.URL(), Options{Open: true})
	awaitReady(t, s, http.StatusOK)
	if err := cluster.Kill(); err != nil {
		t.Fatal(err)
	}
	answer := awaitReady(t, s, http.StatusServiceUnavailable)
	if c := answer.Checks[2]; c.Name != "database" || c.OK {
		t.Errorf("checks: %+v", answer.Checks)
	}
	if code, _ := ask(t, s.handler, there, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: status %d, but the process is alive", code)
	}
	if err := cluster.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, s, http.StatusOK)
}

func TestMetricsAreForInsiders(t *testing.T) {
	s := unstarted(t)
	if code, body := ask(t, s, here, "/metrics"); code != http.StatusOK || !strings.Contains(body, "trunkline_listen_up 0") {
		t.Errorf("here: status %d: %.200s", code, body)
	}
	if code, body := ask(t, s, there, "/metrics"); code != http.StatusUnauthorized || strings.Contains(body, "trunkline_listen_up") {
		t.Errorf("from elsewhere: status %d: %.200s", code, body)
	}
	if code, body := ask(t, s.Operation(), there, "/metrics"); code != http.StatusOK || !strings.Contains(body, "trunkline_listen_up 0") {
		t.Errorf("on an address of their own: status %d: %.200s", code, body)
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/v1/stream?channel=a": http.StatusNotFound} {
		if code, _ := ask(t, s.Operation(), there, path); code != want {
			t.Errorf("%s there: status %d, want %d", path, code, want)
		}
	}
}

// libraryMetric is one of the families that the realtime library adds; their HELP describes them.
var libraryMetric = regexp.MustCompile(`^trunkline_realtime_(node|client|transport|broker)_`)

func TestEveryMetricIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(trunkline_[a-z_]+)` \\| (counter|gauge) \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = row[2]
	}
	registry := prometheus.NewRegistry()
	s := serve(t, pgtest.Database(t), Options{Open: true, Registry: registry})
	s.publish(t, "news", "1")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		name, kind := family.GetName(), strings.ToLower(family.GetType().String())
		switch {
		case strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || libraryMetric.MatchString(name):
		case documented[name] != kind:
			t.Errorf("%s is a %s, docs/metrics.md says %q", name, kind, documented[name])
		case (kind == "counter") != strings.HasSuffix(name, "_total"):
			t.Errorf("%s is a %s", name, kind)
		}
		delete(documented, name)
	}
	for name := range documented {
		if !strings.HasPrefix(name, "trunkline_digest_") { // serve adds these: they are compared there
			t.Errorf("%s is documented, but there is none", name)
		}
	}
}

func TestQueueUsageIsAskedSeldom(t *testing.T) {
	asked := 0
	q := &queueUsage{ask: func(context.Context) (float64, error) { asked++; return 0.25, nil }}
	now := time.Now()
	for range 10 {
		if usage, ok := q.current(now); usage != 0.25 || !ok {
			t.Errorf("usage %v, %v", usage, ok)
		}
	}
	q.ask = func(context.Context) (float64, error) { asked++; return 0, errors.New("away") }
	if _, ok := q.current(now.Add(queueAge)); ok || asked != 2 {
		t.Errorf("asked %d times; known: %v", asked, ok)
	}
}

func TestDrainEndsStreams(t *testing.T) {
	s := newService(t)
	var open []*client
	for range 5 {
		c, _ := s.open(t, channels("news"), "")
		open = append(open, c)
	}
	// As a program stops: the port is closed, and clients leave in turn, not all at once with the port.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.server.Config.Shutdown(ctx) }()
	if err := s.handler.Drain(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, c := range open {
		c.ends(t)
	}
	if err := <-closed; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if n := s.handler.closing.underWay(); n != 0 {
		t.Errorf("%d requests under way", n)
	}
}

func TestDrainFinishesRequests(t *testing.T) {
	s := newService(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	s.handler.mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	got := make(chan string, 1)
	go func() {
		response, err := s.server.Client().Get(s.server.URL + "/slow")
		if err != nil {
			got <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		got <- string(body)
	}()
	<-begun
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.handler.Drain(impatient, time.Second); err == nil || !strings.Contains(err.Error(), "1 requests") {
		t.Errorf("without patience: %v", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- s.handler.Drain(t.Context(), time.Second) }()
	close(finish)
	if body := <-got; body != "done" {
		t.Errorf("the request got %q", body)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestTurnsToLeaveAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 400
		c := &closing{}
		left := make(chan time.Time, clients)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range clients {
			end := c.of(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
			context.AfterFunc(end, func() { left <- time.Now() })
		}
		began := time.Now()
		if n := c.spread(10 * time.Second); n != clients {
			t.Errorf("%d were given turns", n)
		}
		early := 0
		for range clients {
			if (<-left).Sub(began) < 5*time.Second {
				early++
			}
		}
		if early < clients/4 || early > clients*3/4 {
			t.Errorf("%d of %d left in the first half", early, clients)
		}
		// Who comes later leaves at once, and when its request ends nothing of it is kept.
		<-c.of(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)).Done()
		cancel()
		synctest.Wait()
		if len(c.open) != 0 {
			t.Errorf("%d are still known", len(c.open))
		}
	})
}

func TestMetricsWithAnAdminKey(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{JWTSecret: []byte(strings.Repeat("s", 32)), Limits: Limits{FailureRate: 10_000}})
	scrape := func(header, value string) int {
		t.Helper()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.org/metrics", http.NoBody)
		request.RemoteAddr = there
		if header != "" {
			request.Header.Set(header, value)
		}
		recorder := httptest.NewRecorder()
		s.handler.ServeHTTP(recorder, request)
		return recorder.Code
	}
	keys := map[string]string{}
	for _, scope := range []string{"read", "admin"} {
		secret, key := trunkline.NewAPIKey()
		key.Name, key.Scopes = scope, []string{scope}
		if err := trunkline.CreateAPIKey(t.Context(), s.engine.Pool(), key); err != nil {
			t.Fatal(err)
		}
		keys[scope] = secret
	}
	// The key is known once the node has heard of it.
	for deadline := time.Now().Add(patience); scrape("Authorization", "Bearer "+keys["admin"]) != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the admin's key is refused")
		}
	}
	if code := scrape("X-API-Key", keys["admin"]); code != http.StatusOK {
		t.Errorf("in the other header: status %d", code)
	}
	for _, given := range [][2]string{{"", ""}, {"X-API-Key", keys["read"]}, {"Authorization", "Bearer nonsense"}} {
		if code := scrape(given[0], given[1]); code != http.StatusUnauthorized {
			t.Errorf("with %q: status %d", given[0], code)
		}
	}

	// Behind a proxy on this machine everybody comes from here.
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", http.NoBody)
	request.RemoteAddr = here
	request.Header.Set("X-Forwarded-For", "192.0.2.7")
	recorder := httptest.NewRecorder()
	if s.handler.ServeHTTP(recorder, request); recorder.Code != http.StatusUnauthorized {
		t.Errorf("through a proxy: status %d", recorder.Code)
	}
}

func TestDrainSendsWebSocketsAway(t *testing.T) {
	s := newService(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(s.server.URL, "http")+"/connection/websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"id":1,"connect":{}}`)); err != nil {
		t.Fatal(err)
	}
	if _, reply, err := conn.Read(ctx); err != nil || !strings.Contains(string(reply), `"connect"`) {
		t.Fatalf("%v: %s", err, reply)
	}
	if n := s.handler.clients(); n != 1 {
		t.Errorf("%d clients", n)
	}
	drained := make(chan error, 1)
	go func() { drained <- s.handler.Drain(ctx, time.Minute) }()
	for err == nil {
		_, _, err = conn.Read(ctx)
	}
	if code := websocket.CloseStatus(err); code < 3000 || code >= 3500 { // those after which an SDK comes back
		t.Errorf("closed with %v", err)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}
