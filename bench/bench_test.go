package bench_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/bench"
	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Every suite runs to its end, which it does only if all that was published arrived. What it measures is no matter here.
func TestSuitesDeliverEverything(t *testing.T) {
	for _, suite := range bench.Names() {
		if suite[0] == "idle" {
			continue // only waits and counts, for half a minute
		}
		t.Run(suite[0], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var out bytes.Buffer
			err := bench.Run(ctx, bench.Options{
				URL: pgtest.Database(t), Rounds: 1, Seconds: 0.2, Soak: time.Second, Out: &out,
			}, suite[0])
			if err != nil || !strings.Contains(out.String(), suite[0]+": "+suite[1]) {
				t.Fatalf("%v\n%s", err, out.String())
			}
		})
	}
}

func TestUnknownSuite(t *testing.T) {
	err := bench.Run(context.Background(), bench.Options{URL: "postgres://nowhere"}, "speed")
	if err == nil || !strings.Contains(err.Error(), "speed") || !strings.Contains(err.Error(), "latency") {
		t.Errorf("it says %v, neither what was asked nor what there is", err)
	}
}
