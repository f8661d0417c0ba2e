package server

import "testing"

func TestLimitsAreWrittenForPeople(t *testing.T) {
	for _, test := range []struct {
		limits Limits
		says   string
	}{
		{Limits{QueueBytes: 1 << 10}, "Limits.QueueBytes is 1KiB: choose between 16MiB and 1GiB"},
		{Limits{FrameBytes: 1000}, "Limits.FrameBytes is 1000 bytes: choose between 1KiB and 128MiB"},
		{Limits{Connections: 20_000_000}, "Limits.Connections is 20000000: choose between 1 and 1000000"},
		{Limits{CommandRate: 0.01}, "Limits.CommandRate is 0.01: choose between 0.1 and 1000000"},
	} {
		if err := test.limits.withDefaults().validate(); err == nil || err.Error() != test.says {
			t.Errorf("%v, want %s", err, test.says)
		}
	}
}
