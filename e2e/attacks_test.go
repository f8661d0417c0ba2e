package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5/pgxpool"
)

// garbage: frames that no client sends, before and after the connection is let in.
func garbage(t *testing.T, n *node, _ *pgxpool.Pool) {
	random := make([]byte, 10_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	frames := map[string][]byte{
		"random bytes":                random,
		"no JSON":                     []byte("hello"),
		"half an object":              []byte(`{"id":1,`),
		"a list":                      []byte(`[]`),
		"a number":                    []byte(`7`),
		"a wrong type":                []byte(`{"id":"x","connect":5}`),
		"nothing in it":               []byte(`{"id":9}`),
		"deep nesting":                bytes.Repeat([]byte("["), 100_000),
		"deep nesting in data":        fmt.Appendf(nil, `{"id":9,"publish":{"channel":"room:a","data":%s}}`, bytes.Repeat([]byte("["), 100_000)),
		"text that is no UTF-8":       []byte("{\"id\":9,\"subscribe\":{\"channel\":\"secret:\xff\xfe\"}}"),
		"a channel of 70,000 letters": fmt.Appendf(nil, `{"id":9,"subscribe":{"channel":"room:%s"}}`, strings.Repeat("x", 70_000)),
		"an empty channel":            []byte(`{"id":9,"subscribe":{"channel":""}}`),
		"a zero byte":                 []byte(`{"id":9,"subscribe":{"channel":"room:\u0000"}}`),
		"a method nobody has":         []byte(`{"id":9,"rpc":{"method":"drop","data":{}}}`),
		"a huge limit":                []byte(`{"id":9,"history":{"channel":"elsewhere:x","limit":2147483647}}`),
		"somebody else's channel":     []byte(`{"id":9,"publish":{"channel":"trunkline:control","data":{"type":"disconnect","user":"bystander"}}}`),
	}
	for name, frame := range frames {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			for _, known := range []bool{false, true} {
				w := mustDial(t, n, 2)
				if known {
					w.login(t, token(t, "mallory"))
				}
				if err := w.send(kind, frame); err != nil {
					t.Fatal(err)
				}
				if r := w.refused(); !r.complete() {
					t.Errorf("%s (%v, connected: %v) was answered with %v", name, kind, known, r)
				}
				_ = w.conn.CloseNow()
			}
		}
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer(2).DialContext}}
	for _, path := range []string{"/connection/http_stream", "/emulation", "/v1/publish"} {
		for _, body := range []string{"", "hello", string(random)} {
			response, err := client.Post(n.base()+path, "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			// Streams may answer with a disconnect in their own protocol, with a code and a reason.
			text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
			response.Body.Close()
			if response.StatusCode == http.StatusOK && !bytes.Contains(text, []byte(`"reason"`)) || response.StatusCode >= 500 || len(text) == 0 {
				t.Errorf("POST %s with %.20q is answered with %s %.200q", path, body, response.Status, text)
			}
		}
	}
	// And what isn't HTTP at all.
	conn, err := dialer(2).Dial("tcp", n.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // broken off
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(append(random, "\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, " 400 ") {
		t.Errorf("what isn't HTTP is answered with %q", line)
	}
}

// upgrade begins a WebSocket.
const upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// handshake begins one and reads the answer: who sends more before that is thrown out without any.
func handshake(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, upgrade); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for one := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); answer = append(answer, one...) {
		if _, err := conn.Read(one); err != nil {
			t.Fatalf("a handshake is answered with %q: %v", answer, err)
		}
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("a handshake is answered with %q", answer)
	}
}

// hugeFrames: 10 MB each, in one piece and in many, up to 400 MB at once.
func hugeFrames(t *testing.T, n *node, _ *pgxpool.Pool) {
	frame := fmt.Appendf(nil, `{"id":2,"publish":{"channel":"room:huge","data":"%s"}}`, strings.Repeat("x", 10<<20))
	good := token(t, "mallory")
	var all sync.WaitGroup
	var told atomic.Int64
	for i := range 40 {
		all.Go(func() {
			w, refused := dial(t, n, 3)
			if refused != nil {
				t.Errorf("refused: %v", refused)
				return
			}
			defer w.conn.CloseNow() //nolint:errcheck // broken off
			if i%2 == 0 {
				if err := w.send(websocket.MessageText, fmt.Appendf(nil, `{"id":1,"connect":{"token":%q}}`, good)); err != nil {
					t.Errorf("connect: %v", err)
					return
				}
			}
			// What the server says isn't read to its end before it is sent: both at once.
			go func() {
				if i%4 < 2 {
					_ = w.send(websocket.MessageText, frame)
					return
				}
				ctx, cancel := w.one()
				defer cancel()
				writer, err := w.conn.Writer(ctx, websocket.MessageText)
				if err != nil {
					return
				}
				for piece := range slices.Chunk(frame, 64<<10) {
					if _, err := writer.Write(piece); err != nil {
						return
					}
				}
				_ = writer.Close()
			}()
			// The word of it can be lost: what arrives on a closed connection resets it.
			switch r := w.refused(); {
			case r.code == int(websocket.StatusMessageTooBig): // says it all: the library adds no words to it
				told.Add(1)
			case r.code != 0:
				t.Errorf("a frame of 10 MB was answered with %v", r)
			case errors.Is(r.err, context.DeadlineExceeded):
				t.Errorf("a frame of 10 MB was not refused")
			}
		})
	}
	all.Wait()
	t.Logf("%d of 40 were told that a frame of 10 MB is too big", told.Load())
	// Who has only announced one is told for certain: nothing is on its way that would reset the connection.
	conn, err := dialer(3).Dial("tcp", n.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // done with it
	_ = conn.SetDeadline(time.Now().Add(patience))
	handshake(t, conn)
	if _, err := io.WriteString(conn, "\x81\xff\x00\x00\x00\x00\x00\xa0\x00\x00mask"); err != nil {
		t.Fatal(err)
	}
	tooBig := binary.BigEndian.AppendUint16(nil, uint16(websocket.StatusMessageTooBig))
	var said []byte
	for piece := make([]byte, 4096); !bytes.Contains(said, tooBig); {
		got, err := conn.Read(piece)
		if said = append(said, piece[:got]...); err != nil {
			t.Errorf("who announces a frame of 10 MB is told %q: %v", said, err)
			break
		}
	}

	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer(3).DialContext}}
	for _, path := range []string{"/connection/http_stream", "/emulation", "/v1/publish"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.base()+path, bytes.NewReader(frame))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+good)
		response, err := client.Do(request)
		if err != nil {
			continue // broken off while it was sent
		}
		if response.StatusCode < 400 || response.StatusCode >= 500 {
			t.Errorf("POST %s of 10 MB is answered with %s", path, response.Status)
		}
		response.Body.Close()
	}
}

// manySubscribes: 5,000 on one connection.
func manySubscribes(t *testing.T, n *node, _ *pgxpool.Pool) {
	const many = 5000
	w := mustDial(t, n, 4)
	w.login(t, token(t, "mallory"))
	go func() {
		for first := 0; first < many; first += 100 {
			var frame bytes.Buffer
			for i := first; i < first+100; i++ {
				fmt.Fprintf(&frame, `{"id":%d,"subscribe":{"channel":"room:%d"}}`+"\n", 10+i, i)
			}
			if w.send(websocket.MessageText, frame.Bytes()) != nil {
				return // thrown out
			}
		}
	}()
	answered, subscribed := 0, 0
	for answered < many {
		replies, end := w.read()
		if end != nil {
			if !end.complete() {
				t.Errorf("thrown out after %d subscribes with %v", answered, end)
			}
			break
		}
		for _, one := range replies {
			switch {
			case one.Error != nil && (one.Error.Code == 0 || one.Error.Message == ""):
				t.Errorf("a subscribe was answered with %v", one.Error)
			case one.Subscribe != nil:
				subscribed++
			}
			if one.ID >= 10 {
				answered++
			}
		}
	}
	if subscribed > 128 {
		t.Errorf("%d subscriptions on one connection", subscribed)
	}
	t.Logf("%d of %d subscribes were answered, %d were granted", answered, many, subscribed)
}

// slowReaders: they subscribe and read nothing, while 40 MB are published for each.
func slowReaders(t *testing.T, n *node, pool *pgxpool.Pool) {
	var slow []*wire
	for range 8 {
		w := mustDial(t, n, 5)
		w.login(t, token(t, "mallory"))
		w.follow(t, "room:flood")
		slow = append(slow, w)
	}
	for range 80 {
		run(t, pool, "SELECT trunkline.publish('room:flood', to_json(repeat('x', 512 * 1024)))")
	}
	// None of it is read before the server has given them all up: on a slow machine they would keep up with it.
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var left int
		if err := pool.QueryRow(t.Context(), "SELECT coalesce(sum(clients), 0) FROM trunkline.count_present('{room:flood}')").Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d of %d slow readers still follow", left, len(slow))
			break
		}
	}
	for _, w := range slow {
		bytes := 0
		for {
			ctx, cancel := w.one()
			_, frame, err := w.conn.Read(ctx)
			cancel()
			if err != nil {
				var closed websocket.CloseError
				if errors.As(err, &closed) && closed.Reason == "" {
					t.Errorf("a slow reader was thrown out with %v", closed)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a slow reader that has got %d bytes is still there", bytes)
				}
				break
			}
			if bytes += len(frame); bytes > 80*512<<10 {
				t.Error("a slow reader got it all: it was not slow, or the server keeps too much")
				break
			}
		}
	}
}

// halfOpen: connections that begin something and never go on.
func halfOpen(t *testing.T, n *node, _ *pgxpool.Pool) {
	var waiting sync.WaitGroup
	var stay sync.Map // what → how many
	ends := func(what string, conn net.Conn) {
		waiting.Go(func() {
			defer conn.Close() //nolint:errcheck // done with it
			_ = conn.SetReadDeadline(time.Now().Add(halfOpenLimit))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				count, _ := stay.LoadOrStore(what, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
		})
	}
	for what, begun := range map[string]string{
		"half a header":                 upgrade[:60],
		"a WebSocket that says nothing": upgrade,
		"half a frame":                  upgrade + "\x81\xfe\x7f\xff\x01",
		"half a body":                   "POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"half a body of a stream":       "POST /connection/http_stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{",
	} {
		for range 40 {
			conn, err := dialer(6).Dial("tcp", n.address())
			if err != nil {
				t.Fatal(err)
			}
			rest, webSocket := strings.CutPrefix(begun, upgrade)
			if webSocket {
				handshake(t, conn)
			}
			if _, err := io.WriteString(conn, rest); err != nil {
				t.Fatal(err)
			}
			ends(what, conn)
		}
	}
	waiting.Wait()
	stay.Range(func(what, count any) bool {
		t.Errorf("%d connections with %s are still open after %v", count.(*atomic.Int64).Load(), what, halfOpenLimit)
		return true
	})
}

// badTokens: 1,000 connections per second for two seconds, none with a good token.
func badTokens(t *testing.T, n *node, _ *pgxpool.Pool) {
	const rate, seconds = 1000, 2
	forged := token(t, "admin")
	forged = forged[:len(forged)-4] + "AAAA"
	var kinds sync.Map // code → how often
	work := make(chan int)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for range work {
				w, refused := dial(t, n, 7)
				if refused == nil {
					_ = w.send(websocket.MessageText, fmt.Appendf(nil, `{"id":1,"connect":{"token":%q}}`, forged))
					refused = w.refused()
					_ = w.conn.CloseNow()
				}
				if !refused.complete() {
					t.Errorf("a bad token was refused with %v", refused)
				}
				count, _ := kinds.LoadOrStore(refused.code, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
			}
		})
	}
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range rate * seconds {
		if i == rate {
			// Whoever comes from elsewhere with a good one is let in at once.
			mustDial(t, n, 8).login(t, token(t, "honest"))
		}
		<-tick.C
		work <- i
	}
	close(work)
	workers.Wait()
	kinds.Range(func(code, count any) bool {
		t.Logf("%d were refused with %d", count.(*atomic.Int64).Load(), code)
		return true
	})
}
