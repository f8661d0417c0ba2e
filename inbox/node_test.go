package inbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
)

// nodeVariable makes this test program a node on the database that it names.
const nodeVariable = "TRUNKLINE_TEST_INBOX_NODE"

// runNode is the node's main function: an engine that keeps inboxes until its standard input ends.
func runNode(url string) int {
	out := json.NewEncoder(os.Stdout)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fail := func(err error) int {
		_ = out.Encode(err.Error())
		return 1
	}
	engine, err := trunkline.New(trunkline.Config{DatabaseURL: url})
	if err != nil {
		return fail(err)
	}
	if err := engine.Start(ctx); err != nil {
		return fail(err)
	}
	in, err := inbox.New(engine, inbox.Options{})
	if err != nil {
		return fail(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	go func() {
		if in.Ready(ctx) == nil {
			_ = out.Encode("ready")
		}
	}()
	if err := in.Run(ctx); err != nil {
		return fail(err)
	}
	if err := engine.Stop(context.Background()); err != nil {
		return fail(err)
	}
	return 0
}

// startNodeProcess starts a node in a process of its own, and returns, once it keeps, what kills it without goodbye.
func startNodeProcess(t *testing.T, url string) (*os.Process, func()) {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodeVariable+"="+url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // ends with us
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make(chan string, 16)
	read := make(chan struct{})
	go func() {
		defer close(read)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			line <- scanner.Text()
		}
		close(line)
	}()
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	t.Cleanup(kill)
	select {
	case said := <-line:
		if !strings.Contains(said, "ready") {
			t.Fatalf("the node did not start: %s", said)
		}
	case <-time.After(patience):
		t.Fatal("the node is silent")
	}
	return cmd.Process, kill
}
