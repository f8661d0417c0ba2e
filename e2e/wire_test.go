package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// dialer makes connections from an address of this machine, counted from 2: the server takes each for another peer.
func dialer(peer int) *net.Dialer {
	d := &net.Dialer{Timeout: patience}
	if runtime.GOOS == "linux" { // where all of 127.0.0.0/8 is ours
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(peer))}
	}
	return d
}

// wire is a WebSocket connection without any SDK.
type wire struct {
	conn     *websocket.Conn
	patience time.Duration // with each frame; 0: it is waited for until the connection ends
}

// dial connects. A refusal before the protocol begins is returned as its status and text.
func dial(t testing.TB, n *node, peer int) (*wire, *refusal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, "ws://"+n.address()+"/connection/websocket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dialer(peer).DialContext, DisableKeepAlives: true}},
	})
	if err != nil {
		r := &refusal{err: err}
		if response != nil {
			text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
			r.code, r.reason = response.StatusCode, strings.TrimSpace(string(text))
		}
		return nil, r
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &wire{conn: conn, patience: patience}, nil
}

// refusal is how the server says no: an HTTP status, an error in a reply, or the code the connection is closed with.
type refusal struct {
	code   int
	reason string
	err    error
}

// complete tells whether the one who was refused knows why.
func (r *refusal) complete() bool { return r != nil && r.code != 0 && r.reason != "" }

func (r *refusal) String() string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("code %d, reason %q (%v)", r.code, r.reason, r.err)
}

// reply is what the server sends, as far as it matters here.
type reply struct {
	ID    int      `json:"id"`
	Error *failure `json:"error"`
	Push  *struct {
		Channel string `json:"channel"`
		Pub     *struct {
			Data   json.RawMessage `json:"data"`
			Offset int64           `json:"offset"`
		} `json:"pub"`
	} `json:"push"`
	Connect   json.RawMessage `json:"connect"`
	Subscribe json.RawMessage `json:"subscribe"`
}

// one is the time that a frame may take.
func (w *wire) one() (context.Context, context.CancelFunc) {
	if w.patience == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), w.patience)
}

func (w *wire) send(kind websocket.MessageType, frame []byte) error {
	ctx, cancel := w.one()
	defer cancel()
	return w.conn.Write(ctx, kind, frame)
}

// read returns what a frame holds. The end of the connection is a refusal.
func (w *wire) read() ([]reply, *refusal) {
	ctx, cancel := w.one()
	defer cancel()
	_, frame, err := w.conn.Read(ctx)
	if err != nil {
		r := &refusal{err: err}
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			r.code, r.reason = int(closed.Code), closed.Reason
		}
		return nil, r
	}
	var replies []reply
	for line := range bytes.Lines(frame) {
		var one reply
		if err := json.Unmarshal(line, &one); err != nil {
			return nil, &refusal{err: fmt.Errorf("%s: %w", line, err)}
		}
		replies = append(replies, one)
	}
	return replies, nil
}

// refused reads until the server says no.
func (w *wire) refused() *refusal {
	for {
		replies, end := w.read()
		if end != nil {
			return end
		}
		for _, one := range replies {
			if one.Error != nil {
				return &refusal{code: one.Error.Code, reason: one.Error.Message}
			}
		}
	}
}

// login connects with a token, and waits for the answer.
func (w *wire) login(t testing.TB, token string) {
	t.Helper()
	if err := w.send(websocket.MessageText, fmt.Appendf(nil, `{"id":1,"connect":{"token":%q}}`, token)); err != nil {
		t.Fatal(err)
	}
	for {
		replies, end := w.read()
		if end != nil {
			t.Fatalf("refused a good token: %v", end)
		}
		for _, one := range replies {
			if one.ID == 1 && one.Connect != nil {
				return
			}
			if one.Error != nil {
				t.Fatalf("refused a good token: %v", one.Error)
			}
		}
	}
}

func mustDial(t testing.TB, n *node, peer int) *wire {
	t.Helper()
	w, refused := dial(t, n, peer)
	if refused != nil {
		t.Fatalf("refused: %v", refused)
	}
	return w
}

// follow subscribes after login, and waits until that is granted.
func (w *wire) follow(t *testing.T, channel string) {
	t.Helper()
	if err := w.send(websocket.MessageText, []byte(`{"id":2,"subscribe":{"channel":"`+channel+`"}}`)); err != nil {
		t.Fatal(err)
	}
	for subscribed := false; !subscribed; {
		replies, end := w.read()
		if end != nil {
			t.Fatal(end)
		}
		subscribed = slices.ContainsFunc(replies, func(one reply) bool { return one.ID == 2 && one.Error == nil })
	}
}
