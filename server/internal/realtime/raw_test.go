package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/coder/websocket"
)

// A rawClient speaks the protocol by itself, for what no SDK would do.
type rawClient struct {
	t       testing.TB
	conn    *websocket.Conn
	waiting [][]byte
	id      int
}

// A rawReply is what the server sends: an answer to a command, or a push.
type rawReply struct {
	ID    int `json:"id"`
	Error *struct {
		Code      int    `json:"code"`
		Message   string `json:"message"`
		Temporary bool   `json:"temporary"`
	} `json:"error"`
	Subscribe *struct {
		Recoverable   bool              `json:"recoverable"`
		Positioned    bool              `json:"positioned"`
		Recovered     bool              `json:"recovered"`
		WasRecovering bool              `json:"was_recovering"`
		Epoch         string            `json:"epoch"`
		Offset        uint64            `json:"offset"`
		Publications  []json.RawMessage `json:"publications"`
	} `json:"subscribe"`
	Push *struct {
		Channel string `json:"channel"`
		Pub     *struct {
			Offset uint64          `json:"offset"`
			Data   json.RawMessage `json:"data"`
		} `json:"pub"`
		Unsubscribe *struct {
			Code   int    `json:"code"`
			Reason string `json:"reason"`
		} `json:"unsubscribe"`
	} `json:"push"`
}

func dial(t testing.TB, url string) *rawClient {
	t.Helper()
	conn, response, err := websocket.Dial(testContext(t), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &rawClient{t: t, conn: conn}
}

// send sends a command, as {"id":…,"<method>":<parameters>}.
func (c *rawClient) send(method, parameters string) int {
	c.t.Helper()
	c.id++
	c.write(fmt.Sprintf(`{"id":%d,%q:%s}`, c.id, method, parameters))
	return c.id
}

func (c *rawClient) write(text string) {
	c.t.Helper()
	if err := c.conn.Write(testContext(c.t), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// call sends a command and returns its answer, leaving out what else comes.
func (c *rawClient) call(method, parameters string) rawReply {
	c.t.Helper()
	id := c.send(method, parameters)
	for {
		if reply := c.next(); reply.ID == id {
			return reply
		}
	}
}

func (c *rawClient) connect(token string) {
	c.t.Helper()
	if reply := c.call("connect", fmt.Sprintf(`{"token":%q}`, token)); reply.Error != nil {
		c.t.Fatalf("connect: %+v", reply.Error)
	}
}

func (c *rawClient) next() rawReply {
	c.t.Helper()
	reply, err := c.read(testContext(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	return reply
}

// closed reads until the server closes the connection, and returns how.
func (c *rawClient) closed() websocket.CloseError {
	c.t.Helper()
	for {
		if _, err := c.read(testContext(c.t)); err != nil {
			var closed websocket.CloseError
			if !errors.As(err, &closed) {
				c.t.Fatalf("the connection ended without a reason: %v", err)
			}
			return closed
		}
	}
}

func (c *rawClient) read(ctx context.Context) (rawReply, error) {
	for len(c.waiting) == 0 {
		_, frame, err := c.conn.Read(ctx)
		if err != nil {
			return rawReply{}, err
		}
		if bytes.Equal(frame, []byte(`{}`)) {
			if err := c.conn.Write(ctx, websocket.MessageText, frame); err != nil { // a pong
				return rawReply{}, err
			}
			continue
		}
		c.waiting = bytes.Split(bytes.TrimSpace(frame), []byte("\n"))
	}
	var reply rawReply
	if err := json.Unmarshal(c.waiting[0], &reply); err != nil {
		return rawReply{}, fmt.Errorf("reply %q: %w", c.waiting[0], err)
	}
	c.waiting = c.waiting[1:]
	return reply, nil
}
