package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server"
)

// An order tells a process what to serve.
type order struct {
	Kind    string // oursKind or articleKind
	URL     string // of the database
	Address string // on loopback; port 0 for any
	Channel string
	Clients int // about how many to make room for
}

const (
	oursKind    = "trunkline"
	articleKind = "article"
)

// An account is what a contestant tells about itself.
type account struct {
	Connections    int   // that get messages; the article's only
	HistoryQueries int64 // ours only
}

const accountPath = "/bench/account"

// Serve is the other end of Options.Program: it reads what to serve from in, writes the address to out, and serves on this
// machine's loopback until in ends or ctx does.
func Serve(ctx context.Context, in io.Reader, out io.Writer, log *slog.Logger) error {
	var o order
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, input)
		cancel() // whoever started this is gone, or done with it
	}()
	if address, err := netip.ParseAddrPort(o.Address); err != nil || !address.Addr().IsLoopback() {
		return fmt.Errorf("%q is no loopback address: benchmarks serve none else", o.Address)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return err
	}
	defer listener.Close()
	handler, stop, err := o.start(ctx, log)
	if err != nil {
		return err
	}
	defer stop()
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	select {
	case err = <-served:
	case <-ctx.Done():
		err = web.Close()
		<-served //nolint:errcheck // that it was closed
	}
	return err
}

func (o order) start(ctx context.Context, log *slog.Logger) (http.Handler, func(), error) {
	switch o.Kind {
	case oursKind:
		return o.startOurs(ctx, log)
	case articleKind:
		return o.startArticle(ctx)
	}
	return nil, nil, fmt.Errorf("there is no contestant %q", o.Kind)
}

// startOurs serves as `trunkline serve` does, with room for all of the clients, which are one address and one user.
func (o order) startOurs(ctx context.Context, log *slog.Logger) (http.Handler, func(), error) {
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: o.URL, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	if err := engine.Start(ctx); err != nil {
		stop(engine)
		return nil, nil, err
	}
	room := 2*o.Clients + 100
	serving, err := server.New(engine, server.Options{Open: true, Logger: log, Limits: server.Limits{
		Connections: room, ConnectionsPerUser: room, ConnectionsPerAddress: room,
	}})
	if err != nil {
		stop(engine)
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc(accountPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(account{HistoryQueries: engine.Stats().HistoryQueries})
	})
	mux.Handle("/", serving)
	return mux, func() {
		serving.Close()
		stop(engine)
	}, nil
}

// startArticle serves the article's way: one session listens, each client has a goroutine, each message is a write.
func (o order) startArticle(ctx context.Context) (http.Handler, func(), error) {
	conn, err := pgx.Connect(ctx, o.URL)
	if err != nil {
		return nil, nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{o.Channel}.Sanitize()); err != nil {
		return nil, nil, errors.Join(err, conn.Close(ctx))
	}
	a := &articleServer{clients: map[chan []byte]context.Context{}}
	ctx, cancel := context.WithCancel(ctx)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return // the clients miss what comes, and say so
			}
			a.broadcast([]byte(n.Payload))
		}
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("/connection/websocket", a.follow)
	mux.HandleFunc(accountPath, func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(account{Connections: len(a.clients)})
	})
	return mux, func() {
		cancel()
		<-listening
		_ = conn.Close(context.WithoutCancel(ctx))
	}, nil
}

type articleServer struct {
	mu      sync.Mutex
	clients map[chan []byte]context.Context // until when each is connected
}

// broadcast waits for slow clients, so that nothing is lost.
func (a *articleServer) broadcast(payload []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for queue, gone := range a.clients {
		select {
		case queue <- payload:
		default:
			select {
			case queue <- payload:
			case <-gone.Done():
			}
		}
	}
}

func (a *articleServer) follow(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = conn.CloseNow() }()
	ctx := conn.CloseRead(r.Context())
	queue := make(chan []byte, 16)
	a.mu.Lock()
	a.clients[queue] = ctx
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.clients, queue)
		a.mu.Unlock()
	}()
	for {
		select {
		case payload := <-queue:
			if conn.Write(ctx, websocket.MessageText, payload) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
