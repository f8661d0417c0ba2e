package main

import (
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
)

func TestListenGoesOnInANewEpoch(t *testing.T) {
	s, conn := database(t)
	startServer(t, s)
	succeed(t, s, "publish", "news", `"old"`)
	start(t, s, "listen", "news", "--from", "beginning", "--count", "1").wait(t)
	now := start(t, s, "listen", "news", "--count", "2")
	all := start(t, s, "listen", "news", "--from", "beginning", "--count", "3")
	now.err.line(t, "listening")
	all.out.line(t, `"old"`)
	succeed(t, s, "publish", "news", `"before"`)
	now.out.line(t, `"before"`)
	all.out.line(t, `"before"`)
	execute(t, conn, "SELECT trunkline.new_epoch()")
	succeed(t, s, "publish", "news", `"after"`)
	for _, listener := range []*command{now, all} {
		listener.err.line(t, "began a new epoch")
		listener.out.line(t, `"after"`)
		if code := listener.wait(t); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}
	if got := strings.Count(now.out.String(), "\n"); got != 2 || strings.Contains(now.out.String(), `"old"`) {
		t.Errorf("from now it printed\n%s", now.out)
	}
	if got := strings.Count(all.out.String(), "\n"); got != 3 {
		t.Errorf("from the beginning it printed\n%s", all.out)
	}
}

func TestIDsAreRemembered(t *testing.T) {
	var s idSet
	for id := int64(1); id <= 64*idBlocks+1; id++ {
		s.add(id)
	}
	s.add(1 << 40)
	for _, id := range []int64{1, 64, 64 * idBlocks, 1 << 40} {
		if !s.has(id) {
			t.Errorf("%d is forgotten", id)
		}
	}
	for _, id := range []int64{0, 64*idBlocks + 2, 1<<40 + 1} {
		if s.has(id) {
			t.Errorf("%d was never added", id)
		}
	}
}

func TestPayloadsArePrintedAsTheyAre(t *testing.T) {
	out := newOutput()
	a := &app{stdout: out}
	m := trunkline.Message{Channel: "news", Epoch: "e", Seq: 1, Position: 1, ID: 1, Payload: []byte("{ \"a\" :\r\n[1,  2] , \"<\":1.0}")}
	if err := a.printMessageJSON(&m); err != nil || !strings.HasSuffix(out.String(), `"payload":{ "a" :  [1,  2] , "<":1.0}}`+"\n") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheDateIsShownUnlessItIsToday(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 30, 0, 0, time.Local)
	if layoutOf(now.Add(-time.Hour), now) != dateTimeLayout || layoutOf(now.Add(-time.Minute), now) != timeLayout {
		t.Error("yesterday and today")
	}
}
