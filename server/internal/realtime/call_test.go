package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestClientsPublishInOrder(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}))
	c := connect(t, front.websocket(), "ann")
	f := c.follow("room:1")
	f.ready()
	sub, err := engine.Subscribe(testContext(t), []string{"room:1"}, trunkline.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var replies sync.WaitGroup
	for _, text := range numbers(1, 100) {
		started := make(chan struct{})
		replies.Go(func() {
			close(started)
			if _, err := c.Publish(testContext(t), "room:1", []byte(text)); err != nil {
				t.Error(err)
			}
		})
		<-started
	}
	replies.Wait()
	for range 100 {
		m, err := sub.Next(testContext(t))
		if err != nil || m.Sender != "ann" {
			t.Fatalf("%+v: %v", m, err)
		}
		f.want(string(m.Payload))
	}
	if _, err := c.Publish(testContext(t), "room:1", []byte(`"`+strings.Repeat("x", 1<<20+100)+`"`)); code(err) != 107 || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("too large: %v", err)
	}
	if _, err := connect(t, front.websocket(), "bob").Publish(testContext(t), "trunkline:control", []byte(`1`)); code(err) != 107 {
		t.Errorf("to Trunkline's own channel: %v", err)
	}
}

func TestPublishRates(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	node := startNode(t, engine, &doorman{}, func(c *Config) { c.Limits.PublishRate = 0.1 })
	// What is used up stays so however long this takes.
	now := time.Now()
	node.rates.now = func() time.Time { return now }
	front := startFront(t, node)
	exec(t, engine, "INSERT INTO trunkline.namespace (name, publish_rate) VALUES ('fast', 1000)")
	eventually(t, "the namespace is known", func() bool { return engine.Namespace("fast:1").PublishRate == 1000 })
	one, other, bob := connect(t, front.websocket(), "ann"), connect(t, front.websocket(), "ann"), connect(t, front.websocket(), "bob")
	try := func(c *client, channel string) error {
		_, err := c.Publish(testContext(t), channel, []byte(`1`))
		return err
	}
	if err := try(one, "slow:1"); err != nil {
		t.Fatal(err)
	}
	if err := try(other, "slow:2"); code(err) != 111 {
		t.Errorf("the user's second: %v", err)
	}
	if err := try(bob, "slow:1"); err != nil {
		t.Errorf("another user's: %v", err)
	}
	for range 20 {
		if err := try(one, "fast:1"); err != nil {
			t.Fatalf("where the namespace allows more: %v", err)
		}
	}
	if n := refusals(t, node, reasonPublish); n != 1 {
		t.Errorf("%v refusals are counted", n)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}, func(c *Config) { c.Limits.HistoryMessages = 10 }))
	publish(t, engine, "room:1", numbers(1, 20)...)
	f := connect(t, front.websocket(), "ann").follow("room:1")
	f.ready()
	sequenced(t, engine, "room:1", 20)
	epoch := engine.State().Log.Epoch
	since := func(offset uint64, epoch string) sdk.HistoryOption {
		return sdk.WithHistorySince(&sdk.StreamPosition{Offset: offset, Epoch: epoch})
	}
	for name, test := range map[string]struct {
		options []sdk.HistoryOption
		want    []string
		code    uint32
	}{
		"position only":       {nil, nil, 0},
		"three":               {[]sdk.HistoryOption{sdk.WithHistoryLimit(3)}, numbers(1, 3), 0},
		"all that it may":     {[]sdk.HistoryOption{sdk.WithHistoryLimit(-1)}, numbers(1, 10), 0},
		"more than it may":    {[]sdk.HistoryOption{sdk.WithHistoryLimit(100)}, numbers(1, 10), 0},
		"since":               {[]sdk.HistoryOption{sdk.WithHistoryLimit(100), since(15, epoch)}, numbers(16, 20), 0},
		"since, any epoch":    {[]sdk.HistoryOption{sdk.WithHistoryLimit(100), since(15, "")}, numbers(16, 20), 0},
		"since the end":       {[]sdk.HistoryOption{sdk.WithHistoryLimit(100), since(20, epoch)}, nil, 0},
		"beyond the end":      {[]sdk.HistoryOption{sdk.WithHistoryLimit(100), since(22, epoch)}, nil, 112},
		"another epoch":       {[]sdk.HistoryOption{sdk.WithHistoryLimit(100), since(15, "another")}, nil, 112},
		"reverse":             {[]sdk.HistoryOption{sdk.WithHistoryLimit(2), sdk.WithHistoryReverse(true)}, []string{`{"n":20}`, `{"n":19}`}, 0},
		"reverse since":       {[]sdk.HistoryOption{sdk.WithHistoryLimit(2), sdk.WithHistoryReverse(true), since(3, epoch)}, []string{`{"n":2}`, `{"n":1}`}, 0},
		"reverse since 0":     {[]sdk.HistoryOption{sdk.WithHistoryLimit(2), sdk.WithHistoryReverse(true), since(0, epoch)}, nil, 107},
		"an absurd position":  {[]sdk.HistoryOption{sdk.WithHistoryLimit(2), since(1<<64-1, epoch)}, nil, 112},
		"reverse, more, deep": {[]sdk.HistoryOption{sdk.WithHistoryLimit(100), sdk.WithHistoryReverse(true), since(2, epoch)}, numbers(1, 1), 0},
	} {
		h, err := f.History(testContext(t), test.options...)
		if code(err) != test.code || (test.code == 0 && err != nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := make([]string, 0, len(h.Publications))
		for _, p := range h.Publications {
			got = append(got, string(p.Data))
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) || (test.code == 0 && (h.Offset != 20 || h.Epoch != epoch)) {
			t.Errorf("%s: %v at %d of %s", name, got, h.Offset, h.Epoch)
		}
	}
	if h, err := connect(t, front.websocket(), "bob").History(testContext(t), "never:used"); err != nil || h.Epoch != epoch || h.Offset != 0 {
		t.Errorf("a channel never used: %+v, %v", h, err)
	}
}

func TestRPC(t *testing.T) {
	t.Parallel()
	engine := startEngine(t, pgtest.Database(t))
	front := startFront(t, startNode(t, engine, &doorman{}, func(c *Config) {
		c.RPC = func(_ context.Context, r RPCRequest) (json.RawMessage, error) {
			switch r.Method {
			case "who":
				return json.RawMessage(fmt.Sprintf("{\"user\": %q,\n\"data\": %s, \"known\": %t}", r.User, r.Data, r.ClientID != "")), nil
			case "told":
				return nil, &RPCError{Code: 404, Message: "no such task"}
			case "panic":
				panic("oh")
			}
			return nil, errors.New("a secret of the program's")
		}
	}))
	c := connect(t, front.websocket(), "ann")
	result, err := c.RPC(testContext(t), "who", []byte(`[1]`))
	if err != nil || string(result.Data) != `{"user": "ann", "data": [1], "known": true}` {
		t.Errorf("%s, %v", result.Data, err)
	}
	for method, want := range map[string]uint32{"told": 404, "panic": 100, "other": 100} {
		if _, err := c.RPC(testContext(t), method, []byte(`1`)); code(err) != want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", method, err)
		}
	}
	without := startFront(t, startNode(t, engine, &doorman{}))
	if _, err := connect(t, without.websocket(), "ann").RPC(testContext(t), "who", []byte(`1`)); code(err) != 104 {
		t.Errorf("without a hook: %v", err)
	}
}
