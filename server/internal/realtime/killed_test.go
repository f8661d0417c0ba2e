package realtime

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	process "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// separateNode names the database of a node that this program is to be, instead of its tests.
const separateNode = "TRUNKLINE_TEST_SEPARATE_NODE"

// shortExpiry is the shortest that there is.
const shortExpiry = 2 * time.Second

// beSeparateNode serves until it is killed, and says where.
func beSeparateNode(url string) error {
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url})
	if err != nil {
		return err
	}
	node, err := New(Config{Engine: engine, Gate: &doorman{}, PresenceExpiry: shortExpiry})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	node.Register(mux)
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // whoever began it is gone
		os.Exit(1)
	}()
	if err := engine.Start(context.Background()); err != nil {
		return err
	}
	fmt.Printf("ws://%s/connection/websocket\n", listener.Addr())
	return http.Serve(listener, mux)
}

// Who was connected to a node that was killed is not present any more once that has expired, and meanwhile those of other nodes
// are.
func TestPresenceOfAKilledNodeExpires(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	node := startNode(t, engine, &doorman{}, func(c *Config) { c.PresenceExpiry = shortExpiry })
	here := connect(t, startFront(t, node).websocket(), "ann").follow("room:1")
	here.ready()

	other := process.Command(os.Args[0])
	other.Env = append(os.Environ(), separateNode+"="+url)
	other.Stderr = os.Stderr
	input, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait(); _ = input.Close() })
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	there := connect(t, strings.TrimSpace(address), "bob")
	there.follow("room:1").ready()
	count := func() int {
		clients, users, err := node.PresenceStats(testContext(t), "room:1")
		if err != nil || clients != users {
			t.Fatalf("%d clients, %d users: %v", clients, users, err)
		}
		return clients
	}
	eventually(t, "both are present", func() bool { return count() == 2 })
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	take(t, there.connecting, "connecting for the first time")
	take(t, there.connecting, "the loss")
	// Together: a node that stands still for longer than the expiry isn't seen either until it goes on.
	eventually(t, "only ann is present", func() bool {
		present, err := node.Presence(testContext(t), "room:1")
		if err != nil {
			t.Fatalf("present are %+v: %v", present, err)
		}
		return len(present) == 1 && present[0].User == "ann" && count() == 1
	})
	eventually(t, "nothing is left of it", func() bool { return scan[int](t, engine, "SELECT count(*) FROM trunkline.presence") == 1 })
}
