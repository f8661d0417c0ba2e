package bench

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

func serverFrame(head byte, payload string) []byte {
	frame := []byte{head}
	switch {
	case len(payload) < 126:
		frame = append(frame, byte(len(payload)))
	case len(payload) < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(len(payload)))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(len(payload)))
	}
	return append(frame, payload...)
}

func testCrowd(t *testing.T) (*crowd, *member) {
	t.Helper()
	c, err := newCrowd(newMembers(1), false, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c, c.members[0]
}

func push(n int) string {
	return fmt.Sprintf(`{"push":{"channel":"c","pub":{"data":%s,"offset":%d}}}`, numbered(n), n+1)
}

func TestMemberCountsMessagesHoweverTheyAreCut(t *testing.T) {
	recovered := `{"id":2,"subscribe":{"recoverable":true,"epoch":"e.1","publications":[{"data":{"n":0,"text":"` +
		strings.Repeat("x", 66_000) + `"},"offset":41},{"data":{"n":1},"offset":42}],"recovered":true,"offset":42,"positioned":true}}`
	var stream []byte
	stream = append(stream, serverFrame(final|opText, `{"id":1,"connect":{"client":"x","ping":25,"pong":true}}`)...)
	stream = append(stream, serverFrame(final|opText, recovered)...)
	stream = append(stream, serverFrame(final|opPing, "")...)
	stream = append(stream, serverFrame(final|opText, push(2)+"\n{}\n"+push(3))...)
	stream = append(stream, serverFrame(opText, push(4)[:20])...)
	stream = append(stream, serverFrame(final|opContinuation, push(4)[20:])...)
	for _, size := range []int{29, 100, 5000, len(stream)} {
		c, m := testCrowd(t)
		pongs := 0
		m.send = func([]byte) { pongs++ }
		for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if err := m.feed(c, rest[:min(size, len(rest))], time.Now()); err != nil {
				t.Fatalf("cut into %d bytes: %v", size, err)
			}
		}
		if m.replies != 2 || m.epoch != "e.1" || m.offset != 42 || !m.resumed || pongs != 2 {
			t.Errorf("cut into %d bytes: %d replies, at %s %d, resumed %v, %d pongs", size, m.replies, m.epoch, m.offset, m.resumed, pongs)
		}
		if err := c.verify(5); err != nil || c.arrived.Load() != 5 || len(c.arrivals) != 5 {
			t.Errorf("cut into %d bytes: %v, %d counted and %d timed", size, err, c.arrived.Load(), len(c.arrivals))
		}
	}
}

func TestCrowdSeesWhatIsLostAndDoubled(t *testing.T) {
	for name, numbers := range map[string][]int{
		"1 deliveries are missing and 0":  {0, 1, 3},
		"0 deliveries are missing and 1 ": {0, 1, 2, 3, 1},
		"1 deliveries are missing and 2 ": {0, 2, 2, 3, 3},
	} {
		c, m := testCrowd(t)
		for _, n := range numbers {
			if err := m.feed(c, serverFrame(final|opText, push(n)), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.verify(4); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v of 4: %v", numbers, err)
		}
	}
}

func TestMemberRefusesWhatIsNoMessage(t *testing.T) {
	for frame, want := range map[string]string{
		string(serverFrame(final|opClose, "\x0b\xb8slow")):                                               "slow",
		string(serverFrame(final|opText, `{"id":2,"error":{"code":103,"message":"permission denied"}}`)): "permission denied",
		string(serverFrame(final|opText, `{"push":{"channel":"c","unsubscribe":{"code":2500}}}`)):        "2500",
		string(serverFrame(final|opText, `{"n":99999999999999999999}`)):                                  "never published",
	} {
		c, m := testCrowd(t)
		if err := m.feed(c, []byte(frame), time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", frame, err, want)
		}
	}
}

func TestPublishersWaitForTheSlowest(t *testing.T) {
	c, err := newCrowd(newMembers(2), false, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, m := range c.members {
		if len(c.ahead) != 0 {
			t.Fatalf("a publisher may go on when %d of 2 clients have the message", i)
		}
		if err := m.feed(c, serverFrame(final|opText, push(0)), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.ahead) != 1 {
		t.Error("no publisher may go on, though both clients have the message")
	}
}
