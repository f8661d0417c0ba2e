package trunkline

import (
	"strconv"
	"strings"
	"testing"
)

func TestPositionsAndOffsets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text   string
		epoch  string
		number int64
		ok     bool
	}{
		{"1f0c6a9b2e44:17", "1f0c6a9b2e44", 17, true},
		{"e:0", "e", 0, true},
		{"e:9223372036854775807", "e", 9223372036854775807, true},
		{"e:9223372036854775808", "", 0, false},
		{"e:-1", "", 0, false},
		{"e:+1", "", 0, false},
		{"e: 1", "", 0, false},
		{"e:1 ", "", 0, false},
		{"e:", "", 0, false},
		{":1", "", 0, false},
		{"17", "", 0, false},
		{"", "", 0, false},
		{"e:1:2", "", 0, false},
		{"e:0x10", "", 0, false},
		{"e:1_0", "", 0, false},
		{strings.Repeat("e", 64) + ":1", strings.Repeat("e", 64), 1, true},
		{strings.Repeat("e", 65) + ":1", "", 0, false},
	} {
		p, err := ParsePosition(test.text)
		if (err == nil) != test.ok || p != (Position{Epoch: test.epoch, Position: test.number}) {
			t.Errorf("ParsePosition(%q) = %+v, %v", test.text, p, err)
		}
		o, err := ParseOffset(test.text)
		if (err == nil) != test.ok || o != (Offset{Epoch: test.epoch, Seq: test.number}) {
			t.Errorf("ParseOffset(%q) = %+v, %v", test.text, o, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "EPOCH:SEQ") || len(err.Error()) > 300) {
			t.Errorf("the error for %q: %v", test.text, err)
		}
	}
	if !(Position{}).IsZero() || (Position{Epoch: "e"}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

var positionSeeds = []string{"1f0c6a9b2e44:17", "e:0", "e:-1", ":1", "17", "", "e:1:2", "e:+1", "e:-0", "e:007", "é:1", "e:\x00", strings.Repeat("x", 200) + ":1", "\n:1"}

func FuzzParsePosition(f *testing.F) {
	for _, seed := range positionSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text)
		if err != nil {
			if !p.IsZero() {
				t.Fatalf("an error with %+v", p)
			}
			return
		}
		wantRoundTrip(t, text, p.Epoch, p.Position)
		if again, err := ParsePosition(p.String()); err != nil || again != p {
			t.Fatalf("%+v is written %q and read %+v, %v", p, p, again, err)
		}
	})
}

func FuzzParseOffset(f *testing.F) {
	for _, seed := range positionSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOffset(text)
		if err != nil {
			if o != (Offset{}) {
				t.Fatalf("an error with %+v", o)
			}
			return
		}
		wantRoundTrip(t, text, o.Epoch, o.Seq)
		if again, err := ParseOffset(o.String()); err != nil || again != o {
			t.Fatalf("%+v is written %q and read %+v, %v", o, o, again, err)
		}
	})
}

func wantRoundTrip(t *testing.T, text, epoch string, number int64) {
	t.Helper()
	head, digits, _ := strings.Cut(text, ":")
	if epoch == "" || epoch != head || number < 0 || strings.TrimLeft(digits, "0") != strings.TrimLeft(strconv.FormatInt(number, 10), "0") {
		t.Fatalf("%q was read as %q and %d", text, epoch, number)
	}
}
