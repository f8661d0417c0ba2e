package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestDecodePublishKeepsPayloadsByteForByte(t *testing.T) {
	for _, payload := range []string{
		`{"a": 1.00 ,"a":"ü<A>"}`, `1e999`, `123456789012345678901234567890`, "[\n1 ,\t2]", `"\u0000\/"`, `null`, `{}`, `-0.0`, "{\r\n\"x\"\r\n:\r\n1}",
	} {
		q, err := decodePublish([]byte(` {"key" : "k","payload": ` + payload + ` , "channel":"a", "sender":"s"} `))
		if err != nil {
			t.Errorf("%s: %v", payload, err)
			continue
		}
		if len(q.list) != 1 || q.many || string(q.list[0].payload) != payload || q.list[0].channel != "a" || q.list[0].sender != "s" || q.list[0].key != "k" {
			t.Errorf("%s becomes %+v", payload, q)
		}
		q, err = decodePublish([]byte(`{"messages":[{"channel":"a","payload":` + payload + `},{"channel":"b","payload":2}]}`))
		if err != nil || len(q.list) != 2 || !q.many || string(q.list[0].payload) != payload || q.list[1].channel != "b" {
			t.Errorf("in a batch %s becomes %+v, %v", payload, q, err)
		}
	}
}

func TestDecodePublishSaysWhatIsWrong(t *testing.T) {
	many := `{"messages":[` + strings.Repeat(`{"channel":"a","payload":1},`, maxBatch) + `{"channel":"a","payload":1}]}`
	for _, test := range []struct{ body, says string }{
		{``, "ends too soon"},
		{`{`, "ends too soon"},
		{`{"channel":"a","payload":`, "ends too soon"},
		{`[]`, "no JSON object"},
		{`"x"`, "no JSON object"},
		{`{"channel":"a","payload":1}{}`, "something follows"},
		{`{"channel":"a","payload":1} x`, "something follows"},
		{`{"channel":"a"}`, "no payload"},
		{`{"payload":1}`, "no channel"},
		{`{"channel":7,"payload":1}`, "channel is no text"},
		{`{"Channel":"a","payload":1}`, `no field "Channel"`},
		{`{"channel":"a","payload":1,"payload":2}`, `"payload" twice`},
		{`{"channel":"a","payload":01}`, "no JSON"},
		{`{"channel":"a","payload":{"x":}}`, "no JSON"},
		{`{"messages":[]}`, "empty"},
		{`{"messages":{}}`, "no array"},
		{`{"messages":[1]}`, "message 0 is no JSON object"},
		{`{"messages":[{"channel":"a","payload":1},{"channel":"a"}]}`, "message 1 has no payload"},
		{`{"messages":[{"channel":"a","payload":1}],"channel":"a"}`, "one or the other"},
		{many, "more than 1000"},
		{`{"channel":"a","payload":` + strings.Repeat("[", 20_000), "no JSON"},
	} {
		_, err := decodePublish([]byte(test.body))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.80s: %v, want it to say %q", test.body, err, test.says)
		}
	}
}

func FuzzRESTPublish(f *testing.F) {
	f.Add([]byte(`{"channel":"a","payload":{"a": 1.00,"a":2},"sender":"s","key":"k"}`))
	f.Add([]byte(`{"messages":[{"channel":"a","payload":1e999},{"channel":"\u00fc","payload":null}]}`))
	f.Add([]byte(`{"messages":[{"channel":"a"}]} x`))
	f.Add([]byte("{\"channel\":\"\xff\",\"payload\":\"\xff\"}"))
	f.Add(bytes.Repeat([]byte("6"), 3000)) // too large a number to be one
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		q, err := decodePublish(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body has changed")
		}
		if err != nil {
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if !json.Valid(body) {
			t.Fatal("what is no JSON is taken")
		}
		if len(q.list) == 0 || len(q.list) > maxBatch {
			t.Fatalf("%d messages", len(q.list))
		}
		at := 0
		for i, p := range q.list {
			if p.channel == "" || !json.Valid(p.payload) {
				t.Errorf("message %d: %q with %q", i, p.channel, p.payload)
			}
			// Each payload is a piece of the body, in the body's order.
			found := bytes.Index(body[at:], p.payload)
			if found < 0 {
				t.Fatalf("payload %d isn't what was sent: %s", i, p.payload)
			}
			at += found
		}
		// encoding/json, laxer, reads no less.
		var lax struct {
			Messages []json.RawMessage
			Payload  json.RawMessage
		}
		if err := json.Unmarshal(body, &lax); err != nil {
			t.Fatal(fmt.Errorf("encoding/json doesn't read it: %w", err))
		}
		if q.many && len(lax.Messages) != len(q.list) || !q.many && !bytes.Equal(lax.Payload, q.list[0].payload) {
			t.Errorf("encoding/json reads %d messages, or %s; want %d, or %s", len(lax.Messages), lax.Payload, len(q.list), q.list[0].payload)
		}
	})
}
