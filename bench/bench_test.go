package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/bench"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// contestant, as the only argument, makes this program one of the servers that are measured.
const contestant = "contestant"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == contestant {
		if err := bench.Serve(context.Background(), os.Stdin, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(m)
}

// Every suite runs to its end, which it does only if all that was published arrived. What it measures is no matter here.
func TestSuitesDeliverEverything(t *testing.T) {
	bench.CatchUpLess(t)
	for _, suite := range bench.Names() {
		if suite[0] == "idle" {
			continue // only waits and counts, for half a minute
		}
		t.Run(suite[0], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			var out bytes.Buffer
			err := bench.Run(ctx, bench.Options{
				URL: pgtest.Database(t), Rounds: 1, Seconds: 0.2, Soak: time.Second, Out: &out,
				Program: []string{os.Args[0], contestant}, Subscribers: []int{20}, Clients: 60, Missed: 7,
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

// Whoever serves without asking who is there must not be reached from elsewhere.
func TestServeStaysOnLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:80", "example.org:80", ""} {
		var out bytes.Buffer
		order := strings.NewReader(`{"Kind":"article","Address":"` + address + `"}` + "\n")
		err := bench.Serve(t.Context(), order, &out, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "loopback") || out.Len() > 0 {
			t.Errorf("at %q it serves: %v, %s", address, err, &out)
		}
	}
}

// What a server to measure said before it ended is what one needs to know.
func TestServerThatDoesNotStart(t *testing.T) {
	err := bench.Run(t.Context(), bench.Options{
		URL: pgtest.Database(t), Rounds: 1, Seconds: 0.1, Out: io.Discard,
		Program: []string{"sh", "-c", "echo out of luck >&2; exit 1"},
	}, "websocket")
	if err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("it says %v", err)
	}
}
