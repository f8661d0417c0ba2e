package trunkline

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestParseSignal(t *testing.T) {
	t.Parallel()
	m, err := parseSignal("1700000000123456\nproject:42\nann\n{\"typing\":\n true}")
	if err != nil {
		t.Fatal(err)
	}
	if m.Channel != "project:42" || m.Sender != "ann" || string(m.Payload) != "{\"typing\":\n true}" || !m.Signal ||
		!m.CreatedAt.Equal(time.UnixMicro(1700000000123456)) || m.Seq != 0 || m.Position != 0 || m.size != 17 {
		t.Errorf("%+v", m)
	}
	if m, err := parseSignal("1\nc\n\n1"); err != nil || m.Sender != "" {
		t.Errorf("without a sender: %+v, %v", m, err)
	}
	for _, bad := range []string{"", "1", "1\nc\ns", "x\nc\ns\n1", "1\n\ns\n1", "1\nc\ns\n", "1\nc\ns\nnot JSON", "1\n" + strings.Repeat("c", 256) + "\ns\n1"} {
		if m, err := parseSignal(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, m)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, seed := range []string{"1700000000123456\nproject:42\nann\n{\"typing\": true}", "1\nc\n\nnull", "", "\n\n\n", "-9223372036854775808\nc\ns\n1", "1\nc\ns\n\xff", "1\nc\x00\ns\n1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, envelope string) {
		m, err := parseSignal(envelope)
		if err != nil {
			return
		}
		if CheckChannel(m.Channel) != nil || !json.Valid(m.Payload) || !m.Signal || !strings.HasSuffix(envelope, string(m.Payload)) {
			t.Fatalf("%q is read as %+v", envelope, m)
		}
	})
}
