package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/centrifugal/centrifuge-go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
	"github.com/trunkline/trunkline/server/internal/auth"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(separateNode); url != "" {
		fmt.Fprintln(os.Stderr, beSeparateNode(url))
		os.Exit(1)
	}
	pgtest.Main(m,
		// The library starts one per node and has no way to stop it.
		goleak.IgnoreAnyFunction("github.com/FZambia/eagle.(*Eagle).aggregate"),
		// It leaves a channel a second after its last client, and waits up to 5 s for clients to close their side.
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge.(*Node).removeSubscription.func1"),
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge.(*WebsocketHandler).ServeHTTP.func2"),
		// The SDK waits for an answer as long as it was told to, though its connection is gone.
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge-go.(*Client).sendAsync.func1"),
	)
}

// waitLong bounds every wait of a test: long, since it only ends what hangs.
const waitLong = 60 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLong)
	t.Cleanup(cancel)
	return ctx
}

// A doorman is a gate for tests. A token is a user's name; the user "" is anonymous. Everything is allowed that isn't denied.
type doorman struct {
	mu      sync.Mutex
	connect map[string]func() (*auth.Identity, error)     // by token
	token   map[string]func() (*auth.Subscription, error) // by subscription token
	denied  map[string]auth.Code                          // by "user channel action", each may be *
	revoked map[string]bool                               // by user
}

func (d *doorman) Connect(_ context.Context, token string) (*auth.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.connect[token]; f != nil {
		return f()
	}
	if strings.HasPrefix(token, "bad") {
		return nil, &auth.Refusal{Code: auth.BadToken, Reason: "the token is not good"}
	}
	return &auth.Identity{User: token}, nil
}

func (d *doorman) Subscription(_ context.Context, _ *auth.Identity, channel, token string) (*auth.Subscription, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.token[token]; f != nil {
		return f()
	}
	return nil, &auth.Refusal{Code: auth.Denied, Reason: "no such subscription token for " + channel}
}

func (d *doorman) Allow(_ context.Context, id *auth.Identity, channel string, action auth.Action) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, user := range []string{id.User, "*"} {
		for _, ch := range []string{channel, "*"} {
			for _, a := range []string{string(action), "*"} {
				if code := d.denied[user+" "+ch+" "+a]; code != 0 {
					return &auth.Refusal{Code: code, Reason: "you may not " + string(action)}
				}
			}
		}
	}
	return nil
}

func (d *doorman) Check(_ context.Context, id *auth.Identity) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.revoked[id.User] {
		return &auth.Refusal{Code: auth.BadToken, Reason: "the token was revoked"}
	}
	return nil
}

func (d *doorman) deny(what string, code auth.Code) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.denied == nil {
		d.denied = map[string]auth.Code{}
	}
	d.denied[what] = code
}

func startEngine(t testing.TB, url string, change ...func(*trunkline.Config)) *trunkline.Engine {
	t.Helper()
	cfg := trunkline.Config{DatabaseURL: url, Logger: testLogger(t)}
	for _, c := range change {
		c(&cfg)
	}
	engine, err := trunkline.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopEngine(t, engine) })
	if err := engine.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	settle(t, engine)
	return engine
}

// settle waits until the first epoch has begun, and the engine is in it: a test's database is a copy, and a copy begins a new one, of which
// clients that came just before it would be told.
func settle(t testing.TB, engine *trunkline.Engine) {
	t.Helper()
	ctx := testContext(t)
	for {
		var begun bool
		var epoch string
		err := engine.Pool().QueryRow(ctx, "SELECT s.database = trunkline.database_identity(), s.epoch FROM trunkline.state s").Scan(&begun, &epoch)
		if err != nil {
			t.Fatal(err)
		}
		if begun && engine.State().Log.Epoch == epoch {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func stopEngine(t testing.TB, engine *trunkline.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLong)
	defer cancel()
	if err := engine.Stop(ctx); err != nil {
		t.Errorf("stop the engine: %v", err)
	}
}

func testLogger(t testing.TB) *slog.Logger {
	if testing.Verbose() && os.Getenv("TRUNKLINE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", t.Name())
	}
	return nil
}

// startNode starts a node on an engine and closes it when the test ends.
func startNode(t testing.TB, engine *trunkline.Engine, gate Gate, change ...func(*Config)) *Node {
	t.Helper()
	cfg := Config{Engine: engine, Gate: gate, Logger: testLogger(t), Limits: Limits{CommandRate: 1000, PublishRate: 1000}}
	for _, c := range change {
		c(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

func closeNode(t testing.TB, n *Node) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLong)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("close the node: %v", err)
	}
}

// A front is an address behind which nodes come and go.
type front struct {
	*httptest.Server
	handler atomic.Pointer[http.ServeMux]
}

func startFront(t testing.TB, n *Node) *front {
	t.Helper()
	f := &front{}
	if n != nil {
		f.serve(n)
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mux := f.handler.Load(); mux != nil {
			mux.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *front) serve(n *Node) {
	mux := http.NewServeMux()
	n.Register(mux)
	f.handler.Store(mux)
}

func (f *front) websocket() string {
	return "ws" + strings.TrimPrefix(f.URL, "http") + "/connection/websocket"
}

// A client is an SDK's client, with what happened to it.
type client struct {
	*sdk.Client
	t            testing.TB
	connecting   chan sdk.ConnectingEvent
	disconnected chan sdk.DisconnectedEvent
	errors       chan error
	server       chan sdk.ServerPublicationEvent
	subscribed   chan sdk.ServerSubscribedEvent
}

func newClient(t testing.TB, url string, cfg sdk.Config) *client {
	t.Helper()
	cfg.MinReconnectDelay, cfg.MaxReconnectDelay = 10*time.Millisecond, 100*time.Millisecond
	cfg.ReadTimeout, cfg.WriteTimeout, cfg.HandshakeTimeout = waitLong, waitLong, waitLong
	cfg.MaxServerPingDelay = waitLong
	dialect := sdk.NewJsonClient
	if strings.Contains(url, "cf_protocol=protobuf") {
		dialect = sdk.NewProtobufClient
	}
	c := &client{
		Client: dialect(url, cfg), t: t,
		connecting: events[sdk.ConnectingEvent](), disconnected: events[sdk.DisconnectedEvent](), errors: events[error](),
		server: events[sdk.ServerPublicationEvent](), subscribed: events[sdk.ServerSubscribedEvent](),
	}
	c.OnConnecting(func(e sdk.ConnectingEvent) { c.connecting <- e })
	c.OnDisconnected(func(e sdk.DisconnectedEvent) { c.disconnected <- e })
	c.OnError(func(e sdk.ErrorEvent) { offer(c.errors, e.Error) })
	c.OnPublication(func(e sdk.ServerPublicationEvent) { c.server <- e })
	c.OnSubscribed(func(e sdk.ServerSubscribedEvent) { c.subscribed <- e })
	t.Cleanup(c.Close)
	return c
}

// connect connects a user.
func connect(t testing.TB, url, user string) *client {
	t.Helper()
	c := newClient(t, url, sdk.Config{Token: user, GetToken: func(sdk.ConnectionTokenEvent) (string, error) { return user, nil }})
	c.begin()
	return c
}

// begin connects and waits until it has.
func (c *client) begin() {
	c.t.Helper()
	connected := make(chan struct{}, 16)
	c.OnConnected(func(sdk.ConnectedEvent) { offer(connected, struct{}{}) })
	if err := c.Connect(); err != nil {
		c.t.Fatal(err)
	}
	take(c.t, connected, "the connection")
}

// A follower is an SDK's subscription, with what happened to it.
type follower struct {
	*sdk.Subscription
	t            testing.TB
	publications chan sdk.PublicationEvent
	subscribed   chan sdk.SubscribedEvent
	subscribing  chan sdk.SubscribingEvent
	unsubscribed chan sdk.UnsubscribedEvent
	errors       chan error
	moves        chan string // "+user" joined, "-user" left
}

func (c *client) subscription(channel string, cfg sdk.SubscriptionConfig) *follower {
	c.t.Helper()
	cfg.MinResubscribeDelay, cfg.MaxResubscribeDelay = 10*time.Millisecond, 100*time.Millisecond
	sub, err := c.NewSubscription(channel, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	f := &follower{
		Subscription: sub, t: c.t,
		publications: events[sdk.PublicationEvent](), subscribed: events[sdk.SubscribedEvent](), subscribing: events[sdk.SubscribingEvent](),
		unsubscribed: events[sdk.UnsubscribedEvent](), errors: events[error](), moves: events[string](),
	}
	f.OnPublication(func(e sdk.PublicationEvent) { f.publications <- e })
	f.OnSubscribed(func(e sdk.SubscribedEvent) { f.subscribed <- e })
	f.OnSubscribing(func(e sdk.SubscribingEvent) { f.subscribing <- e })
	f.OnUnsubscribed(func(e sdk.UnsubscribedEvent) { f.unsubscribed <- e })
	f.OnError(func(e sdk.SubscriptionErrorEvent) { offer(f.errors, e.Error) })
	f.OnJoin(func(e sdk.JoinEvent) { f.moves <- "+" + e.User })
	f.OnLeave(func(e sdk.LeaveEvent) { f.moves <- "-" + e.User })
	return f
}

// follow subscribes and waits until it has.
func (c *client) follow(channel string, change ...func(*sdk.SubscriptionConfig)) *follower {
	c.t.Helper()
	var cfg sdk.SubscriptionConfig
	for _, f := range change {
		f(&cfg)
	}
	f := c.subscription(channel, cfg)
	if err := f.Subscribe(); err != nil {
		c.t.Fatal(err)
	}
	take(c.t, f.subscribing, "subscribing")
	return f
}

func (f *follower) ready() sdk.SubscribedEvent {
	f.t.Helper()
	return take(f.t, f.subscribed, "subscribed")
}

// want reads publications and compares their data.
func (f *follower) want(data ...string) []sdk.PublicationEvent {
	f.t.Helper()
	got := make([]sdk.PublicationEvent, 0, len(data))
	for i, text := range data {
		e := take(f.t, f.publications, "publication "+text)
		if string(e.Data) != text {
			f.t.Fatalf("publication %d is %s (offset %d), want %s", i, e.Data, e.Offset, text)
		}
		got = append(got, e)
	}
	return got
}

// events makes a channel that takes all a test could cause: a full one would stop the SDK.
func events[T any]() chan T { return make(chan T, 20_000) }

func offer[T any](to chan T, value T) {
	select {
	case to <- value:
	default:
	}
}

func take[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(waitLong):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// eventually waits for a condition that something else brings about and that no event announces.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLong)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func publish(t testing.TB, e *trunkline.Engine, channel string, payloads ...string) {
	t.Helper()
	ps := make([]trunkline.Publication, 0, len(payloads))
	for _, p := range payloads {
		ps = append(ps, trunkline.Publication{Channel: channel, Payload: []byte(p), Sender: "tester"})
	}
	if _, err := e.PublishMany(testContext(t), ps); err != nil {
		t.Fatal(err)
	}
}

// sequenced waits until a channel has so many messages, in the order that clients see.
func sequenced(t testing.TB, e *trunkline.Engine, channel string, count int64) {
	t.Helper()
	sub, err := e.Subscribe(testContext(t), []string{channel}, trunkline.SubscribeOptions{From: trunkline.FromBeginning()})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for {
		m, err := sub.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if m.Seq == count {
			return
		}
	}
}

func exec(t testing.TB, e *trunkline.Engine, sql string, args ...any) {
	t.Helper()
	if _, err := e.Pool().Exec(testContext(t), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t testing.TB, e *trunkline.Engine, sql string, args ...any) (value T) {
	t.Helper()
	if err := e.Pool().QueryRow(testContext(t), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func numbers(from, to int) []string {
	texts := make([]string, 0, to-from+1)
	for i := from; i <= to; i++ {
		text, _ := json.Marshal(map[string]int{"n": i})
		texts = append(texts, string(text))
	}
	return texts
}

type trunklineEngine = trunkline.Engine

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

func countMoves(t testing.TB, text string) int {
	t.Helper()
	var b bulletin
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return len(b.Moves)
}

// listening waits until nodes hear what others tell.
func listening(t testing.TB, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		sub, err := n.engine.Listen(testContext(t), rawMoves)
		if err != nil {
			t.Fatal(err)
		}
		sub.Close()
	}
}

// refusals is what the metric counts.
func refusals(t testing.TB, n *Node, reason string) float64 {
	t.Helper()
	var m dto.Metric
	if err := n.metrics.refused.WithLabelValues(reason).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
