package server

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
)

func FuzzStreamRequest(f *testing.F) {
	f.Add("channel=a&channel=b&since=1f0c6a9b2e44:17", "")
	f.Add("channel=project%3A42&from=beginning", "1f0c6a9b2e44:17")
	f.Add("channel=a&token=eyJhbGciOiJIUzI1NiJ9.e30.x", "")
	f.Add("channel=%ff;x=1", "\x00:1")
	f.Fuzz(func(t *testing.T, query, header string) {
		q, err := parseStreamRequest(query, header)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(q.channels) == 0 || len(q.channels) > maxChannels {
			t.Errorf("%d channels", len(q.channels))
		}
		if slices.ContainsFunc(q.channels, func(c string) bool { return trunkline.CheckChannel(c) != nil }) {
			t.Errorf("channels %q", q.channels)
		}
		if !slices.IsSorted(q.channels) || len(slices.Compact(slices.Clone(q.channels))) != len(q.channels) {
			t.Errorf("channels %q are not each there once", q.channels)
		}
		if header != "" && q.since.String() != canonical(header) {
			t.Errorf("header %q gives %s", header, q.since)
		}
		if q.since.Position < 0 || (!q.since.IsZero() && q.since.Epoch == "") {
			t.Errorf("since %+v", q.since)
		}
		if q.whole && !q.since.IsZero() {
			t.Error("it begins at the beginning and at a position")
		}
	})
}

func canonical(position string) string {
	p, err := trunkline.ParsePosition(position)
	if err != nil {
		return "none"
	}
	return p.String()
}

// FuzzChannel sends what a client calls a channel through everything that a channel is written into.
func FuzzChannel(f *testing.F) {
	for _, seed := range []string{"project:42", "a\nb", "ü<&>\u2028", "\"quoted\"", "\xff", strings.Repeat("x", 256), "a b+c%zz?&=#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, channel string) {
		q, err := parseStreamRequest(channels(channel), "")
		if (err == nil) != (trunkline.CheckChannel(channel) == nil) {
			t.Fatalf("channel %q: %v", channel, err)
		}
		if err != nil {
			return
		}
		if len(q.channels) != 1 || q.channels[0] != channel {
			t.Errorf("channel %q is read as %q", channel, q.channels)
		}
		m := &trunkline.Message{ID: 1, Channel: channel, Epoch: "1f0c6a9b2e44", Seq: 1, Position: 1, Payload: []byte("1"), CreatedAt: time.Now()}
		written := string(appendEvent(nil, m, m.LogPosition()))
		if strings.Count(written, "\n") != 4 || strings.Contains(written, "\r") || !strings.HasSuffix(written, "\n\n") {
			t.Errorf("channel %q breaks the lines: %q", channel, written)
		}
		var e event
		if err := json.Unmarshal([]byte(strings.TrimPrefix(strings.Split(written, "\n")[2], "data: ")), &e); err != nil || e.Channel != channel {
			t.Errorf("channel %q is written as %q: %v", channel, e.Channel, err)
		}
		in := &historyInput{Channel: channel, Limit: 1}
		next, _ := historyLinks(in, &trunkline.HistoryPage{Messages: []trunkline.Message{{Seq: 1}}, LastSeq: 2})
		if u, err := url.Parse(next); err != nil || u.Query().Get("channel") != channel || strings.ContainsAny(next, "<> \n") {
			t.Errorf("channel %q becomes the link %q: %v", channel, next, err)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	m := &trunkline.Message{ID: 1, Channel: "project:42", Epoch: "1f0c6a9b2e44", Seq: 1, Position: 1, Payload: []byte(strings.Repeat(" ", 200)), CreatedAt: time.Now()}
	var buffer []byte
	for b.Loop() {
		buffer = appendEvent(buffer[:0], m, m.LogPosition())
	}
}
